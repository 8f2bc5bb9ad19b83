"""The providers Vango knows: a row each. A new vendor of a known dialect is one more row; a new dialect is one codec and one row.

A plug-in package adds rows by an entry point in the group `vango.providers` that names a `Row`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from vango.providers.anthropic import AnthropicCodec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vango.providers.base import Codec

CODECS: Mapping[str, Codec] = {"anthropic": AnthropicCodec()}
"""Dialects by the name that `kind` has in the configuration."""


@dataclass(frozen=True, slots=True)
class Row:
    """One provider.

    `aliases` are other names that its key header goes by (`X-Provider-Key-<name>`).
    `base_url` is where it answers unless the configuration says otherwise.
    `needs_key` is false for providers that answer without one.
    """

    name: str
    title: str
    codec: Codec
    base_url: str
    aliases: tuple[str, ...] = ()
    needs_key: bool = True


BUILT_IN = (
    Row("anthropic", "Anthropic", CODECS["anthropic"], "https://api.anthropic.com"),
    Row("sandbox", "Sandbox", CODECS["anthropic"], "sandbox://anthropic", needs_key=False),
)


def rows() -> dict[str, Row]:
    """Return the built-in rows and those of installed plug-ins, by name."""
    found = {row.name: row for row in BUILT_IN}
    for point in entry_points(group="vango.providers"):
        row = point.load()
        if not isinstance(row, Row):
            raise TypeError(f"the entry point {point.name!r} in vango.providers is not a Row")
        found[row.name] = row
    return found
