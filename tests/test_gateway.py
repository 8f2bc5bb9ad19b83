"""The gateway as one object: providers from rows, plug-ins and configuration; names, prices and what it lists."""

from __future__ import annotations

import datetime as dt
import json
import ssl
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio.testing
from pydantic import SecretStr

from tests.support.server import HELLO, running
from vango.config import Settings
from vango.errors import AuthenticationError, InvalidRequestError, NotFoundError
from vango.gateway import LocalGateway, Page
from vango.local import sandbox
from vango.providers.registry import BUILT_IN, CODECS, Row, rows
from vango.transport.sandbox import SandboxTransport
from vango.types.call import Caller, Credential, Outcome
from vango.types.messages import MessageRequest, read_request
from vango.types.script import Script

ANYBODY = Caller(principal="somebody")


def gateway(settings: dict[str, Any] | None = None, *scripts: Script, **options: Any) -> LocalGateway:
    played = SandboxTransport(sandbox.answer, keep_calls=10).replies(*scripts)
    return LocalGateway(Settings.model_validate(settings or {}), sandbox=played, **options)


def request(**fields: Any) -> MessageRequest:
    return read_request(json.dumps({**HELLO, **fields}).encode())


def answer(**usage: int) -> Script:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "big-1",
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 0, "output_tokens": 0, **usage},
    }
    return Script.json(200, message)


MINE: dict[str, Any] = {
    "kind": "anthropic",
    "base_url": "sandbox://somewhere/prefix",
    "api_key": "sk-mine",
    "headers": {"X-Team": "t1"},
}


async def test_a_provider_of_ones_own_is_called_at_its_address_with_its_key_and_headers() -> None:
    async with gateway({"providers": {"mine": MINE}}, answer(output_tokens=3)) as local:
        outcome = Outcome()
        decoded = await local.create(request(model="mine/big/model:1"), ANYBODY, outcome)

        (call,) = local.sandbox.calls
    assert (call.origin.host, call.target) == ("somewhere", "/prefix/v1/messages")
    assert dict(call.headers)["x-api-key"] == "sk-mine"
    assert dict(call.headers)["x-team"] == "t1"
    assert json.loads(call.body)["model"] == "big/model:1"
    assert decoded.model == outcome.model == "mine/big-1"
    assert decoded.cost is None
    assert "cost_usd" not in json.loads(decoded.body)["usage"]


async def test_a_provider_of_ones_own_needs_no_key() -> None:
    mine = {name: value for name, value in MINE.items() if name != "api_key"}
    async with gateway({"providers": {"mine": mine}}, answer()) as local:
        await local.create(request(model="mine/x"), ANYBODY, Outcome())

        assert not {"x-api-key", "authorization"} & dict(local.sandbox.calls[-1].headers).keys()
    assert {item["id"] for item in local.models(configured=True)["providers"]} == {"sandbox", "mine"}


async def test_a_built_in_provider_keeps_its_row_where_only_its_address_is_given() -> None:
    async with gateway({"providers": {"anthropic": {"base_url": "sandbox://anthropic/proxy"}}}) as local:
        with pytest.raises(AuthenticationError) as caught:
            await local.create(request(model="claude-haiku-4-5"), ANYBODY, Outcome())

        assert caught.value.code == "provider_key_missing"
        assert local.providers["anthropic"].base.prefix == "/proxy"


# Prices


async def test_prices_of_the_configuration_reach_the_cost() -> None:
    settings = {
        "providers": {"mine": MINE},
        "models": {"mine/big-1": {"input_per_mtok": 2, "output_per_mtok": "10.5", "cache_read_per_mtok": 0.25}},
    }
    usage = answer(input_tokens=1_000_000, output_tokens=100_000, cache_read_input_tokens=400_000)
    async with gateway(settings, usage) as local:
        decoded = await local.create(request(model="mine/big-1"), ANYBODY, Outcome())

    # 2 $ + 1.05 $ + 0.10 $
    assert decoded.cost == 3_150_000_000_000
    assert json.loads(decoded.body)["usage"]["cost_usd"] == 3.15
    described = next(item for item in local.models(provider="mine")["providers"])["models"][0]
    assert described["pricing"] == {
        "input_per_mtok": 2.0,
        "output_per_mtok": 10.5,
        "cache_read_per_mtok": 0.25,
        "cache_write_per_mtok": 2.0,
    }


