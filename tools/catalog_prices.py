"""Prices for the catalogue: what genai-prices, models.dev and the facts file say, in pico-dollars a token."""

from __future__ import annotations

import datetime as dt
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Facts = dict[str, Any]

PICO_PER_USD_MTOK = 1_000_000
PICO_PER_USD_THOUSAND = 1_000_000_000

RATES = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "audio_input": "input_audio_mtok",
    "audio_cache_read": "cache_audio_read_mtok",
    "audio_output": "output_audio_mtok",
    "image_output": "output_image_mtok",
    "reasoning": "output_reasoning_mtok",
}
TOOLS = {"web_search": "web_searches_kcount", "file_search": "storage_searches_kcount", "request": "requests_kcount"}

# What genai-prices calls the circumstances of a price variant: the word the provider's answer uses for it.
MODES = {
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast"},
}
# Anthropic's fast mode is a speed, not a service tier.
SPEEDS = {"fast": {"speed": "fast"}}


def pico(usd: Any, unit: int) -> int:
    """Convert dollars per million tokens (or per thousand requests) to pico-dollars for one."""
    return int((Decimal(str(usd)) * unit).to_integral_value(ROUND_HALF_EVEN))


class Prices:
    """The prices of genai-prices as the catalogue writes them, from one day on."""

    def __init__(self, as_of: dt.date) -> None:
        from genai_prices.data import providers

        self.as_of = as_of
        self.providers = {provider.id: provider for provider in providers}

    def find(self, provider: str, name: str) -> Any:
        """Return the entry that matches a model name of a provider (by genai-prices' names), or None."""
        return self.providers[provider].find_model(name)

    def entries(self, provider: str) -> Iterator[Any]:
        """Yield all entries of a provider."""
        yield from self.providers[provider].models

    def schedule(self, entry: Any, family: Facts) -> tuple[Facts | None, list[Facts]]:
        """Return the price in force on the day and the ones that follow it or hold at certain hours."""
        rows = [(None, None, entry.prices)] if not isinstance(entry.prices, list) else list(map(_row, entry.prices))
        started = [
            index
            for index, (since, daily, _) in enumerate(rows)
            if daily is None and (since or dt.date.min) <= self.as_of
        ]
        base = started[-1] if started else 0
        price = self._price(entry, rows[base], family)
        changes = []
        for since, daily, prices in rows[base + 1 :]:
            change: Facts = {"price": self._price(entry, (since, daily, prices), family)}
            if since:
                change["since"] = since.isoformat()
            if daily:
                change["daily"] = daily
            if change["price"]:
                changes.append(change)
        return price, changes

    def _price(self, entry: Any, row: tuple[dt.date | None, list[int] | None, Any], family: Facts) -> Facts | None:
        since, _, standard = row
        day = max(self.as_of, since or self.as_of)
        moment = dt.datetime.combine(day, dt.time(12), dt.UTC)
        card = rate_card(standard, family)
        if card is None:
            return None
        price: Facts = {"standard": card}
        modes = {}
        for name, contexts in [*MODES.items(), *SPEEDS.items()]:
            overrides: Facts = {}
            for variant in entry.price_variants or ():
                if variant.when == contexts and (variant.constraint is None or variant.constraint.active(moment)):
                    overrides = {**_plain(variant.prices), **overrides}
            if overrides:
                modes[name] = rate_card({**_plain(standard), **overrides}, family)
        if modes:
            price["modes"] = modes
        for name, key in TOOLS.items():
            value = _plain(standard).get(key)
            if value is not None:
                price[name] = pico(value, PICO_PER_USD_THOUSAND)
        return price


def _row(conditional: Any) -> tuple[dt.date | None, list[int] | None, Any]:
    constraint = conditional.constraint
    since = getattr(constraint, "start_date", None)
    daily = None
    if start := getattr(constraint, "start_time", None):
        end = constraint.end_time
        daily = [start.hour * 60 + start.minute, end.hour * 60 + end.minute]
        if daily[0] >= daily[1]:
            raise ValueError("a price that holds over midnight needs two entries")
    return since, daily, conditional.prices


