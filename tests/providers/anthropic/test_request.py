"""Requests on their way to Anthropic: what stays byte for byte, what is Vango's and leaves, and what is written anew."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from tests.support.targets import CATALOG, request, target
from vango.errors import InvalidRequestError
from vango.providers.anthropic import AnthropicCodec
from vango.providers.base import Encoded, Loss, Target
from vango.types.call import Credential
from vango.types.messages import read_request
from vango.wire.call import BaseUrl

CODEC = AnthropicCodec()
HEAD = b'{"model":"anthropic/claude-sonnet-4-5","max_tokens":64,"messages":[{"role":"user","content":"hi"}]'
NAMED = HEAD.replace(b"anthropic/", b"")


def body(encoded: Encoded) -> Any:
    return json.loads(encoded.call.body)


def sent(about: Target | None = None, **fields: Any) -> Any:
    """Return the body that a request becomes."""
    return body(CODEC.encode(request(**fields), about or target()))


def headers(about: Target | None = None, **fields: Any) -> dict[str, str]:
    pairs = CODEC.encode(request(**fields), about or target()).call.headers
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def refusal(about: Target | None = None, *, count: bool = False, **fields: Any) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        (CODEC.encode_count if count else CODEC.encode)(request(**fields), about or target())
    assert caught.value.status == 400
    return caught.value


# What stays


@pytest.mark.parametrize(
    "rest",
    [
        b"",
        b' , "x" : [ 1.50 , 1e999 , -0.0 , 123456789012345678901234567890 ] ',
        b',"system":[{"type":"text","text":"\\u00e9\xc3\xa9 \\/","cache_control":{"type":"ephemeral"}}],"top_k":40',
        b',"tools":[{"name":"a","input_schema":{"b": 1, "a": 2}},{"type":"bash_20250124","name":"bash"}]',
        b',"tools":[{"type":"web_search_20250305","name":"web_search","max_uses":5,"user_location":null}]',
        b',"metadata":{"user_id":"u"},"tool_choice":{"type":"auto","disable_parallel_tool_use":true}',
        b',"thinking":{"type":"enabled","budget_tokens":1024},"stream":true,"service_tier":"auto","context_management":{}',
        b',"output_config":{"format":{"type":"json_schema","schema":{}},"effort":"low"}',
        b',"output_format":{"type":"json_schema","schema":{"type":"object"}}',
        b',"mcp_servers":[{"type":"url","url":"https://example.com"}],"container":"c","metadata":null,"tools":null',
    ],
)
def test_a_request_that_needs_no_change_is_the_callers_bytes_with_the_models_own_name(rest: bytes) -> None:
    encoded = CODEC.encode(read_request(HEAD + rest + b"}"), target())

    assert encoded.call.body == NAMED + rest + b"}"
    assert encoded.losses == ()


def test_white_space_is_kept_too() -> None:
    spaced = b"""
 {	"max_tokens" : 64 ,
  "model" : "anthropic/claude-sonnet-4-5",
  "messages" : [ { "content" : "hi", "role" : "user" } ]
}
"""

    encoded = CODEC.encode(read_request(spaced), target())

    assert encoded.call.body.strip() == spaced.replace(b"anthropic/", b"").strip()


@pytest.mark.parametrize(
    "given_body",
    [
        b'{"model":"claude-opus-4-6","model":"anthropic/claude-sonnet-4-5","messages":[{"role":"user","content":"x"}]}',
        b'{"mod\\u0065l":"claude-opus-4-6","model":"anthropic/claude-sonnet-4-5","messages":[{"role":"user","content":"x"}]}',
        b'{"model":"anthropic/claude-sonnet-4-5","messages":[{"role":"user","content":"x"}],"mod\\u0065l":"claude-haiku-4-5"}',
    ],
)
def test_a_second_model_is_not_smuggled_past_the_one_that_was_checked(given_body: bytes) -> None:
    encoded = CODEC.encode(read_request(given_body), target())

    assert encoded.call.body.count(b'l":"claude') == 1
    assert body(encoded)["model"] == "claude-sonnet-4-5"


def test_values_keep_their_bytes_where_the_body_is_written_anew() -> None:
    rest = b',"temperature":0.70,"system":"\\u00e9","x":{ "b":1,"a":2 },"fallbacks":["a/b"]'

    encoded = CODEC.encode(read_request(HEAD + rest + b"}"), target())

    assert encoded.call.body == NAMED + b',"temperature":0.70,"system":"\\u00e9","x":{ "b":1,"a":2 }}'


names = st.text(min_size=1, max_size=6).filter(lambda name: name not in {"model", "max_tokens", "messages"})


@given(
    st.dictionaries(
        st.from_regex(r"x_[a-z]{1,5}", fullmatch=True),
        st.from_type(type(None)) | st.floats(allow_nan=False, allow_infinity=False) | names,
    )
)
def test_unknown_fields_arrive_as_they_were(fields: dict[str, Any]) -> None:
    assert sent(**fields) == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 64,
        "messages": [{"role": "user", "content": "hi"}],
        **fields,
    }


# What is Vango's own


def test_vangos_fields_never_leave() -> None:
    encoded = CODEC.encode(
        request(
            provider_keys={"anthropic": "sk-ant-other"},
            fallbacks=["a/b"],
            voice={"output": {}},
            output={"modalities": ["text"], "image": {"size": "1x1"}},
            extensions={"openai": {"store": False}, "anthropic": None},
        ),
        target(),
    )

    assert set(body(encoded)) == {"model", "max_tokens", "messages"}
    assert b"sk-ant-other" not in encoded.call.body


def test_an_extension_is_merged_into_the_body_over_what_is_there() -> None:
    fields = sent(
        top_k=5, extensions={"anthropic": {"top_k": 7, "inference_geo": "us", "max_tokens": 9}, "groq": {"x": 1}}
    )

    assert fields == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}],
        "top_k": 7,
        "inference_geo": "us",
    }


def test_an_extension_may_give_what_the_request_leaves_to_the_defaults() -> None:
    about = target(default_max_tokens=100, default_temperature=0.1)
    fields = sent(about, max_tokens=..., extensions={"anthropic": {"max_tokens": 9, "temperature": 1}})

    assert (fields["max_tokens"], fields["temperature"]) == (9, 1)


def test_an_extension_is_for_its_provider_by_the_name_it_has_here() -> None:
    about = target(provider="mine", key=None)

    assert sent(about, extensions={"mine": {"x": 1}, "anthropic": {"y": 2}}).keys() == {
        "model",
        "max_tokens",
        "messages",
        "x",
    }


@pytest.mark.parametrize("count", [False, True])
@pytest.mark.parametrize(
    ("extension", "param"),
    [
        ({"model": "claude-opus-4-6"}, "extensions.anthropic.model"),
        ({"stream": True}, "extensions.anthropic.stream"),
        ("x", "extensions.anthropic"),
        ([], "extensions.anthropic"),
    ],
)
def test_an_extension_cannot_change_what_was_decided_on_the_request(extension: Any, param: str, count: bool) -> None:
    assert refusal(count=count, extensions={"anthropic": extension}).param == param


def test_metadata_keeps_the_user_and_reports_the_rest() -> None:
    encoded = CODEC.encode(request(metadata={"team": "x", "user_id": "u", "trace": {}}), target())

    assert body(encoded)["metadata"] == {"user_id": "u"}
    assert [(loss.path, loss.action) for loss in encoded.losses] == [
        ("metadata.team", "dropped"),
        ("metadata.trace", "dropped"),
    ]
    assert isinstance(encoded.losses[0], Loss)
    assert "metadata" not in sent(metadata={"team": "x"})


def test_losses_of_one_field_are_bounded() -> None:
    encoded = CODEC.encode(request(metadata={f"{index}{'x' * 500}": 1 for index in range(500)}), target())

    assert len(encoded.losses) == 20
    assert max(len(loss.path) for loss in encoded.losses) < 50


# Structured output

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def test_output_format_moves_to_where_anthropic_has_it() -> None:
    fields = sent(output_format={"type": "json_schema", "json_schema": SCHEMA})

    assert fields["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}
    assert "output_format" not in fields


@pytest.mark.parametrize("first", ["output_format", "output_config"])
def test_output_format_joins_the_settings_beside_it_in_either_order(first: str) -> None:
    both: dict[str, Any] = {
        "output_format": {"type": "json_schema", "json_schema": SCHEMA},
        "output_config": {"effort": "low"},
    }
    fields = sent(**{first: both.pop(first), **both})

    assert fields["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}, "effort": "low"}
    assert "output_format" not in fields


def test_output_config_null_is_none_at_all() -> None:
    fields = sent(output_config=None, output_format={"type": "json_schema", "json_schema": SCHEMA})

    assert fields["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}


# Tools

TOOL = {"name": "x", "description": "y", "input_schema": {"type": "object"}}


@pytest.mark.parametrize(
    ("tool", "written"),
    [
        ({"type": "function", **TOOL}, {"type": "custom", **TOOL}),
        ({**TOOL, "vango": {"side_effects": True}}, TOOL),
        (
            {"type": "function", **TOOL, "vango": None, "cache_control": None},
            {"type": "custom", **TOOL, "cache_control": None},
        ),
        ({"type": "bash_20250124", "name": "bash", "vango": {}}, {"type": "bash_20250124", "name": "bash"}),
        (TOOL, TOOL),
    ],
)
def test_function_tools_are_anthropics_without_vangos_field(tool: dict[str, Any], written: dict[str, Any]) -> None:
    kept = {"type": "web_search_20250305", "name": "web_search"}

    assert sent(tools=[kept, tool])["tools"] == [kept, written]


NATIVE = [
    ("web_search", "claude-sonnet-4-5", "web_search_20250305", "web_search", None),
    ("web_search", "claude-opus-4-6", "web_search_20260209", "web_search", None),
    ("web_fetch", "claude-sonnet-4-5", "web_fetch_20250910", "web_fetch", "web-fetch-2025-09-10"),
    ("web_fetch", "claude-sonnet-5", "web_fetch_20260209", "web_fetch", None),
    ("code_execution", "claude-haiku-4-5", "code_execution_20250825", "code_execution", "code-execution-2025-08-25"),
    ("code_execution", "claude-fable-5", "code_execution_20260120", "code_execution", None),
    ("computer_use", "claude-sonnet-4-5", "computer_20250124", "computer", "computer-use-2025-01-24"),
    ("computer_use", "claude-opus-4-7", "computer_20251124", "computer", "computer-use-2025-11-24"),
    ("text_editor", "claude-sonnet-4-5", "text_editor_20250728", "str_replace_based_edit_tool", None),
    ("text_editor", "claude-opus-5", "text_editor_20250728", "str_replace_based_edit_tool", None),
]


@pytest.mark.parametrize(("kind", "model", "dated", "name", "beta"), NATIVE)
def test_portable_tools_become_the_dated_ones_of_the_model(
    kind: str, model: str, dated: str, name: str, beta: str | None
) -> None:
    about = target(model)
    asked = request(
        tools=[{"type": kind, "config": {"max_uses": 3}, "cache_control": {"type": "ephemeral"}, "vango": {}}]
    )
    encoded = CODEC.encode(asked, about)

    assert body(encoded)["tools"] == [
        {"type": dated, "name": name, "max_uses": 3, "cache_control": {"type": "ephemeral"}}
    ]
    assert dict(encoded.call.headers).get("anthropic-beta") == beta


def test_the_config_of_a_tool_may_pin_its_version() -> None:
    tools = [{"type": "web_search", "name": "mine", "config": {"type": "web_search_20260209"}}]

    assert sent(tools=tools)["tools"] == [{"type": "web_search_20260209", "name": "web_search"}]


@pytest.mark.parametrize("count", [False, True])
@pytest.mark.parametrize(
    ("tools", "param", "code"),
    [
        ([TOOL, {"type": "file_search"}], "tools[1].type", "unsupported_tool"),
        ([{"type": "web_search", "config": "x"}], "tools[0].config", None),
        ([{"type": "web_search", "config": []}], "tools[0].config", None),
    ],
)
def test_a_tool_that_anthropic_lacks_is_refused_by_its_place(
    tools: list[Any], param: str, code: str | None, count: bool
) -> None:
    error = refusal(count=count, tools=tools)

    assert (error.param, error.code) == (param, code)


def test_nulls_in_a_tool_mean_nothing() -> None:
    assert sent(tools=[{"type": "web_search", "config": None}])["tools"] == [
        {"type": "web_search_20250305", "name": "web_search"}
    ]


# What Anthropic cannot take


@pytest.mark.parametrize("count", [False, True])
@pytest.mark.parametrize("kind", ["audio", "video"])
def test_sound_and_film_are_refused_at_the_first_block(kind: str, count: bool) -> None:
    block = {"type": kind, "source": {"type": "url", "url": "https://example.com"}}
    nested = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "x"}, block]}

    error = refusal(
        count=count, messages=[{"role": "user", "content": "x"}, {"role": "user", "content": [nested, block]}]
    )

    assert (error.param, error.code) == ("messages[1].content[0].content[1]", "unsupported_block")


@pytest.mark.parametrize(("modalities", "at"), [(["text", "image"], 1), (["audio"], 0), ([5], 0)])
def test_it_writes_text_only(modalities: list[Any], at: int) -> None:
    error = refusal(output={"modalities": modalities})

    assert (error.param, error.code) == (f"output.modalities[{at}]", "unsupported_modality")


@pytest.mark.parametrize("output", [None, {}, {"modalities": None}, {"modalities": ["text"]}, {"modalities": []}])
def test_text_is_what_it_writes_anyway(output: Any) -> None:
    assert "output" not in sent(output=output)


# Defaults


@pytest.mark.parametrize("given_value", [..., None])
@pytest.mark.parametrize(
    ("model", "default", "expected"),
    [
        ("claude-sonnet-4-5", 4096, 4096),
        ("claude-3-haiku-20240307", 100_000, 4096),
        ("claude-opus-4-1", 100_000, 32_000),
        ("claude-unheard-of-9", 100_000, 100_000),
    ],
)
def test_max_tokens_is_the_default_within_the_models_limit(
    model: str, default: int, expected: int, given_value: Any
) -> None:
    fields = sent(target(model, default_max_tokens=default), max_tokens=given_value)

    assert fields["max_tokens"] == expected


def test_max_tokens_of_the_request_is_not_judged() -> None:
    assert sent(target("claude-3-haiku-20240307"), max_tokens=999_999)["max_tokens"] == 999_999
    assert sent(max_tokens=0)["max_tokens"] == 0


@pytest.mark.parametrize(
    ("model", "given_value", "expected"),
    [
        ("claude-sonnet-4-5", ..., 0.3),
        ("claude-sonnet-4-5", None, 0.3),
        ("claude-sonnet-4-5", 0, 0),
        ("claude-unheard-of-9", ..., 0.3),
        ("claude-opus-4-7", ..., "absent"),
        ("claude-opus-4-7", 1, 1),
    ],
)
def test_a_default_temperature_goes_where_the_model_takes_one(model: str, given_value: Any, expected: Any) -> None:
    fields = sent(target(model, default_temperature=0.3), temperature=given_value)

    assert fields.get("temperature", "absent") == expected
    assert "temperature" not in sent(target(model))


# Headers


def test_the_headers_of_a_call() -> None:
    assert headers() == {
        "content-type": "application/json",
        "accept": "application/json",
        "anthropic-version": "2023-06-01",
        "x-api-key": "sk-ant-planted-key",
    }
    assert headers(stream=True)["accept"] == "text/event-stream"


def test_the_callers_version_and_betas_go_along_once_each() -> None:
    given_headers = {"anthropic-version": "2024-10-22", "anthropic-beta": "one, web-fetch-2025-09-10,one"}
    tools = [{"type": "web_fetch"}, {"type": "web_fetch"}, {"type": "code_execution"}]
    about = target(headers={"anthropic-beta": SecretStr("operators,one")})

    found = headers(about, headers=given_headers, tools=tools)

    assert found["anthropic-version"] == "2024-10-22"
    assert found["anthropic-beta"] == "one,web-fetch-2025-09-10,code-execution-2025-08-25,operators"


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (Credential(SecretStr("sk-ant-api")), {"x-api-key": "sk-ant-api"}),
        (Credential(SecretStr("sk-ant-api"), bearer=True), {"authorization": "Bearer sk-ant-api"}),
        (Credential(SecretStr("sk-ant-oat01-token")), {"authorization": "Bearer sk-ant-oat01-token"}),
        (None, {}),
    ],
)
def test_a_key_goes_as_anthropic_wants_it(key: Credential | None, expected: dict[str, str]) -> None:
    found = headers(target(key=key))

    assert {name: found[name] for name in ("x-api-key", "authorization") if name in found} == expected


def test_the_operators_headers_go_along_but_do_not_take_the_keys_place() -> None:
    about = target(
        headers={
            "x-team": SecretStr("t"),
            "x-api-key": SecretStr("operators"),
            "anthropic-version": SecretStr("2030-01-01"),
        }
    )

    found = headers(about)

    assert (found["x-team"], found["x-api-key"], found["anthropic-version"]) == (
        "t",
        "sk-ant-planted-key",
        "2030-01-01",
    )


def test_a_call_shows_neither_its_key_nor_its_body() -> None:
    shown = repr(CODEC.encode(request(system="a secret plan"), target()))

    assert "planted" not in shown
    assert "secret plan" not in shown


@pytest.mark.parametrize("url", ["https://proxy.example.com", "https://proxy.example.com/anthropic/"])
def test_the_path_follows_the_base_url(url: str) -> None:
    base = BaseUrl.parse(url)
    encoded = CODEC.encode(request(), target(base=base))
    counted = CODEC.encode_count(request(), target(base=base))

    assert encoded.call.target == base.prefix + "/v1/messages"
    assert counted.call.target == base.prefix + "/v1/messages/count_tokens"
    assert (encoded.call.method, encoded.call.origin) == ("POST", base.origin)


# Counting


def test_a_count_leaves_out_what_that_route_refuses() -> None:
    about = target(default_temperature=0.5)
    asked = request(
        stream=True,
        temperature=0.5,
        top_p=0.9,
        top_k=4,
        stop_sequences=["x"],
        metadata={"user_id": "u"},
        service_tier="auto",
        container="c",
        system="s",
        tools=[{"type": "web_search"}],
        thinking={"type": "disabled"},
        tool_choice={"type": "auto"},
        extensions={"anthropic": {"max_tokens": 5, "x": 1}},
        output_format={"type": "json_schema", "json_schema": SCHEMA},
    )
    counted = CODEC.encode_count(asked, about)

    assert body(counted) == {
        "model": "claude-sonnet-4-5",
        "messages": [{"role": "user", "content": "hi"}],
        "system": "s",
        "tools": [{"type": "web_search_20250305", "name": "web_search"}],
        "thinking": {"type": "disabled"},
        "tool_choice": {"type": "auto"},
        "x": 1,
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
    }
    assert dict(counted.call.headers)["accept"] == "application/json"


def test_a_model_that_the_catalogue_knows_by_a_nickname_is_sent_by_its_id() -> None:
    about = target(CATALOG.wire_id("anthropic", "claude-sonnet-4"))

    assert sent(about)["model"] == "claude-sonnet-4-20250514"
