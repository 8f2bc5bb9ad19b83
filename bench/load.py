"""What load.c is, for machines without a C compiler: the same arguments, the same output, several times the cost."""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import select
import socket
import sys
import time
from array import array
from collections import Counter

from chunked import Dechunker

STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
CLOSING = re.compile(rb"\r\nconnection: *close|^HTTP/1\.0", re.IGNORECASE)

READ = 32768
"""Above 128 KiB the C library would map memory anew for each read, which doubles the cost of one."""

RETRY_SECONDS = 0.01
GRACE_SECONDS = 30
"""How long answers that are under way at the end may take."""


class Client:
    """One caller: its connection, and how far its answer has come."""

    def __init__(self, load: Load, number: int) -> None:
        self.number = number
        self.sock: socket.socket | None = None
        self.asked = 0
        self.busy = False
        self._load = load
        self._request = load.options.request.replace(b"#####", b"%05d" % number)
        self._clear()

    def _clear(self) -> None:
        self.chunks = 0
        self._head = b""
        self._in_body = self._ended = self._closing = False
        self._left: int | None = None  # of a body with a length
        self._dechunker: Dechunker | None = None
        self._tail = b""

    def connect(self) -> None:
        """Open the connection; raises OSError."""
        self.sock = socket.create_connection(("127.0.0.1", self._load.options.port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self._load.watch(self, self.sock)

    def hang_up(self) -> None:
        """Close the connection, with whatever is under way on it."""
        self.busy = False
        if self.sock is not None:
            self._load.forget(self.sock)
            self.sock.close()
            self.sock = None

    def ask(self) -> None:
        """Send the next request, or leave where there is none."""
        if not self._load.wants_more(self):
            self.hang_up()
            return
        self._clear()
        try:
            if self.sock is None:
                self.connect()
            assert self.sock is not None
            self.asked += 1
            self.busy = True
            self._began = self._last = time.monotonic()
            # Far smaller than any send buffer, so it goes whole.
            self.sock.send(self._request)
        except OSError as exc:
            self._fail(os.strerror(exc.errno or 0))

    def receive(self) -> None:
        """Take what has arrived."""
        assert self.sock is not None
        try:
            data = self.sock.recv(READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not self.busy:  # closed between two requests: the next one opens it again
            self.hang_up()
        elif data:
            self._feed(data, time.monotonic())
        elif self._in_body and self._left is None and self._dechunker is None:
            self._closing = True
            self._complete()
        else:
            self._fail("closed early")

    def _feed(self, data: bytes, now: float) -> None:
        if not self._in_body:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            data = self._head[end + 4 :]
            if not self._take_head(self._head[: end + 2]):
                return
        if self._dechunker is not None:
            try:
                data = self._dechunker.feed(data)
            except ValueError:
                self._fail("bad framing")
                return
        elif self._left is not None:
            self._left -= len(data)
        self._take(data, now)
        if self.busy and (self._left == 0 or (self._dechunker is not None and self._dechunker.done)):
            self._complete()

    def _take_head(self, head: bytes) -> bool:
        status = STATUS.match(head)
        if status is None or status[1] != b"200":
            self._fail(f"status {int(status[1]) if status else 0}")
            return False
        self._in_body = True
        self._closing = CLOSING.search(head) is not None
        length = LENGTH.search(head)
        if length is not None:
            self._left = int(length[1])
        elif CHUNKED.search(head):
            self._dechunker = Dechunker()
        return True

    def _take(self, data: bytes, now: float) -> None:
        load, options = self._load, self._load.options
        # Marks may be cut; of the bytes before, one less than a mark is too few to find it twice.
        window = self._tail + data
        self._tail = window[1 - max(len(options.end_mark), len(options.chunk_mark)) :]
        self._ended = self._ended or options.end_mark in window
        found = window[1 - len(options.chunk_mark) - len(data) :].count(options.chunk_mark) if options.chunks else 0
        if not found:
            return
        load.count_chunks(found, now)
        if self.chunks:
            load.gaps.append(now - self._last)
        else:
            load.firsts.append(now - self._began)
            load.held += options.hold
        load.gaps.extend((0.0,) * (found - 1))
        self._last = now
        self.chunks += found
        if options.leave and self.chunks >= options.leave:
            load.left_at[self.number] = time.monotonic()
            self.hang_up()

    def _complete(self) -> None:
        if not self._ended or self.chunks != self._load.options.chunks:
            self._fail("incomplete answer")
            return
        self.busy = False
        self._load.complete(time.monotonic() - self._began)
        if self._closing:
            self.hang_up()
        self.ask()

    def _fail(self, reason: str) -> None:
        self.hang_up()
        self._load.fail(self, reason)


class Load:
    """All the callers and what they saw. Times are seconds."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.latencies, self.firsts, self.gaps = array("d"), array("d"), array("d")
        self.left_at: dict[int, float] = {}
        self.held = 0
        self._answered = self._chunks = self._chunks_read = 0
        self._errors: Counter[str] = Counter()
        self._epoll = select.epoll()
        self._watched: dict[int, Client] = {}
        self._waiting: list[tuple[float, Client]] = []
        self._end = 0.0

    def watch(self, client: Client, sock: socket.socket) -> None:
        """Read from a client's connection from now on."""
        self._watched[sock.fileno()] = client
        self._epoll.register(sock, select.EPOLLIN)

    def forget(self, sock: socket.socket) -> None:
        """Read from it no more."""
        del self._watched[sock.fileno()]
        self._epoll.unregister(sock)

    def wants_more(self, client: Client) -> bool:
        """Whether a client has another request to make."""
        return time.monotonic() < self._end and not 0 < self.options.each <= client.asked

    def complete(self, seconds: float) -> None:
        """Count an answer."""
        self._answered += time.monotonic() <= self._end
        self.latencies.append(seconds)

    def count_chunks(self, count: int, now: float) -> None:
        """Count chunks that were read."""
        self._chunks_read += count
        if now <= self._end:
            self._chunks += count

    def fail(self, client: Client, reason: str) -> None:
        """Count an error, and let the client try again a little later."""
        self._errors[reason] += 1
        # Where everything fails there is nothing to measure, and no reason to insist.
        if self._errors.total() <= 2 * self.options.connections:
            self._waiting.append((time.monotonic() + RETRY_SECONDS, client))

    def run(self) -> None:
        """Do it all, and print what was seen."""
        options = self.options
        clients = [Client(self, number) for number in range(options.connections)]
        for client in clients:
            try:
                client.connect()
            except OSError as exc:
                self.fail(client, os.strerror(exc.errno or 0))
        began = time.monotonic()
        self._end = began + options.seconds
        self._waiting = [(began + options.ramp * i / len(clients), client) for i, client in enumerate(clients)]
        while self._waiting or self._watched:
            now = time.monotonic()
            if now > self._end + GRACE_SECONDS:
                break
            if options.hold and self.held + self._errors.total() >= options.connections:
                break
            self._ask_due(now)
            for fd, _ in self._epoll.poll(0.001 if self._waiting else 0.05):
                if fd in self._watched:
                    self._watched[fd].receive()
        elapsed = min(time.monotonic() - began, options.seconds)
        if options.hold:
            print(json.dumps({"held": self.held}), flush=True)
            sys.stdin.read()
        elif unanswered := sum(client.busy for client in clients):
            self._errors["no answer in time"] += unanswered
        print(json.dumps(self._seen(elapsed)))

    def _ask_due(self, now: float) -> None:
        due = [client for at, client in self._waiting if at <= now]
        if due:
            self._waiting = [(at, client) for at, client in self._waiting if at > now]
        for client in due:
            client.ask()

    def _seen(self, elapsed: float) -> dict[str, object]:
        return {
            "seconds": elapsed,
            "requests": self._answered,
            "requests_per_second": self._answered / elapsed,
            "chunks": self._chunks,
            "chunks_per_second": self._chunks / elapsed,
            "held": self.held,
            "answers": len(self.latencies),
            "chunks_read": self._chunks_read,
            "latency": quantiles(self.latencies),
            "first_chunk": quantiles(self.firsts),
            "gap": quantiles(self.gaps),
            "left_at": self.left_at,
            "errors": self._errors,
        }


def quantiles(values: array[float]) -> dict[str, float]:
    """Return the median, the 99th percentile and the largest of some values; nothing of none."""
    ranked = sorted(values)
    if not ranked:
        return {}
    last, middle, p99 = len(ranked) - 1, len(ranked) // 2, len(ranked) * 99 // 100
    return {"p50": ranked[middle], "p99": ranked[min(p99, last)], "max": ranked[-1]}


def main() -> None:
    """Run a load and print what it saw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-p", dest="port", type=int, required=True)
    parser.add_argument("-q", dest="request", type=str.encode, required=True)
    parser.add_argument("-z", dest="end_mark", type=str.encode, required=True)
    parser.add_argument("-n", dest="chunks", type=int, default=0)
    parser.add_argument("-m", dest="chunk_mark", type=str.encode, default=b"")
    parser.add_argument("-c", dest="connections", type=int, default=1)
    parser.add_argument("-s", dest="seconds", type=float, default=2.0)
    parser.add_argument("-e", dest="each", type=int, default=0)
    parser.add_argument("-r", dest="ramp", type=float, default=0.0)
    parser.add_argument("-k", dest="leave", type=int, default=0)
    parser.add_argument("-w", dest="hold", action="store_true")
    load = Load(parser.parse_args())
    # Nothing here makes cycles; a collection would only be a pause that looks like the gateway's.
    gc.disable()
    load.run()


if __name__ == "__main__":
    main()
