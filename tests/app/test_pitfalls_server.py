"""Faults of the stack under the app, each with a real socket that shows the guard."""

from __future__ import annotations

import json
import socket
import ssl
from typing import Any

import h2.connection
import h2.events
import h2.settings
import httpx
import pytest
import quart
import trio
import trustme
from quart_trio import QuartTrio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Event, Ping, Request, TextMessage

from tests.support.raw import PATIENCE, Raw
from tests.support.serving import GET, Complaints, Running, body, echo, http, lifespan, post, read_body, serving, start
from vango.app.answers import refuse
from vango.app.listen import bind
from vango.app.server import Drain, Limits, serve_app
from vango.app.server.connection import LINGER_BYTES

OLD_GET = GET.replace(b"1.1", b"1.0")


def quart_app() -> QuartTrio:
    app = QuartTrio(__name__)

    @app.get("/")
    async def root() -> str:
        return "ok"

    @app.get("/flood")
    async def flood() -> Any:
        async def pieces() -> Any:
            while True:
                yield bytes(65536)

        response = await quart.make_response(pieces())
        response.timeout = None  # type: ignore[union-attr]
        return response

    @app.websocket("/ws")
    async def ws() -> None:
        while True:
            await quart.websocket.send(repr(await quart.websocket.receive()))

    return app


# Connections that must end


@pytest.mark.parametrize("request_bytes", [GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), OLD_GET])
async def test_quart_responses_close_where_the_client_asked_for_it(request_bytes: bytes) -> None:
    async with serving(quart_app()) as server, await server.connect() as client:
        reply = await client.ask(request_bytes)

        assert (reply.status, reply.body, reply.headers["connection"]) == (200, b"ok", "close")
        assert await client.rest() == (b"", "eof")


async def test_an_idle_connection_is_closed_after_quart_has_answered_on_it() -> None:
    async with serving(quart_app(), limits=Limits(keep_alive=0.4)) as server, await server.connect() as client:
        for _ in range(3):
            assert (await client.ask(GET)).body == b"ok"
            await trio.sleep(0.05)

        assert await client.rest() == (b"", "eof")


async def test_a_connection_that_never_speaks_is_closed() -> None:
    async with serving(echo, limits=Limits(keep_alive=0.05)) as server, await server.connect() as client:
        assert await client.rest() == (b"", "eof")


async def test_a_quart_stream_to_a_client_that_never_reads_does_not_hold_up_the_end() -> None:
    async with serving(quart_app(), grace=0.1) as server, await server.connect(receive_buffer=4096) as client:
        await client.send(GET.replace(b" / ", b" /flood "))
        await client.head()
        server.drain.begin()

        assert await server.wait_ended() < 0.5
        assert (await client.rest())[1] == "reset"


async def test_a_client_that_stops_reading_is_cut_off_and_the_app_hears_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT", raising=False)  # with it, the kernel may be faster
    sent = 0
    told = trio.Event()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def watch() -> None:
            await read_body(receive)
            await receive()
            told.set()
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            nonlocal sent
            await start(send)
            while True:
                await body(send, b"x" * 65536, more=True)
                sent += 65536

    async with (
        serving(app, limits=Limits(write_timeout=0.1)) as server,
        await server.connect(receive_buffer=4096) as client,
    ):
        await client.send(GET)
        with trio.fail_after(PATIENCE):
            await told.wait()

        assert (await client.rest())[1] == "reset"
        # Little in the kernel, and nothing that grows here.
        assert sent < 2_000_000


async def test_a_slow_reader_of_a_big_body_is_not_cut_off_while_it_makes_progress() -> None:
    size = 8_000_000

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await body(send, bytes(size))

    async with (
        serving(app, limits=Limits(write_timeout=1)) as server,
        await server.connect(receive_buffer=65536) as client,
    ):
        await client.send(GET)
        await client.head()
        began = trio.current_time()
        read = len(client._buffer)
        while read < size:
            read += len(await client.more())
            client._buffer = b""
            if trio.current_time() - began < 1.2:
                await trio.sleep(0.02)

        assert read == size


