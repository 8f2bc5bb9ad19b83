"""How long a provider may take: to be connected to, to answer, between two pieces of a stream, and for a stream as a whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
from msgspec import structs

from tests.engine.scripted import World, ask
from vango.engine import Deadlines, RetryPolicy
from vango.errors import InvalidRequestError, OverloadedError, ProviderError, ProviderTimeoutError
from vango.transport.base import Link
from vango.types.script import Hang, Script, Send, Wait
from vango.wire.call import Origin

DEADLINES = Deadlines(connect=2.0, answer=30.0, silence=40.0, stream=300.0)
ONCE = RetryPolicy(max_attempts=0)
HELLO = Script.text("Hello there", chunks=2)


class Unreachable:
    """A transport whose connections are never made."""

    def __init__(self) -> None:
        self.waiting = 0
        self.asked = 0
        self.full = False

    def is_full(self, origin: Origin) -> bool:
        return self.full

    async def connect(self, origin: Origin) -> Link:
        self.asked += 1
        self.waiting += 1
        try:
            await trio.sleep_forever()
        finally:
            self.waiting -= 1


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_connection_that_is_not_made_in_time_is_a_timeout(
    autojump_clock: trio.testing.MockClock, streamed: bool
) -> None:
    transport = Unreachable()
    world = World(transport=transport, deadlines=DEADLINES, retries=ONCE)
    began = trio.current_time()

    with pytest.raises(ProviderTimeoutError, match=r"primary gave no connection within 2 s\.") as caught:
        await (world.stream() if streamed else world.create())

    assert trio.current_time() - began == pytest.approx(2.0)
    assert (caught.value.status, caught.value.provider) == (504, "primary")
    assert transport.waiting == 0
    assert world.outcome.upstream_seconds == pytest.approx(2.0)


async def test_a_full_pool_is_our_own_lack_of_room_and_not_the_providers_fault(
    autojump_clock: trio.testing.MockClock,
) -> None:
    transport = Unreachable()
    transport.full = True
    world = World(transport=transport, deadlines=DEADLINES)

    with pytest.raises(OverloadedError, match=r"All connections to primary were in use for 2 s\.") as caught:
        await world.create()

    assert (caught.value.status, caught.value.code, caught.value.provider) == (503, "no_free_connection", None)
    assert transport.asked == 1
    assert world.outcome.upstream_errors == []


async def test_a_connection_that_is_not_made_is_tried_again(autojump_clock: trio.testing.MockClock) -> None:
    transport = Unreachable()
    world = World(transport=transport, deadlines=DEADLINES)

    with pytest.raises(ProviderTimeoutError):
        await world.create()

    assert (transport.asked, world.outcome.attempts) == (3, 3)


async def test_nothing_is_tried_after_the_window(autojump_clock: trio.testing.MockClock) -> None:
    transport = Unreachable()
    world = World(transport=transport, deadlines=structs.replace(DEADLINES, connect=6.0))

    with pytest.raises(ProviderTimeoutError):
        await world.stream(ask(stream=True, fallbacks=["spare/two"]))

    assert transport.asked == 1


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(Script.hang(), id="no head"),
        pytest.param(Script(200, {"content-type": "application/json"}, (Hang(),)), id="no body"),
        pytest.param(HELLO.paced(16.0).cut(0, Hang()), id="a body that begins"),
    ],
)
async def test_a_whole_answer_has_one_deadline_and_is_not_asked_for_again(
    autojump_clock: trio.testing.MockClock, script: Script
) -> None:
    world = World(script, deadlines=DEADLINES)
    began = trio.current_time()

    with pytest.raises(ProviderTimeoutError, match=r"within 30 s\."):
        await world.create()

    # Ten minutes is what the contract gives a whole request: asking twice more would make it thirty, and three bills.
    assert trio.current_time() - began == pytest.approx(30.0)
    assert world.outcome.attempts == 1
    assert (world.sandbox.open, world.sandbox.aborted) == (0, 1)


async def test_a_provider_that_did_not_answer_in_time_is_followed_by_its_fallback(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World(Script.hang(), HELLO, deadlines=DEADLINES)

    decoded = await world.create(ask(fallbacks=["spare/two"]))

    assert decoded.model == "spare/scripted"
    assert world.sent == ["primary", "spare"]


async def test_a_stream_whose_provider_never_answers_ends_with_the_answers_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World(Script.hang(), deadlines=DEADLINES)

    told = await world.stream()

    assert told.opened_at == 5.0
    assert told.frames == [(20.0, "comment")]
    assert isinstance(told.failure, ProviderTimeoutError)
    assert told.failed_at == 30.0
    assert world.sandbox.open == 0


@pytest.mark.parametrize("after", [0, 4])
async def test_a_stream_that_falls_silent_ends(autojump_clock: trio.testing.MockClock, after: int) -> None:
    world = World(HELLO.cut(after, Hang()), deadlines=DEADLINES)

    told = await world.stream()

    assert isinstance(told.failure, ProviderTimeoutError)
    assert str(told.failure) == "primary sent nothing for 40 s."
    assert told.failed_at == 40.0
    assert world.outcome.attempts == 1
    assert world.sandbox.open == 0
    assert world.providers["primary"].health.error == "timeout_error"


async def test_silence_counts_from_the_last_byte(autojump_clock: trio.testing.MockClock) -> None:
    world = World(HELLO.paced(35.0), deadlines=DEADLINES)

    told = await world.stream()

    assert told.failure is None
    assert told.text == "Hello there"


async def test_a_stream_may_be_only_so_long(autojump_clock: trio.testing.MockClock) -> None:
    steady = Script.text("word " * 100, chunks=100).paced(10.0)
    world = World(steady, deadlines=DEADLINES)

    told = await world.stream()

    assert isinstance(told.failure, ProviderTimeoutError)
    assert str(told.failure) == "primary was not done after 300 s."
    assert told.failed_at == 300.0
    assert world.sandbox.open == 0


async def test_the_length_of_a_stream_counts_the_wait_for_its_head(autojump_clock: trio.testing.MockClock) -> None:
    world = World(Script.hang(), deadlines=structs.replace(DEADLINES, stream=10.0))

    told = await world.stream()

    assert str(told.failure) == "primary was not done after 10 s."
    assert told.failed_at == 10.0


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_refusal_counts_even_if_its_body_never_comes(
    autojump_clock: trio.testing.MockClock, streamed: bool
) -> None:
    refusal = Script(529, {"content-type": "application/json"}, (Wait(1.0), Hang()))
    world = World(refusal, deadlines=DEADLINES, retries=ONCE)
    began = trio.current_time()

    with pytest.raises(OverloadedError) as caught:
        await (world.stream() if streamed else world.create())

    assert caught.value.status == 503
    # The status says enough; what is left of the window belongs to another try.
    assert trio.current_time() - began == pytest.approx(2.0)
    assert world.sandbox.open == 0


async def test_what_came_of_a_refusals_body_is_read(autojump_clock: trio.testing.MockClock) -> None:
    said = Script.error(400, "messages.0.content: no")
    world = World(replace(said, steps=(Wait(1.0), *said.steps, Hang())), deadlines=DEADLINES)

    with pytest.raises(InvalidRequestError, match=r"messages\.0\.content: no") as caught:
        await world.create()

    assert caught.value.param == "messages[0].content"


async def test_no_more_of_a_refusal_is_read_than_it_can_have_to_say() -> None:
    page = Script(400, {"content-type": "text/html"}, (Send(b"<p>" * 1_000_000),))
    world = World(page)

    with pytest.raises(InvalidRequestError, match="status 400 and no readable error"):
        await world.create()

    assert (world.sandbox.aborted, world.sandbox.answered) == (1, 0)


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_without_bounds_is_given_up(monkeypatch: pytest.MonkeyPatch, streamed: bool) -> None:
    monkeypatch.setattr("vango.engine.calls.MAX_ANSWER_BYTES", 100_000)
    world = World(Script(200, {"content-type": "application/json"}, (Send(b" " * 1_000_000),)))

    with pytest.raises(ProviderError, match="larger than 100000 bytes"):
        await (world.stream() if streamed else world.create())

    assert world.outcome.attempts == 1
    assert (world.sandbox.aborted, world.sandbox.open) == (1, 0)
