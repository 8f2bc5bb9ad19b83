"""Connecting, TLS, and what happens to the bytes in between, on real sockets."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest
import trio

from tests.support.upstream import (
    Peer,
    Upstream,
    certificate_authority,
    chunked,
    hang,
    head,
    reply,
    server_context,
    trusting_context,
)
from vango.errors import TransportError
from vango.transport.faults import transport_error
from vango.transport.sockets import PULL_BYTES, TcpPipe, open_pipe, trusted_context

TLS = pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])


class Resolver(trio.abc.HostnameResolver):
    """Answers every name with the same addresses, or the same error."""

    def __init__(self, *ports: int, error: Exception | None = None) -> None:
        self.ports = ports
        self.error = error

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # type: ignore[no-untyped-def]
        if self.error is not None:
            raise self.error
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", each)) for each in self.ports]

    async def getnameinfo(self, sockaddr, flags):  # type: ignore[no-untyped-def]
        raise NotImplementedError


async def connect(upstream: Upstream) -> TcpPipe:
    context = trusting_context() if upstream.origin.scheme == "https" else None
    return await open_pipe(upstream.origin.host, upstream.origin.port, context)


async def pull(pipe: TcpPipe) -> bytes:
    while (data := pipe.pull()) is None:
        await pipe.wait_readable()
    return data


async def push_all(pipe: TcpPipe, data: bytes) -> None:
    rest = memoryview(data)
    while rest or pipe.has_backlog:
        rest = rest[pipe.push(rest) :] if rest else rest
        pipe.flush()
        if rest or pipe.has_backlog:
            await pipe.wait_ready()


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@TLS
async def test_bytes_pass_both_ways_in_any_amount(tls: bool) -> None:
    sent, received = bytes(range(256)) * 32_768, bytearray()  # 8 MiB, more than the sockets hold

    async def script(peer: Peer) -> None:
        while len(received) < len(sent):
            received.extend(await peer.stream.receive_some(65_536))
        await peer.send(bytes(received))

    async with Upstream(script, tls=tls) as upstream:
        pipe = await connect(upstream)
        await push_all(pipe, sent)
        back = bytearray()
        while len(back) < len(sent):
            back += await pull(pipe)
        pipe.close()

    assert received == sent
    assert back == sent


@TLS
async def test_what_has_arrived_is_pulled_joined(tls: bool) -> None:
    all_sent = trio.Event()

    async def script(peer: Peer) -> None:
        for piece in (b"one ", b"two ", b"three"):
            await peer.send(piece)
        all_sent.set()

    async with Upstream(script, tls=tls) as upstream:
        pipe = await connect(upstream)
        await all_sent.wait()
        data = pipe.pull()
        pipe.close()

    assert data == b"one two three"


@TLS
async def test_one_pull_is_bounded(tls: bool) -> None:
    size = PULL_BYTES * 8

    async with Upstream(lambda peer: peer.send(b"x" * size), tls=tls) as upstream:
        pipe = await connect(upstream)
        sizes: list[int] = []
        while sum(sizes) < size:
            await trio.testing.wait_all_tasks_blocked()  # the socket fills
            sizes.append(len(await pull(pipe)))
        pipe.close()

    assert sum(sizes) == size
    assert 65_536 < max(sizes) <= PULL_BYTES


@TLS
async def test_nothing_there_is_told_from_the_end(tls: bool) -> None:
    let_go = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.send(b"x")
        await let_go.wait()
        await peer.finish()

    async with Upstream(script, tls=tls) as upstream:
        pipe = await connect(upstream)
        first, then = await pull(pipe), pipe.pull()
        let_go.set()
        end = await pull(pipe)
        pipe.close()

    assert (first, then, end) == (b"x", None, b"")


@TLS
async def test_a_cancelled_wait_loses_no_bytes(tls: bool) -> None:
    go_on = trio.Event()

    async def script(peer: Peer) -> None:
        await go_on.wait()
        await peer.send(b"still there")

    async with Upstream(script, tls=tls) as upstream:
        pipe = await connect(upstream)
        for wait in (pipe.wait_readable, pipe.wait_readable):
            with trio.CancelScope() as scope:
                scope.cancel()
                await wait()
            assert scope.cancelled_caught
        go_on.set()
        data = await pull(pipe)
        pipe.close()

    assert data == b"still there"


@TLS
async def test_a_reset_behind_data_is_told_after_the_data(tls: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.send(b"x" * 65_536)
        peer.reset()

    async with Upstream(script, tls=tls) as upstream:
        pipe = await connect(upstream)
        received = b""
        with pytest.raises(ConnectionResetError):
            while data := await pull(pipe):
                received += data
        with pytest.raises(ConnectionResetError):
            pipe.pull()  # not an end, which would complete a body without a length
        pipe.close()

    assert received == b"x" * 65_536


@TLS
@pytest.mark.parametrize("ending", ["close", "abort"])
async def test_the_peer_sees_the_end_at_once(tls: bool, ending: str) -> None:
    async with Upstream(Peer.wait_closed, tls=tls) as upstream:
        pipe = await connect(upstream)
        await push_all(pipe, b"x")
        getattr(pipe, ending)()
        getattr(pipe, ending)()
        with trio.fail_after(2):
            await upstream.wait_closed(1)

    assert upstream.peers[0].was_reset is (ending == "abort")


@TLS
async def test_an_idle_connection_is_quiet_until_the_peer_says_something_or_ends(tls: bool) -> None:
    gone = trio.Event()
    endings = {0: lambda peer: peer.send(b"x"), 1: lambda peer: peer.finish()}

    async def script(peer: Peer) -> None:
        await peer.send(b"ready")
        await gone.wait()
        await endings[peer.number](peer)

    async with Upstream(script, tls=tls) as upstream:
        pipes = [await connect(upstream), await connect(upstream)]
        for pipe in pipes:
            assert await pull(pipe) == b"ready"
        before = [pipe.is_quiet() for pipe in pipes]
        gone.set()
        for pipe in pipes:
            await pipe.wait_readable()
        after = [pipe.is_quiet() for pipe in pipes]
        for pipe in pipes:
            pipe.close()

    assert (before, after) == ([True, True], [False, False])


async def shake_hands(peer: Peer) -> None:
    """Do the server's part of a handshake as most servers do: trio's stream, for one, holds session tickets back."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = server_context("localhost").wrap_bio(incoming, outgoing, server_side=True)
    while True:
        incoming.write(await peer.tcp.receive_some(65_536))
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            await peer.tcp.send_all(outgoing.read())
    await peer.tcp.send_all(outgoing.read())


