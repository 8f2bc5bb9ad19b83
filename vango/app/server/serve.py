"""From listening sockets to the last connection's end."""

from __future__ import annotations

import errno
import socket
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import trio
from hypercorn.trio.worker_context import WorkerContext

from vango.app.server.connection import Connection
from vango.app.server.hangups import Hangups
from vango.app.server.limits import Limits, Refuse
from vango.app.server.log import Log, plain_log
from vango.app.server.wire import Message, Signature, WireConfig, closing_answer
from vango.errors import ApiError

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from vango.app.server.drain import Drain

HYPERCORN = "0.18.0"
if version("hypercorn") != HYPERCORN:
    # Its protocol classes are subclassed with knowledge of what they do inside.
    raise ImportError(f"Vango's server needs Hypercorn {HYPERCORN}, found {version('hypercorn')}.")

App = Callable[[Any, Any, Any], Awaitable[None]]

STARTUP_SECONDS = 60.0
# Within the five seconds that a stop may take beyond its grace.
SHUTDOWN_SECONDS = 4.0
# Connections beyond the maximum that get their 503 at the same time; others get a reset.
MAX_TURNED_AWAY = 64
TURN_AWAY_SECONDS = 1.0
# No descriptors or buffers left: accepting is tried again when a connection may have ended.
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
EXHAUSTED_SECONDS = 0.1
# The peer changed its mind, or its network did, before it was accepted.
GONE = {errno.ECONNABORTED, errno.EPERM, errno.EPROTO, errno.ENETDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH}
ACCEPT_BURST = 64
# What the kernel holds for a peer beyond what is under way. It would take megabytes, and call a socket writable again
# only when a third of them is gone: too coarse to tell a slow reader from one that does not read.
UNSENT_BYTES = 128 * 1024
# Probes find a peer that vanished while its answer is being made: 30 s of silence, then three tries.
KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


@dataclass(eq=False)
class Serving:
    """What the connections of one `serve_app` share."""

    app: App
    limits: Limits
    tls: ssl.SSLContext | None
    http2: bool
    drain: Drain
    refuse: Refuse
    log: Log
    state: dict[str, Any] = field(default_factory=dict)
    live: set[Connection] = field(default_factory=set)
    hangups: Hangups = field(default_factory=Hangups)
    signature: Signature = field(default_factory=Signature)
    context: WorkerContext = field(default_factory=lambda: WorkerContext(None))
    turned_away: int = 0
    _ended: trio.Event | None = None

    def __post_init__(self) -> None:
        self.config = WireConfig(self.limits, self.signature)

    def forget(self, connection: Connection) -> None:
        """Take note that a connection has ended."""
        self.live.discard(connection)
        if self._ended is not None:
            self._ended.set()

    async def wait_ended(self, connections: set[Connection]) -> None:
        """Wait until none of these connections is left."""
        while connections & self.live:
            self._ended = trio.Event()
            await self._ended.wait()


