from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.recordings import Case, cases
from tests.support.split import every_way
from tests.support.targets import target
from vango.errors import OverloadedError, ProviderError
from vango.providers.anthropic import AnthropicCodec
from vango.wire.sse import Splitter

ADDED = {"total_tokens", "cache_read_tokens", "cache_write_tokens", "cost_usd"}

START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "model": "claude-sonnet-4-5",
        "content": [],
        "usage": {"input_tokens": 10, "output_tokens": 1},
    },
}
BLOCK = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
TEXT = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}
BLOCK_STOP = {"type": "content_block_stop", "index": 0}
END = {
    "type": "message_delta",
    "delta": {"stop_reason": "end_turn", "stop_sequence": None},
    "usage": {"output_tokens": 5},
}
STOP = {"type": "message_stop"}


def sse(*events: dict[str, Any], named: bool = True) -> bytes:
    return b"".join(
        (b"event: %b\n" % event["type"].encode() if named else b"") + b"data: %b\n\n" % json.dumps(event).encode()
        for event in events
    )


def decode(pieces: list[bytes]) -> tuple[list[dict[str, Any]], Any]:
    decoder = AnthropicCodec().decoder(target())
    events = [json.loads(frame.data) for piece in pieces for frame in decoder.feed(piece)]
    return events, decoder


def given(case: Case) -> list[dict[str, Any]]:
    return [json.loads(frame.data) for frame in Splitter().feed(case.body)]


def without_additions(event: dict[str, Any], original: dict[str, Any]) -> dict[str, Any]:
    event = json.loads(json.dumps(event))
    if event["type"] == "message_start":
        assert event["message"]["model"] == f"anthropic/{original['message']['model']}"
        event["message"]["model"] = original["message"]["model"]
    if event["type"] == "message_delta":
        for name in set(event["usage"]) - set(original["usage"]):
            del event["usage"][name]
    return event


@pytest.mark.parametrize("case", cases("anthropic-messages", streamed=True, ok=True))
def test_a_recorded_stream_is_relayed_event_by_event(case: Case) -> None:
    original = given(case)
    failed = original[-1]["type"] == "error"

    for pieces in every_way(case.body, seeds=3):
        events, decoder = decode(pieces)

        relayed = [without_additions(event, source) for event, source in zip(events, original, strict=False)]
        assert relayed == (original[:-1] if failed else original)
        assert decoder.done is not failed
        assert (decoder.failure is not None) is failed


@pytest.mark.parametrize("case", cases("anthropic-messages", streamed=True, ok=True))
def test_every_frame_but_the_opened_ones_keeps_its_bytes(case: Case) -> None:
    decoder = AnthropicCodec().decoder(target())

    relayed = decoder.feed(case.body)

    kept = [frame.raw for frame in relayed if frame.type not in ("message_start", "message_delta")]
    assert kept == [
        f.raw for f in Splitter().feed(case.body) if f.type not in ("message_start", "message_delta", "error")
    ]


@pytest.mark.parametrize("case", cases("anthropic-messages", streamed=True, ok=True))
def test_a_stream_cut_off_after_any_byte_never_ends_well(case: Case) -> None:
    decoder = AnthropicCodec().decoder(target())
    events: list[str] = []

    for at in range(len(case.body)):
        assert "message_stop" not in events
        with pytest.raises((ProviderError, OverloadedError)):
            decoder.finish()  # changes nothing, so the same decoder can go on to the next byte
        events += [frame.type for frame in decoder.feed(case.body[at : at + 1])]

    assert (events[-1] == "message_stop") is decoder.done
    assert decoder.done is (decoder.failure is None)


@pytest.mark.parametrize("case", cases("anthropic-messages", streamed=True, ok=True))
def test_the_final_usage_is_complete(case: Case) -> None:
    if given(case)[-1]["type"] == "error":
        pytest.skip("it fails before its usage")

    events, decoder = decode([case.body])

    usage = next(event for event in events if event["type"] == "message_delta")["usage"]
    assert usage["total_tokens"] == decoder.usage.total_tokens
    assert {"input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"} <= set(usage)
    assert usage["output_tokens"] == decoder.usage.total_output or "iterations" in usage


