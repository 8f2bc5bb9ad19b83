"""A client that leaves: whatever the gateway was doing for it ends at once, and nothing of it is left.

Real sockets on both sides. How long the provider's connection outlived the client is printed (`pytest -s`).
"""

from __future__ import annotations

import json
import os
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
import trustme

from tests.support.events import OPENING, delta
from tests.support.raw import PATIENCE, Raw
from tests.support.server import Running, running
from tests.support.upstream import Peer, Script, Upstream, chunk, chunked, chunked_head, hang, head, http
from tests.support.waiting import eventually
from vango.transport.http import HttpTransport

MODEL = "anthropic/claude-sonnet-4-5"
DELTA = delta(b"word ")
SSE_HEAD = chunked_head(200, {"content-type": "text/event-stream"})

CLOSED_WITHIN = 1.0
"""What is asserted of the time to a closed upstream, in seconds. The aim is a tenth of it; a loaded machine gets the rest."""

DESCRIPTORS = Path("/proc/self/fd")
pytestmark = pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="descriptors are counted in /proc")


def request(*, stream: bool = True, path: str = "/v1/messages", padding: int = 0) -> bytes:
    message = {"role": "user", "content": "Hello" + "!" * padding}
    body = json.dumps({"model": MODEL, "max_tokens": 64, "stream": stream, "messages": [message]}).encode()
    lines = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return lines.encode() + body


# What the provider does


async def opening(peer: Peer) -> None:
    await peer.request()
    await peer.send(SSE_HEAD + chunk(OPENING))


async def speaking_then_silent(peer: Peer) -> None:
    await peer.request()
    await peer.send(SSE_HEAD + chunk(OPENING + DELTA))


async def speaking(peer: Peer) -> None:
    await speaking_then_silent(peer)
    while peer.closed_at is None:
        with trio.move_on_after(0.005):
            await peer.wait_closed()
        await peer.send(chunk(DELTA))


async def half_an_answer(peer: Peer) -> None:
    await peer.request()
    await peer.send(head(200, {"content-type": "application/json", "content-length": "1000"}) + b'{"type":')


async def reading_nothing(peer: Peer) -> None:
    await peer.request_head()
    await trio.sleep_forever()


async def overloaded(peer: Peer) -> None:
    await peer.request()
    await peer.send(http(b"{}", 529, {"retry-after": "15", "connection": "close"}))
    await peer.finish()


# How a client leaves


async def with_a_fin(client: Raw) -> None:
    client.close()


async def with_a_reset(client: Raw) -> None:
    client.reset()


async def with_half_a_close(client: Raw) -> None:
    client.sock.shutdown(socket.SHUT_WR)


async def behind_one_more_byte(client: Raw) -> None:
    await client.send(b"G")
    client.close()


async def behind_one_more_request(client: Raw) -> None:
    await client.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    client.close()


TCP_ESTABLISHED = 1

WAYS = [with_a_fin, with_a_reset, with_half_a_close, behind_one_more_byte, behind_one_more_request]
Leave = Callable[[Raw], Awaitable[None]]


@dataclass(frozen=True)
class Census:
    """What a process holds that a leak would add to."""

    tasks: int
    descriptors: int

    @classmethod
    def take(cls) -> Census:
        return cls(trio.lowlevel.current_statistics().tasks_living, len(os.listdir(DESCRIPTORS)))  # noqa: PTH208

    async def returns(self) -> None:
        """Wait until things are as they were."""
        with suppress(trio.TooSlowError):
            await eventually(lambda: Census.take() == self)
        assert Census.take() == self


@asynccontextmanager
async def gateway(
    upstream_url: str, *, patience: dict[str, float] | None = None, **options: Any
) -> AsyncIterator[tuple[Running, Census]]:
    """A server in front of the upstream, its own tools warmed up, and what there was before the first client came."""
    provider = {"base_url": upstream_url, "api_key": "sk-upstream", "max_connections": 2000, **(patience or {})}
    async with running({"providers": {"anthropic": provider}}, **options) as serving:
        await metrics(serving)
        await trio.testing.wait_all_tasks_blocked()
        yield serving, Census.take()


async def metrics(serving: Running) -> str:
    return (await serving.http.get("/metrics")).text


