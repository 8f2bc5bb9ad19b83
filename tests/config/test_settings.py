"""The values of a configuration: what each of them takes, and what is said of one that it does not take."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from decimal import Decimal
from ipaddress import ip_network

import pydantic
import pytest

from vango.config import (
    ApiKeySettings,
    AuthSettings,
    ModelOverride,
    ProviderSettings,
    ServerSettings,
    Settings,
    load,
)
from vango.errors import ConfigError

DIGEST = "AB" * 32


def faults(text: str, environ: dict[str, str] | None = None) -> list[str]:
    """Return the faults of a configuration without the file's name; none at all fails the test."""
    with pytest.raises(ConfigError) as caught:
        load(text, environ or {})
    return [fault.removeprefix("vango.toml: ") for fault in caught.value.faults]


def test_an_empty_configuration_is_the_defaults() -> None:
    settings = load("", {})

    assert settings == Settings()
    assert (settings.server.host, settings.server.port, settings.auth.mode) == ("127.0.0.1", 8080, "none")
    assert settings.server.limits.max_body_bytes == 32 * 1024 * 1024
    assert settings.rate_limits.global_.requests_per_minute == 0


def test_values_arrive_with_their_types() -> None:
    settings = load(
        f"""
        [server]
        host = "::1"
        trusted_proxies = ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"]
        cors_origins = ["https://App.example:8443", "*"]
        shutdown_grace_seconds = 0
        [auth]
        mode = "api_key"
        [[auth.api_keys]]
        key_hash = "{DIGEST}"
        name = "Production"
        expires_at = 2030-01-01T00:00:00Z
        budget_usd = 0.1
        models = ["anthropic/*"]
        [providers.mine]
        kind = "anthropic"
        base_url = "http://127.0.0.1:9000/v1/"
        headers = {{ X-Team = "search" }}
        [models."mine/a/b"]
        input_per_mtok = "0.30"
        capabilities = {{ vision = true }}
        native_tools = []
        [rate_limits.global]
        max_concurrent = 5
        [observability.logging]
        level = "WARNING"
        """,
        {},
    )

    assert settings.server.trusted_proxies == (
        ip_network("10.0.0.0/8"),
        ip_network("192.0.2.1/32"),
        ip_network("2001:db8::/32"),
    )
    assert settings.server.cors_origins == ("https://app.example:8443", "*")
    (key,) = settings.auth.api_keys
    assert (key.key_hash, key.digest()) == (DIGEST.lower(), bytes.fromhex(DIGEST))
    assert (key.expires_at, key.budget_usd) == (datetime(2030, 1, 1, tzinfo=UTC), Decimal("0.1"))
    provider = settings.providers["mine"]
    assert provider.base_url == "http://127.0.0.1:9000/v1"
    assert {name: value.get_secret_value() for name, value in provider.headers.items()} == {"x-team": "search"}
    assert provider.is_configured
    model = settings.models["mine/a/b"]
    assert (model.input_per_mtok, model.capabilities.vision, model.capabilities.tools) == (Decimal("0.30"), True, None)
    assert model.native_tools == ()
    assert settings.rate_limits.global_.max_concurrent == 5
    assert settings.observability.logging.level == "warning"


