"""What the server tells about its work: one log line and one update of the metrics for each request, at its end.

Labels are bounded: a caller can choose neither a path, nor a method, nor a model that makes a new series.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from vango.governance.pricing import usd
from vango.wire import json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client import Metric
    from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

    from vango.app.exchange import Exchange

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
OVERHEAD_SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1)

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
"""Where workers share their metrics; prometheus-client reads it when it is imported."""


class Metrics:
    """The series of API.md's list. `known_model` names a model for a label, or `other`."""

    def __init__(self, known_model: Callable[[str, str], str]) -> None:
        self._known_model = known_model
        self.registry = CollectorRegistry()
        registry = self.registry
        self._requests = Counter(
            "vango_requests", "Requests answered.", ["method", "path", "status", "provider", "model"], registry=registry
        )
        self._duration = Histogram(
            "vango_request_duration_seconds",
            "Time from the first header to the last byte.",
            ["method", "path", "provider"],
            buckets=SECONDS,
            registry=registry,
        )
        self._first_token = Histogram(
            "vango_time_to_first_token_seconds",
            "Time to the first content of a stream.",
            ["provider"],
            buckets=SECONDS,
            registry=registry,
        )
        self._overhead = Histogram(
            "vango_overhead_seconds",
            "Time that Vango itself added before the answer began.",
            ["path"],
            buckets=OVERHEAD_SECONDS,
            registry=registry,
        )
        self._tokens = Counter("vango_tokens", "Tokens billed.", ["provider", "direction"], registry=registry)
        self._cost = Counter("vango_cost_usd", "Cost in USD, where prices are known.", ["provider"], registry=registry)
        self.in_flight = Gauge(
            "vango_requests_in_flight", "Requests being worked on.", multiprocess_mode="livesum", registry=registry
        )
        self._cancelled = Counter(
            "vango_streams_cancelled", "Calls given up before their end.", ["provider", "by"], registry=registry
        )
        self._upstream_errors = Counter(
            "vango_upstream_errors", "Failed calls to providers.", ["provider", "type"], registry=registry
        )
        self._retries = Counter("vango_retries", "Calls tried again.", ["provider"], registry=registry)
        self._children: dict[tuple[Any, ...], Any] = {}

    def render(self) -> bytes:
        """Return the Prometheus text: of all workers together where there are several."""
        if MULTIPROCESS in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # it has no annotations
            return generate_latest(registry)
        return generate_latest(_Lean(self.registry))

    def count(self, exchange: Exchange, seconds: float) -> None:
        """Count one finished exchange."""
        outcome = exchange.outcome
        method = exchange.method if exchange.method in METHODS else "other"
        provider = outcome.provider or "none"
        model = self._known_model(outcome.provider, outcome.model or "") if outcome.provider else "none"
        path = exchange.path
        self._child(self._requests, method, path, str(exchange.status), provider, model).inc()
        self._child(self._duration, method, path, provider).observe(seconds)
        if exchange.overhead is not None:
            self._child(self._overhead, path).observe(max(0.0, exchange.overhead))
        if outcome.first_token_at is not None:
            self._child(self._first_token, provider).observe(outcome.first_token_at - exchange.began)
        if outcome.usage is not None:
            self._child(self._tokens, provider, "input").inc(outcome.usage.total_input)
            self._child(self._tokens, provider, "output").inc(outcome.usage.total_output)
        if outcome.cost:
            self._child(self._cost, provider).inc(usd(outcome.cost))
        if outcome.cancelled_by is not None and outcome.provider is not None:
            self._child(self._cancelled, provider, outcome.cancelled_by).inc()
        for name, kind in outcome.upstream_errors:
            self._child(self._upstream_errors, name, kind).inc()
        for name in outcome.retries:
            self._child(self._retries, name).inc()

    def _child(self, metric: Any, *labels: str) -> Any:
        """Return a labelled series, made once: `labels()` takes a lock and builds a tuple of strings each time."""
        key = (metric, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child


class _Lean(CollectorRegistry):
    """A registry without the time at which each series was made: twice the series, and nobody asked."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        for family in self._registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family


# Local variables hold prompts and keys, so a traceback in the log shows none.
_TRACEBACKS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))


class Lines:
    """Where finished log lines go. One that cannot be written is lost: a full disk or a reader that died stops no request."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        """Write a line."""
        with suppress(OSError):
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = exception = msg


def make_log(stream: TextIO, *, level: str, style: str) -> FilteringBoundLogger:
    """Return a logger that writes a line for each event in one of two styles: `json`, or `text`, coloured on a terminal."""
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if style == "json":
        processors += [_TRACEBACKS, _render_json]
    else:
        processors += [
            _without_nothing,
            _printable,
            structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback),
        ]
    logger: FilteringBoundLogger = structlog.wrap_logger(
        Lines(stream),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    return logger


def _without_nothing(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Leave out what has no value: a person reads this, and looks for what is there."""
    return {name: value for name, value in event.items() if value is not None}


def _printable(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape what callers and providers may have put into a name to move a terminal's cursor or begin a line."""
    return {
        name: repr(value)[1:-1] if isinstance(value, str) and not value.isprintable() else value
        for name, value in event.items()
    }


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return json.encode({"timestamp": event.pop("timestamp"), "level": event.pop("level"), **event}).decode()


def completed(exchange: Exchange, seconds: float) -> dict[str, Any]:
    """Return the fields of the `request_complete` line: no keys, and prompts and outputs only where they were kept for it."""
    outcome, usage = exchange.outcome, exchange.outcome.usage
    first = outcome.first_token_at
    fields = {
        "request_id": exchange.request_id,
        "method": exchange.method,
        "path": exchange.path,
        "status": exchange.status,
        "model": outcome.model,
        "provider": outcome.provider,
        "stream": outcome.stream,
        "input_tokens": usage.input_tokens if usage else None,
        "output_tokens": usage.total_output if usage else None,
        "total_tokens": usage.total_tokens if usage else None,
        "cost_usd": usd(outcome.cost) if outcome.cost is not None else None,
        "duration_ms": round(seconds * 1000, 1),
        "ttft_ms": round((first - exchange.began) * 1000, 1) if first is not None else None,
        "stop_reason": outcome.stop_reason,
        "attempts": outcome.attempts,
        "provider_request_id": outcome.provider_request_id,
        "error": exchange.error_type,
        "cancelled_by": outcome.cancelled_by,
        "user_id": exchange.caller.principal if exchange.caller else None,
        "key": exchange.caller.key_name if exchange.caller else None,
        "ip": exchange.address,
    }
    if exchange.content is not None:
        written = json.encode(exchange.content)
        try:
            fields["content"] = json.decode_any(written)
        except json.MALFORMED:  # syntax that only the caller's provider has to make sense of, such as 1e999
            fields["content"] = written.decode(errors="replace")
    return fields
