"""The codec itself: whole answers, and the parts of the dialect under one name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from vango.errors import ProviderError
from vango.providers.anthropic import usage as usages
from vango.providers.anthropic.errors import http_error
from vango.providers.anthropic.request import encode_count, encode_messages
from vango.providers.anthropic.stream import AnthropicDecoder
from vango.providers.base import Decoded
from vango.wire import json
from vango.wire.sse import Frame, frame

if TYPE_CHECKING:
    from vango.errors import VangoError
    from vango.providers.base import Encoded, Target
    from vango.types.messages import MessageRequest
    from vango.wire.call import ReplyHead


class _Count(msgspec.Struct):
    input_tokens: int


class _Block(msgspec.Struct):
    type: str = ""


_decode_count = msgspec.json.Decoder(_Count).decode
_decode_block = msgspec.json.Decoder(_Block).decode


class AnthropicCodec:
    """Anthropic Messages as the canonical dialect. See `vango.providers.base.Codec`."""

    def encode(self, request: MessageRequest, target: Target) -> Encoded:
        """Write the call for one turn."""
        return encode_messages(request, target)

    def encode_count(self, request: MessageRequest, target: Target) -> Encoded:
        """Write the call that counts the tokens of a request."""
        return encode_count(request, target)

    def decode(self, body: bytes, target: Target) -> Decoded:
        """Relay a whole answer, with the model's full name and Vango's usage fields."""
        fields = _message(body, target)
        return self._decoded(fields, target)

    def unfold(self, body: bytes, target: Target) -> tuple[list[Frame], Decoded]:
        """Turn a whole answer into the events of a stream; each block comes whole in its start and delta."""
        fields = _message(body, target)
        decoded = self._decoded(fields, target)
        answered = json.decode_fields(decoded.body)
        opening: dict[str, Any] = {**answered, "content": [], "stop_reason": None, "stop_sequence": None}
        frames = [frame("message_start", json.encode({"type": "message_start", "message": opening}))]
        try:
            for index, block in enumerate(json.decode_array(answered["content"])):
                frames.extend(_block_frames(index, block))
        except json.MALFORMED as exc:
            raise _nonsense(target) from exc
        ended = {
            name: answered[name]
            for name in ("stop_reason", "stop_sequence", "stop_details", "container")
            if name in answered
        }
        delta = {"type": "message_delta", "delta": ended, "usage": answered.get("usage", {})}
        frames.append(frame("message_delta", json.encode(delta)))
        frames.append(frame("message_stop", b'{"type":"message_stop"}'))
        return frames, decoded

    def decoder(self, target: Target) -> AnthropicDecoder:
        """Return a decoder for one stream."""
        return AnthropicDecoder(target)

    def error(self, head: ReplyHead, body: bytes, target: Target) -> VangoError:
        """Map a refusal to the error ladder."""
        return http_error(head, body, target)

    def decode_count(self, body: bytes, target: Target) -> int:
        """Read the number of input tokens."""
        try:
            return _decode_count(body).input_tokens
        except json.MALFORMED as exc:
            raise _nonsense(target) from exc

    def _decoded(self, fields: json.Fields, target: Target) -> Decoded:
        out: dict[str, Any] = dict(fields)
        model = target.full_id(json.text_if_string(fields.get("model")))
        out["model"] = model
        usage = cost = None
        if "usage" in fields and json.kind(fields["usage"]) == "object":
            own = json.decode_fields(fields["usage"])
            usage = usages.read(own)
            cost = usages.price(usage, target.price)
            if usage is not None:
                out["usage"] = usages.written(own, usage, cost)
        return Decoded(json.encode(out), model, usage, cost, json.text_if_string(fields.get("stop_reason")) or None)


def _message(body: bytes, target: Target) -> json.Fields:
    try:
        if not body.isascii():
            body.decode()  # what stays Raw is not looked into
        fields = json.decode_fields(body)
    except json.MALFORMED as exc:
        raise _nonsense(target) from exc
    if (
        bytes(fields.get("type", b"")) != b'"message"'
        or json.kind(fields.get("content", msgspec.Raw(b"null"))) != "array"
    ):
        raise _nonsense(target)
    return fields


def _nonsense(target: Target) -> ProviderError:
    return ProviderError(f"{target.provider} answered with something that is not a message.", provider=target.provider)


# The delta that brings the field which is named like its block.
_STREAMED = {"text": "text_delta", "thinking": "thinking_delta"}


def _block_frames(index: int, raw: msgspec.Raw) -> list[Frame]:
    block: dict[str, Any] = dict(json.decode_fields(raw))
    kind = _decode_block(raw).type
    deltas: list[dict[str, Any]] = []
    if kind in _STREAMED and kind in block:
        deltas.append({"type": _STREAMED[kind], kind: block[kind]})
        block[kind] = ""
        deltas.extend({"type": "citations_delta", "citation": item} for item in _array(block.pop("citations", None)))
        if kind == "thinking" and "signature" in block:
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
            block["signature"] = ""
    elif kind in ("tool_use", "server_tool_use", "mcp_tool_use") and "input" in block:
        deltas.append({"type": "input_json_delta", "partial_json": bytes(block["input"]).decode()})
        block["input"] = {}
    start = {"type": "content_block_start", "index": index, "content_block": block}
    frames = [frame("content_block_start", json.encode(start))]
    frames += [
        frame("content_block_delta", json.encode({"type": "content_block_delta", "index": index, "delta": delta}))
        for delta in deltas
    ]
    frames.append(frame("content_block_stop", b'{"type":"content_block_stop","index":%d}' % index))
    return frames


def _array(raw: msgspec.Raw | None) -> list[msgspec.Raw]:
    return json.decode_array(raw) if raw is not None and json.kind(raw) == "array" else []