async def serve_app(
    app: App,
    sockets: list[socket.socket],
    *,
    limits: Limits | None = None,
    tls: ssl.SSLContext | None = None,
    http2: bool = False,
    grace: float,
    drain: Drain,
    refuse: Refuse,
    log: Log | None = None,
    task_status: trio.TaskStatus[list[socket.socket]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an ASGI app on bound sockets until the drain has ended; the sockets are closed then.

    On drain idle connections close, and running requests have `grace` seconds; while there are some, new connections are
    accepted for one request each, so that the app can refuse it. What is left is cancelled and its sockets are reset.
    `refuse` makes the answers that the server itself gives, `log` takes failures (standard error, if not given).
    HTTP/2 is spoken where TLS negotiates it or the client begins with its preface; never by an upgrade.
    """
    serving = Serving(app, limits or Limits(), tls, http2, drain, refuse, log or plain_log())
    if tls is not None:
        tls.set_alpn_protocols(["h2", "http/1.1"] if http2 else ["http/1.1"])
    try:
        async with _lifespan(app, serving.state), trio.open_nursery() as helpers:
            # Beside the connections: who hears peers leave, and who hears the second signal.
            helpers.start_soon(serving.hangups.run)
            await _serve_connections(serving, sockets, grace, lambda: task_status.started(sockets))
            helpers.cancel_scope.cancel()
    finally:
        serving.hangups.close()
        for listener in sockets:
            listener.close()


async def _serve_connections(
    serving: Serving, sockets: list[socket.socket], grace: float, started: Callable[[], None]
) -> None:
    drain = serving.drain
    async with trio.open_nursery() as watch:
        async with trio.open_nursery() as connections:

            async def stop() -> None:
                await drain.wait_stopped()
                connections.cancel_scope.cancel()

            watch.start_soon(stop)
            async with trio.open_nursery() as accepting:
                for listener in sockets:
                    _listen(listener, serving.limits)
                    accepting.start_soon(_accept, serving, listener, connections)
                started()
                await drain.wait()
                connections.cancel_scope.deadline = trio.current_time() + grace
                await serving.context.terminated.set()
                early = {connection for connection in serving.live if not connection.late}
                for connection in early:
                    connection.drain()
                # While something still runs, whoever comes is told so by the app, rather than refused by the kernel.
                with trio.move_on_at(connections.cancel_scope.deadline):
                    await serving.wait_ended(early)
                accepting.cancel_scope.cancel()
            for listener in sockets:
                # Whoever has connected is in the queue that closing would reset.
                _accept_waiting(serving, listener, connections, serving.limits.backlog)
                listener.close()
            for connection in list(serving.live):
                connection.drain()
        watch.cancel_scope.cancel()


def _listen(listener: socket.socket, limits: Limits) -> None:
    listener.setblocking(False)
    if listener.family in {socket.AF_INET, socket.AF_INET6}:
        # Accepted sockets inherit these on Linux. A peer that acknowledges nothing is dropped by the kernel.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        options = {
            "TCP_USER_TIMEOUT": int(limits.write_timeout * 1000),
            "TCP_NOTSENT_LOWAT": UNSENT_BYTES,
            **KEEPALIVE,
        }
        for name, value in options.items():
            if hasattr(socket, name):
                listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    listener.listen(limits.backlog)


async def _accept(serving: Serving, listener: socket.socket, connections: trio.Nursery) -> None:
    while True:
        await trio.lowlevel.wait_readable(listener)
        if not _accept_waiting(serving, listener, connections, ACCEPT_BURST):
            await trio.sleep(EXHAUSTED_SECONDS)


def _accept_waiting(serving: Serving, listener: socket.socket, connections: trio.Nursery, most: int) -> bool:
    """Accept those who wait, up to a number; return whether there were resources for them."""
    for _ in range(most):
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno in EXHAUSTED:
                return False
            if error.errno in GONE:
                continue
            raise
        sock.setblocking(False)
        if len(serving.live) < serving.limits.max_connections:
            if sock.family in {socket.AF_INET, socket.AF_INET6}:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(serving, sock)
            serving.live.add(connection)
            connections.start_soon(connection.run)
        elif serving.tls is None and serving.turned_away < MAX_TURNED_AWAY:
            # An answer rather than a wait in the backlog: a balancer goes elsewhere at once, and nobody hangs.
            serving.turned_away += 1
            connections.start_soon(_turn_away, serving, sock)
        else:
            sock.close()
    return True


async def _turn_away(serving: Serving, sock: socket.socket) -> None:
    answer = closing_answer(503, "The server has no room for another connection.", serving.refuse, serving.signature)
    try:
        with trio.move_on_after(TURN_AWAY_SECONDS), suppress(OSError):
            sock.send(answer)
            sock.shutdown(socket.SHUT_WR)
            # Reading what the client says lets it read its answer: closing over unread bytes would reset it.
            for _ in range(16):
                await trio.lowlevel.wait_readable(sock)
                if not sock.recv(64 * 1024):
                    break
    finally:
        serving.turned_away -= 1
        sock.close()


@asynccontextmanager
async def _lifespan(app: App, state: dict[str, Any]) -> AsyncIterator[None]:
    """Start the app and shut it down, where it takes part in that at all.

    Raises ApiError for an app that fails to start, or whose lifespan fails later; one that refuses the scope before it
    looks at the first message has no lifespan.
    """
    to_app, for_app = trio.open_memory_channel[Message](1)
    started, ended = trio.Event(), trio.Event()
    asked = False
    fault: str | None = None
    cause: Exception | None = None

    async def receive() -> Message:
        nonlocal asked
        asked = True
        return await for_app.receive()

    async def send(message: Message) -> None:
        nonlocal fault
        await trio.lowlevel.checkpoint()
        kind = message["type"]
        if kind.endswith(".failed"):
            fault = str(message.get("message", ""))
        (started if kind.startswith("lifespan.startup") else ended).set()

    async def run() -> None:
        nonlocal fault, cause
        scope = {"type": "lifespan", "asgi": {"spec_version": "2.0", "version": "3.0"}, "state": state}
        try:
            await app(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - the edge: raised again below, outside the nursery
            if asked:
                fault, cause = "its lifespan raised.", error
                nursery.cancel_scope.cancel()
        finally:
            started.set()
            ended.set()

    async with trio.open_nursery() as nursery:
        # The app's lifespan runs beside the server.
        nursery.start_soon(run)
        await to_app.send({"type": "lifespan.startup"})
        with trio.move_on_after(STARTUP_SECONDS) as waiting:
            await started.wait()
        if waiting.cancelled_caught:
            fault = f"it took more than {STARTUP_SECONDS:.0f} s to start."
        if fault is None:
            yield
            if not ended.is_set():
                with trio.move_on_after(SHUTDOWN_SECONDS):
                    await to_app.send({"type": "lifespan.shutdown"})
                    await ended.wait()
        nursery.cancel_scope.cancel()
    if fault is not None:
        raise ApiError(f"The app failed: {fault}") from cause