async def test_a_write_that_is_cancelled_half_way_is_the_last_one() -> None:
    cut = trio.Event()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        with trio.move_on_after(0.05):
            await body(send, bytes(8_000_000), more=True)
        await body(send, b"as if nothing had happened")
        cut.set()

    async with serving(app) as server, await server.connect(receive_buffer=4096) as client:
        await client.send(GET)
        with trio.fail_after(PATIENCE):
            await cut.wait()

        assert (await client.rest())[1] == "reset"


async def test_an_answer_survives_a_client_that_sends_on_before_it_reads() -> None:
    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send, 413)
        await body(send, b"too large")

    async with serving(app) as server, await server.connect() as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n")
        await trio.testing.wait_all_tasks_blocked(0.02)
        for _ in range(10):
            await client.send(bytes(50_000))
            await trio.testing.wait_all_tasks_blocked(0.001)

        assert (await client.reply()).body == b"too large"


async def test_an_answer_over_an_unread_upload_arrives_and_little_more_is_taken() -> None:
    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await start(send, 413)
        await body(send, b"too large")

    sent = 0
    async with serving(app) as server, await server.connect() as client, trio.open_nursery() as nursery:

        async def upload() -> None:
            nonlocal sent
            try:
                while True:
                    await client.send(b"10000\r\n" + bytes(65536) + b"\r\n")
                    sent += 65536
            except trio.BrokenResourceError:
                pass

        await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        nursery.start_soon(upload)
        reply = await client.reply()

        assert (reply.status, reply.body, reply.headers["connection"]) == (413, b"too large", "close")
        assert (await client.rest())[1] in {"eof", "reset"}
    # Beyond what is thrown away only what the kernel's buffers held.
    assert sent < LINGER_BYTES + 16_000_000


async def test_a_second_request_behind_an_unread_upload_is_never_run() -> None:
    asked: list[str] = []

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["path"])
        await start(send, 413)
        await body(send)

    async with serving(app) as server, await server.connect() as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
        reply = await client.reply()
        await client.send(b"x" * 100 + GET.replace(b" / ", b" /hidden "))

        assert (reply.status, await client.rest()) == (413, (b"", "eof"))
    assert asked == ["/"]


# Clients that leave


@pytest.mark.parametrize("how", ["fin", "reset"])
@pytest.mark.parametrize(
    "before", ["nothing", "a pipelined byte", "a pipelined request", "an unread body", "half a body"]
)
async def test_a_client_that_leaves_is_told_at_once_to_an_app_that_waits(how: str, before: str) -> None:
    waiting, left = trio.Event(), trio.Event()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if before in {"nothing", "a pipelined byte", "a pipelined request"}:
            await read_body(receive)
        elif before == "half a body":
            await receive()
        else:
            waiting.set()
            await trio.testing.wait_all_tasks_blocked(0.02)
        waiting.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set()

    requests = {
        "nothing": GET,
        "a pipelined byte": GET + b"G",
        "a pipelined request": GET + GET,
        "an unread body": post(bytes(900_000)),
        "half a body": post(bytes(100))[:-50],
    }
    async with serving(app) as server, await server.connect() as client:
        await client.send(requests[before])
        await waiting.wait()
        await trio.testing.wait_all_tasks_blocked(0.01)
        client.reset() if how == "reset" else client.close()

        with trio.fail_after(0.5):
            await left.wait()


async def test_a_server_that_is_cancelled_while_clients_are_kept_waiting_complains_of_nothing() -> None:
    log = Complaints()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await trio.sleep_forever()

    async with serving(app, log=log) as server:
        for _ in range(20):
            await (await server.connect()).send(GET + GET)
        await trio.testing.wait_all_tasks_blocked(0.02)
        server.scope.cancel()
        await server.wait_ended()

    assert log.events == []


async def test_a_client_that_leaves_behind_unread_websocket_messages_is_told() -> None:
    unread, left = trio.Event(), trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        await receive()
        await send({"type": "websocket.accept"})
        await unread.wait()
        messages = [(await receive())["type"] for _ in range(17)]
        assert set(messages[:16]) == {"websocket.receive"}
        if messages[16] == "websocket.disconnect":
            left.set()

    async with serving(app) as server, await open_websocket(server) as ws:
        for _ in range(40):
            await ws.send(BytesMessage(data=bytes(1000)))
        await trio.testing.wait_all_tasks_blocked(0.02)
        ws.raw.close()
        await trio.testing.wait_all_tasks_blocked(0.02)
        unread.set()

        with trio.fail_after(0.5):
            await left.wait()


