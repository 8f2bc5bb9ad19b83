"""`vango version`: which release this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from vango.cli import Commands


def register(commands: Commands) -> None:
    """Add the command's parser."""
    commands.add_parser(
        "version",
        help="print the version",
        description="Print the version of Vango.",
        epilog="example: vango version",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the version of the installed package."""
    try:
        print(f"vango {version('vango')}")
    except PackageNotFoundError:
        print("vango, from a source tree that is not installed")
    return 0
