"""A scripted upstream on a real socket: a test says byte by byte what a provider sends, and sees what it was sent.

One script runs per connection: `async with Upstream(reply(http(b"{}"))) as upstream` answers every request alike, and
a script of one's own is an async function that gets a `Peer`. A delay is a `trio.Event` that the test sets.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import pairwise
from types import TracebackType
from typing import Self

import httptools
import trio
import trio.testing
import trustme

from vango.wire.call import Origin

Script = Callable[["Peer"], Awaitable[None]]
Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]

LAST_CHUNK = b"0\r\n\r\n"


def head(status: int = 200, headers: Mapping[str, str] | None = None) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    return f"HTTP/1.1 {status} Words\r\n{lines}\r\n".encode("latin-1")


def http(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> bytes:
    """Return a whole answer with its length."""
    return head(status, {**(headers or {}), "content-length": str(len(body))}) + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def chunked_head(status: int = 200, headers: Mapping[str, str] | None = None) -> bytes:
    return head(status, {**(headers or {}), "transfer-encoding": "chunked"})


def chunked(*pieces: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> bytes:
    """Return a whole answer with one chunk per piece."""
    return chunked_head(status, headers) + b"".join(map(chunk, pieces)) + LAST_CHUNK


def reply(*pieces: bytes) -> Script:
    """Answer every request of a connection with these pieces, each sent by itself."""

    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.send(*pieces)

    return script


def replies(*answers: bytes) -> Script:
    """Answer the requests of a connection in turn, then close it."""

    async def script(peer: Peer) -> None:
        for answer in answers:
            if await peer.request():
                await peer.send(answer)
        await peer.finish()

    return script


async def hang(peer: Peer) -> None:
    """Read one request and never answer; ends when the client closes."""
    await peer.request()
    await peer.wait_closed()


@cache
def certificate_authority() -> trustme.CA:
    return trustme.CA()


def trusting_context() -> ssl.SSLContext:
    """Return a client's context that trusts the test authority and nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    certificate_authority().configure_trust(context)
    return context


def server_context(host: str) -> ssl.SSLContext:
    """Return a server's context with a certificate for `host` by the test authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate_authority().issue_cert(host).configure_cert(context)
    return context


@dataclass
class Received:
    """A request as it came; header names are lower case."""

    method: str = ""
    target: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str) -> str | None:
        return dict(self.headers).get(name)


class Peer:
    """The upstream's end of one connection. `closed_at` tells when the client's end was seen, in trio's time."""

    def __init__(self, stream: Stream, upstream: Upstream) -> None:
        self.number = len(upstream.peers)
        self.requests: list[Received] = []
        self.closed_at: float | None = None
        self.was_reset = False
        self.stream = stream
        self.tcp = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
        self._upstream = upstream
        self._reader = _RequestReader()

    async def request(self) -> Received | None:
        """Read one whole request; None once the client has closed."""
        while not self._reader.whole:
            if not await self._feed():
                return None
        if len(self._reader.whole) == 1:
            self._reader.has_head = False
        return self._record(self._reader.whole.popleft())

    async def request_head(self) -> Received | None:
        """Read no further than a request's head: most of a long body stays in the sockets."""
        while not self._reader.has_head:
            if not await self._feed():
                return None
        return self._record(self._reader.current)

    async def send(self, *pieces: bytes) -> None:
        """Send each piece by itself: the client has read one before the next leaves."""
        for index, piece in enumerate(pieces):
            if index:
                await trio.testing.wait_all_tasks_blocked()
            await self.stream.send_all(piece)

    async def send_split(self, data: bytes, cuts: Iterable[int]) -> None:
        """Send `data` in the pieces that cutting at these positions gives."""
        bounds = [0, *sorted(cuts), len(data)]
        await self.send(*(data[a:b] for a, b in pairwise(bounds) if a < b))

    async def send_bytewise(self, data: bytes) -> None:
        await self.send_split(data, range(1, len(data)))

    async def wait_closed(self) -> None:
        """Read and drop what still comes, until the client closes or resets."""
        while await self._receive():
            pass

    async def wait_failed(self) -> None:
        """Read nothing, and wait until the connection fails: only a reset is seen past bytes that nobody reads."""
        waiting = select.poll()
        waiting.register(self.tcp.socket.fileno(), 0)  # errors only
        while not waiting.poll(0):  # noqa: ASYNC110 - no wait of trio is for errors alone
            await trio.sleep(0.001)

    async def half_close(self) -> None:
        """Send an end and go on reading."""
        await self.tcp.send_eof()

    async def finish(self) -> None:
        """Close in good order; over TLS with close_notify."""
        await self.stream.aclose()

    def cut(self) -> None:
        """Close TCP and say nothing more; over TLS that lacks the close_notify."""
        self.tcp.socket.close()

    def reset(self) -> None:
        """Close by a TCP reset."""
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.cut()

    def _record(self, request: Received) -> Received:
        self.requests.append(request)
        self._upstream.record(request)
        return request

    async def _feed(self) -> bool:
        data = await self._receive()
        if data:
            self._reader.parser.feed_data(data)
        return bool(data)

    async def _receive(self) -> bytes:
        if self.closed_at is not None:
            return b""
        try:
            data = bytes(await self.stream.receive_some(65_536))
        except trio.BrokenResourceError as exc:
            # An end of TLS without close_notify is no reset.
            data, self.was_reset = b"", not isinstance(exc.__cause__, ssl.SSLError)
        except trio.ClosedResourceError:  # closed by the script itself
            return b""
        if not data:
            self.note_closed()
        return data

    def note_closed(self) -> None:
        if self.closed_at is None:
            self.closed_at = trio.current_time()
            self._upstream.note(closed=1)


