"""A whole server in the test's nursery, on a free port, with its log kept."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import trio

from vango.app.serve import Serving, serve
from vango.config import Settings
from vango.gateway import LocalGateway
from vango.local import sandbox
from vango.transport.sandbox import SandboxTransport

HELLO: dict[str, Any] = {"model": "sandbox/chat", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello!"}]}


class Log(io.StringIO):
    """A log that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._written = trio.Event()

    def write(self, text: str) -> int:
        self._written.set()
        self._written = trio.Event()
        return super().write(text)

    async def written(self) -> None:
        """Wait for the next write."""
        await self._written.wait()


@dataclass
class Running:
    """What a test can do with its server. `sandbox` scripts the sandbox provider's upstream."""

    url: str
    port: int
    serving: Serving
    sandbox: SandboxTransport
    log: Log
    http: httpx.AsyncClient
    scope: trio.CancelScope

    @property
    def gateway(self) -> LocalGateway:
        return self.serving.gateway

    async def wait_lines(self, count: int, event: str = "request_complete") -> list[dict[str, Any]]:
        """Wait for so many lines: a line is written after its answer has left."""
        with trio.fail_after(5):
            while len(self.lines(event)) < count:
                await self.log.written()
        return self.lines(event)

    def lines(self, event: str = "request_complete") -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [line for line in found if line["event"] == event]

    async def post(self, body: Any = HELLO, **options: Any) -> httpx.Response:
        return await self.http.post("/v1/messages", json=body, **options)


@asynccontextmanager
async def running(settings: Settings | dict[str, Any] | None = None, **gateway_options: Any) -> AsyncIterator[Running]:
    """Serve `settings` on a free port of loopback; the server is cancelled when the block is left."""
    given = settings if isinstance(settings, Settings) else Settings.model_validate(settings or {})
    given = given.model_copy(update={"server": given.server.model_copy(update={"port": 0})})
    played = gateway_options.pop("sandbox", None) or SandboxTransport(sandbox.answer, keep_calls=100)
    gateway = LocalGateway(given, sandbox=played, **gateway_options)
    log = Log()
    async with trio.open_nursery() as nursery:
        serving = await nursery.start(partial(serve, gateway=gateway, log=log))
        url = serving.urls[0]
        async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as http:
            yield Running(url, int(url.rsplit(":", 1)[1]), serving, played, log, http, nursery.cancel_scope)
        nursery.cancel_scope.cancel()
