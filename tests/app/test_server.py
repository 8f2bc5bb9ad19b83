"""The server under the app: what ASGI and HTTP promise."""

from __future__ import annotations

import contextvars
import importlib
import importlib.metadata
import json
import socket
import ssl
import time
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest
import trio
import trio.lowlevel
import trustme

from tests.support.raw import Raw
from tests.support.serving import GET, body, echo, http, post, read_body, serving, start
from vango.app.answers import refuse
from vango.app.listen import address, bind, reserve
from vango.app.server import Drain, serve, serve_app
from vango.app.server.connection import Connection
from vango.errors import ApiError, ConfigError


async def test_requests_on_one_connection_are_answered_in_turn_whether_they_wait_or_are_pipelined() -> None:
    async with serving(echo) as server, await server.connect() as client:
        first = await client.ask(post(b"one"))
        await client.send(post(b"two") + post(b"three") + b"\r\n" + post(b"four"))
        rest = [(await client.reply()).body for _ in range(3)]

        assert (first.status, first.body, rest) == (200, b"one", [b"two", b"three", b"four"])
        assert first.headers["server"] == "vango"
        assert abs(parsedate_to_datetime(first.headers["date"]).timestamp() - time.time()) < 5


@pytest.mark.parametrize("size", [1, 7, 50_000])
async def test_a_request_may_come_in_pieces_of_any_size(size: int) -> None:
    chunked = (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\n\r\n"
    )
    requests = post(b"x" * 90) + chunked

    async with serving(echo) as server, await server.connect() as client:
        for at in range(0, len(requests), size):
            await client.send(requests[at : at + size])

        assert [(await client.reply()).body for _ in range(2)] == [b"x" * 90, b"hello world"]


async def test_the_scope_tells_what_was_asked_and_by_whom() -> None:
    scopes: list[dict[str, Any]] = []

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await start(send, 204)
        await body(send)

    async with serving(app) as server, await server.connect() as client:
        await client.send(b"PUT /a%2fb/%C3%BC?q=%20 HTTP/1.1\r\nHost: x\r\nX-Key: V\r\nx-key: W\r\n\r\n")
        await client.head()
        own = client.sock.getsockname()

    scope = scopes[0]
    assert {key: scope[key] for key in ("type", "http_version", "method", "scheme", "path", "raw_path")} == {
        "type": "http",
        "http_version": "1.1",
        "method": "PUT",
        "scheme": "http",
        "path": "/a/b/ü",
        "raw_path": b"/a%2fb/%C3%BC",
    }
    assert scope["query_string"] == b"q=%20"
    assert scope["headers"] == [(b"host", b"x"), (b"x-key", b"V"), (b"x-key", b"W")]
    assert (scope["client"], scope["server"]) == (own, ("127.0.0.1", server.port))


async def test_a_whole_body_reaches_the_app_in_one_message() -> None:
    messages: list[dict[str, Any]] = []

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        messages.append(await receive())
        await start(send)
        await body(send)
        messages.append(await receive())

    async with serving(app) as server, await server.connect() as client:
        await client.ask(post(b"{}"))

    assert messages == [{"type": "http.request", "body": b"{}", "more_body": False}, {"type": "http.disconnect"}]


async def test_an_upload_waits_for_the_app_and_arrives_whole() -> None:
    size = 20_000_000
    sent = 0
    go = trio.Event()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        data = await read_body(receive)
        await start(send)
        await body(send, b"%d" % len(data or b""))

    async with serving(app) as server, await server.connect() as client, trio.open_nursery() as nursery:

        async def upload() -> None:
            nonlocal sent
            await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
            while sent < size:
                await client.send(b"x" * 50_000)
                sent += 50_000

        nursery.start_soon(upload)
        await trio.sleep(0.2)
        # What the kernel's buffers and the server's own hold.
        assert sent < 15_000_000
        go.set()

        assert (await client.reply()).body == b"%d" % size