class Upstream:
    """Listens on loopback for as long as its block lasts, and runs `script` for every connection.

    `accepted`, `open` and `closed` count connections: all, those alive, those whose client was seen to leave.
    Waiting for any of them fails after ten seconds.
    `script` and the TLS `context` may be changed for connections to come.
    """

    def __init__(self, script: Script, *, tls: bool = False, certified_for: str = "localhost") -> None:
        self.peers: list[Peer] = []
        self.requests: list[Received] = []
        self.accepted = 0
        self.open = 0
        self.closed = 0
        self.script = script
        self.context: ssl.SSLContext | None = None
        if tls:
            self.context = server_context(certified_for)
        self._changed = trio.Event()
        self._tasks = trio.open_nursery()

    async def __aenter__(self) -> Self:
        nursery = await self._tasks.__aenter__()
        self._cancel = nursery.cancel_scope.cancel
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        self.origin = Origin("http" if self.context is None else "https", "localhost", port)
        if self.context is None:
            self.origin = self.origin._replace(host="127.0.0.1")
        self.base_url = f"{self.origin.scheme}://{self.origin.host}:{port}"
        nursery.start_soon(partial(trio.serve_listeners, self._serve, listeners, handler_nursery=nursery))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._cancel()
        # The test's own failure is not the nursery's, which would wrap it in a group.
        if isinstance(error, trio.Cancelled):
            return bool(await self._tasks.__aexit__(kind, error, trace))
        await self._tasks.__aexit__(None, None, None)
        return False

    async def wait_accepted(self, count: int) -> None:
        await self._wait_for(lambda: self.accepted >= count)

    async def wait_requests(self, count: int) -> None:
        await self._wait_for(lambda: len(self.requests) >= count)

    async def wait_closed(self, count: int) -> None:
        """Wait until so many clients were seen to leave."""
        await self._wait_for(lambda: self.closed >= count)

    def record(self, request: Received) -> None:
        self.requests.append(request)
        self.note()

    def note(self, *, accepted: int = 0, open: int = 0, closed: int = 0) -> None:  # noqa: A002
        self.accepted += accepted
        self.open += open
        self.closed += closed
        self._changed.set()
        self._changed = trio.Event()

    async def _wait_for(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(10):
            while not condition():
                await self._changed.wait()

    async def _serve(self, tcp: trio.SocketStream) -> None:
        stream: Stream = tcp
        if self.context is not None:
            stream = trio.SSLStream(tcp, self.context, server_side=True)
        peer = Peer(stream, self)
        self.peers.append(peer)
        self.note(accepted=1, open=1)
        try:
            if isinstance(stream, trio.SSLStream):
                await stream.do_handshake()
            await self.script(peer)
            await peer.wait_closed()
        except trio.BrokenResourceError:  # the client left while the script was sending
            peer.was_reset = True
            peer.note_closed()
        except trio.ClosedResourceError:  # the script closed its end
            pass
        finally:
            peer.cut()
            self.note(open=-1)


class _RequestReader:
    def __init__(self) -> None:
        self.current = Received()
        self.whole: deque[Received] = deque()
        self.has_head = False
        self._body = bytearray()
        self.parser = httptools.HttpRequestParser(self)

    def on_message_begin(self) -> None:
        self.current, self.has_head, self._body = Received(), False, bytearray()

    def on_url(self, url: bytes) -> None:
        self.current.target += url.decode()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.current.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.current.method = self.parser.get_method().decode()
        self.has_head = True

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self.current.body = bytes(self._body)
        self.whole.append(self.current)
