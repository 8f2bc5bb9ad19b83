"""HTTP/1.1 on one connection: h11 finds the requests, an exchange answers each, in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

import h11
import trio
from hypercorn.events import Closed, RawData
from hypercorn.protocol.events import Request
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol, H11WSConnection
from hypercorn.typing import ConnectionState

from vango.app.server.exchange import Exchange
from vango.app.server.limits import Refused
from vango.app.server.websocket import WebSocketStream
from vango.app.server.wire import CLIENT

if TYPE_CHECKING:
    from hypercorn.events import Event

    from vango.app.server.connection import Connection
    from vango.app.server.limits import Headers
    from vango.app.server.wire import Message

# Body bytes that may wait for the app before reading stops. Four reads: enough to keep the socket busy.
MAX_BACKLOG = 256 * 1024

# A line break too many after a body is an old client's habit, which RFC 9112 asks servers to pass over.
BLANK = b"\r\n"

MALFORMED = {
    400: "The request is not well-formed HTTP/1.1.",
    431: "The headers of the request are too large.",
    501: "The only transfer coding taken is chunked.",
}


class UpgradeToHttp2(Exception):
    """The client began with HTTP/2's preface. `data` is everything that came with it."""

    def __init__(self, data: bytes) -> None:
        super().__init__("HTTP/2 with prior knowledge")
        self.data = data


