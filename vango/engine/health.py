"""What real traffic says about a provider: no call is ever made to find out."""

from __future__ import annotations

from dataclasses import dataclass

SMOOTHING = 0.2
"""Weight of the newest answer in the average time to one."""

FAILURES = 3
"""So many failures in a row make a provider degraded; one may be bad luck."""


@dataclass(slots=True)
class Health:
    """The state of one provider, learnt call by call. `latency` is the mean time to the head of an answer, in seconds."""

    latency: float | None = None
    failures_in_a_row: int = 0
    error: str | None = None
    asked: bool = False

    @property
    def status(self) -> str:
        """`healthy`, `degraded`, or `unknown` before the first call."""
        if not self.asked:
            return "unknown"
        return "degraded" if self.failures_in_a_row >= FAILURES else "healthy"

    def answered(self, seconds: float) -> None:
        """Note a call that the provider answered as it should."""
        self.asked = True
        self.failures_in_a_row = 0
        self.error = None
        self.latency = seconds if self.latency is None else self.latency + SMOOTHING * (seconds - self.latency)

    def failed(self, kind: str) -> None:
        """Note a call that failed, and the type of the error."""
        self.asked = True
        self.failures_in_a_row += 1
        self.error = kind
