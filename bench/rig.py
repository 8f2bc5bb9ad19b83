"""The upstream and the load as commands: compiled where there is a C compiler, else the same in Python."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import messages
import processes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

HERE = Path(__file__).parent
LOAD_SECONDS = 60
"""A load ends by itself, some 30 seconds after its time at the latest."""


class Tools(NamedTuple):
    """How to start them, and in which language they are."""

    language: str
    upstream: list[str]
    load: list[str]


def find_tools(folder: Path, *, in_python: bool = False) -> Tools:
    """Compile the tools into a folder, or fall back to Python with a word about it."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is not None and not in_python:
        built = [_compile(compiler, HERE / f"{name}.c", folder / name) for name in ("upstream", "load")]
        if all(built):
            return Tools("C", *[[str(folder / name)] for name in ("upstream", "load")])
    if not in_python:
        print("no C compiler that works: the tools run in Python and cost several times as much", file=sys.stderr)
    return Tools("Python", *[[sys.executable, str(HERE / f"{name}.py")] for name in ("upstream", "load")])


def _compile(compiler: str, source: Path, program: Path) -> bool:
    done = subprocess.run([compiler, "-O2", "-o", program, source], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(f"{compiler} could not compile {source.name}:\n{done.stderr}", file=sys.stderr)
    return done.returncode == 0


class Upstream:
    """The running provider. `pid` is its process, `port` where it answers."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self.port = port

    def _get(self, path: str) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            return answer

    def stats(self) -> dict[str, Any]:
        """Return its counts; `aborted` is when it saw each client's stream given up, in monotonic seconds."""
        return self._get("/stats")

    def reset(self) -> None:
        """Let it count from zero."""
        self._get("/reset")


@contextlib.contextmanager
def upstream(tools: Tools, cores: Iterable[int]) -> Iterator[Upstream]:
    """Run a provider."""
    with processes.started([*tools.upstream, *messages.answers()], cores) as process:
        assert process.stdout is not None
        port = process.stdout.readline()
        if not port:
            raise RuntimeError("the upstream did not start")
        yield Upstream(process.pid, int(port))


def ask(
    port: int, *, model: str, headers: Sequence[str], connections: int, seconds: float, plan: str | None = None
) -> list[str]:
    """Return the arguments of a load: whole answers, or with a `plan` (`100x20`) streams."""
    arguments = ["-p", str(port), "-c", str(connections), "-s", str(seconds)]
    arguments += ["-q", messages.request(port, model, headers, plan)]
    if plan is None:
        return [*arguments, "-z", messages.ANSWER_MARK]
    return [*arguments, "-z", messages.STREAM_MARK, "-m", messages.CHUNK_MARK, "-n", plan.partition("x")[0]]


def run_load(tools: Tools, arguments: Sequence[str], cores: Iterable[int]) -> dict[str, Any]:
    """Run a load to its end and return what it saw."""
    with processes.started([*tools.load, *arguments], cores) as process:
        out, _ = process.communicate(timeout=LOAD_SECONDS)
        if process.returncode != 0:
            raise RuntimeError(f"the load ended with exit code {process.returncode}")
    seen: dict[str, Any] = json.loads(out)
    return seen


@dataclass
class Held:
    """Streams that are open and silent: how many, and once they are closed, what went wrong with others."""

    streams: int
    errors: dict[str, int] = field(default_factory=dict)


@contextlib.contextmanager
def held_streams(tools: Tools, arguments: Sequence[str], cores: Iterable[int]) -> Iterator[Held]:
    """Keep the streams of a load open while the block runs."""
    with processes.started([*tools.load, *arguments, "-w"], cores, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        held = Held(json.loads(process.stdout.readline())["held"])
        yield held
        out, _ = process.communicate(timeout=LOAD_SECONDS)
        held.errors = json.loads(out)["errors"]
