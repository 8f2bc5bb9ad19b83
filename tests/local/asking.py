"""Asks the sandbox as a codec would, and reads its bytes without one."""

from __future__ import annotations

import json
from typing import Any

from vango.local.sandbox import answer
from vango.types.script import Script, Send
from vango.wire.call import HttpCall, Origin

ORIGIN = Origin("sandbox", "anthropic", 0)


def call(body: Any, path: str = "/v1/messages", *, method: str = "POST", host: str = "anthropic") -> HttpCall:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpCall(Origin("sandbox", host, 0), method, path, (), raw)


def request(model: str, content: Any = "Hello", **fields: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 1000, "messages": [{"role": "user", "content": content}], **fields}


def bytes_of(script: Script) -> bytes:
    return b"".join(step.data for step in script.steps if isinstance(step, Send))


def whole(body: dict[str, Any]) -> dict[str, Any]:
    """The JSON answer to a request that must succeed."""
    script = answer(call(body))
    script = script.unstreamed or script
    reply = json.loads(bytes_of(script))
    assert script.status == 200, reply
    return reply


def text(body: dict[str, Any]) -> str:
    return "".join(block["text"] for block in whole(body)["content"] if block["type"] == "text")


def tool_calls(body: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(block["name"], block["input"]) for block in whole(body)["content"] if block["type"] == "tool_use"]


def refusal(body: Any, **where: Any) -> tuple[int, str, str]:
    """Status, type and message of an answer that must be an error."""
    script = answer(call(body, **where))
    error = json.loads(bytes_of(script))
    assert error["type"] == "error"
    assert error["request_id"] == script.headers["request-id"]
    return script.status, error["error"]["type"], error["error"]["message"]


def events(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a streamed answer; each must be an `event:` line and one `data:` line that agree."""
    script = answer(call({**body, "stream": True}))
    assert script.headers["content-type"].startswith("text/event-stream")
    return read_events(bytes_of(script))


def read_events(raw: bytes) -> list[dict[str, Any]]:
    found = []
    assert raw.endswith(b"\n\n")
    for frame in raw[:-2].split(b"\n\n"):
        name, data = frame.split(b"\n")
        event = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + event["type"].encode()
        found.append(event)
    return found


def fold(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The message that a stream amounts to. Asserts the grammar on the way; unfinished tool arguments stay text."""
    spoken = [event for event in found if event["type"] != "ping"]
    start, *middle, end, stop = spoken
    assert (start["type"], end["type"], stop) == ("message_start", "message_delta", {"type": "message_stop"})
    message = start["message"]
    assert message["content"] == []
    blocks: list[dict[str, Any]] = []
    is_open = False
    for event in middle:
        match event["type"]:
            case "content_block_start":
                assert not is_open
                assert event["index"] == len(blocks)
                blocks.append({**event["content_block"], "parts": []})
                is_open = True
            case "content_block_delta":
                assert is_open
                assert event["index"] == len(blocks) - 1
                _apply(blocks[-1], event["delta"])
            case "content_block_stop":
                assert is_open
                assert event["index"] == len(blocks) - 1
                is_open = False
            case other:
                raise AssertionError(other)
    assert not is_open
    for block in blocks:
        parts = "".join(block.pop("parts"))
        if block["type"] == "tool_use":
            try:
                block["input"] = json.loads(parts)
            except json.JSONDecodeError:
                block["input"] = parts
    assert end["usage"]["input_tokens"] == message["usage"]["input_tokens"]
    return {**message, "content": blocks, **end["delta"], "usage": end["usage"]}


def _apply(block: dict[str, Any], delta: dict[str, Any]) -> None:
    match block["type"], delta["type"]:
        case "text", "text_delta":
            block["text"] += delta["text"]
        case "text", "citations_delta":
            block["citations"].append(delta["citation"])
        case "thinking", "thinking_delta":
            assert not block["signature"]
            block["thinking"] += delta["thinking"]
        case "thinking", "signature_delta":
            block["signature"] += delta["signature"]
        case "tool_use", "input_json_delta":
            block["parts"].append(delta["partial_json"])
        case other:
            raise AssertionError(other)
