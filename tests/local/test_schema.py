"""Values for schemas: allowed by them whatever they are, and made of the text where it says something."""

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.local.validator import is_valid
from vango.local.merge import Unsatisfiable
from vango.local.schema import fill

names = st.sampled_from(["city", "unit", "count", "isUrgent", "tags", "note_text", "size"])
texts = st.one_of(
    st.text(max_size=60),
    st.sampled_from(['Send "Hello" to Ada in Paris, 3 times', "size: 7.5, tags: red and blue, no unit"]),
)
bounds = st.integers(-50, 50)


@st.composite
def numbers(draw: st.DrawFn) -> dict[str, Any]:
    low = draw(bounds)
    schema: dict[str, Any] = {"type": draw(st.sampled_from(["integer", "number"]))}
    schema |= draw(st.sampled_from([{}, {"minimum": low}, {"exclusiveMinimum": low}]))
    # Wide enough for a multiple of any step to lie between.
    schema |= draw(st.sampled_from([{}, {"maximum": low + 40}, {"exclusiveMaximum": low + 40.5}]))
    return schema | draw(st.sampled_from([{}, {"multipleOf": 5}, {"multipleOf": 0.25}, {"multipleOf": 3}]))


@st.composite
def strings(draw: st.DrawFn) -> dict[str, Any]:
    least = draw(st.integers(0, 12))
    return {
        "type": "string",
        **draw(
            st.sampled_from(
                [{}, {"minLength": least}, {"maxLength": least + 4}, {"minLength": least, "maxLength": least + 2}]
            )
        ),
    }


scalars = st.one_of(
    numbers(),
    strings(),
    st.sampled_from(
        [{"type": "boolean"}, {"type": "null"}, {"type": ["string", "null"]}, {"type": "string", "nullable": True}, {}]
    ),
    st.sampled_from(["date", "time", "date-time", "email", "uri", "uuid", "ipv4"]).map(
        lambda name: {"type": "string", "format": name}
    ),
    st.sampled_from([r"^[A-Z]{2}$", r"^\d{3}-\d{4}$", r"^(red|green)+$", r"[^a-z\s]{1,3}"]).map(
        lambda pattern: {"type": "string", "pattern": pattern}
    ),
    st.lists(st.one_of(st.text(max_size=8), st.integers(-9, 9), st.booleans(), st.none()), min_size=1, max_size=4).map(
        lambda members: {"enum": members}
    ),
    st.one_of(st.text(max_size=8), st.integers(), st.none(), st.lists(st.integers(), max_size=2)).map(
        lambda value: {"const": value}
    ),
)


