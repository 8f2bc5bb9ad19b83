"""The command line as a whole: which command runs, what it returns, and how failures look."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
import trio

import vango.cli
import vango.cli.version
from vango.cli import COMMANDS, main
from vango.errors import ConfigError, NotFoundError, VangoError

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[argparse.Namespace], int]], None]:
    """Install a command `try-it` that does what it is given."""

    def install(run: Callable[[argparse.Namespace], int]) -> None:
        module = ModuleType("vango.cli.try-it")
        module.register = lambda commands: commands.add_parser("try-it")  # type: ignore[attr-defined]
        module.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "vango.cli.try-it", module)
        monkeypatch.setattr(vango.cli, "COMMANDS", (*COMMANDS, "try-it"))

    return install


def fail(error: BaseException) -> Callable[[argparse.Namespace], int]:
    """Return a command that raises the error."""

    def run(arguments: argparse.Namespace) -> int:
        raise error

    return run


@pytest.mark.parametrize("code", [0, 1])
def test_a_commands_code_is_returned(command: Callable[..., None], code: int) -> None:
    command(lambda arguments: code)

    assert main(["try-it"]) == code


@pytest.mark.parametrize(
    "argv", [["nope"], ["check", "a", "b"], ["check", "--nope"], ["--nope"], ["chec"], ["--vers"], ["", "check"]]
)
def test_wrong_usage_is_2_and_says_so_on_stderr(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: vango")


def test_no_command_is_wrong_usage_and_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert all(f"\n    {name} " in err for name in COMMANDS)


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0

    assert all(f"\n    {name} " in capsys.readouterr().out for name in COMMANDS[:1])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0

    out = capsys.readouterr().out
    assert out.startswith(f"usage: vango {name} ")
    assert f"example: vango {name}" in out


@pytest.mark.parametrize("error", [VangoError("It went wrong."), NotFoundError("It went wrong.")])
def test_a_failure_is_one_line_and_1(
    command: Callable[..., None], error: VangoError, capsys: pytest.CaptureFixture[str]
) -> None:
    command(fail(error))

    assert main(["try-it"]) == 1
    assert capsys.readouterr() == ("", "vango: It went wrong.\n")


def test_every_fault_of_a_configuration_is_printed(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(fail(ConfigError(["a: b", "c: d"])))

    assert main(["try-it"]) == 1
    assert capsys.readouterr().err == "vango: The configuration has faults:\n  a: b\n  c: d\n"


def test_a_failure_out_of_a_nursery_is_one_line_too(
    command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    async def work() -> None:
        async with trio.open_nursery() as outer, trio.open_nursery():
            outer.cancel_scope.shield = True
            raise VangoError("It went wrong.")

    command(lambda arguments: trio.run(work) or 0)

    assert main(["try-it"]) == 1
    assert capsys.readouterr().err == "vango: It went wrong.\n"


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), BaseExceptionGroup("", [BaseExceptionGroup("", [KeyboardInterrupt()])])]
)
def test_ctrl_c_is_quiet(
    command: Callable[..., None], error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    command(fail(error))

    assert main(["try-it"]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_bug_is_not_hidden(command: Callable[..., None]) -> None:
    command(fail(ZeroDivisionError("a bug")))

    with pytest.raises(ZeroDivisionError, match="a bug"):
        main(["try-it"])


@pytest.mark.parametrize("argv", [["version"], ["--version"]])
def test_the_version_is_the_packages(
    argv: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(vango.cli.version, "version", lambda name: f"1.2.3 of {name}")

    assert main(argv) == 0
    assert capsys.readouterr().out == "vango 1.2.3 of vango\n"


def test_a_source_tree_has_no_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(vango.cli.version, "version", version)

    assert main(["version"]) == 0
    assert capsys.readouterr().out == "vango, from a source tree that is not installed\n"


def test_the_version_loads_none_of_what_the_server_needs() -> None:
    code = "import sys, vango.cli; vango.cli.main(['version']); print(*sys.modules, sep='\\n')"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert "vango.cli.version" in loaded
    assert not {"vango.cli.check", "vango.config", "vango.app", "hypercorn", "quart"} & set(loaded)


def test_the_package_runs_as_a_module_and_a_reader_that_leaves_early_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)

    done = subprocess.run(
        [sys.executable, "-m", "vango", "version"], stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)

    assert (done.returncode, done.stderr) == (1, b"")


def test_the_modules_code_is_the_programs() -> None:
    done = subprocess.run([sys.executable, "-m", "vango", "nope"], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "invalid choice: 'nope'" in done.stderr
