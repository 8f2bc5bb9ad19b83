"""`read_request`: every fault with its path and sentence, and the oddities that are none."""

from __future__ import annotations

import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vango.errors import InvalidRequestError
from vango.types import shapes
from vango.types.messages import MAX_FIELDS, MessageRequest, read_request

HELLO: dict[str, Any] = {"model": "sandbox/chat", "messages": [{"role": "user", "content": "Hello!"}]}


def read(**fields: Any) -> MessageRequest:
    return read_request(json.dumps({**HELLO, **fields}).encode())


def user(*blocks: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(blocks)}]}


def fault(body: bytes | dict[str, Any], **limits: int) -> tuple[str | None, str]:
    """Return the path and the sentence of the fault that a body has."""
    with pytest.raises(InvalidRequestError) as caught:
        read_request(body if isinstance(body, bytes) else json.dumps(body).encode(), **limits)
    assert caught.value.status == 400
    return caught.value.param, caught.value.message


REQUIRED = "this field is required"
TEXT = {"type": "text", "text": "x"}
IMAGE = {"type": "image", "source": {"type": "url", "url": "https://example.com/x.png"}}

FAULTS: list[tuple[dict[str, Any], str, str]] = [
    # The request itself
    ({"model": 5}, "model", "expected a string, got a number"),
    ({"model": None}, "model", "expected a string, got null"),
    ({"model": ""}, "model", "expected a name like anthropic/claude-sonnet-4-5, got an empty string"),
    ({"model": " \t "}, "model", "expected a name like anthropic/claude-sonnet-4-5, got an empty string"),
    ({"model": "a/" + "b" * 255}, "model", "expected a name of at most 256 printable characters"),
    ({"model": "a/b\x1b[2J"}, "model", "expected a name of at most 256 printable characters"),
    ({"model": "a/b\nc"}, "model", "expected a name of at most 256 printable characters"),
    ({"messages": {}}, "messages", "expected an array, got an object"),
    ({"messages": None}, "messages", "expected an array, got null"),
    ({"messages": "hi"}, "messages", "expected an array, got a string"),
    ({"messages": []}, "messages", "at least one message is required"),
    ({"max_tokens": "5"}, "max_tokens", "expected a number, got a string"),
    ({"max_tokens": True}, "max_tokens", "expected a number, got true or false"),
    ({"max_tokens": -1}, "max_tokens", "expected a whole number of tokens, 0 or more"),
    ({"max_tokens": 1.5}, "max_tokens", "expected a whole number of tokens, 0 or more"),
    ({"system": 5}, "system", "expected a string or an array, got a number"),
    ({"system": {"type": "text"}}, "system", "expected a string or an array, got an object"),
    ({"system": ["x"]}, "system[0]", "expected an object, got a string"),
    ({"system": [TEXT, {"text": "x"}]}, "system[1].type", REQUIRED),
    ({"system": [IMAGE]}, "system[0].type", 'expected "text"'),
    ({"system": [{"type": "text"}]}, "system[0].text", REQUIRED),
    ({"temperature": "hot"}, "temperature", "expected a number, got a string"),
    ({"top_p": []}, "top_p", "expected a number, got an array"),
    ({"top_k": {}}, "top_k", "expected a number, got an object"),
    ({"stop_sequences": "x"}, "stop_sequences", "expected an array, got a string"),
    ({"stop_sequences": ["x", 5]}, "stop_sequences[1]", "expected a string, got a number"),
    ({"stop_sequences": [None]}, "stop_sequences[0]", "expected a string, got null"),
    ({"tools": {}}, "tools", "expected an array, got an object"),
    ({"tools": ["x"]}, "tools[0]", "expected an object, got a string"),
    ({"tools": [{"name": "x"}]}, "tools[0].input_schema", REQUIRED),
    ({"tools": [{"input_schema": {}}]}, "tools[0].name", REQUIRED),
    ({"tools": [{"type": 5}]}, "tools[0].type", "expected a string, got a number"),
    ({"tools": [{"type": "web_search", "name": 5}]}, "tools[0].name", "expected a string, got a number"),
    (
        {"tools": [{"name": "x", "input_schema": {}, "description": 5}]},
        "tools[0].description",
        "expected a string, got a number",
    ),
    ({"tools": [{"name": "x", "input_schema": "y"}]}, "tools[0].input_schema", "expected an object, got a string"),
    ({"tools": [{"type": "function", "function": {}}]}, "tools[0].name", REQUIRED),
    ({"tools": [{"type": None, "name": "x"}]}, "tools[0].input_schema", REQUIRED),
    ({"tool_choice": "auto"}, "tool_choice", "expected an object, got a string"),
    ({"thinking": True}, "thinking", "expected an object, got true or false"),
    ({"stream": "true"}, "stream", "expected true or false, got a string"),
    ({"stream": 1}, "stream", "expected true or false, got a number"),
    ({"metadata": []}, "metadata", "expected an object, got an array"),
    ({"output": "text"}, "output", "expected an object, got a string"),
    ({"output_format": "json"}, "output_format", "expected an object, got a string"),
    ({"output_config": 1}, "output_config", "expected an object, got a number"),
    ({"voice": "nova"}, "voice", "expected an object, got a string"),
    ({"extensions": []}, "extensions", "expected an object, got an array"),
    ({"provider_keys": []}, "provider_keys", "expected an object, got an array"),
    ({"provider_keys": {"anthropic": 5}}, "provider_keys.anthropic", "expected a string, got a number"),
    ({"provider_keys": {"anthropic": None}}, "provider_keys.anthropic", "expected a string, got null"),
    ({"fallbacks": "x"}, "fallbacks", "expected an array, got a string"),
    ({"fallbacks": ["a/b", {}]}, "fallbacks[1]", "expected a string, got an object"),
    ({"fallbacks": ["a/b"] * 21}, "fallbacks", "at most 20 entries, got 21"),
    ({"fallbacks": ["a/b\x00"]}, "fallbacks[0]", "expected a name of at most 256 printable characters"),
    (
        {"fallbacks": [""]},
        "fallbacks[0]",
        "expected a name like anthropic/claude-sonnet-4-5, got an empty string",
    ),
    # Messages
    ({"messages": [None]}, "messages[0]", "expected an object, got null"),
    ({"messages": [["user", "x"]]}, "messages[0]", "expected an object, got an array"),
    ({"messages": [{"content": "x"}]}, "messages[0].role", REQUIRED),
    ({"messages": [{"role": "user"}]}, "messages[0].content", REQUIRED),
    ({"messages": [{}]}, "messages[0].role", REQUIRED),
    ({"messages": [{"role": 5, "content": "x"}]}, "messages[0].role", "expected a string, got a number"),
    (
        {"messages": [{"role": "tool", "content": "x"}]},
        "messages[0].role",
        "expected one of user, assistant, system",
    ),
    (
        {"messages": [{"role": "User", "content": "x"}]},
        "messages[0].role",
        "expected one of user, assistant, system",
    ),
    (
        {"messages": [{"role": "user", "content": None}]},
        "messages[0].content",
        "expected a string or an array, got null",
    ),
    (
        {"messages": [*HELLO["messages"], {"role": "assistant", "content": 5}]},
        "messages[1].content",
        "expected a string or an array, got a number",
    ),
    # Blocks
    (user("x"), "messages[0].content[0]", "expected an object, got a string"),
    (user(TEXT, None), "messages[0].content[1]", "expected an object, got null"),
    (user({}), "messages[0].content[0].type", REQUIRED),
    (user({"type": None}), "messages[0].content[0].type", "expected a string, got null"),
    (user({"type": 5}), "messages[0].content[0].type", "expected a string, got a number"),
    (user({"type": "text"}), "messages[0].content[0].text", REQUIRED),
    (user({"type": "text", "text": None}), "messages[0].content[0].text", "expected a string, got null"),
    (user({"type": "text", "text": ["x"]}), "messages[0].content[0].text", "expected a string, got an array"),
    *(
        row
        for kind in ("image", "audio", "video", "document")
        for row in (
            (user({"type": kind}), "messages[0].content[0].source", REQUIRED),
            (user({"type": kind, "source": "x"}), "messages[0].content[0].source", "expected an object, got a string"),
            (user({"type": kind, "source": {}}), "messages[0].content[0].source.type", REQUIRED),
            (
                user({"type": kind, "source": {"type": 5}}),
                "messages[0].content[0].source.type",
                "expected a string, got a number",
            ),
        )
    ),
    (user({"type": "tool_use", "name": "x", "input": {}}), "messages[0].content[0].id", REQUIRED),
    (user({"type": "tool_use", "id": "x", "input": {}}), "messages[0].content[0].name", REQUIRED),
    (user({"type": "tool_use", "id": "x", "name": "x"}), "messages[0].content[0].input", REQUIRED),
    (
        user({"type": "tool_use", "id": "x", "name": "x", "input": "{}"}),
        "messages[0].content[0].input",
        "expected an object, got a string",
    ),
    (user({"type": "tool_result"}), "messages[0].content[0].tool_use_id", REQUIRED),
    (
        user({"type": "tool_result", "tool_use_id": "x", "is_error": "no"}),
        "messages[0].content[0].is_error",
        "expected true or false, got a string",
    ),
    (
        user({"type": "tool_result", "tool_use_id": "x", "content": {}}),
        "messages[0].content[0].content",
        "expected a string or an array, got an object",
    ),
    (
        user({"type": "tool_result", "tool_use_id": "x", "content": [TEXT, {"type": "image"}]}),
        "messages[0].content[0].content[1].source",
        REQUIRED,
    ),
    (user({"type": "thinking"}), "messages[0].content[0].thinking", REQUIRED),
    (
        user({"type": "thinking", "thinking": "x", "signature": 5}),
        "messages[0].content[0].signature",
        "expected a string, got a number",
    ),
    (user({"type": "redacted_thinking"}), "messages[0].content[0].data", REQUIRED),
]


