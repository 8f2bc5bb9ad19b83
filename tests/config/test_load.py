"""Loading a configuration: all faults at once, none of them noise, and never another exception."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vango.config import Settings, load, locate, missing_files, read
from vango.config.load import ROOT
from vango.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def faults(text: str, environ: dict[str, str] | None = None) -> list[str]:
    """Return the faults of a configuration without the file's name."""
    with pytest.raises(ConfigError) as caught:
        load(text, environ or {})
    return [fault.removeprefix("vango.toml: ") for fault in caught.value.faults]


def test_all_faults_are_told_at_once() -> None:
    found = faults(
        """
        [server]
        host = "0.0.0.0"
        port = 99999
        prot = 1
        [server.tls]
        enabled = true
        [auth]
        api_keys = [{ key = "a b" }, { name = "x" }, { key = "k1" }, { key = "k2", name = "${NAME}" }]
        [providers.antropic]
        [aliases]
        a = "a"
        b = ""
        """,
        {"VANGO__SERVER__WORKERS": "0"},
    )

    assert [fault.rpartition(";")[0] for fault in found] == [
        "auth.api_keys[3].name: needs NAME, which is not set",
        "server.port: got 99999",
        "VANGO__SERVER__WORKERS: server.workers: got 0",
        "server.prot: is not a known key",
        "auth.api_keys[0].key: holds a space, a control character or a letter beyond ASCII",
        "aliases.b: is empty or has a space in it",
        'auth.mode: "none" lets in everybody who reaches server.host, which is not a loopback address',
        "server.tls.cert_file: is not set although TLS is enabled",
        "server.tls.key_file: is not set although TLS is enabled",
        "auth.api_keys[1]: has no key",
        "providers.antropic: is not a known provider",
        "aliases.a: is an alias of itself",
    ]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ('[[auth.api_keys]]\nkey = ""', 1),  # not also "has no key"
        ('[[auth.api_keys]]\nkey = "${UNSET}"', 1),
        ('[[auth.api_keys]]\nkye = "x"', 2),  # both are true: the key is unknown, and there is none
        ('auth.mode = "api_key"\nauth.api_keys = ["x"]', 1),  # not also "is empty"
        ('auth.mode = "api-key"\nserver.host = "0.0.0.0"', 1),  # not also "lets everybody in"
        ('server.host = ""', 1),
        ('providers.mine = { kind = "openai", base_url = "http://127.0.0.1:1" }', 1),  # not also "is not known"
        ('providers.mine = { kind = "anthropic", base_url = "x" }', 1),
        ('providers.anthropic = { kind = "anthropic", base_url = "${UNSET}" }', 1),
        ('aliases = { a = "b", b = "" }', 1),
        ('voice.default_stt = "mine"\nvoice.stt.mine = { kind = "x", base_url = "http://a" }', 1),
        ('server.tls = { enabled = 5, cert_file = "" }', 1),
        ('server.tls = { enabled = true, cert_file = "a", key_file = 5 }', 1),
    ],
)
def test_one_cause_is_one_fault(text: str, number: int) -> None:
    assert len(faults(text)) == number


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a =", "is not TOML; Invalid value (at line 1, column 4)"),
        ("[server]\nport = 1\nport = 2", "is not TOML; Cannot overwrite a value (at line 3, column 9)"),
        ("a = " + "1" * 5000, "has a number of too many digits; expected at most 4300"),
        ("a = " + "[" * 5000, "is nested too deeply; expected tables as in vango.toml.example"),
    ],
)
def test_a_file_that_is_not_toml_is_one_fault_with_its_place(text: str, fault: str) -> None:
    assert faults(text) == [fault]


def test_tables_nested_without_end_are_an_unknown_key() -> None:
    (fault,) = faults(".".join(["a"] * 5000) + ' = "${X}"')

    assert fault.startswith("a: is not a known key")


def test_the_source_names_the_file_in_faults() -> None:
    with pytest.raises(ConfigError) as caught:
        load("server.port = -1", {}, source="/etc/vango.toml")

    assert caught.value.faults == ["/etc/vango.toml: server.port: got -1; expected a whole number from 0 to 65535"]
    assert str(caught.value) == f"The configuration has faults:\n  {caught.value.faults[0]}"


ANY_TEXT = st.text(st.characters()) | st.sampled_from(
    ["${X}", "${", "${X:-y}", "none", "anthropic", "http://127.0.0.1:1", "a" * 64]
)
SCALARS = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(),
    ANY_TEXT.filter(lambda text: not any("\ud800" <= character <= "\udfff" for character in text)),
    st.datetimes(),
    st.dates(),
    st.times(),
)


def paths(slot: Any = ROOT) -> list[str]:
    """Return the names of all keys that the settings know."""
    return [name for key, child in slot.fields().items() for name in (key, *paths(child))]


