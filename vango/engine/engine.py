"""The engine: candidates in order, tries within each, and one error ladder for all of it.

It opens no nursery and starts no task: the caller pulls, and leaving the block is the only way to stop a call.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

import trio

from vango.engine.calls import UpstreamCall
from vango.engine.stream import HOLD_SECONDS, Stream
from vango.errors import (
    AuthenticationError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProviderError,
    ProviderTimeoutError,
    RateLimitError,
    TransportError,
    VangoError,
)

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from vango.engine.retry import RetryPolicy
    from vango.engine.routes import Route, Routes
    from vango.providers.base import Decoded, Encoded, Target
    from vango.transport.base import Transport
    from vango.types.call import Caller, Outcome
    from vango.types.messages import MessageRequest

T = TypeVar("T")

MAX_STALE = 100
"""Pooled connections that may turn out to be closed, one after the other, before that counts as a failure."""


PROVIDERS_OWN = (ProviderError, NotFoundError, RateLimitError, OverloadedError, ProviderTimeoutError)
"""Failures that another model need not share, even where asking the same one again is useless."""


class Engine:
    """Runs message requests against providers. `random` returns numbers from 0 to 1, for the jitter of retries."""

    def __init__(
        self,
        routes: Routes,
        transports: Mapping[str, Transport],
        *,
        retries: RetryPolicy,
        random: Callable[[], float],
        fallbacks: Mapping[str, Sequence[str]] | None = None,
        strict: bool = False,
    ) -> None:
        self.routes = routes
        self._transports = transports
        self._retries = retries
        self._random = random
        self._fallbacks = fallbacks or {}
        self._strict = strict

    async def create(self, request: MessageRequest, caller: Caller, outcome: Outcome) -> Decoded:
        """Run one turn and return the whole answer; raises VangoError."""

        async def once(route: Route, target: Target) -> Decoded:
            encoded = self._encode(route, request, target, outcome)
            with UpstreamCall(route.provider, target, encoded.call, self._transports, outcome) as call:
                body = await call.whole()
            decoded = route.provider.codec.decode(body, target)
            outcome.model, outcome.usage, outcome.cost = decoded.model, decoded.usage, decoded.cost
            outcome.stop_reason = decoded.stop_reason
            return decoded

        return await self._try(request, caller, outcome, once)

    async def count_tokens(self, request: MessageRequest, caller: Caller, outcome: Outcome) -> int:
        """Return the input tokens of a request, counted by the provider; raises VangoError."""

        async def once(route: Route, target: Target) -> int:
            codec = route.provider.codec
            encoded = codec.encode_count(request, target)
            with UpstreamCall(route.provider, target, encoded.call, self._transports, outcome) as call:
                return codec.decode_count(await call.whole(), target)

        return await self._try(request, caller, outcome, once)

    @asynccontextmanager
    async def stream(self, request: MessageRequest, caller: Caller, outcome: Outcome) -> AsyncIterator[Stream]:
        """Open a stream and hand it out once it has content; leaving the block closes the upstream at once.

        Whatever fails before that raises as an HTTP error would; retries and fallbacks happen only there.
        """
        hold_until = trio.current_time() + HOLD_SECONDS

        async def once(route: Route, target: Target) -> tuple[UpstreamCall, Stream]:
            encoded = self._encode(route, request, target, outcome)
            call = UpstreamCall(route.provider, target, encoded.call, self._transports, outcome)
            opened = False
            try:
                stream = Stream(call, outcome, hold_until)
                await stream.open()
                opened = True
            finally:
                if not opened:
                    call.close()
            return call, stream

        call, stream = await self._try(request, caller, outcome, once, until=hold_until)
        with call:
            try:
                yield stream
            except VangoError as error:
                self._failed(call.provider.name, error, outcome)
                raise
            finally:
                stream.note_usage()

    def _encode(self, route: Route, request: MessageRequest, target: Target, outcome: Outcome) -> Encoded:
        encoded = route.provider.codec.encode(request, target)
        if encoded.losses and (request.strict or self._strict):
            loss = encoded.losses[0]
            raise InvalidRequestError(f"{loss.path}: {loss.reason}", param=loss.path, code="lossy")
        outcome.losses = tuple(map(str, encoded.losses))
        return encoded

    async def _try(
        self,
        request: MessageRequest,
        caller: Caller,
        outcome: Outcome,
        once: Callable[[Route, Target], Awaitable[T]],
        *,
        until: float = float("inf"),
    ) -> T:
        """Run `once` for the first candidate that succeeds. No new try begins after `until` (a trio time)."""
        candidates = self._candidates(request, caller)
        last = len(candidates) - 1
        for index, (route, target) in enumerate(candidates):
            outcome.provider, outcome.model, outcome.provider_request_id = route.provider.name, route.full_id, None
            try:
                return await self._persist(route, target, outcome, once, until)
            except VangoError as error:
                if index == last or not _moves_on(error) or trio.current_time() >= until:
                    raise
        raise AssertionError("there is always a candidate")

    async def _persist(
        self,
        route: Route,
        target: Target,
        outcome: Outcome,
        once: Callable[[Route, Target], Awaitable[T]],
        until: float,
    ) -> T:
        """Run `once` for one candidate, again while the policy says so."""
        tried = stale = 0
        while True:
            outcome.attempts += 1
            try:
                return await once(route, target)
            except TransportError as error:
                # The provider had closed an idle connection before it saw anything: that was no try.
                if error.stale and stale < MAX_STALE:
                    stale += 1
                    outcome.attempts -= 1
                    continue
                failure: VangoError = error
            except VangoError as error:
                failure = error
            if failure.provider is not None:
                self._failed(route.provider.name, failure, outcome)
            if isinstance(failure, NotFoundError):
                _hint(failure, route, self.routes.now().date())
            delay = self._retries.delay(failure, tried, self._random)
            if delay is None or trio.current_time() + delay >= until:
                raise failure
            tried += 1
            outcome.retries.append(route.provider.name)
            outcome.upstream_seconds += delay
            await trio.sleep(delay)

    def _candidates(self, request: MessageRequest, caller: Caller) -> list[tuple[Route, Target]]:
        first = self.routes.resolve(request.model)
        candidates = [(first, self.routes.target(first, caller))]
        for index, name in enumerate(request.fallbacks):
            param = f"fallbacks[{index}]"
            route = self.routes.resolve(name, param=param)
            candidates.append((route, self.routes.target(route, caller, param=param)))
        if not request.fallbacks:
            # The operator's choice is for every caller: what is not for this one is no reason to refuse the first model.
            for name in self._fallbacks.get(first.full_id, ()):
                with suppress(NotFoundError, AuthenticationError, PermissionDeniedError):
                    route = self.routes.resolve(name)
                    candidates.append((route, self.routes.target(route, caller)))
        return candidates

    def _failed(self, provider: str, error: VangoError, outcome: Outcome) -> None:
        outcome.upstream_errors.append((provider, error.type))
        outcome.provider_request_id = error.provider_request_id or outcome.provider_request_id
        if isinstance(error, ProviderError) or error.status >= 500:
            self.routes.providers[provider].health.failed(error.type)


def _moves_on(error: VangoError) -> bool:
    """Whether another model may do what this one could not."""
    return error.retryable or isinstance(error, PROVIDERS_OWN)


def _hint(error: VangoError, route: Route, today: dt.date) -> None:
    """Tell whoever asked for a retired model what came after it."""
    entry = route.entry
    if entry is not None and entry.retired is not None and entry.retired <= today and entry.successor:
        after = f"{route.provider.name}/{entry.successor}"
        error.message = f"{error.message} {route.full_id} was retired on {entry.retired}; its successor is {after}."
