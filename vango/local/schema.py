"""Makes a value that satisfies a JSON schema out of what a text says, always the same one.

Honoured: type (one or several), nullable, const, enum, properties, required, additionalProperties, minProperties, items,
prefixItems, minItems, maxItems, uniqueItems, minLength, maxLength, format, pattern (as far as `vango.local.pattern` goes), the
bounds of numbers, multipleOf, $ref within the document, allOf, anyOf, oneOf (whose first choice that works is taken), and
default where the text has nothing better. Other keywords are not looked at.
"""

from __future__ import annotations

from itertools import count
from typing import Any

import msgspec

from vango.local.material import Material, words_of
from vango.local.merge import Unsatisfiable, merge, pointed_at
from vango.local.numbers import Range
from vango.local.strings import string_within

MAX_DEPTH = 64
# A schema that branches into itself could ask for more than memory holds.
MAX_NODES = 5_000
CHARACTERS_A_NODE = 1_000
MAX_ITEMS = 1_000
MAX_REFS = 32

Schema = dict[str, Any]
Path = frozenset[str]
"""The references that led here: a schema met again is recursive, and left alone wherever it may be."""

_IMPLIED = {
    "properties": "object",
    "required": "object",
    "additionalProperties": "object",
    "items": "array",
    "prefixItems": "array",
    "minItems": "array",
    "minimum": "number",
    "maximum": "number",
    "multipleOf": "number",
}
_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}

_encode = msgspec.json.Encoder(order="sorted").encode


def fill(schema: Schema, text: str) -> Any:
    """Return a value for `schema` from `text`; raises Unsatisfiable where none was found, or the schema is not one."""
    try:
        return _Filler(schema, Material(text)).value(schema, "", frozenset({"#"}), 0, 0)
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        # A keyword with a value of the wrong type fails wherever it is used.
        raise Unsatisfiable from exc


