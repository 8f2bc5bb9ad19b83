"""The outermost layer: what every request passes before and after the endpoint that answers it.

It gives the request its id, refuses odd targets and new work while draining, answers cross-origin preflights, turns every failure
into the envelope, and writes the one log line and the metrics. `POST /v1/messages` goes to its plain endpoint, the rest to Quart.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import trio

from vango.app.answers import ClientGone, send_error
from vango.app.exchange import Exchange
from vango.app.telemetry import completed
from vango.errors import ApiError, InvalidRequestError, OverloadedError, VangoError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from structlog.typing import FilteringBoundLogger

    from vango.app.answers import Receive, Send
    from vango.app.exchange import Network, RawHeaders
    from vango.app.server import Drain
    from vango.app.telemetry import Metrics

    Scope = dict[str, Any]
    ASGI = Callable[[Scope, Receive, Send], Awaitable[None]]
    Endpoint = Callable[[Exchange, Receive, Send], Awaitable[None]]

# Labels as DNS has them: Quart fails on others before any of its handlers is asked.
_HOST = re.compile(
    rb"(?:(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?|\[[0-9A-Fa-f:.]{2,45}\])?(?::[0-9]{0,5})?", re.ASCII
)

CLOSED_REQUEST = 499
"""The status that logs and metrics give to a request whose client left before an answer began."""

EXPOSED = (
    b"x-request-id, request-id, x-model, x-input-tokens, x-output-tokens, x-duration-ms, x-cost-usd, "
    b"x-vango-loss, x-provider-request-id, retry-after"
)

RETRY_WHEN_DRAINING = 1.0


class Edge:
    """An ASGI application around another one.

    `plain` are the endpoints that own an upstream, by path and method; `open_while_draining` the paths that answer to the end.
    """

    def __init__(
        self,
        inner: ASGI,
        plain: Mapping[str, Mapping[str, Endpoint]],
        *,
        drain: Drain,
        metrics: Metrics,
        log: FilteringBoundLogger,
        cors_origins: Collection[str] = (),
        trusted_proxies: Sequence[Network] = (),
        open_while_draining: Collection[str] = (),
    ) -> None:
        self._inner = inner
        self._plain = plain
        self._drain = drain
        self._metrics = metrics
        self._log = log
        self._cors = frozenset(origin.encode() for origin in cors_origins)
        self._any_origin = "*" in cors_origins
        self._trusted = trusted_proxies
        self._open_while_draining = frozenset(open_while_draining)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "websocket":
            scope, receive, send = _as_get(scope, receive, send)
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        exchange = Exchange(scope, trio.current_time(), self._trusted)
        self._metrics.in_flight.inc()
        try:
            await self._serve(exchange, scope, receive, send)
        finally:
            self._metrics.in_flight.dec()
            self._complete(exchange)

    async def _serve(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        origin = exchange.headers.get(b"origin") if self._cors else None
        if origin is not None and not (self._any_origin or origin in self._cors):
            origin = None
        if self._cors:
            send = _with_headers(send, _cross_origin(origin))
        try:
            _settle_target(scope, exchange)
            path: str = scope["path"]
            methods = self._plain.get(path)
            if methods is not None:
                exchange.path = path
            if self._drain.draining and path not in self._open_while_draining:
                raise OverloadedError("This server is shutting down.", code="draining", retry_after=RETRY_WHEN_DRAINING)
            if (
                origin is not None
                and exchange.method == "OPTIONS"
                and b"access-control-request-method" in exchange.headers
            ):
                exchange.path = "preflight"
                await _preflight(exchange, send)
                return
            if methods is None:
                await self._quart(exchange, scope, receive, send)
                return
            endpoint = methods.get(exchange.method)
            if endpoint is None:
                await send_error(
                    exchange, _with_headers(send, [(b"allow", ", ".join(methods).encode())]), _wrong_method(exchange)
                )
                return
            await endpoint(exchange, receive, send)
        except ClientGone:
            exchange.outcome.cancelled_by = "client"
        except VangoError as error:
            if exchange.status == 0:
                await send_error(exchange, send, error)
        except Exception as error:  # noqa: BLE001 - the edge: it is logged, and answered where that is still possible
            self._log.exception("request_failed", request_id=exchange.request_id, path=exchange.path)
            if exchange.status != 0:
                return  # the server breaks off an answer that has not ended
            failure = ApiError("Something went wrong here; the log of this server knows more.")
            failure.__cause__ = error
            await send_error(exchange, send, failure)

    async def _quart(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the Quart application, which finds the exchange in its scope; the edge adds the headers that every answer has."""

        async def watched(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message = {**message, "headers": [*message["headers"], *exchange.id_headers]}
            elif message["type"] == "http.response.body" and not message.get("more_body", False):
                exchange.finished = True
            await send(message)

        await self._inner({**scope, "vango.exchange": exchange}, receive, watched)
        if exchange.status == 0:
            exchange.outcome.cancelled_by = "client"

    def _complete(self, exchange: Exchange) -> None:
        if exchange.status == 0:
            exchange.status = CLOSED_REQUEST
            exchange.outcome.cancelled_by = exchange.outcome.cancelled_by or "server"
        elif not exchange.finished and exchange.outcome.cancelled_by is None:
            exchange.outcome.cancelled_by = "server"
        seconds = trio.current_time() - exchange.began
        self._metrics.count(exchange, seconds)
        self._log.info("request_complete", **completed(exchange, seconds))


def _settle_target(scope: Scope, exchange: Exchange) -> None:
    """Let only targets through that mean one path to everybody: `/…`, or an absolute URL of the host the request is for."""
    host = exchange.headers.get(b"host", b"").strip()
    if not _HOST.fullmatch(host):
        raise InvalidRequestError("The Host header must be a host name or an address.")
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    if raw.startswith(b"/"):
        return
    scheme, _, rest = raw.partition(b"://")
    if scheme.lower() in (b"http", b"https"):
        authority, slash, path = rest.partition(b"/")
        if authority and authority.lower() == host.lower():
            scope["raw_path"] = slash + path or b"/"
            scope["path"] = unquote(scope["raw_path"].decode("ascii", "replace"))
            return
    raise InvalidRequestError("The request target must be a path that begins with '/'.")


def _as_get(scope: Scope, receive: Receive, send: Send) -> tuple[Scope, Receive, Send]:
    """Turn a WebSocket handshake into an ordinary GET: HTTP lets a server pass over an upgrade that it has no use for."""
    asked = False

    async def request() -> dict[str, Any]:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        while (await receive())["type"] != "websocket.disconnect":
            pass
        return {"type": "http.disconnect"}

    async def answer(message: dict[str, Any]) -> None:
        await send({**message, "type": f"websocket.{message['type']}"})

    scheme = {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"])
    return {**scope, "type": "http", "method": "GET", "scheme": scheme}, request, answer


def _wrong_method(exchange: Exchange) -> InvalidRequestError:
    return InvalidRequestError(f"{exchange.method} is not a method of {exchange.path}.", status=405)


def _cross_origin(origin: bytes | None) -> RawHeaders:
    """Return what tells a browser that a page of `origin` may read the answer, or nobody's; caches are told the difference."""
    if origin is None:
        return [(b"vary", b"origin")]
    return [
        (b"access-control-allow-origin", origin),
        (b"vary", b"origin"),
        (b"access-control-expose-headers", EXPOSED),
    ]


async def _preflight(exchange: Exchange, send: Send) -> None:
    exchange.status = 204
    headers: RawHeaders = [
        (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
        (b"access-control-allow-headers", exchange.headers.get(b"access-control-request-headers", b"*")),
        (b"access-control-max-age", b"600"),
        *exchange.id_headers,
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    exchange.finished = True
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _with_headers(send: Send, extra: RawHeaders) -> Send:
    async def adding(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *extra]}
        await send(message)

    return adding
