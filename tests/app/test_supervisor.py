"""Workers on one port: real processes, small ones."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from vango.app.listen import reserve
from vango.app.supervisor import Pace, supervise, wait_orphaned

PATIENCE = 10.0
QUICK = Pace(settle=0.3, first=0.01, most=0.05, failures=3)

# A worker without trio, so that it starts within milliseconds: it listens, answers each connection with its number and
# notes signals in a file. `end` says what SIGTERM does to it.
WORKER = """
import os, signal, socket, sys
port, notes, end = int(sys.argv[1]), sys.argv[2], sys.argv[3]

def note(text):
    with open(notes, "a") as file:
        file.write(f"{text} {os.getpid()}\\n")

terms = 0

def heard(number, frame):
    global terms
    note(signal.Signals(number).name)
    terms += number == signal.SIGTERM
    if number == signal.SIGTERM and (end == "at once" or end == "on the second" and terms == 2):
        os._exit(0)

signal.signal(signal.SIGTERM, heard)
signal.signal(signal.SIGHUP, heard)
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
listener.bind(("127.0.0.1", port))
listener.listen()
note("started")
while True:
    peer, _ = listener.accept()
    peer.sendall(b"%d" % os.getpid())
    peer.close()
"""


@dataclass
class Crew:
    """A supervisor that runs in the test's own process."""

    port: int
    notes: Path
    exited: list[int] = field(default_factory=list)
    ended: trio.Event = field(default_factory=trio.Event)
    code: int | None = None
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    def noted(self, text: str) -> list[int]:
        """Return the numbers of the processes that noted this, in order."""
        if not self.notes.exists():
            return []
        lines = [line.rsplit(" ", 1) for line in self.notes.read_text().splitlines()]
        return [int(pid) for said, pid in lines if said == text]

    async def wait_noted(self, text: str, times: int) -> list[int]:
        """Wait until it was noted so often."""
        with trio.fail_after(PATIENCE):
            while len(self.noted(text)) < times:  # noqa: ASYNC110 - another process writes the file
                await trio.sleep(0.01)
        return self.noted(text)

    async def wait_ended(self) -> int | None:
        """Wait for the supervisor's end; return its exit code."""
        with trio.fail_after(PATIENCE):
            await self.ended.wait()
        return self.code

    async def ask(self) -> int:
        """Return the number of the worker that answers."""
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
            return int(await stream.receive_some(100))


@asynccontextmanager
async def crew(folder: Path, *, workers: int = 2, end: str = "at once", grace: float = 5.0) -> AsyncIterator[Crew]:
    (held,) = reserve("127.0.0.1", 0, reuse_port=True)
    crew = Crew(held.getsockname()[1], folder / "notes")
    command = [sys.executable, "-I", "-S", "-c", WORKER, str(crew.port), str(crew.notes), end]

    async def run(task_status: trio.TaskStatus[None]) -> None:
        with crew.scope:
            crew.code = await supervise(
                command, workers=workers, grace=grace, on_exit=crew.exited.append, pace=QUICK, task_status=task_status
            )
        crew.ended.set()

    with held:
        async with trio.open_nursery() as nursery:
            await nursery.start(run)
            yield crew
            crew.scope.cancel()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_workers_share_the_port_and_a_signal_ends_them_all(tmp_path: Path) -> None:
    async with crew(tmp_path) as workers:
        pids = set(await workers.wait_noted("started", 2))
        answering = {await workers.ask() for _ in range(40)}
        os.kill(os.getpid(), signal.SIGTERM)

        assert (await workers.wait_ended(), answering) == (0, pids)
    assert (set(workers.exited), set(workers.noted("SIGTERM"))) == (pids, pids)
    assert not any(alive(pid) for pid in pids)


async def test_a_worker_that_is_killed_is_replaced_while_the_other_goes_on(tmp_path: Path) -> None:
    async with crew(tmp_path) as workers:
        victim, other = await workers.wait_noted("started", 2)
        os.kill(victim, signal.SIGKILL)
        started = await workers.wait_noted("started", 3)

        assert workers.exited == [victim]
        assert {await workers.ask() for _ in range(40)} == {other, started[2]}


async def test_a_hangup_reaches_every_worker_and_ends_none(tmp_path: Path) -> None:
    async with crew(tmp_path) as workers:
        pids = set(await workers.wait_noted("started", 2))
        os.kill(os.getpid(), signal.SIGHUP)

        assert set(await workers.wait_noted("SIGHUP", 2)) == pids
        assert workers.exited == []


async def test_a_second_signal_is_passed_on(tmp_path: Path) -> None:
    async with crew(tmp_path, end="on the second", grace=60) as workers:
        pids = await workers.wait_noted("started", 2)
        os.kill(os.getpid(), signal.SIGINT)
        await workers.wait_noted("SIGTERM", 2)
        assert workers.exited == []
        os.kill(os.getpid(), signal.SIGINT)

        assert await workers.wait_ended() == 0
    assert sorted(workers.exited) == sorted(pids)


async def test_a_worker_that_will_not_end_is_killed_after_the_grace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vango.app.supervisor.KILL_SECONDS", 0.1)
    async with crew(tmp_path, workers=1, end="never", grace=0.1) as workers:
        (pid,) = await workers.wait_noted("started", 1)
        os.kill(os.getpid(), signal.SIGTERM)

        assert (await workers.wait_ended(), workers.exited) == (1, [pid])
    assert not alive(pid)


async def test_workers_that_never_start_are_given_up() -> None:
    exited: list[int] = []
    command = [sys.executable, "-I", "-S", "-c", "raise SystemExit(3)"]

    with trio.fail_after(PATIENCE):
        code = await supervise(command, workers=1, grace=1, on_exit=exited.append, pace=QUICK)

    assert (code, len(exited)) == (1, 3)


async def test_workers_that_once_ran_are_started_again_however_often_they_die(tmp_path: Path) -> None:
    async with crew(tmp_path, workers=1) as workers:
        await workers.wait_noted("started", 1)
        await trio.sleep(QUICK.settle)
        for number in range(1, 6):
            os.kill((await workers.wait_noted("started", number))[-1], signal.SIGKILL)
        await workers.wait_noted("started", 6)

        assert not workers.ended.is_set()


async def test_a_supervisor_that_is_cancelled_leaves_no_worker(tmp_path: Path) -> None:
    async with crew(tmp_path, end="never") as workers:
        pids = await workers.wait_noted("started", 2)
        workers.scope.cancel()
        await workers.wait_ended()

        assert sorted(workers.exited) == sorted(pids)
        assert not any(alive(pid) for pid in pids)


async def test_workers_do_not_hear_the_terminal(tmp_path: Path) -> None:
    async with crew(tmp_path, workers=1) as workers:
        (pid,) = await workers.wait_noted("started", 1)

        assert os.getpgid(pid) == pid != os.getpgid(0)


async def test_a_worker_notices_that_its_supervisor_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    saved = os.dup(0)
    os.dup2(theirs.fileno(), 0)
    theirs.close()
    orphaned = trio.Event()
    try:
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                await wait_orphaned()
                orphaned.set()

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert not orphaned.is_set()
            ours.close()
            with trio.fail_after(PATIENCE):
                await orphaned.wait()
    finally:
        os.dup2(saved, 0)
        os.close(saved)
