"""Hearing a peer leave while its bytes are not being read.

Reading finds the end of a connection only behind what was sent before it. Where the server must not read on (a full
body buffer, a pipelined request), one epoll object per server, itself watched by trio, reports the FIN or reset
at once. On systems without epoll such a peer is noticed when reading goes on.
"""

from __future__ import annotations

import select
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator


class Hangups:
    """The sockets that are watched for their peer's end."""

    def __init__(self) -> None:
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        self._watched: dict[int, Callable[[], None]] = {}

    @contextmanager
    def watch(self, sock: socket.socket, tell: Callable[[], None]) -> Iterator[None]:
        """Call `tell` if the peer of `sock` leaves inside the block."""
        number = sock.fileno()
        if self._epoll is None or number < 0:
            yield
            return
        self._epoll.register(number, select.EPOLLRDHUP | select.EPOLLONESHOT)
        self._watched[number] = tell
        try:
            yield
        finally:
            # A socket that was closed inside the block was forgotten then, and its number may be another's by now.
            if self._watched.get(number) is tell:
                self.forget(sock)

    def forget(self, sock: socket.socket) -> None:
        """Stop watching; must come before a watched socket is closed."""
        number = sock.fileno()
        if self._watched.pop(number, None) is not None and self._epoll is not None:
            with suppress(OSError):
                self._epoll.unregister(number)

    async def run(self) -> None:
        """Report until cancelled."""
        if self._epoll is None:
            return
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            for number, _ in self._epoll.poll(0):
                tell = self._watched.get(number)
                if tell is not None:
                    tell()

    def close(self) -> None:
        """Let go of the epoll object; must come after the last `watch`, which may outlive `run`."""
        if self._epoll is not None:
            self._epoll.close()
