"""A call that is cancelled, at every step it takes: nothing of it is left."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
import trio

from tests.engine.scripted import World, ask, spoken
from tests.support.upstream import Peer, Upstream, chunk, chunked_head, http, reply
from vango.engine import RetryPolicy
from vango.transport.http import HttpTransport
from vango.types.call import Caller, Outcome
from vango.types.script import Break, Hang, Script, Send, Wait

HELLO = spoken(first=1.0, between=1.0)
OVERLOADED = Script.error(529, retry_after=1.0)
SOMEONE = Caller("someone")

MAX_STEPS = 300


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope around the given step of one task: before the task runs on, or after, when it waits for something."""

    def __init__(self, step: int, scope: trio.CancelScope, *, before: bool) -> None:
        self._left = step
        self._scope = scope
        self._before = before
        self._task = trio.lowlevel.current_task()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._before:
            self._count(task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if not self._before:
            self._count(task)

    def _count(self, task: trio.lowlevel.Task) -> None:
        if task is self._task:
            self._left -= 1
            if self._left < 0:
                self._scope.cancel()


async def cancelled_at(step: int, work: Callable[[], Awaitable[object]], *, before: bool) -> bool:
    """Run `work` in a task of its own and cancel it at a step; return whether it was still running."""
    scope = trio.CancelScope()

    async def task() -> None:
        instrument = CancelAtStep(step, scope, before=before)
        trio.lowlevel.add_instrument(instrument)
        try:
            with scope:
                await work()
        finally:
            trio.lowlevel.remove_instrument(instrument)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(task)
    return scope.cancelled_caught


async def create(world: World) -> None:
    await world.engine.create(ask(fallbacks=["spare/two"]), SOMEONE, Outcome())


async def stream(world: World) -> None:
    request = ask(stream=True, fallbacks=["spare/two"])
    async with world.engine.stream(request, SOMEONE, Outcome()) as opened:
        async for _ in opened:
            pass
        await opened.finish()


WAYS = {
    "simple": [HELLO],
    "instant": [spoken()],
    "late": [spoken(first=8.0).late(7.0)],
    "pings": [spoken("ab", chunks=2, between=40.0)],
    "retried": [OVERLOADED, HELLO],
    "stale": [Script.stale(), Script.stale(), HELLO],
    "fallback": [Script.refuse(), Script.refuse(), HELLO],
    "refused": [Script.error(400)],
    "slow refusal": [replace(Script.error(529), steps=(Send(b"{"), Wait(1.0), Send(b"}"))), HELLO],
    "broken": [HELLO.cut(4, Break())],
    "unfolded": [replace(HELLO.unstreamed or HELLO, steps=(Wait(1.0), *(HELLO.unstreamed or HELLO).steps))],
    "slow end": [replace(HELLO, steps=(*HELLO.steps, Hang()), unstreamed=HELLO.unstreamed)],
}


@pytest.mark.parametrize("before", [True, False], ids=["running", "waiting"])
@pytest.mark.parametrize("call", [create, stream])
@pytest.mark.parametrize("way", WAYS)
async def test_a_call_cancelled_at_any_step_leaves_nothing(
    autojump_clock: trio.testing.MockClock, way: str, call: Callable[[World], Awaitable[None]], before: bool
) -> None:
    steps = 0
    for step in range(MAX_STEPS):
        world = World(*WAYS[way], retries=RetryPolicy(max_attempts=1))
        tasks = trio.lowlevel.current_statistics().tasks_living

        async def work(world: World = world) -> None:
            try:
                await call(world)
            except Exception:  # noqa: BLE001 - how it fails is told elsewhere
                assert way in {"refused", "broken"}

        cancelled = await cancelled_at(step, work, before=before)

        sandbox = world.sandbox
        assert sandbox.open == 0, step
        # A link that was lent before its call was sent counts as neither.
        assert sandbox.answered + sandbox.aborted + sandbox.broken == len(sandbox.calls), step
        assert trio.lowlevel.current_statistics().tasks_living == tasks, step
        steps = step
        if not cancelled:
            break
    else:
        raise AssertionError("the call never ended")
    assert steps >= 2


async def hold_a_stream_open(peer: Peer) -> None:
    while await peer.request():
        await peer.send(chunked_head(200, {"content-type": "text/event-stream"}))
        for item in spoken().steps:
            if isinstance(item, Send):
                await peer.send(chunk(item.data))
        await peer.send(b"0\r\n\r\n")


MESSAGE = next(step.data for step in (HELLO.unstreamed or HELLO).steps if isinstance(step, Send))


@pytest.mark.parametrize("before", [True, False], ids=["running", "waiting"])
@pytest.mark.parametrize(
    ("call", "script"),
    [(create, reply(http(MESSAGE, headers={"content-type": "application/json"}))), (stream, hold_a_stream_open)],
    ids=["create", "stream"],
)
async def test_over_sockets_no_place_in_the_pool_is_lost(
    call: Callable[[World], Awaitable[None]], script: Callable[[Peer], Awaitable[None]], before: bool
) -> None:
    async with Upstream(script) as upstream, HttpTransport(lambda origin: 2) as transport:
        for step in range(MAX_STEPS):
            world = World(transport=transport, base_url=upstream.base_url)

            async def work(world: World = world) -> None:
                await call(world)

            cancelled = await cancelled_at(step, work, before=before)

            (usage,) = transport.usage().values() or [None]
            assert usage is None or (usage.lent, usage.waiting) == (0, 0), step
            assert usage is None or usage.idle <= 1
            if not cancelled:
                break
        else:
            raise AssertionError("the call never ended")
        assert step >= 3
        # Whatever was cancelled is closed at the other end too: only what is idle stays.
        with trio.fail_after(5):
            await upstream.wait_closed(upstream.accepted - 1)


async def test_a_call_that_waits_for_a_place_gives_up_its_turn() -> None:
    async with Upstream(reply(http(MESSAGE))) as upstream, HttpTransport(lambda origin: 1) as transport:
        world = World(transport=transport, base_url=upstream.base_url)
        taken = await transport.connect(upstream.origin)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(create, world)
            await trio.testing.wait_all_tasks_blocked()
            waiting = transport.usage()[upstream.origin]
            nursery.cancel_scope.cancel()
        left = transport.usage()[upstream.origin]
        taken.close()

        await create(world)

        assert waiting[:] == (1, 0, 3)
        assert left[:] == (1, 0, 0)
        assert transport.usage()[upstream.origin].lent == 0