async def test_an_app_that_only_sends_to_a_client_that_is_gone_leaves_time_for_others() -> None:
    sending = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            while True:
                await send({"type": "websocket.send", "bytes": b"x"})
                sending.set()
        elif scope["path"] == "/forever":
            await start(send)
            while True:
                await body(send, b"x", more=True)
                sending.set()
        else:
            await echo(scope, receive, send)

    async with serving(app) as server, await server.connect() as other:
        async with await server.connect() as client:
            await client.send(GET.replace(b" / ", b" /forever "))
            await client.head()
        async with await open_websocket(server):
            pass
        for _ in range(20):
            assert (await other.ask(GET)).status == 200


async def test_a_thousand_clients_that_leave_at_once_leave_nothing_behind() -> None:
    running = 0

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal running
        running += 1
        try:
            await start(send)
            await body(send, b"x", more=True)
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            running -= 1

    tasks = trio.lowlevel.current_statistics().tasks_living
    async with serving(app) as server:
        before = trio.lowlevel.current_statistics().tasks_living
        clients = [await server.connect() for _ in range(1000)]
        for client in clients:
            await client.send(GET)
        for client in clients:
            await client.head()
        assert running == 1000

        for number, client in enumerate(clients):
            client.reset() if number % 2 else client.close()
        with trio.fail_after(PATIENCE):
            while running or trio.lowlevel.current_statistics().tasks_living > before:  # noqa: ASYNC110 - tasks set no event
                await trio.sleep(0.01)
    assert trio.lowlevel.current_statistics().tasks_living == tasks


# Requests that must not be taken


HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ],
)
async def test_a_request_with_two_readings_or_none_is_refused_and_nothing_behind_it_runs(
    request_bytes: bytes, status: int
) -> None:
    asked: list[str] = []

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["path"])
        await start(send)
        await body(send)

    async with serving(app) as server, await server.connect() as client:
        await client.send(request_bytes + HIDDEN)
        reply = await client.reply()

        error = json.loads(reply.body)["error"]
        assert (reply.status, error["type"], reply.headers["connection"]) == (status, "invalid_request_error", "close")
        assert await client.rest() == (b"", "eof")
    assert asked == []


async def test_a_body_that_breaks_its_framing_is_refused_and_the_app_is_told() -> None:
    told: list[str] = []

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (kind := (await receive())["type"]) == "http.request":
            pass
        told.append(kind)

    async with serving(app) as server, await server.connect() as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n0\r\n\r\n")

        assert (await client.reply()).status == 400
        assert await client.rest() == (b"", "eof")
    assert told == ["http.disconnect"]


async def test_answers_of_the_server_itself_are_written_by_the_caller_of_serve_app() -> None:
    def own(status: int, message: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
        return [(b"x-own", b"yes")], f"{status} {message}".encode()

    async with serving(echo, refuse=own) as server, await server.connect() as client:
        reply = await client.ask(b"nonsense\r\n\r\n")

        assert (reply.headers["x-own"], reply.body) == ("yes", b"400 The request is not well-formed HTTP/1.1.")


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"x: " + b"a" * 60_000, id="one header of 60 kB"),
        pytest.param(b"\r\n".join(b"x%d: y" % number for number in range(1500)), id="1500 headers"),
        pytest.param(b"\r\n".join(b"x%d: %b" % (number, b"a" * 1000) for number in range(40)), id="40 kB together"),
    ],
)
async def test_a_head_that_is_too_large_is_refused_even_in_one_piece(head: bytes) -> None:
    async with serving(echo) as server, await server.connect() as client:
        reply = await client.ask(b"GET / HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n")

        assert (reply.status, json.loads(reply.body)["error"]["type"]) == (431, "invalid_request_error")
        assert await client.rest() == (b"", "eof")


async def test_a_head_up_to_the_limit_is_taken() -> None:
    async with serving(echo) as server, await server.connect() as client:
        assert (await client.ask(GET[:-2] + b"x: " + b"a" * 31_000 + b"\r\n\r\n")).status == 200


