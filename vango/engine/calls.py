"""One call to a provider: its phases, each under its own deadline, and the mapping of what goes wrong.

A call is used as `with call:` and closes its link without waiting, on every path.
Entering and leaving a cancel scope costs 15 µs and moving its deadline 3, so phases that follow each other share one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import msgspec
import trio

from vango.errors import OverloadedError, ProviderError, ProviderTimeoutError, TransportError
from vango.providers.refusals import request_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from vango.engine.routes import Provider
    from vango.errors import VangoError
    from vango.providers.base import Target
    from vango.transport.base import Link, Transport
    from vango.types.call import Outcome
    from vango.wire.call import HttpCall, ReplyHead

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Whole answers with inline images are large; beyond this an upstream is not answering but flooding."""

MAX_ERROR_BYTES = 256 * 1024

REFUSAL_SECONDS = 2.0
"""How long the body of a refusal may take after its head: the status alone says enough, and a retry may be waiting."""


class Deadlines(msgspec.Struct, frozen=True):
    """How long a provider may take, in seconds.

    `answer` is for the head of an answer, and without stream for the whole; `silence` and `stream` bound a stream.
    """

    connect: float = 5.0
    answer: float = 600.0
    silence: float = 120.0
    stream: float = 3600.0


class UpstreamCall:
    """A call under way to one provider."""

    def __init__(
        self,
        provider: Provider,
        target: Target,
        call: HttpCall,
        transports: Mapping[str, Transport],
        outcome: Outcome,
    ) -> None:
        self.provider = provider
        self.target = target
        self._call = call
        self._transports = transports
        self._outcome = outcome
        self._link: Link | None = None
        self._began = 0.0
        self._answer_by = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back or abort it; never waits."""
        if self._link is not None:
            self._link.close()
            self._link = None

    async def whole(self) -> bytes:
        """Run the whole call and return the body of a good answer; raises VangoError."""
        head = None
        try:
            with trio.CancelScope() as scope:
                link = await self._connect_and_send(scope)
                head = self._answered(await link.head())
                if head.status < 300:
                    return await self._read(link)
        except TransportError as exc:
            raise self._broken(exc) from exc
        finally:
            self._outcome.upstream_seconds += trio.current_time() - self._began
        if head is None or head.status < 300:
            raise self._too_late("did not answer" if head is None else "did not finish its answer")
        raise await self.refusal(head)

    async def send(self) -> None:
        """Connect and write the request."""
        try:
            with trio.CancelScope() as scope:
                await self._connect_and_send(scope)
        except TransportError as exc:
            raise self._broken(exc) from exc
        finally:
            self._outcome.upstream_seconds += trio.current_time() - self._began
        if scope.cancelled_caught:
            raise self._too_late("did not take the request")

    async def head(self, until: float) -> ReplyHead | None:
        """Wait for the head of the answer; None where `until` (a trio time) came first."""
        assert self._link is not None
        head = None
        began = trio.current_time()
        try:
            with trio.CancelScope(deadline=min(until, self._answer_by)):
                head = await self._link.head()
        except TransportError as exc:
            raise self._broken(exc) from exc
        finally:
            now = trio.current_time()
            self._outcome.upstream_seconds += now - began
        if head is not None:
            return self._answered(head)
        if now >= self._answer_by:
            raise self._too_late("did not answer")
        return None

    async def receive(self, until: float) -> bytes | None:
        """Return body bytes, b"" at the end; None where `until` came first."""
        assert self._link is not None
        data = None
        began = trio.current_time()
        try:
            with trio.CancelScope(deadline=until):
                data = await self._link.receive()
        except TransportError as exc:
            raise self._broken(exc) from exc
        finally:
            self._outcome.upstream_seconds += trio.current_time() - began
        return data

    async def refusal(self, head: ReplyHead) -> VangoError:
        """Read what a refusal says, as far as it comes soon and whole, and return the error it maps to."""
        parts: list[bytes] = []
        size = 0
        until = trio.current_time() + REFUSAL_SECONDS
        try:
            while size <= MAX_ERROR_BYTES and (data := await self.receive(until)):
                parts.append(data)
                size += len(data)
        except TransportError:
            pass  # what has come is read, and the status counts whatever it says
        return self.provider.codec.error(head, b"".join(parts), self.target)

    def check_size(self, size: int) -> None:
        """Raise ProviderError where a whole answer is larger than any is."""
        if size > MAX_ANSWER_BYTES:
            provider = self.target.provider
            raise ProviderError(
                f"{provider}: the answer is larger than {MAX_ANSWER_BYTES} bytes.", provider=provider, retryable=False
            )

    async def _connect_and_send(self, scope: trio.CancelScope) -> Link:
        """Connect under one deadline and send under the next, both of them `scope`'s."""
        deadlines = self.provider.deadlines
        self._began = trio.current_time()
        self._answer_by = self._began + deadlines.answer
        scope.deadline = self._began + deadlines.connect
        self._link = link = await self._transports[self._call.origin.scheme].connect(self._call.origin)
        scope.deadline = self._answer_by
        await link.send(self._call)
        return link

    async def _read(self, link: Link) -> bytes:
        data = await link.receive()
        if not data:
            return b""
        parts = [data]
        size = len(data)
        while data := await link.receive():
            parts.append(data)
            size += len(data)
            self.check_size(size)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _answered(self, head: ReplyHead) -> ReplyHead:
        self._outcome.provider_request_id = request_id(head.headers, self.target)
        if head.status < 400:
            self.provider.health.answered(trio.current_time() - self._began)
        return head

    def _broken(self, exc: TransportError) -> TransportError:
        said = str(exc)
        error = TransportError(f"{self.target.provider}: {said[:1].lower()}{said[1:]}", stale=exc.stale)
        error.provider = self.target.provider
        return error

    def _too_late(self, what: str) -> VangoError:
        origin = self._call.origin
        if self._link is None and self._transports[origin.scheme].is_full(origin):
            # Nothing is known of the provider, and waiting once more would help nobody.
            return OverloadedError(
                f"All connections to {self.target.provider} were in use for {self.provider.deadlines.connect:g} s.",
                code="no_free_connection",
                retryable=False,
            )
        deadlines, connected = self.provider.deadlines, self._link is not None
        seconds = deadlines.answer if connected else deadlines.connect
        return ProviderTimeoutError(
            f"{self.target.provider} {what if connected else 'gave no connection'} within {seconds:g} s.",
            provider=self.target.provider,
            # The answer's deadline is for all that a caller waits, so nothing of it is left for another try.
            retryable=not connected,
        )
