"""`vango check`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from vango.cli import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder without any variable that a configuration reads."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("VANGO") or name.endswith("_API_KEY"):
            monkeypatch.delenv(name)


def test_a_right_file_is_ok_with_a_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.toml").write_text(
        '[server]\nhost = "::"\nport = 9000\n[auth]\nmode = "api_key"\n[[auth.api_keys]]\nkey = "vango_sk_1"\n'
        '[providers.anthropic]\napi_key = "sk-1"\n[rate_limits.global]\nrequests_per_minute = 5\n'
    )

    assert main(["check", "mine.toml"]) == 0

    assert capsys.readouterr() == (
        (
            "mine.toml: ok\n"
            "  listens on http://[::]:9000\n"
            "  auth: api_key, 1 key\n"
            "  providers: anthropic\n"
            "  note: rate_limits.global.requests_per_minute is not enforced by this version.\n"
        ),
        "",
    )


def test_without_a_file_the_defaults_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0

    assert capsys.readouterr().out == (
        "no file, defaults and environment: ok\n"
        "  listens on http://127.0.0.1:8080\n"
        "  auth: none\n"
        "  providers: none configured, only the built-in sandbox\n"
    )


def test_the_file_is_found_as_the_server_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "vango.toml").write_text("server.port = 1")
    (tmp_path / "other.toml").write_text("server.port = 2")

    main(["check"])
    monkeypatch.setenv("VANGO_CONFIG", "other.toml")
    main(["check"])

    out = capsys.readouterr().out
    assert "vango.toml: ok\n  listens on http://127.0.0.1:1\n" in out
    assert "other.toml: ok\n  listens on http://127.0.0.1:2\n" in out


def test_the_environment_belongs_to_what_is_checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VANGO_PORT", "http")

    assert main(["check"]) == 1
    assert capsys.readouterr() == ("", "VANGO_PORT: server.port: got text; expected a whole number from 0 to 65535\n")


def test_all_faults_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "vango.toml").write_text(
        'server.prot = 1\nserver.port = -1\n[providers.anthropic]\napi_key = "s3cr3t key"'
    )

    assert main(["check", "vango.toml"]) == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "vango.toml: server.port: got -1; expected a whole number from 0 to 65535",
        'vango.toml: server.prot: is not a known key; did you mean "port"?',
        (
            "vango.toml: providers.anthropic.api_key: holds a space, a control character or a letter beyond ASCII; "
            "expected a key as it is sent in a header"
        ),
    ]


def test_a_missing_file_is_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "no.toml"]) == 1
    assert capsys.readouterr() == ("", "no.toml: cannot be read (No such file or directory); expected a TOML file\n")


def test_files_of_a_certificate_are_looked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cert.pem").write_text("")
    (tmp_path / "vango.toml").write_text(
        'server.tls = { enabled = true, cert_file = "cert.pem", key_file = "key.pem" }'
    )

    assert main(["check"]) == 1
    assert capsys.readouterr().err == (
        "vango.toml: server.tls.key_file: cannot be read (No such file or directory); expected a PEM file\n"
    )

    (tmp_path / "key.pem").write_text("")

    assert main(["check"]) == 0
    assert "listens on https://127.0.0.1:8080" in capsys.readouterr().out
