"""Processes of a run: started on chosen cores, measured through /proc, and ended on every path. Linux only."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

TICKS = os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG = 1
STOP_SECONDS = 3.0
STOPS = {signal.SIGINT, signal.SIGTERM, signal.SIGALRM}

_prctl = ctypes.CDLL(None).prctl


class Cores(NamedTuple):
    """Where things run. On two cores the tools share the one that the gateway leaves."""

    gateway: frozenset[int]
    upstream: frozenset[int]
    load: frozenset[int]

    def __str__(self) -> str:
        def text(cores: frozenset[int]) -> str:
            return ",".join(map(str, sorted(cores)))

        return f"gateway on {text(self.gateway)}, upstream on {text(self.upstream)}, load on {text(self.load)}"


def share_cores(workers: int) -> Cores:
    """Give the gateway a core for each worker, and the tools the last ones, as far as the cores go."""
    cores = sorted(os.sched_getaffinity(0))
    tools = min(2, len(cores) - 1)
    gateway = frozenset(cores[: max(1, min(workers, len(cores) - tools))])
    return Cores(gateway, frozenset(cores[-1:]), frozenset([cores[-2] if tools == 2 else cores[-1]]))


@contextlib.contextmanager
def started(
    command: Sequence[str],
    cores: Iterable[int],
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.PIPE,
    stderr: int | IO[bytes] | None = None,
    cwd: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in a session of its own; it and its children are gone when the block is left."""
    process = None
    # A signal between the start and the block would leave the process behind, so it has to wait.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.sched_setaffinity(0, cores)
        # Should this program be killed, the kernel asks the child to stop.
        _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    try:
        process = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=prepare,
        )
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        yield process
    finally:
        # A second Ctrl-C must not leave anything behind either; ending is bounded.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        if process is not None:
            _end(process)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def running(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process still runs. It is not reaped, so that its number stays its own and its group can be ended safely."""
    if process.returncode is not None:
        return False
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop a process and whatever it has started: ask first, then insist."""
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while running(process) and time.monotonic() < deadline:
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def family(pid: int) -> list[int]:
    """Return a process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    found = [pid]
    for parent in found:  # grows while it is read
        found += children.get(parent, [])
    return found


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the program's name, which may itself hold blanks and brackets."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the processor time that processes have used, in user and kernel."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            ticks += sum(map(int, _stat(pid)[11:13]))
    return ticks / TICKS


def memory_bytes(pids: Iterable[int]) -> int:
    """Return the resident memory of processes; pages that they share count once for each."""
    pages = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def own_seconds() -> float:
    """Return the processor time of this process and of the children that it has reaped."""
    return sum(os.times()[:4])


def machine_seconds() -> float:
    """Return the processor time that the whole machine has used, and what its host took from it."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / TICKS
