"""The quick check must agree with the tables: it only spares them work."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vango.errors import InvalidRequestError
from vango.types import messages, shapes
from vango.types.messages import read_request
from vango.wire import json

scalars = st.none() | st.booleans() | st.integers(-1, 2) | st.text("ab", max_size=2)
sources = st.fixed_dictionaries({}, optional={"type": scalars | st.just("base64"), "data": scalars}) | scalars
KINDS = [
    "text",
    "image",
    "document",
    "tool_use",
    "tool_result",
    "thinking",
    "redacted_thinking",
    "audio",
    "new",
    1,
    None,
]


def blocks(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    fields: dict[Any, st.SearchStrategy[Any]] = {
        "text": scalars,
        "source": sources,
        "id": scalars,
        "name": scalars,
        "input": scalars | st.just({}) | st.just({"a": [1]}),
        "tool_use_id": scalars,
        "content": scalars | st.lists(inner, max_size=2),
        "is_error": scalars,
        "thinking": scalars,
        "signature": scalars,
        "data": scalars,
        "cache_control": scalars,
    }
    return st.fixed_dictionaries({"type": st.sampled_from(KINDS)}, optional=fields) | scalars


content = scalars | st.lists(blocks(blocks(scalars)), max_size=3)
roles = st.sampled_from(["user", "assistant", "system", "tool", 1, None])
message = st.fixed_dictionaries({}, optional={"role": roles, "content": content, "id": scalars}) | scalars
tool_types = st.sampled_from(["custom", "function", "web_search", "bash_20250124", 7, None])
tool_fields: dict[Any, st.SearchStrategy[Any]] = {
    "name": scalars,
    "input_schema": scalars | st.just({"type": "object"}),
    "type": tool_types,
    "description": scalars,
}
tool = st.fixed_dictionaries({}, optional=tool_fields) | scalars


def outcome(body: bytes) -> Any:
    try:
        return read_request(body, max_messages=4).blocks
    except InvalidRequestError as error:
        return error.param, error.message


def refuse(_: object) -> Any:
    raise json.MALFORMED[0]("not looked at")


@given(st.lists(message, max_size=4), st.lists(tool, max_size=3))
def test_the_quick_check_changes_nothing(given_messages: list[Any], tools: list[Any]) -> None:
    body = json.encode({"model": "sandbox/chat", "messages": given_messages, "tools": tools})

    quick = outcome(body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(messages.shapes, "decode_messages", refuse)
        patch.setattr(messages.shapes, "decode_tools", refuse)
        thorough = outcome(body)

    assert quick == thorough


def test_ordinary_messages_take_the_quick_way() -> None:
    turn = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "x"}, {"type": "image", "source": {"type": "url", "url": "u"}}],
        }
    ]

    found = shapes.blocks_of(shapes.decode_messages(json.encode(turn)))

    assert found == [("text", "messages[0].content[0]"), ("image", "messages[0].content[1]")]
