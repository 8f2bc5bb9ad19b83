"""The pieces of a run. Each returns figures by name (`json_32.rate`); times are seconds, memory bytes, CPU seconds of the gateway."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import processes
import rig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateways import Gateway, Running

Figures = dict[str, float]

CLOSED_SECONDS = 5.0
"""How long the upstream's streams may take to close before they count as left open."""

PACED_LIMIT = 10.0
"""Seconds within which the paced streams begin; a saturated gateway may take that long to open them."""


@dataclass(frozen=True)
class Sizes:
    """How much of everything; `QUICK` is for seeing that it all works."""

    seconds: float = 3.0
    json: tuple[int, ...] = (1, 32, 256)
    burst: int = 50
    burst_chunks: int = 200
    paced: int = 500
    paced_chunks: int = 100
    cancel: int = 50
    idle: int = 1000
    starts: int = 3


QUICK = Sizes(seconds=0.3, json=(1, 4), burst=4, burst_chunks=40, paced=8, paced_chunks=20, cancel=4, idle=20, starts=1)

PAUSE_MS = 20
LEAVE_AFTER = 5


@dataclass
class Bench:
    """Measures one running gateway. `errors` collects whatever did not go right, by piece."""

    tools: rig.Tools
    upstream: rig.Upstream
    cores: processes.Cores
    sizes: Sizes
    gateway: Gateway
    running: Running
    errors: dict[str, dict[str, int]] = field(default_factory=dict)

    def ask(self, connections: int, seconds: float, plan: str | None = None) -> list[str]:
        """Return the arguments of a load on this gateway."""
        gateway = self.gateway
        return rig.ask(
            self.running.port,
            model=gateway.model,
            headers=gateway.headers,
            connections=connections,
            seconds=seconds,
            plan=plan,
        )

    def warm_up(self) -> None:
        """Let the gateway load and allocate what it does with its first requests."""
        rig.run_load(self.tools, self.ask(8, min(0.3, self.sizes.seconds)), self.cores.load)

    def _run(self, piece: str, arguments: Sequence[str], per: str) -> tuple[dict[str, Any], Figures]:
        """Run a load; return what it saw, and the CPU of the gateway per `per` and of others in cores."""
        before = self._clocks()
        began = time.monotonic()
        seen = rig.run_load(self.tools, arguments, self.cores.load)
        wall = time.monotonic() - began
        machine, gateway, ours = (after - b for after, b in zip(self._clocks(), before, strict=True))
        self._note(piece, seen["errors"])
        figures = {f"{piece}.others": max(0.0, (machine - gateway - ours) / wall)}
        # Without chunks or answers there is nothing to divide by, and an error says so.
        if self.running.pids and seen[per]:
            figures[f"{piece}.cpu"] = gateway / seen[per]
        return seen, figures

    def _clocks(self) -> tuple[float, float, float]:
        ours = processes.own_seconds() + processes.cpu_seconds([self.upstream.pid])
        return processes.machine_seconds(), processes.cpu_seconds(self.running.pids), ours

    def _note(self, piece: str, errors: dict[str, int]) -> None:
        if errors:
            self.errors.setdefault(piece, {}).update(errors)

    def json(self) -> Figures:
        """Whole answers, in closed loops."""
        out: Figures = {}
        for connections in self.sizes.json:
            piece = f"json_{connections}"
            seen, figures = self._run(piece, self.ask(connections, self.sizes.seconds), "answers")
            out |= figures | {f"{piece}.rate": seen["requests_per_second"]}
            out |= {f"{piece}.{name}": value for name, value in seen["latency"].items()}
        return out

    def burst(self) -> Figures:
        """Streams back to back, as fast as they come."""
        sizes = self.sizes
        arguments = self.ask(sizes.burst, sizes.seconds, f"{sizes.burst_chunks}x0")
        seen, figures = self._run("burst", arguments, "chunks_read")
        return figures | {"burst.rate": seen["chunks_per_second"]}

    def paced(self) -> Figures:
        """Streams at the pace of a model, begun one after the other over a second."""
        sizes = self.sizes
        arguments = self.ask(sizes.paced, PACED_LIMIT, f"{sizes.paced_chunks}x{PAUSE_MS}")
        ramp = min(1.0, sizes.seconds)
        seen, figures = self._run("paced", [*arguments, "-e", "1", "-r", str(ramp)], "chunks_read")
        out = {f"paced.took_{name}": value for name, value in seen["latency"].items()}
        return figures | out | {f"paced.gap_{name}": value for name, value in seen["gap"].items()}

    def cancel(self) -> Figures:
        """Clients that leave in the middle of their streams: when does the upstream see it?"""
        count = self.sizes.cancel
        self.upstream.reset()
        arguments = self.ask(count, PACED_LIMIT, f"2000x{PAUSE_MS}")
        seen, figures = self._run("cancel", [*arguments, "-e", "1", "-k", str(LEAVE_AFTER)], "chunks_read")
        self._wait_closed()
        left, aborted = seen["left_at"], self.upstream.stats()["aborted"]
        waits = sorted(aborted[client] - at for client, at in left.items() if client in aborted)
        figures["cancel.closed"] = len(waits)
        if len(waits) < count:
            self._note("cancel", {"streams left open upstream": count - len(waits)})
        if waits:
            figures |= {"cancel.p50": waits[len(waits) // 2], "cancel.max": waits[-1]}
        return figures

    def idle(self) -> Figures:
        """Streams that have begun and are silent: what one costs in memory."""
        count = self.sizes.idle
        before = processes.memory_bytes(self.running.pids)
        with rig.held_streams(self.tools, self.ask(count, PACED_LIMIT, "2x60000"), self.cores.load) as held:
            after = processes.memory_bytes(self.running.pids)
            began = time.monotonic()
        self._note(
            "idle", {**held.errors, **({"streams missing": count - held.streams} if held.streams < count else {})}
        )
        figures = {"idle.streams": float(held.streams)}
        if not self._wait_closed():
            self._note("idle", {"streams left open upstream": self.upstream.stats()["streams_open"]})
        figures["idle.closed"] = time.monotonic() - began
        if self.running.pids and held.streams:
            figures["idle.stream"] = (after - before) / held.streams
        return figures

    def _wait_closed(self) -> bool:
        """Wait until the upstream has no stream open; False where that does not come to pass."""
        deadline = time.monotonic() + CLOSED_SECONDS
        while self.upstream.stats()["streams_open"]:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True
