"""How a server ends: in a nursery, as a process that hears signals, and with workers."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trio.testing

from tests.support.events import END, OPENING, delta
from tests.support.raw import PATIENCE, Raw, Reply
from tests.support.upstream import Peer, Upstream, chunk, chunked_head
from tests.support.waiting import eventually
from vango.app.serve import serve
from vango.app.server import Drain
from vango.config import Settings

MODEL = "anthropic/claude-sonnet-4-5"
WORD = delta(b"word ")
LAST = b"0\r\n\r\n"
AT_ONCE = 2.0
"""Seconds in which a server ends that waits for nothing; the waits it might mistake for something last longer."""

STARTUP = 20.0
"""What a process may take to begin and to end on a machine that does other things too."""


def post(*, stream: bool = True) -> bytes:
    message = {"role": "user", "content": "Hello"}
    body = json.dumps({"model": MODEL, "max_tokens": 64, "stream": stream, "messages": [message]}).encode()
    return b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def get(path: str) -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode()


class Pausing:
    """A provider that says a word, and the rest when `go` is set."""

    def __init__(self) -> None:
        self.go = trio.Event()

    async def __call__(self, peer: Peer) -> None:
        await peer.request()
        await peer.send(chunked_head(200, {"content-type": "text/event-stream", "connection": "close"}))
        await peer.send(chunk(OPENING + WORD))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._rest, peer, nursery.cancel_scope)
            await peer.wait_closed()
            nursery.cancel_scope.cancel()

    async def _rest(self, peer: Peer, scope: trio.CancelScope) -> None:
        await self.go.wait()
        await peer.send(chunk(WORD + END) + LAST)
        scope.cancel()


async def firehose(peer: Peer) -> None:
    """Talk as fast as it is listened to."""
    await peer.request()
    await peer.send(chunked_head(200, {"content-type": "text/event-stream"}) + chunk(OPENING))
    while True:
        await peer.send(chunk(delta(b"x" * 50_000)))


# In a nursery


@dataclass
class InNursery:
    port: int
    drain: Drain
    log: io.StringIO
    ended: trio.Event

    async def wait_ended(self, seconds: float = PATIENCE) -> float:
        began = trio.current_time()
        with trio.fail_after(seconds):
            await self.ended.wait()
        return trio.current_time() - began

    def lines(self) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [line for line in found if line["event"] == "request_complete"]


@asynccontextmanager
async def serving(upstream: Upstream, *, grace: float = PATIENCE, **limits: float) -> AsyncIterator[InNursery]:
    settings = Settings.model_validate(
        {
            "providers": {"anthropic": {"base_url": upstream.base_url, "api_key": "sk-upstream"}},
            "server": {"port": 0, "shutdown_grace_seconds": grace, "limits": limits},
        }
    )
    drain, log = Drain(), io.StringIO()
    async with trio.open_nursery() as nursery:
        ended = trio.Event()

        async def run(task_status: trio.TaskStatus[Any]) -> None:
            await serve(settings, drain=drain, log=log, task_status=task_status)
            ended.set()

        started = await nursery.start(run)
        yield InNursery(int(started.urls[0].rsplit(":", 1)[1]), drain, log, ended)
        nursery.cancel_scope.cancel()


async def begun(client: Raw, data: bytes) -> Callable[[], Awaitable[Reply]]:
    """Send the beginning of a request's head; return what sends the rest and reads the answer."""
    await client.send(data[:10])

    async def rest() -> Reply:
        return await client.ask(data[10:])

    return rest


async def test_streams_in_flight_finish_and_then_the_server_ends() -> None:
    provider = Pausing()
    async with Upstream(provider) as upstream, serving(upstream) as server:
        clients = [await Raw.connect(server.port) for _ in range(10)]
        for client in clients:
            await client.send(post())
            await client.until(WORD)

        server.drain.begin()
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not server.ended.is_set()
        provider.go.set()

        for client in clients:
            rest, end = await client.rest()
            assert (rest.endswith(END + b"\r\n" + LAST), rest.count(b"word "), end) == (True, 1, "eof")
            client.close()
        assert await server.wait_ended() < AT_ONCE
        assert {(line["status"], line["cancelled_by"]) for line in server.lines()} == {(200, None)}
        assert len(server.lines()) == 10
        await eventually(lambda: upstream.open == 0)


