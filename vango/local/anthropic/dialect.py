"""The sandbox in Anthropic's dialect: a request's bytes to the script of its answer."""

from __future__ import annotations

from base64 import b32encode
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from vango.errors import InvalidRequestError, NotFoundError, VangoError
from vango.local.anthropic.reading import Asked, read
from vango.local.anthropic.seal import sealed
from vango.local.merge import Unsatisfiable
from vango.local.models import MODELS, Model, say
from vango.local.prompt import Call, Part, Text, Thought, Turn, within_limits
from vango.types.script import Script

if TYPE_CHECKING:
    from collections.abc import Callable

    from vango.wire.call import HttpCall

FAILING = "fail-"
RETRY_AFTER = {429: 1.0, 503: 1.0, 529: 1.0}
"""Seconds; what a rate limit or an overload asks callers to wait."""

# An answer of any length streams in about this many deltas at most, then in several tokens each.
MOST_DELTAS = 1_000


def answer(call: HttpCall) -> Script:
    """Answer one call as Anthropic's API would."""
    path = call.target.partition("?")[0]
    route = next((route for end, route in ROUTES if path.endswith(end)), None)
    request_id = _identity("req", blake2b(call.body, digest_size=18).digest())
    if route is None:
        return Script.error(404, "Not Found", request_id=request_id)
    if call.method != "POST":
        return Script.error(405, "Method Not Allowed", error_type="invalid_request_error", request_id=request_id)
    try:
        script = route(call.body)
    except VangoError as exc:
        return Script.error(
            exc.status, exc.message, retry_after=exc.retry_after, details=exc.details, request_id=request_id
        )
    return _with_request_id(script, request_id)


def _create_message(body: bytes) -> Script:
    asked = read(body)
    model = _model(asked.model)
    try:
        blocks = say(model, asked.prompt)
    except Unsatisfiable:
        raise InvalidRequestError("output_config.format.schema: no value satisfies this schema") from None
    return _write(within_limits(blocks, asked.prompt), asked, model)


def _count_tokens(body: bytes) -> Script:
    asked = read(body, counting=True)
    _model(asked.model)
    return Script.json(200, {"input_tokens": asked.input_tokens})


ROUTES: tuple[tuple[str, Callable[[bytes], Script]], ...] = (
    ("/v1/messages", _create_message),
    ("/v1/messages/count_tokens", _count_tokens),
)


def _model(name: str) -> Model:
    """Return the model of a name; raises the failure that a `fail-<status>` asks for, and NotFoundError for no model."""
    if (model := MODELS.get(name)) is not None:
        return model
    digits = name.removeprefix(FAILING)
    if (
        name.startswith(FAILING)
        and len(digits) == 3
        and digits.isascii()
        and digits.isdecimal()
        and 400 <= int(digits) <= 599
    ):
        status = int(digits)
        message = f"The sandbox answers {status}, as its model's name says."
        raise VangoError(message, status=status, retry_after=RETRY_AFTER.get(status))
    raise NotFoundError(f"model: {name}")


def _write(turn: Turn, asked: Asked, model: Model) -> Script:
    usage: dict[str, Any] = {
        "input_tokens": asked.input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": turn.output_tokens,
        "service_tier": "standard",
    }
    if turn.thinking_tokens:
        usage["output_tokens_details"] = {"thinking_tokens": turn.thinking_tokens}
    message = {
        "model": asked.model,
        "id": _identity("msg", asked.seed),
        "type": "message",
        "role": "assistant",
        "content": [_block(part, index, asked) for index, part in enumerate(turn.parts)],
        "stop_reason": turn.stop_reason,
        "stop_sequence": turn.stop_sequence,
        "usage": usage,
    }
    deltas = [_deltas(part, asked) for part in turn.parts]
    return Script.message(message, deltas, first=model.first, between=model.between)


def _block(part: Part, index: int, asked: Asked) -> dict[str, Any]:
    match part.block:
        case Thought(text):
            return {"type": "thinking", "thinking": text if asked.shows_thinking else "", "signature": sealed(text)}
        case Text(text):
            return {"type": "text", "text": text}
        case Call(name, arguments):
            seed = blake2b(asked.seed + index.to_bytes(2, "big"), digest_size=15).digest()
            return {"type": "tool_use", "id": _identity("toolu", seed), "name": name, "input": arguments}


def _deltas(part: Part, asked: Asked) -> list[str]:
    if isinstance(part.block, Thought) and not asked.shows_thinking:
        return []
    size = -(-len(part.pieces) // MOST_DELTAS)
    deltas = ["".join(part.pieces[at : at + size]) for at in range(0, len(part.pieces), size)]
    # The real stream, too, opens a call's arguments with an empty piece.
    return ["", *deltas] if isinstance(part.block, Call) else deltas


def _with_request_id(script: Script, request_id: str) -> Script:
    unstreamed = script.unstreamed and _with_request_id(script.unstreamed, request_id)
    return replace(script, headers={**script.headers, "request-id": request_id}, unstreamed=unstreamed)


def _identity(kind: str, seed: bytes) -> str:
    return f"{kind}_{b32encode(seed).decode().rstrip('=').lower()}"
