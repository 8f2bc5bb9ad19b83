"""A fault of a configuration: where it is, what is wrong and what would be right, and never the value itself."""

from __future__ import annotations

import json
import re
from datetime import date, time
from typing import TYPE_CHECKING, Any, NamedTuple

from vango.config.schema import Slot, suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

Path = tuple[str | int, ...]

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")

# Types of a TOML document, in the order that isinstance needs: a bool is an int, too.
WORDS: list[tuple[type | tuple[type, ...], str]] = [
    (bool, "true or false"),
    ((int, float), "a number"),
    (str, "text"),
    (list, "a list"),
    (dict, "a table"),
    ((date, time), "a date or a time"),
]


class Fault(NamedTuple):
    """One fault. `involves` are the settings that a rule between several of them has looked at."""

    path: Path
    message: str
    involves: tuple[Path, ...] = ()

    def sentence(self, source: str) -> str:
        """Return the fault as it is shown, with the file or variable that it comes from."""
        return f"{source if source.isprintable() else quoted(source)}: {dotted(self.path)}: {self.message}"

    def concerns(self, path: Path) -> bool:
        """Say whether the fault depends on the setting at `path`, on a part of it or on a table around it."""
        return any(path[: len(seen)] == seen or seen[: len(path)] == path for seen in self.involves)


def quoted(text: str) -> str:
    """Return a text in quotes on one line, with whatever a terminal might act on escaped."""
    return json.dumps(text, ensure_ascii=not text.isprintable())


def dotted(path: Path) -> str:
    """Return a path as TOML writes it: `models."anthropic/claude".input_per_mtok`, `auth.api_keys[0].key`."""
    written = ""
    for key in path:
        if isinstance(key, int):
            written += f"[{key}]"
        else:
            written += f".{key}" if BARE_KEY.fullmatch(key) else f".{quoted(key)}"
    return written.removeprefix(".")


def explain(error: ValidationError, root: Slot) -> Iterator[Fault]:
    """Turn what pydantic found into faults."""
    for detail in error.errors(include_url=False):
        path = detail["loc"]
        if path and path[-1] == "[key]":  # pydantic's mark for a table's key, as against its value
            yield Fault(path[:-1], _of_key(detail))
        elif detail["type"] == "rules":
            yield from detail["ctx"]["faults"]
        elif detail["type"] == "extra_forbidden":
            yield Fault(path, f"is not a known key; {suggestion(root, path)}")
        elif detail["type"] == "fault":
            yield Fault(path, detail["msg"])
        else:
            slot = root.at(path) or root
            yield Fault(path, f"{_described(detail['input'], slot)}; expected {slot.expected()}")


def _of_key(detail: ErrorDetails) -> str:
    if detail["type"] == "fault":
        return f"the key {detail['msg']}"
    return "the key is not a name; expected small letters, digits, hyphens and underscores"


def _described(value: Any, slot: Slot) -> str:
    """Say what came by its type; only a short number where a number belongs is shown, as that is no secret."""
    word = next((word for types, word in WORDS if isinstance(value, types)), "something else")
    if word == "a number" and slot.is_number and abs(value) < 1e9:
        return f"got {value}"
    return "is not valid" if word == slot.word else f"got {word}"
