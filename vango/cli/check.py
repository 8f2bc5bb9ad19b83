"""`vango check`: says whether a configuration is right, what it means, and else everything that is wrong with it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vango.config import Settings, locate, missing_files, read, unused
from vango.errors import ConfigError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from vango.cli import Commands


def register(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "check",
        help="validate a configuration",
        description="Validate a configuration together with the environment, and list all of its faults.",
        epilog="example: vango check /etc/vango/vango.toml",
    )
    parser.add_argument(
        "file", nargs="?", metavar="F", help="the file to check (default: what VANGO_CONFIG names, else ./vango.toml)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print a summary and return 0, or print all faults on stderr and return 1."""
    source = locate(arguments.file, os.environ, Path.cwd()) or "no file, defaults and environment"
    try:
        settings = read(arguments.file, os.environ, Path.cwd())
        faults = [f"{source}: {fault}" for fault in missing_files(settings)]
    except ConfigError as exc:
        faults = exc.faults
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        return 1
    print(f"{source}: ok")
    for line in _summary(settings):
        print(f"  {line}")
    return 0


def _summary(settings: Settings) -> Iterator[str]:
    server, auth = settings.server, settings.auth
    host = f"[{server.host}]" if ":" in server.host else server.host
    yield f"listens on {'https' if server.tls.enabled else 'http'}://{host}:{server.port}"
    keys = f", {len(auth.api_keys)} {'key' if len(auth.api_keys) == 1 else 'keys'}" if auth.mode == "api_key" else ""
    yield f"auth: {auth.mode}{keys}"
    yield f"providers: {', '.join(settings.configured_providers()) or 'none configured, only the built-in sandbox'}"
    for sentence in unused(settings):
        yield f"note: {sentence}"
