"""A stream under way: bytes from one provider become frames for one caller, pulled batch by batch."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Self

import trio

from vango.errors import ProviderError, ProviderTimeoutError, TransportError
from vango.wire.sse import PING_COMMENT, Frame, frame

if TYPE_CHECKING:
    from vango.engine.calls import UpstreamCall
    from vango.types.call import Outcome
    from vango.wire.call import ReplyHead

HOLD_SECONDS = 5.0
"""How long opening events wait for content, while a failure can still be an ordinary HTTP error."""

HOLD_FRAMES = 64
HOLD_BYTES = 256 * 1024

PING_SECONDS = 15.0
"""Silence after which the caller gets a sign of life."""

DRAIN_SECONDS = 1.0
"""How long the end of a finished body may take before its connection is given up rather than reused."""

PING = frame("ping", b'{"type":"ping"}')
EARLY_PING = Frame("", PING_COMMENT)


class Stream:
    """Frames in the batches in which they arrived; every batch goes out in one piece.

    Iterating raises VangoError where the stream fails after it was handed out. `done` says that the batch just returned was the last.
    `model` is the full id of the model that answers, as far as it is known.
    """

    def __init__(self, call: UpstreamCall, outcome: Outcome, hold_until: float) -> None:
        self._call = call
        self._outcome = outcome
        self._decoder = call.provider.codec.decoder(call.target)
        self._hold_until = hold_until
        self._ends_at = trio.current_time() + call.provider.deadlines.stream
        self._silent_at = 0.0
        self._ping_at = 0.0
        self._answering = False
        self._whole: bytearray | None = None
        self._started = False
        self._held: list[Frame] = []
        self._failure: Exception | None = None
        self.done = False

    @property
    def model(self) -> str:
        """`provider/model`, by the provider's own word once it has answered."""
        return self._decoder.model

    @property
    def ready(self) -> bool:
        """Whether there are frames to take without waiting."""
        return bool(self._held)

    async def open(self) -> None:
        """Send the call and hold its events until there is content, or the window closes. Failures raise as HTTP errors would."""
        await self._call.send()
        while not self._decoder.has_content:
            batch = await self._next(self._hold_until)
            if batch is None:
                break
            self._held += batch
            if self._failure is not None and not self._decoder.has_content:
                raise self._failure
            if len(self._held) > HOLD_FRAMES or sum(len(item.raw) for item in self._held) > HOLD_BYTES:
                break
        self._ping_at = trio.current_time() + PING_SECONDS

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Frame]:
        if self._held:
            batch, self._held = self._held, []
            return self._out(batch)
        if self.done:
            raise StopAsyncIteration
        if self._failure is not None:
            raise self._failure
        while True:
            received = await self._next(self._ping_at)
            if received is None:
                self._ping_at = trio.current_time() + PING_SECONDS
                return [PING if self._started else EARLY_PING]
            if received:
                return self._out(received)
            if self._failure is not None:
                raise self._failure

    async def finish(self) -> None:
        """After the last batch: read to the end of the body, so that the connection can be used again."""
        # The answer is complete: what happens to its connection now is no failure of the call.
        until = trio.current_time() + DRAIN_SECONDS
        with suppress(TransportError):
            while await self._call.receive(until):
                pass

    def _out(self, batch: list[Frame]) -> list[Frame]:
        self._started = True
        self._ping_at = trio.current_time() + PING_SECONDS
        self.done = self._decoder.done
        return batch

    async def _next(self, until: float) -> list[Frame] | None:
        """Return the frames of what arrives next, [] where it completes none; None where `until` came first."""
        if not self._answering:
            head = await self._call.head(min(until, self._ends_at))
            if head is None:
                if trio.current_time() >= self._ends_at:
                    raise self._late("was not done after", self._call.provider.deadlines.stream)
                return None
            await self._take(head)
        data = await self._call.receive(min(until, self._silent_at, self._ends_at))
        now = trio.current_time()
        if data is None:
            if now >= self._ends_at:
                raise self._late("was not done after", self._call.provider.deadlines.stream)
            if now >= self._silent_at:
                raise self._late("sent nothing for", self._call.provider.deadlines.silence)
            return None
        self._silent_at = now + self._call.provider.deadlines.silence
        if self._whole is not None:
            self._whole += data
            self._call.check_size(len(self._whole))
            return [] if data else self._unfold(bytes(self._whole))
        decoder = self._decoder
        if not data:
            decoder.finish()
        frames = decoder.feed(data)
        if decoder.has_content and self._outcome.first_token_at is None:
            self._outcome.first_token_at = now
        if decoder.failure is not None:
            self._failure = decoder.failure
        if decoder.done:
            self._note(decoder.model)
        return frames

    async def _take(self, head: ReplyHead) -> None:
        if head.status >= 300:
            raise await self._call.refusal(head)
        self._answering = True
        self._silent_at = trio.current_time() + self._call.provider.deadlines.silence
        kind = head.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/json":
            self._whole = bytearray()
        elif kind != "text/event-stream":
            provider = self._call.target.provider
            raise ProviderError(
                f"{provider} answered a stream request with {kind or 'no content type'}.", provider=provider
            )

    def _unfold(self, body: bytes) -> list[Frame]:
        """Turn a whole JSON answer, where a stream was asked for, into its events."""
        frames, decoded = self._call.provider.codec.unfold(body, self._call.target)
        decoder = self._decoder
        decoder.model, decoder.usage, decoder.cost = decoded.model, decoded.usage, decoded.cost
        decoder.stop_reason, decoder.has_content, decoder.done = decoded.stop_reason, True, True
        self._outcome.first_token_at = trio.current_time()
        self._note(decoded.model)
        return frames

    def note_usage(self) -> None:
        """Write what is known of the usage into the outcome, also of a stream that was given up."""
        self._note(self._decoder.model)

    def _note(self, model: str) -> None:
        outcome, decoder = self._outcome, self._decoder
        outcome.model, outcome.usage, outcome.cost, outcome.stop_reason = (
            model,
            decoder.usage,
            decoder.cost,
            decoder.stop_reason,
        )

    def _late(self, what: str, seconds: float) -> ProviderTimeoutError:
        provider = self._call.target.provider
        return ProviderTimeoutError(f"{provider} {what} {seconds:g} s.", provider=provider)
