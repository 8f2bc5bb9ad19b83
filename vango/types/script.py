"""What a fake upstream answers, as a value: a head, then bytes, waits and accidents in the order they happen.

A script says nothing about models and does no I/O: whoever plays it (`vango.transport.sandbox`) owns the time. The constructors
write Anthropic's wire format where a format is needed, because that is Vango's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import ceil
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""Anthropic's error types; other statuses share the type of 400 or 500."""

_NO_USAGE = {"input_tokens": 0, "output_tokens": 0}

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Send:
    """These bytes are there."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing comes for a while, or for no time at all: a wait of 0 still keeps its neighbours' bytes apart."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing ever comes again."""


@dataclass(frozen=True, slots=True)
class Break:
    """The connection breaks. `stale` claims, before the head only, that the request was not seen."""

    reason: str = "The sandbox broke the connection off."
    stale: bool = False


Accident = Wait | Hang | Break
Step = Send | Accident


@dataclass(frozen=True, slots=True)
class Script:
    """One answer. `before` happens ahead of the head, `steps` after it; the body ends with its last step.

    `unstreamed` is the answer to the same call when it does not ask for a stream.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    before: tuple[Accident, ...] = ()
    unstreamed: Script | None = None

    @classmethod
    def recording(cls, status: int, headers: Mapping[str, str], raw: bytes) -> Script:
        """Return an answer with exactly these bytes; `headers` may be in any case."""
        return cls(status, {name.lower(): value for name, value in headers.items()}, (Send(raw),) if raw else ())

    @classmethod
    def json(cls, status: int, body: object, headers: Mapping[str, str] | None = None) -> Script:
        """Return a JSON answer."""
        return cls.recording(status, {"content-type": "application/json", **(headers or {})}, _encode(body))

    @classmethod
    def sse(cls, events: Iterable[Any], headers: Mapping[str, str] | None = None) -> Script:
        """Return an event stream, a step an event: objects with a `type` are named by it, text is sent as it is (`[DONE]`)."""
        head = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache", **(headers or {})}
        return cls(200, head, tuple(Send(_frame(event)) for event in events))

    @classmethod
    def message(
        cls,
        message: Mapping[str, Any],
        pieces: Sequence[Sequence[str]],
        *,
        first: float = 0.0,
        between: float = 0.0,
        headers: Mapping[str, str] | None = None,
    ) -> Script:
        """Return a message that streams where the call asks for it and else is one JSON body.

        `pieces[i]` are the deltas of block i. The first delta comes after `first` seconds, the others `between` seconds apart;
        the JSON body takes as long as the whole stream.
        """
        steps: list[Step] = []
        pause = first
        total = 0.0
        events = list(unfold(message, pieces))
        script = cls.sse(events, headers)
        for event, step in zip(events, script.steps, strict=True):
            if event["type"] == "content_block_delta":
                if pause:
                    steps.append(Wait(pause))
                total += pause
                pause = between
            steps.append(step)
        whole = cls.json(200, message, headers)
        return replace(script, steps=tuple(steps), unstreamed=whole.late(total) if total else whole)

    @classmethod
    def text(cls, text: str, *, chunks: int = 1, model: str = "scripted", stop_reason: str = "end_turn") -> Script:
        """Return a message of one text, streamed in `chunks` deltas of about the same length."""
        return cls._of({"type": "text", "text": text}, _cut(text, chunks), model, stop_reason)

    @classmethod
    def tool_use(
        cls,
        name: str,
        arguments: Mapping[str, Any],
        *,
        call_id: str = "toolu_scripted",
        chunks: int = 2,
        model: str = "scripted",
    ) -> Script:
        """Return a message that calls one tool."""
        block = {"type": "tool_use", "id": call_id, "name": name, "input": arguments}
        return cls._of(block, ["", *_cut(_encode(arguments).decode(), chunks)], model, "tool_use")

    @classmethod
    def _of(cls, block: dict[str, Any], pieces: list[str], model: str, stop_reason: str) -> Script:
        message = {
            "id": "msg_scripted",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [block],
            "stop_reason": stop_reason,
            "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": max(1, len(pieces))},
        }
        return cls.message(message, [pieces], headers={"request-id": "req_scripted"})

    @classmethod
    def error(
        cls,
        status: int,
        message: str | None = None,
        *,
        error_type: str | None = None,
        retry_after: float | None = None,
        details: dict[str, Any] | None = None,
        request_id: str = "req_scripted",
    ) -> Script:
        """Return Anthropic's error envelope; `retry_after` is in seconds."""
        kind = error_type or ERROR_TYPES.get(status) or ERROR_TYPES[400 if status < 500 else 500]
        text = message or f"The sandbox was asked to answer {status}."
        headers = {"request-id": request_id}
        if retry_after is not None:
            headers["retry-after"] = f"{retry_after:g}"
        error: dict[str, Any] = {"type": kind, "message": text}
        if details is not None:
            error["details"] = details
        return cls.json(status, {"type": "error", "error": error, "request_id": request_id}, headers)

    @classmethod
    def hang(cls) -> Script:
        """Return no answer at all: the request is taken, and nothing follows."""
        return cls(before=(Hang(),))

    @classmethod
    def refuse(cls) -> Script:
        """Return a connection that cannot be made."""
        return cls(before=(Break("The sandbox refused the connection."),))

    @classmethod
    def stale(cls) -> Script:
        """Return a pooled connection that was closed before the request was seen."""
        return cls(before=(Break("The sandbox had closed the connection.", stale=True),))

    def late(self, seconds: float) -> Script:
        """Return the same answer with its head so much later."""
        unstreamed = self.unstreamed and self.unstreamed.late(seconds)
        return replace(self, before=(Wait(seconds), *self.before), unstreamed=unstreamed)

    def paced(self, seconds: float) -> Script:
        """Return the same answer with a wait before each of its pieces."""
        steps = tuple(
            part for step in self.steps for part in ((Wait(seconds), step) if isinstance(step, Send) else (step,))
        )
        return replace(self, steps=steps, unstreamed=self.unstreamed and self.unstreamed.paced(seconds))

    def cut(self, after: int, then: Hang | Break | None = None) -> Script:
        """Return the answer's first `after` pieces and what happens then; None ends the body early, as if all were well.

        What is cut is the stream, whatever the call asks for.
        """
        kept: list[Step] = []
        left = after
        for step in self.steps:
            if isinstance(step, Send):
                if not left:
                    break
                left -= 1
            kept.append(step)
        return replace(self, steps=(*kept, *((then,) if then else ())), unstreamed=None)