async def test_a_price_laid_over_the_catalogues_holds_for_every_name_of_the_model() -> None:
    settings = {
        "providers": {"anthropic": {"api_key": "sk", "base_url": "sandbox://anthropic"}},
        "models": {
            "anthropic/claude-haiku-4-5": {"input_per_mtok": 100, "output_per_mtok": 0, "max_output_tokens": 77}
        },
        "aliases": {"quick": "anthropic/claude-haiku-4-5-20251001"},
    }
    for name in ("anthropic/claude-haiku-4-5", "claude-haiku-4-5", "claude-haiku-4-5-20251001", "quick"):
        async with gateway(settings, answer(input_tokens=10)) as local:
            decoded = await local.create(request(model=name, max_tokens=None), ANYBODY, Outcome())

            assert decoded.cost == 1_000_000_000
            assert json.loads(local.sandbox.calls[-1].body)["max_tokens"] == 77


async def test_prices_reach_headers_metrics_and_the_log() -> None:
    settings = {"providers": {"mine": MINE}, "models": {"mine/big-1": {"input_per_mtok": 3, "output_per_mtok": 15}}}
    async with running(settings) as server:
        server.sandbox.replies(answer(input_tokens=15, output_tokens=10))
        reply = await server.post({**HELLO, "model": "mine/big-1"})
        await trio.testing.wait_all_tasks_blocked()

        assert reply.headers["x-cost-usd"] == "0.000195"
        assert reply.json()["usage"]["cost_usd"] == 0.000195
        assert server.lines()[-1]["cost_usd"] == 0.000195
        assert 'vango_cost_usd_total{provider="mine"} 0.000195' in (await server.http.get("/metrics")).text


# Names


@pytest.mark.parametrize(
    ("name", "provider", "model"),
    [
        ("claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5"),
        ("claude-3-5-sonnet", "anthropic", "claude-3-5-sonnet"),
        ("claude-not-known-yet-9", "anthropic", "claude-not-known-yet-9"),
        ("anthropic/a/b", "anthropic", "a/b"),
        ("smart", "anthropic", "claude-opus-4-6"),
        ("smartest", "anthropic", "claude-opus-4-6"),
        ("claude-haiku-4-5", "sandbox", "chat"),  # an alias comes before the catalogue
        ("anthropic/claude-haiku-4-5", "sandbox", "echo"),  # and before a full name
        ("loop-a", None, None),
        ("dangling", None, None),
        ("gpt-5", None, None),
        ("echo", "sandbox", "echo"),
        ("", None, None),
        ("sandbox/", None, None),
    ],
)
def test_names_lead_to_a_provider_and_its_model(name: str, provider: str | None, model: str | None) -> None:
    aliases = {
        "smart": "anthropic/claude-opus-4-6",
        "smartest": "smart",
        "claude-haiku-4-5": "sandbox/chat",
        "anthropic/claude-haiku-4-5": "sandbox/echo",
    }
    if name == "dangling":
        aliases["dangling"] = "nobody/x"
    resolve = gateway({"aliases": aliases}).engine.routes.resolve

    if provider is None:
        with pytest.raises(NotFoundError) as caught:
            resolve(name)
        assert (caught.value.param, caught.value.code) == ("model", "unknown_model")
    else:
        route = resolve(name)
        assert (route.provider.name, route.model) == (provider, model)


def test_a_model_is_described_as_the_list_describes_it() -> None:
    local = gateway(now=lambda: dt.datetime(2026, 7, 1, tzinfo=dt.UTC))

    found = local.model("anthropic/claude-opus-4-1")
    listed = next(item for item in local.models()["data"] if item["id"] == "anthropic/claude-opus-4-1-20250805")

    assert found["id"] == "anthropic/claude-opus-4-1"
    assert listed.items() - {("id", listed["id"])} <= {
        (key, value) for key, value in found.items() if isinstance(value, str | int | None)
    }
    assert found["full_id"] == "anthropic/claude-opus-4-1-20250805"
    assert found["lifecycle"] == "deprecated"
    assert (
        gateway(now=lambda: dt.datetime(2027, 1, 1, tzinfo=dt.UTC)).model("claude-opus-4-1")["lifecycle"] == "retired"
    )


ENTRIES = [{"id": name} for name in "abcde"]


