"""HTTP/2 where Hypercorn's protocol alone would lose a connection, a client or the bound on memory."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
import trio
import trio.testing
import trustme
from h2.errors import ErrorCodes

from tests.support.raw import Raw
from tests.support.server import HELLO, running
from tests.support.serving import Complaints, Running, body, http, read_body, serving, start
from vango.app.server import Limits
from vango.app.server.http2 import FULL_BYTES, Outgoing, Stalled
from vango.app.server.limits import WRITE_SLICE
from vango.transport.sandbox import SandboxTransport
from vango.types.script import Hang, Script

HEADERS = [(":method", "POST"), (":scheme", "http"), (":authority", "x")]


class Client:
    """An HTTP/2 connection: what it has heard is in `events`."""

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
        )
        self.events: list[h2.events.Event] = []

    async def flush(self) -> None:
        await self.raw.send(self.h2.data_to_send())

    async def ask(self, stream: int, path: str = "/", data: bytes = b"") -> None:
        """Send a whole request."""
        self.h2.send_headers(stream, [*HEADERS, (":path", path)])
        self.h2.send_data(stream, data, end_stream=True)
        await self.flush()

    async def hear(self, kind: type[Any], stream: int) -> Any:
        """Return the first event of a kind on a stream, waiting for it; windows are not opened again."""
        while True:
            for event in self.events:
                if isinstance(event, kind) and event.stream_id == stream:
                    return event
            data = await self.raw.more()
            assert data, f"the connection ended after {self.events}"
            self.events += self.h2.receive_data(data)
            await self.flush()

    async def answer(self, stream: int) -> tuple[int, bytes]:
        """Return status and body of a whole answer."""
        await self.hear(h2.events.StreamEnded, stream)
        head = await self.hear(h2.events.ResponseReceived, stream)
        pieces = [
            event.data
            for event in self.events
            if isinstance(event, h2.events.DataReceived) and event.stream_id == stream
        ]
        return int(dict(head.headers)[b":status"]), b"".join(pieces)


@asynccontextmanager
async def connected(server: Running, tls: ssl.SSLContext | None = None) -> AsyncIterator[Client]:
    async with await server.connect(tls=tls) as raw:
        client = Client(raw)
        client.h2.initiate_connection()
        await client.flush()
        yield client


@http
async def app(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body on `/echo` alone; elsewhere it answers without, stops half way or raises."""
    if scope["path"] == "/echo":
        await start(send)
        await body(send, await read_body(receive) or b"")
    elif scope["path"] == "/half":
        await start(send)
        await body(send, b"half", more=True)
    elif scope["path"] == "/raise":
        raise ValueError("a fault of the app")
    else:
        await start(send, 413)
        await body(send, b"too much")


async def test_an_upload_that_is_refused_unread_is_stopped_and_harms_no_other_stream() -> None:
    log = Complaints()
    async with serving(app, http2=True, log=log) as server, connected(server) as client:
        client.h2.send_headers(1, [*HEADERS, (":path", "/")])
        await client.flush()
        refused = await client.answer(1)
        client.h2.send_data(1, b"x" * 1000)
        client.h2.send_data(1, b"x" * 1000)
        await client.flush()
        stopped = await client.hear(h2.events.StreamReset, 1)
        await client.ask(3, "/echo", b"hello")

        assert refused == (413, b"too much")
        assert stopped.error_code == ErrorCodes.NO_ERROR
        assert await client.answer(3) == (200, b"hello")
    assert log.events == []


async def test_a_body_in_more_pieces_than_anybody_reads_does_not_stop_the_reading() -> None:
    async with serving(app, http2=True) as server, connected(server) as client:
        client.h2.send_headers(1, [*HEADERS, (":path", "/")])
        for _ in range(100):
            client.h2.send_data(1, b"x")
        client.h2.end_stream(1)
        await client.ask(3, "/echo", b"hello")

        assert await client.answer(1) == (413, b"too much")
        assert await client.answer(3) == (200, b"hello")


async def test_a_reader_that_opens_no_window_holds_the_app_up_and_is_given_up() -> None:
    sent, told = 0, []

    @http
    async def firehose(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await read_body(receive)
        await start(send)

        async def watch() -> None:
            told.append((await receive())["type"])
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            while sent < 4 * 1024 * 1024:
                await body(send, bytes(16 * 1024), more=True)
                sent += 16 * 1024

    limits = Limits(write_timeout=0.2)
    async with serving(firehose, http2=True, limits=limits) as server, connected(server) as client:
        await client.ask(1)
        cut = await client.hear(h2.events.StreamReset, 1)

        assert cut.error_code == ErrorCodes.CANCEL
        assert told == ["http.disconnect"]
        # The window that a client opens at first, what an answer may be ahead of it, and a piece.
        assert sent <= 65_535 + FULL_BYTES + 16 * 1024


async def test_a_slow_reader_that_makes_progress_gets_everything(autojump_clock: trio.testing.MockClock) -> None:
    outgoing = Outgoing(seconds=1.0)
    taken = bytearray()

    async def write() -> None:
        await outgoing.push(b"x" * 1_000_000)
        outgoing.set_complete()
        await outgoing.drain()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        while not outgoing.complete:
            await trio.sleep(0.9)
            taken += await outgoing.pop(WRITE_SLICE)
        await outgoing.close()

    assert taken == b"x" * 1_000_000


async def test_a_reader_that_takes_too_little_is_stalled(autojump_clock: trio.testing.MockClock) -> None:
    outgoing = Outgoing(seconds=1.0)

    async def drip() -> None:
        while True:
            await trio.sleep(0.1)
            await outgoing.pop(100)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip)
        with pytest.raises(Stalled):
            await outgoing.push(b"x" * 1_000_000)
        nursery.cancel_scope.cancel()

    assert trio.current_time() == pytest.approx(1.0)


