import datetime as dt
import json
from decimal import Decimal

import genai_prices
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vango.governance.pricing import cost, header, usd
from vango.providers.catalog import Catalog
from vango.types.models import Model, Price, PriceChange, RateCard, Rates, Tier
from vango.types.usage import Usage

CATALOG = Catalog.load()
# The day whose prices the catalogue holds, at an hour outside every vendor's peak.
NOON = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
ORACLE = {"gemini": "google", "xai": "x-ai"}

SONNET = Price(
    standard=RateCard(
        rates=Rates(
            input=3_000_000, output=15_000_000, cache_read=300_000, cache_write=3_750_000, cache_write_1h=6_000_000
        ),
        tiers=(
            Tier(
                above=200_000,
                rates=Rates(
                    input=6_000_000,
                    output=22_500_000,
                    cache_read=600_000,
                    cache_write=7_500_000,
                    cache_write_1h=12_000_000,
                ),
            ),
        ),
    ),
    modes={"batch": RateCard(rates=Rates(input=1_500_000, output=7_500_000))},
    geo_permille={"us": 1100},
    web_search=10_000_000_000,
    web_fetch=0,
)


def test_the_contracts_example_costs_what_it_says():
    model = CATALOG.find("anthropic", "claude-sonnet-4")
    assert model is not None

    pico = cost(model.price, Usage(input_tokens=15, output_tokens=10))

    assert pico == 195_000_000
    assert json.dumps(usd(pico)) == "0.000195"
    assert header(pico) == "0.000195"


def test_each_bucket_has_its_own_rate():
    usage = Usage(
        input_tokens=1_000,
        cache_read_tokens=10_000,
        cache_write_5m_tokens=100,
        cache_write_1h_tokens=200,
        cache_write_other_tokens=300,
        output_tokens=50,
        reasoning_tokens=7,
    )

    assert cost(SONNET, usage) == (
        1_000 * 3_000_000 + 10_000 * 300_000 + 400 * 3_750_000 + 200 * 6_000_000 + 57 * 15_000_000
    )


@pytest.mark.parametrize(("cached", "rate"), [(199_999, 3_000_000), (200_000, 6_000_000)])
def test_a_long_prompt_pays_the_higher_rate_for_every_token(cached: int, rate: int):
    # Cached tokens count towards the size of the prompt; the threshold itself still pays the lower rate.
    usage = Usage(input_tokens=1, cache_read_tokens=cached)

    assert cost(SONNET, usage) == rate + cached * rate // 10


def test_the_largest_tier_that_is_reached_counts():
    tiers = (Tier(above=10, rates=Rates(input=2)), Tier(above=100, rates=Rates(input=3)))
    price = Price(standard=RateCard(rates=Rates(input=1), tiers=tiers))

    assert [cost(price, Usage(input_tokens=size)) for size in (10, 11, 100, 101)] == [10, 22, 200, 303]


def test_output_does_not_make_a_prompt_long():
    assert cost(SONNET, Usage(input_tokens=1, output_tokens=300_000)) == 3_000_000 + 300_000 * 15_000_000


def test_an_unknown_price_is_not_free():
    assert cost(None, Usage(input_tokens=1)) is None


@pytest.mark.parametrize(
    "usage",
    [
        Usage(input_tokens=5, audio_input_tokens=1),
        Usage(audio_output_tokens=1),
        Usage(image_output_tokens=1),
        Usage(file_search_requests=1),
        Usage(input_tokens=5, service_tier="priority"),
        Usage(input_tokens=5, speed="fast"),
        Usage(input_tokens=5, inference_geo="eu"),
        Usage(cache_read_tokens=1, service_tier="batch"),
    ],
)
def test_something_used_without_a_price_makes_the_cost_unknown(usage: Usage):
    assert cost(SONNET, usage) is None


def test_what_is_unpriced_and_unused_does_not_matter():
    assert cost(SONNET, Usage(input_tokens=5)) == 15_000_000
    assert cost(SONNET, Usage()) == 0


