"""The application: Quart's routes for what is asked now and then, the plain endpoints for what owns an upstream, and the edge.

Whoever adds a route says who may use it: without `@public`, the gate is asked first.
"""

from __future__ import annotations

import html
import time
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args

from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from vango.app.answers import envelope, error_headers
from vango.app.asgi import Edge
from vango.app.gate import Gate
from vango.app.messages import CountTokens, Messages
from vango.app.openapi import document
from vango.app.telemetry import Metrics
from vango.errors import ApiError, InvalidRequestError, NotFoundError, VangoError
from vango.gateway import MAX_PAGE, Page
from vango.types.models import Capabilities, NativeTool
from vango.wire import json

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from vango.app.asgi import ASGI
    from vango.app.exchange import Exchange
    from vango.app.server import Drain
    from vango.gateway import LocalGateway

F = TypeVar("F")

MAX_QUART_BODY = 64 * 1024
"""Nothing that Quart answers reads a body; what is sent all the same is not kept."""

OPEN_WHILE_DRAINING = ("/health", "/ready")
CAPABILITIES = (*Capabilities.__struct_fields__, *get_args(NativeTool))


def public(view: F) -> F:
    """Mark a route that needs no key."""
    view.public = True  # type: ignore[attr-defined]  # functions take attributes, their types do not
    return view


def make_app(gateway: LocalGateway, *, drain: Drain, log: FilteringBoundLogger) -> Edge:
    """Return the ASGI application that serves a gateway; `drain` tells it when to refuse new work."""
    settings = gateway.settings
    metrics = Metrics(_known_model(gateway))
    gate = Gate.of(settings)
    quart = _quart(gateway, gate, metrics, drain, log)
    metrics_path = settings.observability.metrics.path
    return Edge(
        cast("ASGI", quart),
        {
            "/v1/messages": {"POST": Messages(gateway, gate, settings)},
            "/v1/messages/count_tokens": {"POST": CountTokens(gateway, gate, settings)},
        },
        drain=drain,
        metrics=metrics,
        log=log,
        cors_origins=settings.server.cors_origins,
        trusted_proxies=settings.server.trusted_proxies,
        open_while_draining=(*OPEN_WHILE_DRAINING, metrics_path),
    )


def _known_model(gateway: LocalGateway) -> Callable[[str, str], str]:
    """Return a function that names a model for a metric's label: its catalogue entry's id, else `other`."""

    def label(provider: str, full_id: str) -> str:
        # Not kept: a date may follow any name, so callers can make up as many as they like for one entry.
        entry = gateway.catalog.find(provider, full_id.removeprefix(f"{provider}/"))
        return f"{provider}/{entry.id}" if entry is not None else "other"

    return label