class _Filler:
    def __init__(self, root: Schema, material: Material) -> None:
        self.root = root
        self.material = material
        self.nodes = 0

    def value(self, schema: Any, key: str, path: Path, depth: int, variant: int) -> Any:
        """Return a value; `key` names the field it is for, each `variant` is another value of the same schema."""
        self.spend(1)
        if depth > MAX_DEPTH:
            raise Unsatisfiable
        schema, path = self.resolved(schema, path)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return self.alternative(schema, keyword, key, path, depth, variant)
        if "const" in schema:
            if variant:
                raise Unsatisfiable
            return schema["const"]
        if "enum" in schema:
            return self.member(schema, variant)
        failure = Unsatisfiable()
        for kind in _types(schema):
            try:
                return self.typed(kind, schema, key, path, depth, variant)
            except Unsatisfiable as exc:
                failure = exc
        raise failure

    def spend(self, nodes: int) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            raise Unsatisfiable

    def resolved(self, schema: Any, path: Path) -> tuple[Schema, Path]:
        """Follow references and join `allOf`, so that what is left says everything itself."""
        for _ in range(MAX_REFS):
            schema = merge(schema, {})
            if (reference := schema.pop("$ref", None)) is not None:
                path |= {reference}
                schema = merge(pointed_at(self.root, reference), schema)
            elif parts := schema.pop("allOf", None):
                # Parts with parts of their own can double at each level.
                self.spend(len(parts))
                for part in parts:
                    schema = merge(schema, part)
            else:
                return schema, path
        raise Unsatisfiable

    def alternative(self, schema: Schema, keyword: str, key: str, path: Path, depth: int, variant: int) -> Any:
        options = schema.pop(keyword)
        failure = Unsatisfiable()
        for option in sorted(options, key=lambda option: _is_recursive(option, path)):
            try:
                return self.value(merge(schema, option), key, path, depth + 1, variant)
            except Unsatisfiable as exc:
                failure = exc
        raise failure

    def member(self, schema: Schema, variant: int) -> Any:
        """Return a member of an enum: one that the text mentions, else the default, else the first that is something."""
        members = [member for member in schema["enum"] if _is_one_of(member, schema)]
        spoken = [member for member in members if self.is_mentioned(member)]
        usual = [schema["default"]] if "default" in schema and schema["default"] in members else []
        something = [member for member in members if member is not None]
        # By their JSON, because 1 and true are equal to Python.
        distinct = {_canonical(member): member for member in (*spoken, *usual, *something, *members)}
        if variant >= len(distinct):
            raise Unsatisfiable
        return list(distinct.values())[variant]

    def is_mentioned(self, member: Any) -> bool:
        if isinstance(member, str):
            return self.material.mentions(member)
        return not isinstance(member, bool) and member in self.material.numbers

    def typed(self, kind: str, schema: Schema, key: str, path: Path, depth: int, variant: int) -> Any:
        match kind:
            case "object":
                return self.object(schema, path, depth, variant)
            case "array":
                return self.array(schema, key, path, depth, variant)
            case "string":
                text = string_within(schema, key, self.material, variant)
                self.spend(len(text) // CHARACTERS_A_NODE)
                return text
            case "integer" | "number":
                return self.number(schema, key, variant, whole=kind == "integer")
            case "boolean" if variant < 2:
                return self.boolean(schema, key) is not bool(variant)
            case "null" if not variant:
                return None
            case _:
                raise Unsatisfiable

    def number(self, schema: Schema, key: str, variant: int, *, whole: bool) -> float:
        default = schema.get("default")
        wanted = [*self.material.number_for(key), *([default] if isinstance(default, int | float) else [])]
        value = Range.of(schema, whole=whole).pick(wanted, variant)
        if value is None:
            raise Unsatisfiable
        self.material.use(value)
        return int(value) if whole else value

    def boolean(self, schema: Schema, key: str) -> bool:
        said = self.material.labelled(key)
        if said and said.lower() in {"true", "yes", "on", "false", "no", "off"}:
            return said.lower() in {"true", "yes", "on"}
        if self.material.mentions(" ".join(words_of(key))):
            return not self.material.is_negative
        default = schema.get("default")
        return default if isinstance(default, bool) else not self.material.is_negative

    def object(self, schema: Schema, path: Path, depth: int, variant: int) -> Schema:
        properties = schema.get("properties") or {}
        required = schema.get("required")
        # Many tools list no required field and still mean their first one.
        needed = list(properties)[:1] if required is None else required
        others = schema.get("additionalProperties", {})
        most = schema.get("maxProperties", MAX_ITEMS)
        filled: Schema = {}
        for name, field in properties.items():
            if name in needed or (len(filled) < most and self.has_evidence(field, name, path)):
                self.fill_property(filled, name, field, name in (required or ()), path, depth, variant)
        for name in required or ():
            if name not in properties:
                self.fill_property(filled, name, others, True, path, depth, variant)
        least = schema.get("minProperties", 0)
        for name, field in properties.items():
            if len(filled) < least and name not in filled:
                self.fill_property(filled, name, field, False, path, depth, variant)
        for number in count(1):
            if len(filled) >= least:
                return filled
            if number > MAX_ITEMS:
                raise Unsatisfiable
            if (name := f"field_{number}") not in filled:
                self.fill_property(filled, name, others, True, path, depth, variant)
        raise AssertionError("unreachable")

    def fill_property(
        self, filled: Schema, name: str, field: Any, is_required: bool, path: Path, depth: int, variant: int
    ) -> None:
        for attempt in dict.fromkeys((variant, 0)):
            # One field that cannot vary does not keep the others from it.
            try:
                filled[name] = self.value(field, name, path, depth + 1, attempt)
            except Unsatisfiable:
                if is_required and not attempt:
                    raise
            else:
                return

    def has_evidence(self, field: Any, name: str, path: Path) -> bool:
        """Whether the text says something for an optional field."""
        try:
            schema, _ = self.resolved(field, path)
        except Unsatisfiable:
            return False
        if "enum" in schema:
            return any(self.is_mentioned(member) for member in schema["enum"])
        match _types(schema)[0]:
            case "string":
                return bool(self.material.labelled(name) or self.material.formatted(schema.get("format", "")))
            case "integer" | "number":
                return self.material.labelled(name) is not None
            case "boolean":
                return self.material.mentions(" ".join(words_of(name)))
            case "array":
                return bool(self.material.listed(name))
            case _:
                return False

    def array(self, schema: Schema, key: str, path: Path, depth: int, variant: int) -> list[Any]:
        items = schema.get("items", {})
        prefix = schema.get("prefixItems") or (items if isinstance(items, list) else [])
        items = {} if isinstance(items, list) else items
        least, most = schema.get("minItems", 0), min(schema.get("maxItems", MAX_ITEMS), MAX_ITEMS)
        if least > most:
            raise Unsatisfiable
        filled = [self.value(item, key, path, depth + 1, variant) for item in prefix[:most]]
        is_unique = schema.get("uniqueItems") is True
        seen = {_canonical(item) for item in filled}
        if is_unique and len(seen) < len(filled):
            raise Unsatisfiable
        if _is_recursive(items, path) and len(filled) >= least:
            return filled
        if not variant:
            for item in self.offered(items, key, path)[: most - len(filled)]:
                if not is_unique or _canonical(item) not in seen:
                    seen.add(_canonical(item))
                    filled.append(item)
        wanted = max(least, min(most, 1))
        for attempt in count(variant):
            if len(filled) >= wanted:
                return filled
            try:
                item = self.value(items, key, path, depth + 1, attempt if is_unique else variant)
            except Unsatisfiable:
                if len(filled) >= least:
                    return filled
                raise
            if not is_unique or _canonical(item) not in seen:
                seen.add(_canonical(item))
                filled.append(item)
        raise AssertionError("unreachable")

    def offered(self, items: Any, key: str, path: Path) -> list[Any]:
        """Return the items that the text lists for an array."""
        try:
            schema, _ = self.resolved(items, path)
        except Unsatisfiable:
            return []
        if "enum" in schema:
            return [member for member in schema["enum"] if _is_one_of(member, schema) and self.is_mentioned(member)]
        match _types(schema)[0]:
            case "integer" | "number" as kind:
                allowed = Range.of(schema, whole=kind == "integer")
                return [number for number in self.material.numbers if number in allowed]
            case "string" if not schema.keys() & {"anyOf", "oneOf", "const", "format", "pattern"}:
                texts = self.material.listed(key) or self.material.quotes or self.material.names
                least, most = schema.get("minLength", 0), schema.get("maxLength", MAX_ITEMS)
                return [text for text in texts if least <= len(text) <= most]
            case _:
                return []


def _types(schema: Schema) -> list[str]:
    """Return the types that a schema allows, null last because it says least."""
    given = schema.get("type")
    if given is None:
        return [next((kind for keyword, kind in _IMPLIED.items() if keyword in schema), "string")]
    kinds = list(given) if isinstance(given, list) else [given]
    if schema.get("nullable") is True:
        kinds.append("null")
    return sorted(kinds, key=lambda kind: kind == "null") or ["string"]


def _is_one_of(member: Any, schema: Schema) -> bool:
    if "type" not in schema:
        return True
    if isinstance(member, bool):
        return "boolean" in _types(schema)
    return any(isinstance(member, _JSON_TYPES.get(kind, ())) for kind in _types(schema))


def _is_recursive(schema: Any, path: Path) -> bool:
    return isinstance(schema, dict) and schema.get("$ref") in path


def _canonical(value: Any) -> bytes:
    """Write a value so that equal ones are equal: 1.0 is 1."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return _encode(value)
