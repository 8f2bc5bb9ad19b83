"""`vango models`: the catalogue on a terminal."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vango.config import read
from vango.errors import NotFoundError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from vango.cli import Commands


def register(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "models",
        help="list the models of the catalogue",
        description="List the models of the catalogue with their limits and prices (USD for a million tokens).",
        epilog="example: vango models --provider anthropic --json",
    )
    parser.add_argument("--provider", metavar="P", help="only the models of this provider")
    parser.add_argument("--json", action="store_true", help="print JSON, as GET /v1/models answers")
    parser.add_argument(
        "--config", metavar="F", help="the configuration (default: what VANGO_CONFIG names, else ./vango.toml)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the models and return 0; raises NotFoundError for an unknown provider."""
    settings = read(arguments.config, os.environ, Path.cwd())
    from vango.gateway import LocalGateway  # loads the engine, which `--help` need not wait for

    gateway = LocalGateway(settings)
    if arguments.provider is not None and arguments.provider not in gateway.providers:
        raise NotFoundError(f"No provider is called {arguments.provider!r}; there are {', '.join(gateway.providers)}.")
    listing = gateway.models(provider=arguments.provider)
    if arguments.json:
        json.dump(listing, sys.stdout, indent=2)
        print()
        return 0
    rows = list(_rows(listing))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
    return 0


def _rows(listing: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    yield ("MODEL", "CONTEXT", "OUTPUT", "IN $/M", "OUT $/M", "KEY")
    for provider in listing["providers"]:
        for model in provider["models"]:
            pricing = model.get("pricing", {})
            yield (
                model["full_id"],
                _number(model.get("context_window")),
                _number(model.get("max_output_tokens")),
                _number(pricing.get("input_per_mtok")),
                _number(pricing.get("output_per_mtok")),
                "yes" if provider["configured"] else "no",
            )


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:,}"
