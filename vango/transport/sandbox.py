"""An upstream inside the process: the transport of `sandbox://` origins, which plays scripts instead of opening sockets.

Everything above it runs as it does online, because what comes out is an answer's real bytes, in time and with its accidents.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import trio

from vango.errors import TransportError
from vango.types.script import Break, Hang, Script, Send, Step, Wait
from vango.wire.call import HttpCall, ReplyHead

if TYPE_CHECKING:
    from typing import Self

    from vango.wire.call import Origin

Upstream = Callable[[HttpCall], Script]
"""Decides the answer to a call. It sees the call once, when it is sent, and must not wait."""

# As much as one receive from a socket takes, so that callers meet the same joins.
RECEIVE_BYTES = 65_536


class _Asked(msgspec.Struct):
    stream: bool | None = None


class SandboxTransport:
    """Answers every call from `upstream`, after whatever `replies` has queued.

    `split` cuts the body into receives of so many bytes; `keep_calls` keeps that many of the latest calls in `calls`.
    `open` counts links that are lent out now, `answered` calls whose answer was read to its end, `aborted` calls that were given
    up before that, `broken` those that a script broke off.
    """

    def __init__(self, upstream: Upstream | None = None, *, split: int | None = None, keep_calls: int = 0) -> None:
        if split is not None and split < 1:
            raise ValueError(f"split must be at least 1 byte, got {split}")
        self._upstream = upstream
        self._queue: deque[Script | Upstream] = deque()
        self.receive_bytes = split or RECEIVE_BYTES
        self.calls: deque[HttpCall] = deque(maxlen=keep_calls)
        self.open = 0
        self.answered = 0
        self.aborted = 0
        self.broken = 0

    def replies(self, *replies: Script | Upstream) -> Self:
        """Queue answers for the next calls, in order, ahead of the upstream's own; a function is asked with its call."""
        self._queue.extend(replies)
        return self

    async def connect(self, origin: Origin) -> SandboxLink:
        """Return a link; there is always room for one more."""
        await trio.lowlevel.checkpoint()
        return SandboxLink(self, origin)

    def is_full(self, origin: Origin) -> bool:
        """Never: there is always room for one more."""
        return False

    def script_for(self, call: HttpCall) -> Script:
        """Take the answer to `call`; RuntimeError where nothing was scripted for it."""
        self.calls.append(call)
        reply = self._queue.popleft() if self._queue else self._upstream
        if reply is None:
            raise RuntimeError(f"The sandbox has no upstream and no reply left for {call.method} {call.target}.")
        script = reply if isinstance(reply, Script) else reply(call)
        if script.unstreamed is not None and not _asks_for_stream(call.body):
            return script.unstreamed
        return script


class SandboxLink:
    """A link that plays one script."""

    def __init__(self, transport: SandboxTransport, origin: Origin) -> None:
        self.origin = origin
        self._transport = transport
        self._script = Script()
        self._steps: deque[Step] = deque()
        self._wait_ends: float | None = None
        self._ready = bytearray()
        self._sent = False
        self._headed = False
        self._broken = False
        self._closed = False
        transport.open += 1

    async def send(self, call: HttpCall) -> None:
        """Take the call, and the script that answers it."""
        self._check_open()
        if self._sent:
            raise RuntimeError("A link takes one call.")
        await trio.lowlevel.checkpoint()
        self._sent = True
        self._script = self._transport.script_for(call)
        self._steps.extend(self._script.before)

    async def head(self) -> ReplyHead:
        """Play what comes before the head, and return the head."""
        self._check_open()
        if not self._sent:
            raise RuntimeError("A link answers after its call was sent.")
        await trio.lowlevel.checkpoint()
        if not self._headed:
            while self._steps:
                await self._pass_step()
            self._steps.extend(self._script.steps)
            self._headed = True
        return ReplyHead(self._script.status, dict(self._script.headers))

    async def receive(self) -> bytes:
        """Return all bytes up to the next wait, at most `RECEIVE_BYTES` or the transport's split."""
        self._check_open()
        if not self._headed:
            raise RuntimeError("A link's body comes after its head.")
        await trio.lowlevel.checkpoint()
        most = self._transport.receive_bytes
        while True:
            while len(self._ready) < most and self._steps and isinstance(step := self._steps[0], Send):
                self._ready += step.data
                self._steps.popleft()
            if self._ready:
                data = bytes(self._ready[:most])
                del self._ready[:most]
                return data
            if not self._steps:
                return b""
            await self._pass_step()

    def close(self) -> None:
        """Count how the call ended; the rest of the script is dropped."""
        if self._closed:
            return
        self._closed = True
        self._transport.open -= 1
        if self._broken:
            self._transport.broken += 1
        elif self._sent:
            # What has all arrived counts as read, as the last chunk of a real answer brings its end along.
            if self._steps or self._ready or not self._headed:
                self._transport.aborted += 1
            else:
                self._transport.answered += 1
        self._steps.clear()
        self._ready.clear()

    async def _pass_step(self) -> None:
        """Live through the next step, which is forgotten only then: a cancelled wait is not over."""
        match self._steps[0]:
            case Wait(seconds):
                # From when it began: a wait that was cancelled goes on where it was.
                if self._wait_ends is None:
                    self._wait_ends = trio.current_time() + seconds
                await trio.sleep_until(self._wait_ends)
                self._wait_ends = None
            case Hang():
                await trio.sleep_forever()
            case Break(reason, stale):
                self._broken = True
                raise TransportError(reason, stale=stale)
            case Send():
                pass
        self._steps.popleft()

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("The link was closed.")


def _asks_for_stream(body: bytes) -> bool:
    try:
        return bool(msgspec.json.decode(body, type=_Asked).stream)
    except (ValueError, RecursionError):
        return False