async def test_a_server_without_work_ends_at_once() -> None:
    async with Upstream(Pausing()) as upstream, serving(upstream) as server:
        idle = [await Raw.connect(server.port) for _ in range(3)]
        await idle[0].ask(get("/health"))

        server.drain.begin()

        assert await server.wait_ended() < AT_ONCE
        for client in idle:
            assert await client.rest() == (b"", "eof")
            client.close()
        with pytest.raises(OSError, match="refused"):
            await Raw.connect(server.port)


async def test_new_work_is_refused_with_a_hint_and_probes_are_answered() -> None:
    provider = Pausing()
    async with Upstream(provider) as upstream, serving(upstream) as server:
        streaming = await Raw.connect(server.port)
        await streaming.send(post())
        await streaming.until(WORD)
        requests = {
            "work": post(stream=False),
            "models": get("/v1/models"),
            "ready": get("/ready"),
            "health": get("/health"),
            "metrics": get("/metrics"),
        }
        clients = {name: await Raw.connect(server.port) for name in requests}
        rests = {name: await begun(clients[name], data) for name, data in requests.items()}
        await trio.testing.wait_all_tasks_blocked(0.01)

        server.drain.begin()
        late = {}
        for name, data in requests.items():
            async with await Raw.connect(server.port) as client:
                late[name] = await client.ask(data)
        replies = {name: await rests[name]() for name in rests}

        assert {name: reply.status for name, reply in late.items()} == {
            name: reply.status for name, reply in replies.items()
        }

        assert {name: reply.status for name, reply in replies.items()} == {
            "work": 503,
            "models": 503,
            "ready": 503,
            "health": 200,
            "metrics": 200,
        }
        for name in ("work", "models"):
            error = json.loads(replies[name].body)
            assert error["type"] == "error"
            assert (error["error"]["type"], error["error"]["code"]) == ("overloaded_error", "draining")
            assert error["error"]["retry_after"] == 1.0
            assert replies[name].headers["retry-after"] == "1"
            assert error["request_id"] == replies[name].headers["x-request-id"]
        assert json.loads(replies["ready"].body) == {"status": "draining"}
        # Each of these answers is the last of its connection.
        for name, client in clients.items():
            assert replies[name].headers["connection"] == "close", name
            assert await client.rest() == (b"", "eof")
            client.close()
        assert len(upstream.requests) == 1
        provider.go.set()
        assert (await streaming.rest())[1] == "eof"
        streaming.close()
        await server.wait_ended()


async def test_connections_that_were_waiting_to_be_accepted_are_answered() -> None:
    async with Upstream(Pausing()) as upstream, serving(upstream) as server:
        clients = [await Raw.connect(server.port) for _ in range(5)]
        for client in clients:
            client.sock.send(get("/ready"))
        server.drain.begin()  # nobody has accepted them: no other task has run since

        for client in clients:
            reply = await client.reply()
            assert (reply.status, reply.headers["connection"]) == (503, "close")
            client.close()
        await server.wait_ended()


async def test_what_is_not_done_at_the_end_of_the_grace_is_cut() -> None:
    provider = Pausing()
    async with Upstream(provider) as upstream, serving(upstream, grace=0.3) as server:
        client = await Raw.connect(server.port)
        await client.send(post())
        await client.until(WORD)
        waiting = await Raw.connect(server.port)
        await waiting.send(post()[:-1])

        server.drain.begin()

        assert 0.25 < await server.wait_ended() < 1.3
        rest, end = await client.rest()
        assert (END not in rest, end) == (True, "reset")
        unanswered = await waiting.reply()
        assert (unanswered.status, unanswered.headers["connection"]) == (503, "close")
        client.close()
        waiting.close()
        with trio.fail_after(PATIENCE):
            await upstream.wait_closed(1)
        by = {(line["status"], line["cancelled_by"], line["provider"]) for line in server.lines()}
        assert (200, "server", "anthropic") in by