async def test_a_head_that_trickles_is_refused_when_its_time_is_over() -> None:
    async with (
        serving(echo, limits=Limits(header_timeout=0.15)) as server,
        await server.connect() as client,
        trio.open_nursery() as nursery,
    ):

        async def trickle() -> None:
            await client.send(b"GET / HTTP/1.1\r\n")
            while client.is_open():
                await client.send(b"a: b\r\n")
                await trio.sleep(0.02)

        nursery.start_soon(trickle)
        began = trio.current_time()
        reply = await client.reply()

        assert (reply.status, json.loads(reply.body)["error"]["type"]) == (408, "invalid_request_error")
        assert 0.1 < trio.current_time() - began < 0.5
        assert (await client.rest())[1] == "eof"


async def test_no_time_limit_of_the_server_cuts_a_stream_or_an_upload_short() -> None:
    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        data = await read_body(receive)
        await start(send)
        for _ in range(3):
            await body(send, b"x", more=True)
            await trio.sleep(0.1)
        await body(send, data or b"")

    short = Limits(header_timeout=0.05, keep_alive=0.05, write_timeout=0.05)
    async with serving(app, limits=short) as server, await server.connect() as client:
        request = post(b"hello")
        await client.send(request[:-3])
        await trio.sleep(0.15)
        await client.send(request[-3:])

        assert (await client.reply()).body == b"xxxhello"


async def test_http2_and_its_upgrade_are_off_on_cleartext() -> None:
    upgrade = b"\r\nConnection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    async with serving(echo) as server, await server.connect() as client:
        reply = await client.ask(GET.replace(b"\r\n\r\n", upgrade))
        again = await client.ask(GET)

        assert (reply.status, again.status) == (200, 200)


async def test_a_connection_serves_any_number_of_requests() -> None:
    async with serving(echo) as server, await server.connect() as client:
        for _ in range(12):
            await client.send(GET * 100)
            replies = [await client.reply() for _ in range(100)]
            assert {reply.headers.get("connection") for reply in replies} == {None}


async def test_a_connection_too_many_is_told_so_and_one_that_ends_makes_room() -> None:
    async with serving(echo, limits=Limits(max_connections=2)) as server:
        async with await server.connect() as one, await server.connect() as two:
            assert [(await client.ask(GET)).status for client in (one, two)] == [200, 200]
            async with await server.connect() as three:
                reply = await three.ask(GET)
                assert (reply.status, json.loads(reply.body)["error"]["type"]) == (503, "overloaded_error")
                assert await three.rest() == (b"", "eof")
        with trio.fail_after(PATIENCE):
            while True:
                async with await server.connect() as four:
                    if (await four.ask(GET)).status == 200:
                        break


async def test_the_kernel_drops_peers_that_vanish_and_never_waits_to_send() -> None:
    sockets = bind("127.0.0.1", 0)
    drain = Drain()
    async with trio.open_nursery() as nursery:

        async def serve(task_status: trio.TaskStatus[Any]) -> None:
            limits = Limits(write_timeout=7)
            await serve_app(echo, sockets, limits=limits, grace=0, drain=drain, refuse=refuse, task_status=task_status)

        await nursery.start(serve)
        (listener,) = sockets
        options = {
            name: listener.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
            for name in ("TCP_USER_TIMEOUT", "TCP_NODELAY", "TCP_KEEPIDLE", "TCP_NOTSENT_LOWAT")
        }
        drain.begin()

    assert options == {"TCP_USER_TIMEOUT": 7000, "TCP_NODELAY": 1, "TCP_KEEPIDLE": 30, "TCP_NOTSENT_LOWAT": 131072}


# TLS


@pytest.fixture
def tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


async def test_a_handshake_that_does_not_come_to_an_end_is_given_up(tls: Any) -> None:
    async with (
        serving(echo, tls=tls[0], limits=Limits(tls_handshake_timeout=0.1)) as server,
        await server.connect() as client,
    ):
        await client.send(b"\x16\x03\x01")

        assert (await client.rest())[1] == "reset"


