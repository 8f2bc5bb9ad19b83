"""What must hold between settings."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vango.config import load
from vango.config.rules import is_loopback
from vango.errors import ConfigError

KEY = '[[auth.api_keys]]\nkey = "vango_sk_1"\n'
OPEN = (
    'auth.mode: "none" lets in everybody who reaches server.host, which is not a loopback address; '
    'expected "api_key" or "passthrough", or auth.allow_unauthenticated = true where that is meant'
)
NO_KEYS = (
    'auth.api_keys: is empty although auth.mode is "api_key"; '
    "expected at least one [[auth.api_keys]] with key or key_hash"
)
OWN = "a provider of your own needs kind and base_url"


def faults(text: str) -> list[str]:
    """Return the faults of a configuration without the file's name."""
    try:
        load(text, {})
    except ConfigError as exc:
        return [fault.removeprefix("vango.toml: ") for fault in exc.faults]
    return []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('server.host = "0.0.0.0"', [OPEN]),
        ('server.host = "::"', [OPEN]),
        ('server.host = "gateway.example"', [OPEN]),
        ('server.host = "127.0.0.1.example"', [OPEN]),
        ('server.host = "localhost"', []),
        ('server.host = "127.8.8.8"', []),
        ('server.host = "::1"', []),
        ('server.host = "0.0.0.0"\nauth.allow_unauthenticated = true', []),
        ('server.host = "0.0.0.0"\nauth.mode = "passthrough"', []),
        ('server.host = "0.0.0.0"\nauth.mode = "api_key"\n' + KEY, []),
        (
            "server.tls.enabled = true",
            [
                "server.tls.cert_file: is not set although TLS is enabled; expected a PEM file",
                "server.tls.key_file: is not set although TLS is enabled; expected a PEM file",
            ],
        ),
        ('server.tls = {enabled = true, cert_file = "a.pem", key_file = "b.pem"}', []),
        (
            'auth.mode = "api_key"',
            [NO_KEYS],
        ),
        ('auth.mode = "api_key"\n' + KEY + "disabled = true", []),
        ('[[auth.api_keys]]\nname = "a"', ["auth.api_keys[0]: has no key; expected either key or key_hash"]),
        (
            KEY + f'key_hash = "{"0" * 64}"',
            ["auth.api_keys[0]: has both key and key_hash; expected one of them"],
        ),
        (
            KEY + 'name = "a"\n[[auth.api_keys]]\nkey = "vango_sk_2"\nname = "a"',
            ["auth.api_keys[1].name: is the name of auth.api_keys[0], too; expected a name for each key"],
        ),
        (KEY + '[[auth.api_keys]]\nkey = "vango_sk_2"', []),
        (
            KEY + KEY,
            ["auth.api_keys[1]: has the same key as auth.api_keys[0]; expected another key, or one entry"],
        ),
        (
            # The SHA-256 of vango_sk_1: the same key in both of its forms.
            KEY + '[[auth.api_keys]]\nkey_hash = "28a326bc50d6cf465cbc732fbfd84db4dbc5324adde26a07568ba02adc213382"',
            ["auth.api_keys[1]: has the same key as auth.api_keys[0]; expected another key, or one entry"],
        ),
        (
            "[providers.antropic]",
            [f'providers.antropic: is not a known provider; did you mean "anthropic"? {OWN}'],
        ),
        ("[providers.google]", [f'providers.google: is not a known provider; did you mean "gemini"? {OWN}']),
        (
            '[providers.zzz]\nkind = "anthropic"',
            [
                (
                    "providers.zzz: is not a known provider; known are anthropic, openai, gemini, groq, cerebras, mistral, together, "
                    f"perplexity, openrouter, deepgram, elevenlabs, cartesia, assemblyai, sandbox; {OWN}"
                )
            ],
        ),
        ('[providers.mine]\nkind = "anthropic"\nbase_url = "http://127.0.0.1:9"', []),
        (
            '[providers.openrouter]\nkind = "anthropic"',
            ["providers.openrouter.base_url: is not set although kind is; expected the server's URL"],
        ),
        ('[providers.anthropic]\nkind = "anthropic"', []),
        ("[providers.groq]\n[providers.sandbox]", []),
        ("[voice.stt.deepgrm]", [f'voice.stt.deepgrm: is not a known provider; did you mean "deepgram"? {OWN}']),
        (
            "[voice.tts.playht]",
            [
                "voice.tts.playht: closed at the end of 2025; expected one of elevenlabs, openai, cartesia, deepgram, local"
            ],
        ),
        ('[voice]\ndefault_stt = "whisper"\n[voice.stt.whisper]\nkind = "openai"\nbase_url = "http://127.0.0.1:9"', []),
        (
            'voice.default_tts = "whisper"',
            [
                "voice.default_tts: is not a known provider; expected one of elevenlabs, openai, cartesia, deepgram, local"
            ],
        ),
        ('voice.default_tts = "local"', []),
        ('[aliases]\na = "a"', ["aliases.a: is an alias of itself; expected the name of a model"]),
        (
            '[aliases]\na = "b"\nb = "c"\nc = "a"\ninto = "b"',
            ["aliases.a: leads back to itself by way of b, c; expected the name of a model at the end"],
        ),
        ('[aliases]\na = "b"\nb = "c"\nc = "sandbox/echo"', []),
        (
            '[aliases]\n"a b" = "x"\na = "a"',
            [
                'aliases."a b": the key is empty or has a space in it; expected a name such as "anthropic/claude-sonnet-4-5"',
                "aliases.a: is an alias of itself; expected the name of a model",
            ],
        ),
    ],
)
def test_a_broken_rule_is_told_with_what_would_be_right(text: str, expected: list[str]) -> None:
    assert faults(text) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LOCALHOST", True),
        ("127.0.0.1", True),
        ("127.255.0.3", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("127.1", False),
    ],
)
def test_only_an_address_of_this_machine_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("abcdefgh"), max_size=6))
def test_aliases_are_refused_exactly_where_one_of_them_does_not_end(aliases: dict[str, str]) -> None:
    def ends(name: str) -> bool:
        for _ in range(len(aliases) + 1):
            name = aliases.get(name, "")
        return not name

    found = faults("[aliases]\n" + "\n".join(f'{name} = "{target}"' for name, target in aliases.items()))

    assert (found == []) is all(ends(name) for name in aliases)
    assert all(fault.startswith("aliases.") for fault in found)


def test_a_provider_of_an_installed_package_needs_no_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    text = '[providers.vendor]\napi_key = "k"'
    assert faults(text)

    monkeypatch.setattr("vango.config.rules.plug_ins", lambda: ["vendor"])

    assert load(text, {}).providers["vendor"].api_key is not None
