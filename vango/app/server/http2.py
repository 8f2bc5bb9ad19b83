"""HTTP/2, where it is asked for: Hypercorn's protocol without WebSockets in it, and with the ends it forgets."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import trio
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hypercorn.events import Closed, Updated
from hypercorn.protocol.events import Body, EndBody, Request, Response, StreamClosed
from hypercorn.protocol.h2 import BufferCompleteError, H2Protocol, StreamBuffer
from hypercorn.protocol.http_stream import ASGIHTTPState, HTTPStream
from hypercorn.typing import ConnectionState
from hypercorn.utils import filter_pseudo_headers

from vango.app.server.limits import WRITE_SLICE

if TYPE_CHECKING:
    from h2.events import Event as FrameEvent
    from h2.events import PriorityUpdated
    from hypercorn.events import Event
    from hypercorn.protocol.events import Event as StreamEvent

    from vango.app.server.connection import Connection

# What an answer may write ahead of its client: two frames, and one when it may go on.
FULL_BYTES = 32 * 1024
ROOM_BYTES = 16 * 1024


class Stalled(Exception):
    """The client has not opened a stream's window in time."""


class Http2(H2Protocol):
    """The streams of one connection.

    Extended CONNECT is not offered, so that browsers open WebSockets over HTTP/1.1, where they are guarded.
    """

    def __init__(self, peer: Connection) -> None:
        serving = peer.serving
        super().__init__(
            serving.app,  # type: ignore[arg-type]  # Tasks calls it with ASGI's three arguments
            serving.config,
            serving.context,
            peer.tasks,
            ConnectionState(serving.state),
            peer.secure,
            peer.client,
            peer.server,
            peer.protocol_send,
        )
        self.peer = peer
        self._limits = serving.limits
        self.connection.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: serving.config.h2_max_concurrent_streams,
                SettingCodes.MAX_HEADER_LIST_SIZE: serving.config.h2_max_header_list_size,
            },
        )
        # The settings only tell the client; h2 itself would go by a default of 64 KiB.
        self.connection.decoder.max_header_list_size = serving.config.h2_max_header_list_size

    async def handle(self, event: Event) -> None:
        """Take bytes that were read, or the end of the connection, after which no app waits for its client."""
        await super().handle(event)
        if isinstance(event, Closed):
            for buffer in self.stream_buffers.values():
                await buffer.close()

    async def _handle_events(self, events: list[FrameEvent]) -> None:
        for event in events:
            if isinstance(event, RequestReceived):
                # During a drain, too: the app says that it takes no new work.
                await self._create_stream(event)
                await self.send(Updated(idle=self.idle))
                await self._flush()
            elif isinstance(event, DataReceived) and event.stream_id not in self.streams:
                await self._discard(event)
            else:
                await super()._handle_events([event])

    async def _discard(self, event: DataReceived) -> None:
        """Throw away a body whose request is answered; the client is told to stop once it has the whole answer."""
        # h2 has read ahead: the stream may have ended by now, or have been reset for the piece before.
        with suppress(ProtocolError):
            self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if event.stream_id not in self.stream_buffers:
                self.connection.reset_stream(event.stream_id, ErrorCodes.NO_ERROR)
        await self._flush()

    async def _create_stream(self, request: RequestReceived) -> None:
        number, fields = request.stream_id, dict(request.headers)
        method, target = fields[b":method"], fields.get(b":path", b"")
        if method == b"CONNECT":
            self.connection.reset_stream(number, ErrorCodes.REFUSED_STREAM)
            return
        if not (method.isascii() and target.isascii()):
            self.connection.reset_stream(number, ErrorCodes.PROTOCOL_ERROR)
            return
        headers = filter_pseudo_headers(request.headers)
        if len(headers) > self._limits.max_headers:
            self.connection.reset_stream(number, ErrorCodes.ENHANCE_YOUR_CALM)
            return
        stream = self.streams[number] = Http2Stream(self, number)
        self.stream_buffers[number] = Outgoing(self._limits.write_timeout)
        self.priority.insert_stream(number)
        self.priority.block(number)
        await stream.handle(
            Request(
                stream_id=number,
                headers=headers,
                http_version="2",
                method=method.decode("ascii"),
                raw_path=target,
                state=self.connection_state,
            )
        )

    async def _priority_updated(self, event: PriorityUpdated) -> None:
        """Nothing: all streams are equal. RFC 9113 has given priorities up, and each frame would add to a tree."""

    async def _send_data(self, stream_id: int) -> None:
        """Write a frame of an answer, its end in the same step; an app that hears of the end may end the connection."""
        buffer = self.stream_buffers[stream_id]
        over = True
        try:
            room = min(self.connection.local_flow_control_window(stream_id), self.connection.max_outbound_frame_size)
            data = await buffer.pop(max(0, room))
            over = buffer.complete
            if data or over:
                self.connection.send_data(stream_id, data, end_stream=over)
            else:
                self.priority.block(stream_id)
        except ProtocolError:
            over = True  # the stream or the connection has ended meanwhile
        if over:
            self.priority.remove_stream(stream_id)
            del self.stream_buffers[stream_id]
        await self._flush()
        if over:
            await buffer.close()

    async def stream_send(self, event: StreamEvent) -> None:
        """Do what a stream asks for."""
        try:
            await super().stream_send(event)
        except Stalled:
            await self.break_off(event.stream_id, ErrorCodes.CANCEL)

    async def break_off(self, stream_id: int, code: ErrorCodes) -> None:
        """End a stream so that nobody takes its answer for a whole one."""
        with suppress(ProtocolError):
            self.connection.reset_stream(stream_id, code)
        await self._flush()
        await self._window_updated(stream_id)  # the sending task meets the end of the stream and forgets it
        await super().stream_send(StreamClosed(stream_id=stream_id))

    def overdue(self) -> bool:
        """Whether the time for a head is over; HTTP/2 has no answer to that but closing."""
        return False