def compounds(children: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(arrays(children), objects(children), choices(children))


@st.composite
def arrays(draw: st.DrawFn, children: st.SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    least = draw(st.integers(0, 3))
    schema: dict[str, Any] = {"type": "array", "items": draw(children)}
    schema |= draw(
        st.sampled_from([{}, {"minItems": least}, {"maxItems": least}, {"minItems": least, "maxItems": least}])
    )
    return schema | ({"prefixItems": [draw(children)]} if draw(st.booleans()) else {})


@st.composite
def objects(draw: st.DrawFn, children: st.SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    properties = draw(st.dictionaries(names, children, max_size=4))
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if properties:
        schema["required"] = draw(st.lists(st.sampled_from(sorted(properties)), unique=True))
    schema |= draw(st.sampled_from([{}, {"minProperties": 2}]))
    return (
        schema if "minProperties" in schema else schema | draw(st.sampled_from([{}, {"additionalProperties": False}]))
    )


@st.composite
def choices(draw: st.DrawFn, children: st.SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    return {draw(st.sampled_from(["anyOf", "oneOf"])): draw(st.lists(children, min_size=1, max_size=3))}


@given(st.recursive(scalars, compounds, max_leaves=8), texts)
@settings(max_examples=250, deadline=None)
def test_any_schema_gets_a_value_that_it_allows_and_always_the_same(schema: dict[str, Any], text: str):
    value = fill(schema, text)

    assert is_valid(value, schema), (schema, value)
    assert fill(schema, text) == value
    assert json.loads(json.dumps(value)) == value


@given(numbers(), st.integers(1, 4))
def test_unique_numbers_are_as_many_as_asked_for(number: dict[str, Any], length: int):
    schema = {"type": "array", "items": number, "minItems": length, "uniqueItems": True}

    value = fill(schema, "3 of 3, 4.5 and 7")

    assert is_valid(value, schema), value


PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "city": {"type": "string"},
        "email": {"type": "string", "format": "email"},
        "subscribed": {"type": "boolean"},
    },
    "required": ["name", "age", "city", "email", "subscribed"],
    "additionalProperties": False,
}


def test_a_form_is_filled_from_a_sentence():
    text = "Ada is 36 and lives in Paris. Write to ada@example.org; she is not subscribed."

    assert fill(PERSON, text) == {
        "name": "Ada",
        "age": 36,
        "city": "Paris",
        "email": "ada@example.org",
        "subscribed": False,
    }


@pytest.mark.parametrize(
    ("schema", "text", "expected"),
    [
        ({"type": "array", "items": {"type": "string"}}, 'Use "red" and "dark blue"', ["red", "dark blue"]),
        ({"type": "array", "items": {"enum": ["red", "green", "blue"]}}, "blue, or red?", ["red", "blue"]),
        ({"type": "array", "items": {"type": "number"}}, "sum 1, 2.5 and 40", [1, 2.5, 40]),
        ({"enum": ["low", "high"]}, "make it high", "high"),
        ({"enum": ["low", "high"]}, "whatever", "low"),
        ({"enum": ["low", "high"], "default": "high"}, "whatever", "high"),
        ({"type": "integer", "minimum": 10}, "take 4 or 12", 12),
        ({"anyOf": [{"type": "null"}, {"type": "integer", "minimum": 5}]}, "7", None),
        ({"type": ["null", "integer"]}, "7", 7),
        ({"type": "number", "minimum": 2, "exclusiveMinimum": True}, "2", 3),
        ({"allOf": [{"type": "number"}, {"type": "integer", "maximum": 3}]}, "9", 1),
        ({"const": {"a": 1}}, "", {"a": 1}),
        (
            {"type": "object", "properties": {"volume": {"type": "integer"}}, "required": []},
            "set the volume to 7",
            {"volume": 7},
        ),
        ({"type": "object", "properties": {"volume": {"type": "integer"}}, "required": []}, "7 dwarfs", {}),
        (
            {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]},
            'title: "The Trial"',
            {"title": "The Trial"},
        ),
    ],
)
def test_the_text_decides_where_it_says_something(schema: dict[str, Any], text: str, expected: Any):
    assert fill(schema, text) == expected


def test_a_recursive_schema_ends():
    tree = {
        "type": "object",
        "properties": {
            "value": {"type": "string"},
            "left": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
            "children": {"type": "array", "items": {"$ref": "#"}},
        },
        "required": ["value", "left", "children"],
    }
    listed = {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {**tree, "properties": {"value": {}, "left": {"$ref": "#/$defs/text"}}},
            "text": {"type": "string"},
        },
    }
    listed["$defs"]["node"]["required"] = ["left"]

    assert fill(tree, "oak") == {"value": "oak", "left": None, "children": []}
    assert fill(listed, "oak") == {"left": "oak"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"type": "integer", "exclusiveMinimum": 2, "exclusiveMaximum": 3},
        {"type": "string", "minLength": 3, "maxLength": 2},
        {"type": "string", "minLength": 10**9},
        {"type": "array", "minItems": 10**9},
        {"type": "array", "items": {"type": "boolean"}, "minItems": 3, "uniqueItems": True},
        {"type": "object", "required": ["a"], "properties": {"a": False}},
        {"type": "object", "required": ["a"], "additionalProperties": False},
        {"type": "object", "required": ["next"], "properties": {"next": {"$ref": "#"}}},
        {"type": "object", "required": list("abcdef"), "additionalProperties": {"$ref": "#"}},
        {"$ref": "#/missing"},
        {"$ref": "https://example.com/schema"},
        {"$ref": "#"},
        {"allOf": [{"type": "string"}, {"type": "object"}]},
        {"enum": []},
        {"anyOf": []},
        {"type": "dragon"},
        # Not schemas at all:
        {"type": "string", "minLength": "three"},
        {"type": "object", "properties": ["a"]},
        {"type": "object", "required": 3},
        {"$ref": []},
        {"anyOf": 7},
    ],
)
def test_what_cannot_be_satisfied_is_said_soon(schema: dict[str, Any]):
    before = time.perf_counter()

    with pytest.raises(Unsatisfiable):
        fill(schema, "anything")

    assert time.perf_counter() - before < 2
