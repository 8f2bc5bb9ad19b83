"""One client's socket: the only place that reads from it, writes to it and ends it.

Everything the connection may wait for in vain has one clock: the deadline of `reading` moves with what is expected
next, and a write has its own. Whoever wants the connection to end cancels `reading`; what follows is in `_end`.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import trio
from hypercorn.events import Closed, RawData, Updated
from hypercorn.utils import parse_socket_addr

from vango.app.server.http1 import Http1, UpgradeToHttp2
from vango.app.server.http2 import Http2
from vango.app.server.inbox import Inbox
from vango.app.server.limits import WRITE_SLICE, Refused
from vango.app.server.wire import closing_answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hypercorn.events import Event

    from vango.app.server.serve import Serving
    from vango.app.server.wire import Message

READ_BYTES = 64 * 1024
# Writes that did not block before other tasks get their turn.
BURST = 16
# A peer that still sends while its answer is on the way would lose the answer to a reset; this much is thrown away.
LINGER_SECONDS = 2.0
LINGER_BYTES = 1024 * 1024
# What a client that connects during a drain has to ask its one question.
LATE_SECONDS = 2.0


class Connection:
    """A client, from accept to close."""

    def __init__(self, serving: Serving, sock: socket.socket) -> None:
        self.serving = serving
        self.sock = sock
        self.secure = serving.tls is not None
        self.late = serving.drain.draining
        """Whether it came during the drain, which does not wait for it."""
        self.reading = trio.CancelScope()
        self.client: tuple[str, int] | None = None
        self.server: tuple[str, int] | None = None
        self.tasks: Tasks
        self.ending = False
        """Whether nothing that arrives from now on is looked at."""
        self._tls: trio.SSLStream[trio.SocketStream] | None = None
        self._protocol: Http1 | Http2 | None = None
        self._writing = trio.Lock()
        self._burst = 0
        self._dry = False
        self._answered = False
        self._lingers = False
        self._left = False
        self._closed = False

    @property
    def idle(self) -> bool:
        """Whether closing now would take nothing from the client."""
        return self._protocol is None or self._protocol.idle

    async def run(self) -> None:
        """Serve the client until it leaves or is made to; the apps that serve it have ended when this returns."""
        try:
            if not self._introduce():
                return
            async with trio.open_nursery() as nursery:
                self.tasks = Tasks(self, nursery)
                await self._serve()
        except* Exception:
            self.serving.log.exception("connection_failed")
        finally:
            self.abort()
            self.serving.forget(self)

    def _introduce(self) -> bool:
        """Learn both addresses; return whether the peer is still there."""
        try:
            self.client = parse_socket_addr(self.sock.family, self.sock.getpeername())
            self.server = parse_socket_addr(self.sock.family, self.sock.getsockname())
        except OSError:
            return False
        return True

    async def _serve(self) -> None:
        refused: Refused | None = None
        with self.reading:
            try:
                protocol = await self._handshake()
                if protocol is not None:
                    await self._read(protocol)
            except Refused as refusal:
                refused = refusal
        if self._protocol is None:
            self.abort()
        else:
            await self._end(self._protocol, refused)

    async def _handshake(self) -> Http1 | Http2 | None:
        """Return the protocol that was agreed on, or None where that failed."""
        protocol: type[Http1 | Http2] = Http1
        limits = self.serving.limits
        if self.serving.tls is not None:
            self.reading.deadline = trio.current_time() + limits.tls_handshake_timeout
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(self.sock))
            self._tls = trio.SSLStream(stream, self.serving.tls, server_side=True)
            try:
                await self._tls.do_handshake()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return None
            if self._tls.selected_alpn_protocol() == "h2":
                protocol = Http2
        patience = min(limits.keep_alive, LATE_SECONDS) if self.late else limits.keep_alive
        self.reading.deadline = trio.current_time() + patience
        self._protocol = protocol(self)
        if self.serving.drain.draining and not self.late:
            self.drain()
        return self._protocol

    async def _read(self, protocol: Http1 | Http2) -> None:
        await protocol.initiate()
        while True:
            data = await self._receive()
            if self.ending:
                return
            if not data:
                self._left = True
                return
            try:
                await protocol.handle(RawData(data))
            except UpgradeToHttp2 as upgrade:
                self._protocol = protocol = Http2(self)
                await protocol.initiate()
                await protocol.handle(RawData(upgrade.data))

    async def _end(self, protocol: Http1 | Http2, refused: Refused | None) -> None:
        if refused is None and not self._answered and not self._left and protocol.overdue():
            refused = Refused(408, "The head of the request took too long.")
        exchange = protocol.exchange if isinstance(protocol, Http1) else None
        await protocol.handle(Closed())
        if exchange is not None and exchange.started:
            self.abort()
        elif refused is not None:
            serving = self.serving
            await self.write(closing_answer(refused.status, refused.message, serving.refuse, serving.signature))
            await self._linger()
        elif self._lingers and not self._left:
            await self._linger()
        elif self._tls is not None and not self._left:
            with trio.move_on_after(LINGER_SECONDS), suppress(OSError, trio.BrokenResourceError):
                await self._tls.aclose()
        self._close()

    # Reading

    async def _receive(self) -> bytes:
        """Return what has arrived, waiting where nothing has; b"" once the peer is gone, politely or not."""
        if self._tls is not None:
            try:
                return bytes(await self._tls.receive_some(READ_BYTES))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return b""
        while not self._closed:
            try:
                if self._dry:
                    await trio.lowlevel.wait_readable(self.sock)
                else:
                    await trio.lowlevel.checkpoint()
                data = self.sock.recv(READ_BYTES)
            except BlockingIOError:
                self._dry = True
                continue
            except (OSError, trio.ClosedResourceError):
                return b""
            # A read that was not filled took all there was: trying again before waiting would be in vain.
            self._dry = len(data) < READ_BYTES
            return data
        return b""

    async def pause(self, until: trio.Event) -> None:
        """Read nothing until the event; a client that leaves meanwhile ends the connection all the same."""
        with self.serving.hangups.watch(self.sock, self._leave):
            await until.wait()

    def _leave(self) -> None:
        self._left = True
        self._stop_reading()

    def _stop_reading(self) -> None:
        self.ending = True
        self.reading.cancel()

    # Writing

    async def write(self, data: bytes) -> None:
        """Write all of it. To a peer that is gone, or that takes too long, this does nothing but end the connection.

        A write that is cancelled half way ends the connection, since nothing could be written after it.
        """
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        sent = 0
        if self._tls is None and not self._writing.locked():
            try:
                sent = self.sock.send(data)
            except BlockingIOError:
                pass
            except OSError:
                self.abort()
                return
            if sent == len(data):
                self._burst += 1
                if self._burst % BURST == 0:
                    await trio.lowlevel.checkpoint()
                return
            self._writing.acquire_nowait()
        else:
            await self._writing.acquire()
        whole = False
        try:
            whole = await self._write_slowly(memoryview(data)[sent:])
        finally:
            self._writing.release()
            if not whole:
                self.abort()

    async def _write_slowly(self, data: memoryview) -> bool:
        """Return whether the peer took all of it, a slice at a time, each within the write deadline."""
        seconds = self.serving.limits.write_timeout
        with trio.CancelScope(deadline=trio.current_time() + seconds) as scope:
            goal = len(data) - WRITE_SLICE
            while data and not self._closed:
                try:
                    if self._tls is not None:
                        await self._tls.send_all(data[:WRITE_SLICE])
                        data = data[WRITE_SLICE:]
                    else:
                        await trio.lowlevel.wait_writable(self.sock)
                        data = data[self.sock.send(data) :]
                except BlockingIOError:
                    continue
                except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                    return False
                if len(data) <= goal:
                    goal = len(data) - WRITE_SLICE
                    scope.deadline = trio.current_time() + seconds
        return not data and not scope.cancelled_caught

    async def protocol_send(self, event: Event) -> None:
        """Do what one of Hypercorn's protocols asks for."""
        if isinstance(event, RawData):
            if event.data:
                await self.write(event.data)
        elif isinstance(event, Closed):
            self.finish(linger=True)
        elif isinstance(event, Updated):
            # What the event says is from before a stream that was refused.
            idle = self.idle
            wait = self.serving.limits.keep_alive if idle else float("inf")
            self.reading.deadline = trio.current_time() + wait
            if idle and self.serving.drain.draining:
                self.finish(linger=True)

    # Ending

    def finish(self, *, linger: bool) -> None:
        """Close, now that the last answer is written; linger where the peer may be sending still."""
        self._answered = True
        self._lingers = linger
        self._stop_reading()

    def drain(self) -> None:
        """Close now if that takes nothing from the client; else its last answer says that it is the last."""
        if not self.idle or self._closed:
            return
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            self._stop_reading()
        except OSError:
            pass  # the reader finds out by itself, as it does with bytes that wait

    async def _linger(self) -> None:
        """Say that nothing more comes, and throw away what the peer still sends, within bounds."""
        with trio.move_on_after(LINGER_SECONDS), suppress(OSError):
            if self._tls is not None:
                # Says goodbye and waits for the peer's, which fails where the peer is still sending.
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
                    await self._tls.unwrap()
                self._tls = None
            self.sock.shutdown(socket.SHUT_WR)
            budget = LINGER_BYTES
            while budget > 0 and (data := await self._receive()):
                budget -= len(data)

    def abort(self) -> None:
        """End the connection at once: the peer gets a reset, unsent bytes are dropped, nothing waits."""
        if not self._closed:
            with suppress(OSError):  # the peer's reset may have come first
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._left = True
            self._close()

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            if self.sock.fileno() >= 0:
                self.serving.hangups.forget(self.sock)
                trio.lowlevel.notify_closing(self.sock)
                self.sock.close()
            self._stop_reading()