@pytest.mark.parametrize(("changed", "param", "complaint"), FAULTS, ids=range(len(FAULTS)))
def test_a_fault_is_named_by_its_path(changed: dict[str, Any], param: str, complaint: str) -> None:
    assert fault({**HELLO, **changed}) == (param, f"{param}: {complaint}.")


@pytest.mark.parametrize("name", ["model", "messages"])
def test_a_required_field_is_missed(name: str) -> None:
    body = {key: value for key, value in HELLO.items() if key != name}

    assert fault(body) == (name, f"{name}: this field is required.")


@pytest.mark.parametrize("spelt", ["1e3", "1.0", "1e999", "9" * 5000, "-0.5", "123456789012345678901234567890e-30"])
def test_max_tokens_is_a_whole_number_as_json_writes_it(spelt: str) -> None:
    body = json.dumps(HELLO)[:-1] + f', "max_tokens": {spelt}}}'

    assert fault(body.encode())[0] == "max_tokens"


def test_lists_are_bounded_all_together_or_each() -> None:
    message = HELLO["messages"][0]

    assert fault({**HELLO, "messages": [message] * 4}, max_messages=3) == (
        "messages",
        "messages: at most 3 entries, got 4.",
    )
    assert fault({**HELLO, **user(*[TEXT] * 4)}, max_messages=3) == (
        "messages[0].content[3]",
        "messages[0].content[3]: at most 3 content blocks in a request.",
    )
    result = {"type": "tool_result", "tool_use_id": "x", "content": [TEXT, TEXT]}
    assert fault({**HELLO, **user(result, TEXT)}, max_messages=3)[0] == "messages[0].content[1]"
    assert fault({**HELLO, "tools": [{"type": "x"}] * 4}, max_messages=3)[0] == "tools"
    assert fault({**HELLO, "stop_sequences": ["x"] * 4}, max_messages=3)[0] == "stop_sequences"
    assert fault({**HELLO, **{f"field_{i}": 1 for i in range(MAX_FIELDS)}}) == (
        None,
        "The body has more than 1000 fields.",
    )
    keys = {f"provider{i}": "x" for i in range(MAX_FIELDS + 1)}
    assert fault({**HELLO, "provider_keys": keys})[0] == "provider_keys"


