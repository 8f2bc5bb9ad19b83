"""How a server is told to end: first kindly, then at once."""

from __future__ import annotations

import trio


class Drain:
    """Shared by whoever hears the signals, the server that ends its connections, and the app that refuses new work.

    Both steps can be taken from any task, more than once, and before the server runs.
    """

    def __init__(self) -> None:
        self._began = trio.Event()
        self._stopped = trio.Event()

    @property
    def draining(self) -> bool:
        """Whether no new work is to be taken."""
        return self._began.is_set()

    def begin(self) -> None:
        """Ask for the kind end: nothing new is accepted, what runs may finish within the grace."""
        self._began.set()

    def stop_now(self) -> None:
        """Ask for the end without grace: what still runs is cancelled."""
        self._began.set()
        self._stopped.set()

    async def wait(self) -> None:
        """Wait until the drain has begun."""
        await self._began.wait()

    async def wait_stopped(self) -> None:
        """Wait until the end without grace is asked for."""
        await self._stopped.wait()
