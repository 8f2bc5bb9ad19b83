"""`vango init`."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from vango.cli import main
from vango.cli.init import create, starting_text
from vango.config import load, unused


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("argv", "name"), [(["init"], "vango.toml"), (["init", "mine.toml"], "mine.toml")])
def test_the_file_is_written_for_its_owner_alone_and_passes_the_check(
    argv: list[str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 0
    assert capsys.readouterr().out == f"wrote {name}; next: vango check {name}\n"

    assert stat.S_IMODE(Path(name).stat().st_mode) == 0o600
    assert main(["check", name]) == 0


def test_the_text_configures_what_it_says() -> None:
    settings = load(starting_text(), {"ANTHROPIC_API_KEY": "sk-1"})

    assert settings.configured_providers() == ["anthropic"]
    assert settings.aliases["test"] == "sandbox/chat"
    assert unused(settings) == []


def test_the_tables_in_its_comments_are_right_too() -> None:
    tables = re.findall(r"(?m)^# \[.*\n(?:# .*\n)*", starting_text())
    for table in tables:
        load(table.replace("# ", "").replace("<64 hexadecimal digits>", "0" * 64), {})

    assert len(tables) == 2


@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_nothing_is_overwritten(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "vango.toml"
    if kind == "file":
        path.write_text("kept")
    elif kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.mkdir()

    assert main(["init"]) == 1
    assert capsys.readouterr() == ("", "vango: vango.toml exists and is left as it is; name another file\n")
    assert kind != "file" or path.read_text() == "kept"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("name", "reason"), [("no/vango.toml", "No such file or directory"), ("a\0b", "not the name of a file")]
)
def test_a_file_that_cannot_be_written_is_one_line(name: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", name]) == 1
    assert capsys.readouterr().err == f"vango: {name} cannot be written ({reason})\n"


def test_a_file_that_could_not_be_finished_is_removed(tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        create(tmp_path / "vango.toml", "half of it \ud800")

    assert list(tmp_path.iterdir()) == []
