"""Several workers on one port: started, watched, told to end.

Every worker is a process of its own that binds the port itself with SO_REUSEPORT, so that a worker's death takes only
its own connections along and the kernel gives the next ones to the others. The parent holds the port by a bound
socket that does not listen, and serves nothing.
"""

from __future__ import annotations

import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

# What a worker may take beyond the grace before it is killed, and after being told to stop at once.
KILL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How restarts are spaced; times are in seconds.

    A worker that lives for `settle` has started. One that dies sooner is started again after `first`, twice that, and
    so on up to `most`. After `failures` such deaths in a row the supervisor gives up, if no worker ever settled: a
    service that once ran is worth trying for, one that never did has a fault that somebody should see.
    """

    settle: float = 5.0
    first: float = 0.1
    most: float = 10.0
    failures: int = 5


async def supervise(
    command: Sequence[str],
    *,
    workers: int,
    grace: float,
    on_exit: Callable[[int], None] = lambda pid: None,
    environ: Mapping[str, str] | None = None,
    pace: Pace | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> int:
    """Run a command in that many processes until a signal ends them; return the exit code for the parent.

    SIGTERM and SIGINT reach the workers as SIGTERM, a second one as SIGINT; SIGHUP as SIGHUP. Workers that have not
    ended `grace` and five seconds later are killed. `on_exit` is called with the number of each process that ended.
    The code is 1 if workers could not start or had to be killed, else 0. When cancelled, the workers are killed.
    """
    crew = _Crew(command, grace, on_exit, environ, pace or Pace())
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:
            # One task for each worker's place; beside them one for signals, and at the end the clock that kills.
            nursery.start_soon(crew.hear, signals)
            nursery.start_soon(crew.kill_late)
            task_status.started()
            async with trio.open_nursery() as places:
                for _ in range(workers):
                    places.start_soon(crew.keep)
            nursery.cancel_scope.cancel()
    return 1 if crew.failed else 0


async def wait_orphaned() -> None:
    """Wait, in a worker, until the supervisor is gone: its end of the worker's standard input is closed then."""
    await trio.lowlevel.wait_readable(0)


class _Crew:
    def __init__(
        self,
        command: Sequence[str],
        grace: float,
        on_exit: Callable[[int], None],
        environ: Mapping[str, str] | None,
        pace: Pace,
    ) -> None:
        self._command = list(command)
        self._grace = grace
        self._on_exit = on_exit
        self._environ = environ
        self._pace = pace
        self._alive: dict[trio.Process, float] = {}
        self._settled = False
        self._ending = trio.Event()
        self._hurried = trio.Event()
        self.failed = False

    async def hear(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            if number == signal.SIGHUP:
                self._tell(signal.SIGHUP)
            else:
                self._end()

    def _end(self) -> None:
        if self._ending.is_set():
            self._hurried.set()
            # Another number than the first: two signals alike are one, if a worker is slow to take the first.
            self._tell(signal.SIGINT)
        else:
            self._ending.set()
            self._tell(signal.SIGTERM)

    def _tell(self, number: signal.Signals) -> None:
        for process in self._alive:
            process.send_signal(number)

    async def kill_late(self) -> None:
        await self._ending.wait()
        with trio.move_on_after(self._grace):
            await self._hurried.wait()
        await trio.sleep(KILL_SECONDS)
        for process in self._alive:
            self.failed = True
            process.kill()

    async def keep(self) -> None:
        """Keep one place filled until the end."""
        pace = self._pace
        failures = 0
        while not self._ending.is_set():
            lived = await self._run()
            if self._ending.is_set():
                return
            failures = 0 if lived >= pace.settle else failures + 1
            self._settled = self._settled or lived >= pace.settle or self._any_settled()
            if failures >= pace.failures and not self._settled:
                self.failed = True
                self._end()
                return
            if failures:
                with trio.move_on_after(min(pace.first * 2 ** (failures - 1), pace.most)):
                    await self._ending.wait()

    def _any_settled(self) -> bool:
        now = trio.current_time()
        return any(now - began >= self._pace.settle for began in self._alive.values())

    async def _run(self) -> float:
        """Run one worker to its end; return how long it lived."""
        # Its own process group: the terminal's Ctrl-C would otherwise reach it beside our SIGTERM and count as the
        # second signal.
        process = await trio.lowlevel.open_process(
            self._command, stdin=subprocess.PIPE, env=self._environ, process_group=0
        )
        began = trio.current_time()
        self._alive[process] = began
        try:
            if self._ending.is_set():
                process.kill()  # the signal came while it was being started: it has nothing to finish
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                with trio.move_on_after(KILL_SECONDS, shield=True):
                    await process.wait()
            del self._alive[process]
            if process.stdin is not None:
                with trio.CancelScope(shield=True), suppress(trio.BrokenResourceError):
                    await trio.aclose_forcefully(process.stdin)
            self._on_exit(process.pid)
        return trio.current_time() - began
