"""Anthropic's error envelope, over HTTP and inside a stream."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from vango.providers.refusals import refusal
from vango.wire import json

if TYPE_CHECKING:
    from vango.errors import VangoError
    from vango.providers.base import Target
    from vango.wire.call import ReplyHead

STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The status that each error type has over HTTP, for errors inside a stream that began with 200."""

# "messages.0.content.1.source: Field required"
_LED_BY_PATH = re.compile(r"([a-z_]+(?:\.[a-z_0-9]+)*): ")


class _Said(msgspec.Struct):
    type: str = ""
    message: str = ""
    details: Any = None

    @property
    def details_object(self) -> dict[str, Any] | None:
        return self.details if isinstance(self.details, dict) else None


class _Envelope(msgspec.Struct):
    error: _Said = msgspec.field(default_factory=_Said)
    request_id: str | None = None


_decode = msgspec.json.Decoder(_Envelope).decode


def http_error(head: ReplyHead, body: bytes, target: Target) -> VangoError:
    """Map an HTTP answer of status 300 or above."""
    try:
        envelope = _decode(body)
    except json.MALFORMED:
        envelope = _Envelope()
    said = envelope.error
    kind = said.type or "unknown"
    message = said.message or f"answered with status {head.status} and no readable error."
    return refusal(
        head.status,
        kind,
        message,
        target,
        headers={**_request_id(envelope), **head.headers},
        param=_param(said.message),
        details=said.details_object,
    )


def stream_error(data: bytes, target: Target) -> VangoError:
    """Map the `error` event of a stream."""
    try:
        envelope = _decode(data)
    except json.MALFORMED:
        envelope = _Envelope()
    said = envelope.error
    return refusal(
        STATUSES.get(said.type, 500),
        said.type or "unknown",
        said.message or "the stream reported an error without a message.",
        target,
        headers=_request_id(envelope),
        param=_param(said.message),
        details=said.details_object,
    )


def _request_id(envelope: _Envelope) -> dict[str, str]:
    return {"request-id": envelope.request_id} if envelope.request_id else {}


def _param(message: str) -> str | None:
    match = _LED_BY_PATH.match(message)
    if match is None:
        return None
    return re.sub(r"\.(\d+)", r"[\1]", match[1])
