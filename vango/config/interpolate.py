"""`${NAME}` and `${NAME:-default}` in the strings of a configuration.

A variable's value is taken as it is: a `${` inside it is not read again.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Any

from vango.config.faults import Fault, Path, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

REFERENCE = re.compile(
    r"(?P<escape>\$\$\{)|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|(?P<broken>\$\{)"
)

# Deeper than any setting is. What lies below is unknown to the settings and refused by them, however deep it goes.
MAX_DEPTH = 12


class Unset(LookupError):
    """A variable without a value and without a default."""


def interpolate(text: str, environ: Mapping[str, str]) -> str:
    """Return the text with its references replaced; `$${` stands for `${`.

    A default counts where the variable is unset or empty, as in a shell.
    Raises Unset with the variable's name, and ValueError where a `${` begins nothing.
    """

    def value(match: re.Match[str]) -> str:
        if match["escape"]:
            return "${"
        if match["broken"]:
            raise ValueError("a reference without an end or a name")
        if match["default"] is not None:
            return environ.get(match["name"]) or match["default"]
        if match["name"] not in environ:
            raise Unset(match["name"])
        return environ[match["name"]]

    return REFERENCE.sub(value, text)


def interpolate_all(data: dict[str, Any], environ: Mapping[str, str]) -> Iterator[Fault]:
    """Replace the references in all strings of a configuration, in place; strings at fault are left as they are.

    A provider's `api_key` whose variable is unset is taken out: one file then serves machines with different keys.
    """
    places: deque[tuple[Path, Any]] = deque([((), data)])
    while places:
        path, table = places.popleft()
        for key, value in list(table.items() if isinstance(table, dict) else enumerate(table)):
            here: Path = (*path, key)
            if isinstance(value, dict | list) and len(here) < MAX_DEPTH:
                places.append((here, value))
            elif isinstance(value, str):
                try:
                    table[key] = interpolate(value, environ)
                except Unset as unset:
                    if is_provider_key(here):
                        del table[key]
                    else:
                        name = unset.args[0]
                        yield Fault(
                            here, f"needs {name}, which is not set; expected that variable, or ${{{name}:-default}}"
                        )
                except ValueError:
                    yield Fault(
                        here, f"has a {quoted('${')} that begins no ${{NAME}}; write $${{ for the characters themselves"
                    )


def is_provider_key(path: Path) -> bool:
    """Say whether a setting is a provider's key."""
    return path[-1] == "api_key" and (
        (len(path) == 3 and path[0] == "providers")
        or (len(path) == 4 and path[:2] in {("voice", "stt"), ("voice", "tts")})
    )