@pytest.mark.parametrize(
    ("request_bytes", "app_headers", "pieces", "headers", "wire"),
    [
        (GET, [], [b"ab"], {"content-length": "2"}, b"ab"),
        (GET, [], [b"ab", b"", b"c", b""], {"transfer-encoding": "chunked"}, b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"),
        (GET, [], [b"ab", b"c"], {"transfer-encoding": "chunked"}, b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"),
        (GET, [(b"content-length", b"3")], [b"ab", b"c"], {"content-length": "3"}, b"abc"),
        (GET.replace(b"1.1", b"1.0"), [], [b"ab", b"c"], {"connection": "close"}, b"abc"),
        (GET.replace(b"GET", b"HEAD"), [(b"content-length", b"3")], [b"abc"], {"content-length": "3"}, b""),
    ],
)
async def test_a_body_is_framed_as_its_length_and_the_client_allow(
    request_bytes: bytes, app_headers: Any, pieces: list[bytes], headers: dict[str, str], wire: bytes
) -> None:
    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send, 200, *app_headers)
        for piece in pieces[:-1]:
            await body(send, piece, more=True)
        await body(send, pieces[-1])

    async with serving(app) as server, await server.connect() as client:
        await client.send(request_bytes)
        head = await client.head()
        sent = await client.take(len(wire))

        framing = {key: value for key, value in head.headers.items() if key not in {"date", "server"}}
        assert (framing, sent) == (headers, wire)
        assert client.is_open() or "close" in headers.values()


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_a_body_has_none(status: int) -> None:
    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send, status)
        await body(send, b"ignored")

    async with serving(app) as server, await server.connect() as client:
        await client.send(GET + GET)

        heads = [await client.head(), await client.head()]
        assert [(head.status, "content-length" in head.headers) for head in heads] == [(status, False)] * 2


async def test_the_head_waits_for_the_first_body_message_and_leaves_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[bytes] = []
    write = Connection.write

    async def counted(self: Connection, data: bytes) -> None:
        writes.append(data)
        await write(self, data)

    monkeypatch.setattr(Connection, "write", counted)

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        assert writes == []
        await body(send, b"one", more=True)
        await body(send, b"", more=True)
        await body(send, b"two")

    async with serving(app) as server, await server.connect() as client:
        reply = await client.ask(GET)

    assert reply.body == b"onetwo"
    assert [data.partition(b"\r\n\r\n")[2] or data for data in writes] == [b"3\r\none\r\n", b"3\r\ntwo\r\n0\r\n\r\n"]


async def test_an_empty_body_message_lets_the_head_out_early() -> None:
    go = trio.Event()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await body(send, more=True)
        await go.wait()
        await body(send, b"late")

    async with serving(app) as server, await server.connect() as client:
        await client.send(GET)
        head = await client.head()
        go.set()

        assert (head.status, await client.chunk()) == (200, b"late")


async def test_a_continue_is_sent_when_the_app_asks_for_the_body_and_not_to_a_client_that_is_refused() -> None:
    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        data = b"" if scope["path"] == "/refused" else await read_body(receive)
        await start(send, 413 if data == b"" else 200)
        await body(send, data or b"")

    lines = b"Host: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    async with serving(app) as server:
        async with await server.connect() as client:
            await client.send(b"POST / HTTP/1.1\r\n" + lines)
            assert (await client.head()).status == 100
            assert (await client.ask(b"{}")).body == b"{}"
        async with await server.connect() as client:
            reply = await client.ask(b"POST /refused HTTP/1.1\r\n" + lines)
            assert (reply.status, reply.headers["connection"], await client.rest()) == (413, "close", (b"", "eof"))


async def test_an_app_that_raises_gives_an_envelope_and_the_connection_lives(
    capsys: pytest.CaptureFixture[str],
) -> None:
    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "GET":
            key = scope["headers"][-1][1]
            async with trio.open_nursery():
                raise LookupError(len(key))
        await start(send)
        await body(send)

    async with serving(app) as server, await server.connect() as client:
        reply = await client.ask(GET[:-2] + b"X-Key: do-not-write-me\r\n\r\n")

        assert (reply.status, json.loads(reply.body)["error"]["type"]) == (500, "api_error")
        assert (await client.ask(post(b""))).status == 200
    written = capsys.readouterr().err
    assert ("app_failed" in written, "LookupError: 15" in written, "do-not-write-me" in written) == (True, True, False)


