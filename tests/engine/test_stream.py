"""What a stream does before its first content, after it, and at its end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import trio

from tests.engine.scripted import World, ask, spoken
from vango.engine import RetryPolicy
from vango.errors import OverloadedError, ProviderError, ProviderTimeoutError, TransportError, VangoError
from vango.types.call import Caller
from vango.types.script import Break, Hang, Script, Send, Step, Wait

HELLO = spoken()
WHOLE = HELLO.unstreamed or HELLO
ONCE = RetryPolicy(max_attempts=0)
EVENTS = [
    "message_start",
    "content_block_start",
    "ping",
    "content_block_delta",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
]
OVERLOADED = Script.error(529)


def error_event(kind: str = "overloaded_error") -> Send:
    (step,) = Script.sse([{"type": "error", "error": {"type": kind, "message": "Too much."}}]).steps
    return Send(data_of(step))


def data_of(step: Step) -> bytes:
    assert isinstance(step, Send)
    return step.data


# The window


async def test_a_stream_opens_with_its_first_content(autojump_clock: trio.testing.MockClock) -> None:
    world = World(spoken("Hello there", first=3.0, between=2.0))

    told = await world.stream()

    assert told.opened_at == 3.0
    assert told.frames[:4] == [(3.0, name) for name in EVENTS[:4]]
    assert told.frames[4][0] == 5.0
    assert (told.types, told.text) == (EVENTS, "Hello there")


async def test_opening_events_are_no_content(autojump_clock: trio.testing.MockClock) -> None:
    """A block without anything in it could still be taken back."""
    world = World(HELLO.cut(3, Break()), HELLO)

    told = await world.stream()

    assert told.types == EVENTS
    assert world.outcome.attempts == 2


async def test_a_stream_opens_after_five_seconds_whatever_has_come(autojump_clock: trio.testing.MockClock) -> None:
    world = World(spoken("Hello there", first=9.0))

    told = await world.stream()

    assert told.opened_at == 5.0
    assert told.frames[:3] == [(5.0, name) for name in EVENTS[:3]]
    assert told.frames[3] == (9.0, "content_block_delta")
    assert world.outcome.first_token_at == pytest.approx(9.0, abs=1e-6)


async def test_a_stream_opens_before_its_provider_has_answered(autojump_clock: trio.testing.MockClock) -> None:
    world = World(HELLO.late(7.0))

    told = await world.stream()

    assert told.opened_at == 5.0
    assert told.types == EVENTS
    assert told.frames[0][0] == 7.0


async def test_many_opening_events_are_not_held_longer(autojump_clock: trio.testing.MockClock) -> None:
    opening = HELLO.steps[:1] + tuple(Script.sse([{"type": "ping"}]).steps) * 100
    world = World(replace(HELLO, steps=(*opening, Wait(2.0), *HELLO.steps[1:])))

    told = await world.stream()

    assert told.opened_at == 0.0
    assert told.types == ["message_start", *["ping"] * 100, *EVENTS[1:]]


@pytest.mark.parametrize(
    ("first", "error"),
    [
        (OVERLOADED, OverloadedError),
        (replace(OVERLOADED, before=(Wait(4.0),)), OverloadedError),
        (Script.refuse(), TransportError),
        (HELLO.cut(2), ProviderError),
        (HELLO.cut(2, Break()), TransportError),
        (replace(HELLO, steps=(*HELLO.steps[:2], error_event())), OverloadedError),
        (replace(HELLO, headers={"content-type": "text/html"}), ProviderError),
        (Script.json(200, {"type": "nonsense"}), ProviderError),
        (replace(HELLO, steps=(Send(b"event: message_start\ndata: {\n\n"),)), ProviderError),
    ],
    ids=["status", "late", "refused", "cut", "broken", "event", "html", "nonsense", "not-json"],
)
async def test_a_failure_in_the_window_is_an_http_error_or_is_tried_again(
    autojump_clock: trio.testing.MockClock, first: Script, error: type[VangoError]
) -> None:
    once = World(first, retries=ONCE)
    with pytest.raises(error):
        await once.stream()
    assert once.sandbox.open == 0

    again = World(first, HELLO)
    told = await again.stream()

    assert (told.types, told.text) == (EVENTS, "Hello there")
    assert again.outcome.attempts == 2
    assert again.outcome.retries == ["primary"]
    assert again.outcome.upstream_errors == [("primary", error.type)]
    assert again.sandbox.open == 0


async def test_no_try_begins_after_the_window(autojump_clock: trio.testing.MockClock) -> None:
    world = World(OVERLOADED.late(4.9), HELLO)  # 0.25 s of back-off would end too late

    with pytest.raises(OverloadedError):
        await world.stream()

    assert world.outcome.attempts == 1
    assert trio.current_time() == pytest.approx(4.9)


# After the window, or after content


@pytest.mark.parametrize(
    ("failing", "kind"),
    [
        (OVERLOADED.late(6.0), "overloaded_error"),
        (Script(before=(Wait(6.0), Break())), "provider_error"),
        (replace(HELLO, headers={"content-type": "text/html"}).late(6.0), "provider_error"),
        (replace(HELLO.cut(2, Break()), steps=(*HELLO.steps[:2], Wait(6.0), Break())), "provider_error"),
        (HELLO.cut(5, Break()), "provider_error"),
        (HELLO.cut(5), "provider_error"),
        (HELLO.cut(7), "provider_error"),
        (replace(HELLO, steps=(*HELLO.steps[:5], Wait(0), error_event())), "overloaded_error"),
        (replace(HELLO, steps=(*HELLO.steps[:5], error_event())), "overloaded_error"),
    ],
    ids=[
        "status",
        "broken-head",
        "html",
        "broken-opening",
        "broken",
        "cut",
        "cut-before-stop",
        "event",
        "event-at-once",
    ],
)
async def test_a_failure_after_content_or_the_window_is_the_streams_end(
    autojump_clock: trio.testing.MockClock, failing: Script, kind: str
) -> None:
    world = World(failing, HELLO)

    told = await world.stream(ask(stream=True, fallbacks=["spare/two"]))

    assert isinstance(told.failure, VangoError)
    assert told.failure.type == kind
    assert "message_stop" not in told.types
    assert (world.outcome.attempts, world.sent) == (1, ["primary"])
    assert world.outcome.upstream_errors == [("primary", kind)]
    assert world.providers["primary"].health.failures_in_a_row == 1
    assert world.sandbox.open == 0


async def test_what_came_before_a_failure_is_told_first(autojump_clock: trio.testing.MockClock) -> None:
    world = World(replace(HELLO, steps=(*HELLO.steps[:4], Wait(0), HELLO.steps[4], error_event())))

    told = await world.stream()

    assert told.types == EVENTS[:5]
    assert isinstance(told.failure, OverloadedError)


async def test_the_usage_of_a_stream_that_failed_is_kept(autojump_clock: trio.testing.MockClock) -> None:
    world = World(HELLO.cut(5, Break()))

    told = await world.stream()

    assert isinstance(told.failure, TransportError)
    assert world.outcome.usage is not None
    assert world.outcome.usage.input_tokens == 1
    assert world.outcome.stop_reason is None


async def test_each_event_is_told_when_it_comes(autojump_clock: trio.testing.MockClock) -> None:
    world = World(spoken("abcd", chunks=4, first=1.0, between=2.0))

    told = await world.stream()

    assert [at for at, name in told.frames if name == "content_block_delta"] == [1.0, 3.0, 5.0, 7.0]


@pytest.mark.parametrize("split", [1, 7, 100])
async def test_any_split_of_the_bytes_is_the_same_stream(autojump_clock: trio.testing.MockClock, split: int) -> None:
    whole, cut = World(HELLO), World(HELLO, split=split)

    one, other = await whole.stream(), await cut.stream()

    assert b"".join(other.batches) == b"".join(one.batches)
    assert other.types == EVENTS


# Signs of life


async def test_silence_is_filled_with_pings(autojump_clock: trio.testing.MockClock) -> None:
    world = World(spoken("ab", chunks=2, first=1.0, between=40.0))

    told = await world.stream()

    assert [at for at, name in told.frames if name == "ping"][1:] == [16.0, 31.0]
    assert told.batches[1] == b'event: ping\ndata: {"type":"ping"}\n\n'
    assert told.failure is None


async def test_a_sign_of_life_before_the_first_event_is_a_comment(autojump_clock: trio.testing.MockClock) -> None:
    world = World(HELLO.late(49.0))

    told = await world.stream()

    assert [told.frames[index] for index in range(4)] == [
        (20.0, "comment"),
        (35.0, "comment"),
        (49.0, "message_start"),
        (49.0, "content_block_start"),
    ]
    assert told.batches[0] == b": ping\n\n"
    assert told.text == "Hello there"


async def test_events_that_come_in_pieces_do_not_put_pings_off(autojump_clock: trio.testing.MockClock) -> None:
    letters = tuple(Send(bytes([byte])) for byte in data_of(HELLO.steps[4]))
    dribble = tuple(part for letter in letters for part in (Wait(1.0), letter))
    world = World(replace(HELLO, steps=(*HELLO.steps[:4], *dribble, *HELLO.steps[5:])))

    told = await world.stream()

    assert told.frames[4] == (15.0, "ping")
    assert [name for name in told.types if name != "ping"] == [name for name in EVENTS if name != "ping"]
    assert told.text == "Hello there"


# Answers that are no event stream


async def test_a_whole_answer_to_a_stream_request_is_unfolded(autojump_clock: trio.testing.MockClock) -> None:
    world = World(WHOLE)

    told = await world.stream()

    assert told.types == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert told.text == "Hello there"
    assert world.outcome.model == "primary/scripted"
    assert world.outcome.usage is not None
    assert world.outcome.stop_reason == "end_turn"
    assert world.sandbox.answered == 1


@pytest.mark.parametrize("block", [1, {"type": 1}])
async def test_a_whole_answer_with_a_block_that_is_none_is_the_providers_failure(
    autojump_clock: trio.testing.MockClock, block: Any
) -> None:
    world = World(Script.json(200, {"type": "message", "content": [block]}), HELLO)

    told = await world.stream()

    assert (told.types, told.text) == (EVENTS, "Hello there")
    assert world.outcome.upstream_errors == [("primary", "provider_error")]


async def test_a_whole_answer_that_takes_long_is_waited_for_with_signs_of_life(
    autojump_clock: trio.testing.MockClock,
) -> None:
    body = data_of(WHOLE.steps[0])
    halves = (Send(body[:100]), Wait(30.0), Send(body[100:]))
    world = World(replace(WHOLE, steps=halves))

    told = await world.stream()

    assert told.opened_at == 5.0
    assert told.frames[0] == (20.0, "comment")
    assert told.frames[1] == (30.0, "message_start")
    assert told.text == "Hello there"


async def test_a_whole_answer_that_never_ends_is_a_timeout(autojump_clock: trio.testing.MockClock) -> None:
    world = World(Script(200, {"content-type": "application/json"}, (Send(b'{"type":'), Hang())))

    told = await world.stream()

    assert isinstance(told.failure, ProviderTimeoutError)
    assert told.failed_at == 120.0
    assert world.sandbox.open == 0


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "text/plain", ""])
async def test_a_page_is_no_answer(autojump_clock: trio.testing.MockClock, kind: str) -> None:
    page = Script(200, {"content-type": kind} if kind else {}, (Send(b"<html>Sign in</html>"),))
    world = World(page, retries=ONCE)

    with pytest.raises(ProviderError, match="primary answered a stream request with") as caught:
        await world.stream()

    assert caught.value.status == 502
    assert "Sign in" not in caught.value.message


# The end


async def test_a_body_that_was_read_to_its_end_gives_its_connection_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World(replace(HELLO, steps=(*HELLO.steps, Wait(0.5), Send(b"\n"))))

    told = await world.stream()

    assert told.failure is None
    assert (world.sandbox.answered, world.sandbox.aborted) == (1, 0)


async def test_a_body_that_does_not_end_is_not_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    world = World(replace(HELLO, steps=(*HELLO.steps, Hang())))

    told = await world.stream()

    assert told.failure is None
    assert trio.current_time() == pytest.approx(1.0)
    assert (world.sandbox.answered, world.sandbox.aborted) == (0, 1)


async def test_an_accident_after_the_last_event_takes_nothing_back(autojump_clock: trio.testing.MockClock) -> None:
    world = World(replace(HELLO, steps=(*HELLO.steps, Wait(0.1), Break())))

    told = await world.stream()

    assert told.failure is None
    assert told.types == EVENTS
    assert world.outcome.upstream_errors == []
    assert world.providers["primary"].health.status == "healthy"


async def test_leaving_the_block_closes_the_upstream_at_once(autojump_clock: trio.testing.MockClock) -> None:
    world = World(spoken("abcd", chunks=4, first=1.0, between=2.0))

    async with world.engine.stream(ask(stream=True), Caller("someone"), world.outcome) as stream:
        await anext(stream)
    closed_at = trio.current_time()

    assert closed_at == pytest.approx(1.0)
    assert (world.sandbox.open, world.sandbox.aborted) == (0, 1)
    assert world.outcome.usage is not None
    assert world.outcome.upstream_errors == []
