"""An engine over scripted providers, in virtual time: `primary` and `spare` speak Anthropic's dialect, `sandbox` needs no key."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import trio
from pydantic import SecretStr

from vango.engine import Deadlines, Engine, Provider, RetryPolicy, Routes, Stream
from vango.errors import VangoError
from vango.providers.anthropic import AnthropicCodec
from vango.providers.base import Decoded
from vango.providers.catalog import Catalog
from vango.transport.base import Transport
from vango.transport.sandbox import SandboxTransport
from vango.types.call import Caller, Credential, Outcome
from vango.types.messages import MessageRequest, read_request
from vango.types.models import Model
from vango.types.script import Script
from vango.wire.call import BaseUrl

NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)

MODELS = [
    Model("primary", "one", "One", max_output_tokens=1000),
    Model("primary", "old", "Old", retired=dt.date(2026, 1, 1), successor="one"),
]


def key(secret: str, *, bearer: bool = False) -> Credential:
    return Credential(SecretStr(secret), bearer)


def ask(model: str = "primary/one", *, strict: bool = False, **fields: Any) -> MessageRequest:
    body = {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}], **fields}
    return read_request(json.dumps(body).encode(), strict=strict)


def spoken(text: str = "Hello there", *, chunks: int = 2, first: float = 0.0, between: float = 0.0) -> Script:
    """A message of one text whose first delta comes after `first` seconds, the others `between` seconds apart."""
    size = -(-len(text) // chunks)
    message = {
        "id": "msg_scripted",
        "type": "message",
        "role": "assistant",
        "model": "scripted",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 2},
    }
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    return Script.message(message, [pieces], first=first, between=between)


class World:
    """The engine, its providers and its upstream. `outcome` is that of the latest call; `sent` the hosts that were asked."""

    def __init__(
        self,
        *replies: Script,
        retries: RetryPolicy | None = None,
        deadlines: Deadlines | None = None,
        random: Callable[[], float] = lambda: 0.5,
        keys: Mapping[str, Credential | None] | None = None,
        aliases: Mapping[str, str] | None = None,
        fallbacks: Mapping[str, Sequence[str]] | None = None,
        transport: Transport | None = None,
        base_url: str | None = None,
        split: int | None = None,
        strict: bool = False,
    ) -> None:
        self.sandbox = SandboxTransport(keep_calls=1000, split=split).replies(*replies)
        given = {"primary": key("configured-primary"), "spare": key("configured-spare"), **(keys or {})}
        self.providers = {
            name: Provider(
                name,
                name.title(),
                AnthropicCodec(),
                BaseUrl.parse(base_url or f"sandbox://{name}"),
                deadlines or Deadlines(),
                needs_key=name != "sandbox",
                key=given.get(name),
                aliases=("first",) if name == "primary" else (),
            )
            for name in ("primary", "spare", "sandbox")
        }
        self.routes = Routes(self.providers, Catalog(MODELS), aliases=aliases, now=lambda: NOW)
        real = {} if transport is None else {"sandbox": transport, "http": transport}
        self.engine = Engine(
            self.routes,
            {"sandbox": self.sandbox, **real},
            retries=retries or RetryPolicy(),
            random=random,
            fallbacks=fallbacks,
            strict=strict,
        )
        self.outcome = Outcome()

    @property
    def sent(self) -> list[str]:
        return [call.origin.host for call in self.sandbox.calls]

    async def create(self, request: MessageRequest | None = None, caller: Caller | None = None) -> Decoded:
        self.outcome = Outcome()
        return await self.engine.create(request or ask(), caller or Caller("someone"), self.outcome)

    async def count(self, request: MessageRequest | None = None, caller: Caller | None = None) -> int:
        self.outcome = Outcome()
        return await self.engine.count_tokens(request or ask(), caller or Caller("someone"), self.outcome)

    async def stream(self, request: MessageRequest | None = None, caller: Caller | None = None) -> Told:
        """Run a stream to its end, noting when everything came; a failure after the opening is in `failure`."""
        self.outcome = Outcome()
        told = Told(trio.current_time())
        opening = self.engine.stream(request or ask(stream=True), caller or Caller("someone"), self.outcome)
        try:
            async with opening as stream:
                await told.take(stream)
        except VangoError as error:
            if told.opened_at < 0:
                raise
            told.failure, told.failed_at = error, told.now()
        return told


class Told:
    """What one caller saw of a stream: each frame with the second it came in, counted from the request."""

    def __init__(self, began: float) -> None:
        self._began = began
        self.opened_at = -1.0
        self.frames: list[tuple[float, str]] = []
        self.batches: list[bytes] = []
        self.failure: Exception | None = None
        self.failed_at = -1.0

    async def take(self, stream: Stream) -> None:
        self.opened_at = self.now()
        async for batch in stream:
            self.frames += [(self.now(), frame.type or "comment") for frame in batch]
            self.batches.append(b"".join(frame.raw for frame in batch))
        await stream.finish()

    def now(self) -> float:
        return round(trio.current_time() - self._began, 6)

    @property
    def types(self) -> list[str]:
        return [name for _, name in self.frames]

    @property
    def text(self) -> str:
        events = [
            json.loads(line.removeprefix("data: "))
            for line in b"".join(self.batches).decode().splitlines()
            if line.startswith("data: ")
        ]
        return "".join(
            event["delta"]["text"]
            for event in events
            if event["type"] == "content_block_delta" and event["delta"]["type"] == "text_delta"
        )
