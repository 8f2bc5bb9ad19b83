"""Waiting in tests for what tells nobody that it happened."""

from __future__ import annotations

from collections.abc import Callable

import trio

from tests.support.raw import PATIENCE


async def eventually(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait for what happens in another task or in the kernel."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.002)