def test_the_digest_of_a_key_is_its_sha256() -> None:
    assert ApiKeySettings(key="vango_sk_1").digest() == hashlib.sha256(b"vango_sk_1").digest()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("server.port = 65536", "server.port: got 65536; expected a whole number from 0 to 65535"),
        ("server.port = -1", "server.port: got -1; expected a whole number from 0 to 65535"),
        ("server.port = 80.5", "server.port: got 80.5; expected a whole number from 0 to 65535"),
        ("server.port = 0x" + "f" * 9000, "server.port: is not valid; expected a whole number from 0 to 65535"),
        ("server.port = true", "server.port: got true or false; expected a whole number from 0 to 65535"),
        ('server.port = "http"', "server.port: got text; expected a whole number from 0 to 65535"),
        ("server.workers = 0", "server.workers: got 0; expected a whole number from 1 to 256"),
        ("server.host = 1", "server.host: got a number; expected an address or a host name, such as 127.0.0.1"),
        ('server.host = ""', "server.host: is not valid; expected an address or a host name, such as 127.0.0.1"),
        ('server.host = "a b"', "server.host: is not valid; expected an address or a host name, such as 127.0.0.1"),
        ('server.host = "[::1]"', "server.host: has brackets; write an IPv6 address without them"),
        ('server.playground = "maybe"', "server.playground: got text; expected true or false"),
        ("server.tls = true", "server.tls: got true or false; expected a table"),
        (
            "server.limits.body_timeout_seconds = nan",
            "server.limits.body_timeout_seconds: is not valid; expected a number from 0.001 to 86400",
        ),
        (
            "server.limits.body_timeout_seconds = inf",
            "server.limits.body_timeout_seconds: is not valid; expected a number from 0.001 to 86400",
        ),
        (
            "server.limits.body_timeout_seconds = 0",
            "server.limits.body_timeout_seconds: got 0; expected a number from 0.001 to 86400",
        ),
        (
            'server.trusted_proxies = ["10.0.0.1/8"]',
            "server.trusted_proxies[0]: has bits beyond its prefix length; expected 10.0.0.0/8",
        ),
        (
            'server.trusted_proxies = ["10.0.0.1", "proxy"]',
            'server.trusted_proxies[1]: is not valid; expected an address or a network, such as "10.0.0.0/8"',
        ),
        (
            'server.trusted_proxies = "10.0.0.1"',
            (
                "server.trusted_proxies: got text; expected a list, each item an address or a network, "
                'such as "10.0.0.0/8"'
            ),
        ),
        *(
            (
                f'server.cors_origins = ["{origin}"]',
                (
                    "server.cors_origins[0]: is not valid; "
                    'expected an origin such as "https://app.example.com" without a path, or "*"'
                ),
            )
            for origin in [
                "https://a.example/",
                "a.example",
                "https://u@a.example",
                "https://a.example:x",
                "https://[",
                "null",
            ]
        ),
        ('auth.mode = "apikey"', 'auth.mode: is not valid; expected "none", "api_key" or "passthrough"'),
        ('auth.api_keys = ["x"]', "auth.api_keys[0]: got text; expected a table"),
        ('auth.api_keys.key = "x"', "auth.api_keys: got a table; expected a list of tables"),
        (
            '[[auth.api_keys]]\nkey_hash = "abc"',
            "auth.api_keys[0].key_hash: is not valid; expected the SHA-256 of the key as 64 hexadecimal digits",
        ),
        ('[[auth.api_keys]]\nkey = " "', "auth.api_keys[0].key: is empty; expected a key"),
        (
            '[[auth.api_keys]]\nkey = "two words"',
            (
                "auth.api_keys[0].key: holds a space, a control character or a letter beyond ASCII; "
                "expected a key as it is sent in a header"
            ),
        ),
        (
            '[[auth.api_keys]]\nkey = "x"\nexpires_at = 2030-01-01T00:00:00',
            (
                "auth.api_keys[0].expires_at: has no time zone; "
                "expected a date and time with one, such as 2027-01-31T23:59:59Z"
            ),
        ),
        (
            '[[auth.api_keys]]\nkey = "x"\nexpires_at = 2030-01-01',
            (
                "auth.api_keys[0].expires_at: has no time zone; "
                "expected a date and time with one, such as 2027-01-31T23:59:59Z"
            ),
        ),
        (
            '[[auth.api_keys]]\nkey = "x"\nexpires_at = "tomorrow"',
            (
                "auth.api_keys[0].expires_at: is not valid; "
                "expected a date and time such as 2027-01-31T23:59:59Z, without quotes"
            ),
        ),
        (
            '[[auth.api_keys]]\nkey = "x"\nexpires_at = 1893456000',
            (
                "auth.api_keys[0].expires_at: got a number; "
                "expected a date and time such as 2027-01-31T23:59:59Z, without quotes"
            ),
        ),
        (
            '[[auth.api_keys]]\nkey = "x"\nbudget_usd = 0',
            "auth.api_keys[0].budget_usd: got 0; expected an amount of dollars above 0; leave it out for no budget",
        ),
        (
            '[[auth.api_keys]]\nkey = "x"\nbudget_usd = true',
            (
                "auth.api_keys[0].budget_usd: got true or false; "
                "expected an amount of dollars above 0; leave it out for no budget"
            ),
        ),
        (
            '[[auth.api_keys]]\nkey = "x"\nrate_limit = -1',
            "auth.api_keys[0].rate_limit: got -1; expected a whole number from 0, which means no limit",
        ),
        (
            '[[auth.api_keys]]\nkey = "x"\nname = "\\n"',
            "auth.api_keys[0].name: is not valid; expected 1 to 128 printable characters",
        ),
        (
            '[[auth.api_keys]]\nkey = "x"\nmodels = [""]',
            'auth.api_keys[0].models[0]: is empty or has a space in it; expected a name such as "anthropic/claude-sonnet-4-5"',
        ),
        *(
            (
                f'providers.mine.kind = "{kind}"',
                'providers.mine.kind: is a kind that this version does not speak yet; expected "anthropic"',
            )
            for kind in ["openai", "gemini"]
        ),
        ('providers.mine.kind = "cohere"', 'providers.mine.kind: is not valid; expected "anthropic"'),
        ("providers.mine.kind = []", 'providers.mine.kind: got a list; expected "anthropic"'),
        *(
            (
                f'providers.anthropic.base_url = "{url}"',
                (
                    "providers.anthropic.base_url: is not valid; "
                    "expected a URL like https://host/path, without user, query or fragment"
                ),
            )
            for url in [
                "api.anthropic.com",
                "ftp://a.example",
                "https://",
                "https://u:p@a.example",
                "https://a.example?q=1",
                "https://a.example:port",
                "https://a.example:70000",
                "https://[",
                "https://a b",
                "",
            ]
        ),
        (
            "providers.anthropic.api_key = 123456",
            "providers.anthropic.api_key: got a number; expected a key as text",
        ),
        (
            'providers.anthropic.headers = {"a b" = "x"}',
            'providers.anthropic.headers."a b": the key is not a header name; expected letters, digits and hyphens',
        ),
        (
            'providers.anthropic.headers = {Content-Length = "1"}',
            "providers.anthropic.headers.Content-Length: the key is a header that Vango sets itself; leave it out",
        ),
        (
            'providers.anthropic.headers = {x = "a\\nb"}',
            (
                "providers.anthropic.headers.x: holds a line break, a control character or a letter beyond ASCII; "
                "expected a header value of one line"
            ),
        ),
        (
            "[providers.OpenAI]",
            "providers.OpenAI: the key is not a name; expected small letters, digits, hyphens and underscores",
        ),
        (
            'aliases."" = "sandbox/echo"',
            'aliases."": the key is empty or has a space in it; expected a name such as "anthropic/claude-sonnet-4-5"',
        ),
        (
            'aliases.fast = ""',
            'aliases.fast: is empty or has a space in it; expected a name such as "anthropic/claude-sonnet-4-5"',
        ),
        (
            "fallbacks.a = []",
            "fallbacks.a: is not valid; expected a list of models in the order in which they are tried",
        ),
        ('fallbacks.a = "b"', "fallbacks.a: got text; expected a list of models in the order in which they are tried"),
        ("defaults.temperature = 3", "defaults.temperature: got 3; expected a number from 0 to 2"),
        ("retries.max_attempts = 11", "retries.max_attempts: got 11; expected a whole number from 0 to 10"),
        (
            'rate_limits.store = "postgres://a"',
            'rate_limits.store: is not valid; expected "memory" or a URL like redis://host:6379/0',
        ),
        (
            'usage.store = "sqlite://"',
            'usage.store: is not valid; expected "none" or a file like "sqlite:///vango-usage.db"',
        ),
        (
            'observability.metrics.path = "metrics"',
            "observability.metrics.path: is not valid; expected a path such as /metrics",
        ),
        *(
            (
                f'observability.metrics.path = "{path}"',
                "observability.metrics.path: is a path of Vango's own; expected one that is free, such as /metrics",
            )
            for path in ["/health", "/v1/metrics"]
        ),
        (
            'observability.logging.level = "loud"',
            'observability.logging.level: is not valid; expected "debug", "info", "warning", "error" or "critical"',
        ),
        ("[models.large]", 'models.large: the key is not the full name of a model; expected "provider/model"'),
        (
            'models."a/b".input_per_mtok = -1',
            'models."a/b".input_per_mtok: got -1; expected dollars for a million tokens, from 0',
        ),
        (
            'models."a/b".input_per_mtok = nan',
            'models."a/b".input_per_mtok: is not valid; expected dollars for a million tokens, from 0',
        ),
        (
            'models."a/b".native_tools = ["web"]',
            (
                'models."a/b".native_tools[0]: is not valid; expected "web_search", "code_execution", "file_search", '
                '"computer_use", "text_editor" or "web_fetch"'
            ),
        ),
    ],
)
def test_a_value_at_fault_is_told_with_what_would_be_right(text: str, fault: str) -> None:
    assert faults(text) == [fault]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("server.prot = 1", 'server.prot: is not a known key; did you mean "port"?'),
        ("[sever]\nport = 1", 'sever: is not a known key; did you mean "server"?'),
        ("port = 1", 'port: is not a known key; did you mean "server.port"?'),
        ("max_body_byte = 1", 'max_body_byte: is not a known key; did you mean "server.limits.max_body_bytes"?'),
        ("server.log = 1", "server.log: is not a known key; known here: host, port, workers"),
        ("rate_limits.globl.max_concurrent = 1", 'rate_limits.globl: is not a known key; did you mean "global"?'),
        ("rate_limits.global_.max_concurrent = 1", 'rate_limits.global_: is not a known key; did you mean "global"?'),
        (
            'models."a/b".capabilities.visoin = true',
            'models."a/b".capabilities.visoin: is not a known key; did you mean "vision"?',
        ),
        ('[[auth.api_keys]]\nkye = "x"\nkey = "y"', 'auth.api_keys[0].kye: is not a known key; did you mean "key"?'),
        ('"a\\nb\\u001b" = 1', '"a\\nb\\u001b": is not a known key; known here: server, auth, providers'),
    ],
)
def test_an_unknown_key_is_told_with_the_nearest_known_one(text: str, fault: str) -> None:
    (found,) = faults(text)

    assert found.startswith(fault)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        load("", {}).server.port = 1  # type: ignore[misc]


