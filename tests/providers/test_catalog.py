import datetime as dt
import importlib
import json
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import get_args

import anthropic
import msgspec
import pytest
from anthropic.types import ModelInfo

from vango.governance.pricing import cost
from vango.providers.catalog import Catalog, describe, listed
from vango.types.models import Capabilities, Model, NativeTool, Price, RateCard, Rates
from vango.types.usage import Usage

CATALOG = Catalog.load()
ALL = CATALOG.models()
DATA = resources.files("vango.providers.catalog").joinpath("models.json").read_text(encoding="utf-8")
MADE = dt.date.fromisoformat(json.loads(DATA)["made"])


def rate_cards(model: Model) -> list[RateCard]:
    prices = [price for price in (model.price, *(change.price for change in model.price_changes)) if price]
    return [card for price in prices for card in (price.standard, *price.modes.values())]


class TestData:
    def test_every_provider_has_models(self):
        assert {model.provider for model in ALL} == {
            "anthropic",
            "cerebras",
            "deepseek",
            "gemini",
            "groq",
            "mistral",
            "openai",
            "openrouter",
            "perplexity",
            "together",
            "xai",
        }

    def test_a_name_means_one_model(self):
        names = [(model.provider, name) for model in ALL for name in (model.id, *model.aliases, *model.nicknames)]

        assert sorted(names) == sorted(set(names))

    def test_every_name_finds_its_model(self):
        for model in ALL:
            for name in (model.id, *model.aliases, *model.nicknames):
                assert CATALOG.find(model.provider, name) is model

    def test_successors_exist_and_have_no_end(self):
        for model in ALL:
            if model.successor is not None:
                successor = CATALOG.find(model.provider, model.successor)
                assert successor is not None, model.full_id
                assert successor.retired is None, model.full_id

    def test_retired_claude_models_name_a_successor(self):
        retired = [model for model in CATALOG.models("anthropic") if model.retired is not None]

        assert len(retired) > 10
        assert [model.id for model in retired if model.successor is None] == []

    def test_limits_are_sane(self):
        for model in ALL:
            if model.context_window is not None:
                assert 4_096 <= model.context_window <= 10_000_000, model.full_id
            if model.max_output_tokens is not None:
                assert 1_024 <= model.max_output_tokens <= 1_048_576, model.full_id
                assert model.context_window is None or model.max_output_tokens <= model.context_window, model.full_id

    def test_current_makers_models_have_limits_and_prices(self):
        for provider in ("anthropic", "openai", "gemini"):
            for model in CATALOG.models(provider):
                if model.retired is None and model.id != "chat-latest":
                    assert model.context_window, model.full_id
                    assert model.price, model.full_id

    def test_prices_are_whole_and_not_negative(self):
        for model in ALL:
            for card in rate_cards(model):
                for rates in (card.rates, *(tier.rates for tier in card.tiers)):
                    given = [getattr(rates, name) for name in Rates.__struct_fields__]
                    assert rates.input is not None, model.full_id
                    assert rates.output is not None, model.full_id
                    # A thousand dollars a million tokens is far above the dearest model there is.
                    assert all(rate is None or 0 <= rate <= 1_000_000_000 for rate in given), model.full_id

    def test_a_cached_token_never_costs_more_than_a_fresh_one(self):
        for model in ALL:
            for card in rate_cards(model):
                for rates in (card.rates, *(tier.rates for tier in card.tiers)):
                    assert rates.cache_read is None or rates.cache_read <= rates.input, model.full_id

    def test_tiers_go_up(self):
        for model in ALL:
            for card in rate_cards(model):
                thresholds = [tier.above for tier in card.tiers]
                assert thresholds == sorted(set(thresholds)), model.full_id

    def test_price_changes_lie_ahead(self):
        for model in ALL:
            for change in model.price_changes:
                assert change.daily is not None or change.since > MADE, model.full_id

    def test_dates_parse(self):
        for model in ALL:
            if model.created_at is not None:
                created = dt.datetime.fromisoformat(model.created_at)
                assert created.tzinfo is dt.UTC, model.full_id
                assert dt.date(2022, 1, 1) <= created.date() <= MADE, model.full_id

    def test_native_tools_are_the_portable_ones(self):
        assert {tool for model in ALL for tool in model.native_tools} <= set(get_args(NativeTool))

    def test_thinking_options_belong_to_models_that_think(self):
        assert [model.full_id for model in ALL if model.thinking and model.capabilities.thinking is False] == []

    def test_every_model_of_the_official_sdk_is_known(self):
        named = get_args(get_args(anthropic.types.Model)[0])

        assert len(named) > 10
        assert [name for name in named if CATALOG.find("anthropic", name) is None] == []

    def test_every_model_that_the_official_sdk_warns_of_has_its_end(self):
        warned = anthropic.resources.messages.messages.DEPRECATED_MODELS

        known = {name: CATALOG.find("anthropic", name) for name in warned}

        # Long gone before anyone could have used Vango.
        assert {name for name, model in known.items() if model is None} == {
            "claude-1.3",
            "claude-1.3-100k",
            "claude-instant-1.1",
            "claude-instant-1.1-100k",
        }
        assert [name for name, model in known.items() if model and model.retired is None] == []

    def test_the_file_is_as_the_script_writes_it(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.syspath_prepend(Path(__file__).parents[2] / "tools")
        make_catalog = importlib.import_module("make_catalog")
        data = json.loads(DATA)

        assert make_catalog.canonical(data["made"], list(reversed(data["models"]))) == DATA

    def test_the_file_has_no_field_that_is_not_read(self):
        written = json.loads(DATA)["models"]

        assert [json.loads(msgspec.json.encode(model)) for model in ALL] == written


class TestFind:
    def test_by_id_alias_and_nickname(self):
        sonnet = CATALOG.find("anthropic", "claude-sonnet-4-5-20250929")

        assert sonnet is not None
        assert CATALOG.find("anthropic", "claude-sonnet-4-5") is sonnet
        assert CATALOG.find("anthropic", "claude-sonnet-4").id == "claude-sonnet-4-20250514"

    def test_by_the_date_of_a_snapshot(self):
        assert CATALOG.find("openai", "gpt-6-sol-2026-09-22").id == "gpt-6-sol"
        assert CATALOG.find("anthropic", "claude-opus-4-6@20260205").id == "claude-opus-4-6"

    def test_an_undated_name_finds_the_newest_snapshot(self):
        catalog = Catalog([Model("p", "m-20250101", "old"), Model("p", "m-20260101", "new")])

        assert catalog.find("p", "m").display_name == "new"

    def test_unknown_is_none(self):
        assert CATALOG.find("anthropic", "claude-next") is None
        assert CATALOG.find("nobody", "claude-sonnet-5") is None
        assert CATALOG.find("anthropic", "") is None

    def test_a_small_model_is_kept_at_cerebras(self):
        model = CATALOG.find("cerebras", "llama-3.1-8b")

        assert model is not None
        assert model.retired is None
        assert CATALOG.wire_id("cerebras", "llama-3.1-8b") == model.id

    @pytest.mark.parametrize(
        ("asked", "sent"),
        [
            ("claude-sonnet-4-5", "claude-sonnet-4-5"),
            ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5-20250929"),
            ("claude-sonnet-4", "claude-sonnet-4-20250514"),
            ("claude-opus-9", "claude-opus-9"),
            ("claude-opus-5-20260724", "claude-opus-5-20260724"),
        ],
    )
    def test_the_provider_gets_the_name_it_knows(self, asked: str, sent: str):
        assert CATALOG.wire_id("anthropic", asked) == sent


@pytest.mark.parametrize(
    ("name", "provider"),
    [
        ("claude-sonnet-4-5", "anthropic"),
        ("claude-next-9", "anthropic"),
        ("gpt-5", "openai"),
        ("gpt-99", "openai"),
        ("chatgpt-4o-latest", "openai"),
        ("o3", "openai"),
        ("o7-mini", "openai"),
        ("gemini-2.5-pro", "gemini"),
        ("gemini-9-ultra", "gemini"),
        ("deepseek-v4-pro", "deepseek"),
        ("llama-3.3-70b-versatile", "groq"),
        ("sonar", "perplexity"),
        ("grok-4.7", "xai"),
        ("openai/gpt-oss-20b", None),
        ("orca", None),
        ("", None),
    ],
)
def test_a_bare_name_tells_its_provider(name: str, provider: str | None):
    assert CATALOG.owner(name) == provider


class TestOverrides:
    def test_facts_are_laid_over_the_catalogues(self):
        before = CATALOG.find("openai", "gpt-5.5")
        overrides = {
            "openai/gpt-5.5": {
                "context_window": 64_000,
                "max_output_tokens": None,
                "capabilities": {"vision": False, "tools": None},
                "native_tools": ["web_search"],
            }
        }

        model = CATALOG.with_overrides(overrides).find("openai", "gpt-5.5")

        assert model == msgspec.structs.replace(
            before,
            context_window=64_000,
            capabilities=msgspec.structs.replace(before.capabilities, vision=False),
            native_tools=("web_search",),
        )
        assert CATALOG.find("openai", "gpt-5.5") is before

    def test_an_alias_names_the_model(self):
        catalog = CATALOG.with_overrides({"anthropic/claude-haiku-4-5": {"context_window": 50_000}})

        assert catalog.find("anthropic", "claude-haiku-4-5-20251001").context_window == 50_000
        assert len(catalog.models()) == len(ALL)

    def test_an_unknown_model_is_added(self):
        overrides = {
            "ollama/qwen/small": {"context_window": 8_192, "input_per_mtok": Decimal(0), "output_per_mtok": Decimal(0)}
        }

        model = CATALOG.with_overrides(overrides).find("ollama", "qwen/small")

        assert model.full_id == "ollama/qwen/small"
        assert cost(model.price, Usage(input_tokens=9, cache_read_tokens=9, output_tokens=9)) == 0

    def test_an_operators_price_is_flat_and_exact(self):
        overrides = {
            "anthropic/claude-sonnet-4-5": {"input_per_mtok": Decimal("2.7"), "output_per_mtok": Decimal("13.5")}
        }

        price = CATALOG.with_overrides(overrides).find("anthropic", "claude-sonnet-4-5").price

        long_call = Usage(input_tokens=300_000, cache_read_tokens=10, output_tokens=1, service_tier="batch")
        assert cost(price, long_call) == 300_010 * 2_700_000 + 13_500_000
        assert cost(price, Usage(web_search_requests=1)) == 10_000_000_000

    def test_a_cache_price_alone_leaves_the_rest(self):
        overrides = {"anthropic/claude-opus-5": {"cache_read_per_mtok": "0.25", "cache_write_per_mtok": 7}}

        rates = CATALOG.with_overrides(overrides).find("anthropic", "claude-opus-5").price.standard.rates

        assert rates == Rates(
            input=5_000_000, output=25_000_000, cache_read=250_000, cache_write=7_000_000, cache_write_1h=7_000_000
        )

    def test_half_a_price_is_no_price_for_the_other_half(self):
        price = CATALOG.with_overrides({"x/y": {"input_per_mtok": 1}}).find("x", "y").price

        assert cost(price, Usage(input_tokens=1)) == 1_000_000
        assert cost(price, Usage(input_tokens=1, output_tokens=1)) is None

    def test_scheduled_changes_end_with_an_operators_price(self):
        model = CATALOG.with_overrides({"gemini/gemini-4-argon": {"input_per_mtok": 1}}).find(
            "gemini", "gemini-4-argon"
        )

        assert model.price_at(dt.datetime(2027, 6, 1, tzinfo=dt.UTC)) is model.price

    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            ({"gpt-5": {}}, "expected provider/model, got 'gpt-5'"),
            ({"openai/": {}}, "expected provider/model, got 'openai/'"),
            ({"openai/gpt-5": {"colour": "red"}}, "a model has no field 'colour'"),
            ({"openai/gpt-5": {"capabilities": {"smell": True}}}, "a model has no capability 'smell'"),
            ({"openai/gpt-5": {"input_per_mtok": -1}}, "input_per_mtok must be a price of 0 or more, got -1"),
            (
                {"openai/gpt-5": {"input_per_mtok": Decimal("NaN")}},
                "input_per_mtok must be a price of 0 or more, got NaN",
            ),
        ],
    )
    def test_nonsense_is_refused(self, overrides: dict[str, dict[str, object]], message: str):
        with pytest.raises(ValueError) as caught:
            CATALOG.with_overrides(overrides)

        assert str(caught.value) == message