def test_a_free_model_costs_nothing():
    model = CATALOG.find("gemini", "gemma-4-31b-it")
    assert model is not None

    assert cost(model.price, Usage(input_tokens=1_000, output_tokens=1_000)) == 0


def test_a_service_tier_has_its_own_rates():
    usage = Usage(input_tokens=10, output_tokens=10, service_tier="batch")

    assert cost(SONNET, usage) == 10 * 1_500_000 + 10 * 7_500_000


@pytest.mark.parametrize("tier", ["", "standard", "default", "auto", "on_demand"])
def test_ordinary_service_costs_the_ordinary_price(tier: str):
    assert cost(SONNET, Usage(input_tokens=1, service_tier=tier, speed="standard")) == 3_000_000


def test_speed_counts_before_the_service_tier():
    model = CATALOG.find("anthropic", "claude-opus-5-5")
    assert model is not None

    assert (
        cost(model.price, Usage(input_tokens=1, output_tokens=1, service_tier="standard", speed="fast")) == 48_000_000
    )


def test_a_region_multiplies_tokens_and_not_tools():
    usage = Usage(input_tokens=10, web_search_requests=1, inference_geo="us")

    assert cost(SONNET, usage) == 33_000_000 + 10_000_000_000


def test_a_regions_price_is_rounded_up_to_a_whole_pico_dollar():
    price = Price(standard=RateCard(rates=Rates(input=3)), geo_permille={"us": 1100})

    assert cost(price, Usage(input_tokens=1, inference_geo="us")) == 4


def test_tools_are_paid_by_the_call():
    assert cost(SONNET, Usage(web_search_requests=3, web_fetch_requests=9, code_execution_requests=2)) == 30_000_000_000


def test_a_call_can_have_a_fee():
    price = Price(standard=RateCard(rates=Rates(input=1, output=1)), request=12_000_000_000)

    assert cost(price, Usage(input_tokens=1, output_tokens=1)) == 12_000_000_002


def test_reasoning_can_have_a_rate_of_its_own():
    price = Price(standard=RateCard(rates=Rates(input=1, output=8, reasoning=3)))

    assert cost(price, Usage(output_tokens=10, reasoning_tokens=10)) == 110


def test_a_flat_price_ignores_modes_and_regions():
    price = msgspec.structs.replace(SONNET, flat=True)

    assert cost(price, Usage(input_tokens=1, service_tier="priority", inference_geo="us")) == 3_000_000


def test_a_scheduled_price_takes_over_on_its_day():
    old, new = (Price(standard=RateCard(rates=Rates(input=rate))) for rate in (1, 2))
    model = Model("p", "m", "M", price=old, price_changes=(PriceChange(price=new, since=dt.date(2026, 12, 1)),))

    assert model.price_at(dt.datetime(2026, 11, 30, 23, 59, tzinfo=dt.UTC)) is old
    assert model.price_at(dt.datetime(2026, 12, 1, tzinfo=dt.UTC)) is new
    # Midnight in Berlin is still the day before in UTC.
    assert model.price_at(dt.datetime(2026, 12, 1, tzinfo=dt.timezone(dt.timedelta(hours=1)))) is old


def test_a_peak_price_holds_between_its_hours():
    usual, peak = (Price(standard=RateCard(rates=Rates(input=rate))) for rate in (1, 2))
    model = Model("p", "m", "M", price=usual, price_changes=(PriceChange(price=peak, daily=(60, 240)),))
    at = [dt.datetime(2026, 12, 1, hour, minute, tzinfo=dt.UTC) for hour, minute in ((0, 59), (1, 0), (3, 59), (4, 0))]

    assert [model.price_at(moment) for moment in at] == [usual, peak, peak, usual]


