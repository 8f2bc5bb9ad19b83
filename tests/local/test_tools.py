"""The models' tool calls."""

from typing import Any

import pytest
from hypothesis import given, settings

from tests.local.asking import request, text, tool_calls, whole
from tests.local.test_schema import objects, scalars, texts
from tests.local.validator import is_valid


def tool(name: str, description: str = "", **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"name": name, "description": description, "input_schema": schema}


WEATHER = tool("get_weather", "The weather in a city", location={"type": "string"})
TIME = tool("get_time", "The time in a timezone", timezone={"type": "string"})
EMAIL = tool("send_email", to={"type": "string", "format": "email"}, subject={"type": "string"})
TOOLS = [WEATHER, TIME, EMAIL]


def test_the_tool_that_fits_the_words_is_called_with_what_they_say():
    reply = whole(request("tools", "What is the weather in Paris, France?", tools=TOOLS))

    assert [block["type"] for block in reply["content"]] == ["text", "tool_use"]
    assert reply["content"][1]["id"].startswith("toolu_")
    assert (reply["content"][1]["name"], reply["content"][1]["input"]) == ("get_weather", {"location": "Paris, France"})
    assert reply["stop_reason"] == "tool_use"


def test_several_that_fit_are_called_side_by_side():
    asked = "What is the weather in New York, and what time is it in Tokyo?"

    assert tool_calls(request("tools", asked, tools=TOOLS)) == [
        ("get_weather", {"location": "New York"}),
        ("get_time", {"timezone": "Tokyo"}),
    ]
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    assert [name for name, _ in tool_calls(request("tools", asked, tools=TOOLS, tool_choice=choice))] == ["get_weather"]


def test_calls_of_one_turn_have_ids_of_their_own():
    reply = whole(request("tools", "weather and time", tools=TOOLS))

    identities = [block["id"] for block in reply["content"] if block["type"] == "tool_use"]
    assert len(set(identities)) == len(identities) == 2


@pytest.mark.parametrize("model", ["tools", "chat", "echo", "slow", "think"])
def test_every_model_obeys_a_forced_choice(model: str):
    forced = {"type": "tool", "name": "send_email"}
    given_any = {"type": "any"}

    assert tool_calls(request(model, 'Tell ada@example.org "Hi"', tools=TOOLS, tool_choice=forced)) == [
        ("send_email", {"to": "ada@example.org", "subject": "Hi"})
    ]
    assert [name for name, _ in tool_calls(request(model, "the time?", tools=TOOLS, tool_choice=given_any))] == [
        "get_time"
    ]


def test_only_an_eager_model_calls_unasked():
    assert tool_calls(request("chat", "weather in Paris", tools=TOOLS)) == []
    assert tool_calls(request("tools", "weather in Paris", tools=TOOLS, tool_choice={"type": "none"})) == []
    assert "no tools" in text(request("tools", "weather in Paris"))


def test_results_are_told():
    calls = [
        {"type": "tool_use", "id": f"toolu_{name}", "name": name, "input": {}} for name in ("get_weather", "get_time")
    ]
    results = [
        {
            "type": "tool_result",
            "tool_use_id": "toolu_get_weather",
            "content": [{"type": "text", "text": "18 degrees"}],
        },
        {"type": "tool_result", "tool_use_id": "toolu_get_time", "content": "no such zone", "is_error": True},
    ]
    messages = [
        {"role": "user", "content": "Weather and time?"},
        {"role": "assistant", "content": calls},
        {"role": "user", "content": results},
    ]

    for model in ("tools", "chat", "echo"):
        reply = whole(request(model, tools=TOOLS, messages=messages))
        assert reply["content"] == [
            {"type": "text", "text": "get_weather says: 18 degrees\nget_time failed: no such zone"}
        ]
        assert reply["stop_reason"] == "end_turn"


@given(objects(scalars), texts)
@settings(max_examples=60, deadline=None)
def test_arguments_satisfy_the_schema(schema: dict[str, Any], said: str):
    tools = [{"name": "form", "input_schema": schema}]

    ((name, arguments),) = tool_calls(
        request("tools", said.strip() or "-", tools=tools, tool_choice={"type": "any"}, max_tokens=10_000)
    )

    assert name == "form"
    assert is_valid(arguments, schema)


def test_an_unsatisfiable_schema_still_gets_a_call():
    tools = [{"name": "form", "input_schema": {"type": "object", "required": ["a"], "properties": {"a": False}}}]

    assert tool_calls(request("tools", tools=tools)) == [("form", {})]


def test_tools_that_run_at_anthropic_are_left_alone():
    search = {"type": "web_search_20250305", "name": "web_search"}

    assert tool_calls(request("tools", "web search", tools=[search])) == []
    assert tool_calls(request("tools", "web search", tools=[search, TIME])) == [
        ("get_time", {"timezone": "web search"})
    ]