def test_a_key_in_the_place_of_a_provider_name_is_not_repeated() -> None:
    key = "sk-ant-api03-" + "q" * 40

    param, message = fault({**HELLO, "provider_keys": {key: 5}})

    assert (param, message) == ("provider_keys", "provider_keys: expected a string, got a number.")


def test_nesting_is_bounded() -> None:
    def nested(levels: int) -> bytes:
        return json.dumps(HELLO)[:-1].encode() + b', "x": ' + b"[" * levels + b"]" * levels + b"}"

    assert read_request(nested(99)).model == "sandbox/chat"
    assert fault(nested(100)) == (None, "The body is nested deeper than 100 levels.")
    assert fault(nested(100_000))[1] == "The body is nested too deeply."


nests = st.recursive(
    st.sampled_from(['"[{"', '"\\"]"', "[]", "{}", "1", '""', '"\\\\"']),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda items: f"[{','.join(items)}]")
        | inner.map(lambda item: f'{{"a]": {item}}}')
        | inner.map(lambda item: "[" * 15 + item + "]" * 15)
    ),
    max_leaves=8,
)


@given(nests, st.integers(1, 60))
def test_nesting_is_counted_as_a_parser_counts_it(nest: str, limit: int) -> None:
    def depth(value: Any) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    body = f'{json.dumps(HELLO)[:-1]}, "x": {nest}}}'

    if depth(json.loads(body)) <= limit:
        assert read_request(body.encode(), max_nesting=limit).model == "sandbox/chat"
    else:
        assert fault(body.encode(), max_nesting=limit) == (None, f"The body is nested deeper than {limit} levels.")


