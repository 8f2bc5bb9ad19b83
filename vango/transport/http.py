"""The HTTP/1.1 client of the hot path: a pool per origin, and links that move bytes between a pipe and a parser.

Two things happen on a link, pushing what is left of the request and pulling what has arrived. They are interleaved, so
an answer that comes before the request is out is seen, and there is one place that waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from vango.errors import TransportError
from vango.transport.faults import transport_error
from vango.transport.http1 import ResponseParser, encode_head
from vango.transport.pool import IDLE_SECONDS, Pool, PoolUsage
from vango.transport.sockets import TcpPipe, open_pipe, trusted_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from vango.wire.call import HttpCall, Origin, ReplyHead

_JOINED_BYTES: Final = 64 * 1024  # a body up to this leaves together with the head, in one system call
_TURNS: Final = 32  # operations that did not wait, until other tasks get their turn


class HttpLink:
    """One call's hold on a connection. One task uses it, for one call."""

    __slots__ = (
        "_failed_push",
        "_is_closed",
        "_is_cut",
        "_is_reused",
        "_parser",
        "_pipe",
        "_place",
        "_pool",
        "_unsent",
    )

    def __init__(self, pool: Pool[TcpPipe], place: object, pipe: TcpPipe, *, is_reused: bool) -> None:
        self._pool = pool
        self._place = place
        self._pipe = pipe
        self._is_reused = is_reused
        self._parser: ResponseParser | None = None
        self._unsent: list[bytes | memoryview] = []  # the next piece last
        self._failed_push: OSError | None = None
        self._is_cut = False
        self._is_closed = False

    async def send(self, call: HttpCall) -> None:
        """Write the request. Not a checkpoint where the socket takes all of it at once; `head` is one.

        An answer may come before the request is out: then this returns, and the rest follows while the body is
        received, unless the answer is an error.
        Raises TransportError, and ValueError for what HTTP cannot carry, with nothing written.
        """
        if self._parser is not None or self._is_closed:
            raise RuntimeError("a link carries one call")
        head, body = encode_head(call), call.body
        self._parser = parser = ResponseParser(call.method)
        if len(body) <= _JOINED_BYTES:
            self._unsent = [head + body]
        else:
            self._unsent = [memoryview(body)[_JOINED_BYTES:], head + body[:_JOINED_BYTES]]
        self._push()
        while self._is_pushing and parser.head is None:
            await self._advance(parser)

    async def head(self) -> ReplyHead:
        """Wait for the head of the answer; informational (1xx) answers are skipped. Raises TransportError."""
        parser = self._parser_in_use()
        if not (parser.has_begun or self._is_pushing or self._failed_push):
            # An answer is hardly here already, so a pull would be wasted; and so every call passes one checkpoint.
            await self._pipe.wait_readable()
        while parser.head is None:
            await self._advance(parser)
        return parser.head

    async def receive(self) -> bytes:
        """Return the body bytes that have arrived, waiting only where there are none; b"" at the end of the body.

        Raises TransportError where the body ends before its framing says so.
        """
        parser = self._parser_in_use()
        while not parser.pieces:
            if parser.is_complete:
                return b""
            await self._advance(parser)
        return parser.take()

    def close(self) -> None:
        """Give the connection back if nothing of request and answer is outstanding, else reset it. Never waits."""
        if self._is_closed:
            return
        self._is_closed = True
        parser, pipe = self._parser, self._pipe
        if parser is not None:
            parser.release()
        if parser is None or (parser.keep_alive and not self._is_cut and not self._is_pushing):
            self._pool.leave(self._place, pipe)
            return
        if parser.is_complete and not self._is_cut and not self._is_pushing:
            pipe.close()
        else:
            pipe.abort()
        self._pool.leave(self._place)

    @property
    def _is_pushing(self) -> bool:
        return bool(self._unsent) or self._pipe.has_backlog

    def _parser_in_use(self) -> ResponseParser:
        if self._parser is None or self._is_closed:
            raise RuntimeError("an answer is read after the call is sent, and before the link is closed")
        return self._parser

    async def _advance(self, parser: ResponseParser) -> None:
        """Give the parser what has arrived, or its end; where nothing has, wait and push on. Raises TransportError."""
        pipe = self._pipe
        if parser.fault is not None:
            raise parser.fault
        if pipe.turns >= _TURNS:
            pipe.turns = 0
            await trio.lowlevel.checkpoint()
        try:
            data = pipe.pull()
            if data is None:
                if not self._is_pushing:
                    await pipe.wait_readable()
                else:
                    await pipe.wait_ready()
                    self._push()
                return
        except OSError as exc:
            raise self._broken(exc) from exc
        if data:
            parser.feed(data)
            if self._unsent and parser.head is not None and parser.head.status >= 400:
                self._cut()
            return
        if self._failed_push is not None and (parser.head is None or parser.head.status < 400):
            # An end behind a reset is no end of a body, however the body is framed.
            raise self._broken(self._failed_push) from self._failed_push
        if not parser.has_begun:
            raise TransportError("The provider closed the connection without an answer.", stale=self._is_reused)
        parser.feed_eof()

    def _push(self) -> None:
        unsent, pipe = self._unsent, self._pipe
        try:
            while unsent and pipe.turns <= _TURNS:
                piece = unsent[-1]
                taken = pipe.push(piece)
                if taken == len(piece):
                    unsent.pop()
                elif taken:
                    unsent[-1] = memoryview(piece)[taken:]
                else:
                    return
            if pipe.has_backlog:
                pipe.flush()
        except OSError as exc:
            # A provider that refuses a long request answers and closes: the answer is still there to be pulled.
            self._failed_push = exc
            self._cut()

    def _cut(self) -> None:
        self._unsent.clear()
        self._is_cut = True

    def _broken(self, fault: OSError) -> TransportError:
        parser = self._parser
        return transport_error(fault, stale=self._is_reused and parser is not None and not parser.has_begun)