async def test_an_answer_that_stops_half_way_is_no_whole_one_and_a_failure_is_an_envelope() -> None:
    log = Complaints()
    async with serving(app, http2=True, log=log) as server, connected(server) as client:
        await client.ask(1, "/half")
        cut = await client.hear(h2.events.StreamReset, 1)
        await client.ask(3, "/raise")
        status, envelope = await client.answer(3)

        assert cut.error_code == ErrorCodes.INTERNAL_ERROR
        assert (status, json.loads(envelope)["error"]["type"]) == (500, "api_error")
    assert log.events == ["app_failed"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ([(b":path", "/é".encode())], ErrorCodes.PROTOCOL_ERROR),
        ([(b":path", b"/"), *[(b"x", b"y")] * 129], ErrorCodes.ENHANCE_YOUR_CALM),
    ],
    ids=["target", "headers"],
)
async def test_a_head_that_is_refused_is_its_streams_end_alone(fields: list[Any], code: ErrorCodes) -> None:
    log = Complaints()
    async with serving(app, http2=True, log=log) as server, connected(server) as client:
        client.h2.send_headers(1, [*HEADERS, *fields], end_stream=True)
        await client.flush()
        refused = await client.hear(h2.events.StreamReset, 1)
        await client.ask(3, "/echo", b"hello")

        assert refused.error_code == code
        assert await client.answer(3) == (200, b"hello")
    assert log.events == []


async def test_a_head_beyond_the_limit_ends_the_connection() -> None:
    limits = Limits(max_header_bytes=8 * 1024)
    async with serving(app, http2=True, limits=limits) as server, connected(server) as client:
        client.h2.send_headers(1, [*HEADERS, (":path", "/"), ("x", "y" * 10_000)], end_stream=True)
        await client.flush()
        data, _ = await client.raw.rest()

    ends = [event for event in client.h2.receive_data(data) if isinstance(event, h2.events.ConnectionTerminated)]
    assert [event.error_code for event in ends] == [ErrorCodes.ENHANCE_YOUR_CALM]


async def test_priorities_without_end_are_passed_over() -> None:
    log = Complaints()
    async with serving(app, http2=True, log=log) as server, connected(server) as client:
        for number in range(3, 5003, 2):
            client.h2.prioritize(number, weight=1)
        await client.ask(1, "/echo", b"hello")

        assert await client.answer(1) == (200, b"hello")
    assert log.events == []


async def test_a_refused_stream_does_not_keep_an_idle_connection() -> None:
    async with serving(app, http2=True, limits=Limits(keep_alive=0.1)) as server, connected(server) as client:
        client.h2.send_headers(1, [*HEADERS, (b":path", "/é".encode())], end_stream=True)
        await client.flush()

        assert (await client.raw.rest())[1] == "eof"


async def test_a_drain_lets_answers_end_whole_and_new_requests_be_answered_by_the_app() -> None:
    go_on = trio.Event()
    authority = trustme.CA()
    tls, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("localhost").configure_cert(tls)
    authority.configure_trust(trusting)
    trusting.set_alpn_protocols(["h2"])

    @http
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        await start(send)
        if scope["path"] == "/wait":
            await body(send, b"one ", more=True)
            await go_on.wait()
        await body(send, b"two")

    async with serving(slow, http2=True, tls=tls) as server, connected(server, trusting) as client:
        await client.ask(1, "/wait")
        await client.hear(h2.events.DataReceived, 1)
        server.drain.begin()
        await client.ask(3, "/")
        late = await client.answer(3)
        go_on.set()
        whole = await client.answer(1)
        await client.raw.rest()
        await server.wait_ended()

    assert (late, whole) == ((200, b"two"), (200, b"one two"))


@pytest.mark.parametrize("how", ["reset", "shut window"])
async def test_a_client_that_gives_a_stream_up_closes_its_upstream(how: str) -> None:
    script = Script.text("x" * 1_000_000, chunks=100)
    if how == "reset":
        script = replace(script, steps=(*script.steps[:5], Hang()))
    upstream = SandboxTransport().replies(script)
    settings = {"server": {"http2": True, "limits": {"write_timeout_seconds": 0.2}}}
    async with running(settings, sandbox=upstream) as server, await Raw.connect(server.port) as raw:
        client = Client(raw)
        client.h2.initiate_connection()
        await client.ask(1, "/v1/messages", json.dumps({**HELLO, "stream": True}).encode())
        await client.hear(h2.events.DataReceived, 1)
        if how == "reset":
            client.h2.reset_stream(1)
            await client.flush()
        await server.wait_lines(1)

        assert (upstream.open, upstream.aborted) == (0, 1)