def unfold(message: Mapping[str, Any], pieces: Sequence[Sequence[str]]) -> Iterator[dict[str, Any]]:
    """Yield the events that stream `message`; `pieces[i]` are the deltas of block i.

    Blocks without deltas of their own (redacted thinking, results of server tools) come whole in their start.
    """
    usage = message.get("usage", _NO_USAGE)
    opening: dict[str, Any] = {
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": 1},
    }
    yield {"type": "message_start", "message": {**message, **opening}}
    for index, (block, parts) in enumerate(zip(message["content"], pieces, strict=True)):
        empty, deltas = _opened(block, parts)
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        if index == 0:
            yield {"type": "ping"}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    stop = {"stop_reason": message["stop_reason"], "stop_sequence": message.get("stop_sequence")}
    yield {"type": "message_delta", "delta": stop, "usage": usage}
    yield {"type": "message_stop"}


def _opened(block: Mapping[str, Any], parts: Sequence[str]) -> tuple[Mapping[str, Any], list[dict[str, Any]]]:
    """Return how a block looks when it starts, and the deltas that fill it."""
    match block["type"]:
        case "text":
            deltas: list[dict[str, Any]] = [
                {"type": "citations_delta", "citation": citation} for citation in block.get("citations") or ()
            ]
            deltas += ({"type": "text_delta", "text": part} for part in parts)
            return {**block, "text": "", **({"citations": []} if "citations" in block else {})}, deltas
        case "thinking":
            deltas = [{"type": "thinking_delta", "thinking": part} for part in parts]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
            return {**block, "thinking": "", "signature": ""}, deltas
        case "tool_use" | "server_tool_use":
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": part} for part in parts]
        case _:
            return block, []


def _cut(text: str, chunks: int) -> list[str]:
    size = max(1, ceil(len(text) / max(1, chunks)))
    return [text[at : at + size] for at in range(0, len(text), size)]


def _frame(event: Any) -> bytes:
    if isinstance(event, bytes):
        return event
    if isinstance(event, str):
        return f"data: {event}\n\n".encode()
    name = f"event: {event['type']}\n".encode() if isinstance(event.get("type"), str) else b""
    return b"%bdata: %b\n\n" % (name, _encode(event))
