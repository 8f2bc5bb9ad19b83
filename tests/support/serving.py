"""A server on a free port inside a test, and small apps to put under it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import trio

from tests.support.raw import PATIENCE, Raw
from vango.app.answers import refuse
from vango.app.listen import bind
from vango.app.server import Drain, Limits, serve_app

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Complaints:
    """A log that keeps the names of what the server complained about."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def exception(self, event: str, **_: Any) -> None:
        self.events.append(event)


@dataclass
class Running:
    """A server that runs: where, and how it is told to end."""

    port: int
    drain: Drain
    ended: trio.Event = field(default_factory=trio.Event)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    clients: list[Raw] = field(default_factory=list)

    async def connect(self, **options: Any) -> Raw:
        """Return a raw connection to it, which is closed at the latest when the server's block ends."""
        client = await Raw.connect(self.port, **options)
        self.clients.append(client)
        return client

    async def wait_ended(self) -> float:
        """Wait until serve_app has returned; return how long that took."""
        began = trio.current_time()
        with trio.fail_after(PATIENCE):
            await self.ended.wait()
        return trio.current_time() - began


@asynccontextmanager
async def serving(
    app: Any, *, limits: Limits | None = None, grace: float = 5.0, **options: Any
) -> AsyncIterator[Running]:
    """Serve the app for the time of the block, which cancels it if it has not ended by itself."""
    sockets = bind("127.0.0.1", 0)
    running = Running(sockets[0].getsockname()[1], Drain())

    async def run(task_status: trio.TaskStatus[Any]) -> None:
        given = {"refuse": refuse, **options}
        serve = partial(serve_app, app, sockets, limits=limits, grace=grace, drain=running.drain, **given)
        with running.scope:
            await serve(task_status=task_status)
        running.ended.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        try:
            yield running
        finally:
            for client in running.clients:
                client.close()
            nursery.cancel_scope.cancel()


async def read_body(receive: Receive) -> bytes | None:
    """Return the whole body, or None if the client left before its end."""
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message["body"])
        if not message["more_body"]:
            return b"".join(pieces)


async def start(send: Send, status: int = 200, *headers: tuple[bytes, bytes]) -> None:
    """Begin a response."""
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def body(send: Send, data: bytes = b"", *, more: bool = False) -> None:
    """Send a piece of the body, by default the last."""
    await send({"type": "http.response.body", "body": data, "more_body": more})


def http(endpoint: Callable[[Message, Receive, Send], Awaitable[None]]) -> Any:
    """Make an app of an HTTP endpoint: with a lifespan that does nothing."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
        else:
            await endpoint(scope, receive, send)

    return app


async def lifespan(receive: Receive, send: Send) -> None:
    """Take part in the lifespan without doing anything."""
    for kind in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{kind}.complete"})


@http
async def echo(scope: Message, receive: Receive, send: Send) -> None:
    """Answer with the body of the request."""
    data = await read_body(receive)
    if data is not None:
        await start(send)
        await body(send, data)


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def post(data: bytes, *lines: bytes) -> bytes:
    """Return a POST with a Content-Length."""
    extra = b"".join(line + b"\r\n" for line in lines)
    return b"POST / HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n%b" % (extra, len(data), data)
