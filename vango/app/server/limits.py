"""What one client may take of the server before it is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Headers = list[tuple[bytes, bytes]]
Refuse = Callable[[int, str], tuple[Headers, bytes]]
"""Makes headers and body of an error answer from its status and a sentence."""

# What a peer must take within write_timeout: a minimum speed for big answers rather than a maximum size.
WRITE_SLICE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the server; times are in seconds.

    `max_connections` is for each process; one more gets a 503.
    `header_timeout` runs from the first byte of a head to its last, `keep_alive` while a connection has no request.
    `write_timeout` is what a peer has to take 64 KiB, or to answer a probe, before it counts as gone; in HTTP/2 each stream
    has its own.
    A WebSocket peer that is silent for two ping intervals counts as gone too.
    """

    max_connections: int = 10_000
    max_header_bytes: int = 32 * 1024
    max_headers: int = 128
    header_timeout: float = 10.0
    keep_alive: float = 75.0
    write_timeout: float = 30.0
    tls_handshake_timeout: float = 10.0
    backlog: int = 1024
    websocket_message_bytes: int = 64 * 1024
    websocket_ping_interval: float = 20.0


class Refused(Exception):
    """A connection that ends here, with an answer from the server itself. `message` is a sentence for the client."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
