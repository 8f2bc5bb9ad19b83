"""Hypercorn's WebSocket stream, with the ends it forgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from hypercorn.protocol.events import Body, EndBody, Request, Response, StreamClosed
from hypercorn.protocol.h11 import STREAM_ID
from hypercorn.protocol.ws_stream import FrameTooLargeError, WSStream
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Message, Ping
from wsproto.frame_protocol import CloseReason

if TYPE_CHECKING:
    from hypercorn.protocol.events import Event
    from wsproto.events import Event as FrameEvent

    from vango.app.server.http1 import Http1


class EmptyFrame(bytes):
    """The payload of an empty binary frame. It is true, because Quart-Trio looks for text wherever bytes are false."""

    def __bool__(self) -> bool:
        return True


class WebSocketStream(WSStream):
    """One WebSocket.

    Compression is never agreed on: a 509 kB frame can inflate to 400 MB before its size is checked.
    Every refusal and every broken rule ends the connection, and the app hears the code that ended it.
    """

    def __init__(self, http: Http1) -> None:
        super().__init__(
            http.app,
            http.config,
            http.context,
            http.task_group,
            http.ssl,
            http.client,
            http.server,
            http.stream_send,
            STREAM_ID,
        )
        self._peer = http.peer
        self._code: int = CloseReason.ABNORMAL_CLOSURE
        self._over = trio.Event()
        self._heard = trio.current_time()

    def heard(self) -> None:
        """Note that the client is alive."""
        self._heard = trio.current_time()

    async def handle(self, event: Event) -> None:
        """Take the request, bytes of frames, or the end."""
        if isinstance(event, Request):
            headers = [header for header in event.headers if header[0] != b"sec-websocket-extensions"]
            event = Request(event.stream_id, headers, event.http_version, event.method, event.raw_path, event.state)
        if isinstance(event, StreamClosed):
            if not self.closed:
                self.closed = True
                self._over.set()
                if self.app_put is not None:
                    await self.app_put({"type": "websocket.disconnect", "code": int(self._code)})
        else:
            await super().handle(event)

    async def _handle_events(self) -> None:
        for event in self.connection.events():
            if isinstance(event, Message):
                try:
                    self.buffer.extend(event)
                except FrameTooLargeError:
                    await self._end(CloseConnection(code=CloseReason.MESSAGE_TOO_BIG))
                    return
                if event.message_finished:
                    await self._deliver()
            elif isinstance(event, Ping):
                await self._send_wsproto_event(event.response())
            elif isinstance(event, CloseConnection):
                # An open connection here means that wsproto found a broken rule: the close frame is ours to send.
                remote = self.connection.state is ConnectionState.REMOTE_CLOSING
                await self._end(event.response() if remote else event, code=event.code)
                return

    async def _deliver(self) -> None:
        message = self.buffer.to_message()
        self.buffer.clear()
        if message["bytes"] == b"":
            message["bytes"] = EmptyFrame()
        if self.app_put is not None:
            await self.app_put(message)

    async def _end(self, event: FrameEvent, code: int | None = None) -> None:
        self._code = code if code is not None else event.code  # type: ignore[attr-defined]  # only a close comes without one
        await self._send_wsproto_event(event)
        await self.send(StreamClosed(stream_id=self.stream_id))

    async def _send_error_response(self, status_code: int) -> None:
        headers, body = self._peer.serving.refuse(status_code, "The WebSocket was refused.")
        headers = [*headers, (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        await self.send(Response(stream_id=self.stream_id, headers=headers, status_code=status_code))
        await self.send(Body(stream_id=self.stream_id, data=body))
        await self.send(EndBody(stream_id=self.stream_id))
        await self.send(StreamClosed(stream_id=self.stream_id))

    async def _send_pings(self) -> None:
        interval = self._peer.serving.limits.websocket_ping_interval
        while not self._over.is_set():
            with trio.move_on_after(interval):
                await self._over.wait()
            if self._over.is_set():
                return
            if trio.current_time() - self._heard > 2 * interval:
                self._peer.abort()
                return
            await self._send_wsproto_event(Ping())