class Http1(H11Protocol):
    """The requests of one connection. Reading stops while one is answered and the next has already come.

    Each request has a fresh h11 connection: h11 is never told of responses, so it has no cycle to restart.
    What Hypercorn's class does is used for WebSockets only.
    """

    connection: h11.Connection | H11WSConnection

    def __init__(self, peer: Connection) -> None:
        serving = peer.serving
        super().__init__(
            serving.app,  # type: ignore[arg-type]  # Tasks calls it with ASGI's three arguments
            serving.config,
            serving.context,
            peer.tasks,
            ConnectionState({}),
            peer.secure,
            peer.client,
            peer.server,
            peer.protocol_send,
        )
        self.peer = peer
        self.signature = serving.signature
        self.exchange: Exchange | None = None
        self._limits = serving.limits
        self._scheme = "https" if peer.secure else "http"
        self._resume: trio.Event | None = None
        self._head_began = False
        self._blank = True

    @property
    def idle(self) -> bool:
        """Whether the client has asked for nothing that is not answered."""
        return self.exchange is None and self.stream is None and not self._head_began

    async def handle(self, event: Event) -> None:
        """Take bytes that were read, or the end of the connection.

        Raises Refused where the server itself has to answer, and UpgradeToHttp2 where HTTP/2 is on and begins.
        """
        if isinstance(event, Closed):
            if self.exchange is not None:
                self.exchange.leave()
            await self._close_stream()
        elif isinstance(event, RawData):
            if self.stream is None:
                await self._feed(event.data)
            else:
                self.stream.heard()  # type: ignore[union-attr]  # always our own class
                await super().handle(event)

    async def _feed(self, data: bytes) -> None:
        if self._blank and self.exchange is None:
            data = data.lstrip(BLANK)
            if not data:
                self._await_head()
                return
            self._blank = False
        self.connection.receive_data(data)
        while not self.peer.ending:
            try:
                event = self.connection.next_event()
            except h11.RemoteProtocolError as error:
                status = error.error_status_hint
                raise Refused(status, MALFORMED.get(status, MALFORMED[400])) from error
            kind = type(event)
            if kind is h11.Request:
                await self._open(event)  # type: ignore[arg-type]  # `kind` says which event it is
                if self.stream is not None:
                    await self._handle_events()
                    return
            elif event is h11.PAUSED:
                await self._pause()
            elif self.exchange is None:
                self._await_head()
                return
            elif event is h11.NEED_DATA:
                if self.exchange.backlog >= MAX_BACKLOG:
                    await self._pause()
                return
            elif kind is h11.Data:
                self.exchange.feed(event.data)  # type: ignore[union-attr]  # as above
            elif kind is h11.EndOfMessage:
                self.exchange.complete()
                if not self.connection.trailing_data[0]:
                    return

    def _await_head(self) -> None:
        if not self._head_began:
            self._head_began = True
            self.peer.reading.deadline = trio.current_time() + self._limits.header_timeout

    async def _pause(self) -> None:
        self._resume = trio.Event()
        await self.peer.pause(self._resume)
        self._resume = None

    def read_on(self) -> None:
        """Let reading continue, where it waits for the app."""
        if self._resume is not None:
            self._resume.set()

    def overdue(self) -> bool:
        """Whether the time for a head is over."""
        return self._head_began and self.exchange is None and trio.current_time() >= self.peer.reading.deadline

    def finish(self, *, reusable: bool, completed: bool) -> None:
        """Take the end of a response: wait for the next request, or close."""
        self.exchange = None
        data, _ = self.connection.trailing_data
        # The drain may have begun after the head was written.
        if reusable and not self.peer.serving.drain.draining:
            self.connection = h11.Connection(h11.SERVER, max_incomplete_event_size=self._limits.max_header_bytes)
            self._head_began = False
            self.peer.reading.deadline = trio.current_time() + self._limits.keep_alive
            data = data.lstrip(BLANK)
            self._blank = not data
            if data:
                self.connection.receive_data(data)
        else:
            self.peer.finish(linger=bool(data) or not completed)
        self.read_on()

    async def _open(self, request: h11.Request) -> None:
        headers = [(name.lower(), value) for name, value in request.headers.raw_items()]
        version, target = request.http_version, request.target
        if version != b"1.1" and version != b"1.0":
            if request.method == b"PRI" and version == b"2.0" and self.peer.serving.http2:
                raise UpgradeToHttp2(b"PRI * HTTP/2.0\r\n\r\n" + self.connection.trailing_data[0])
            raise Refused(505, "The server speaks HTTP/1.1 here.")
        size = len(target)
        connection = b""
        length = coding = upgrade = expect = None
        for name, value in headers:
            size += len(name) + len(value) + 4
            if name == b"content-length":
                length = value
            elif name == b"transfer-encoding":
                coding = value
            elif name == b"connection":
                connection += value.lower() + b","
            elif name == b"upgrade":
                upgrade = value
            elif name == b"expect":
                expect = value
        if size > self._limits.max_header_bytes:
            raise Refused(431, MALFORMED[431])
        if len(headers) > self._limits.max_headers:
            raise Refused(431, f"The request has more than {self._limits.max_headers} headers.")
        if coding is not None and (length is not None or version == b"1.0"):
            # Two readings of where a request ends are how a second one is smuggled past whoever read it first.
            raise Refused(400, "The request has both Content-Length and Transfer-Encoding, or is HTTP/1.0 and chunked.")

        self._head_began = False
        self.peer.reading.deadline = float("inf")
        tokens = [token.strip() for token in connection.split(b",")] if connection else []
        method = request.method.decode("ascii")
        if upgrade is not None and upgrade.lower() == b"websocket" and b"upgrade" in tokens and method == "GET":
            await self._open_websocket(request, headers)
            return
        self.exchange = Exchange(
            self,
            method=method,
            version=version,
            keep_alive=version == b"1.1" and b"close" not in tokens,
            expects_continue=expect is not None and expect.lower() == b"100-continue" and version == b"1.1",
        )
        path, _, query = target.partition(b"?")
        scope: Message = {
            "type": "http",
            "asgi": {"spec_version": "2.3", "version": "3.0"},
            "http_version": version.decode("ascii"),
            "method": method,
            "scheme": self._scheme,
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": headers,
            "client": self.client,
            "server": self.server,
            "state": self.peer.serving.state.copy(),
            "extensions": {CLIENT: self.exchange},
        }
        self.peer.tasks.spawn(self.exchange.run, scope)

    async def _open_websocket(self, request: h11.Request, headers: Headers) -> None:
        self.stream = WebSocketStream(self)
        self.connection = H11WSConnection(self.connection)  # type: ignore[arg-type]  # not upgraded yet, so it is h11's
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=headers,
                http_version=request.http_version.decode("ascii"),
                method="GET",
                raw_path=request.target,
                state=ConnectionState(self.peer.serving.state),
            )
        )

    async def _maybe_recycle(self) -> None:
        await self._close_stream()
        self.peer.finish(linger=True)