def told(serving: Running) -> list[dict[str, Any]]:
    """The log lines of what was asked of a model."""
    return [line for line in serving.lines() if line["path"].startswith("/v1/")]


async def wait_told(serving: Running, count: int = 1) -> None:
    await eventually(lambda: len(told(serving)) >= count)


CANCELLED = 'vango_streams_cancelled_total{by="client",provider="anthropic"} 1.0'


@dataclass(frozen=True)
class Phase:
    """What the gateway is doing when the client leaves."""

    script: Script
    status: int = 499
    asks: bytes = request()
    speaks: bool = False
    """Whether the client has heard something by then."""


PHASES = {
    "before-an-answer": Phase(hang),
    "before-the-first-token": Phase(opening),
    "mid-stream": Phase(speaking, 200, speaks=True),
    "silent-stream": Phase(speaking_then_silent, 200, speaks=True),
    "whole-answer": Phase(hang, asks=request(stream=False)),
    "half-an-answer": Phase(half_an_answer, asks=request(stream=False)),
    "counting": Phase(hang, asks=request(stream=False, path="/v1/messages/count_tokens")),
    "sending-up": Phase(reading_nothing, asks=request(padding=16_000_000)),
}


@pytest.mark.parametrize("leave", WAYS)
@pytest.mark.parametrize("phase", PHASES)
async def test_the_provider_is_left_at_once_and_nothing_stays(phase: str, leave: Leave) -> None:
    case = PHASES[phase]
    async with Upstream(case.script) as upstream, gateway(upstream.base_url) as (server, before):
        client = await Raw.connect(server.port)
        await client.send(case.asks)
        with trio.fail_after(PATIENCE):
            await upstream.wait_requests(1)
        if case.speaks:
            await client.until(DELTA)
        await trio.testing.wait_all_tasks_blocked(0.002)

        left_at = trio.current_time()
        await leave(client)
        with trio.fail_after(PATIENCE):
            await closed(upstream, case)
        took = trio.current_time() - left_at
        await wait_told(server)
        client.close()

        print(f"\n{phase}, {leave.__name__}: {took * 1000:.1f} ms")
        assert took < CLOSED_WITHIN
        (line,) = told(server)
        assert (line["status"], line["cancelled_by"], line["provider"]) == (case.status, "client", "anthropic")
        text = await metrics(server)
        assert CANCELLED in text
        assert "vango_requests_in_flight 1.0" in text  # the one that asks
        assert server.gateway.health()["anthropic"]["status"] != "degraded"
        if case.script is reading_nothing:
            return  # the upstream's own task is still asleep
        await before.returns()
        assert len(told(server)) == 1


async def closed(upstream: Upstream, case: Phase) -> None:
    """Wait until the upstream's connection has ended: seen by reading, or, where the upstream does not read, asked for."""
    if case.script is not reading_nothing:
        await upstream.wait_closed(1)
        return
    (peer,) = upstream.peers
    await eventually(lambda: peer.tcp.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != TCP_ESTABLISHED)


async def test_a_client_that_leaves_after_the_head_has_gone_alone_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vango.engine.engine.HOLD_SECONDS", 0.05)
    async with Upstream(hang) as upstream, gateway(upstream.base_url) as (server, before):
        client = await Raw.connect(server.port)
        await client.send(request())
        answer = await client.head()  # the provider has said nothing, and will not
        assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")

        client.close()
        with trio.fail_after(PATIENCE):
            await upstream.wait_closed(1)
        await wait_told(server)

        (line,) = told(server)
        assert (line["status"], line["cancelled_by"]) == (200, "client")
        await before.returns()


@pytest.mark.parametrize("leave", WAYS)
async def test_a_client_that_leaves_during_a_back_off_is_not_asked_for_again(leave: Leave) -> None:
    async with Upstream(overloaded) as upstream, gateway(upstream.base_url) as (server, before):
        client = await Raw.connect(server.port)
        await client.send(request(stream=False))
        await eventually(lambda: upstream.accepted == 1 and upstream.open == 0)
        await trio.testing.wait_all_tasks_blocked(0.002)

        left_at = trio.current_time()
        await leave(client)
        await wait_told(server)
        took = trio.current_time() - left_at
        client.close()

        assert took < CLOSED_WITHIN
        (line,) = told(server)
        assert (line["status"], line["cancelled_by"], line["attempts"]) == (499, "client", 1)
        assert CANCELLED in await metrics(server)
        await before.returns()
        assert len(upstream.requests) == 1


