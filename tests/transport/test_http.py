"""The HTTP client against real sockets: answers in pieces, reuse, early answers, cancellation at every wait."""

from __future__ import annotations

import gc
import random
import socket
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.support.upstream import (
    LAST_CHUNK,
    Peer,
    Script,
    Upstream,
    chunk,
    chunked,
    chunked_head,
    hang,
    head,
    http,
    replies,
    reply,
    trusting_context,
)
from vango.errors import TransportError
from vango.transport.base import Transport
from vango.transport.http import HttpLink, HttpTransport
from vango.transport.pool import IDLE_SECONDS, Pool, PoolUsage
from vango.transport.sockets import TcpPipe, open_pipe
from vango.wire.call import HttpCall, Origin, ReplyHead

TLS = pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
LONG = b"long prompt " * 700_000  # 8 MB: more than both sockets hold


def make_transport(limit: int = 4) -> HttpTransport:
    return HttpTransport(lambda _: limit, trusting_context())


def post(origin: Origin, body: bytes = b"{}", method: str = "POST") -> HttpCall:
    return HttpCall(origin, method, "/v1/messages", (("content-type", "application/json"),), body)


async def read_body(link: HttpLink) -> bytes:
    body = b""
    while data := await link.receive():
        body += data
    return body


async def ask(
    transport: HttpTransport, upstream: Upstream, body: bytes = b"{}", method: str = "POST"
) -> tuple[ReplyHead, bytes]:
    with trio.fail_after(10), closing(await transport.connect(upstream.origin)) as link:
        await link.send(post(upstream.origin, body, method))
        return await link.head(), await read_body(link)


async def fault(transport: HttpTransport, upstream: Upstream) -> TransportError:
    with pytest.raises(TransportError) as caught:
        await ask(transport, upstream)
    assert str(upstream.origin.port) not in caught.value.message
    return caught.value


def lent(transport: HttpTransport, upstream: Upstream) -> int:
    return transport.usage()[upstream.origin].lent


def idle(transport: HttpTransport, upstream: Upstream) -> int:
    return transport.usage()[upstream.origin].idle


def test_it_is_a_transport() -> None:
    transport: Transport = make_transport()

    assert isinstance(transport, HttpTransport)