async def test_session_tickets_alone_leave_a_tls_connection_quiet() -> None:
    async with Upstream(shake_hands) as upstream:
        pipe = await open_pipe("localhost", upstream.origin.port, trusting_context())
        await pipe.wait_readable()
        assert pipe.is_quiet()
        pipe.close()


async def test_a_server_is_told_why_its_certificate_is_refused() -> None:
    told: list[str] = []

    async def script(peer: Peer) -> None:
        try:
            await shake_hands(peer)
        except ssl.SSLError as exc:
            told.append(exc.reason)

    async with Upstream(script) as upstream:
        with pytest.raises(TransportError):
            await open_pipe("localhost", upstream.origin.port, ssl.create_default_context())
        await upstream.wait_closed(1)

    assert told == ["TLSV1_ALERT_UNKNOWN_CA"]


async def test_closing_tls_tells_the_peer() -> None:
    ends: list[bytes] = []

    async def script(peer: Peer) -> None:
        ends.append(bytes(await peer.stream.receive_some(100)))  # raises where there is no close_notify

    async with Upstream(script, tls=True) as upstream:
        pipe = await connect(upstream)
        pipe.close()
        await upstream.wait_closed(1)

    assert ends == [b""]


async def test_what_tls_has_sealed_is_a_backlog_until_the_socket_takes_it() -> None:
    read, received = trio.Event(), 0

    async def script(peer: Peer) -> None:
        nonlocal received
        await read.wait()
        while data := await peer.stream.receive_some(65_536):
            received += len(data)

    async with Upstream(script, tls=True) as upstream:
        pipe = await connect(upstream)
        pushed = 0
        while not pipe.has_backlog:
            taken = pipe.push(bytes(10_000))
            assert taken
            pushed += taken
        assert pipe.push(b"more") == 0
        read.set()
        while pipe.has_backlog:
            await pipe.wait_ready()
            pipe.flush()
        pipe.close()
        await upstream.wait_closed(1)

    assert received == pushed


async def test_closing_ends_a_wait_that_somebody_still_has() -> None:
    async with Upstream(hang) as upstream:
        pipe = await connect(upstream)

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await pipe.wait_readable()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            pipe.close()


async def test_tls_without_a_close_notify_is_a_fault_and_with_one_an_end() -> None:
    async def script(peer: Peer) -> None:
        await peer.send(b"x")
        if peer.number:
            await peer.finish()
        else:
            peer.cut()

    async with Upstream(script, tls=True) as upstream:
        cut, finished = await connect(upstream), await connect(upstream)
        assert (await pull(cut), await pull(finished)) == (b"x", b"x")
        with pytest.raises(ssl.SSLEOFError):
            await pull(cut)
        assert await pull(finished) == b""
        cut.close()
        finished.close()