KEYS = st.sampled_from(
    [*paths(), "anthropic", "mine", "stt", "tts", "a/b", "x", "kind", "base_url", "api_key", "key"]
) | st.text(max_size=3)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS.filter(str.isprintable), inner, max_size=4),
    max_leaves=12,
)
ENVIRONS = st.dictionaries(
    st.sampled_from(
        ["X", "VANGO_HOST", "VANGO_PORT", "VANGO_LOG_LEVEL", "ANTHROPIC_API_KEY", "VANGO__", "VANGO__SERVER"]
    )
    | st.lists(KEYS, max_size=4).map(lambda keys: "__".join(["VANGO", *keys]).upper()),
    st.text(st.characters()) | st.sampled_from(["1", "[]", "{}", "true", "x", "''"]),
    max_size=4,
)


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters()), ENVIRONS)
@example("a = 1979-05-27T07:32:00+99:99", {})
@example('a = "\ud800"', {"VANGO__\udc80": "\udc80"})
def test_any_text_is_settings_or_a_config_error(text: str, environ: dict[str, str]) -> None:
    assert_loads_or_tells(text, environ)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(KEYS.filter(str.isprintable), VALUES, max_size=6), ENVIRONS)
@example({"providers": {"mine": {"kind": []}}}, {})
def test_any_toml_is_settings_or_a_config_error(data: dict[str, Any], environ: dict[str, str]) -> None:
    assert_loads_or_tells(tomli_w.dumps(data), environ)


def assert_loads_or_tells(text: str, environ: dict[str, str]) -> None:
    found: list[str] = []
    result = None
    try:
        result = load(text, environ)
    except ConfigError as exc:
        found = exc.faults

    assert (result is None) is bool(found)
    assert not any("\n" in fault for fault in found)
    assert len(set(found)) == len(found)
    if result is not None:
        assert not set(tomllib.loads(f"{text}\n")) - set(Settings.model_fields)


class TestRead:
    """Finding the file."""

    def test_the_named_file_comes_first(self, tmp_path: Path) -> None:
        (tmp_path / "named.toml").write_text("server.port = 1")
        (tmp_path / "variable.toml").write_text("server.port = 2")
        (tmp_path / "vango.toml").write_text("server.port = 3")
        environ = {"VANGO_CONFIG": "variable.toml"}

        ports = [
            read("named.toml", environ, tmp_path).server.port,
            read(None, environ, tmp_path).server.port,
            read(None, {"VANGO_CONFIG": ""}, tmp_path).server.port,
            read(None, {}, tmp_path / "..").server.port,
            read(str(tmp_path / "named.toml"), {}, "/").server.port,
        ]

        assert ports == [1, 2, 3, 8080, 1]
        assert locate(None, environ, tmp_path) == "variable.toml"
        assert locate(None, {}, tmp_path) == "vango.toml"
        assert locate(None, {}, tmp_path / "..") is None

    @pytest.mark.parametrize(("path", "environ"), [("no.toml", {}), (None, {"VANGO_CONFIG": "no.toml"})])
    def test_a_file_that_was_asked_for_must_be_there(
        self, tmp_path: Path, path: str | None, environ: dict[str, str]
    ) -> None:
        with pytest.raises(ConfigError) as caught:
            read(path, environ, tmp_path)

        assert caught.value.faults == ["no.toml: cannot be read (No such file or directory); expected a TOML file"]

    def test_a_directory_or_an_impossible_name_is_a_fault(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"\.: cannot be read \(Is a directory\)"):
            read(".", {}, tmp_path)
        with pytest.raises(ConfigError, match=r"cannot be read \(not the name of a file\)"):
            read("a\0b", {}, tmp_path)

    def test_a_file_in_another_encoding_is_a_fault_with_its_place(self, tmp_path: Path) -> None:
        (tmp_path / "vango.toml").write_bytes(b"# caf\xe9")

        with pytest.raises(ConfigError, match=r"vango\.toml: is not UTF-8 at byte 5"):
            read(None, {}, tmp_path)

    def test_a_byte_order_mark_is_taken(self, tmp_path: Path) -> None:
        (tmp_path / "vango.toml").write_bytes(b"\xef\xbb\xbf[server]\r\nport = 1\r\n")

        assert read(None, {}, tmp_path).server.port == 1

    def test_without_a_file_faults_name_the_environment(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError) as caught:
            read(None, {"VANGO_HOST": "0.0.0.0"}, tmp_path)

        assert caught.value.faults[0].startswith("environment: auth.mode: ")


def test_files_that_the_configuration_names_are_looked_for_apart(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("")
    names = f'cert_file = "{tmp_path / "cert.pem"}"\nkey_file = "{tmp_path / "key.pem"}"'

    enabled = load(f"[server.tls]\nenabled = true\n{names}", {})
    disabled = load(f"[server.tls]\n{names}", {})

    assert missing_files(enabled) == [
        "server.tls.key_file: cannot be read (No such file or directory); expected a PEM file"
    ]
    assert missing_files(disabled) == []