async def test_an_app_that_says_nothing_gives_an_envelope() -> None:
    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    async with serving(app) as server, await server.connect() as client:
        assert (await client.ask(GET)).status == 500


@pytest.mark.parametrize("raises", [True, False])
async def test_a_response_that_stops_half_way_ends_in_a_reset_and_not_like_a_whole_one(raises: bool) -> None:
    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await body(send, b"half", more=True)
        if raises:
            raise LookupError

    async with serving(app) as server, await server.connect() as client:
        await client.send(GET)
        _, end = await client.rest()

        assert end == "reset"


@pytest.mark.parametrize(
    ("headers", "pieces"),
    [
        ([(b"content-length", b"2")], [b"abc"]),
        ([(b"content-length", b"4")], [b"abc"]),
        ([(b"x-key", b"a\r\nx-evil: 1")], [b""]),
        ([(b"x-key", b"a\nx-evil: 1")], [b""]),
        ([(b"x-key", b"a\0")], [b""]),
    ],
)
async def test_a_response_that_would_break_its_framing_is_not_sent(headers: Any, pieces: list[bytes]) -> None:
    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send, 200, *headers)
        await body(send, pieces[0])

    async with serving(app) as server, await server.connect() as client:
        reply = await client.ask(GET)

        assert (reply.status, "x-evil" in reply.headers) == (500, False)


async def test_each_request_has_its_own_context_variables() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        before = variable.get()
        variable.set("someone else's")
        await start(send)
        await body(send, before.encode())

    async with serving(app) as server, await server.connect() as client:
        await client.send(GET + GET + GET)

        assert [(await client.reply()).body for _ in range(3)] == [b"none"] * 3


async def test_a_stream_that_never_waits_leaves_time_for_others() -> None:
    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        if scope["path"] == "/":
            while True:
                await body(send, b"x" * 100, more=True)
        await body(send, b"ok")

    async with serving(app) as server, await server.connect() as busy, trio.open_nursery() as nursery:

        async def read() -> None:
            while True:
                await busy.more()
                busy._buffer = b""

        await busy.send(GET)
        nursery.start_soon(read)
        async with await server.connect() as other:
            assert (await other.ask(GET.replace(b" / ", b" /ok "))).body == b"ok"
        nursery.cancel_scope.cancel()


async def test_writes_that_do_not_block_give_way_every_so_often() -> None:
    turns = 0

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def take_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take_turns)
            await start(send)
            for _ in range(160):
                await body(send, b"x", more=True)
            assert 5 <= turns <= 20
            await body(send)
            nursery.cancel_scope.cancel()

    async with serving(app) as server, await server.connect() as client:
        assert (await client.ask(GET)).body == b"x" * 160


# Lifespan


async def test_the_lifespan_surrounds_the_requests_and_shares_its_state() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            seen.append((await receive())["type"])
            scope["state"]["greeting"] = b"hello"
            await send({"type": "lifespan.startup.complete"})
            seen.append((await receive())["type"])
            await send({"type": "lifespan.shutdown.complete"})
        else:
            seen.append("request")
            await start(send)
            await body(send, scope["state"]["greeting"])

    async with serving(app) as server:
        async with await server.connect() as client:
            assert (await client.ask(GET)).body == b"hello"
        server.drain.begin()
        await server.wait_ended()

    assert seen == ["lifespan.startup", "request", "lifespan.shutdown"]


