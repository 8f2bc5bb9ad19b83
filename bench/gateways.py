"""What is measured: nothing at all (`direct`), Vango with everything on, and whatever gateway else one names."""

from __future__ import annotations

import contextlib
import http.client
import secrets
import shlex
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import messages
import processes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).parent.parent
START_SECONDS = 60
ASK_EVERY = 0.005


@dataclass
class Gateway:
    """A gateway: the command that starts it, with `{port}` and `{upstream}`, and what its callers send.

    `direct` has no command: its callers ask the upstream itself.
    """

    name: str
    command: str = ""
    model: str = messages.MODEL
    headers: list[str] = field(default_factory=list)
    cwd: Path | None = None


@dataclass(frozen=True)
class Running:
    """A gateway that answers. `pid` is its first process (None for `direct`), `seconds` what it took to its first answer."""

    port: int
    pid: int | None = None
    seconds: float = 0.0

    @property
    def pids(self) -> list[int]:
        """Its processes, as of now; none for `direct`."""
        return [] if self.pid is None else processes.family(self.pid)


def vango(folder: Path, upstream_port: int, workers: int) -> Gateway:
    """Return Vango as it is deployed: keys, prices, metrics and logs on."""
    key = f"vango_sk_{secrets.token_hex(16)}"
    config = folder / "vango.toml"
    config.write_text(f"""
[server]
workers = {workers}
shutdown_grace_seconds = 1

[auth]
mode = "api_key"

[[auth.api_keys]]
key = "{key}"
name = "bench"

[providers.anthropic]
api_key = "sk-bench"
base_url = "http://127.0.0.1:{upstream_port}"
max_connections = 10000

[usage]
store = "none"
""")
    # A deployed Vango is compiled to bytecode once, whatever the shell that measures it prefers.
    python = ["env", "-u", "PYTHONDONTWRITEBYTECODE", sys.executable]
    command = shlex.join([*python, "-m", "vango", "serve", "--config", str(config), "--port", "{port}"])
    return Gateway("vango", command, f"anthropic/{messages.MODEL}", [f"x-api-key: {key}"], ROOT)


@contextlib.contextmanager
def running(gateway: Gateway, upstream_port: int, cores: Iterable[int], log: Path) -> Iterator[Running]:
    """Run a gateway, from its start to its first answer with status 200 and to its end; raises RuntimeError."""
    if not gateway.command:
        yield Running(upstream_port)
        return
    port = _free_port()
    values = {"{port}": str(port), "{upstream}": f"http://127.0.0.1:{upstream_port}"}
    command = [_filled(word, values) for word in shlex.split(gateway.command)]
    with log.open("ab") as out:
        began = time.monotonic()
        with processes.started(command, cores, stdout=out, stderr=out, cwd=gateway.cwd) as process:
            request = messages.request(port, gateway.model, gateway.headers, None)
            while (status := _status(port, request)) != 200:
                if not processes.running(process) or time.monotonic() > began + START_SECONDS:
                    tail = log.read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"{gateway.name} did not answer (last status: {status}). Its log ends:\n{tail}")
                time.sleep(ASK_EVERY)
            yield Running(port, process.pid, time.monotonic() - began)


def _filled(word: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(name, value)
    return word


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def _status(port: int, request: str) -> int:
    """Return the status of one answer; 0 where there is none."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            sock.sendall(request.encode())
            answer = http.client.HTTPResponse(sock, method="POST")
            answer.begin()
            answer.read()
            return answer.status
    except (OSError, http.client.HTTPException):
        return 0
