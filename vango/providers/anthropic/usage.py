"""Anthropic's usage object: reading it, and Vango's fields beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from vango.types.usage import Usage
from vango.wire import json

if TYPE_CHECKING:
    from collections.abc import Callable

PICO = 10**12

# Beyond these a number is no count: the metrics would refuse it.
_Count = Annotated[int, msgspec.Meta(ge=0, le=10**15)] | None


class _CacheCreation(msgspec.Struct):
    ephemeral_5m_input_tokens: _Count = None
    ephemeral_1h_input_tokens: _Count = None


class _ServerTools(msgspec.Struct):
    web_search_requests: _Count = None
    web_fetch_requests: _Count = None


class _OutputDetails(msgspec.Struct):
    thinking_tokens: _Count = None


class _Usage(msgspec.Struct):
    input_tokens: _Count = None
    output_tokens: _Count = None
    cache_creation_input_tokens: _Count = None
    cache_read_input_tokens: _Count = None
    cache_creation: _CacheCreation | None = None
    output_tokens_details: _OutputDetails | None = None
    server_tool_use: _ServerTools | None = None
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None
    iterations: list[_Usage] | None = None


_decode = msgspec.json.Decoder(_Usage).decode


def merge(first: json.Fields, later: json.Fields) -> json.Fields:
    """Lay a later usage object over an earlier one: counts are cumulative, so the last value that is not null holds."""
    merged = dict(first)
    for name, raw in later.items():
        if name not in merged or json.kind(raw) != "null":
            merged[name] = raw
    return merged


def read(fields: json.Fields) -> Usage | None:
    """Return the buckets of a usage object, or None where it is not one.

    With `iterations` (compaction, fallback) the top level may leave out inner calls that were billed; their sum counts then.
    """
    try:
        usage = _decode(json.join(fields))
    except json.MALFORMED:
        return None
    if usage.input_tokens is None and usage.output_tokens is None:
        return None
    whole = _buckets(usage, usage)
    if usage.iterations:
        inner = [_buckets(iteration, usage) for iteration in usage.iterations]
        spent = sum(item.total_tokens for item in inner)
        if spent > whole.total_tokens:
            return _sum(inner, whole)
    return whole


def written(fields: json.Fields, usage: Usage, cost: int | None) -> dict[str, Any]:
    """Return the usage object for the client: the provider's own fields, untouched, and Vango's after them."""
    out: dict[str, Any] = dict(fields)
    out["total_tokens"] = usage.total_tokens
    out["cache_read_tokens"] = usage.cache_read_tokens
    out["cache_write_tokens"] = usage.cache_write_tokens
    if cost is not None:
        out["cost_usd"] = usd(cost)
    return out


def usd(pico: int) -> msgspec.Raw:
    """Write pico-dollars as a decimal number of dollars, exactly."""
    whole, fraction = divmod(pico, PICO)
    return msgspec.Raw(f"{whole}.{fraction:012d}".rstrip("0").rstrip(".").encode())


def price(usage: Usage | None, rate: Callable[[Usage], int | None]) -> int | None:
    """Return the cost of a usage in pico-dollars; None where either is not known."""
    return None if usage is None else rate(usage)


def _buckets(usage: _Usage, about: _Usage) -> Usage:
    created = usage.cache_creation_input_tokens or 0
    short = (usage.cache_creation and usage.cache_creation.ephemeral_5m_input_tokens) or 0
    long = (usage.cache_creation and usage.cache_creation.ephemeral_1h_input_tokens) or 0
    thinking = (usage.output_tokens_details and usage.output_tokens_details.thinking_tokens) or 0
    output = usage.output_tokens or 0
    tools = usage.server_tool_use or _ServerTools()
    # Old answers do not say how long a cache entry lives, and the end of a stream raises the sum only; five minutes is the rule.
    return Usage(
        input_tokens=usage.input_tokens or 0,
        cache_read_tokens=usage.cache_read_input_tokens or 0,
        cache_write_5m_tokens=max(short, created - long),
        cache_write_1h_tokens=long,
        output_tokens=max(0, output - thinking),
        reasoning_tokens=min(thinking, output),
        web_search_requests=tools.web_search_requests or 0,
        web_fetch_requests=tools.web_fetch_requests or 0,
        service_tier=about.service_tier or "",
        speed=about.speed or "",
        inference_geo=about.inference_geo or "",
    )


_SUMMED = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
)


def _sum(inner: list[Usage], whole: Usage) -> Usage:
    return msgspec.structs.replace(whole, **{name: sum(getattr(item, name) for item in inner) for name in _SUMMED})
