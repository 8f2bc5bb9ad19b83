"""When the engine asks again, how long it waits before that, and when it turns to another model."""

from __future__ import annotations

import random
from contextlib import suppress
from itertools import cycle

import pytest
import trio

from tests.engine.scripted import World, ask, key, spoken
from vango.engine import RetryPolicy
from vango.errors import (
    AuthenticationError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProviderError,
    RateLimitError,
    TransportError,
    VangoError,
)
from vango.types.call import Caller, Outcome
from vango.types.script import Script

HELLO = spoken()
OVERLOADED = Script.error(529)


def unhelpful(status: int) -> Script:
    """A refusal that says that asking again is useless."""
    return Script.json(
        status,
        {"type": "error", "error": {"type": "overloaded_error", "message": "No."}},
        {"x-should-retry": "false"},
    )


# Whether, and how often


@pytest.mark.parametrize(
    "first",
    [*map(Script.error, (429, 500, 502, 503, 504, 529)), Script.refuse(), HELLO.cut(0)],
    ids=["429", "500", "502", "503", "504", "529", "refused", "empty"],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_what_may_pass_is_tried_again(
    autojump_clock: trio.testing.MockClock, first: Script, streamed: bool
) -> None:
    world = World(first, HELLO)

    if streamed:
        told = await world.stream()
        assert told.text == "Hello there"
    else:
        decoded = await world.create()
        assert decoded.model == "primary/scripted"

    assert world.outcome.attempts == 2
    assert world.outcome.retries == ["primary"]
    assert len(world.outcome.upstream_errors) == 1
    assert world.sandbox.open == 0


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (400, InvalidRequestError, 400),
        (401, ProviderError, 502),
        (403, ProviderError, 502),
        (404, NotFoundError, 404),
        (413, InvalidRequestError, 413),
        (302, ProviderError, 502),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_what_will_not_pass_is_not_tried_again(
    autojump_clock: trio.testing.MockClock, status: int, error: type[VangoError], code: int, streamed: bool
) -> None:
    world = World(Script.error(status), HELLO)

    with pytest.raises(error) as caught:
        await (world.stream() if streamed else world.create())

    assert (caught.value.status, caught.value.provider) == (code, "primary")
    assert world.outcome.attempts == 1
    assert trio.current_time() == 0.0


async def test_a_provider_may_say_that_asking_again_is_useless(autojump_clock: trio.testing.MockClock) -> None:
    world = World(unhelpful(529), HELLO)

    with pytest.raises(OverloadedError):
        await world.create()

    assert world.outcome.attempts == 1


@pytest.mark.parametrize("more", [0, 1, 4])
async def test_tries_are_counted(autojump_clock: trio.testing.MockClock, more: int) -> None:
    world = World(*[OVERLOADED] * (more + 1), HELLO, retries=RetryPolicy(max_attempts=more))

    with pytest.raises(OverloadedError):
        await world.create()

    assert world.outcome.attempts == more + 1
    assert world.outcome.retries == ["primary"] * more
    assert world.outcome.upstream_errors == [("primary", "overloaded_error")] * (more + 1)


async def test_counting_tokens_is_tried_again_too(autojump_clock: trio.testing.MockClock) -> None:
    world = World(OVERLOADED, Script.json(200, {"input_tokens": 12}))

    assert await world.count() == 12

    assert world.outcome.attempts == 2
    assert [call.target for call in world.sandbox.calls] == ["/v1/messages/count_tokens"] * 2


# How long


async def test_back_off_doubles_up_to_its_cap(autojump_clock: trio.testing.MockClock) -> None:
    world = World(*[OVERLOADED] * 7, retries=RetryPolicy(max_attempts=6), random=lambda: 1.0)

    with pytest.raises(OverloadedError):
        await world.create()

    assert trio.current_time() == pytest.approx(0.5 + 1 + 2 + 4 + 8 + 8)
    assert world.outcome.upstream_seconds == pytest.approx(trio.current_time())


async def test_back_off_is_a_random_part_of_its_bound(autojump_clock: trio.testing.MockClock) -> None:
    world = World(*[OVERLOADED] * 4, retries=RetryPolicy(max_attempts=3), random=random.Random(7).random)
    seeded = random.Random(7)
    expected = sum(seeded.random() * bound for bound in (0.5, 1.0, 2.0))

    with pytest.raises(OverloadedError):
        await world.create()

    assert trio.current_time() == pytest.approx(expected)


@pytest.mark.parametrize("jitter", [0.0, 1.0])
async def test_a_provider_that_says_how_long_is_waited_for(
    autojump_clock: trio.testing.MockClock, jitter: float
) -> None:
    world = World(Script.error(429, retry_after=7.0), HELLO, random=lambda: jitter)

    await world.create()

    assert trio.current_time() == pytest.approx(7.0)


async def test_the_longer_of_both_waits_holds(autojump_clock: trio.testing.MockClock) -> None:
    world = World(Script.error(429, retry_after=0.1), HELLO, random=lambda: 1.0)

    await world.create()

    assert trio.current_time() == pytest.approx(0.5)


async def test_a_wait_beyond_the_longest_is_the_callers_to_make(autojump_clock: trio.testing.MockClock) -> None:
    world = World(Script.error(429, retry_after=21.0), HELLO)

    with pytest.raises(RateLimitError) as caught:
        await world.create()

    assert caught.value.retry_after == 21.0
    assert world.outcome.attempts == 1
    assert trio.current_time() == 0.0


async def test_a_wait_that_would_outlast_the_window_is_not_begun(autojump_clock: trio.testing.MockClock) -> None:
    world = World(Script.error(429, retry_after=6.0), HELLO)

    with pytest.raises(RateLimitError) as caught:
        await world.stream()

    assert caught.value.retry_after == 6.0
    assert trio.current_time() == 0.0


# Stale connections


@pytest.mark.parametrize("streamed", [False, True])
async def test_stale_connections_cost_no_try(autojump_clock: trio.testing.MockClock, streamed: bool) -> None:
    world = World(*[Script.stale()] * 20, HELLO, retries=RetryPolicy(max_attempts=0))

    await (world.stream() if streamed else world.create())

    assert world.outcome.attempts == 1
    assert (world.outcome.retries, world.outcome.upstream_errors) == ([], [])
    assert world.providers["primary"].health.status == "healthy"
    assert trio.current_time() == 0.0
    assert world.sandbox.open == 0


async def test_stale_connections_without_end_are_a_failure(autojump_clock: trio.testing.MockClock) -> None:
    world = World(retries=RetryPolicy(max_attempts=0))
    world.sandbox.replies(*[Script.stale()] * 200)

    with pytest.raises(TransportError):
        await world.create()

    assert len(world.sent) == 101


# Fallbacks


@pytest.mark.parametrize(
    "first",
    [*map(Script.error, (401, 404, 429, 500, 503, 529)), Script.refuse(), unhelpful(529), unhelpful(429)],
    ids=["key", "404", "429", "500", "503", "529", "refused", "useless-529", "useless-429"],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_another_model_takes_over(autojump_clock: trio.testing.MockClock, first: Script, streamed: bool) -> None:
    world = World(first, HELLO, retries=RetryPolicy(max_attempts=0))
    request = ask(stream=streamed, fallbacks=["spare/two"])

    if streamed:
        told = await world.stream(request)
        assert '"model":"spare/scripted"' in told.batches[0].decode()
    else:
        assert (await world.create(request)).model == "spare/scripted"

    assert world.sent == ["primary", "spare"]
    assert (world.outcome.provider, world.outcome.model) == ("spare", "spare/scripted")
    assert [name for name, _ in world.outcome.upstream_errors] == ["primary"]


@pytest.mark.parametrize("status", [400, 413])
async def test_no_other_model_is_asked_what_was_wrongly_asked(
    autojump_clock: trio.testing.MockClock, status: int
) -> None:
    world = World(Script.error(status), HELLO)

    with pytest.raises(InvalidRequestError):
        await world.create(ask(fallbacks=["spare/two"]))

    assert world.sent == ["primary"]


async def test_a_model_is_tried_as_often_as_allowed_before_the_next(autojump_clock: trio.testing.MockClock) -> None:
    world = World(*[OVERLOADED] * 5, HELLO)

    await world.create(ask(fallbacks=["spare/two", "sandbox/three"]))

    assert world.sent == ["primary"] * 3 + ["spare"] * 3
    assert world.outcome.attempts == 6


async def test_the_last_failure_is_told_when_all_fail(autojump_clock: trio.testing.MockClock) -> None:
    world = World(OVERLOADED, Script.error(404), Script.error(429), retries=RetryPolicy(max_attempts=0))

    with pytest.raises(RateLimitError) as caught:
        await world.create(ask(fallbacks=["spare/two", "sandbox/three"]))

    assert caught.value.provider == "sandbox"
    assert world.outcome.upstream_errors == [
        ("primary", "overloaded_error"),
        ("spare", "not_found_error"),
        ("sandbox", "rate_limit_error"),
    ]


async def test_configured_fallbacks_are_followed(autojump_clock: trio.testing.MockClock) -> None:
    world = World(
        Script.error(404),
        HELLO,
        aliases={"smart": "primary/one"},
        fallbacks={"primary/one": ["spare/two"]},
    )

    assert (await world.create(ask("smart"))).model == "spare/scripted"


async def test_the_requests_fallbacks_replace_the_configured_ones(autojump_clock: trio.testing.MockClock) -> None:
    world = World(Script.error(404), HELLO, fallbacks={"primary/one": ["spare/two"]})

    await world.create(ask(fallbacks=["sandbox/three"]))

    assert world.sent == ["primary", "sandbox"]


async def test_configured_fallbacks_that_are_not_for_this_caller_are_passed_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """They are for every caller alike: whoever may use the first model still may."""
    fallbacks = {"primary/one": ["nowhere/x", "spare/two", "sandbox/three"]}
    limited = Caller("someone", models=("primary/*", "sandbox/*"))
    forbidden = World(Script.error(404), HELLO, fallbacks=fallbacks)
    keyless = World(Script.error(404), HELLO, fallbacks=fallbacks, keys={"spare": None})

    await forbidden.create(caller=limited)
    await keyless.create()

    assert forbidden.sent == keyless.sent == ["primary", "sandbox"]


@pytest.mark.parametrize(
    ("fallback", "error", "param"),
    [
        ("nowhere/x", NotFoundError, "fallbacks[1]"),
        ("sandbox/three", PermissionDeniedError, "fallbacks[1]"),
        ("spare/two", AuthenticationError, None),
    ],
)
async def test_fallbacks_that_were_asked_for_must_be_usable(
    autojump_clock: trio.testing.MockClock, fallback: str, error: type[VangoError], param: str | None
) -> None:
    world = World(HELLO, keys={"spare": None})
    caller = Caller("someone", models=("primary/*", "spare/*", "nowhere/*"))

    with pytest.raises(error) as caught:
        await world.create(ask(fallbacks=["primary/old", fallback]), caller)

    assert caught.value.param == param
    assert world.sent == []


async def test_the_request_id_is_of_the_provider_that_was_asked_last(autojump_clock: trio.testing.MockClock) -> None:
    world = World(Script.error(529, request_id="req_first"), Script.refuse(), retries=RetryPolicy(max_attempts=0))

    with pytest.raises(TransportError):
        await world.create(ask(fallbacks=["spare/two"]))

    assert (world.outcome.provider, world.outcome.provider_request_id) == ("spare", None)


async def test_losses_are_those_of_the_model_that_answered(autojump_clock: trio.testing.MockClock) -> None:
    world = World(Script.error(404), HELLO)

    await world.create(ask(metadata={"team": "x"}, fallbacks=["spare/two"]))

    assert world.outcome.losses == ("metadata.team=dropped",)


# What is learnt


async def test_health_is_learnt_from_traffic(autojump_clock: trio.testing.MockClock) -> None:
    world = World(retries=RetryPolicy(max_attempts=0))
    health = world.providers["primary"].health
    states = [health.status]

    for script in (HELLO.late(2.0), OVERLOADED, Script.refuse(), Script.error(500), HELLO.late(4.0)):
        world.sandbox.replies(script)
        with suppress(VangoError):
            await world.create()
        states.append(health.status)

    assert states == ["unknown", "healthy", "healthy", "healthy", "degraded", "healthy"]
    assert health.latency == pytest.approx(2.0 + 0.2 * (4.0 - 2.0))
    assert health.error is None
    assert world.providers["spare"].health.status == "unknown"


@pytest.mark.parametrize("status", [400, 404, 429])
async def test_a_provider_that_refuses_rightly_is_healthy(autojump_clock: trio.testing.MockClock, status: int) -> None:
    world = World(*[Script.error(status)] * 9)

    for _ in range(3):
        with pytest.raises(VangoError):
            await world.create()

    assert world.providers["primary"].health.failures_in_a_row == 0


async def test_a_refused_key_of_the_operator_is_a_failure_of_the_provider(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World(*[Script.error(401, "invalid x-api-key configured-primary")] * 2)

    with pytest.raises(ProviderError) as operators:
        await world.create()
    with pytest.raises(AuthenticationError) as callers:
        await world.create(caller=Caller("someone", provider_keys={"primary": key("sk-mine")}))

    assert (operators.value.status, callers.value.status) == (502, 401)
    assert operators.value.code == callers.value.code == "provider_key_refused"
    assert "configured-primary" not in f"{operators.value.envelope()}"
    assert world.providers["primary"].health.failures_in_a_row == 1


async def test_many_callers_do_not_share_a_back_off(autojump_clock: trio.testing.MockClock) -> None:
    jitter = cycle([0.2, 0.4, 0.6, 0.8])
    world = World(*[OVERLOADED] * 4, *[HELLO] * 4, random=lambda: next(jitter))
    answered: list[float] = []

    async def call() -> None:
        await world.engine.create(ask(), Caller("someone"), Outcome())
        answered.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(call)

    assert sorted(answered) == pytest.approx([0.1, 0.2, 0.3, 0.4])
