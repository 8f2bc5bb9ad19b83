"""`vango init`: writes a configuration to start from, which works as it is and says what to change."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import tomli_w

if TYPE_CHECKING:
    import argparse

    from vango.cli import Commands


class Part(NamedTuple):
    """A comment and the table below it; a table that is empty leaves the comment alone."""

    comment: str
    table: dict[str, Any]


PARTS = [
    Part(
        """
A configuration of Vango. `vango check` validates this file, `vango serve` runs it.
${NAME} and ${NAME:-default} in strings read the environment; vango.toml.example shows every setting.
""",
        {},
    ),
    Part(
        """
Only programs on this machine can reach 127.0.0.1.
Before you set another host, set auth.mode to "api_key".
""",
        {"server": {"host": "127.0.0.1", "port": 8080}},
    ),
    Part(
        """
Who may call: "none" (everybody), "api_key" (whoever has one of the keys), or "passthrough" (callers bring their own
provider's key). A key is best stored as its SHA-256; `key` in place of `key_hash` takes the key itself:

[[auth.api_keys]]
name = "production"
key_hash = "<64 hexadecimal digits>"
""",
        {"auth": {"mode": "none"}},
    ),
    Part(
        """
Providers' keys. A variable that is not set means that the provider is not configured.
Any other server that speaks the Messages API can be a provider, too:

[providers.mine]
kind = "anthropic"
base_url = "https://models.example.com"
api_key = "${MINE_API_KEY}"
""",
        {"providers": {"anthropic": {"api_key": "${ANTHROPIC_API_KEY}"}}},
    ),
    Part(
        """
Names of your own for models. The sandbox's models are built in and need neither key nor network.
""",
        {"aliases": {"smart": "anthropic/claude-sonnet-4-5", "test": "sandbox/chat"}},
    ),
    Part(
        """
What a request that does not say gets.
""",
        {"defaults": {"max_tokens": 4096}},
    ),
    Part(
        """
Logs are JSON lines on stdout; "text" is easier on the eyes. Prompts and answers are not in them.
""",
        {"observability": {"logging": {"level": "info", "format": "json"}}},
    ),
]


def register(commands: Commands) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "init",
        help="write a configuration to start from",
        description="Write a commented configuration to start from. Asks nothing and overwrites nothing.",
        epilog="example: vango init && vango check",
    )
    parser.add_argument(
        "file", nargs="?", default="vango.toml", metavar="F", help="the file to write (default: vango.toml)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the file, readable by its owner alone, and say so; return 1 where it exists or cannot be written."""
    path = Path(arguments.file)
    try:
        create(path, starting_text())
    except FileExistsError:
        print(f"vango: {path} exists and is left as it is; name another file", file=sys.stderr)
        return 1
    except (OSError, ValueError) as exc:
        reason = (exc.strerror if isinstance(exc, OSError) else None) or "not the name of a file"
        print(f"vango: {path} cannot be written ({reason})", file=sys.stderr)
        return 1
    print(f"wrote {path}; next: vango check {path}")
    return 0


def starting_text() -> str:
    """Return the file's text."""
    parts = []
    for comment, table in PARTS:
        lines = [f"# {line}".rstrip() for line in comment.strip().split("\n")]
        parts.append("\n".join(lines) + "\n" + tomli_w.dumps(table))
    return "\n".join(parts)


def create(path: Path, text: str) -> None:
    """Create a file that was not there, for its owner alone because it will hold keys: the whole of it or nothing."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    is_written = False
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        is_written = True
    finally:
        if not is_written:
            path.unlink(missing_ok=True)