@pytest.mark.parametrize("stop", [False, True], ids=["grace", "stopped"])
async def test_a_reader_that_is_stuck_holds_nobody_up(stop: bool) -> None:
    async with Upstream(firehose) as upstream, serving(upstream, grace=60.0 if stop else 0.3) as server:
        client = await Raw.connect(server.port, receive_buffer=4096)
        await client.send(post())
        await client.until(b"message_start")
        await trio.testing.wait_all_tasks_blocked(0.05)

        server.drain.begin()
        if stop:
            server.drain.stop_now()

        assert await server.wait_ended() < 1.5
        client.close()
        with trio.fail_after(PATIENCE):
            await upstream.wait_closed(1)


async def test_stopping_cancels_at_once_and_closes_the_upstream() -> None:
    async with Upstream(Pausing()) as upstream, serving(upstream, grace=60.0) as server:
        client = await Raw.connect(server.port)
        await client.send(post())
        await client.until(WORD)
        server.drain.begin()
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not server.ended.is_set()

        server.drain.stop_now()

        assert await server.wait_ended() < AT_ONCE
        assert (await client.rest())[1] == "reset"
        client.close()
        with trio.fail_after(PATIENCE):
            await upstream.wait_closed(1)


async def test_a_client_that_leaves_during_the_drain_lets_the_server_end() -> None:
    async with Upstream(Pausing()) as upstream, serving(upstream, grace=60.0) as server:
        client = await Raw.connect(server.port)
        await client.send(post())
        await client.until(WORD)
        server.drain.begin()
        await trio.testing.wait_all_tasks_blocked(0.01)

        client.close()

        assert await server.wait_ended() < AT_ONCE
        (line,) = server.lines()
        assert line["cancelled_by"] == "client"


# As a process


@dataclass
class Program:
    """`vango serve` in a process of its own."""

    process: trio.Process
    announced: str
    port: int
    out: bytearray
    err: bytearray

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def wait(self, seconds: float = STARTUP) -> int:
        with trio.fail_after(seconds):
            return await self.process.wait()

    def lines(self, event: str = "request_complete") -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.out.decode().splitlines() if line.startswith("{")]
        return [line for line in found if line["event"] == event]


@asynccontextmanager
async def program(
    tmp_path: Path, upstream: Upstream, *, workers: int = 1, grace: float = 20.0
) -> AsyncIterator[Program]:
    config = tmp_path / "vango.toml"
    config.write_text(
        f"[server]\nport = 0\nworkers = {workers}\nshutdown_grace_seconds = {grace}\n"
        f'[providers.anthropic]\napi_key = "sk-upstream"\nbase_url = "{upstream.base_url}"\n'
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("VANGO", "ANTHROPIC"))}
    command = [sys.executable, "-m", "vango", "serve", "--config", str(config)]
    out, err = bytearray(), bytearray()
    async with trio.open_nursery() as nursery:
        process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ,
            cwd=Path(__file__).parents[2],
            start_new_session=True,
        )
        try:
            nursery.start_soon(_collect, process.stdout, out)
            nursery.start_soon(_collect, process.stderr, err)
            await eventually(lambda: b"\n" in out or process.poll() is not None, STARTUP)
            assert process.returncode is None, err.decode()
            first = out.partition(b"\n")[0].decode()
            found = re.search(r"http://127\.0\.0\.1:(\d+)", first)
            assert found is not None, first
            yield Program(process, first, int(found[1]), out, err)
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                with trio.move_on_after(PATIENCE, shield=True):
                    await process.wait()
            nursery.cancel_scope.cancel()


async def _collect(stream: Any, into: bytearray) -> None:
    async with stream:
        async for data in stream:
            into += data


