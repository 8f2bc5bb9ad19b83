"""max_tokens and stop sequences, and that a stream always amounts to the JSON answer."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.local.asking import events, fold, request, text, tool_calls, whole
from tests.local.test_tools import TOOLS
from vango.local.tokens import count, tokens

words = st.text(st.sampled_from("ab .,\n«é🙂"), min_size=1, max_size=80).filter(str.strip)
requests = st.builds(
    lambda model, said, extra, limit: request(model, said, **extra, max_tokens=limit),
    st.sampled_from(["echo", "chat", "tools", "think", "slow"]),
    st.one_of(words, st.sampled_from(["weather in Paris and time in Tokyo", "tell me a story", "count to 40"])),
    st.sampled_from(
        [
            {},
            {"tools": TOOLS},
            {"tools": TOOLS, "tool_choice": {"type": "any"}},
            {"thinking": {"type": "adaptive"}},
            {"thinking": {"type": "adaptive", "display": "omitted"}},
            {"stop_sequences": ["a", ", "]},
        ]
    ),
    st.integers(1, 120),
)


@given(requests)
@settings(max_examples=150, deadline=None)
def test_a_stream_amounts_to_the_json_answer(asked: dict[str, Any]):
    found, plain = events(asked), whole(asked)
    folded = fold(found)

    for block, told in zip(folded["content"], plain["content"], strict=True):
        if isinstance(block.get("input"), str):
            # Cut off within its arguments: the JSON answer has those that were complete.
            assert plain["stop_reason"] == "max_tokens"
            assert told is plain["content"][-1]
            _assert_complete_members(block["input"], told["input"])
            block["input"] = told["input"]
    assert folded == plain
    assert plain["usage"]["output_tokens"] <= asked["max_tokens"]
    assert sum(event["type"] == "ping" for event in found) == (1 if plain["content"] else 0)


def _assert_complete_members(written: str, members: dict[str, Any]) -> None:
    start = json.dumps(members, separators=(",", ":"), ensure_ascii=False)[:-1]
    assert written.startswith(start)


@given(st.text(max_size=200))
def test_tokens_join_to_the_text(said: str):
    assert "".join(tokens(said)) == said
    assert len(tokens(said)) == count(said)


def test_long_texts_are_counted_at_four_characters_a_token():
    assert count("ab " * 100_000) == 65_536 // 3 + 1 + (300_000 - 65_536) // 4


@given(words, st.integers(1, 100))
def test_text_is_cut_at_the_token_count(said: str, limit: int):
    reply = whole(request("echo", said, max_tokens=limit))
    spoken = "".join(block["text"] for block in reply["content"])

    assert spoken == "".join(tokens(said)[:limit])
    assert reply["stop_reason"] == ("max_tokens" if len(tokens(said)) > limit else "end_turn")
    assert reply["usage"]["output_tokens"] == min(limit, len(tokens(said)))


@given(words, st.lists(st.text(st.sampled_from("ab .,"), min_size=1, max_size=3).filter(str.strip), max_size=3))
def test_text_ends_before_the_first_stop_sequence(said: str, stops: list[str]):
    reply = whole(request("echo", said, stop_sequences=stops))
    spoken = "".join(block["text"] for block in reply["content"])
    places = [said.find(stop) for stop in stops if stop in said]

    assert spoken == said[: min(places, default=len(said))]
    assert reply["stop_reason"] == ("stop_sequence" if places else "end_turn")
    assert (reply["stop_sequence"] in stops) is bool(places)
    if places:
        assert said.startswith(reply["stop_sequence"], len(spoken))


def test_max_tokens_that_come_first_hide_a_stop_sequence():
    reply = whole(request("echo", "one two three STOP", max_tokens=2, stop_sequences=["STOP"]))

    assert (reply["content"], reply["stop_reason"]) == ([{"type": "text", "text": "one two"}], "max_tokens")


def test_a_call_that_is_cut_off_keeps_its_complete_arguments():
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in "ab"}, "required": ["a", "b"]}
    asked = request(
        "tools", '"One" "Two"', tools=[{"name": "form", "input_schema": schema}], tool_choice={"type": "any"}
    )
    inputs = [tool_calls({**asked, "max_tokens": limit}) for limit in range(1, 30)]

    assert inputs[0] == []
    assert [("form", {})] in inputs
    assert [("form", {"a": "One"})] in inputs
    assert inputs[-1] == [("form", {"a": "One", "b": "Two"})]


def test_a_long_answer_streams_in_a_bounded_number_of_deltas():
    asked = request("echo", "ab " * 20_000, max_tokens=50_000)
    found = events(asked)

    assert len(found) < 1_100
    assert "".join(block["text"] for block in fold(found)["content"]) == text(asked)
