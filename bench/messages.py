"""What the tools exchange: a request of the Messages API, and the answers of a provider to it, as they go over the wire.

The tools themselves know only HTTP; they take these bytes as arguments and look for the marks.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

MODEL = "claude-sonnet-4-5"
"""One that gateways know and have a price for."""

CHUNK_TEXT = "The quick brown fox jumps over. "
"""Some seven tokens: what providers put into one event."""

CHUNK_MARK = '"text_delta"'
STREAM_MARK = '"message_stop"'
ANSWER_MARK = '"end_turn"'

_MESSAGE: dict[str, Any] = {
    "id": "msg_bench",
    "type": "message",
    "role": "assistant",
    "model": MODEL,
    "stop_sequence": None,
}
_USAGE = {"input_tokens": 12, "output_tokens": 64, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}


def request(port: int, model: str, headers: Sequence[str], plan: str | None) -> str:
    """Return a request; `#####` in it stands for the client's number.

    `plan` (`100x20`) asks the upstream for a stream of so many chunks, so many milliseconds apart. It stands in the text of the
    message, which every gateway passes on.
    """
    body: dict[str, Any] = {"model": model, "max_tokens": 1024}
    text = "How are you today, fox?"
    if plan is not None:
        body["stream"] = True
        text = f"bench {plan} from #####"
    content = json.dumps({**body, "messages": [{"role": "user", "content": text}]})
    head = [
        "POST /v1/messages HTTP/1.1",
        f"host: 127.0.0.1:{port}",
        "content-type: application/json",
        "anthropic-version: 2023-06-01",
        *headers,
        f"content-length: {len(content)}",
    ]
    return "\r\n".join([*head, "", content])


def answers() -> list[str]:
    """Return a whole answer, and a stream's opening, one chunk of it and its closing."""
    message = json.dumps(
        {
            **_MESSAGE,
            "content": [{"type": "text", "text": CHUNK_TEXT * 8}],
            "stop_reason": "end_turn",
            "usage": _USAGE,
        }
    )
    begun: dict[str, Any] = {**_MESSAGE, "content": [], "stop_reason": None, "usage": _USAGE}
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    return [
        f"{_head('application/json')}content-length: {len(message)}\r\n\r\n{message}",
        f"{_head('text/event-stream; charset=utf-8')}cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
        + _event("message_start", message=begun)
        + _event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        + _event("ping"),
        _event("content_block_delta", index=0, delta={"type": "text_delta", "text": CHUNK_TEXT}),
        _event("content_block_stop", index=0)
        + _event("message_delta", delta=ended, usage={"output_tokens": 64})
        + _event("message_stop")
        + "0\r\n\r\n",
    ]


def _head(content_type: str) -> str:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\nrequest-id: req_bench\r\n"


def _event(kind: str, **fields: Any) -> str:
    """Return one event as one HTTP chunk."""
    text = f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n"
    return f"{len(text):x}\r\n{text}\r\n"
