"""Strings that satisfy a JSON schema, out of a text."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any
from uuid import UUID

from vango.local.merge import Unsatisfiable
from vango.local.pattern import UnknownPattern, sample

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vango.local.material import Material

MAX_LENGTH = 10_000
MAX_SAMPLES = 64

_FORMATS: dict[str, Callable[[int], str]] = {
    "date": lambda number: f"2025-{number // 28 % 12 + 1:02d}-{number % 28 + 1:02d}",
    "time": lambda number: f"{12 + number // 3600 % 12:02d}:{number // 60 % 60:02d}:{number % 60:02d}Z",
    "date-time": lambda number: f"2025-{number // 28 % 12 + 1:02d}-{number % 28 + 1:02d}T12:00:00Z",
    "duration": lambda number: f"P{number + 1}D",
    "email": lambda number: f"user{number or ''}@example.com",
    "hostname": lambda number: f"host{number}.example.com" if number else "example.com",
    "uri": lambda number: f"https://example.com/{number or ''}",
    "ipv4": lambda number: f"192.0.{number // 254 % 254}.{number % 254 + 1}",
    "ipv6": lambda number: f"2001:db8::{number + 1:x}",
    "uuid": lambda number: str(UUID(bytes=blake2b(b"%d" % number, digest_size=16).digest(), version=4)),
}
"""Formats of JSON Schema, each with as many values as are asked for; the names and networks are those kept for examples."""


def string_within(schema: Mapping[str, Any], key: str, material: Material, variant: int) -> str:
    """Return a string for the field `key`; each `variant` is another one. Raises Unsatisfiable."""
    least, most = schema.get("minLength", 0), schema.get("maxLength", MAX_LENGTH)
    if least > min(most, MAX_LENGTH):
        raise Unsatisfiable
    if isinstance(pattern := schema.get("pattern"), str):
        matched = _matching(pattern, least, most, variant)
        if matched is not None:
            return matched
    if (make := _FORMATS.get(name := schema.get("format", ""))) is not None:
        for text in (*material.formatted(name)[variant:], make(variant)):
            if least <= len(text) <= most:
                return text
        raise Unsatisfiable
    default = schema.get("default")
    offered = [*material.strings(key), *([default] if isinstance(default, str) else []), "text"]
    text = next((text for text in offered if least <= len(text) <= most), offered[0])
    if not variant:
        material.use(text)
    elif variant < len(listed := material.listed(key)):
        text = listed[variant]
    return _fitted(text, f" {variant + 1}" if variant else "", least, most)


def _matching(pattern: str, least: int, most: int, variant: int) -> str | None:
    """Return a match of a length within bounds; None where the pattern is beyond what is known here."""
    found = set()
    try:
        for extra in range(MAX_SAMPLES):
            text = sample(pattern, extra)
            if least <= len(text) <= most:
                found.add(text)
                if len(found) > variant:
                    return text
    except UnknownPattern:
        return None
    raise Unsatisfiable


def _fitted(text: str, suffix: str, least: int, most: int) -> str:
    if len(suffix) > most:
        suffix = suffix.strip()
    if len(suffix) > most:
        raise Unsatisfiable
    return (text[: most - len(suffix)] + suffix).ljust(least, ".")