class Tasks:
    """The apps of one connection, as Hypercorn's protocols start them."""

    def __init__(self, peer: Connection, nursery: trio.Nursery) -> None:
        self._peer = peer
        self._nursery = nursery

    def spawn(self, func: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Start a task that lives no longer than the connection's apps."""
        self._nursery.start_soon(func, *args)

    async def spawn_app(
        self, app: Any, config: Any, scope: Any, send: Callable[[Any], Awaitable[None]]
    ) -> Callable[[Any], Awaitable[None]]:
        """Start the app on a WebSocket or an HTTP/2 stream; return what puts messages into its inbox."""
        inbox = Inbox(self._peer.pause)
        self._nursery.start_soon(self._run, scope, inbox, send)
        return inbox.put

    async def _run(self, scope: Message, inbox: Inbox, send: Callable[[Any], Awaitable[None]]) -> None:
        sent = 0

        async def send_in_turn(message: Message) -> None:
            # To a client that is gone Hypercorn's streams send nothing and do not wait: an app that only sends would
            # keep everyone else from running.
            nonlocal sent
            sent += 1
            if sent % BURST == 0:
                await trio.lowlevel.checkpoint()
            await send(message)

        try:
            await self._peer.serving.app(scope, inbox.receive, send_in_turn)
        except* Exception:
            self._peer.serving.log.exception("app_failed", path=scope["path"])
        inbox.close()
        await send(None)

    async def __aenter__(self) -> Tasks:
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Nothing: the connection owns the nursery. Hypercorn's type has both."""