def test_models_are_added_beside_the_catalogues():
    echo = Model("sandbox", "echo", "Echo", capabilities=Capabilities(text=True))

    catalog = CATALOG.with_models([echo])

    assert catalog.find("sandbox", "echo") is echo
    assert catalog.models("sandbox") == [echo]
    assert catalog.owner("echo") == "sandbox"
    assert CATALOG.models("sandbox") == []


class TestListing:
    def test_a_model_is_described_with_what_is_known(self):
        assert describe(CATALOG.find("anthropic", "claude-haiku-5-5")) == {
            "id": "claude-haiku-5-5",
            "name": "Claude Haiku 5.5",
            "full_id": "anthropic/claude-haiku-5-5",
            "context_window": 1_000_000,
            "max_output_tokens": 128_000,
            "capabilities": {
                "text": True,
                "vision": True,
                "audio_input": False,
                "audio_output": False,
                "video": False,
                "documents": True,
                "tools": True,
                "tool_streaming": True,
                "thinking": True,
                "structured_output": True,
            },
            "native_tools": ["code_execution", "computer_use", "text_editor", "web_fetch", "web_search"],
            "pricing": {
                "input_per_mtok": 0.1,
                "output_per_mtok": 0.5,
                "cache_read_per_mtok": 0.01,
                "cache_write_per_mtok": 0.125,
            },
        }

    def test_what_is_unknown_is_left_out(self):
        assert describe(Model("p", "m", "M", capabilities=Capabilities(vision=False))) == {
            "id": "m",
            "name": "M",
            "full_id": "p/m",
            "capabilities": {"vision": False},
            "native_tools": [],
        }

    def test_unknown_prices_are_left_out(self):
        model = Model("p", "m", "M", price=Price(standard=RateCard(rates=Rates(input=70_000, output=0))))

        assert describe(model)["pricing"] == {"input_per_mtok": 0.07, "output_per_mtok": 0.0}

    def test_the_price_of_a_moment_is_shown(self):
        argon = CATALOG.find("gemini", "gemini-4-argon")

        assert describe(argon)["pricing"]["input_per_mtok"] == 2.0
        assert describe(argon, dt.datetime(2026, 12, 1, tzinfo=dt.UTC))["pricing"]["input_per_mtok"] == 4.0

    def test_the_official_sdk_reads_the_list(self):
        for model in ALL:
            info = ModelInfo.model_validate(listed(model, model.full_id), strict=False)

            assert info.id == model.full_id
            assert info.max_input_tokens == model.context_window
            assert info.created_at.tzinfo is not None

    def test_the_end_of_a_model_is_told(self):
        model = Model("p", "m", "M", retired=dt.date(2026, 12, 1))

        lifecycles = [listed(model, "m", today)["lifecycle"] for today in (None, dt.date(2026, 11, 30), model.retired)]

        assert lifecycles == ["deprecated", "deprecated", "retired"]
        assert listed(model, "m")["retires_at"] == "2026-12-01T00:00:00Z"
        assert listed(Model("p", "m", "M"), "m") == {
            "type": "model",
            "id": "m",
            "display_name": "M",
            "created_at": "1970-01-01T00:00:00Z",
            "max_input_tokens": None,
            "max_tokens": None,
            "lifecycle": "active",
            "retires_at": None,
        }
