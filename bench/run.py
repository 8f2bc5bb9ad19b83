"""Measure Vango beside a direct call: requests, latency, chunks, cancellation, memory and start, in one run on one machine.

    python bench/run.py                     direct and Vango, with everything switched on; under two minutes
    python bench/run.py --rounds 3          the gateways in turn, three times; the table shows medians
    python bench/run.py --peer 'other:other-gateway --port {port} --upstream {upstream}' --header 'other=x-api-key: KEY'

Upstream, gateway and load run on loopback and on cores of their own, as far as there are any. See bench/README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gateways
import processes
import report
import rig
import scenarios

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from gateways import Gateway
    from scenarios import Figures, Sizes

SCENARIOS = ("start", "idle", "json", "burst", "paced", "cancel")
MEASURED = (
    "idle",
    "json",
    "burst",
    "paced",
    "cancel",
)  # with a gateway that runs, in this order: memory while it is fresh
ROUND_SECONDS = 60.0
"""What a round of direct or Vango may take; others may start slowly and have twice as long."""

ENOUGH_STARTS_SECONDS = 6.0
SETTLE_SECONDS = 0.5  # for workers that come up after the one that answered first
SPARE_FILES = 200


class Run:
    """One run: the gateways in turn, round by round, on one upstream."""

    def __init__(self, options: argparse.Namespace, folder: Path, sizes: Sizes) -> None:
        self._options = options
        self._folder = folder
        self._sizes = sizes
        self._cores = processes.share_cores(options.workers)
        self._tools = rig.find_tools(folder, in_python=options.python_tools)
        self.errors: dict[str, dict[str, Any]] = {}

    @property
    def setting(self) -> dict[str, Any]:
        """What the figures were measured with."""
        return {
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.release()}",
            "cores": os.cpu_count(),
            "placement": str(self._cores),
            "tools": self._tools.language,
            "workers": self._options.workers,
            "sizes": asdict(self._sizes),
        }

    def rounds(self) -> list[dict[str, Figures]]:
        """Measure; a gateway that fails is left out of its round, with the reason among the errors."""
        # This program's own work belongs to the tools.
        os.sched_setaffinity(0, self._cores.load)
        out = []
        with rig.upstream(self._tools, self._cores.upstream) as upstream:
            for number in range(self._options.rounds):
                figures: dict[str, Figures] = {}
                for gateway in self._gateways(upstream.port):
                    _say(f"round {number + 1} of {self._options.rounds}: {gateway.name}")
                    figures[gateway.name] = {}
                    try:
                        self._measure(gateway, upstream, figures[gateway.name])
                    except (RuntimeError, OSError, subprocess.TimeoutExpired) as exc:
                        self.errors.setdefault(gateway.name, {})["run"] = str(exc)
                out.append(figures)
        return out

    def _gateways(self, upstream_port: int) -> list[Gateway]:
        options = self._options
        found = [gateways.Gateway("direct"), gateways.vango(self._folder, upstream_port, options.workers)]
        found += [gateways.Gateway(name, command) for name, command in options.peer]
        for gateway in found:
            gateway.headers += [header for name, header in options.header if name == gateway.name]
            gateway.model = dict(options.model).get(gateway.name, gateway.model)
        if options.skip:
            found = [gateway for gateway in found if gateway.name not in options.skip]
        return found

    def _measure(self, gateway: Gateway, upstream: rig.Upstream, figures: Figures) -> None:
        log = self._folder / f"{gateway.name}.log"
        seconds: list[float] = []
        starts = self._sizes.starts if gateway.command and "start" in self._options.scenarios else 1
        # The first start of a fresh clone compiles; a slow gateway need not show more than once how slow it is.
        while len(seconds) < starts - 1 and sum(seconds) < ENOUGH_STARTS_SECONDS:
            with gateways.running(gateway, upstream.port, self._cores.gateway, log) as running:
                seconds.append(running.seconds)
        with gateways.running(gateway, upstream.port, self._cores.gateway, log) as running:
            if running.pids and "start" in self._options.scenarios:
                figures["start.seconds"] = min([*seconds, running.seconds])
                time.sleep(SETTLE_SECONDS)
                figures["start.memory"] = processes.memory_bytes(running.pids)
            bench = scenarios.Bench(self._tools, upstream, self._cores, self._sizes, gateway, running)
            try:
                bench.warm_up()
                for name in MEASURED:
                    if name in self._options.scenarios:
                        _say(f"  {name}")
                        figures |= getattr(bench, name)()
            finally:
                for piece, errors in bench.errors.items():
                    self.errors.setdefault(gateway.name, {})[piece] = errors
            if running.pids:
                figures["end.memory"] = processes.memory_bytes(running.pids)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print and return the exit code: 1 where anything went wrong on the way."""
    options = _options(arguments)
    sizes = scenarios.QUICK if options.quick else scenarios.Sizes()
    if options.seconds is not None:
        sizes = replace(sizes, seconds=options.seconds)
    sizes = replace(sizes, idle=max(1, min(sizes.idle, _open_files() // 2 - SPARE_FILES)))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, _stop)
    signal.setitimer(signal.ITIMER_REAL, options.rounds * (2 + 2 * len(options.peer)) * ROUND_SECONDS)
    with tempfile.TemporaryDirectory(prefix="vango-bench-") as folder:
        run = Run(options, Path(folder), sizes)
        _say(run.setting["placement"])
        rounds = run.rounds()
    figures = report.median(rounds)
    print(report.table(figures, sizes))
    for name, pieces in run.errors.items():
        for piece, errors in pieces.items():
            print(f"\nERRORS {name}, {piece}: {errors}")
    if options.json is not None:
        content = {"setting": run.setting, "median": figures, "rounds": rounds, "errors": run.errors}
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    return 1 if run.errors else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1, metavar="N")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes of Vango")
    parser.add_argument(
        "--scenarios", type=_scenarios, default=SCENARIOS, metavar="A,B", help=f"of {','.join(SCENARIOS)}"
    )
    parser.add_argument("--seconds", type=float, metavar="S", help="length of each piece that is measured by the clock")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it works, measures nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure of every round")
    parser.add_argument("--skip", action="append", default=[], metavar="NAME", help="leave out direct or vango")
    parser.add_argument("--python-tools", action="store_true", help="do not compile the tools")
    peers = parser.add_argument_group("other gateways; each may be given several times")
    peers.add_argument(
        "--peer", action="append", type=_pair(":"), default=[], metavar="'NAME:COMMAND {port} {upstream}'"
    )
    peers.add_argument("--header", action="append", type=_pair("="), default=[], metavar="'NAME=HEADER: VALUE'")
    peers.add_argument("--model", action="append", type=_pair("="), default=[], metavar="NAME=MODEL")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.workers < 1:
        parser.error("--rounds and --workers are at least 1")
    return options


def _scenarios(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in SCENARIOS]:
        raise argparse.ArgumentTypeError(f"no scenario is called {unknown[0]!r}")
    return names


def _pair(separator: str) -> Any:
    def parse(text: str) -> tuple[str, str]:
        name, found, value = text.partition(separator)
        if not (name and found and value):
            raise argparse.ArgumentTypeError(f"expected NAME{separator}…, got {text!r}")
        return name, value

    return parse


def _open_files() -> int:
    """Raise the limit of open files as far as it goes, for the children too, and return it."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


def _stop(number: int, _frame: FrameType | None) -> None:
    if number == signal.SIGALRM:
        sys.exit("the run took too long and was stopped")
    sys.exit(128 + number)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
