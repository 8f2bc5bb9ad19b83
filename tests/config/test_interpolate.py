"""References to the environment in the strings of a configuration."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vango.config import load
from vango.config.interpolate import Unset, interpolate
from vango.errors import ConfigError

ENVIRON = {"NAME": "value", "EMPTY": "", "OTHER_1": "x", "TRICKY": "${NAME} $${NAME}"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("plain $NAME {NAME} $", "plain $NAME {NAME} $"),
        ("${NAME}", "value"),
        ("a${NAME}b${OTHER_1}c", "avaluebxc"),
        ("${EMPTY}", ""),
        ("${NAME:-default}", "value"),
        ("${EMPTY:-default}", "default"),
        ("${MISSING:-default}", "default"),
        ("${MISSING:-}", ""),
        ("${MISSING:-http://a:-b}", "http://a:-b"),
        ("$${NAME}", "${NAME}"),
        ("$$${NAME}", "$${NAME}"),
        ("$$", "$$"),
        ("${TRICKY}", "${NAME} $${NAME}"),
    ],
)
def test_references_are_replaced_by_the_environment(text: str, expected: str) -> None:
    assert interpolate(text, ENVIRON) == expected


def test_a_variable_without_value_and_default_is_named() -> None:
    with pytest.raises(Unset) as caught:
        interpolate("a ${MISSING}", ENVIRON)

    assert caught.value.args == ("MISSING",)


@pytest.mark.parametrize(
    "text", ["${", "${NAME", "${}", "${1A}", "${NA ME}", "${NAME-default}", "${NAME:default}", "${:-x}"]
)
def test_a_reference_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="reference"):
        interpolate(text, ENVIRON)


@settings(deadline=None)
@given(st.text())
def test_any_text_can_be_written_by_escaping_it(text: str) -> None:
    assert interpolate(text.replace("${", "$${"), {}) == text


@settings(deadline=None)
@given(st.text(alphabet="$${}:-AB "), st.dictionaries(st.sampled_from(["A", "B", "AB"]), st.text()))
def test_every_text_is_replaced_or_refused(text: str, environ: dict[str, str]) -> None:
    try:
        result = interpolate(text, environ)
    except Unset as unset:
        is_right = unset.args[0] not in environ
    except ValueError:
        is_right = re.search(r"(?<!\$)\$\{", text) is not None
    else:
        is_right = "${" in text or result == text

    assert is_right


@settings(deadline=None)
@given(
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True), st.text(), st.text().filter(lambda text: "$" not in text)
)
def test_a_value_is_put_in_as_it_is(name: str, value: str, around: str) -> None:
    assert interpolate(f"{around}${{{name}}}{around}", {name: value}) == around + value + around


def test_strings_in_lists_and_tables_are_reached() -> None:
    loaded = load(
        'server.cors_origins = ["https://${DOMAIN}", "https://b.example"]\n[aliases]\nfast = "sandbox/${MODEL:-chat}"',
        {"DOMAIN": "a.example"},
    )

    assert loaded.server.cors_origins == ("https://a.example", "https://b.example")
    assert loaded.aliases == {"fast": "sandbox/chat"}


def test_a_number_may_come_from_the_environment() -> None:
    loaded = load('[server]\nport = "${PORT:-9000}"\nplayground = "${PLAYGROUND}"', {"PLAYGROUND": "false"})

    assert (loaded.server.port, loaded.server.playground) == (9000, False)


def test_missing_variables_and_broken_references_are_faults_with_their_paths() -> None:
    with pytest.raises(ConfigError) as caught:
        load(
            'server.host = "${A_HOST}"\nserver.cors_origins = ["*", "${AN_ORIGIN}"]\naliases.fast = "${"\n'
            '[[auth.api_keys]]\nkey = "${A_KEY}"',
            {},
        )

    assert caught.value.faults == [
        "vango.toml: server.host: needs A_HOST, which is not set; expected that variable, or ${A_HOST:-default}",
        'vango.toml: aliases.fast: has a "${" that begins no ${NAME}; write $${ for the characters themselves',
        (
            "vango.toml: server.cors_origins[1]: needs AN_ORIGIN, which is not set; expected that variable, or "
            "${AN_ORIGIN:-default}"
        ),
        "vango.toml: auth.api_keys[0].key: needs A_KEY, which is not set; expected that variable, or ${A_KEY:-default}",
    ]


@pytest.mark.parametrize("environ", [{}, {"MY_KEY": ""}, {"MY_KEY": "  "}])
def test_a_providers_key_that_is_unset_or_blank_means_no_key(environ: dict[str, str]) -> None:
    loaded = load('providers.anthropic.api_key = "${MY_KEY}"\nvoice.stt.deepgram.api_key = "${MY_KEY}"', environ)

    assert loaded.providers["anthropic"].api_key is None
    assert loaded.voice.stt["deepgram"].api_key is None
    assert loaded.configured_providers() == []


def test_other_settings_of_a_provider_need_their_variable() -> None:
    with pytest.raises(ConfigError, match=r"providers\.anthropic\.base_url: needs MY_URL"):
        load('providers.anthropic.base_url = "${MY_URL}"', {})
