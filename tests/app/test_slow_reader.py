"""A client that reads slowly, or not at all: it slows its own stream, holds a bounded share of memory, and harms nobody else."""

from __future__ import annotations

import json
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.events import END, OPENING, delta
from tests.support.raw import PATIENCE, Raw
from tests.support.server import Running, running
from tests.support.upstream import Peer, Upstream, chunk, chunked_head, http, reply
from tests.support.waiting import eventually

SMALL = 64 * 1024
WRITE_TIMEOUT = 1.0

BIG = chunk(delta(b"x" * 50_000))

KERNEL_BYTES = 40_000_000
"""What the sockets of two connections may hold together on systems with generous buffers."""

STATM = Path("/proc/self/statm")


def memory() -> int:
    """Return the resident bytes of this process."""
    return int(STATM.read_text().split()[1]) * resource.getpagesize()


class Firehose:
    """A provider that talks as fast as it is listened to, up to `most` bytes. `taken` counts what the sockets took."""

    def __init__(self, most: float = float("inf")) -> None:
        self.most = most
        self.taken = 0

    async def __call__(self, peer: Peer) -> None:
        while await peer.request():
            await peer.send(chunked_head(200, {"content-type": "text/event-stream"}), chunk(OPENING))
            left = self.most
            while left > 0:
                await peer.send(BIG)
                self.taken += len(BIG)
                left -= len(BIG)
            await peer.send(chunk(END), b"0\r\n\r\n")