def test_usage_adds_up_over_start_and_delta() -> None:
    events, decoder = decode([sse(START, BLOCK, TEXT, BLOCK_STOP, END, STOP)])

    assert events[4]["usage"] == {
        "input_tokens": 10,
        "output_tokens": 5,
        "total_tokens": 15,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "cost_usd": 0.000105,  # 10 × 3 USD + 5 × 15 USD a million
    }
    assert decoder.stop_reason == "end_turn"
    assert decoder.model == "anthropic/claude-sonnet-4-5"


def test_a_server_without_event_lines_is_understood() -> None:
    events, decoder = decode([sse(START, BLOCK, TEXT, BLOCK_STOP, END, STOP, named=False)])

    assert [event["type"] for event in events] == [e["type"] for e in (START, BLOCK, TEXT, BLOCK_STOP, END, STOP)]
    assert decoder.done


@pytest.mark.parametrize(
    ("events", "has_content"),
    [
        ([START], False),
        ([START, {"type": "ping"}], False),
        ([START, BLOCK], False),
        ([START, BLOCK, {**TEXT, "delta": {"type": "text_delta", "text": ""}}], False),
        ([START, BLOCK, TEXT], True),
        ([START, {**BLOCK, "content_block": {"type": "text", "text": "Hi"}}], True),
        ([START, {**BLOCK, "content_block": {"type": "thinking", "thinking": ""}}], False),
        ([START, {**BLOCK, "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}}}], True),
        ([START, {**BLOCK, "content_block": {"type": "redacted_thinking", "data": "x"}}], True),
        ([START, BLOCK, {**TEXT, "delta": {"type": "signature_delta", "signature": "x"}}], True),
        ([START, BLOCK, {**TEXT, "delta": {"type": "of_the_future", "x": 1}}], True),
        ([START, END], False),
        ([START, END, STOP], True),
    ],
)
def test_content_begins_with_the_first_block_that_has_some(events: list[dict[str, Any]], has_content: bool) -> None:
    for named in (True, False):
        _, decoder = decode([sse(*events, named=named)])

        assert decoder.has_content is has_content


def test_unknown_events_go_through() -> None:
    future = {"type": "something_new", "x": [1]}

    events, _ = decode([sse(START, future)])

    assert events[1] == future


def test_an_error_event_ends_the_stream_after_what_came_before_it() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_9"}

    events, decoder = decode([sse(START, BLOCK, TEXT, error, STOP)])

    assert [event["type"] for event in events] == ["message_start", "content_block_start", "content_block_delta"]
    assert isinstance(decoder.failure, OverloadedError)
    assert decoder.failure.provider_error == {"type": "overloaded_error", "message": "Overloaded"}
    assert decoder.failure.provider_request_id == "req_9"
    assert not decoder.done


@pytest.mark.parametrize("event", [b"event: message_start\ndata: nonsense\n\n", b"event: message_delta\ndata: [1]\n\n"])
def test_nonsense_in_an_event_that_must_be_read_is_a_failure(event: bytes) -> None:
    decoder = AnthropicCodec().decoder(target())

    decoder.feed(event)

    assert isinstance(decoder.failure, ProviderError)


def test_nothing_follows_the_end() -> None:
    events, decoder = decode([sse(START, BLOCK, TEXT, BLOCK_STOP, END, STOP), sse(TEXT)])

    assert events[-1] == STOP
    assert decoder.feed(sse(TEXT)) == []
    decoder.finish()


def test_an_endless_event_is_a_failure() -> None:
    decoder = AnthropicCodec().decoder(target())

    for _ in range(300):
        decoder.feed(b"x" * 65536)

    assert isinstance(decoder.failure, ProviderError)


def test_a_model_name_that_is_none_is_not_taken() -> None:
    decoder = AnthropicCodec().decoder(target())

    decoder.feed(sse({"type": "message_start", "message": {"model": "x" * 10_000}}))

    assert decoder.model == "anthropic/claude-sonnet-4-5"
