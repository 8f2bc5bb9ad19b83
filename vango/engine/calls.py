"""One call to a provider: its phases, each under its own deadline, and the mapping of what goes wrong.

A call is used as `with call:` and closes its link without waiting, on every path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import trio

from vango.errors import ProviderError, ProviderTimeoutError, TransportError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from vango.engine.routes import Provider
    from vango.providers.base import Target
    from vango.transport.base import Link, Transport
    from vango.types.call import Outcome
    from vango.wire.call import HttpCall, ReplyHead

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Whole answers with inline images are large; beyond this an upstream is not answering but flooding."""

MAX_ERROR_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Deadlines:
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
        self.answer_by = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back or abort it; never waits."""
        if self._link is not None:
            self._link.close()
            self._link = None

    async def send(self) -> None:
        """Connect and write the request."""
        deadlines = self.provider.deadlines
        self._began = trio.current_time()
        self.answer_by = self._began + deadlines.answer
        try:
            with trio.CancelScope(deadline=self._began + deadlines.connect) as scope:
                self._link = await self._transports[self._call.origin.scheme].connect(self._call.origin)
            if self._link is None:
                raise self._late("gave no connection", deadlines.connect)
            with trio.CancelScope(deadline=self.answer_by) as scope:
                await self._link.send(self._call)
            if scope.cancelled_caught:
                raise self._late("did not take the request", deadlines.answer)
        except TransportError as exc:
            raise self._broken(exc) from exc
        finally:
            self._outcome.upstream_seconds += trio.current_time() - self._began

    async def head(self, until: float) -> ReplyHead | None:
        """Wait for the head of the answer; None where `until` (a trio time) came first."""
        assert self._link is not None
        head = None
        began = trio.current_time()
        try:
            with trio.CancelScope(deadline=min(until, self.answer_by)):
                head = await self._link.head()
        except TransportError as exc:
            raise self._broken(exc) from exc
        finally:
            now = trio.current_time()
            self._outcome.upstream_seconds += now - began
        if head is None:
            if now >= self.answer_by:
                raise self._late("did not answer", self.provider.deadlines.answer)
            return None
        self._outcome.provider_request_id = head.headers.get("request-id") or head.headers.get("x-request-id")
        if head.status < 400:
            self.provider.health.answered(now - self._began)
        return head

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

    async def read(self, limit: int = MAX_ANSWER_BYTES) -> bytes:
        """Read the rest of the body; raises ProviderError beyond `limit` bytes."""
        parts: list[bytes] = []
        size = 0
        while data := await self.receive(self.answer_by):
            parts.append(data)
            size += len(data)
            if size > limit:
                raise ProviderError(
                    f"{self.target.provider}: the answer is larger than {limit} bytes.", provider=self.target.provider
                )
        if data is None:
            raise self._late("did not finish its answer", self.provider.deadlines.answer)
        return b"".join(parts)

    async def refusal(self, head: ReplyHead) -> Exception:
        """Read a refusal's body and return the error it maps to."""
        try:
            body = await self.read(MAX_ERROR_BYTES)
        except ProviderError:
            body = b""  # the status alone says enough
        return self.provider.codec.error(head, body, self.target)

    def _broken(self, exc: TransportError) -> TransportError:
        said = str(exc)
        error = TransportError(f"{self.target.provider}: {said[:1].lower()}{said[1:]}", stale=exc.stale)
        error.provider = self.target.provider
        return error

    def _late(self, what: str, seconds: float) -> ProviderTimeoutError:
        return ProviderTimeoutError(
            f"{self.target.provider} {what} within {seconds:g} s.", provider=self.target.provider
        )