class HttpTransport:
    """Connections to `http` and `https` origins, lent out and kept for reuse.

    `limits` says how many links to an origin may be out at once; it is asked at every connect, so it may change.
    `ssl_context` replaces the system's trust and is used as it is.
    Leaving the block closes the idle connections and refuses new links; those that are out close theirs when they end.
    """

    def __init__(self, limits: Callable[[Origin], int], ssl_context: ssl.SSLContext | None = None) -> None:
        self._limits = limits
        self._context = ssl_context
        self._pools: dict[Origin, Pool[TcpPipe]] = {}
        self._sweep_at = 0.0
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closed = True
        for pool in self._pools.values():
            pool.close()

    async def connect(self, origin: Origin) -> HttpLink:
        """Return an idle link or make one, waiting for a place where the origin's bound is reached.

        Not a checkpoint where an idle link is at hand; `HttpLink.send` is one. Raises TransportError.
        """
        if origin.scheme not in ("http", "https"):
            raise ValueError(f"expected an http or https origin, got {origin.scheme!r}")
        pool = self._pool(origin)
        place = object()
        await pool.enter(place)
        pipe = pool.take()
        if pipe is not None:
            return HttpLink(pool, place, pipe, is_reused=True)
        try:
            pipe = await open_pipe(origin.host, origin.port, self._tls() if origin.scheme == "https" else None)
        finally:
            if pipe is None:
                pool.leave(place)
        return HttpLink(pool, place, pipe, is_reused=False)

    def is_full(self, origin: Origin) -> bool:
        """Whether as many links to the origin are out as may be, so that `connect` has to wait for one to come back."""
        pool = self._pools.get(origin)
        return pool is not None and pool.usage.lent >= self._limits(origin)

    def usage(self) -> dict[Origin, PoolUsage]:
        """Return what each origin's pool holds at this moment."""
        return {origin: pool.usage for origin, pool in self._pools.items()}

    def _pool(self, origin: Origin) -> Pool[TcpPipe]:
        if self._is_closed:
            raise TransportError("No connection to the provider can be made: the transport is closed.")
        # Pools tidy themselves when used; once in a while one call does it for those that no longer are.
        now = trio.current_time()
        if now >= self._sweep_at:
            self._sweep_at = now + IDLE_SECONDS
            for each in self._pools.values():
                each.expire(now)
        pool, limit = self._pools.get(origin), self._limits(origin)
        if pool is None:
            pool = self._pools[origin] = Pool(limit)
        else:
            pool.resize(limit)
        return pool

    def trust(self, context: ssl.SSLContext) -> None:
        """Take a context made elsewhere: reading the system's certificates takes 50 ms, which a loop should not wait for."""
        self._context = self._context or context

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = trusted_context()
        return self._context
