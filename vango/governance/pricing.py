"""What a call costs, in whole pico-dollars (10⁻¹² USD): exact sums, rounded for output only."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vango.types.models import Price, RateCard
    from vango.types.usage import Usage

PICO_PER_USD = 1_000_000_000_000

# What providers report when nothing special was used; `auto` is echoed where the request asked for it and got no more.
_ORDINARY = frozenset({"", "standard", "default", "auto", "on_demand"})
_ANYWHERE = frozenset({"", "global", "not_available"})


def cost(price: Price | None, usage: Usage) -> int | None:
    """Return the cost of one call in pico-dollars.

    None where the price is not known, or not for something that was used: a kind of token, a paid tool, a service tier
    or a region. A free model costs 0. Long-context rates hold for every token of a call whose whole prompt, cached
    parts included, is larger than their threshold.
    """
    if price is None:
        return None
    card = _card(price, usage)
    if card is None:
        return None
    rates = card.rates
    if card.tiers:
        size = usage.total_input
        for tier in card.tiers:
            if size > tier.above:
                rates = tier.rates
    total = 0
    for tokens, rate in (
        (usage.input_tokens, rates.input),
        (usage.output_tokens, rates.output),
        (usage.cache_read_tokens, rates.cache_read),
        (usage.cache_write_5m_tokens, rates.cache_write),
        (usage.cache_write_1h_tokens, rates.cache_write_1h),
        (usage.cache_write_other_tokens, rates.cache_write),
        (usage.audio_input_tokens, rates.audio_input),
        (usage.audio_cache_read_tokens, rates.audio_cache_read),
        (usage.reasoning_tokens, rates.output if rates.reasoning is None else rates.reasoning),
        (usage.audio_output_tokens, rates.audio_output),
        (usage.image_output_tokens, rates.image_output),
    ):
        if tokens:
            if rate is None:
                return None
            total += tokens * rate
    if usage.inference_geo not in _ANYWHERE and not price.flat:
        permille = price.geo_permille.get(usage.inference_geo)
        if permille is None:
            return None
        # The only division there is; it rounds up to a whole pico-dollar.
        total = -(-total * permille // 1000)
    total += price.request
    for requests, rate in (
        (usage.web_search_requests, price.web_search),
        (usage.web_fetch_requests, price.web_fetch),
        (usage.file_search_requests, price.file_search),
    ):
        if requests:
            if rate is None:
                return None
            total += requests * rate
    return total


def _card(price: Price, usage: Usage) -> RateCard | None:
    mode = usage.service_tier if usage.speed in _ORDINARY else usage.speed
    if mode in _ORDINARY or price.flat:
        return price.standard
    return price.modes.get(mode)


def usd(pico: int) -> float:
    """Return pico-dollars as dollars: the nearest float there is, so that JSON shows the exact decimal."""
    return pico / PICO_PER_USD


def header(pico: int) -> str:
    """Return pico-dollars as dollars with six decimals, half a micro-dollar rounded up."""
    whole, micro = divmod((pico + 500_000) // 1_000_000, 1_000_000)
    return f"{whole}.{micro:06d}"
