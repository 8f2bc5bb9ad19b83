"""Connections of one origin: a bound on how many are lent at once, and the idle ones kept for reuse."""

from __future__ import annotations

from collections import deque
from typing import Generic, NamedTuple, Protocol, TypeVar

import trio

from vango.errors import TransportError

IDLE_SECONDS = 60.0
"""Common servers keep an idle connection for 60 to 75 s or more; one kept longer here would mostly be found closed."""

MAX_IDLE = 1024
"""For each origin; fewer than the calls under way would have some of them connect anew each time."""


class Keepable(Protocol):
    """A connection that can wait for its next use."""

    def is_quiet(self) -> bool:
        """Say, without waiting, whether it is open and has nothing to say."""
        ...

    def close(self) -> None:
        """End it without waiting."""
        ...


class PoolUsage(NamedTuple):
    """What one pool holds: lent connections, idle ones, and calls that wait for a place."""

    lent: int
    idle: int
    waiting: int


K = TypeVar("K", bound=Keepable)


class Pool(Generic[K]):
    """At most `limit` borrowers at once, first come first served.

    A borrower enters, then takes an idle connection or brings its own, and leaves with or without one to keep.
    Only entering waits, so only entering can be cancelled, and then nothing is held.
    """

    def __init__(self, limit: int) -> None:
        self._places = trio.CapacityLimiter(limit)
        self._idle: deque[tuple[float, K]] = deque()  # the longest idle one first
        self._is_closed = False

    async def enter(self, borrower: object) -> None:
        """Wait for a place. Not a checkpoint where one is free. Raises TransportError once the pool is closed."""
        if not self._is_closed:
            try:
                self._places.acquire_on_behalf_of_nowait(borrower)
            except trio.WouldBlock:
                await self._places.acquire_on_behalf_of(borrower)
                if self._is_closed:
                    self._places.release_on_behalf_of(borrower)  # the next in line is told likewise
        if self._is_closed:
            raise TransportError("No connection to the provider can be made: the transport is closed.")

    def leave(self, borrower: object, connection: K | None = None) -> None:
        """Give the place back, and a connection that may be used again."""
        self._places.release_on_behalf_of(borrower)
        if connection is None:
            return
        if self._is_closed:
            connection.close()
            return
        now = trio.current_time()
        self._idle.append((now, connection))
        self.expire(now)

    def take(self) -> K | None:
        """Return the connection that was used last, if it is still good; what is not is closed on the way."""
        self.expire(trio.current_time())
        while self._idle:
            _, connection = self._idle.pop()
            if connection.is_quiet():
                return connection
            connection.close()
        return None

    def expire(self, now: float) -> None:
        """Close what has been idle for too long, and the longest idle ones where they are too many."""
        idle = self._idle
        while idle and (len(idle) > MAX_IDLE or now - idle[0][0] >= IDLE_SECONDS):
            idle.popleft()[1].close()

    def resize(self, limit: int) -> None:
        """Change the bound; lent connections are left alone."""
        if limit != self._places.total_tokens:
            self._places.total_tokens = limit

    def close(self) -> None:
        """Close the idle connections, and each lent one when it comes back."""
        self._is_closed = True
        while self._idle:
            self._idle.pop()[1].close()

    @property
    def usage(self) -> PoolUsage:
        return PoolUsage(self._places.borrowed_tokens, len(self._idle), self._places.statistics().tasks_waiting)
