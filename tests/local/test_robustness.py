"""Whatever is sent, the sandbox answers it: the same in every process, and without failing itself."""

import copy
import os
import subprocess
import sys
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.local.asking import call, request
from tests.local.test_tools import TOOLS
from vango.local.sandbox import answer

FORM = {
    "type": "object",
    "properties": {
        "a": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "b": {
            "type": "array",
            "items": {"type": "integer", "minimum": 3, "multipleOf": 2},
            "minItems": 2,
            "uniqueItems": True,
        },
        "c": {"enum": ["x", 1], "default": 1},
        "d": {"type": "string", "pattern": "^a{2,3}$", "minLength": 1, "maxLength": 5},
        "e": {"$ref": "#/$defs/q"},
        "f": {"allOf": [{"minLength": 2}, {"maxLength": 4, "type": "string"}]},
    },
    "required": ["a", "b", "c", "d", "e", "f"],
    "additionalProperties": False,
    "minProperties": 2,
    "$defs": {"q": {"const": {"z": [1]}}},
}
CONTENT = [
    {"type": "text", "text": "Hi, 3 times"},
    {"type": "image", "source": {"type": "base64", "data": "x"}},
    {"type": "document", "source": {"type": "text", "data": "abc"}, "title": "t"},
]
LOOP = [
    {"role": "user", "content": CONTENT},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "x", "input": {"a": 1}}]},
    {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "18"}]}],
    },
]
FIELDS: dict[str, Any] = {
    "tools": TOOLS,
    "tool_choice": {"type": "auto"},
    "system": [{"type": "text", "text": "x"}],
    "thinking": {"type": "adaptive"},
    "stop_sequences": ["zz"],
    "output_config": {"format": {"type": "json_schema", "schema": FORM}},
    "stream": True,
}
REQUESTS = [
    request("chat", CONTENT, **FIELDS),
    request("tools", CONTENT, **FIELDS),
    request("tools", CONTENT, **{**FIELDS, "tools": [{"name": "form", "input_schema": FORM}]}),
    request("think", messages=LOOP, **FIELDS),
]
VALUES: list[Any] = [
    None,
    True,
    -1,
    3,
    10**25,
    1.5,
    -1e300,
    "",
    "x",
    "text",
    "object",
    "array",
    [],
    {},
    [1],
    ["a"],
    {"a": 1},
    [None],
    [{}],
]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    body = copy.deepcopy(draw(st.sampled_from(REQUESTS)))
    for _ in range(draw(st.integers(1, 3))):
        *path, key = draw(st.sampled_from([place for place in places(body) if place]))
        parent: Any = body
        for step in path:
            parent = parent[step]
        if draw(st.booleans()):
            parent[key] = copy.deepcopy(draw(st.sampled_from(VALUES)))
        else:
            del parent[key]
    return body


@given(damaged())
@settings(max_examples=300, deadline=None)
def test_a_damaged_request_is_answered(body: dict[str, Any]):
    script = answer(call(body))

    assert script.status in {200, 400, 404}
    assert answer(call(body)) == script


def test_another_process_gives_the_same_answers():
    program = (
        "import hashlib; from tests.local.test_robustness import *\n"
        "print(hashlib.sha256(repr([answer(call(body)) for body in REQUESTS]).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }

    assert len(digests) == 1


def test_importing_the_sandbox_loads_nothing_heavy():
    program = "import sys, vango.local.sandbox; print(sorted({'trio', 'pydantic', 'asyncio', 'socket', 'httpx'} & set(sys.modules)))"

    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert found.stdout.strip() == b"[]"
