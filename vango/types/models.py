"""What is known about a model: its limits, what it can do, and what it costs."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from msgspec import Struct, field

PICO_PER_USD_MTOK = 1_000_000
"""One US dollar per million tokens, in pico-dollars (10⁻¹² USD) per token."""

NativeTool = Literal["web_search", "code_execution", "file_search", "computer_use", "text_editor", "web_fetch"]


class Capabilities(Struct, frozen=True, omit_defaults=True):
    """What a model takes and makes; None where nobody has said."""

    text: bool | None = None
    vision: bool | None = None
    audio_input: bool | None = None
    audio_output: bool | None = None
    video: bool | None = None
    documents: bool | None = None
    tools: bool | None = None
    tool_streaming: bool | None = None
    thinking: bool | None = None
    structured_output: bool | None = None

    def known(self) -> dict[str, bool]:
        """The capabilities that are known either way, in the contract's order."""
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}


class Thinking(Struct, frozen=True, omit_defaults=True):
    """How a model's thinking is steered.

    `effort` lists the effort words it takes, weakest first. `budget_min` and `budget_max` bound a token budget where
    it takes one (`budget` says whether it does). `adaptive` models decide for themselves how long to think.
    `required` is True where thinking cannot be switched off.
    """

    effort: tuple[str, ...] = ()
    budget: bool = False
    budget_min: int | None = None
    budget_max: int | None = None
    adaptive: bool = False
    required: bool = False


class Rates(Struct, frozen=True, omit_defaults=True):
    """Prices in pico-dollars per token; None is an unknown price, 0 a free one.

    `cache_write` is a cache write with the provider's usual lifetime (five minutes at Anthropic).
    `reasoning` is set only where reasoning has a price of its own; otherwise it costs what output costs.
    """

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    audio_input: int | None = None
    audio_cache_read: int | None = None
    audio_output: int | None = None
    image_output: int | None = None
    reasoning: int | None = None


class Tier(Struct, frozen=True):
    """Rates for prompts of more than `above` input tokens; they hold for every token of such a call."""

    above: int
    rates: Rates


class RateCard(Struct, frozen=True, omit_defaults=True):
    """Rates with their long-context tiers, smallest first."""

    rates: Rates
    tiers: tuple[Tier, ...] = ()


class Price(Struct, frozen=True, omit_defaults=True):
    """What a model costs.

    `modes` holds the rate cards of service tiers and speeds that cost something else (`priority`, `flex`, `batch`,
    `fast`). `geo_permille` multiplies token costs where inference is kept in a region (1100 is 1.1 times).
    `flat` prices hold in every mode and region. `request` is charged once a call; the last three each time the provider
    runs that tool. All in pico-dollars.
    """

    standard: RateCard
    modes: dict[str, RateCard] = field(default_factory=dict)
    geo_permille: dict[str, int] = field(default_factory=dict)
    flat: bool = False
    request: int = 0
    web_search: int | None = None
    web_fetch: int | None = None
    file_search: int | None = None


class PriceChange(Struct, frozen=True, omit_defaults=True):
    """A price that takes over from a day on (UTC), or between two minutes of every UTC day."""

    price: Price
    since: dt.date | None = None
    daily: tuple[int, int] | None = None

    def holds(self, moment: dt.datetime) -> bool:
        """Say whether this price holds at an aware moment."""
        moment = moment.astimezone(dt.UTC)
        if self.since is not None and moment.date() < self.since:
            return False
        if self.daily is None:
            return True
        start, end = self.daily
        return start <= moment.hour * 60 + moment.minute < end


class Model(Struct, frozen=True, omit_defaults=True):
    """One model of one provider.

    `context_window` and `max_output_tokens` are in tokens. `sampling` says whether temperature, top_p and top_k are
    accepted. `aliases` are further names that the provider itself takes, `nicknames` names that only Vango knows.
    `responses_only` models of OpenAI answer at the Responses endpoint alone.
    `retired` is the day from which the provider refuses the model (it may lie ahead), `successor` what it recommends.
    `price` is the one in force when the catalogue was made; `price_changes` follow it, the last that holds wins.
    """

    provider: str
    id: str
    display_name: str
    created_at: str | None = None
    context_window: int | None = None
    max_output_tokens: int | None = None
    capabilities: Capabilities = Capabilities()
    native_tools: tuple[NativeTool, ...] = ()
    sampling: bool | None = None
    thinking: Thinking | None = None
    aliases: tuple[str, ...] = ()
    nicknames: tuple[str, ...] = ()
    responses_only: bool = False
    retired: dt.date | None = None
    successor: str | None = None
    price: Price | None = None
    price_changes: tuple[PriceChange, ...] = ()

    @property
    def full_id(self) -> str:
        """The name a caller uses: `provider/id`."""
        return f"{self.provider}/{self.id}"

    def price_at(self, moment: dt.datetime) -> Price | None:
        """The price at an aware moment; None when it is unknown."""
        for change in reversed(self.price_changes):
            if change.holds(moment):
                return change.price
        return self.price