def test_tool_results_inside_tool_results_are_looked_into_to_the_limit_of_nesting() -> None:
    inner: Any = "deep"
    for _ in range(45):
        inner = [{"type": "tool_result", "tool_use_id": "x", "content": inner}]
    wrong: Any = [{"type": "image"}]
    for _ in range(45):
        wrong = [{"type": "tool_result", "tool_use_id": "x", "content": wrong}]

    assert read(**user(*inner)).blocks == {"tool_result": "messages[0].content[0]"}
    assert fault({**HELLO, **user(*wrong)})[0] == "messages[0].content[0]" + ".content[0]" * 45 + ".source"


@pytest.mark.parametrize(
    "changed",
    [
        # Null means that nothing was said.
        dict.fromkeys(
            [
                *("max_tokens", "system", "temperature", "top_p", "top_k", "stop_sequences", "tools", "tool_choice"),
                *("thinking", "stream", "metadata", "output", "output_format", "output_config", "voice", "extensions"),
                *("provider_keys", "fallbacks"),
            ]
        ),
        # What nobody here has heard of
        {
            "mcp_servers": [{"type": "url"}],
            "container": "c1",
            "service_tier": 5,
            "": None,
            "\u00e9\U0001f600": "\u0000",
        },
        user({"type": "holographic", "text": 5, "source": None}),
        user({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}),
        user(
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"type": "web_search_result"}]}
        ),
        user({"type": "code_execution_tool_result", "content": {"type": "code_execution_result"}}),
        user({"type": "container_upload", "file_id": "file_1"}),
        # Roles and content
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": ""}]},
        {"messages": [{"role": "assistant", "content": []}]},
        {"messages": [{"role": "user", "content": "x", "name": "Ada", "cache_control": None}]},
        {"system": ""},
        {"system": []},
        {"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
        # Sources, of types known and not
        user({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}),
        user(IMAGE),
        user({"type": "image", "source": {"type": "file", "file_id": "file_1"}}),
        user({"type": "document", "source": {"type": "content", "content": [TEXT]}, "citations": {"enabled": True}}),
        user({"type": "audio", "source": {"type": "base64", "media_type": "audio/wav", "data": ""}}),
        # Tools and their results
        user({"type": "tool_result", "tool_use_id": "x"}),
        user({"type": "tool_result", "tool_use_id": "x", "content": None, "is_error": None}),
        user({"type": "tool_result", "tool_use_id": "x", "content": "72 F"}),
        user({"type": "tool_result", "tool_use_id": "x", "content": [TEXT, IMAGE, {"type": "new"}]}),
        user({"type": "tool_use", "id": "x", "name": "x", "input": {}, "caller": {"type": "direct"}}),
        user({"type": "thinking", "thinking": "", "signature": ""}, {"type": "redacted_thinking", "data": ""}),
        {"tools": []},
        {
            "tools": [
                {"name": "x", "input_schema": {}},
                {"type": "custom", "name": "y", "input_schema": {"type": "object"}},
            ]
        },
        {"tools": [{"type": "function", "name": "x", "input_schema": {}}]},
        {"tools": [{"type": None, "name": "x", "input_schema": {}, "description": None}]},
        {
            "tools": [
                {"type": "web_search_20250305", "name": "web_search"},
                {"type": "web_search"},
                {"type": "mcp_toolset"},
            ]
        },
        {"tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
        {"stop_sequences": []},
        {"max_tokens": 0},
        {"temperature": 17, "top_p": -1.5, "top_k": 0},
        {"fallbacks": []},
        {"fallbacks": "default"},
        {"fallbacks": [{"model": "claude-haiku-4-5"}]},
        {"provider_keys": {}},
    ],
    ids=itertools.count(),
)
def test_what_is_odd_but_legal_is_read(changed: dict[str, Any]) -> None:
    request = read(**changed)

    kept = {name: json.loads(bytes(raw)) for name, raw in request.fields.items()}
    assert kept == {name: value for name, value in {**HELLO, **changed}.items() if name != "provider_keys"}


