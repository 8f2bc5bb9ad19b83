"""The bound on lent connections and the keeping of idle ones, without sockets and in virtual time."""

from __future__ import annotations

import random

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from vango.errors import TransportError
from vango.transport.pool import IDLE_SECONDS, MAX_IDLE, Pool, PoolUsage


class Connection:
    def __init__(self) -> None:
        self.quiet = True
        self.closed = 0

    def is_quiet(self) -> bool:
        return self.quiet

    def close(self) -> None:
        self.closed += 1


async def kept(pool: Pool[Connection], count: int) -> list[Connection]:
    """Fill the pool with idle connections, the first one idle for the longest."""
    connections = [Connection() for _ in range(count)]
    for connection in connections:
        await pool.enter(connection)
        pool.leave(connection, connection)
    return connections


async def test_a_free_place_is_entered_without_a_checkpoint() -> None:
    pool = Pool[Connection](1)

    with trio.testing.assert_no_checkpoints():
        await pool.enter("first")

    assert pool.usage == PoolUsage(lent=1, idle=0, waiting=0)


async def test_places_are_given_in_the_order_of_asking() -> None:
    pool, order = Pool[Connection](1), []

    async def borrow(name: int) -> None:
        await pool.enter(name)
        order.append(name)
        pool.leave(name)

    await pool.enter("first")
    async with trio.open_nursery() as nursery:
        for name in range(5):
            nursery.start_soon(borrow, name)
            await wait_all_tasks_blocked()
        assert pool.usage == PoolUsage(lent=1, idle=0, waiting=5)
        pool.leave("first")

    assert order == [0, 1, 2, 3, 4]
    assert pool.usage == PoolUsage(0, 0, 0)


async def test_a_cancelled_wait_holds_nothing_and_the_next_in_line_is_served() -> None:
    pool, served = Pool[Connection](1), trio.Event()
    cancelled = trio.CancelScope()

    async def wait_cancelled() -> None:
        with cancelled:
            await pool.enter("cancelled")

    async def wait_served() -> None:
        await pool.enter("served")
        served.set()

    await pool.enter("first")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_cancelled)
        await wait_all_tasks_blocked()
        nursery.start_soon(wait_served)
        await wait_all_tasks_blocked()
        cancelled.cancel()
        await wait_all_tasks_blocked()
        assert pool.usage == PoolUsage(lent=1, idle=0, waiting=1)
        pool.leave("first")

    assert served.is_set()
    assert pool.usage == PoolUsage(lent=1, idle=0, waiting=0)


async def test_a_place_given_in_the_moment_of_cancellation_is_not_lost() -> None:
    pool = Pool[Connection](1)
    scope = trio.CancelScope()
    entered = False

    async def borrow() -> None:
        nonlocal entered
        with scope:
            await pool.enter("second")
            entered = True
            pool.leave("second")

    await pool.enter("first")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(borrow)
        await wait_all_tasks_blocked()
        pool.leave("first")
        scope.cancel()

    assert entered
    assert pool.usage == PoolUsage(0, 0, 0)


@pytest.mark.parametrize("seed", range(5))
async def test_the_bound_holds_and_nothing_leaks_under_random_cancellation(
    seed: int, autojump_clock: MockClock
) -> None:
    rng, pool = random.Random(seed), Pool[Connection](7)
    made: list[Connection] = []
    out = most = 0

    async def borrow(patience: float) -> None:
        nonlocal out, most
        place = object()
        with trio.move_on_after(patience):
            await pool.enter(place)
            connection = pool.take()
            try:
                if connection is None:
                    await trio.sleep(rng.uniform(0, 0.5))  # connecting
                    connection = Connection()
                    made.append(connection)
                out += 1
                most = max(most, out)
                await trio.sleep(rng.uniform(0, 1))
                out -= 1
            except trio.Cancelled:
                if connection is not None:
                    out -= 1
                    connection.close()
                    connection = None
                raise
            finally:
                pool.leave(place, connection)

    async with trio.open_nursery() as nursery:
        for _ in range(200):
            nursery.start_soon(borrow, rng.choice([0, rng.uniform(0, 1), rng.uniform(0, 30)]))

    idle = pool.usage.idle
    assert most == 7
    assert pool.usage == PoolUsage(lent=0, idle=idle, waiting=0)
    assert sum(not connection.closed for connection in made) == idle


async def test_the_connection_used_last_is_taken_first() -> None:
    pool = Pool[Connection](3)
    first, second, third = await kept(pool, 3)

    assert [pool.take() for _ in range(4)] == [third, second, first, None]


async def test_one_that_is_no_longer_good_is_closed_and_the_next_is_taken() -> None:
    pool = Pool[Connection](2)
    first, second = await kept(pool, 2)
    second.quiet = False

    taken = pool.take()

    assert taken is first
    assert (first.closed, second.closed) == (0, 1)


async def test_idle_ones_expire_when_another_is_taken(mock_clock: MockClock) -> None:
    pool = Pool[Connection](2)
    (first,) = await kept(pool, 1)
    mock_clock.jump(IDLE_SECONDS / 2)
    (second,) = await kept(pool, 1)
    mock_clock.jump(IDLE_SECONDS / 2)

    taken = pool.take()

    assert taken is second
    assert first.closed == 1


async def test_idle_ones_expire_when_another_comes_back(mock_clock: MockClock) -> None:
    pool = Pool[Connection](2)
    (first,) = await kept(pool, 1)
    mock_clock.jump(IDLE_SECONDS)

    (second,) = await kept(pool, 1)

    assert (first.closed, second.closed) == (1, 0)


async def test_the_longest_idle_one_is_closed_where_they_are_too_many() -> None:
    pool = Pool[Connection](MAX_IDLE * 2)

    connections = await kept(pool, MAX_IDLE + 1)

    assert [connection.closed for connection in connections] == [1] + [0] * MAX_IDLE


async def test_the_bound_may_change_while_calls_wait() -> None:
    pool = Pool[Connection](1)
    await pool.enter("first")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool.enter, "second")
        await wait_all_tasks_blocked()

        pool.resize(2)

    assert pool.usage == PoolUsage(lent=2, idle=0, waiting=0)


async def test_closing_closes_the_idle_and_turns_away_those_who_wait_or_come() -> None:
    pool = Pool[Connection](1)
    (idle,) = await kept(pool, 1)
    lent, turned_away = Connection(), 0
    await pool.enter(lent)

    async def wait_in_vain(number: int) -> None:
        nonlocal turned_away
        with pytest.raises(TransportError, match="closed"):
            await pool.enter(number)
        turned_away += 1

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(wait_in_vain, number)
        await wait_all_tasks_blocked()
        pool.close()
        nursery.start_soon(wait_in_vain, 4)
        await wait_all_tasks_blocked()
        assert (idle.closed, lent.closed, turned_away) == (1, 0, 1)
        pool.leave(lent, lent)

    assert (lent.closed, turned_away) == (1, 4)
    assert pool.usage == PoolUsage(0, 0, 0)
