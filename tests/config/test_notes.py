"""Settings without an effect in this version."""

from __future__ import annotations

import pytest

from vango.config import Settings, load, unused
from vango.config.load import ROOT
from vango.config.notes import UNUSED

KEY = '[[auth.api_keys]]\nkey = "vango_sk_1"\n'


def test_defaults_have_no_notes() -> None:
    assert unused(Settings()) == []


def test_what_has_an_effect_has_no_note() -> None:
    settings = load(
        f"""
        [server]
        port = 1
        cors_origins = ["*"]
        [auth]
        mode = "api_key"
        {KEY}
        models = ["anthropic/*"]
        [providers.mine]
        kind = "anthropic"
        base_url = "http://127.0.0.1:1"
        [aliases]
        a = "mine/b"
        [fallbacks]
        a = ["anthropic/c"]
        [models."mine/b"]
        context_window = 5
        """,
        {"ANTHROPIC_API_KEY": "x"},
    )

    assert unused(settings) == []


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        (
            "[rate_limits.global]\nrequests_per_minute = 5\ntokens_per_minute = 0",
            ["rate_limits.global.requests_per_minute is not enforced by this version."],
        ),
        (
            "rate_limits.per_user.max_concurrent = 5",
            ["rate_limits.per_user.max_concurrent is not enforced by this version."],
        ),
        ('rate_limits.store = "redis://a"', ["rate_limits.store has no effect in this version."]),
        ('rate_limits.store = "memory"', []),
        ('rate_limits.on_store_failure = "closed"', ["rate_limits.on_store_failure has no effect in this version."]),
        ('usage.store = "none"', ["usage.store has no effect in this version."]),
        ('voice.default_stt = "local"', ["voice.default_stt has no effect in this version."]),
        ("[voice.stt.deepgram]", ["voice.stt.deepgram has no effect in this version."]),
        ("server.live.max_sessions = 5", ["server.live.max_sessions has no effect in this version."]),
        ("server.limits.live_audio_rate = 5", ["server.limits.live_audio_rate has no effect in this version."]),
        ("observability.tracing.enabled = true", ["observability.tracing.enabled has no effect in this version."]),
        (
            f"""auth.mode = "api_key"
            {KEY}
            rate_limit = 1
            tokens_per_minute = 1
            max_concurrent = 1
            budget_usd = 1
            admin = true
            budget_period = "day" """,
            [
                "auth.api_keys[0].admin has no effect in this version.",
                *(
                    f"auth.api_keys[0].{name} is not enforced by this version."
                    for name in ["rate_limit", "tokens_per_minute", "max_concurrent", "budget_usd", "budget_period"]
                ),
            ],
        ),
        (KEY, ['auth.api_keys has no effect while auth.mode is "none".']),
        (
            "[providers.openai]\n[providers.anthropic]\n[providers.sandbox]",
            ["providers.openai cannot be called by this version without kind and base_url."],
        ),
    ],
)
def test_each_setting_without_an_effect_has_a_note(text: str, notes: list[str]) -> None:
    assert unused(load(text, {})) == notes


def test_every_setting_in_the_table_exists() -> None:
    assert [path for path in UNUSED if ROOT.at(path) is None] == []
