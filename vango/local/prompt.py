"""What a sandbox model is asked and what it says, whatever the dialect: dialects read prompts and write turns."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from vango.local.tokens import count, tokens

_encode = msgspec.json.Encoder().encode


class Result(NamedTuple):
    """What a tool returned, with the name it was called by."""

    tool: str
    text: str
    is_error: bool


class Utterance(msgspec.Struct, frozen=True):
    """One side's words, neighbouring messages of one role joined; `media` describes what came along ("image")."""

    role: str
    text: str
    media: tuple[str, ...] = ()
    results: tuple[Result, ...] = ()


class Tool(msgspec.Struct, frozen=True):
    """A tool that the model may call."""

    name: str
    description: str
    schema: dict[str, Any]


class Prompt(msgspec.Struct, frozen=True):
    """A request as a model understands it.

    `history` ends with the user's words; `prefill` is the start of the answer that the caller has already written.
    `choice` is auto, any, none or tool, which means `tool` alone. `thinks` is None where the model may choose.
    """

    history: tuple[Utterance, ...]
    max_tokens: int
    system: str = ""
    prefill: str = ""
    tools: tuple[Tool, ...] = ()
    choice: str = "auto"
    tool: str | None = None
    parallel: bool = True
    thinks: bool | None = None
    schema: dict[str, Any] | None = None
    stop_sequences: tuple[str, ...] = ()

    @property
    def asked(self) -> Utterance:
        """The user's latest words."""
        return self.history[-1]


class Thought(msgspec.Struct, frozen=True):
    """Reasoning before an answer."""

    text: str


class Text(msgspec.Struct, frozen=True):
    """Words for the user."""

    text: str


class Call(msgspec.Struct, frozen=True):
    """A tool call."""

    name: str
    input: dict[str, Any]


Block = Thought | Text | Call


class Part(NamedTuple):
    """A block and the tokens it is written in; a call that was cut off has the arguments that were complete."""

    block: Block
    pieces: list[str]


class Turn(msgspec.Struct, frozen=True):
    """What a model said within the caller's limits. `output_tokens` includes `thinking_tokens`."""

    parts: tuple[Part, ...]
    stop_reason: str
    stop_sequence: str | None
    output_tokens: int
    thinking_tokens: int


def within_limits(blocks: list[Block], prompt: Prompt) -> Turn:
    """Cut what a model would say at the first stop sequence, which only text can meet, and at `max_tokens`.

    A call costs its name and its arguments. A block that would be empty is left out.
    """
    parts: list[Part] = []
    left = prompt.max_tokens
    thinking = 0
    stop_sequence = None
    stop_reason = "end_turn"
    for block in blocks:
        written = _encode(block.input).decode() if isinstance(block, Call) else block.text
        heading = count(block.name) if isinstance(block, Call) else 0
        pieces = tokens(written, max(0, left - heading) + 1)
        is_cut = heading + len(pieces) > left
        pieces = pieces[: max(0, left - heading)]
        if isinstance(block, Text):
            text, stop_sequence = _before_stop("".join(pieces), prompt.stop_sequences)
            pieces = tokens(text)
            block = Text(text)
        elif is_cut:
            block = _cut(block, "".join(pieces))
        if pieces:
            parts.append(Part(block, pieces))
            left -= heading + len(pieces)
        if isinstance(block, Thought):
            thinking += len(pieces)
        if stop_sequence is not None:
            stop_reason = "stop_sequence"
            break
        if is_cut:
            stop_reason = "max_tokens"
            break
        if isinstance(block, Call):
            stop_reason = "tool_use"
    return Turn(tuple(parts), stop_reason, stop_sequence, prompt.max_tokens - left, thinking)


def _before_stop(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    found = [(at, -len(stop), stop) for stop in stops if (at := text.find(stop)) >= 0]
    if not found:
        return text, None
    at, _, stop = min(found)
    return text[:at], stop


def _cut(block: Thought | Call, written: str) -> Thought | Call:
    if isinstance(block, Thought):
        return Thought(written)
    whole: dict[str, Any] = {}
    for name, value in block.input.items():
        start = _encode({**whole, name: value}).decode()[:-1]
        # The character after a member proves that it was complete; a number alone could have gone on.
        if not written.startswith(start) or len(written) == len(start):
            break
        whole[name] = value
    return Call(block.name, whole)
