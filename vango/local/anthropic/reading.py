"""Reads a request in Anthropic's Messages format: its bytes become a prompt, or an error of the kind that Anthropic answers."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec

from vango.local.anthropic.checks import MAX_OUTPUT_TOKENS, check
from vango.local.anthropic.shapes import decode
from vango.local.prompt import Prompt, Result, Tool, Utterance
from vango.local.tokens import count

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vango.local.anthropic.shapes import Block, Message, Request

# What a request costs beyond its words, so that counts are plausible: nobody looks into an image here.
MESSAGE_TOKENS = 3
TOOL_TOKENS = 8
MEDIA_TOKENS = 1_000

_THINKS = {"enabled": True, "adaptive": True, "disabled": False}

_encode = msgspec.json.Encoder().encode


class Asked(msgspec.Struct, frozen=True):
    """A request that was understood. `seed` is the same for the same request, streamed or not."""

    model: str
    prompt: Prompt
    input_tokens: int
    shows_thinking: bool
    seed: bytes


def read(body: bytes, *, counting: bool = False) -> Asked:
    """Read a request, without `max_tokens` where its tokens are only counted; raises InvalidRequestError."""
    request, fields = decode(body)
    check(request, counting=counting)
    written = sorted((name, bytes(raw)) for name, raw in fields.items() if name != "stream")
    return Asked(
        request.model,
        _prompt(request),
        _input_tokens(request),
        shows_thinking=request.thinking is None or request.thinking.display != "omitted",
        seed=blake2b(repr(written).encode(), digest_size=18).digest(),
    )


def _prompt(request: Request) -> Prompt:
    messages = [message for message in request.messages if message.role != "system"]
    instructions = [_text(request.system or ""), *(_text(m.content) for m in request.messages if m.role == "system")]
    prefill = ""
    if messages and messages[-1].role == "assistant":
        prefill = _text(messages.pop().content)
    choice = request.tool_choice
    return Prompt(
        history=tuple(_utterances(messages)),
        max_tokens=request.max_tokens or MAX_OUTPUT_TOKENS,
        system="\n".join(filter(None, instructions)),
        prefill=prefill,
        tools=tuple(
            Tool(tool.name, tool.description or "", tool.input_schema or {})
            for tool in request.tools or ()
            if tool.is_custom
        ),
        choice=choice.type if choice else "auto",
        tool=choice.name if choice else None,
        parallel=not (choice and choice.disable_parallel_tool_use),
        thinks=_THINKS[request.thinking.type] if request.thinking else None,
        schema=request.structure.schema if request.structure else None,
        stop_sequences=tuple(request.stop_sequences or ()),
    )


def _utterances(messages: list[Message]) -> Iterable[Utterance]:
    """Join neighbours of one role and name each tool result after its call; the last utterance is the user's."""
    named: dict[str, str] = {}
    joined: list[Utterance] = []
    for message in messages:
        blocks = message.blocks
        named.update((block.id, block.name or "") for block in blocks if block.type == "tool_use")
        utterance = Utterance(
            message.role,
            _text(message.content),
            tuple(_described(block) for block in blocks if block.type in {"image", "document"}),
            tuple(
                Result(named.get(block.tool_use_id, ""), _result_text(block.content), bool(block.is_error))
                for block in blocks
                if block.type == "tool_result"
            ),
        )
        if joined and joined[-1].role == message.role:
            before = joined.pop()
            utterance = Utterance(
                message.role,
                "\n".join(filter(None, (before.text, utterance.text))),
                before.media + utterance.media,
                before.results + utterance.results,
            )
        joined.append(utterance)
    if not joined or joined[-1].role != "user":
        joined.append(Utterance("user", ""))
    return joined


def _text(content: str | list[Block]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(block.text for block in content if block.type == "text" and block.text)


def _described(block: Block) -> str:
    if block.type == "image":
        return "an image"
    return f'the document "{block.title}"' if block.title else "a document"


def _result_text(content: Any) -> str:
    """Return the text of a tool result, with its other blocks named."""
    if content is None or isinstance(content, str):
        return content or ""
    parts = content if isinstance(content, list) else [content]
    shown = (
        (part.get("text") or f"[{part.get('type', 'block')}]") if isinstance(part, dict) else str(part)
        for part in parts
    )
    return "\n".join(map(str, shown))


def _input_tokens(request: Request) -> int:
    total = count(_text(request.system or ""))
    for message in request.messages:
        total += MESSAGE_TOKENS + sum(map(_block_tokens, message.blocks))
    for tool in request.tools or ():
        total += TOOL_TOKENS + count(tool.name) + count(tool.description or "")
        total += count(_encode(tool.input_schema).decode()) if tool.input_schema else 0
    return total


def _block_tokens(block: Block) -> int:
    match block.type:
        case "text":
            return count(block.text)
        case "thinking":
            return count(block.thinking)
        case "tool_use":
            return count(block.name or "") + count(_encode(block.input).decode())
        case "tool_result":
            return count(_result_text(block.content))
        case "image":
            return MEDIA_TOKENS
        case "document":
            text = block.source.get("data") if block.source.get("type") == "text" else None
            return count(text) if isinstance(text, str) else MEDIA_TOKENS
        case _:
            return count(_encode(block.content).decode()) if block.content is not None else 0
