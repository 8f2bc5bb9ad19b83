"""A small JSON Schema validator, written apart from the code under test: is a value one that the schema allows?"""

from __future__ import annotations

import json
import re
from fractions import Fraction
from typing import Any

TYPES = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: (
        not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
    ),
}

FORMATS = {
    "date": r"\d{4}-\d\d-\d\d",
    "time": r"\d\d:\d\d:\d\dZ",
    "date-time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
    "email": r"[^@\s]+@[^@\s]+\.[^@\s]+",
    "uri": r"https?://\S+",
    "uuid": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "ipv4": r"\d{1,3}(\.\d{1,3}){3}",
}


def is_valid(value: Any, schema: Any, root: Any = None) -> bool:
    root = schema if root is None else root
    if isinstance(schema, bool):
        return schema
    return all(check(value, schema, root) for keyword, check in CHECKS.items() if keyword in schema)


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _type(value: Any, schema: Any, root: Any) -> bool:
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return any(TYPES[kind](value) for kind in kinds) or (value is None and schema.get("nullable") is True)


def _ref(value: Any, schema: Any, root: Any) -> bool:
    target = root
    for step in schema["$ref"].split("/")[1:]:
        target = target[step]
    return is_valid(value, target, root)


def _properties(value: Any, schema: Any, root: Any) -> bool:
    if not isinstance(value, dict):
        return True
    return all(is_valid(value[name], field, root) for name, field in schema["properties"].items() if name in value)


def _additional(value: Any, schema: Any, root: Any) -> bool:
    if not isinstance(value, dict):
        return True
    others = [item for name, item in value.items() if name not in schema.get("properties", {})]
    return all(is_valid(item, schema["additionalProperties"], root) for item in others)


def _items(value: Any, schema: Any, root: Any) -> bool:
    if not isinstance(value, list):
        return True
    return all(is_valid(item, schema["items"], root) for item in value[len(schema.get("prefixItems", [])) :])


def _prefix(value: Any, schema: Any, root: Any) -> bool:
    if not isinstance(value, list):
        return True
    return all(is_valid(item, part, root) for item, part in zip(value, schema["prefixItems"], strict=False))


def _number(keyword: str, holds: Any) -> Any:
    def check(value: Any, schema: Any, root: Any) -> bool:
        return not TYPES["number"](value) or holds(Fraction(str(value)), Fraction(str(schema[keyword])))

    return check


def _length(keyword: str, kind: type, holds: Any) -> Any:
    return lambda value, schema, root: not isinstance(value, kind) or holds(len(value), schema[keyword])


CHECKS: dict[str, Any] = {
    "type": _type,
    "$ref": _ref,
    "const": lambda value, schema, root: _same(value, schema["const"]),
    "enum": lambda value, schema, root: any(_same(value, member) for member in schema["enum"]),
    "properties": _properties,
    "additionalProperties": _additional,
    "required": lambda value, schema, root: not isinstance(value, dict) or set(schema["required"]) <= set(value),
    "items": _items,
    "prefixItems": _prefix,
    "uniqueItems": lambda value, schema, root: (
        not isinstance(value, list) or len({json.dumps(item, sort_keys=True) for item in value}) == len(value)
    ),
    "allOf": lambda value, schema, root: all(is_valid(value, part, root) for part in schema["allOf"]),
    "anyOf": lambda value, schema, root: any(is_valid(value, part, root) for part in schema["anyOf"]),
    "oneOf": lambda value, schema, root: any(is_valid(value, part, root) for part in schema["oneOf"]),
    "pattern": lambda value, schema, root: (
        not isinstance(value, str) or re.search(schema["pattern"], value) is not None
    ),
    "format": lambda value, schema, root: (
        not isinstance(value, str) or re.fullmatch(FORMATS[schema["format"]], value) is not None
    ),
    "minimum": _number("minimum", lambda value, bound: value >= bound),
    "maximum": _number("maximum", lambda value, bound: value <= bound),
    "exclusiveMinimum": _number("exclusiveMinimum", lambda value, bound: value > bound),
    "exclusiveMaximum": _number("exclusiveMaximum", lambda value, bound: value < bound),
    "multipleOf": _number("multipleOf", lambda value, step: value % step == 0),
    "minLength": _length("minLength", str, lambda length, bound: length >= bound),
    "maxLength": _length("maxLength", str, lambda length, bound: length <= bound),
    "minItems": _length("minItems", list, lambda length, bound: length >= bound),
    "maxItems": _length("maxItems", list, lambda length, bound: length <= bound),
    "minProperties": _length("minProperties", dict, lambda length, bound: length >= bound),
}
