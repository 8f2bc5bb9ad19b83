"""The shapes of Anthropic's Messages format, as far as the sandbox reads them, and the complaint about a wrong one."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from vango.errors import InvalidRequestError

_WHERE = re.compile(r" - at `\$\.?(.*)`$")
_MISSING = re.compile(r"missing required field `(\w+)`")


class Block(msgspec.Struct):
    """A content block; the fields of all its types, of which each has some."""

    type: str
    text: str = ""
    id: str = ""
    name: str | None = None
    input: Any = None
    tool_use_id: str = ""
    content: Any = None
    is_error: bool | None = None
    source: Any = None
    title: str | None = None
    thinking: str = ""
    signature: str | None = None


class Message(msgspec.Struct):
    """One message."""

    role: str
    content: str | list[Block]

    @property
    def blocks(self) -> list[Block]:
        """The content as blocks."""
        if isinstance(self.content, list):
            return self.content
        return [Block("text", text=self.content)] if self.content else []


class ToolGiven(msgspec.Struct):
    """A tool; Anthropic's own have a dated `type` and run elsewhere."""

    name: str
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None

    @property
    def is_custom(self) -> bool:
        """Whether the caller runs it."""
        return self.type in {None, "custom"}


class ToolChoice(msgspec.Struct):
    """How tools are to be chosen."""

    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(msgspec.Struct):
    """Whether to think."""

    type: str
    budget_tokens: int | None = None
    display: str | None = None


class OutputFormat(msgspec.Struct):
    """A format for the answer."""

    type: str
    schema: dict[str, Any] | None = None


class OutputConfig(msgspec.Struct):
    """What the answer is to be like."""

    format: OutputFormat | None = None


class Request(msgspec.Struct):
    """The fields of a request that mean something here; others may be there."""

    model: str
    messages: list[Message]
    max_tokens: int | None = None
    system: str | list[Block] | None = None
    tools: list[ToolGiven] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    stream: bool | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    thread: dict[str, Any] | None = None

    @property
    def structure(self) -> OutputFormat | None:
        """The format that was asked for; the older beta had it at the top level."""
        return self.output_format or (self.output_config.format if self.output_config else None)


Fields = dict[str, msgspec.Raw]

_decode_request = msgspec.json.Decoder(Request).decode
_decode_fields = msgspec.json.Decoder(Fields).decode


def decode(body: bytes) -> tuple[Request, Fields]:
    """Return a request, and its top-level fields as they were written; raises InvalidRequestError."""
    try:
        return _decode_request(body), _decode_fields(body)
    except msgspec.ValidationError as exc:
        raise InvalidRequestError(_in_anthropics_words(str(exc))) from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidRequestError("The request body is not valid JSON.") from exc


def _in_anthropics_words(complaint: str) -> str:
    """Turn msgspec's "Expected `int`, got `str` - at `$.max_tokens`" around: the field first."""
    where = _WHERE.search(complaint)
    path = re.sub(r"\[(\d+)\]", r".\1", where[1]) if where else ""
    if missing := _MISSING.search(complaint):
        return f"{path}.{missing[1]}: Field required".lstrip(".")
    what = _WHERE.sub("", complaint).replace("`", "")
    return f"{path + ': ' if path else ''}Input is not valid: {what[:1].lower()}{what[1:]}"
