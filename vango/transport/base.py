"""What every transport offers: a link lent for one call, whose closing never waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from vango.wire.call import HttpCall, Origin, ReplyHead


class Link(Protocol):
    """A connection to a provider, lent for one call: `send`, then `head`, then `receive` until b"".

    Every wait in here can be cancelled; deadlines belong to the caller.
    A cancelled `head` or `receive` loses nothing and may be called again; after a cancelled `send` only `close` is left.
    All three raise TransportError where the connection cannot be made or breaks.
    """

    async def send(self, call: HttpCall) -> None:
        """Write the request."""
        ...

    async def head(self) -> ReplyHead:
        """Wait for the head of the answer; informational (1xx) answers are skipped."""
        ...

    async def receive(self) -> bytes:
        """Return the body bytes that have arrived, waiting only where there are none; b"" at the end of the body.

        A body that ends before its framing says so raises TransportError.
        """
        ...

    def close(self) -> None:
        """Give the connection back if its answer was read to the end, else abort it.

        Never waits, may be called twice, and must be called on every path.
        """
        ...


class Transport(Protocol):
    """Hands out links to the origins of its scheme."""

    async def connect(self, origin: Origin) -> Link:
        """Return an idle link or make one, waiting for a place where the origin's bound is reached."""
        ...

    def is_full(self, origin: Origin) -> bool:
        """Whether as many links to the origin are out as may be, so that `connect` has to wait for one to come back."""
        ...
