from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.recordings import Case, cases
from tests.support.targets import target
from vango.providers.anthropic import AnthropicCodec
from vango.types.fold import Fold
from vango.wire.sse import Splitter, frame


def fold(stream: bytes) -> dict[str, Any] | None:
    folded = Fold()
    folded.feed(Splitter().feed(stream))
    return folded.message


@pytest.mark.parametrize("case", cases("anthropic-messages", streamed=False, ok=True))
def test_a_whole_answer_unfolded_and_folded_is_itself(case: Case) -> None:
    frames, decoded = AnthropicCodec().unfold(case.body, target())
    folded = Fold()

    folded.feed(frames)

    assert folded.message == json.loads(decoded.body)


@pytest.mark.parametrize("case", cases("anthropic-messages", streamed=True, ok=True))
def test_a_recorded_stream_adds_up(case: Case) -> None:
    message = fold(case.body)

    deltas = [json.loads(frame.data) for frame in Splitter().feed(case.body) if frame.type == "content_block_delta"]
    texts = [delta["delta"]["text"] for delta in deltas if delta["delta"]["type"] == "text_delta"]
    assert message is not None
    assert "".join(block["text"] for block in message["content"] if block["type"] == "text") == "".join(texts)
    assert all(isinstance(block["input"], dict) for block in message["content"] if block["type"] == "tool_use")
    assert message["stop_reason"] in (*case.about["stop_reasons"], None)


def test_arguments_that_were_cut_off_stay_text() -> None:
    call = {"type": "tool_use", "input": {}}
    delta = {"type": "input_json_delta", "partial_json": '{"a": 1'}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"content": []}},
        {"type": "content_block_start", "index": 0, "content_block": call},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
    ]

    message = fold(b"".join(frame(event["type"], json.dumps(event).encode()).raw for event in events))

    assert message is not None
    assert message["content"] == [{"type": "tool_use", "input": '{"a": 1'}]


def test_a_look_at_the_message_so_far_takes_nothing_from_it() -> None:
    folded = Fold()
    looks = []
    for event in (
        {"type": "message_start", "message": {"content": []}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "a"}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}} for text in "bcd"),
        {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "input": {}}},
        *(
            {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": text}}
            for text in ('{"x"', ":1}")
        ),
    ):
        folded.feed([frame(str(event["type"]), json.dumps(event).encode())])
        assert folded.message is not None
        looks.append(json.loads(json.dumps(folded.message["content"])))

    assert [content[0]["text"] for content in looks[1:6]] == ["a", "ab", "abc", "abcd", "abcd"]
    assert [content[1]["input"] for content in looks[5:]] == [{}, '{"x"', {"x": 1}]


def test_nothing_comes_of_a_stream_without_a_start() -> None:
    assert fold(b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n') is None
