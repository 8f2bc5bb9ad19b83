"""The bytes of a response head."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from wsgiref.handlers import format_date_time

from hypercorn.config import Config

if TYPE_CHECKING:
    from vango.app.server.limits import Headers, Limits, Refuse

CLIENT = "vango.client"
"""The ASGI extension by which an app meets the `Exchange` itself: what has `completed`, and `on_leave`."""

Message = dict[str, Any]
STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


def status_line(status: int) -> bytes:
    """Return the first line of a response."""
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


class Signature:
    """The Date and Server headers every response ends its head with, made once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._headers: Headers = []
        self._lines = b""

    def _refresh(self) -> None:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._headers = [(b"date", format_date_time(second).encode()), (b"server", b"vango")]
            self._lines = b"".join(b"%b: %b\r\n" % header for header in self._headers)

    @property
    def headers(self) -> Headers:
        """As pairs, for Hypercorn's protocols."""
        self._refresh()
        return self._headers

    @property
    def lines(self) -> bytes:
        """As bytes, for heads written here."""
        self._refresh()
        return self._lines


class WireConfig(Config):
    """What Hypercorn's protocols ask of their configuration, without its loggers."""

    def __init__(self, limits: Limits, signature: Signature) -> None:
        self.errorlog = None
        self.h11_max_incomplete_size = limits.max_header_bytes
        self.h2_max_header_list_size = limits.max_header_bytes
        self.keep_alive_max_requests = 2**62
        self.websocket_max_message_size = limits.websocket_message_bytes
        self.websocket_ping_interval = limits.websocket_ping_interval
        self._signature = signature

    def response_headers(self, protocol: str) -> Headers:
        """Return the headers of every response."""
        return list(self._signature.headers)


def closing_answer(status: int, message: str, refuse: Refuse, signature: Signature) -> bytes:
    """Return a whole error response that ends its connection."""
    headers, body = refuse(status, message)
    lines = [status_line(status)]
    lines += [b"%b: %b\r\n" % header for header in headers]
    lines.append(b"content-length: %d\r\nconnection: close\r\n" % len(body))
    lines += (signature.lines, b"\r\n", body)
    return b"".join(lines)
