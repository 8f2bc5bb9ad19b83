"""Two JSON schemas as one that both allow, and references resolved."""

from __future__ import annotations

from itertools import islice, product
from typing import Any
from urllib.parse import unquote

MAX_ALTERNATIVES = 64

_GREATER = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}
_LESSER = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}


class Unsatisfiable(Exception):
    """No value was found that satisfies the schema."""


def merge(one: Any, other: Any) -> dict[str, Any]:
    """Return a schema for values that satisfy both; raises Unsatisfiable where it is plain that there are none."""
    if one is False or other is False:
        raise Unsatisfiable
    joined: dict[str, Any] = dict(one) if isinstance(one, dict) else {}
    for keyword, value in (other if isinstance(other, dict) else {}).items():
        joined[keyword] = _joined(keyword, joined[keyword], value) if keyword in joined else value
    return joined


def pointed_at(root: dict[str, Any], reference: Any) -> Any:
    """Return the schema at a JSON pointer within `root`; raises Unsatisfiable for any other reference."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        raise Unsatisfiable
    found: Any = root
    for step in unquote(reference[1:]).split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isdecimal() and int(name[:9]) < len(found):
            found = found[int(name)]
        elif isinstance(found, dict) and name in found:
            found = found[name]
        else:
            raise Unsatisfiable
    return found


def _joined(keyword: str, one: Any, other: Any) -> Any:
    if one == other:
        return one
    if keyword in _GREATER and _are_numbers(one, other):
        return max(one, other)
    if keyword in _LESSER and _are_numbers(one, other):
        return min(one, other)
    match keyword:
        case "required":
            return [*one, *(name for name in other if name not in one)]
        case "properties":
            both = {name: {"allOf": [one[name], field]} if name in one else field for name, field in other.items()}
            return {**one, **both}
        case "type":
            return _common_types(one, other)
        case "enum":
            return [member for member in one if member in other]
        case "allOf":
            return [*one, *other]
        case "anyOf" | "oneOf":
            return [{"allOf": list(pair)} for pair in islice(product(one, other), MAX_ALTERNATIVES)]
        case "items" | "additionalProperties":
            return False if one is False or other is False else {"allOf": [one, other]}
        case "const":
            raise Unsatisfiable
        case _:
            return other


def _common_types(one: Any, other: Any) -> list[str]:
    left, right = (set(kinds) if isinstance(kinds, list) else {kinds} for kinds in (one, other))
    common = left & right
    if "integer" in left | right and "number" in left | right and "number" not in common:
        common.add("integer")
    if not common:
        raise Unsatisfiable
    return sorted(common)


def _are_numbers(*values: Any) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
