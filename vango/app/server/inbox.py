"""Messages on their way to an app that runs on one of Hypercorn's streams."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vango.app.server.wire import Message

# Enough that a reader seldom waits for an app that keeps up; times the message bound it is what a connection may hold.
MAX_WAITING = 16


class Inbox:
    """A bounded queue whose end can always be told.

    A full inbox makes the sender wait through `pause`, so that a client that leaves meanwhile is noticed.
    """

    def __init__(self, pause: Callable[[trio.Event], Awaitable[None]]) -> None:
        self._pause = pause
        self._messages: deque[Message] = deque()
        self._end: Message | None = None
        self._closed = False
        self._arrived = trio.Event()
        self._room = trio.Event()

    async def put(self, message: Message) -> None:
        """Queue a message; a disconnect is taken at once, and received after everything before it."""
        if message["type"].endswith(".disconnect"):
            self._end = message
        else:
            while len(self._messages) >= MAX_WAITING and not self._closed:
                self._room = trio.Event()
                await self._pause(self._room)
            if not self._closed:
                self._messages.append(message)
        self._arrived.set()

    def close(self) -> None:
        """Take note that the app has ended: what nobody will receive is thrown away, and nobody waits for room."""
        self._closed = True
        self._messages.clear()
        self._room.set()

    async def receive(self) -> Message:
        """Return the next message, waiting for one; after the end the disconnect again and again."""
        while not self._messages:
            if self._end is not None:
                return self._end
            if self._arrived.is_set():
                self._arrived = trio.Event()
            await self._arrived.wait()
        self._room.set()
        return self._messages.popleft()
