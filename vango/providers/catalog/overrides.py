"""An operator's own facts about a model, laid over the catalogue's."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING

import msgspec

from vango.types.models import PICO_PER_USD_MTOK, Capabilities, Model, Price, RateCard, Rates

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_RATES = {
    "input_per_mtok": "input",
    "output_per_mtok": "output",
    "cache_read_per_mtok": "cache_read",
    "cache_write_per_mtok": "cache_write",
}
_PLAIN = ("display_name", "context_window", "max_output_tokens")


def overridden(model: Model, fields: Mapping[str, Any]) -> Model:
    """Return a model with some facts replaced; None means that the field is not given.

    Prices are US dollars per million tokens. An operator's price is flat: the vendor's long-context tiers, service
    tiers, regions and later changes no longer apply. Where the input price is given and a cache price is not, cached
    tokens cost what input costs, because the vendor's discount says nothing about this price.
    Raises ValueError with a sentence for an unknown field or a negative price.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    if unknown := sorted(given.keys() - {*_RATES, *_PLAIN, "capabilities", "native_tools"}):
        raise ValueError(f"a model has no field {unknown[0]!r}")
    changes: dict[str, Any] = {name: given[name] for name in _PLAIN if name in given}
    if capabilities := {name: value for name, value in given.get("capabilities", {}).items() if value is not None}:
        if strange := sorted(capabilities.keys() - {*Capabilities.__struct_fields__}):
            raise ValueError(f"a model has no capability {strange[0]!r}")
        changes["capabilities"] = msgspec.structs.replace(model.capabilities, **capabilities)
    if "native_tools" in given:
        changes["native_tools"] = tuple(given["native_tools"])
    if rates := {rate: _pico(name, given[name]) for name, rate in _RATES.items() if name in given}:
        changes["price"] = _priced(model.price, rates)
        changes["price_changes"] = ()
    return msgspec.structs.replace(model, **changes)


def _priced(price: Price | None, rates: dict[str, int]) -> Price:
    if "input" in rates:
        rates = {"cache_read": rates["input"], "cache_write": rates["input"], "cache_write_1h": rates["input"], **rates}
    if "cache_write" in rates:
        rates = {**rates, "cache_write_1h": rates["cache_write"]}
    if price is None:
        return Price(standard=RateCard(rates=Rates(**rates)), flat=True)
    standard = RateCard(rates=msgspec.structs.replace(price.standard.rates, **rates))
    return msgspec.structs.replace(price, standard=standard, modes={}, geo_permille={}, flat=True)


def _pico(name: str, usd: Decimal | float | str) -> int:
    value = (Decimal(str(usd)) * PICO_PER_USD_MTOK).to_integral_value(ROUND_HALF_EVEN)
    if not value.is_finite() or value < 0:
        raise ValueError(f"{name} must be a price of 0 or more, got {usd}")
    return int(value)
