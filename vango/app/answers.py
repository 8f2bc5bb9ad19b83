"""Answers as ASGI messages: JSON, the error envelope, and the body of a request read under its limits."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import trio

from vango.app.exchange import id_headers, new_request_id
from vango.errors import ApiError, InvalidRequestError, OverloadedError, VangoError
from vango.wire import json
from vango.wire.sse import Frame, frame

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from vango.app.exchange import Exchange, RawHeaders

    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]

JSON = (b"content-type", b"application/json")


class ClientGone(Exception):
    """The client hung up before its request was whole; there is nobody left to answer."""


async def read_body(exchange: Exchange, receive: Receive, *, limit: int, silence: float) -> bytes:
    """Read a JSON body of at most `limit` bytes, with at most `silence` seconds between its pieces.

    Raises InvalidRequestError (413, 415, 408) and ClientGone.
    """
    kind = exchange.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind and kind != b"application/json" and not kind.endswith(b"+json"):
        raise InvalidRequestError("Expected a body of application/json.", status=415)
    if exchange.headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise InvalidRequestError("Expected a body without content encoding.", status=415)
    length = exchange.headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length) > limit:
        raise _too_large(limit)
    if exchange.client is not None and exchange.client.completed:
        # Nothing to wait for, so nothing to bound: a cancel scope costs more than all else in here.
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body: bytes = message["body"]
        if len(body) > limit:
            raise _too_large(limit)
        return body
    parts: list[bytes] = []
    size = 0
    with trio.CancelScope(deadline=trio.current_time() + silence) as scope:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            if part := message.get("body", b""):
                parts.append(part)
                size += len(part)
                if size > limit:
                    raise _too_large(limit)
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)
            scope.deadline = trio.current_time() + silence
    raise InvalidRequestError(f"The body stopped coming for {silence:g} s.", status=408)


def _too_large(limit: int) -> InvalidRequestError:
    return InvalidRequestError(f"The body is larger than {limit} bytes.", status=413)


async def send_json(
    exchange: Exchange, send: Send, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Send a whole JSON answer."""
    exchange.status = status
    head = [JSON, (b"content-length", b"%d" % len(body)), *exchange.id_headers, *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    exchange.finished = True
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def send_error(exchange: Exchange, send: Send, error: VangoError) -> None:
    """Send an error as its status and envelope."""
    exchange.error_type = error.type
    await send_json(exchange, send, error.status, envelope(exchange, error), error_headers(error))


def envelope(exchange: Exchange, error: VangoError) -> bytes:
    """Return the JSON of an error."""
    return json.encode(error.envelope(exchange.request_id))


def error_frame(exchange: Exchange, error: VangoError) -> Frame:
    """Return the terminal event of a stream that failed after it had begun."""
    exchange.error_type = error.type
    return frame("error", envelope(exchange, error))


def refuse(status: int, message: str) -> tuple[RawHeaders, bytes]:
    """Return headers and body of an answer that the server makes before there is a request to look at."""
    error: VangoError
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        error = OverloadedError(message)
    elif status == HTTPStatus.INTERNAL_SERVER_ERROR:
        error = ApiError(message)
    else:
        error = InvalidRequestError(message, status=status)  # 501 and 505 too: what was sent is at fault
    request_id = new_request_id()
    return [JSON, *id_headers(request_id)], json.encode(error.envelope(request_id))


def error_headers(error: VangoError) -> RawHeaders:
    """Return what an error says in headers: how long to wait, and the provider's request id."""
    headers: RawHeaders = []
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % -int(-error.retry_after // 1)))
    if error.provider_request_id and error.provider_request_id.isascii() and error.provider_request_id.isprintable():
        headers.append((b"x-provider-request-id", error.provider_request_id.encode()))
    if error.status in (408, 413):
        headers.append((b"connection", b"close"))
    return headers
