"""`vango serve`: the server, on one line of output and any number of log lines."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from vango.config import read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vango.cli import Commands
    from vango.config import Settings


def register(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "serve",
        help="run the gateway",
        description="Run the gateway. Without a configuration it serves the built-in sandbox models on 127.0.0.1:8080.",
        epilog="example: vango serve --config vango.toml --port 9000",
    )
    parser.add_argument(
        "--config", metavar="F", help="the configuration (default: what VANGO_CONFIG names, else ./vango.toml)"
    )
    parser.add_argument("--host", metavar="H", help="the address to listen on")
    parser.add_argument("--port", metavar="P", help="the port; 0 takes a free one and prints it")
    parser.add_argument("--workers", metavar="N", help="processes that share the port")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal ends it; raises ConfigError before anything listens."""
    environ = dict(os.environ)
    # Flags are the nearest word, so they stand in for the variables of the same settings and are checked like them.
    for flag, name in (("host", "VANGO_HOST"), ("port", "VANGO_PORT"), ("workers", "VANGO__SERVER__WORKERS")):
        if (value := getattr(arguments, flag)) is not None:
            environ[name] = value
    settings = read(arguments.config, environ, Path.cwd())
    # The server's libraries load only once the configuration is known to be right.
    from vango.app import serve

    if arguments.worker:
        return serve.run(settings, worker=True, announce=_say_nothing)
    if settings.server.workers == 1:
        return serve.run(settings, worker=False, announce=_announce)
    command = [sys.executable, "-m", "vango", "serve", "--worker", "--workers", "1"]
    if arguments.config is not None:
        command += ["--config", arguments.config]
    return serve.run_workers(settings, command, environ, announce=_announce)


def _announce(urls: Sequence[str], settings: Settings) -> None:
    providers = ", ".join([*settings.configured_providers(), "sandbox"])
    page = f" · page: {urls[0]}/" if settings.server.playground else ""
    print(f"Vango {version('vango')} on {' and '.join(urls)} · providers: {providers}{page}", flush=True)


def _say_nothing(urls: Sequence[str], settings: Settings) -> None:
    """A worker leaves the line to its parent."""