async def test_what_is_no_tls_behind_data_is_told_after_the_data() -> None:
    async def script(peer: Peer) -> None:
        await peer.send(b"x")
        await peer.tcp.send_all(b"these bytes are no record of TLS")
        await let_go.wait()

    let_go = trio.Event()
    async with Upstream(script, tls=True) as upstream:
        pipe = await connect(upstream)
        await trio.testing.wait_all_tasks_blocked()
        assert pipe.pull() == b"x"
        for _ in range(2):
            with pytest.raises(ssl.SSLError):
                pipe.pull()
        let_go.set()
        pipe.close()


async def test_a_system_root_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "roots.pem"
    certificate_authority().cert_pem.write_to_path(str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))

    async with Upstream(hang, tls=True) as upstream:
        pipe = await open_pipe("localhost", upstream.origin.port, trusted_context())
        pipe.close()

    assert upstream.accepted == 1


async def test_only_http_1_is_offered_by_alpn() -> None:
    async with Upstream(hang, tls=True) as upstream:
        chosen: list[str | None] = []
        assert upstream.context is not None
        upstream.context.set_alpn_protocols(["h2", "http/1.1"])
        context = trusted_context()
        assert context.options & ssl.OP_NO_RENEGOTIATION
        certificate_authority().configure_trust(context)

        async def script(peer: Peer) -> None:
            chosen.append(peer.stream.selected_alpn_protocol())  # type: ignore[union-attr]

        upstream.script = script
        pipe = await open_pipe("localhost", upstream.origin.port, context)
        pipe.close()
        await upstream.wait_closed(1)

    assert chosen == ["http/1.1"]


class TestConnectFaults:
    async def fault(self, host: str, port: int, context: ssl.SSLContext | None = None) -> str:
        with pytest.raises(TransportError) as caught:
            await open_pipe(host, port, context)
        assert host not in caught.value.message
        assert str(port) not in caught.value.message
        assert caught.value.__cause__ is not None
        assert not caught.value.stale
        return caught.value.message

    async def test_refused(self) -> None:
        assert await self.fault("127.0.0.1", closed_port()) == "The provider refused the connection."

    @pytest.mark.parametrize("host", ["", "a..b", "x" * 64, "\0"])
    async def test_what_cannot_be_a_name(self, host: str) -> None:
        with pytest.raises(TransportError, match=r"provider's (name|address)"):
            await open_pipe(host, 1, None)

    async def test_name_not_found(self) -> None:
        trio.socket.set_custom_hostname_resolver(Resolver(error=socket.gaierror(socket.EAI_NONAME, "unknown")))

        assert await self.fault("nowhere.example", 443) == "The provider's name was not found."

    async def test_name_server_silent(self) -> None:
        trio.socket.set_custom_hostname_resolver(Resolver(error=socket.gaierror(socket.EAI_AGAIN, "again")))

        assert await self.fault("nowhere.example", 443) == "The provider's name cannot be looked up at present."

    async def test_untrusted_certificate(self) -> None:
        async with Upstream(hang, tls=True) as upstream:
            message = await self.fault("localhost", upstream.origin.port, ssl.create_default_context())

        assert message == "The provider's TLS certificate is not trusted."

    async def test_certificate_for_another_host(self) -> None:
        async with Upstream(hang, tls=True, certified_for="elsewhere.example") as upstream:
            message = await self.fault("localhost", upstream.origin.port, trusting_context())

        assert message == "The provider's TLS certificate is for another host."

    async def test_no_tls_at_all(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.stream.receive_some(1000)
            await peer.send(head(400))

        async with Upstream(script) as upstream:
            message = await self.fault("localhost", upstream.origin.port, trusting_context())

        assert message.startswith("The TLS connection to the provider failed (")

    @pytest.mark.parametrize("ending", [Peer.cut, Peer.reset])
    async def test_an_end_during_the_handshake(self, ending) -> None:  # type: ignore[no-untyped-def]
        async def script(peer: Peer) -> None:
            await peer.tcp.receive_some(1)
            ending(peer)

        async with Upstream(script) as upstream:
            await self.fault("localhost", upstream.origin.port, trusting_context())

    def test_a_fault_that_is_not_known_is_still_a_sentence(self) -> None:
        assert transport_error(OSError(9999, "10.0.0.1 odd")).message == "The connection to the provider failed."


async def test_the_next_address_is_tried_where_one_refuses() -> None:
    async with Upstream(reply(chunked(b"x"))) as upstream:
        trio.socket.set_custom_hostname_resolver(Resolver(closed_port(), upstream.origin.port))

        pipe = await open_pipe("two.example", upstream.origin.port, None)
        pipe.close()

    assert upstream.accepted == 1


async def test_a_cancelled_connect_or_handshake_closes_its_socket() -> None:
    async with Upstream(Peer.wait_closed) as upstream:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(open_pipe, "localhost", upstream.origin.port, trusting_context())
                await upstream.wait_accepted(1)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        with trio.fail_after(2):
            await upstream.wait_closed(1)

    assert scope.cancelled_caught
