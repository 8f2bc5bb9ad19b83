"""Each model, thinking, structure, errors and counts."""

import json
from base64 import b64encode
from hashlib import blake2b
from typing import Any

import pytest
from hypothesis import given, settings

from tests.local.asking import bytes_of, call, refusal, request, text, whole
from tests.local.test_schema import objects, scalars, texts
from tests.local.validator import is_valid
from vango.local.sandbox import MODELS, answer
from vango.types.script import Break, Wait


def test_echo_repeats_the_last_words_of_the_user():
    messages = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "first"},
        {"role": "user", "content": [{"type": "text", "text": "  second "}, {"type": "text", "text": "third"}]},
    ]

    assert text(request("echo", messages=messages)) == "  second \nthird"


def test_think_thinks_and_takes_its_thought_back():
    first = whole(request("think", "what is 2+3?"))
    thought, said = first["content"]
    messages = [
        {"role": "user", "content": "what is 2+3?"},
        {"role": "assistant", "content": first["content"]},
        {"role": "user", "content": "thanks"},
    ]

    assert thought["type"] == "thinking"
    assert "what is 2+3?" in thought["thinking"]
    assert said == {"type": "text", "text": "2 + 3 is 5."}
    assert first["usage"]["output_tokens"] > first["usage"]["output_tokens_details"]["thinking_tokens"] > 0
    assert text(request("think", messages=messages)).startswith("My pleasure")


def test_thinking_is_up_to_the_request():
    for thinking in ({"type": "enabled", "budget_tokens": 1024}, {"type": "adaptive"}):
        assert [block["type"] for block in whole(request("chat", thinking=thinking, max_tokens=2000))["content"]] == [
            "thinking",
            "text",
        ]
    assert [block["type"] for block in whole(request("think", thinking={"type": "disabled"}))["content"]] == ["text"]


def test_a_thought_that_is_not_shown_is_signed_and_comes_back():
    thinking = {"type": "adaptive", "display": "omitted"}
    thought = whole(request("chat", thinking=thinking))["content"][0]
    back = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": [thought]},
        {"role": "user", "content": "Go on"},
    ]

    assert thought["thinking"] == ""
    assert thought["signature"]
    assert whole(request("chat", messages=back))


@pytest.mark.parametrize(
    "change",
    [
        {"thinking": "Something else."},
        {"signature": "AAAA"},
        {"signature": None},
        {"signature": "not base64!"},
        {"signature": b64encode(blake2b(b"\xff", digest_size=16).digest() + b"\xff").decode()},
    ],
)
def test_a_thought_that_was_changed_is_refused(change: dict[str, Any]):
    thought = whole(request("think"))["content"][0] | change
    back = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": [thought]},
        {"role": "user", "content": "Go on"},
    ]

    assert refusal(request("think", messages=back)) == (
        400,
        "invalid_request_error",
        "messages.1.content.0: Invalid `signature` in `thinking` block",
    )


def test_slow_takes_its_time_streamed_or_not():
    asked = request("slow", "count to 3")
    streamed = answer(call(asked))
    waits = [step.seconds for step in streamed.steps if isinstance(step, Wait)]

    assert waits == [0.3] + [0.05] * 5
    assert streamed.unstreamed is not None
    assert streamed.unstreamed.before == (Wait(pytest.approx(0.55)),)
    assert text(asked) == text({**asked, "model": "chat"})


@pytest.mark.parametrize(
    ("status", "kind", "retry_after"),
    [
        (400, "invalid_request_error", None),
        (401, "authentication_error", None),
        (403, "permission_error", None),
        (404, "not_found_error", None),
        (413, "request_too_large", None),
        (418, "invalid_request_error", None),
        (429, "rate_limit_error", "1"),
        (500, "api_error", None),
        (503, "api_error", "1"),
        (504, "timeout_error", None),
        (529, "overloaded_error", "1"),
    ],
)
def test_a_failing_model_fails_as_its_name_says(status: int, kind: str, retry_after: str | None):
    script = answer(call(request(f"fail-{status}", stream=True)))

    assert refusal(request(f"fail-{status}"))[:2] == (status, kind)
    assert (script.status, script.headers.get("retry-after")) == (status, retry_after)


@pytest.mark.parametrize("model", ["nothing", "fail-200", "fail-600", "fail-", "fail-4٢9", "fail-0429", ""])
def test_other_models_are_not_found(model: str):
    assert refusal(request(model)) == (404, "not_found_error", f"model: {model}")


@given(objects(scalars), texts)
@settings(max_examples=60, deadline=None)
def test_structured_output_satisfies_its_schema(schema: dict[str, Any], said: str):
    form = {"type": "json_schema", "schema": schema}
    asked = request("chat", said.strip() or "-", output_config={"format": form}, max_tokens=10_000)

    assert is_valid(json.loads(text(asked)), schema)


@pytest.mark.parametrize("model", sorted(MODELS))
def test_every_model_obeys_a_format(model: str):
    form = {
        "type": "json_schema",
        "schema": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
    }

    assert json.loads(text(request(model, "take 7", output_config={"format": form}))) == {"n": 7}
    assert json.loads(text(request(model, "take 7", output_format=form))) == {"n": 7}


def test_a_format_that_nothing_satisfies_is_refused():
    form = {"type": "json_schema", "schema": {"type": "object", "required": ["a"], "properties": {"a": False}}}

    assert refusal(request("chat", output_config={"format": form}))[:2] == (400, "invalid_request_error")


def test_an_answer_that_was_begun_is_continued():
    messages = [{"role": "user", "content": "what is 2+3?"}, {"role": "assistant", "content": "2 + 3"}]

    assert text(request("chat", messages=messages)) == " is 5."


def test_the_same_request_has_the_same_answer_and_another_has_another_id():
    assert bytes_of(answer(call(request("think")))) == bytes_of(answer(call(request("think"))))
    assert whole(request("echo", "a"))["id"] != whole(request("echo", "b"))["id"]
    assert whole(request("echo", "a"))["id"].startswith("msg_")


def test_tokens_are_counted_alike_for_both_endpoints():
    asked = request(
        "echo", "Hello there, world", system="Be brief.", tools=[{"name": "t", "input_schema": {"type": "object"}}]
    )
    script = answer(
        call({key: value for key, value in asked.items() if key != "max_tokens"}, "/v1/messages/count_tokens")
    )
    counted = json.loads(bytes_of(script))

    assert counted == {"input_tokens": whole(asked)["usage"]["input_tokens"]}
    assert whole({**asked, "system": "Be brief and kind."})["usage"]["input_tokens"] == counted["input_tokens"] + 2


def test_usage_counts_what_is_said():
    usage = whole(request("echo", "one two three"))["usage"]

    assert usage == {
        "input_tokens": 6,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 3,
        "service_tier": "standard",
    }


def test_an_origin_without_a_dialect_refuses_the_connection():
    (accident,) = answer(call(request("echo"), host="nowhere")).before

    assert isinstance(accident, Break)


def test_paths_and_methods():
    assert answer(call(request("echo"), "/v1/messages?beta=true")).status == 200
    assert answer(call(request("echo"), "/prefix/v1/messages")).status == 200
    assert refusal(request("echo"), path="/v1/complete")[:2] == (404, "not_found_error")
    assert refusal(request("echo"), method="GET")[:2] == (405, "invalid_request_error")
