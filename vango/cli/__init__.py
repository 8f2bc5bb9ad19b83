"""The command line: one module a command, each with `register`, which adds its parser, and `run`, which does it.

Exit codes: 0 done, 1 the work failed, 2 wrong usage, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from vango.errors import VangoError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COMMANDS = ("serve", "check", "init", "models", "version")

INTERRUPTED = 130  # what a shell reports for a program that SIGINT ended


class Commands(Protocol):
    """Where a command's module adds its parser."""

    def add_parser(self, name: str, **options: Any) -> argparse.ArgumentParser:
        """Return a new parser for the command `name`."""
        ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a failure is one line on stderr, never a traceback."""
    code = 0
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except* VangoError as group:  # also out of a nursery, which raises groups
        code = 1
        for error in _leaves(group):
            print(f"vango: {error}", file=sys.stderr)
    except* KeyboardInterrupt:
        code = INTERRUPTED
    except* BrokenPipeError:
        # Whoever read the output has seen enough. The interpreter flushes once more at its end: let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    return code


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["--version"]:
        arguments[0] = "version"
    parser = argparse.ArgumentParser(
        prog="vango",
        description="A self-hosted AI gateway: one API for every model provider, and a voice for any of them.",
        epilog="vango COMMAND --help says more about a command.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", required=True)
    # Only the command that runs is imported: `vango version` need not wait for what `vango serve` loads.
    wanted = [name for name in COMMANDS if arguments[:1] == [name]] or COMMANDS
    modules = {name: import_module(f"vango.cli.{name}") for name in wanted}
    for module in modules.values():
        module.register(commands)
    if not arguments:
        parser.print_help(sys.stderr)
        return 2
    try:
        parsed = parser.parse_args(arguments)
    except SystemExit as exc:  # argparse has said what it had to say
        return exc.code if isinstance(exc.code, int) else 2
    code: int = modules[parsed.command].run(parsed)
    return code


def _leaves(group: BaseExceptionGroup[VangoError]) -> Iterator[VangoError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
