"""When to try again: a pure policy; the engine does the waiting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from vango.errors import VangoError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential back-off with full jitter, and what the provider asked for where it did.

    `max_attempts` counts the tries after the first.
    All times are seconds.
    """

    max_attempts: int = 2
    max_wait: float = 20.0
    base: float = 0.5
    cap: float = 8.0

    def delay(self, error: VangoError, tried: int, random: Callable[[], float]) -> float | None:
        """Return how long to wait after the failed try number `tried` (from 0), or None to give up.

        `random` returns a number from 0 to 1. A provider that asks for more than `max_wait` is not asked again.
        """
        if not error.retryable or tried >= self.max_attempts:
            return None
        backoff = random() * min(self.cap, self.base * 2.0**tried)
        if error.retry_after is None:
            return backoff
        if error.retry_after > self.max_wait:
            return None
        return max(error.retry_after, backoff)
