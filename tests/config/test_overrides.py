"""Settings from the environment."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from ipaddress import ip_network
from typing import Any

import pytest

from vango.config import Settings, load
from vango.config.environment import BUILT_IN
from vango.errors import ConfigError

FILE = """
[server]
host = "localhost"
port = 1111
[observability.logging]
level = "error"
[providers.anthropic]
base_url = "https://file.example"
[providers.my-own]
kind = "anthropic"
base_url = "https://mine.example"
[aliases]
Fast = "sandbox/echo"
"""


def value(settings: Settings, path: str) -> Any:
    """Follow a path of attributes and keys."""
    here: Any = settings
    for key in path.split("."):
        here = here[key] if isinstance(here, dict) else getattr(here, key)
    return here


def faults(text: str, environ: dict[str, str]) -> list[str]:
    """Return the faults of a configuration; none at all fails the test."""
    with pytest.raises(ConfigError) as caught:
        load(text, environ)
    return caught.value.faults


@pytest.mark.parametrize(
    ("variable", "text", "path", "expected"),
    [
        ("VANGO_HOST", "127.0.0.2", "server.host", "127.0.0.2"),
        ("VANGO_PORT", "0", "server.port", 0),
        ("VANGO_LOG_LEVEL", "DEBUG", "observability.logging.level", "debug"),
        ("VANGO_LOG_FORMAT", "text", "observability.logging.format", "text"),
        ("VANGO__SERVER__HOST", "::1", "server.host", "::1"),
        ("VANGO__SERVER__PORT", "9000", "server.port", 9000),
        ("VANGO__SERVER__PORT", "9_000", "server.port", 9000),
        ("VANGO__SERVER__PLAYGROUND", "false", "server.playground", False),
        ("VANGO__SERVER__PLAYGROUND", "False", "server.playground", False),
        ("VANGO__SERVER__PLAYGROUND", "0", "server.playground", False),
        ("VANGO__SERVER__HTTP2", "true", "server.http2", True),
        ("VANGO__server__Limits__MAX_BODY_BYTES", "2048", "server.limits.max_body_bytes", 2048),
        ("VANGO__SERVER__LIMITS__BODY_TIMEOUT_SECONDS", "0.5", "server.limits.body_timeout_seconds", 0.5),
        ("VANGO__SERVER__CORS_ORIGINS", '["https://a.example"]', "server.cors_origins", ("https://a.example",)),
        ("VANGO__SERVER__TRUSTED_PROXIES", "['10.0.0.0/8']", "server.trusted_proxies", (ip_network("10.0.0.0/8"),)),
        ("VANGO__SERVER__TLS__CERT_FILE", "8080", "server.tls.cert_file", "8080"),
        ("VANGO__AUTH__MODE", "passthrough", "auth.mode", "passthrough"),
        ("VANGO__RATE_LIMITS__GLOBAL__MAX_CONCURRENT", "7", "rate_limits.global_.max_concurrent", 7),
        (
            "VANGO__PROVIDERS__ANTHROPIC__BASE_URL",
            "https://env.example",
            "providers.anthropic.base_url",
            "https://env.example",
        ),
        ("VANGO__PROVIDERS__GROQ__TIMEOUT_SECONDS", "5", "providers.groq.timeout_seconds", 5),
        ("VANGO__PROVIDERS__MY_OWN__TIMEOUT_SECONDS", "5", "providers.my-own.timeout_seconds", 5),
        ("VANGO__ALIASES__FAST", "sandbox/chat", "aliases.Fast", "sandbox/chat"),
        ("VANGO__ALIASES__NEW_ONE", "sandbox/chat", "aliases.new_one", "sandbox/chat"),
        ("VANGO__ALIASES", '{ a = "sandbox/chat" }', "aliases", {"a": "sandbox/chat"}),
        ("VANGO__FALLBACKS__A", '["b", "c"]', "fallbacks.a", ("b", "c")),
        ("VANGO__DEFAULTS__TEMPERATURE", "0.25", "defaults.temperature", 0.25),
        ("VANGO__MODELS", '{ "a/b" = { input_per_mtok = "1.10" } }', "models", None),
    ],
)
def test_a_variable_overrides_the_file(variable: str, text: str, path: str, expected: object) -> None:
    found = value(load(FILE, {variable: text}), path)

    if expected is None:
        assert found["a/b"].input_per_mtok == Decimal("1.10")
    else:
        assert found == expected


def test_keys_of_callers_come_as_a_whole_list() -> None:
    keys = '[{ key = "vango_sk_1", name = "ci", budget_usd = 2.5, expires_at = 2030-01-01T00:00:00Z }]'

    settings = load("", {"VANGO__AUTH__MODE": "api_key", "VANGO__AUTH__API_KEYS": keys})

    (key,) = settings.auth.api_keys
    assert (key.name, key.budget_usd, key.expires_at) == ("ci", Decimal("2.5"), datetime(2030, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "variable",
    [
        "VANGO_HOST",
        "VANGO_PORT",
        "VANGO_LOG_LEVEL",
        "VANGO__SERVER__PORT",
        "VANGO__PROVIDERS__ANTHROPIC__BASE_URL",
        "VANGO__X",
    ],
)
def test_an_empty_variable_counts_as_unset(variable: str) -> None:
    assert load(FILE, {variable: ""}) == load(FILE, {})


def test_the_short_name_wins_and_a_field_wins_over_its_table() -> None:
    settings = load(
        "",
        {
            "VANGO_PORT": "1",
            "VANGO__SERVER__PORT": "2",
            "VANGO__SERVER": "{ port = 3, workers = 4 }",
            "VANGO__SERVER__WORKERS": "5",
        },
    )

    assert (settings.server.port, settings.server.workers) == (1, 5)


def test_values_are_taken_as_they_are() -> None:
    settings = load("", {"VANGO__SERVER__TLS__CERT_FILE": "${HOME}/a.pem"})

    assert settings.server.tls.cert_file == "${HOME}/a.pem"


@pytest.mark.parametrize(
    ("variable", "text", "fault"),
    [
        ("VANGO_PORT", "http", "VANGO_PORT: server.port: got text; expected a whole number from 0 to 65535"),
        ("VANGO_PORT", "70000", "VANGO_PORT: server.port: got 70000; expected a whole number from 0 to 65535"),
        (
            "VANGO__SERVER__PORT",
            "70000",
            "VANGO__SERVER__PORT: server.port: got 70000; expected a whole number from 0 to 65535",
        ),
        (
            "VANGO__SERVER__PORT",
            "1\nhost = 2",
            "VANGO__SERVER__PORT: server.port: got text; expected a whole number from 0 to 65535",
        ),
        (
            "VANGO__SERVER__PROT",
            "1",
            'VANGO__SERVER__PROT: server.prot: is not a known key; did you mean "port"?',
        ),
        ("VANGO__SERVR__PORT", "1", 'VANGO__SERVR__PORT: servr.port: is not a known key; did you mean "server"?'),
        (
            "VANGO__AUTH__API_KEYS__0__KEY",
            "x",
            (
                "VANGO__AUTH__API_KEYS__0__KEY: auth.api_keys.0.key: is not a known key; "
                "expected VANGO__SECTION__FIELD, where a list is given whole, as TOML"
            ),
        ),
        (
            "VANGO__SERVER__PORT__X",
            "1",
            (
                "VANGO__SERVER__PORT__X: server.port.x: is not a known key; "
                "expected VANGO__SECTION__FIELD, where a list is given whole, as TOML"
            ),
        ),
        (
            "VANGO__SERVER__CORS_ORIGINS",
            "https://a.example",
            (
                "VANGO__SERVER__CORS_ORIGINS: server.cors_origins: got text; expected a list, each item "
                'an origin such as "https://app.example.com" without a path, or "*"'
            ),
        ),
        (
            "VANGO__PROVIDERS__ANTHROPIC",
            "x",
            "VANGO__PROVIDERS__ANTHROPIC: providers.anthropic: got text; expected a table",
        ),
        (
            "VANGO__PROVIDERS__ANTHROPIC__BASE_URL",
            "x",
            (
                "VANGO__PROVIDERS__ANTHROPIC__BASE_URL: providers.anthropic.base_url: is not valid; "
                "expected a URL like https://host/path, without user, query or fragment"
            ),
        ),
        (
            "ANTHROPIC_API_KEY",
            "a b",
            (
                "ANTHROPIC_API_KEY: providers.anthropic.api_key: holds a space, a control character or a letter beyond ASCII; "
                "expected a key as it is sent in a header"
            ),
        ),
    ],
)
def test_a_fault_names_the_variable_it_comes_from(variable: str, text: str, fault: str) -> None:
    assert faults(FILE, {variable: text}) == [fault]


def test_a_rule_broken_by_a_variable_names_the_place_to_change() -> None:
    (fault,) = faults("", {"VANGO_HOST": "0.0.0.0"})

    assert fault.startswith('vango.toml: auth.mode: "none" lets in everybody')


def test_what_the_file_has_in_the_place_of_a_table_is_its_own_fault() -> None:
    assert faults("server = 1\nproviders = 2", {"VANGO_PORT": "1", "OPENAI_API_KEY": "x"}) == [
        "vango.toml: server: got a number; expected a table",
        "vango.toml: providers: got a number; expected a table",
    ]


def test_a_providers_entry_that_is_no_table_is_its_own_fault() -> None:
    assert faults("providers.openai = 2", {"OPENAI_API_KEY": "x"}) == [
        "vango.toml: providers.openai: got a number; expected a table"
    ]


@pytest.mark.parametrize(
    ("name", "variable"), [(name, variable) for name, variables in BUILT_IN.items() for variable in variables]
)
def test_a_providers_key_is_read_from_its_own_variable(name: str, variable: str) -> None:
    settings = load("", {variable: "sk-1\n"})

    key = settings.providers[name].api_key
    assert key is not None
    assert key.get_secret_value() == "sk-1"
    assert settings.configured_providers() == [name]


def test_all_variables_of_the_contract_are_known() -> None:
    assert sorted(variable for variables in BUILT_IN.values() for variable in variables) == [
        "ANTHROPIC_API_KEY",
        "ASSEMBLYAI_API_KEY",
        "CARTESIA_API_KEY",
        "CEREBRAS_API_KEY",
        "DEEPGRAM_API_KEY",
        "ELEVENLABS_API_KEY",
        "GEMINI_API_KEY",
        "GOOGLE_API_KEY",
        "GROQ_API_KEY",
        "MISTRAL_API_KEY",
        "OPENAI_API_KEY",
        "OPENROUTER_API_KEY",
        "PERPLEXITY_API_KEY",
        "TOGETHER_API_KEY",
    ]


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        ('providers.anthropic.api_key = "file"', {"ANTHROPIC_API_KEY": "env"}, "file"),
        ('providers.anthropic.api_key = ""', {"ANTHROPIC_API_KEY": "env"}, "env"),
        ('providers.anthropic.api_key = "${MINE}"', {"ANTHROPIC_API_KEY": "env"}, "env"),
        ('providers.anthropic.api_key = "${MINE}"', {"ANTHROPIC_API_KEY": "env", "MINE": "mine"}, "mine"),
        ("providers.anthropic.timeout_seconds = 1", {"ANTHROPIC_API_KEY": "env"}, "env"),
        ("", {"VANGO__PROVIDERS__ANTHROPIC__API_KEY": "override", "ANTHROPIC_API_KEY": "env"}, "override"),
        (
            'providers.anthropic.api_key = "file"',
            {"VANGO__PROVIDERS__ANTHROPIC__API_KEY": "override", "ANTHROPIC_API_KEY": "env"},
            "override",
        ),
    ],
)
def test_the_first_key_found_wins(text: str, environ: dict[str, str], expected: str) -> None:
    key = load(text, environ).providers["anthropic"].api_key

    assert key is not None
    assert key.get_secret_value() == expected


def test_of_two_variables_of_one_provider_the_first_one_set_wins() -> None:
    both = load("", {"GOOGLE_API_KEY": "google", "GEMINI_API_KEY": "gemini"}).providers["gemini"].api_key
    second = load("", {"GOOGLE_API_KEY": " ", "GEMINI_API_KEY": "gemini"}).providers["gemini"].api_key

    assert both is not None
    assert second is not None
    assert (both.get_secret_value(), second.get_secret_value()) == ("google", "gemini")


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_an_empty_key_variable_counts_as_unset(text: str) -> None:
    assert load("", {"ANTHROPIC_API_KEY": text}).providers == {}
