"""HTTP/2, where it is asked for: Hypercorn's protocol without WebSockets in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2.errors import ErrorCodes
from h2.settings import SettingCodes, Settings
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.typing import ConnectionState

if TYPE_CHECKING:
    from h2.events import RequestReceived

    from vango.app.server.connection import Connection


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
        self.connection.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: serving.config.h2_max_concurrent_streams,
                SettingCodes.MAX_HEADER_LIST_SIZE: serving.config.h2_max_header_list_size,
            },
        )

    async def _create_stream(self, request: RequestReceived) -> None:
        headers = request.headers
        if (b":method", b"CONNECT") in [(name, value) for name, value in headers]:
            self.connection.reset_stream(request.stream_id, ErrorCodes.REFUSED_STREAM)
        else:
            await super()._create_stream(request)

    def overdue(self) -> bool:
        """Whether the time for a head is over; HTTP/2 has no answer to that but closing."""
        return False