async def wait_draining(port: int) -> None:
    """Wait until a new connection is refused, or told that the server is not ready."""
    with trio.fail_after(STARTUP):
        while True:
            try:
                async with await Raw.connect(port) as probe:
                    if (await probe.ask(get("/ready"))).status == 503:
                        return
            except (OSError, EOFError):
                return
            await trio.sleep(0.005)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_and_the_program_ends_well(tmp_path: Path, number: signal.Signals) -> None:
    provider = Pausing()
    async with Upstream(provider) as upstream, program(tmp_path, upstream) as vango:
        client, late, idle = [await Raw.connect(vango.port) for _ in range(3)]
        await client.send(post())
        await client.until(WORD)
        await idle.ask(get("/health"))
        rest = await begun(late, post(stream=False))
        await idle.ask(get("/health"))  # by now the server has the late one's bytes, which came before

        vango.process.send_signal(number)
        await wait_draining(vango.port)
        refusal = await rest()
        assert await idle.rest() == (b"", "eof")
        provider.go.set()
        answer, end = await client.rest()

        assert (refusal.status, refusal.headers["retry-after"]) == (503, "1")
        assert json.loads(refusal.body)["error"]["type"] == "overloaded_error"
        assert (answer.endswith(END + b"\r\n" + LAST), end) == (True, "eof")
        for each in (client, late, idle):
            each.close()
        assert await vango.wait() == 0
        assert vango.err == b""
        assert vango.announced.startswith("Vango ")
        assert [line["method"] for line in vango.lines() if line["error"] == "overloaded_error"] == ["POST"]
        assert [line["status"] for line in vango.lines() if line["provider"] == "anthropic"] == [200]
        assert "Traceback" not in vango.out.decode()


async def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    async with Upstream(Pausing()) as upstream, program(tmp_path, upstream) as vango:
        client = await Raw.connect(vango.port)
        await client.send(post())
        await client.until(WORD)
        vango.process.send_signal(signal.SIGTERM)
        await wait_draining(vango.port)
        assert vango.process.poll() is None

        stopped_at = trio.current_time()
        vango.process.send_signal(signal.SIGINT)
        assert await vango.wait() == 0

        assert trio.current_time() - stopped_at < 2.0
        assert (await client.rest())[1] == "reset"
        client.close()
        with trio.fail_after(PATIENCE):
            await upstream.wait_closed(1)
        assert vango.err == b""
        (line,) = [line for line in vango.lines() if line["path"] == "/v1/messages"]
        assert line["cancelled_by"] == "server"


async def test_a_stuck_reader_does_not_keep_the_program_beyond_its_grace(tmp_path: Path) -> None:
    async with Upstream(firehose) as upstream, program(tmp_path, upstream, grace=0.5) as vango:
        client = await Raw.connect(vango.port, receive_buffer=4096)
        await client.send(post())
        await client.until(b"message_start")

        told_at = trio.current_time()
        vango.process.send_signal(signal.SIGTERM)
        assert await vango.wait() == 0

        assert trio.current_time() - told_at < 0.5 + 5.0
        client.close()
        assert vango.err == b""


# With workers


def children(pid: int) -> set[int]:
    """Return the processes that a process, by any of its threads, has started and that are alive."""
    found = [each.read_text().split() for each in Path(f"/proc/{pid}/task").glob("*/children")]
    return {int(number) for numbers in found for number in numbers}


def is_stopped(pid: int) -> bool:
    return "\nState:\tT" in Path(f"/proc/{pid}/status").read_text()


