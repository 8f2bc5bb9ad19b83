"""`POST /v1/messages` and its token count: plain ASGI endpoints, because they own an upstream from its first byte to its last.

Beside the endpoint there is only the watch for a client that hangs up: a call from the server where it makes one (HTTP/1.1), else
a task in the request's one nursery.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from vango.app.answers import error_frame, read_body, send_json
from vango.errors import VangoError
from vango.governance.pricing import header
from vango.types.fold import Fold
from vango.types.messages import MessageRequest, read_request
from vango.wire import json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vango.app.answers import Receive, Send
    from vango.app.exchange import Exchange, RawHeaders
    from vango.app.gate import Gate
    from vango.config import Settings
    from vango.gateway import LocalGateway
    from vango.types.call import Caller
    from vango.wire.sse import Frame

STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
MAX_LOSS_HEADER = 2048
NO_MESSAGE = (LookupError, TypeError, AttributeError, *json.MALFORMED)
"""What a fold raises for events that make no message."""

_NOT_SHOWN = re.compile(r"[^!-:<-~]")


class UpstreamEndpoint(ABC):
    """An endpoint that owns an upstream call: admits, reads, and answers beside a watch for a client that hangs up."""

    def __init__(self, gateway: LocalGateway, gate: Gate, settings: Settings) -> None:
        self.gateway = gateway
        self._gate = gate
        self._limits = settings.server.limits
        self.keeps_content = settings.observability.logging.content

    async def __call__(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        """Answer one request; raises VangoError and ClientGone."""
        caller = self._gate.admit(exchange)
        request = await self._read(exchange, receive)
        caller = self._gate.bring(exchange, caller, request.provider_keys)
        if exchange.client is not None:
            # The server calls when the client leaves, so no task need wait for it: that saves 40 µs a request.
            with trio.CancelScope() as scope:
                exchange.client.on_leave = partial(_left, exchange, scope)
                if exchange.client.left:
                    _left(exchange, scope)
                await self.answer(exchange, request, caller, send)
            return
        failure: VangoError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, exchange, receive, nursery.cancel_scope)
            try:
                await self.answer(exchange, request, caller, send)
            except VangoError as error:  # caught in here: the nursery would wrap it in a group
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    @abstractmethod
    async def answer(self, exchange: Exchange, request: MessageRequest, caller: Caller, send: Send) -> None:
        """Run the request and send its answer; raises VangoError."""

    async def _read(self, exchange: Exchange, receive: Receive) -> MessageRequest:
        body = await read_body(
            exchange,
            receive,
            limit=self._limits.max_body_bytes,
            silence=self._limits.body_timeout_seconds,
        )
        return read_request(
            body,
            headers=exchange.provider_headers(),
            strict=exchange.strict,
            max_nesting=self._limits.max_nesting,
            max_messages=self._limits.max_messages,
        )


async def _watch(exchange: Exchange, receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    _left(exchange, scope)


def _left(exchange: Exchange, scope: trio.CancelScope) -> None:
    # Once the answer is out, the server reports the end of the exchange the same way.
    if not exchange.finished:
        exchange.outcome.cancelled_by = "client"
        scope.cancel()


class CountTokens(UpstreamEndpoint):
    """`POST /v1/messages/count_tokens`."""

    async def answer(self, exchange: Exchange, request: MessageRequest, caller: Caller, send: Send) -> None:
        """Answer with the number of input tokens."""
        count = await self.gateway.count_tokens(request, caller, exchange.outcome)
        await send_json(exchange, send, 200, b'{"input_tokens":%d}' % count, provider_headers(exchange))


class Messages(UpstreamEndpoint):
    """`POST /v1/messages`, whole or as a stream."""

    async def answer(self, exchange: Exchange, request: MessageRequest, caller: Caller, send: Send) -> None:
        """Answer as the request asks."""
        exchange.outcome.stream = request.stream
        if self.keeps_content:
            exchange.content = {name: request.fields[name] for name in ("system", "messages") if name in request.fields}
        if request.stream:
            await self._stream(exchange, request, caller, send)
        else:
            await self._whole(exchange, request, caller, send)

    async def _whole(self, exchange: Exchange, request: MessageRequest, caller: Caller, send: Send) -> None:
        decoded = await self.gateway.create(request, caller, exchange.outcome)
        elapsed = trio.current_time() - exchange.began
        exchange.overhead = elapsed - exchange.outcome.upstream_seconds
        headers = [
            (b"x-model", _latin(decoded.model)),
            (b"x-duration-ms", b"%d" % (elapsed * 1000)),
            *provider_headers(exchange),
        ]
        if decoded.usage is not None:
            headers.append((b"x-input-tokens", b"%d" % decoded.usage.input_tokens))
            headers.append((b"x-output-tokens", b"%d" % decoded.usage.total_output))
        if decoded.cost is not None:
            headers.append((b"x-cost-usd", header(decoded.cost).encode()))
        if exchange.content is not None:
            exchange.content["output"] = json.decode_fields(decoded.body).get("content")
        await send_json(exchange, send, 200, decoded.body, headers)

    async def _stream(self, exchange: Exchange, request: MessageRequest, caller: Caller, send: Send) -> None:
        async with self.gateway.stream(request, caller, exchange.outcome) as stream:
            exchange.status = 200
            exchange.overhead = trio.current_time() - exchange.began - exchange.outcome.upstream_seconds
            head = [*STREAM, *exchange.id_headers, (b"x-model", _latin(stream.model)), *provider_headers(exchange)]
            await send({"type": "http.response.start", "status": 200, "headers": head})
            if not stream.ready:
                await send(_body(b"", more=True))  # the window has closed over nothing: the head goes alone
            failure: VangoError | None = None
            fold = Fold() if exchange.content is not None else None
            try:
                async for batch in stream:
                    fold = _folded(fold, batch)
                    exchange.finished = stream.done
                    body = batch[0].raw if len(batch) == 1 else b"".join([item.raw for item in batch])
                    await send(_body(body, more=not stream.done))
            except VangoError as error:
                failure = error
            finally:
                if exchange.content is not None and fold is not None:
                    exchange.content["output"] = _output(fold)
            if failure is not None:
                exchange.finished = True
                await send(_body(error_frame(exchange, failure).raw, more=False))
                raise failure
            await stream.finish()


def _folded(fold: Fold | None, batch: Sequence[Frame]) -> Fold | None:
    """Add a batch up for the log; an upstream whose events make no message is relayed all the same, and logged without."""
    try:
        if fold is not None:
            fold.feed(batch)
    except NO_MESSAGE:
        return None
    return fold


def _output(fold: Fold) -> Any:
    try:
        return fold.message["content"] if fold.message is not None else None
    except NO_MESSAGE:
        return None


def _body(data: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def provider_headers(exchange: Exchange) -> RawHeaders:
    """Return what an answer says of the call behind it: the provider's request id, and what was lost on the way."""
    headers: RawHeaders = []
    outcome = exchange.outcome
    if outcome.provider_request_id:
        headers.append((b"x-provider-request-id", _latin(outcome.provider_request_id)))
    if outcome.losses:
        # Paths hold names that the caller chose.
        report = "; ".join(_NOT_SHOWN.sub("?", loss) for loss in outcome.losses)
        more = "…" if len(report) > MAX_LOSS_HEADER else ""
        headers.append((b"x-vango-loss", f"{report[:MAX_LOSS_HEADER]}{more}".encode()))
    return headers


def _latin(text: str) -> bytes:
    """Write a name that a provider chose as a header value, whatever is in it."""
    return "".join(char for char in text if char.isprintable()).encode("latin-1", "replace")