async def test_an_answer_over_an_unread_tls_upload_arrives_and_ends_politely(tls: Any) -> None:
    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send, 413)
        await body(send, b"too large")

    async with serving(app, tls=tls[0]) as server, await server.connect(tls=tls[1]) as client:
        reply = await client.ask(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n" + bytes(1000))

        assert (reply.body, await client.rest()) == (b"too large", (b"", "eof"))


async def test_a_handshake_under_way_does_not_hold_up_the_end(tls: Any) -> None:
    async with serving(echo, tls=tls[0], grace=60) as server, await server.connect() as silent:
        await trio.testing.wait_all_tasks_blocked(0.01)
        server.drain.begin()

        assert await server.wait_ended() < 0.5
        assert (await silent.rest())[1] == "reset"


async def test_clear_text_on_a_tls_port_harms_no_one(tls: Any) -> None:
    async with serving(echo, tls=tls[0]) as server:
        async with await server.connect() as client:
            await client.send(GET)
            await client.rest()
        async with await server.connect(tls=tls[1]) as client:
            assert (await client.ask(GET)).status == 200


async def test_a_tls_client_that_leaves_without_a_goodbye_is_told_to_the_app(tls: Any) -> None:
    waiting, left = trio.Event(), trio.Event()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        waiting.set()
        await receive()
        left.set()

    async with serving(app, tls=tls[0]) as server, await server.connect(tls=tls[1]) as client:
        await client.send(GET)
        await waiting.wait()
        client.close()

        with trio.fail_after(0.5):
            await left.wait()


# WebSockets


class Ws:
    """A WebSocket client: wsproto over a raw connection."""

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        self.protocol = WSConnection(ConnectionType.CLIENT)
        self._events: list[Event] = []

    async def __aenter__(self) -> Ws:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.raw.close()

    async def send(self, event: Event) -> None:
        await self.raw.send(self.protocol.send(event))

    async def receive(self) -> Event:
        while not self._events:
            data = await self.raw.more()
            self.protocol.receive_data(data or None)
            self._events += self.protocol.events()
        return self._events.pop(0)


async def open_websocket(server: Running, path: str = "/ws", *extra: tuple[bytes, bytes]) -> Ws:
    ws = Ws(await server.connect())
    await ws.send(Request(host="x", target=path, extra_headers=list(extra)))
    accepted = await ws.receive()
    assert isinstance(accepted, AcceptConnection)
    assert accepted.extensions == []
    return ws


def websocket_app(seen: list[Any]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            seen.append(message["bytes"] if message["bytes"] is not None else message["text"])
            await send({"type": "websocket.send", "text": "ok"})
        seen.append(message["code"])

    return app


async def test_an_empty_binary_frame_is_an_empty_frame_to_quart_too() -> None:
    async with serving(quart_app()) as server, await open_websocket(server) as ws:
        answers = []
        for event in (BytesMessage(data=b""), TextMessage(data=""), BytesMessage(data=b"a")):
            await ws.send(event)
            answers.append((await ws.receive()).data)  # type: ignore[attr-defined]

        assert answers == ["b''", "''", "b'a'"]


async def test_compression_is_not_agreed_on_and_a_compressed_frame_ends_the_connection() -> None:
    seen: list[Any] = []
    offer = (b"sec-websocket-extensions", b"permessage-deflate")
    async with serving(websocket_app(seen)) as server, await open_websocket(server, "/ws", offer) as ws:
        await ws.raw.send(b"\xc2\x81\0\0\0\0x")

        event = await ws.receive()
        assert isinstance(event, CloseConnection)
        assert event.code == 1002
        assert (await ws.raw.rest())[1] == "eof"
    assert seen == [1002]


@pytest.mark.parametrize("pieces", [1, 10])
async def test_a_message_that_is_too_large_ends_the_connection_and_the_app_is_told(pieces: int) -> None:
    seen: list[Any] = []
    limits = Limits(websocket_message_bytes=1000)
    async with serving(websocket_app(seen), limits=limits) as server, await open_websocket(server) as ws:
        await ws.send(BytesMessage(data=bytes(1000)))
        await ws.receive()
        for number in range(pieces):
            await ws.send(BytesMessage(data=bytes(1001 // pieces + 1), message_finished=number == pieces - 1))

        event = await ws.receive()
        assert isinstance(event, CloseConnection)
        assert event.code == 1009
        assert (await ws.raw.rest())[1] == "eof"
    assert seen == [bytes(1000), 1009]


async def test_a_polite_close_reaches_the_app_with_its_code_and_is_answered() -> None:
    seen: list[Any] = []
    async with serving(websocket_app(seen)) as server, await open_websocket(server) as ws:
        await ws.send(CloseConnection(code=4001))

        event = await ws.receive()
        assert isinstance(event, CloseConnection)
        assert event.code == 4001
        assert (await ws.raw.rest())[1] == "eof"
    assert seen == [4001]


async def test_a_websocket_peer_that_answers_no_ping_is_dropped_and_one_that_does_is_kept() -> None:
    seen: list[Any] = []
    async with (
        serving(websocket_app(seen), limits=Limits(websocket_ping_interval=0.05)) as server,
        await open_websocket(server) as alive,
        await open_websocket(server) as dead,
    ):
        for _ in range(6):
            event = await alive.receive()
            assert isinstance(event, Ping)
            await alive.send(event.response())
        assert seen == [1006]
        await alive.send(TextMessage(data="still here?"))
        while isinstance(event := await alive.receive(), Ping):
            pass
        assert isinstance(event, TextMessage)
        with pytest.raises(ConnectionResetError):
            while await dead.raw.more():
                pass


async def test_a_websocket_that_has_ended_leaves_no_task_behind() -> None:
    async with serving(websocket_app([])) as server:
        before = trio.lowlevel.current_statistics().tasks_living
        async with await open_websocket(server) as ws:
            await ws.send(CloseConnection(code=1000))
            await ws.receive()
        await trio.testing.wait_all_tasks_blocked(0.02)

        assert trio.lowlevel.current_statistics().tasks_living == before


async def test_a_websocket_inside_http2_is_refused_because_its_guards_are_not_there() -> None:
    protocol = h2.connection.H2Connection()
    async with serving(websocket_app([]), http2=True) as server, await server.connect() as client:
        protocol.initiate_connection()
        await client.send(protocol.data_to_send())
        headers = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "x")]
        protocol.send_headers(1, [*headers, (":path", "/ws"), ("sec-websocket-version", "13")])
        await client.send(protocol.data_to_send())
        events: list[Any] = []
        while not any(isinstance(event, h2.events.StreamReset) for event in events):
            events += protocol.receive_data(await client.more())

    offers = [
        event.changed_settings[h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL].new_value
        for event in events
        if isinstance(event, h2.events.RemoteSettingsChanged)
    ]
    assert offers == [0]


@pytest.mark.parametrize(
    "missing", [b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b"Sec-WebSocket-Version: 13\r\n"]
)
async def test_a_handshake_that_is_not_one_is_refused_and_the_connection_closed(missing: bytes) -> None:
    request = (
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    async with serving(websocket_app([])) as server, await server.connect() as client:
        reply = await client.ask(request.replace(missing, b""))

        assert (reply.status, json.loads(reply.body)["error"]["type"]) == (400, "invalid_request_error")
        assert await client.rest() == (b"", "eof")


async def test_a_frame_before_the_handshake_is_answered_is_refused_and_the_app_is_told() -> None:
    told: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        told.extend([(await receive())["type"], (await receive())["type"]])

    request = (
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    async with serving(app) as server, await server.connect() as client:
        await client.send(request + b"\x82\x81\0\0\0\0x")

        assert (await client.reply()).status == 400
        assert await client.rest() == (b"", "eof")
    assert told == ["websocket.connect", "websocket.disconnect"]


async def test_quart_refuses_a_websocket_with_a_whole_answer_and_the_connection_ends() -> None:
    async with serving(quart_app()) as server, await server.connect() as client:
        reply = await client.ask(
            b"GET /none HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )

        assert reply.status == 404
        assert await client.rest() == (b"", "eof")


async def test_a_websocket_app_that_raises_closes_with_an_error_and_ends() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        await send({"type": "websocket.accept"})
        raise LookupError

    async with serving(app) as server, await open_websocket(server) as ws:
        event = await ws.receive()
        assert isinstance(event, CloseConnection)
        assert event.code == 1011
        assert (await ws.raw.rest())[1] == "eof"


async def test_httpx_and_a_whole_quart_app_get_along() -> None:
    async with serving(quart_app()) as server, httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
        replies = [await client.get("/") for _ in range(3)]

    assert [(reply.status_code, reply.text) for reply in replies] == [(200, "ok")] * 3