class TestAnswers:
    @TLS
    async def test_an_answer_in_one_piece(self, tls: bool) -> None:
        async with Upstream(reply(http(b"hello", headers={"x-one": "1"})), tls=tls) as upstream, make_transport() as t:
            answer = await ask(t, upstream, b'{"model": "m"}')

        assert answer == (ReplyHead(200, {"x-one": "1", "content-length": "5"}), b"hello")
        (request,) = upstream.requests
        assert (request.method, request.target, request.body) == ("POST", "/v1/messages", b'{"model": "m"}')
        assert request.headers == [
            ("host", upstream.origin.authority),
            ("content-type", "application/json"),
            ("content-length", "14"),
        ]

    @TLS
    @pytest.mark.parametrize(
        ("answer", "body"),
        [
            (chunked(b"hello ", b"world"), b"hello world"),
            (http(b"hello world"), b"hello world"),
            (head(204), b""),
            (b"HTTP/1.1 100 Continue\r\n\r\n" + http(b"hello"), b"hello"),
        ],
    )
    async def test_an_answer_that_drips(self, answer: bytes, body: bytes, tls: bool) -> None:
        async def script(peer: Peer) -> None:
            while await peer.request():
                await peer.send_bytewise(answer)

        async with Upstream(script, tls=tls) as upstream, make_transport() as transport:
            answers = [await ask(transport, upstream) for _ in range(2)]

        assert [each[1] for each in answers] == [body, body]
        assert upstream.accepted == 1

    async def test_every_piece_is_received_as_it_comes(self) -> None:
        script = reply(chunked_head(), chunk(b"one"), chunk(b"two"), LAST_CHUNK)
        async with Upstream(script) as upstream, make_transport() as transport:
            with closing(await transport.connect(upstream.origin)) as link:
                await link.send(post(upstream.origin))
                await link.head()
                pieces = [await link.receive() for _ in range(4)]

        assert pieces == [b"one", b"two", b"", b""]

    async def test_what_has_arrived_is_received_joined_and_without_a_checkpoint(self) -> None:
        async with Upstream(reply(chunked(*[b"x"] * 1000))) as upstream, make_transport() as transport:
            with closing(await transport.connect(upstream.origin)) as link:
                await link.send(post(upstream.origin))
                await link.head()
                with trio.testing.assert_no_checkpoints():
                    body, end = await link.receive(), await link.receive()

        assert (body, end) == (b"x" * 1000, b"")

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.lists(st.binary(min_size=1, max_size=50), max_size=5),
        st.lists(st.integers(1, 500), max_size=8),
        st.booleans(),
    )
    async def test_cuts_on_the_wire_make_no_difference(
        self, pieces: list[bytes], cuts: list[int], is_chunked: bool
    ) -> None:
        answer = chunked(*pieces) if is_chunked else http(b"".join(pieces))

        async def script(peer: Peer) -> None:
            while await peer.request():
                await peer.send_split(answer, {cut for cut in cuts if cut < len(answer)})

        async with Upstream(script) as upstream, make_transport() as transport:
            bodies = [(await ask(transport, upstream))[1] for _ in range(2)]

        assert bodies == [b"".join(pieces)] * 2
        assert upstream.accepted == 1

    @TLS
    async def test_a_body_without_a_length_ends_with_the_connection(self, tls: bool) -> None:
        async with (
            Upstream(replies(b"HTTP/1.0 200 OK\r\n\r\nhello"), tls=tls) as upstream,
            make_transport() as transport,
        ):
            _, body = await ask(transport, upstream)
            assert idle(transport, upstream) == 0

        assert body == b"hello"

    async def test_a_body_without_a_length_is_incomplete_where_tls_is_cut(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(head() + b"hello")
            peer.cut()

        async with Upstream(script, tls=True) as upstream, make_transport() as transport:
            error = await fault(transport, upstream)

        assert error.message == "The provider ended the TLS connection early."

    async def test_a_cut_of_tls_after_the_answer_does_no_harm(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(http(b"hello"))
            peer.cut()

        async with Upstream(script, tls=True) as upstream, make_transport() as transport:
            _, body = await ask(transport, upstream)

        assert body == b"hello"

    @TLS
    @pytest.mark.parametrize("answer", [http(b"hello")[:-1], chunked(b"hello")[:-1], head(200)[:-1], b"HTTP/1.1 1"])
    async def test_an_answer_that_ends_early(self, answer: bytes, tls: bool) -> None:
        async with Upstream(replies(answer), tls=tls) as upstream, make_transport() as transport:
            error = await fault(transport, upstream)

        assert error.message == "The provider ended its answer early."
        assert not error.stale

    async def test_what_came_before_a_cut_is_received_first(self) -> None:
        async with Upstream(replies(chunked_head() + chunk(b"hello"))) as upstream, make_transport() as transport:
            with closing(await transport.connect(upstream.origin)) as link:
                await link.send(post(upstream.origin))
                assert (await link.head()).status == 200
                assert await link.receive() == b"hello"
                for _ in range(2):
                    with pytest.raises(TransportError, match="ended its answer early"):
                        await link.receive()

    async def test_a_reset_in_the_body(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(chunked_head() + chunk(b"hello"))
            await wait_all_tasks_blocked()
            peer.reset()

        async with Upstream(script) as upstream, make_transport() as transport:
            error = await fault(transport, upstream)

        assert error.message == "The provider reset the connection."

    async def test_what_is_not_http(self) -> None:
        async with Upstream(replies(b"SSH-2.0-OpenSSH_9.6\r\n")) as upstream, make_transport() as transport:
            error = await fault(transport, upstream)
            assert idle(transport, upstream) == 0

        assert error.message.startswith("The provider's answer is not valid HTTP/1.1: ")

    async def test_no_answer_at_all(self) -> None:
        async with Upstream(replies(b"")) as upstream, make_transport() as transport:
            error = await fault(transport, upstream)

        assert error.message == "The provider closed the connection without an answer."
        assert not error.stale

    async def test_a_half_close_with_the_answer_is_still_an_answer(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(http(b"hello"))
            await peer.half_close()
            await peer.wait_closed()

        async with Upstream(script) as upstream, make_transport() as transport:
            _, body = await ask(transport, upstream)

        assert body == b"hello"


class TestRequests:
    @TLS
    async def test_a_long_body_arrives_whole(self, tls: bool) -> None:
        async with Upstream(reply(http(b"ok")), tls=tls) as upstream, make_transport() as transport:
            answers = [await ask(transport, upstream, LONG[:size]) for size in (65_536, 65_537, len(LONG))]

        assert [body for _, body in answers] == [b"ok"] * 3
        assert [len(request.body) for request in upstream.requests] == [65_536, 65_537, len(LONG)]
        assert upstream.requests[-1].body == LONG
        assert upstream.accepted == 1

    async def test_what_http_cannot_carry_is_refused_before_a_byte_is_written(self) -> None:
        async with Upstream(reply(http(b"ok"))) as upstream, make_transport() as transport:
            call = HttpCall(upstream.origin, "POST", "/", (("x-api-key", "secret\r\nx: y"),), b"")
            with closing(await transport.connect(upstream.origin)) as link, pytest.raises(ValueError) as caught:
                await link.send(call)
            _, body = await ask(transport, upstream)

        assert "secret" not in str(caught.value)
        assert body == b"ok"
        assert (upstream.accepted, len(upstream.requests)) == (1, 1)

    @TLS
    async def test_an_error_that_comes_before_the_request_is_out_stops_it(self, tls: bool) -> None:
        async def script(peer: Peer) -> None:
            await peer.request_head()
            await peer.send(http(b"too long", 413))
            await answered.wait()
            await peer.wait_closed()

        answered = trio.Event()
        async with Upstream(script, tls=tls) as upstream, make_transport() as transport:
            answer, body = await ask(transport, upstream, LONG)
            answered.set()
            await upstream.wait_closed(1)
            assert idle(transport, upstream) == 0

        assert (answer.status, body) == (413, b"too long")

    async def test_what_is_left_of_the_request_is_not_sent_after_an_error(self) -> None:
        taken = 0

        async def script(peer: Peer) -> None:
            await peer.request_head()
            await peer.send(head(413, {"content-length": "8"}))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(drain, peer)
                await wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
            await peer.send(b"too long")

        async def drain(peer: Peer) -> None:
            nonlocal taken
            while data := await peer.stream.receive_some(65_536):
                taken += len(data)

        async with Upstream(script) as upstream, make_transport() as transport:
            answer, body = await ask(transport, upstream, bytes(64_000_000))

        assert (answer.status, body) == (413, b"too long")
        assert taken < 32_000_000  # what was in the sockets already

    async def test_the_last_of_a_request_is_sent_even_where_tls_has_sealed_it_already(self) -> None:
        async def script(peer: Peer) -> None:
            if peer.number:  # the first connection is for measuring
                await reply(http(b"ok", headers={"connection": "close"}))(peer)

        async with Upstream(script, tls=True) as upstream, make_transport() as transport:
            pipe = await open_pipe("localhost", upstream.origin.port, trusting_context())
            room = 0  # what a new connection's sockets hold while nobody reads
            while not pipe.has_backlog:
                room += pipe.push(bytes(65_536))
            pipe.abort()
            sizes = [room - less for less in (40_000, 20_000, 1_000)]
            for size in sizes:
                await ask(transport, upstream, bytes(size))

        assert [len(request.body) for request in upstream.requests] == sizes

    @TLS
    @pytest.mark.parametrize("framed", [True, False])
    async def test_an_error_followed_by_a_reset_is_not_lost(self, tls: bool, framed: bool) -> None:
        async def script(peer: Peer) -> None:
            await peer.request_head()
            await peer.stream.send_all(http(b"too long", 413) if framed else head(413) + b"too long")
            peer.cut()  # with most of the request unread, which makes it a reset

        async with Upstream(script, tls=tls) as upstream, make_transport() as transport:
            answers = []
            for _ in range(3):
                with closing(await transport.connect(upstream.origin)) as link:
                    await link.send(post(upstream.origin, LONG))
                    answers.append(((await link.head()).status, await link.receive()))

        assert answers == [(413, b"too long")] * 3

    async def test_a_body_without_a_length_is_incomplete_behind_a_reset(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.request_head()
            await peer.stream.send_all(head(200) + b"hello")
            peer.cut()

        async with Upstream(script) as upstream, make_transport() as transport:
            with pytest.raises(TransportError, match="reset"):
                await ask(transport, upstream, LONG)

    @TLS
    async def test_an_answer_may_begin_before_the_request_has_ended(self, tls: bool) -> None:
        async def script(peer: Peer) -> None:
            while await peer.request_head():
                await peer.send(chunked_head() + chunk(b"go on"))
                begun.set()
                request = await peer.request()
                assert request is not None
                await peer.send(chunk(b"%d" % len(request.body)) + LAST_CHUNK)

        begun = trio.Event()
        async with Upstream(script, tls=tls) as upstream, make_transport() as transport:
            with closing(await transport.connect(upstream.origin)) as link:
                await link.send(post(upstream.origin, LONG))
                await link.head()
                first = await link.receive()
                rest = await read_body(link)
            assert idle(transport, upstream) == 1

        assert begun.is_set()
        assert (first, rest) == (b"go on", b"%d" % len(LONG))

    async def test_a_link_carries_one_call_and_nothing_once_closed(self) -> None:
        async with Upstream(reply(http(b"hello"))) as upstream, make_transport() as transport:
            link = await transport.connect(upstream.origin)
            with pytest.raises(RuntimeError):
                await link.receive()
            await link.send(post(upstream.origin))
            with pytest.raises(RuntimeError):
                await link.send(post(upstream.origin))
            await link.head()
            link.close()
            link.close()
            for wait in (link.head, link.receive):
                with pytest.raises(RuntimeError):
                    await wait()
            assert transport.usage()[upstream.origin] == PoolUsage(lent=0, idle=1, waiting=0)


class TestReuse:
    @TLS
    async def test_one_connection_carries_calls_one_after_another(self, tls: bool) -> None:
        async with Upstream(reply(chunked(b"hello")), tls=tls) as upstream, make_transport() as transport:
            for _ in range(5):
                await ask(transport, upstream)

        assert (upstream.accepted, len(upstream.requests)) == (1, 5)

    async def test_an_unread_answer_that_is_all_there_does_not_cost_the_connection(self) -> None:
        async with Upstream(reply(http(b"an error that nobody reads", 400))) as upstream, make_transport() as transport:
            for _ in range(2):
                with closing(await transport.connect(upstream.origin)) as link:
                    await link.send(post(upstream.origin))
                    await link.head()

        assert upstream.accepted == 1

    async def test_a_link_that_was_not_used_does_not_cost_the_connection(self) -> None:
        async with Upstream(reply(http(b"hello"))) as upstream, make_transport() as transport:
            (await transport.connect(upstream.origin)).close()
            await ask(transport, upstream)

        assert upstream.accepted == 1

    @pytest.mark.parametrize(
        ("answer", "method"),
        [
            (http(b"hello", headers={"connection": "close"}), "POST"),
            (b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", "POST"),
            (http(b"hello") + b"surplus", "POST"),
            (http(b"hello") + http(b"another answer"), "POST"),
            (head(200, {"content-length": "5"}), "HEAD"),
        ],
    )
    async def test_a_connection_is_not_reused_after(self, answer: bytes, method: str) -> None:
        async with Upstream(reply(answer)) as upstream, make_transport() as transport:
            answers = [await ask(transport, upstream, b"", method) for _ in range(2)]

        assert [body for _, body in answers] == [b"" if method == "HEAD" else b"hello"] * 2
        assert upstream.accepted == 2

    @TLS
    @pytest.mark.parametrize("ending", ["finish", "cut", "reset", "half_close", "surplus"])
    async def test_a_connection_that_ended_while_idle_is_passed_over(self, tls: bool, ending: str) -> None:
        async def script(peer: Peer) -> None:
            while await peer.request():
                await peer.send(http(b"hello"))
                if peer.number == 0:
                    await read.wait()
                    await end(peer)
                    ended.set()

        async def end(peer: Peer) -> None:
            if ending == "surplus":
                await peer.send(b"surplus")
            elif ending in ("finish", "half_close"):
                await getattr(peer, ending)()
            else:
                getattr(peer, ending)()

        read, ended = trio.Event(), trio.Event()
        async with Upstream(script, tls=tls) as upstream, make_transport() as transport:
            await ask(transport, upstream)
            read.set()
            await ended.wait()
            _, body = await ask(transport, upstream)

        assert body == b"hello"
        assert upstream.accepted == 2

    @TLS
    @pytest.mark.parametrize("ending", [Peer.cut, Peer.reset])
    async def test_a_reused_connection_that_dies_without_a_byte_is_stale(
        self, ending: Callable[[Peer], None], tls: bool
    ) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(http(b"hello"))
            await peer.request()
            ending(peer)

        async with Upstream(script, tls=tls) as upstream, make_transport() as transport:
            await ask(transport, upstream)
            error = await fault(transport, upstream)
            _, body = await ask(transport, upstream)

        assert error.stale
        assert body == b"hello"

    @pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", head()])
    async def test_one_that_dies_after_its_first_byte_is_not(self, begun: bytes) -> None:
        async with Upstream(replies(http(b"hello"), begun[:-1])) as upstream, make_transport() as transport:
            await ask(transport, upstream)
            error = await fault(transport, upstream)

        assert error.stale is (begun == b"H")  # of which nothing was sent

    async def test_a_transport_is_full_while_every_place_is_taken(self) -> None:
        async with Upstream(reply(http(b"hello"))) as upstream, make_transport(2) as transport:
            assert not transport.is_full(upstream.origin)
            links = [await transport.connect(upstream.origin) for _ in range(2)]
            assert transport.is_full(upstream.origin)
            links[0].close()
            assert not transport.is_full(upstream.origin)
            links[1].close()

    async def test_idle_connections_expire(self, mock_clock: MockClock) -> None:
        script = reply(http(b"hello"))
        async with Upstream(script) as upstream, Upstream(script) as other, make_transport() as transport:
            await ask(transport, upstream)
            await ask(transport, other)
            mock_clock.jump(IDLE_SECONDS)
            await ask(transport, other)
            await upstream.wait_closed(1)
            await other.wait_closed(1)
            usage = transport.usage()

        assert usage == {upstream.origin: PoolUsage(0, 0, 0), other.origin: PoolUsage(0, 1, 0)}

    async def test_leaving_closes_idle_connections_and_those_lent_when_they_come_back(self) -> None:
        async with Upstream(reply(http(b"hello"))) as upstream:
            async with make_transport() as transport:
                lent_link = await transport.connect(upstream.origin)
                await ask(transport, upstream)

            await upstream.wait_closed(1)
            await lent_link.send(post(upstream.origin))
            assert await read_body(lent_link) == b"hello"
            lent_link.close()
            await upstream.wait_closed(2)
            with pytest.raises(TransportError, match="closed"):
                await transport.connect(upstream.origin)

    async def test_another_scheme_is_refused(self) -> None:
        async with make_transport() as transport:
            with pytest.raises(ValueError, match="sandbox"):
                await transport.connect(Origin("sandbox", "x", 0))


class TestBound:
    async def test_calls_beyond_the_bound_wait_for_a_place(self) -> None:
        async with Upstream(reply(http(b"hello"))) as upstream, make_transport(limit=2) as transport:
            links = [await transport.connect(upstream.origin) for _ in range(2)]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, transport, upstream)
                await wait_all_tasks_blocked()
                waiting = transport.usage()[upstream.origin]
                links.pop().close()
            links.pop().close()

        assert waiting == PoolUsage(lent=2, idle=0, waiting=1)
        assert upstream.accepted == 2

    async def test_the_bound_may_change(self) -> None:
        limits = {"now": 1}
        async with Upstream(hang) as upstream, HttpTransport(lambda _: limits["now"]) as transport:
            first = await transport.connect(upstream.origin)
            limits["now"] = 2
            second = await transport.connect(upstream.origin)
            assert lent(transport, upstream) == 2
            first.close()
            second.close()

    async def test_a_failed_connection_gives_its_place_back(self) -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            origin = Origin("http", "127.0.0.1", sock.getsockname()[1])
        async with make_transport(limit=1) as transport:
            for _ in range(3):
                with pytest.raises(TransportError, match="refused"):
                    await transport.connect(origin)
            assert transport.usage() == {origin: PoolUsage(0, 0, 0)}


async def read_no_further(peer: Peer) -> None:
    await peer.request_head()
    await peer.wait_failed()
    await peer.wait_closed()


async def begin_a_body(peer: Peer) -> None:
    await peer.request()
    await peer.send(chunked_head() + chunk(b"hello"))


class TestCancellation:
    @TLS
    @pytest.mark.parametrize(
        ("script", "body"),
        [(read_no_further, LONG), (hang, b"{}"), (begin_a_body, b"{}")],
        ids=["send", "head", "body"],
    )
    async def test_the_upstream_sees_it_at_once(self, script: Script, body: bytes, tls: bool) -> None:
        async with Upstream(script, tls=tls) as upstream, make_transport() as transport:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(ask, transport, upstream, body)
                    await upstream.wait_requests(1)
                    await wait_all_tasks_blocked()
                    cancelled_at = trio.current_time()
                    scope.cancel()
            usage = transport.usage()[upstream.origin]
            with trio.fail_after(2):
                await upstream.wait_closed(1)
            (await transport.connect(upstream.origin)).close()

        (peer, *_) = upstream.peers
        assert scope.cancelled_caught
        assert usage == PoolUsage(0, 0, 0)
        assert peer.was_reset
        assert peer.closed_at is not None
        assert peer.closed_at - cancelled_at < 0.5

    async def test_while_connecting_nothing_is_left(self) -> None:
        # A listener whose queue is full lets further connections hang.
        with socket.socket() as listener, socket.socket() as queued:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            queued.connect(listener.getsockname())
            origin = Origin("http", "127.0.0.1", listener.getsockname()[1])
            async with make_transport(limit=1) as transport:
                with open_sockets_unchanged():
                    for _ in range(3):
                        with trio.CancelScope() as scope:
                            async with trio.open_nursery() as nursery:
                                nursery.start_soon(transport.connect, origin)
                                await wait_all_tasks_blocked()
                                scope.cancel()
                        assert scope.cancelled_caught
                    assert transport.usage() == {origin: PoolUsage(0, 0, 0)}

    @TLS
    async def test_a_cancelled_head_or_receive_loses_nothing_and_may_be_called_again(self, tls: bool) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            for piece in (chunked_head(), chunk(b"hello"), LAST_CHUNK):
                await go_on.wait()
                await peer.send(piece)

        async def cut_short(wait: Callable[[], Awaitable[object]]) -> None:
            with trio.CancelScope() as scope:
                scope.cancel()
                await wait()
            assert scope.cancelled_caught

        go_on = trio.Event()
        async with Upstream(script, tls=tls) as upstream, make_transport() as transport:
            with closing(await transport.connect(upstream.origin)) as link:
                await link.send(post(upstream.origin))
                await cut_short(link.head)
                await cut_short(link.head)
                go_on.set()
                answer = await link.head()
                await wait_all_tasks_blocked()
                body = await read_body(link)
            assert idle(transport, upstream) == 1

        assert (answer.status, body) == (200, b"hello")

    @TLS
    @pytest.mark.parametrize("seed", range(2))
    async def test_in_a_contended_pool_nothing_leaks(self, seed: int, tls: bool) -> None:
        rng, finished = random.Random(seed), 0

        async def script(peer: Peer) -> None:
            while await peer.request():
                for piece in (chunked_head(), chunk(b"a"), chunk(b"b" * 1000), LAST_CHUNK):
                    await peer.stream.send_all(piece)

        async def call_and_cancel() -> None:
            nonlocal finished
            # Ends at any of the awaits, or at none of them.
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(cancel_after, scope, rng.randrange(60))
                    await ask(transport, upstream)
                    assert lent(transport, upstream) <= 5
                    finished += 1
                    nursery.cancel_scope.cancel()

        async def cancel_after(scope: trio.CancelScope, turns: int) -> None:
            for _ in range(turns):
                await trio.lowlevel.checkpoint()
            scope.cancel()

        with open_sockets_unchanged():
            async with Upstream(script, tls=tls) as upstream:
                async with make_transport(limit=5) as transport:
                    async with trio.open_nursery() as nursery:
                        for _ in range(200):
                            nursery.start_soon(call_and_cancel)
                    assert lent(transport, upstream) == 0
                    for _ in range(5):  # all places are still there
                        await ask(transport, upstream)
                    links = [await transport.connect(upstream.origin) for _ in range(5)]
                    for link in links:
                        link.close()
                await upstream.wait_closed(upstream.accepted)

        assert 0 < finished < 200


class open_sockets_unchanged:  # noqa: N801
    """Asserts that the block leaves as many sockets open in this process as it found."""

    def __enter__(self) -> None:
        self.before = self.count()

    def __exit__(self, kind: object, *_: object) -> None:
        gc.collect()
        if kind is None:
            assert self.count() == self.before

    def count(self) -> int:
        if not Path("/proc/self/fd").exists():
            pytest.skip("open files are counted in /proc")
        count = 0
        for file in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):  # the directory's own
                count += str(file.readlink()).startswith("socket:")
        return count


async def test_a_stream_that_never_lets_up_lets_others_run() -> None:
    class Flood(TcpPipe):
        def push(self, data: bytes | memoryview) -> int:
            return len(data)

        def pull(self) -> bytes:
            self.turns += 1
            return chunk(b"x") if self.begun else self.begin()

        def begin(self) -> bytes:
            self.begun = True
            return chunked_head()

        async def wait_readable(self) -> None:
            self.begun = False
            await trio.lowlevel.checkpoint()

    others_ran = 0

    async def other() -> None:
        nonlocal others_ran
        while True:
            await trio.lowlevel.checkpoint()
            others_ran += 1

    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        pool, origin = Pool[TcpPipe](1), Origin("http", "flood", 80)
        await pool.enter(pool)
        link = HttpLink(pool, pool, Flood(left), is_reused=False)
        await link.send(post(origin))
        await link.head()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            for _ in range(32 * 100):
                assert await link.receive() == b"x"
            nursery.cancel_scope.cancel()
        link.close()

    assert 90 <= others_ran <= 110