def request(model: str = "anthropic/claude-sonnet-4-5", **fields: Any) -> bytes:
    body = json.dumps({"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}], **fields})
    return f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@asynccontextmanager
async def gateway(upstream: Upstream, write_timeout: float = WRITE_TIMEOUT) -> AsyncIterator[Running]:
    settings = {
        "providers": {"anthropic": {"base_url": upstream.base_url, "api_key": "sk-upstream"}},
        "server": {"limits": {"write_timeout_seconds": write_timeout}},
    }
    async with running(settings) as server:
        yield server


async def standstill(hose: Firehose) -> None:
    """Wait until the provider has not been listened to for a while."""
    seen, since = -1, trio.current_time()
    with trio.fail_after(PATIENCE):
        while seen != hose.taken or trio.current_time() - since < 0.2:
            if seen != hose.taken:
                seen, since = hose.taken, trio.current_time()
            await trio.sleep(0.01)


def cancelled(server: Running) -> list[dict[str, Any]]:
    return [line for line in server.lines() if line["cancelled_by"]]


@pytest.mark.skipif(not STATM.is_file(), reason="memory is read from /proc")
async def test_a_client_that_does_not_read_stops_its_provider_and_is_cut() -> None:
    hose = Firehose()
    async with Upstream(hose) as upstream, gateway(upstream) as server:
        await server.post({"model": "sandbox/echo", "max_tokens": 9, "messages": [{"role": "user", "content": "warm"}]})
        before = memory()
        client = await Raw.connect(server.port, receive_buffer=SMALL)
        await client.send(request(stream=True))
        await standstill(hose)
        stood_at, taken, held = trio.current_time(), hose.taken, memory() - before

        # Everyone else is served meanwhile.
        waits: list[float] = []
        while not cancelled(server) and trio.current_time() - stood_at < PATIENCE:
            asked_at = trio.current_time()
            reply = await server.post()
            waits.append(trio.current_time() - asked_at)
            assert reply.status_code == 200
        cut_after = trio.current_time() - stood_at
        with trio.fail_after(PATIENCE):
            await upstream.wait_closed(1)

        print(
            f"\nprovider sent {taken / 1e6:.1f} MB, memory grew {held / 1e6:.1f} MB, "
            f"cut {cut_after:.2f} s after the standstill, others waited {max(waits) * 1000:.0f} ms at most"
        )
        assert taken < KERNEL_BYTES
        assert hose.taken - taken < 1_000_000  # it stood still until the cut
        assert held < 16_000_000
        assert cut_after < WRITE_TIMEOUT + 1.0
        assert len(waits) > 1
        assert max(waits) < 0.5
        (line,) = cancelled(server)
        assert (line["status"], line["cancelled_by"], line["provider"]) == (200, "client", "anthropic")
        # The client sees a connection that broke, not an answer that ended.
        data, end = await client.rest()
        assert end == "reset" or not data.endswith(b"0\r\n\r\n")
        client.close()


async def test_many_clients_that_do_not_read_hold_little_each() -> None:
    crowd = 20
    hose = Firehose()
    async with Upstream(hose) as upstream, gateway(upstream) as server:
        before = memory()
        clients = [await Raw.connect(server.port, receive_buffer=SMALL) for _ in range(crowd)]
        for client in clients:
            await client.send(request(stream=True))

        with trio.fail_after(2 * PATIENCE):
            await upstream.wait_closed(crowd)
        held = memory() - before
        for client in clients:
            client.close()
        await eventually(lambda: len(cancelled(server)) == crowd)

        print(f"\n{crowd} clients: provider sent {hose.taken / 1e6:.0f} MB, memory grew {held / 1e6:.1f} MB")
        assert held < crowd * 3_000_000
        assert (await server.post()).status_code == 200


async def test_a_client_that_pauses_gets_every_byte() -> None:
    hose = Firehose(most=40_000_000)
    async with Upstream(hose) as upstream, gateway(upstream, write_timeout=PATIENCE) as server:
        async with await Raw.connect(server.port, receive_buffer=SMALL) as client:
            await client.send(request(stream=True))
            await client.head()
            await standstill(hose)
            assert hose.taken < hose.most

            deltas = 0
            tail = b""
            while data := await client.chunk():
                deltas += data.count(b"event: content_block_delta")
                tail = data

            assert deltas == hose.taken // len(BIG)
            assert tail.endswith(END)
        await eventually(lambda: len(server.lines()) == 1)
        (line,) = server.lines()
        assert (line["status"], line["cancelled_by"]) == (200, None)


async def test_a_client_that_reads_slowly_but_steadily_is_not_cut() -> None:
    """It takes far more than 64 KiB within the deadline, though never all that the sockets hold for it."""
    hose = Firehose()
    async with (
        Upstream(hose) as upstream,
        gateway(upstream, write_timeout=0.4) as server,
        await Raw.connect(server.port, receive_buffer=SMALL) as client,
    ):
        await client.send(request(stream=True))
        began = trio.current_time()
        taken = 0
        while trio.current_time() - began < 2.5:
            taken += len(await client.more())
            await trio.sleep(0.05)

        print(f"\nread {taken / 2.5 / 1e6:.2f} MB a second")
        assert taken / 2.5 * 0.4 > 2 * 64 * 1024
        assert server.lines() == []


async def test_a_client_that_does_not_read_a_whole_answer_is_cut() -> None:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [{"type": "text", "text": "x" * 20_000_000}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 1},
    }
    answer = http(json.dumps(message).encode(), headers={"content-type": "application/json"})
    async with (
        Upstream(reply(answer)) as upstream,
        gateway(upstream) as server,
        await Raw.connect(server.port, receive_buffer=SMALL) as client,
    ):
        await client.send(request())
        head = await client.head()
        assert head.status == 200

        # The line is written when the request ends, and only the cut ends it.
        await eventually(lambda: len(server.lines()) == 1)
        data, end = await client.rest()

        assert len(data) < int(head.headers["content-length"])
        assert end == "reset"


async def test_a_client_that_half_closes_and_does_not_read_is_not_waited_for() -> None:
    hose = Firehose()
    async with Upstream(hose) as upstream, gateway(upstream, write_timeout=60.0) as server:
        async with await Raw.connect(server.port, receive_buffer=SMALL) as client:
            await client.send(request(stream=True))
            await standstill(hose)

            left_at = trio.current_time()
            client.sock.shutdown(1)
            with trio.fail_after(PATIENCE):
                await upstream.wait_closed(1)

            assert trio.current_time() - left_at < 1.0
        await eventually(lambda: len(cancelled(server)) == 1)