def pending(pid: int) -> set[int]:
    """Return the numbers of the signals that a process has yet to take."""
    found = re.search(r"^ShdPnd:\s*([0-9a-f]+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    bits = int(found[1], 16) if found else 0
    return {number for number in range(1, 65) if bits >> (number - 1) & 1}


def listening(port: int) -> int:
    """Return how many sockets of this machine listen on a port of loopback."""
    lines = Path("/proc/net/tcp").read_text().splitlines()
    return sum(f"0100007F:{port:04X} 00000000:0000 0A" in line for line in lines)


needs_proc = pytest.mark.skipif(not Path("/proc/net/tcp").is_file(), reason="workers are found in /proc")


async def served(vango: Program) -> float:
    """Return how many messages all workers together have answered, as any of them tells."""
    async with httpx.AsyncClient(trust_env=False) as http:
        text = (await http.get(f"{vango.url}/metrics")).text
    found = re.findall(r'^vango_requests_total\{.*path="/v1/messages".*\} ([0-9.]+)$', text, re.MULTILINE)
    return sum(map(float, found))


async def wait_served(vango: Program, count: float) -> None:
    with trio.fail_after(PATIENCE):
        while await served(vango) != count:  # noqa: ASYNC110
            await trio.sleep(0.01)


async def ended_well(client: Raw) -> bool:
    """Read a stream to its end, and close; return whether it had one."""
    try:
        await client.until(END)
    except (EOFError, ConnectionResetError):
        return False
    finally:
        client.close()
    return True


async def streams(vango: Program, count: int) -> list[Raw]:
    """Return clients that have heard the first word of their streams: over so many, each worker has some."""
    clients = [await Raw.connect(vango.port) for _ in range(count)]
    for client in clients:
        await client.send(post())
        await client.until(WORD)
    return clients


@needs_proc
async def test_workers_share_port_and_metrics_are_replaced_and_drain(tmp_path: Path) -> None:
    provider = Pausing()
    async with Upstream(provider) as upstream, program(tmp_path, upstream, workers=2) as vango:
        await eventually(lambda: listening(vango.port) == 2, STARTUP)
        first, second = children(vango.process.pid)
        clients = await streams(vango, 40)

        os.kill(first, signal.SIGKILL)
        provider.go.set()
        finished = sum([await ended_well(client) for client in clients])

        # Each had some of the streams: those of the one died with it, those of the other came to their end.
        assert 0 < finished < len(clients)
        await eventually(lambda: listening(vango.port) == 2, STARTUP)
        replaced = children(vango.process.pid)
        assert len(replaced) == 2
        assert replaced & {first, second} == {second}

        # What died is counted by nobody; the rest is, whoever is asked.
        await wait_served(vango, finished)
        provider.go = trio.Event()
        clients = await streams(vango, 20)
        os.killpg(vango.process.pid, signal.SIGINT)  # as a terminal does, to the parent's whole group
        await wait_draining(vango.port)
        provider.go.set()

        assert [await ended_well(client) for client in clients] == [True] * len(clients)
        assert await vango.wait() == 0
        assert vango.err == b""
        assert not replaced & {int(name) for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208


@needs_proc
async def test_a_second_signal_stops_every_worker_and_all_count_together_before_it(tmp_path: Path) -> None:
    provider = Pausing()
    async with Upstream(provider) as upstream, program(tmp_path, upstream, workers=2) as vango:
        await eventually(lambda: listening(vango.port) == 2, STARTUP)
        provider.go.set()
        assert [await ended_well(client) for client in await streams(vango, 20)] == [True] * 20
        await wait_served(vango, 20)
        assert {await served(vango) for _ in range(10)} == {20}
        provider.go = trio.Event()
        clients = await streams(vango, 10)

        # A worker that is too busy to hear the first before the second comes has heard both all the same.
        workers = children(vango.process.pid)
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        await eventually(lambda: all(is_stopped(pid) for pid in workers))
        vango.process.send_signal(signal.SIGTERM)
        vango.process.send_signal(signal.SIGINT)
        await eventually(lambda: all(len(pending(pid)) == 2 for pid in workers))
        stopped_at = trio.current_time()
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
        assert await vango.wait() == 0

        assert trio.current_time() - stopped_at < 3.0
        assert {(await client.rest())[1] for client in clients} == {"reset"}
        for client in clients:
            client.close()
        assert vango.err == b""


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_hang_up_signal_ends_nothing(tmp_path: Path, workers: int) -> None:
    async with Upstream(Pausing()) as upstream, program(tmp_path, upstream, workers=workers) as vango:
        async with await Raw.connect(vango.port) as client:
            assert (await client.ask(get("/health"))).status == 200

            vango.process.send_signal(signal.SIGHUP)
            await eventually(lambda: b"SIGHUP does nothing" in vango.err, STARTUP)

            assert (await client.ask(get("/health"))).status == 200
        vango.process.send_signal(signal.SIGTERM)
        assert await vango.wait() == 0