def _quart(gateway: LocalGateway, gate: Gate, metrics: Metrics, drain: Drain, log: FilteringBoundLogger) -> QuartTrio:
    settings = gateway.settings
    app = QuartTrio("vango", static_folder=None)
    app.url_map.merge_slashes = False
    # Vango's own deadlines and limits hold; Quart's would cut answers short without a word.
    app.config.update(
        RESPONSE_TIMEOUT=None, BODY_TIMEOUT=None, MAX_CONTENT_LENGTH=MAX_QUART_BODY, PROVIDE_AUTOMATIC_OPTIONS=False
    )
    began = time.monotonic()
    metrics_path = settings.observability.metrics.path if settings.observability.metrics.enabled else None
    release = version("vango")  # read from a file, so once
    described = document(release, metrics_path)

    @app.before_request
    async def admit() -> None:
        exchange = _exchange()
        rule = request.url_rule
        if rule is None:
            return  # no route: Quart answers 404 or 405
        exchange.path = rule.rule.replace("<path:name>", "{id}")
        if not getattr(app.view_functions[rule.endpoint], "public", False):
            gate.admit(exchange)

    @app.get("/health")
    @public
    async def health() -> Response:
        providers = gateway.health()
        degraded = any(item["status"] == "degraded" for item in providers.values())
        return _json(
            {
                "status": "degraded" if degraded else "healthy",
                "version": release,
                "uptime_seconds": round(time.monotonic() - began, 1),
                "providers": providers,
                "voice": {},
            }
        )

    @app.get("/ready")
    @public
    async def ready() -> Response:
        return _json({"status": "draining"}, 503) if drain.draining else _json({"status": "ready"})

    if metrics_path is not None:

        @app.get(metrics_path)
        @public
        async def prometheus() -> Response:
            return Response(metrics.render(), content_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/openapi.json")
    @public
    async def openapi() -> Response:
        return Response(described, content_type="application/json")

    if settings.server.playground:
        page = files("vango.app").joinpath("index.html").read_text().replace("{version}", release)
        page = page.replace("{metrics}", f'<a href="{metrics_path}">Metrics</a>' if metrics_path is not None else "")

        @app.get("/")
        @public
        async def index() -> Response:
            origin = html.escape(request.host_url.rstrip("/"))
            return Response(
                page.replace("{origin}", origin),
                content_type="text/html; charset=utf-8",
                headers={"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"},
            )

    @app.get("/v1/models")
    async def models() -> Response:
        _only({"provider", "capability", "configured", "lifecycle[]", "limit", "after_id", "before_id", "beta"})
        capability = request.args.get("capability")
        if capability is not None and capability not in CAPABILITIES:
            raise InvalidRequestError(f"capability: expected one of {', '.join(CAPABILITIES)}.", param="capability")
        return _json(
            gateway.models(
                provider=request.args.get("provider"),
                capability=capability,
                configured=_flag("configured"),
                lifecycle=request.args.getlist("lifecycle[]"),
                page=Page(_limit(), request.args.get("after_id"), request.args.get("before_id")),
            )
        )

    @app.get("/v1/models/<path:name>")
    async def model(name: str) -> Response:
        return _json(gateway.model(name))

    @app.errorhandler(VangoError)
    async def vango_error(error: VangoError) -> Response:
        exchange = _exchange()
        exchange.error_type = error.type
        return _error(exchange, error)

    @app.errorhandler(HTTPException)
    async def http_error(error: HTTPException) -> Response:
        exchange = _exchange()
        failure = _mapped(error, exchange)
        exchange.error_type = failure.type
        answer = _error(exchange, failure)
        if isinstance(error, MethodNotAllowed) and error.valid_methods:
            answer.headers["allow"] = ", ".join(sorted(error.valid_methods))
        return answer

    @app.errorhandler(Exception)
    async def bug(error: Exception) -> Response:
        exchange = _exchange()
        log.error("request_failed", request_id=exchange.request_id, path=exchange.path, exc_info=error)
        exchange.error_type = ApiError.type
        return _error(exchange, ApiError("Something went wrong here; the log of this server knows more."))

    return app


def _exchange() -> Exchange:
    return cast("Exchange", request.scope["vango.exchange"])  # type: ignore[typeddict-item]  # the edge put it there


def _json(value: Any, status: int = 200) -> Response:
    return Response(json.encode(value), status=status, content_type="application/json")


def _error(exchange: Exchange, error: VangoError) -> Response:
    answer = Response(envelope(exchange, error), status=error.status, content_type="application/json")
    for name, value in error_headers(error):
        answer.headers[name.decode()] = value.decode("latin-1")
    return answer


def _mapped(error: HTTPException, exchange: Exchange) -> VangoError:
    """Say what Quart and Werkzeug refuse in Vango's words."""
    if error.code == 404:
        return NotFoundError("There is nothing at this path.")
    if error.code == 405:
        return InvalidRequestError(f"{exchange.method} is not a method of this path.", status=405)
    if error.code is not None and 400 <= error.code < 500:
        return InvalidRequestError(error.description or error.name, status=error.code)
    return ApiError(error.name)


def _flag(name: str) -> bool:
    value = request.args.get(name, "false").lower()
    if value not in ("true", "false", "1", "0"):
        raise InvalidRequestError(f"{name}: expected true or false.", param=name)
    return value in ("true", "1")


def _limit() -> int | None:
    given = request.args.get("limit")
    if given is None:
        return None
    if not (given.isascii() and given.isdigit() and len(given) <= len(str(MAX_PAGE)) and 1 <= int(given) <= MAX_PAGE):
        raise InvalidRequestError(f"limit: expected a whole number from 1 to {MAX_PAGE}.", param="limit")
    return int(given)


def _only(known: set[str]) -> None:
    for name in request.args:
        if name not in known:
            raise InvalidRequestError(
                f"{name}: there is no such filter; expected one of {', '.join(sorted(known))}.", param=name
            )