@pytest.mark.parametrize("leave", WAYS)
async def test_a_client_that_leaves_while_it_waits_for_a_place_gives_up_its_turn(leave: Leave) -> None:
    async with (
        Upstream(speaking_then_silent) as upstream,
        HttpTransport(lambda origin: 1) as transport,
        gateway(upstream.base_url, transports={"http": transport}) as (server, before),
        await Raw.connect(server.port) as first,
    ):
        await first.send(request())
        await first.until(DELTA)
        with_first = Census.take()
        client = await Raw.connect(server.port)
        await client.send(request())
        await eventually(lambda: transport.usage()[upstream.origin].waiting == 1)

        await leave(client)
        await wait_told(server)
        client.close()

        assert transport.usage()[upstream.origin][:] == (1, 0, 0)
        (line,) = told(server)
        assert (line["status"], line["cancelled_by"]) == (499, "client")
        await with_first.returns()
        assert first.is_open()
        first.close()
        await before.returns()
        assert transport.usage()[upstream.origin][:] == (0, 0, 0)
        assert upstream.accepted == 1


@pytest.mark.parametrize("leave", WAYS[:3])
async def test_a_client_that_leaves_while_the_provider_is_connected_to_leaves_nothing(leave: Leave) -> None:
    with socket.socket() as listener, socket.socket() as filler:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        filler.connect(listener.getsockname())  # now the queue is full, and the next connection is not answered
        async with gateway(f"http://127.0.0.1:{listener.getsockname()[1]}") as (server, before):
            client = await Raw.connect(server.port)
            await client.send(request())
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert not told(server)

            left_at = trio.current_time()
            await leave(client)
            await wait_told(server)
            client.close()

            assert trio.current_time() - left_at < CLOSED_WITHIN
            (line,) = told(server)
            assert (line["status"], line["cancelled_by"]) == (499, "client")
            await before.returns()


@pytest.mark.parametrize("leave", WAYS[:3])
@pytest.mark.parametrize("sent", [0, 20, 60_000])
async def test_a_client_that_leaves_during_its_upload_asks_nothing_of_a_provider(sent: int, leave: Leave) -> None:
    whole = request(padding=100_000)
    start = whole.index(b"\r\n\r\n") + 4
    async with Upstream(hang) as upstream, gateway(upstream.base_url) as (server, before):
        client = await Raw.connect(server.port)
        await client.send(whole[: start + sent])
        await trio.testing.wait_all_tasks_blocked(0.01)

        await leave(client)
        await wait_told(server)
        client.close()

        (line,) = told(server)
        assert (line["status"], line["cancelled_by"], line["provider"]) == (499, "client", None)
        await before.returns()
        assert upstream.accepted == 0
        assert "request_failed" not in server.log.getvalue()


@pytest.mark.parametrize("leave", [with_a_fin, with_a_reset, behind_one_more_byte])
async def test_a_client_that_leaves_over_tls_is_noticed_too(tmp_path: Path, leave: Leave) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(tmp_path / "cert.pem", append=True)
    files = {"enabled": True, "cert_file": str(tmp_path / "cert.pem"), "key_file": str(tmp_path / "key.pem")}
    trusting = trusting_context(authority)

    async with Upstream(speaking) as upstream, secure_gateway(upstream.base_url, files) as (server, before):
        client = await Raw.connect(server.port, tls=trusting)
        await client.send(request())
        await client.until(DELTA)

        left_at = trio.current_time()
        await leave(client)
        with trio.fail_after(PATIENCE):
            await upstream.wait_closed(1)
        took = trio.current_time() - left_at
        await wait_told(server)

        print(f"\nover TLS, {leave.__name__}: {took * 1000:.1f} ms")
        assert took < CLOSED_WITHIN
        (line,) = told(server)
        assert (line["status"], line["cancelled_by"]) == (200, "client")
        await before.returns()


def trusting_context(authority: trustme.CA) -> Any:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


@asynccontextmanager
async def secure_gateway(upstream_url: str, tls: dict[str, Any]) -> AsyncIterator[tuple[Running, Census]]:
    settings = {
        "providers": {"anthropic": {"base_url": upstream_url, "api_key": "sk-upstream"}},
        "server": {"tls": tls},
    }
    async with running(settings) as serving:
        await trio.testing.wait_all_tasks_blocked()
        yield serving, Census.take()