@pytest.mark.parametrize("raises", [True, False])
async def test_an_app_that_fails_to_start_is_an_error_and_nothing_listens(raises: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if raises:
            raise LookupError("no database")
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    sockets = bind("127.0.0.1", 0)
    with pytest.raises(ApiError, match=r"^The app failed: "):
        await serve_app(app, sockets, grace=1, drain=Drain(), refuse=refuse)

    assert [sock.fileno() for sock in sockets] == [-1]


async def test_an_app_without_a_lifespan_is_served_all_the_same() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await start(send)
        await body(send, b"ok")

    async with serving(app) as server, await server.connect() as client:
        assert (await client.ask(GET)).body == b"ok"


# Draining


@http
async def paced(scope: Any, receive: Any, send: Any) -> None:
    """A stream of twenty pieces within 0.2 s."""
    await start(send)
    for number in range(20):
        await body(send, b"%d," % number, more=True)
        await trio.sleep(0.01)
    await body(send)


async def test_drain_lets_streams_finish_closes_idle_connections_and_then_accepts_no_more() -> None:
    whole = b"".join(b"%d," % number for number in range(20))

    async with serving(paced) as server:
        idle, streams = await server.connect(), [await server.connect() for _ in range(6)]
        for client in streams:
            await client.send(GET)
            await client.head()
        server.drain.begin()

        assert await idle.rest() == (b"", "eof")
        for client in streams:
            assert b"".join([chunk async for chunk in _chunks(client)]) == whole
            assert await client.rest() == (b"", "eof")
        assert await server.wait_ended() < 1
        with pytest.raises(OSError):
            await server.connect()


async def test_who_connects_during_a_drain_gets_one_answer_and_does_not_prolong_it() -> None:
    go = trio.Event()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/long":
            await go.wait()
        await start(send)
        await body(send)

    async with serving(app) as server, await server.connect() as long:
        await long.send(GET.replace(b"GET / ", b"GET /long "))
        await trio.testing.wait_all_tasks_blocked(0.01)
        server.drain.begin()
        async with await server.connect() as late, await server.connect() as silent:
            assert (await late.ask(GET)).headers["connection"] == "close"
            assert await late.rest() == (b"", "eof")
            go.set()

            assert (await long.reply()).status == 200
            assert await silent.rest() == (b"", "eof")
        assert await server.wait_ended() < 1


async def _chunks(client: Raw) -> Any:
    while chunk := await client.chunk():
        yield chunk


async def test_an_answer_given_while_draining_says_that_it_is_the_last() -> None:
    go = trio.Event()

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        await start(send)
        await body(send)

    async with serving(app) as server, await server.connect() as client:
        await client.send(GET)
        await trio.testing.wait_all_tasks_blocked(0.01)
        server.drain.begin()
        go.set()

        assert (await client.reply()).headers["connection"] == "close"
        assert await client.rest() == (b"", "eof")
        assert await server.wait_ended() < 1


async def test_a_request_that_has_arrived_when_the_drain_begins_is_still_answered() -> None:
    drain = Drain()
    sockets = bind("127.0.0.1", 0)
    async with await Raw.connect(sockets[0].getsockname()[1]) as client:
        await client.send(GET)
        drain.begin()
        await serve_app(echo, sockets, grace=1, drain=drain, refuse=refuse)

        assert (await client.reply()).status == 200


@http
async def forever(scope: Any, receive: Any, send: Any) -> None:
    """A stream without an end."""
    await start(send)
    while True:
        await body(send, b"x" * 65536, more=True)
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("how", ["grace is over", "second signal", "cancelled"])
async def test_what_does_not_end_is_cancelled_and_reset_even_if_the_client_never_reads(how: str) -> None:
    ended: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await forever(scope, receive, send)
        except trio.Cancelled:
            ended.append("cancelled")
            raise

    grace = 0.1 if how == "grace is over" else 60
    async with serving(app, grace=grace) as server, await server.connect(receive_buffer=4096) as client:
        await client.send(GET)
        await client.head()
        await trio.sleep(0.1)
        began = trio.current_time()
        if how == "cancelled":
            server.scope.cancel()
        else:
            server.drain.begin()
            if how == "second signal":
                server.drain.stop_now()
        await server.wait_ended()

        assert trio.current_time() - began < 0.5
        assert (await client.rest())[1] == "reset"
    assert "cancelled" in ended


# TLS and HTTP/2


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls_pair(authority: trustme.CA) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


async def test_tls_carries_requests_streams_and_a_polite_end(authority: trustme.CA) -> None:
    server_context, client_context = tls_pair(authority)

    @http
    async def app(scope: Any, receive: Any, send: Any) -> None:
        data = await read_body(receive)
        await start(send)
        await body(send, scope["scheme"].encode(), more=True)
        await body(send, data or b"")

    big = b"x" * 300_000
    async with serving(app, tls=server_context) as server:
        async with await server.connect(tls=client_context) as client:
            assert (await client.ask(post(big))).body == b"https" + big
            assert (await client.ask(post(b"!", b"Connection: close"))).body == b"https!"
            # A client that checks goodbyes would report anything but one as a reset.
            assert await client.rest() == (b"", "eof")
        async with await server.connect(tls=client_context) as client:
            server.drain.begin()
            assert await client.rest() == (b"", "eof")


@pytest.mark.parametrize("http2", [False, True])
async def test_http2_is_spoken_only_where_it_is_asked_for(authority: trustme.CA, http2: bool) -> None:
    server_context, client_context = tls_pair(authority)

    async with (
        serving(echo, tls=server_context, http2=http2) as server,
        httpx.AsyncClient(verify=client_context, http2=True) as client,
    ):
        replies = [await client.post(f"https://localhost:{server.port}/", content=data) for data in (b"a", b"bc")]
        server.drain.begin()
        await server.wait_ended()

    version = "HTTP/2" if http2 else "HTTP/1.1"
    assert [(reply.http_version, reply.content) for reply in replies] == [(version, b"a"), (version, b"bc")]


async def test_http2_with_prior_knowledge_works_where_it_is_asked_for() -> None:
    async with serving(echo, http2=True) as server, httpx.AsyncClient(http1=False, http2=True) as client:
        reply = await client.post(f"http://127.0.0.1:{server.port}/", content=b"hello")

    assert (reply.http_version, reply.content) == ("HTTP/2", b"hello")


# Sockets


def test_a_free_port_is_one_for_all_addresses_of_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{number}", 0)) for number in (1, 2, 2, 3)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)
    sockets = bind("localhost", 0)

    hosts, ports = zip(*(address(sock).split(":") for sock in sockets), strict=True)
    for sock in sockets:
        sock.close()

    assert (hosts, len(set(ports))) == (("127.0.0.1", "127.0.0.2", "127.0.0.3"), 1)


def test_an_address_that_is_not_there_does_not_take_the_others_along(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in ("192.0.2.1", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)
    (sock,) = bind("localhost", 0)

    with sock:
        assert address(sock).startswith("127.0.0.1:")


@pytest.mark.parametrize(
    ("host", "port", "reason"),
    [
        ("no-such-host.invalid", 80, "the host is not known"),
        ("127.0.0.1", 99_999, "a port is a number from 0 to 65535"),
        ("192.0.2.1", 0, "the address does not belong to this machine"),
    ],
)
def test_an_address_that_cannot_be_had_is_a_sentence(host: str, port: int, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        bind(host, port)

    assert caught.value.faults == [f"Cannot listen on {host}:{port}: {reason}."]


def test_a_port_in_use_is_a_sentence_and_a_reserved_one_can_be_shared() -> None:
    (held,) = reserve("127.0.0.1", 0, reuse_port=True)
    port = held.getsockname()[1]
    (one,), (two,) = (bind("127.0.0.1", port, reuse_port=True) for _ in range(2))

    with pytest.raises(ConfigError, match="the port is in use by another program"):
        bind("127.0.0.1", port)

    for sock in (held, one, two):
        sock.close()


def test_another_hypercorn_is_refused_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.19.0")
    with pytest.raises(ImportError, match=r"needs Hypercorn 0\.18\.0, found 0\.19\.0"):
        importlib.reload(serve)