def _plain(prices: Any) -> Facts:
    values = prices if isinstance(prices, dict) else prices.__dict__
    return {key: value for key, value in values.items() if value is not None}


def rate_card(prices: Any, family: Facts) -> Facts | None:
    """Return rates and long-context tiers, or None where there is no price for text."""
    values = {name: _plain(prices)[key] for name, key in RATES.items() if key in _plain(prices)}
    if "input" not in values and family.get("free"):
        values = dict.fromkeys(("input", "output", "cache_read"), Decimal(0))
    if "input" not in values or "output" not in values:
        return None
    starts = sorted({tier.start for value in values.values() for tier in getattr(value, "tiers", ())})
    card: Facts = {"rates": _rates(values, 0, family)}
    if starts:
        card["tiers"] = [{"above": start, "rates": _rates(values, start, family)} for start in starts]
    return card


def _rates(values: Facts, size: int, family: Facts) -> Facts:
    rates = {}
    for name, value in values.items():
        usd = getattr(value, "base", value)
        for tier in getattr(value, "tiers", ()):
            if 0 < tier.start <= size:
                usd = tier.price
        rates[name] = pico(usd, PICO_PER_USD_MTOK)
    return fill_rates(rates, family)


def fill_rates(rates: Facts, family: Facts) -> Facts:
    """Add the rates that follow from others.

    A vendor that lists prices and none for cached tokens gives no discount. `one_input_price` families bill what they
    hear like text where no price of its own is listed, `draws` families what they draw.
    """
    rates.setdefault("cache_read", rates["input"])
    if family.get("one_input_price") and family.get("capabilities", {}).get("audio_input"):
        own = "audio_input" in rates
        rates.setdefault("audio_input", rates["input"])
        rates.setdefault("audio_cache_read", rates["audio_input"] if own else rates["cache_read"])
    if family.get("draws"):
        rates.setdefault("image_output", rates["output"])
    return rates


def price_by_hand(model: Facts) -> Facts:
    """Return a price written in the facts file; what it leaves out is unknown."""
    tiers = [
        {"above": int(above), "rates": {name: pico(usd, PICO_PER_USD_MTOK) for name, usd in rates.items()}}
        for above, rates in sorted(model.get("price_above", {}).items(), key=lambda item: int(item[0]))
    ]
    rates = {name: pico(usd, PICO_PER_USD_MTOK) for name, usd in model["price"].items()}
    return {"standard": {"rates": rates, **({"tiers": tiers} if tiers else {})}}


def price_of_models_dev(cost: Facts, family: Facts) -> Facts | None:
    """Return the price that models.dev gives, or None."""
    names = {
        "input": "input",
        "output": "output",
        "cache_read": "cache_read",
        "cache_write": "cache_write",
        "audio_input": "input_audio",
        "reasoning": "reasoning",
    }

    def rates(values: Facts) -> Facts:
        merged = {**cost, **values}
        return fill_rates(
            {name: pico(merged[key], PICO_PER_USD_MTOK) for name, key in names.items() if key in merged}, family
        )

    if "input" not in cost or "output" not in cost:
        return None
    card: Facts = {"rates": rates({})}
    if tiers := sorted(cost.get("tiers", ()), key=lambda tier: tier["tier"]["size"]):
        card["tiers"] = [{"above": tier["tier"]["size"], "rates": rates(tier)} for tier in tiers]
    return {"standard": card}


def fast_mode(entry: Facts) -> tuple[str, Facts] | None:
    """Return the paid fast mode that models.dev knows, as a mode's name and its rate card."""
    fast = entry.get("experimental", {}).get("modes", {}).get("fast", {})
    body = fast.get("provider", {}).get("body", {})
    if "cost" not in fast or not (name := body.get("speed") or body.get("service_tier")):
        return None
    cost = fast["cost"]
    rates = {
        key: pico(cost[key], PICO_PER_USD_MTOK)
        for key in ("input", "output", "cache_read", "cache_write")
        if key in cost
    }
    if "speed" in body:
        # Anthropic's cache multipliers hold in every mode: an hour's cache write costs twice the input.
        rates["cache_write_1h"] = 2 * rates["input"]
    return name, {"rates": rates}