class Http2Stream(HTTPStream):
    """One request and its answer."""

    def __init__(self, http: Http2, stream_id: int) -> None:
        super().__init__(
            http.app,
            http.config,
            http.context,
            http.task_group,
            http.ssl,
            http.client,
            http.server,
            http.stream_send,
            stream_id,
        )
        self._http = http

    async def app_send(self, message: object) -> None:
        """Take what the app sends; None is its end, which must not leave the client waiting for the answer's."""
        if message is None and not self.closed and self.state is ASGIHTTPState.RESPONSE:
            await self._http.break_off(self.stream_id, ErrorCodes.INTERNAL_ERROR)
        else:
            await super().app_send(message)  # type: ignore[arg-type]  # Hypercorn looks at each message itself

    async def _send_error_response(self, status_code: int) -> None:
        sentence = "The server failed to answer. Its log says why."
        headers, body = self._http.peer.serving.refuse(status_code, sentence)
        await self.send(Response(stream_id=self.stream_id, headers=headers, status_code=status_code))
        await self.send(Body(stream_id=self.stream_id, data=body))
        await self.send(EndBody(stream_id=self.stream_id))
        self.state = ASGIHTTPState.CLOSED


class Outgoing(StreamBuffer):
    """What an answer has written ahead of its client.

    Hypercorn's own lets the app go on at every attempt to send, also where the client's window is shut: then it grows
    for as long as the app writes.
    """

    def __init__(self, seconds: float) -> None:
        self.buffer = bytearray()
        self._seconds = seconds
        self._complete = False
        self._closed = False
        self._moved = trio.Event()

    async def push(self, data: bytes) -> None:
        """Add to the answer, and wait while it is too far ahead.

        Raises Stalled where the client takes no 64 KiB, or all there are, within the write deadline.
        """
        if self._complete:
            raise BufferCompleteError
        self.buffer += data
        if len(self.buffer) >= FULL_BYTES:
            await self._wait_left(ROOM_BYTES)

    async def drain(self) -> None:
        """Wait until the client has the end of the answer. Raises Stalled, as `push` does."""
        await self._wait_left(0)

    async def pop(self, max_length: int) -> bytes:
        """Take what fits into the client's window."""
        data = bytes(self.buffer[:max_length])
        del self.buffer[:max_length]
        self._tell()
        return data

    async def close(self) -> None:
        """Let go of whoever waits: all is sent, or will never be."""
        self._complete = self._closed = True
        self.buffer.clear()
        self._tell()

    def _tell(self) -> None:
        self._moved.set()
        self._moved = trio.Event()

    async def _wait_left(self, most: int) -> None:
        """Wait until so many bytes are left at the most; for the end of a complete answer, until that is sent."""
        goal = len(self.buffer) - WRITE_SLICE
        with trio.CancelScope(deadline=trio.current_time() + self._seconds) as scope:
            while not self._closed and (len(self.buffer) > most or (self._complete and most == 0)):
                await self._moved.wait()
                if len(self.buffer) <= goal:
                    goal = len(self.buffer) - WRITE_SLICE
                    scope.deadline = trio.current_time() + self._seconds
        if scope.cancelled_caught:
            raise Stalled