@pytest.mark.parametrize(
    ("pico", "json_text", "text"),
    [
        (0, "0.0", "0.000000"),
        (195_000_000, "0.000195", "0.000195"),
        (1, "1e-12", "0.000000"),
        (499_999, "4.99999e-07", "0.000000"),
        (500_000, "5e-07", "0.000001"),
        (1_234_567_890_123, "1.234567890123", "1.234568"),
        (999_999_500_000, "0.9999995", "1.000000"),
        (123_456_789_000_000_000, "123456.789", "123456.789000"),
    ],
)
def test_dollars_show_no_binary_noise(pico: int, json_text: str, text: str):
    assert json.dumps(usd(pico)) == json_text
    assert header(pico) == text


@given(st.integers(min_value=0, max_value=10**15))
def test_dollars_are_the_exact_decimal(pico: int):
    # Up to a thousand dollars a float's shortest form is the decimal itself.
    assert Decimal(repr(usd(pico))) == Decimal(pico) / 10**12


def expected(model: Model, usage: Usage, context: dict[str, str]) -> int:
    """What genai-prices says the same call costs: its input and output counts include their parts."""
    calculated = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=usage.total_input,
            output_tokens=usage.total_output,
            cache_read_tokens=usage.total_cache_read,
            cache_write_tokens=usage.cache_write_tokens,
            cache_write_5m_tokens=usage.cache_write_5m_tokens,
            cache_write_1h_tokens=usage.cache_write_1h_tokens,
            input_audio_tokens=usage.audio_input_tokens + usage.audio_cache_read_tokens,
            cache_audio_read_tokens=usage.audio_cache_read_tokens,
            output_audio_tokens=usage.audio_output_tokens,
            output_image_tokens=usage.image_output_tokens,
            output_reasoning_tokens=usage.reasoning_tokens,
            web_searches=usage.web_search_requests,
            storage_searches=usage.file_search_requests,
        ),
        model.id,
        provider_id=ORACLE.get(model.provider, model.provider),
        genai_request_timestamp=NOON,
        price_context=context or None,
    )
    return int(calculated.total_price * 10**12)


def known_to_the_oracle(model: Model) -> bool:
    if model.price is None or (model.provider, model.id) in BY_HAND:
        return False
    try:
        expected(model, Usage(input_tokens=1), {})
    except LookupError:
        return False
    return True


# Named facts that the oracle does not have, or has otherwise.
BY_HAND = {
    # A price taken from a sibling, because the vendor says that they cost the same.
    ("openai", "chat-latest"),
    ("deepseek", "deepseek-chat"),
    ("deepseek", "deepseek-reasoner"),
    ("gemini", "gemini-3-pro-image"),
    ("gemini", "gemini-3.1-flash-image"),
}

# The calls: short and long, cached and not. Zero where a model does not do the thing.
CALLS = [
    Usage(input_tokens=15, output_tokens=10),
    Usage(input_tokens=1_234, output_tokens=567, reasoning_tokens=89),
    Usage(input_tokens=99_999, cache_read_tokens=1, output_tokens=3),
    Usage(input_tokens=100_000, cache_read_tokens=1, output_tokens=3),
    Usage(input_tokens=10, cache_read_tokens=199_989, output_tokens=1_000),
    Usage(input_tokens=10, cache_read_tokens=199_990, output_tokens=1_000),
    Usage(input_tokens=10, cache_read_tokens=199_991, output_tokens=1_000),
    Usage(input_tokens=272_000, output_tokens=1),
    Usage(input_tokens=272_001, output_tokens=1),
    Usage(input_tokens=900_000, cache_read_tokens=50_000, output_tokens=64_000, reasoning_tokens=3),
]
WRITES = [
    Usage(input_tokens=7, cache_write_5m_tokens=2_048, output_tokens=5),
    Usage(input_tokens=7, cache_read_tokens=11, cache_write_other_tokens=300_000, output_tokens=5),
]


