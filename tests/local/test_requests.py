"""What the sandbox refuses, in words like Anthropic's."""

from typing import Any

import pytest

from tests.local.asking import refusal, request, whole

TOOL = {"name": "look", "input_schema": {"type": "object"}}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "seen"}


def talk(*turns: Any, **fields: Any) -> dict[str, Any]:
    """A request whose messages are said in turn, the user first."""
    messages = [{"role": ("user", "assistant")[index % 2], "content": content} for index, content in enumerate(turns)]
    return request("echo", **{**fields, "messages": messages})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "The request body is not valid JSON."),
        (b"\xff", "The request body is not valid JSON."),
        (b'{"a":' + b"[" * 5000, "The request body is not valid JSON."),
        (b"[]", "Input is not valid: expected object, got array"),
        ({"model": "echo", "max_tokens": 1}, "messages: Field required"),
        ({"model": "echo", "messages": [{"role": "user", "content": "x"}]}, "max_tokens: Field required"),
        (request("echo", max_tokens=0), "max_tokens: Input should be greater than or equal to 1"),
        (request("echo", max_tokens="9"), "max_tokens: Input is not valid: expected int | null, got str"),
        (
            request("echo", max_tokens=10**30),
            f"max_tokens: {10**30} > 64000, which is the maximum allowed number of output tokens for echo",
        ),
        (request("echo", messages=[]), "messages: at least one message is required"),
        (request("echo", messages=[{"role": "user"}]), "messages.0.content: Field required"),
        (
            request("echo", messages=[{"role": "robot", "content": "x"}]),
            "messages.0.role: Input should be 'user' or 'assistant'",
        ),
        (request("echo", [{"text": "x"}]), "messages.0.content.0.type: Field required"),
        (request("echo", [{"type": "text", "text": ""}]), "messages: text content blocks must be non-empty"),
        (
            request("echo", ""),
            "messages.0: all messages must have non-empty content except for the optional final assistant message",
        ),
        (
            request("echo", [{"type": "video", "source": {}}]),
            "messages.0.content.0: Input tag 'video' found using 'type' does not match any of the expected tags",
        ),
        (request("echo", [{"type": "image"}]), "messages.0.content.0.image.source: Field required"),
        (talk("Hi", "I say "), "messages: final assistant content cannot end with trailing whitespace"),
        (request("echo", temperature=1.5), "temperature: range: 0..1"),
        (
            request("echo", stop_sequences=["a", " "]),
            "stop_sequences.1: each stop sequence must contain non-whitespace",
        ),
        (request("echo", thinking={"type": "enabled"}), "thinking.enabled.budget_tokens: Field required"),
        (
            request("echo", thinking={"type": "enabled", "budget_tokens": 1000}),
            "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
        ),
        (
            request("echo", thinking={"type": "enabled", "budget_tokens": 2000}),
            "`max_tokens` must be greater than `thinking.budget_tokens`",
        ),
        (
            request("echo", thinking={"type": "adaptive"}, tools=[TOOL], tool_choice={"type": "any"}),
            "Thinking may not be enabled when tool_choice forces tool use.",
        ),
        (request("echo", tools=[{"name": "look"}]), "tools.0.custom.input_schema: Field required"),
        (request("echo", tools=[{**TOOL, "input_schema": {}}]), "tools.0.custom.input_schema.type: Field required"),
        (
            request("echo", tools=[{**TOOL, "name": "a b"}]),
            "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
        ),
        (request("echo", tools=[TOOL, TOOL]), "tools: Tool names must be unique."),
        (request("echo", tool_choice={"type": "any"}), "tool_choice may only be specified while providing tools."),
        (
            request("echo", tools=[TOOL], tool_choice={"type": "tool", "name": "other"}),
            "Tool 'other' not found in provided tools",
        ),
        (request("echo", output_config={"format": {"type": "text"}}), "output_config.format.schema: Field required"),
        (
            talk("Hi", [CALL], "and?"),
            (
                "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1. "
                "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
            ),
        ),
        (
            talk([RESULT]),
            (
                "messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks: toolu_1. "
                "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
            ),
        ),
    ],
)
def test_a_fault_is_a_400_that_names_it(body: Any, message: str):
    assert refusal(body) == (400, "invalid_request_error", message)


def test_a_call_left_open_at_the_end_is_refused():
    assert "toolu_1" in refusal(talk("Hi", [CALL]))[2]


@pytest.mark.parametrize(
    "body",
    [
        request("echo", something_new={"x": 1}, metadata={"user_id": "u"}, service_tier="auto", top_k=3),
        request(
            "echo",
            messages=[
                {"role": "user", "content": "a"},
                {"role": "system", "content": "b"},
                {"role": "user", "content": "c"},
            ],
        ),
        request("echo", [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]),
        talk("Hi", [CALL], [RESULT, {"type": "text", "text": "so?"}]),
        request(
            "echo",
            messages=[
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": [CALL]},
                {"role": "user", "content": [RESULT]},
                {"role": "user", "content": "so?"},
            ],
        ),
        talk("Hi", [{"type": "redacted_thinking", "data": "xyz"}, {"type": "text", "text": "x"}], "go"),
        talk("Hi", [{"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}], "go"),
        talk(
            "Hi",
            [{"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": {"error_code": "x"}}],
            "go",
        ),
        talk("Hi", []),
        talk("Hi", [CALL], [{**RESULT, "content": [{"type": "image", "source": {}}, "odd", 3]}]),
        request("echo", tools=[{**TOOL, "input_schema": {"type": "object", "x": {"y": [[[[1]]]]}}}]),
    ],
)
def test_what_anthropic_takes_is_taken(body: dict[str, Any]):
    assert whole(body)["type"] == "message"
