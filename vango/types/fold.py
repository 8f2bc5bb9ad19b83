"""Events to message: what a stream adds up to is the answer that the same request would have had without one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vango.wire import json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vango.wire.sse import Frame

# What each delta appends: a field of its own to a field of the block.
_APPENDED = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("signature", "signature"),
    "input_json_delta": ("partial_json", "input"),
}


class Fold:
    """Adds frames up. It believes them: for nonsense it raises LookupError, TypeError, AttributeError or one of `json.MALFORMED`."""

    def __init__(self) -> None:
        self._message: dict[str, Any] | None = None
        # Joined once: adding each delta to the text so far would cost the square of its length.
        self._pieces: dict[tuple[int, str], list[str]] = {}

    @property
    def message(self) -> dict[str, Any] | None:
        """The answer so far, None before `message_start`."""
        for index, name in list(self._pieces):
            self._join(index, name)
        return self._message

    def feed(self, frames: Iterable[Frame]) -> None:
        """Take frames in the canonical format, in order."""
        for item in frames:
            if item.type == "message_start":
                self._message = json.decode_any(item.data)["message"]
            elif self._message is not None and item.type in _STEPS:
                _STEPS[item.type](self, self._message, json.decode_any(item.data))

    def _start(self, message: dict[str, Any], event: dict[str, Any]) -> None:
        message["content"].append(event["content_block"])

    def _delta(self, message: dict[str, Any], event: dict[str, Any]) -> None:
        index, delta = event["index"], event["delta"]
        block = message["content"][index]
        kind = delta["type"]
        if kind in _APPENDED:
            given, name = _APPENDED[kind]
            self._pieces.setdefault((index, name), []).append(delta[given])
        elif kind == "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]

    def _stop(self, _message: dict[str, Any], event: dict[str, Any]) -> None:
        for index, name in list(self._pieces):
            if index == event["index"]:
                self._join(index, name)

    def _join(self, index: int, name: str) -> None:
        assert self._message is not None
        written = "".join(self._pieces.pop((index, name)))
        block = self._message["content"][index]
        if isinstance(block.get(name), str):
            written = block[name] + written
        if name == "input":
            if written:
                block[name] = _arguments(written)
        else:
            block[name] = written

    def _end(self, message: dict[str, Any], event: dict[str, Any]) -> None:
        message.update(event["delta"])
        if "usage" in event:
            message["usage"] = {**message.get("usage", {}), **event["usage"]}


def _arguments(written: str) -> Any:
    try:
        return json.decode_any(written.encode())
    except json.MALFORMED:
        # Cut off at max_tokens: the text says more than an empty object would.
        return written


_STEPS = {
    "content_block_start": Fold._start,
    "content_block_delta": Fold._delta,
    "content_block_stop": Fold._stop,
    "message_delta": Fold._end,
}