@pytest.mark.parametrize("provider", sorted({model.provider for model in CATALOG.models()}))
def test_prices_agree_with_genai_prices(provider: str):
    models = [model for model in CATALOG.models(provider) if known_to_the_oracle(model)]
    wrong = []
    for model in models:
        rates = model.price_at(NOON).standard.rates
        calls = list(CALLS)
        # OpenRouter's cache writes of Gemini models cost thirds; the catalogue rounds them to a pico-dollar a token.
        if rates.cache_write is not None and provider != "openrouter":
            calls += WRITES
        if rates.cache_write_1h is not None:
            calls.append(Usage(input_tokens=9, cache_write_5m_tokens=1, cache_write_1h_tokens=300_001, output_tokens=2))
        if rates.audio_input is not None:
            calls.append(Usage(input_tokens=9, audio_input_tokens=1_000, output_tokens=2))
        if rates.audio_cache_read is not None:
            calls.append(Usage(input_tokens=9, audio_input_tokens=1_000, audio_cache_read_tokens=10, output_tokens=2))
        if rates.audio_output is not None:
            calls.append(Usage(input_tokens=9, audio_output_tokens=1_000, output_tokens=2))
        if rates.image_output is not None:
            calls.append(Usage(input_tokens=9, image_output_tokens=1_290, output_tokens=2))
        if model.price.web_search is not None:
            calls.append(Usage(input_tokens=9, output_tokens=2, web_search_requests=3))
        if model.price.file_search is not None:
            calls.append(Usage(input_tokens=9, output_tokens=2, file_search_requests=3))
        wrong += [
            (model.id, usage, ours, theirs)
            for usage in calls
            if (ours := cost(model.price_at(NOON), usage)) != (theirs := expected(model, usage, {}))
        ]

    assert wrong == []
    assert models


# The catalogue's names of modes, how genai-prices is asked for them, and how a provider reports them.
MODES = [
    ("batch", {"processing": "batch"}, {"service_tier": "batch"}),
    ("flex", {"service_tier": "flex"}, {"service_tier": "flex"}),
    ("priority", {"service_tier": "priority"}, {"service_tier": "priority"}),
    ("fast", {"service_tier": "fast"}, {"service_tier": "fast"}),
    ("fast", {"speed": "fast"}, {"speed": "fast"}),
]


@pytest.mark.parametrize(("mode", "context", "reported"), MODES)
def test_modes_agree_with_genai_prices(mode: str, context: dict[str, str], reported: dict[str, str]):
    compared = 0
    for model in CATALOG.models():
        if not known_to_the_oracle(model) or model.provider == "openrouter" or mode not in model.price_at(NOON).modes:
            continue
        if ("speed" in reported) != (model.provider == "anthropic") and mode == "fast":
            continue
        if model.id in {"claude-opus-4-6", "claude-opus-4-7"} and mode == "fast":
            continue  # genai-prices has no fast mode for them; models.dev does
        for usage in CALLS:
            usage = msgspec.structs.replace(usage, **reported)
            assert cost(model.price_at(NOON), usage) == expected(model, usage, context), (model.full_id, usage)
        compared += 1

    assert compared


@given(
    st.builds(
        Usage,
        input_tokens=st.integers(0, 2_000_000),
        cache_read_tokens=st.integers(0, 2_000_000),
        cache_write_5m_tokens=st.integers(0, 400_000),
        cache_write_1h_tokens=st.integers(0, 400_000),
        output_tokens=st.integers(0, 200_000),
        reasoning_tokens=st.integers(0, 200_000),
        web_search_requests=st.integers(0, 20),
    ),
    st.sampled_from(["claude-haiku-5-5", "claude-sonnet-4-5", "claude-opus-5-5", "claude-fable-5-2"]),
)
def test_any_anthropic_call_agrees_with_genai_prices(usage: Usage, name: str):
    model = CATALOG.find("anthropic", name)
    assert model is not None

    assert cost(model.price, usage) == expected(model, usage, {})
