"""How a model looks from outside: in Vango's own catalogue, and in the list that Anthropic's SDKs page through."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vango.types.models import PICO_PER_USD_MTOK

if TYPE_CHECKING:
    import datetime as dt
    from typing import Any

    from vango.types.models import Model

# The Messages API's own value for a release date that nobody knows.
_UNKNOWN_DATE = "1970-01-01T00:00:00Z"


def describe(model: Model, at: dt.datetime | None = None) -> dict[str, Any]:
    """Return a model as the contract's `providers[].models[]` shows it; what is not known is left out.

    Prices are US dollars per million tokens at the aware moment `at`, or as the catalogue was made.
    """
    described: dict[str, Any] = {
        "id": model.id,
        "name": model.display_name,
        "full_id": model.full_id,
        "context_window": model.context_window,
        "max_output_tokens": model.max_output_tokens,
        "capabilities": model.capabilities.known(),
        "native_tools": list(model.native_tools),
    }
    price = model.price if at is None else model.price_at(at)
    if price is not None:
        rates = price.standard.rates
        pico = {
            "input_per_mtok": rates.input,
            "output_per_mtok": rates.output,
            "cache_read_per_mtok": rates.cache_read,
            "cache_write_per_mtok": rates.cache_write,
        }
        # The quotient of two integers is the nearest float there is, so no binary noise shows in the JSON.
        described["pricing"] = {name: rate / PICO_PER_USD_MTOK for name, rate in pico.items() if rate is not None}
    return {name: value for name, value in described.items() if value is not None}


def listed(model: Model, model_id: str, today: dt.date | None = None) -> dict[str, Any]:
    """Return a model as the Messages API lists it, under the id that a caller would send.

    `today` decides whether an announced end has passed.
    """
    end = model.retired
    return {
        "type": "model",
        "id": model_id,
        "display_name": model.display_name,
        "created_at": model.created_at or _UNKNOWN_DATE,
        "max_input_tokens": model.context_window,
        "max_tokens": model.max_output_tokens,
        "lifecycle": "active" if end is None else "retired" if today is not None and end <= today else "deprecated",
        "retires_at": None if end is None else f"{end.isoformat()}T00:00:00Z",
    }