def test_values_are_read_for_what_the_gateway_needs() -> None:
    keys = {"Anthropic": "sk-1", "GROQ": "gsk-2"}
    request = read(stream=True, max_tokens=7, fallbacks=["a/b", "c/d"], provider_keys=keys, **user(TEXT, IMAGE, TEXT))

    assert (request.model, request.stream, request.max_tokens) == ("sandbox/chat", True, 7)
    assert request.fallbacks == ("a/b", "c/d")
    assert {name: secret.get_secret_value() for name, secret in request.provider_keys.items()} == {
        "anthropic": "sk-1",
        "groq": "gsk-2",
    }
    assert request.blocks == {"text": "messages[0].content[0]", "image": "messages[0].content[1]"}
    assert "provider_keys" not in request.fields


@pytest.mark.parametrize("spelt", ["provider_keys", r"provider\u005fkeys", r"\u0070rovider_keys"])
def test_keys_stay_out_of_the_body_however_the_field_is_spelt(spelt: str) -> None:
    body = json.dumps(HELLO)[:-1].encode() + b', "%s": {"anthropic": "sk-planted"}}' % spelt.encode()

    request = read_request(body)

    assert request.provider_keys["anthropic"].get_secret_value() == "sk-planted"
    assert b"sk-planted" not in request.body + b"".join(bytes(raw) for raw in request.fields.values())
    assert "sk-planted" not in repr(request)


@pytest.mark.parametrize(
    ("body", "stream", "tokens"),
    [
        (b'{"model":"a/b","messages":[{"role":"user","content":"x"}],"stream":true,"stream":false}', False, None),
        (b'{"model":"a/b","messages":[],"messages":[{"role":"user","content":"x"}],"stream": true}', True, None),
        (b'{"model":5,"model":"a/b","messages":[{"role":5,"role":"user","content":"x"}],"max_tokens":3}', False, 3),
    ],
)
def test_of_a_repeated_field_the_last_one_counts(body: bytes, stream: bool, tokens: int | None) -> None:
    request = read_request(body)

    assert (request.model, request.stream, request.max_tokens) == ("a/b", stream, tokens)


def test_white_space_around_values_does_not_matter() -> None:
    body = b' \n{ "model" :\t"a/b" , "messages" : [ { "role" : "user" , "content" : "x" } ] , "stream" : true }\r\n'

    request = read_request(body)

    assert (request.model, request.stream) == ("a/b", True)