@pytest.mark.parametrize(
    ("page", "names", "more"),
    [
        (Page(), "abcde", False),
        (Page(2), "ab", True),
        (Page(5), "abcde", False),
        (Page(2, after_id="b"), "cd", True),
        (Page(2, after_id="c"), "de", False),
        (Page(after_id="e"), "", False),
        (Page(2, before_id="d"), "bc", True),
        (Page(9, before_id="c"), "ab", False),
        (Page(before_id="a"), "", False),
    ],
)
def test_a_page_is_a_part_of_the_list(page: Page, names: str, more: bool) -> None:
    entries, has_more = page.cut([dict(entry) for entry in ENTRIES])

    assert ("".join(entry["id"] for entry in entries), has_more) == (names, more)


def test_a_page_begins_at_what_is_listed() -> None:
    for page, param in ((Page(after_id="x"), "after_id"), (Page(before_id="x" * 99), "before_id")):
        with pytest.raises(InvalidRequestError) as caught:
            page.cut(ENTRIES)
        assert caught.value.param == param
        assert len(caught.value.message) < 100


# Speech is for a later version


@pytest.mark.parametrize("stream", [False, True])
async def test_voice_is_refused_by_its_name(stream: bool) -> None:
    async with gateway() as local:
        for voice in ({}, {"output": {"provider": "local"}}):
            with pytest.raises(InvalidRequestError) as caught:
                if stream:
                    local.stream(request(voice=voice), ANYBODY, Outcome())
                else:
                    await local.create(request(voice=voice), ANYBODY, Outcome())
            assert (caught.value.param, caught.value.code) == ("voice", "unsupported")
        assert (await local.create(request(voice=None), ANYBODY, Outcome())).stop_reason == "end_turn"


# Plug-ins


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path, with a distribution whose entry point is the `row` of a module."""
    about = tmp_path / "fake_vendor-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-vendor\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[vango.providers]\nvendor = fake_vendor:row\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("fake_vendor", None)


ROW = "from vango.providers.registry import CODECS, Row\nrow = Row({name!r}, 'Vendor', CODECS['anthropic'], 'sandbox://vendor')\n"


async def test_a_plug_in_brings_a_provider(plugins: Path) -> None:
    (plugins / "fake_vendor.py").write_text(ROW.format(name="vendor"))

    own = Caller(principal="somebody", provider_keys={"vendor": Credential(SecretStr("sk-own"))})
    async with gateway(None, answer()) as local:
        await local.create(request(model="vendor/x"), own, Outcome())

        (call,) = local.sandbox.calls
    assert (call.origin.host, dict(call.headers)["x-api-key"]) == ("vendor", "sk-own")
    assert {item["id"]: item["configured"] for item in local.models()["providers"]}["vendor"] is False


async def test_the_configuration_of_a_plug_ins_provider_keeps_its_row(plugins: Path) -> None:
    (plugins / "fake_vendor.py").write_text(ROW.format(name="vendor"))

    async with gateway({"providers": {"vendor": MINE}}, answer()) as local:
        await local.create(request(model="vendor/x"), ANYBODY, Outcome())

        (call,) = local.sandbox.calls
    assert (call.origin.host, dict(call.headers)["x-api-key"]) == ("somewhere", "sk-mine")
    assert local.providers["vendor"].title == "Vendor"
    assert local.providers["vendor"].configured


def test_a_plug_in_may_take_the_place_of_a_built_in_provider(plugins: Path) -> None:
    (plugins / "fake_vendor.py").write_text(ROW.format(name="anthropic"))

    assert rows()["anthropic"].title == "Vendor"


def test_a_plug_in_that_brings_something_else_is_refused_by_name(plugins: Path) -> None:
    (plugins / "fake_vendor.py").write_text("row = {'name': 'vendor'}\n")

    with pytest.raises(TypeError, match=r"'vendor' in vango.providers is not a Row"):
        rows()


def test_the_built_in_rows() -> None:
    assert {row.name: (row.base_url, row.needs_key) for row in BUILT_IN} == {
        "anthropic": ("https://api.anthropic.com", True),
        "sandbox": ("sandbox://anthropic", False),
    }
    assert all(isinstance(row, Row) and row.codec in CODECS.values() for row in BUILT_IN)


async def test_certificates_are_read_before_the_first_call_that_needs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    context = ssl.create_default_context()

    def make() -> ssl.SSLContext:
        made.append(threading.current_thread().name)
        return context

    monkeypatch.setattr("vango.gateway.trusted_context", make)

    async with LocalGateway(Settings.model_validate({"providers": {"anthropic": {"api_key": "k"}}})):
        assert len(made) == 1
        assert made[0] != threading.main_thread().name
    async with LocalGateway(Settings()):
        assert len(made) == 1
