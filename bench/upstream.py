"""What upstream.c is, for machines without a C compiler: the same arguments, the same answers, several times the cost."""

from __future__ import annotations

import argparse
import gc
import heapq
import itertools
import json
import re
import select
import socket
import time

from chunked import Dechunker

IN, OUT = select.EPOLLIN, select.EPOLLOUT
GONE = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR

TURN = 4
"""Chunks in one write of a stream without a pause; see upstream.c."""

PLAN = re.compile(rb"bench (\d+)x(\d+) from (\d+)")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


def _json(value: object) -> bytes:
    body = json.dumps(value).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


class Connection:
    """One client. `left` counts the chunks still owed to its stream; -1 says that nothing is."""

    __slots__ = ("client", "due", "fd", "inbox", "left", "outbox", "pause", "send", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.send = sock.send
        self.inbox = b""
        self.outbox = b""
        self.left = -1
        self.pause = 0.0
        self.due = 0.0
        self.client = 0


class Upstream:
    """The event loop and everything in it."""

    def __init__(self, message: bytes, opening: bytes, chunk: bytes, closing: bytes) -> None:
        self._message, self._opening, self._chunk, self._closing = message, opening, chunk, closing
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self._epoll = select.epoll()
        self._epoll.register(self.listener, IN)
        self._connections: dict[int, Connection] = {}
        self._ready: list[Connection] = []  # streams without a pause, one event a turn
        self._paced: list[tuple[float, int, Connection]] = []
        self._order = itertools.count()
        self._reset()

    def _reset(self) -> None:
        self.requests = self.started = self.completed = self.chunks = 0
        self.aborted: dict[int, float] = {}

    def run(self) -> None:
        """Serve until the process is ended."""
        while True:
            for fd, mask in self._wait():
                connection = self._connections.get(fd)
                if connection is None:
                    if fd == self.listener.fileno():
                        self._accept()
                elif mask & GONE:
                    self._gone(connection)
                else:
                    if mask & OUT:
                        self._flush(connection)
                    if mask & IN:
                        self._read(connection)
            if self._paced:
                self._send_due()
            if self._ready:
                self._send_ready()

    def _wait(self) -> list[tuple[int, int]]:
        if self._ready:
            return self._epoll.poll(0)
        if not self._paced:
            return self._epoll.poll()
        # epoll counts in milliseconds; select on its descriptor is exact to the microsecond.
        wait = self._paced[0][0] - time.monotonic()
        if wait > 0:
            select.select([self._epoll], [], [], wait)
        return self._epoll.poll(0)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections[sock.fileno()] = Connection(sock)
            self._epoll.register(sock, IN | select.EPOLLRDHUP)

    def _gone(self, connection: Connection) -> None:
        if self._connections.pop(connection.fd, None) is None:
            return
        if connection.left >= 0 or connection.outbox:
            self.aborted[connection.client] = time.monotonic()
        connection.left = -1
        connection.sock.close()

    def _read(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(16384)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._gone(connection)
            return
        connection.inbox += data
        while connection.inbox and connection.left < 0 and connection.fd in self._connections:
            if not self._take_request(connection):
                return

    def _take_request(self, connection: Connection) -> bool:
        """Answer the first request of the inbox; False where it is not complete."""
        data = connection.inbox
        head_end = data.find(b"\r\n\r\n")
        if head_end < 0:
            return False
        head, start = data[: head_end + 2], head_end + 4
        length = LENGTH.search(head)
        if length is not None:
            end = start + int(length[1])
            if len(data) < end:
                return False
            body, connection.inbox = data[start:end], data[end:]
        elif CHUNKED.search(head):
            dechunker = Dechunker()
            body = dechunker.feed(data[start:])
            if not dechunker.done:
                return False
            connection.inbox = dechunker.rest
        else:
            body, connection.inbox = b"", data[start:]
        self._answer(connection, head, body)
        return True

    def _answer(self, connection: Connection, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET /stats "):
            self._write(connection, _json(self.stats()))
        elif head.startswith(b"GET /reset "):
            self._reset()
            self._write(connection, _json({}))
        else:
            self.requests += 1
            plan = PLAN.search(body)
            if plan is None:
                self._write(connection, self._message)
            else:
                self._begin(connection, plan)

    def _begin(self, connection: Connection, plan: re.Match[bytes]) -> None:
        self.started += 1
        connection.left = int(plan[1])
        connection.pause = int(plan[2]) / 1000
        connection.client = int(plan[3])
        if not self._write(connection, self._opening):
            return
        if connection.pause:
            connection.due = time.monotonic()
            heapq.heappush(self._paced, (connection.due, next(self._order), connection))
        else:
            self._ready.append(connection)

    def _send_due(self) -> None:
        now = time.monotonic()
        paced, order = self._paced, self._order
        while paced and paced[0][0] <= now:
            connection = paced[0][2]
            if connection.left < 0:  # gone, or blocked and taken up again by _flush
                heapq.heappop(paced)
                continue
            if self._step(connection) and connection.left >= 0:
                # The schedule is kept however late this one was.
                connection.due += connection.pause
                heapq.heapreplace(paced, (connection.due, next(order), connection))
            else:
                heapq.heappop(paced)

    def _send_ready(self) -> None:
        self._ready = [c for c in self._ready if c.left >= 0 and self._step(c) and c.left >= 0]

    def _step(self, connection: Connection) -> bool:
        """Write the next event of a stream; False where the client takes no more for now."""
        if connection.left == 0:
            connection.left = -1
            self.completed += 1
            return self._write(connection, self._closing)
        count = 1 if connection.pause or connection.left < TURN else TURN
        connection.left -= count
        self.chunks += count
        return self._write(connection, self._chunk * count)

    def _write(self, connection: Connection, data: bytes) -> bool:
        """Send; what the kernel does not take waits for the client and stops its stream meanwhile."""
        if connection.outbox:
            connection.outbox += data
            return False
        try:
            sent = connection.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._gone(connection)
            return False
        if sent == len(data):
            return True
        connection.outbox = data[sent:]
        self._epoll.modify(connection.fd, IN | OUT | select.EPOLLRDHUP)
        return False

    def _flush(self, connection: Connection) -> None:
        data, connection.outbox = connection.outbox, b""
        if not self._write(connection, data):
            return
        self._epoll.modify(connection.fd, IN | select.EPOLLRDHUP)
        if connection.left >= 0:
            if connection.pause:
                connection.due = max(connection.due + connection.pause, time.monotonic())
                heapq.heappush(self._paced, (connection.due, next(self._order), connection))
            else:
                self._ready.append(connection)

    def stats(self) -> dict[str, object]:
        """Return the counts; `aborted` maps clients to monotonic seconds."""
        return {
            "requests": self.requests,
            "streams_started": self.started,
            "streams_completed": self.completed,
            "streams_open": sum(c.left >= 0 for c in self._connections.values()),
            "chunks": self.chunks,
            "aborted": self.aborted,
        }


def main() -> None:
    """Print the port and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("message", "opening", "chunk", "closing"):
        parser.add_argument(name, type=str.encode)
    upstream = Upstream(**vars(parser.parse_args()))
    print(upstream.port, flush=True)
    # Nothing here makes cycles; a collection would only be a pause in somebody's stream.
    gc.disable()
    upstream.run()


if __name__ == "__main__":
    main()
