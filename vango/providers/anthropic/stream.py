"""The event stream of Anthropic Messages, relayed frame by frame: only `message_start`, `message_delta` and `error` are opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from vango.errors import ProviderError, VangoError
from vango.providers.anthropic import usage as usages
from vango.providers.anthropic.errors import stream_error
from vango.wire import json
from vango.wire.sse import EventTooLarge, Frame, Splitter, frame

if TYPE_CHECKING:
    from vango.providers.base import Target
    from vango.types.usage import Usage


class _Named(msgspec.Struct):
    type: str = ""


class _Block(msgspec.Struct):
    type: str = ""
    text: str = ""
    thinking: str = ""


class _Delta(msgspec.Struct):
    text: str = ""
    thinking: str = ""
    partial_json: str = ""
    type: str = ""


class _Content(msgspec.Struct):
    content_block: _Block | None = None
    delta: _Delta | None = None


class _Start(msgspec.Struct):
    message: json.Fields


_decode_named = msgspec.json.Decoder(_Named).decode
_decode_content = msgspec.json.Decoder(_Content).decode
_decode_start = msgspec.json.Decoder(_Start).decode

# What a frame must be opened for; everything else goes on as it is.
_OPENED = frozenset({"message_start", "message_delta", "message_stop", "error", ""})


class AnthropicDecoder:
    """Relays one stream. See `vango.providers.base.Decoder` for what its attributes mean."""

    def __init__(self, target: Target) -> None:
        self.model = target.full_id("")
        self.usage: Usage | None = None
        self.cost: int | None = None
        self.stop_reason: str | None = None
        self.has_content = False
        self.failure: VangoError | None = None
        self.done = False
        self._target = target
        self._splitter = Splitter()
        self._usage_fields: json.Fields = {}

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that `data` completes; once the stream is done or has failed, nothing."""
        if self.done or self.failure is not None:
            return []
        try:
            frames = self._splitter.feed(data)
        except EventTooLarge as exc:
            self.failure = ProviderError(f"{self._target.provider}: {exc}.", provider=self._target.provider)
            return []
        for index, item in enumerate(frames):
            if item.type in _OPENED:
                return frames[:index] + self._open(frames[index:])
            if not self.has_content:
                self._look_for_content(item)
        return frames

    def finish(self) -> None:
        """Raise ProviderError unless `message_stop` has come: success is never invented."""
        if self.failure is not None:
            raise self.failure
        if not self.done:
            raise ProviderError(f"{self._target.provider}: the stream ended early.", provider=self._target.provider)

    def _open(self, frames: list[Frame]) -> list[Frame]:
        out: list[Frame] = []
        for item in frames:
            if item.type not in _OPENED:
                if not self.has_content:
                    self._look_for_content(item)
                out.append(item)
                continue
            try:
                opened = self._opened(item)
            except json.MALFORMED as exc:
                self.failure = ProviderError(
                    f"{self._target.provider}: the stream has an event that is not valid.",
                    provider=self._target.provider,
                )
                self.failure.__cause__ = exc
                break
            if opened is not None:
                out.append(opened)
            if self.done or self.failure is not None:
                break
        return out

    def _opened(self, item: Frame) -> Frame | None:
        if item.type == "":
            # A server that leaves out the event line still says the type in the data.
            named = _decode_named(item.data).type
            if not named:
                return None
            item = frame(named, item.data)
            if named not in _OPENED:
                if not self.has_content:
                    self._look_for_content(item)
                return item
        if item.type == "message_start":
            return self._message_start(item)
        if item.type == "message_delta":
            return self._message_delta(item)
        if item.type == "error":
            self.failure = stream_error(item.data, self._target)
            return None
        self.done = True
        self.has_content = True
        return item

    def _message_start(self, item: Frame) -> Frame:
        fields = json.decode_fields(item.data)
        message = _decode_start(item.data).message
        self.model = self._target.full_id(json.text_if_string(message.get("model")))
        if "usage" in message and json.kind(message["usage"]) == "object":
            self._usage_fields = json.decode_fields(message["usage"])
            self._count()
        answered: dict[str, Any] = {**message, "model": self.model}
        return frame("message_start", json.join({**fields, "message": answered}))

    def _message_delta(self, item: Frame) -> Frame:
        fields = json.decode_fields(item.data)
        if "usage" in fields and json.kind(fields["usage"]) == "object":
            self._usage_fields = usages.merge(self._usage_fields, json.decode_fields(fields["usage"]))
            self._count()
        if "delta" in fields and json.kind(fields["delta"]) == "object":
            delta = json.decode_fields(fields["delta"])
            self.stop_reason = json.text_if_string(delta.get("stop_reason")) or self.stop_reason
        if self.usage is None:
            return item
        usage = usages.written(self._usage_fields, self.usage, self.cost)
        return frame("message_delta", json.encode({**fields, "usage": usage}))

    def _count(self) -> None:
        self.usage = usages.read(self._usage_fields) or self.usage
        self.cost = usages.price(self.usage, self._target.price)

    def _look_for_content(self, item: Frame) -> None:
        if item.type not in ("content_block_start", "content_block_delta"):
            return
        try:
            content = _decode_content(item.data)
        except json.MALFORMED:
            self.has_content = True  # content of a kind that is not known here is content
            return
        if content.delta is not None:
            delta = content.delta
            known = delta.type in ("text_delta", "thinking_delta", "input_json_delta")
            self.has_content = not known or bool(delta.text or delta.thinking or delta.partial_json)
        elif content.content_block is not None:
            block = content.content_block
            self.has_content = block.type not in ("text", "thinking") or bool(block.text or block.thinking)