def test_settings_built_by_hand_are_held_to_the_same_rules() -> None:
    with pytest.raises(pydantic.ValidationError, match=r"auth\.mode .*not a loopback address"):
        Settings(server=ServerSettings(host="0.0.0.0"))


SECRET = "s3cr3t-value"


@pytest.mark.parametrize(
    "settings",
    [
        Settings(auth=AuthSettings(mode="api_key", api_keys=(ApiKeySettings(key=SECRET),))),
        Settings(providers={"anthropic": ProviderSettings(api_key=SECRET, headers={"x-key": SECRET})}),
        load(f'[voice.tts.elevenlabs]\napi_key = "{SECRET}"', {}),
        load(f'[rate_limits]\nstore = "redis://:{SECRET}@127.0.0.1"', {}),
        load("", {"OPENAI_API_KEY": SECRET}),
    ],
)
def test_a_secret_is_never_in_the_repr_of_settings(settings: Settings) -> None:
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings)
    assert SECRET not in settings.model_dump_json()


def test_a_hash_is_not_in_the_repr_either() -> None:
    assert "abab" not in repr(ApiKeySettings(key_hash=DIGEST))


@pytest.mark.parametrize(
    "text",
    [
        f'providers.anthropic.api_key = "{SECRET} x"',
        f'providers.anthropic.api_key = ["{SECRET}"]',
        f'providers.anthropic = "{SECRET}"',
        f'providers.anthropic.base_url = "{SECRET}"',
        f'providers.anthropic.base_url = "{SECRET}:x"',
        f'providers.anthropic.base_url = "https://u:{SECRET}@a.example"',
        f'providers.anthropic.base_url = "https://a:{SECRET}"',
        f'providers.anthropic.base_url = "https://{SECRET}\N{DOUBLE-STRUCK ITALIC CAPITAL D}\N{FULLWIDTH SOLIDUS}"',
        f'providers.anthropic.headers.authorization = "{SECRET}\\n"',
        f'providers.anthropic.kind = "{SECRET}"',
        f'auth.api_keys = "{SECRET}"',
        f'[[auth.api_keys]]\nkey = "{SECRET}\\u0000"',
        f'[[auth.api_keys]]\nkey_hash = "{SECRET}"',
        f'[[auth.api_keys]]\nkey = "{SECRET}"\nname = 1\n[[auth.api_keys]]\nkey = "{SECRET}"\nmodels = "{SECRET}"',
        f'[[auth.api_keys]]\nkey = "{SECRET}"\n[[auth.api_keys]]\nkey = "{SECRET}"',
        f'server.port = "{SECRET}"',
        f'server.host = "/{SECRET}"',
        f'server.trusted_proxies = ["{SECRET}"]',
        f'server.cors_origins = ["https://{SECRET}@a"]',
        f'rate_limits.store = "rediss:{SECRET}"',
        f'usage.store = "{SECRET}"',
        f'voice.stt.deepgram.api_key = "{SECRET} {SECRET}"',
        f'voice.default_stt = "{SECRET}"',
        f'aliases.a = "{SECRET} x"',
        f'observability.tracing.endpoint = "http://{SECRET}@a"',
        f'models."a/b".input_per_mtok = "{SECRET}"',
        f'a = "{SECRET}',
        f'a = "{SECRET}" b',
    ],
)
def test_a_secret_is_never_in_a_fault(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text, {})

    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_model_overrides_leave_open_what_they_do_not_say() -> None:
    assert ModelOverride().model_dump(exclude_none=True) == {"capabilities": {}}
