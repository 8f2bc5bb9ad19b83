"""Events to message: what a stream adds up to is the answer that the same request would have had without one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vango.wire import json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vango.wire.sse import Frame

# The field of a block that each delta appends to.
_APPENDED = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}


class Fold:
    """Adds frames up. `message` is the answer so far, None before `message_start`."""

    def __init__(self) -> None:
        self.message: dict[str, Any] | None = None
        self._arguments: dict[int, list[str]] = {}

    def feed(self, frames: Iterable[Frame]) -> None:
        """Take frames in the canonical format, in order."""
        for item in frames:
            if item.type == "message_start":
                self.message = json.decode_any(item.data)["message"]
            elif self.message is not None and item.type in _STEPS:
                _STEPS[item.type](self, json.decode_any(item.data))

    def _start(self, event: dict[str, Any]) -> None:
        assert self.message is not None
        self.message["content"].append(event["content_block"])

    def _delta(self, event: dict[str, Any]) -> None:
        assert self.message is not None
        index, delta = event["index"], event["delta"]
        block = self.message["content"][index]
        kind = delta["type"]
        if kind in _APPENDED:
            name = _APPENDED[kind]
            block[name] = block.get(name, "") + delta[name]
        elif kind == "input_json_delta":
            self._arguments.setdefault(index, []).append(delta["partial_json"])
        elif kind == "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]

    def _stop(self, event: dict[str, Any]) -> None:
        assert self.message is not None
        index = event["index"]
        arguments = "".join(self._arguments.pop(index, []))
        if arguments:
            try:
                self.message["content"][index]["input"] = json.decode_any(arguments.encode())
            except json.MALFORMED:
                # Cut off at max_tokens: the text says more than an empty object would.
                self.message["content"][index]["input"] = arguments

    def _end(self, event: dict[str, Any]) -> None:
        assert self.message is not None
        self.message.update(event["delta"])
        if "usage" in event:
            self.message["usage"] = {**self.message.get("usage", {}), **event["usage"]}


_STEPS = {
    "content_block_start": Fold._start,
    "content_block_delta": Fold._delta,
    "content_block_stop": Fold._stop,
    "message_delta": Fold._end,
}