# Any JSON value, in any place of a request that has everything
FULL: dict[str, Any] = {
    **HELLO,
    "max_tokens": 5,
    "system": [TEXT],
    "temperature": 0.5,
    "stop_sequences": ["x"],
    "tools": [{"name": "x", "description": "y", "input_schema": {"type": "object"}}, {"type": "web_search"}],
    "tool_choice": {"type": "tool", "name": "x"},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "stream": False,
    "metadata": {"user_id": "u"},
    "output": {"modalities": ["text"]},
    "extensions": {"anthropic": {"x": 1}},
    "provider_keys": {"anthropic": "sk"},
    "fallbacks": ["a/b"],
    "messages": [
        {"role": "user", "content": [TEXT, IMAGE]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "x", "input": {}}]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t", "content": [TEXT], "is_error": False}],
        },
    ],
}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every node of a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Return the value with another one at a path; `...` takes the node away."""
    if not path:
        return new
    key, *rest = path
    if isinstance(value, dict):
        if new is ... and not rest:
            return {name: item for name, item in value.items() if name != key}
        return {name: replaced(item, tuple(rest), new) if name == key else item for name, item in value.items()}
    if new is ... and not rest:
        return [item for index, item in enumerate(value) if index != key]
    return [replaced(item, tuple(rest), new) if index == key else item for index, item in enumerate(value)]


def written(path: tuple[Any, ...]) -> str:
    """Write a path as errors do."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")


@given(st.sampled_from(places(FULL)[1:]), anything | st.just(...))
def test_whatever_stands_anywhere_is_read_or_refused_at_its_place(path: tuple[Any, ...], new: Any) -> None:
    body = json.dumps(replaced(FULL, path, new)).encode()

    try:
        read_request(body)
    except InvalidRequestError as error:
        assert error.status == 400
        assert error.param is not None
        assert error.message.startswith(error.param + ":")
        # At the place that was changed, inside what was put there, or beside it, where it made a field's meaning another.
        assert error.param.startswith((written(path), written(path[:-1])))


@given(st.binary(max_size=60), st.integers(0, 400), st.integers(0, 60))
def test_a_body_with_a_hole_or_noise_in_it_is_read_or_refused(noise: bytes, at: int, gone: int) -> None:
    whole = json.dumps(FULL).encode()

    try:
        read_request(whole[:at] + noise + whole[at + gone :])
    except InvalidRequestError as error:
        assert error.status == 400


TWICE = [
    b'"type":"audio"',
    b'"type":5',
    b'"type":"text"',
    b'"text":"y"',
    b'"text":null',
    b'"content":[]',
    b'"role":"tool"',
    b'"name":5',
]


def outcome(body: bytes) -> Any:
    """Return everything that reading a body gives."""
    try:
        request = read_request(body)
    except InvalidRequestError as error:
        return error.param, error.message
    return (
        {name: bytes(raw) for name, raw in request.fields.items()},
        request.blocks,
        request.fallbacks,
        request.max_tokens,
    )


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(places(FULL)[1:]), anything | st.just(...), st.sampled_from(TWICE), st.integers(0, 40))
def test_the_quick_look_at_ordinary_messages_sees_what_the_tables_see(
    path: tuple[Any, ...], new: Any, twice: bytes, at: int
) -> None:
    body = json.dumps(replaced(FULL, path, new)).encode()
    # Of a field that is written twice, both have to take the same one.
    head, brace, tail = (b"}".join(body.split(b"}")[:at]), b"}" if at else b"", b"}".join(body.split(b"}")[at:]))
    doubled = head + b"," + twice + brace + tail if at else body

    for given_body in (body, doubled):
        quick = outcome(given_body)
        with pytest.MonkeyPatch.context() as patched:
            for name in ("decode_messages", "decode_tools"):
                patched.setattr(shapes, name, unfit)
            thorough = outcome(given_body)

        assert quick == thorough


def unfit(raw: Any) -> Any:
    raise msgspec.ValidationError("nothing is ordinary")