# A provider that leaves, or hangs


async def breaking(peer: Peer) -> None:
    await speaking_then_silent(peer)
    peer.reset()


async def ending_early(peer: Peer) -> None:
    await peer.request()
    await peer.send(chunked(OPENING + DELTA, headers={"content-type": "text/event-stream", "connection": "close"}))


@pytest.mark.parametrize(
    ("script", "kind"),
    [(speaking_then_silent, "timeout_error"), (breaking, "provider_error"), (ending_early, "provider_error")],
)
async def test_a_stream_that_its_provider_gives_up_ends_with_an_error_event(script: Script, kind: str) -> None:
    patience = {"stream_silence_seconds": 0.1}
    async with Upstream(script) as upstream, gateway(upstream.base_url, patience=patience) as (server, before):
        async with await Raw.connect(server.port) as client:
            reply = await client.ask(request())
            again = await client.ask(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")

        name, data = reply.body.split(b"\n\n")[-2].split(b"\n")
        error = json.loads(data.removeprefix(b"data: "))
        assert (reply.status, name) == (200, b"event: error")
        assert (error["type"], error["error"]["type"], error["error"]["provider"]) == ("error", kind, "anthropic")
        assert error["request_id"] == reply.headers["x-request-id"]
        assert b"word " in reply.body
        assert b"message_stop" not in reply.body
        assert again.status == 200  # the error was the end of the answer, not of the connection
        (line,) = told(server)
        assert (line["status"], line["error"], line["cancelled_by"], line["attempts"]) == (200, kind, None, 1)
        assert f'vango_upstream_errors_total{{provider="anthropic",type="{kind}"}} 1.0' in await metrics(server)
        await eventually(lambda: upstream.open == 0)
        await before.returns()


@pytest.mark.parametrize("script", [hang, half_an_answer])
async def test_a_provider_that_does_not_answer_in_time_is_left(script: Script) -> None:
    patience = {"timeout_seconds": 0.1}
    async with Upstream(script) as upstream, gateway(upstream.base_url, patience=patience) as (server, before):
        async with await Raw.connect(server.port) as client:
            reply = await client.ask(request(stream=False))

        assert (reply.status, json.loads(reply.body)["error"]["type"]) == (504, "timeout_error")
        with trio.fail_after(PATIENCE):
            await upstream.wait_closed(1)
        (line,) = told(server)
        assert (line["status"], line["error"], line["cancelled_by"]) == (504, "timeout_error", None)
        await before.returns()
        assert upstream.accepted == 1


CROWD = 1000


async def test_a_thousand_streams_dropped_at_once_leave_nothing() -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 5 * CROWD:
        pytest.skip("needs four descriptors for each stream")
    async with Upstream(speaking_then_silent) as upstream, gateway(upstream.base_url) as (server, before):
        clients: list[Raw] = []

        async def join() -> None:
            client = await Raw.connect(server.port)
            clients.append(client)
            await client.send(request())
            await client.until(DELTA)

        for _ in range(CROWD // 100):
            async with trio.open_nursery() as nursery:
                for _ in range(100):
                    nursery.start_soon(join)
        assert upstream.open == CROWD

        dropped_at = trio.current_time()
        for index, client in enumerate(clients):
            client.reset() if index % 2 else client.close()
        with trio.fail_after(2 * PATIENCE):
            await upstream.wait_closed(CROWD)
        took = trio.current_time() - dropped_at
        last = max(peer.closed_at or 0.0 for peer in upstream.peers) - dropped_at
        await wait_told(server, CROWD)
        await before.returns()

        print(
            f"\n{CROWD} streams: the last upstream closed after {last * 1000:.0f} ms, all seen after {took * 1000:.0f} ms"
        )
        lines = told(server)
        assert len(lines) == CROWD
        assert {(line["status"], line["cancelled_by"]) for line in lines} == {(200, "client")}
        assert len({line["request_id"] for line in lines}) == CROWD
        assert CANCELLED.replace(" 1.0", f" {CROWD}.0") in await metrics(server)
        # The server is as good as new.
        assert (await server.http.get("/ready")).status_code == 200
