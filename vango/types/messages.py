"""A message request: checked in its shape, split at its top level, its values still the caller's own bytes.

Shapes are tables, so that every fault is named by its path (`messages[0].content[2].source`) and the OpenAPI page says the same
as the check. What is not in a table is passed on: fields and block types that Vango has never heard of are the provider's to judge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
from pydantic import SecretStr

from vango.errors import InvalidRequestError
from vango.wire import json

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_MESSAGES = 100_000

ROLES = ("user", "assistant", "system")


class Shape(NamedTuple):
    """The JSON types a field may have, and whether it must be there."""

    kinds: tuple[str, ...]
    required: bool = False


REQUEST: Mapping[str, Shape] = {
    "model": Shape(("string",), required=True),
    "messages": Shape(("array",), required=True),
    "max_tokens": Shape(("number",)),
    "system": Shape(("string", "array")),
    "temperature": Shape(("number",)),
    "top_p": Shape(("number",)),
    "top_k": Shape(("number",)),
    "stop_sequences": Shape(("array",)),
    "tools": Shape(("array",)),
    "tool_choice": Shape(("object",)),
    "thinking": Shape(("object",)),
    "stream": Shape(("boolean",)),
    "metadata": Shape(("object",)),
    "output": Shape(("object",)),
    "output_format": Shape(("object",)),
    "output_config": Shape(("object",)),
    "voice": Shape(("object",)),
    "extensions": Shape(("object",)),
    "provider_keys": Shape(("object",)),
    "fallbacks": Shape(("array",)),
}
"""Every field may also be null, which means the same as leaving it out, unless it is required."""

VANGO_FIELDS = frozenset({"model", "provider_keys", "fallbacks", "voice", "extensions", "output"})
"""Fields that are Vango's own and never reach a provider as they are."""

BLOCKS: Mapping[str, Mapping[str, Shape]] = {
    "text": {"text": Shape(("string",), required=True)},
    "image": {"source": Shape(("object",), required=True)},
    "audio": {"source": Shape(("object",), required=True)},
    "video": {"source": Shape(("object",), required=True)},
    "document": {"source": Shape(("object",), required=True)},
    "tool_use": {
        "id": Shape(("string",), required=True),
        "name": Shape(("string",), required=True),
        "input": Shape(("object",), required=True),
    },
    "tool_result": {
        "tool_use_id": Shape(("string",), required=True),
        "content": Shape(("string", "array")),
        "is_error": Shape(("boolean",)),
    },
    "thinking": {"thinking": Shape(("string",), required=True), "signature": Shape(("string",))},
    "redacted_thinking": {"data": Shape(("string",), required=True)},
}

SOURCED = frozenset({"image", "audio", "video", "document"})

ARTICLES = {
    "object": "an object",
    "array": "an array",
    "string": "a string",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


class _Message(msgspec.Struct, gc=False):
    role: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    content: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode_message = msgspec.json.Decoder(_Message).decode
_decode_block = json.decode_fields


class MessageRequest(msgspec.Struct, frozen=True):
    """One turn asked of a model.

    `fields` holds the whole request but `provider_keys`, in the caller's order and bytes.
    `body` is the request as it came, unless it held keys.
    `headers` are the provider headers that go along (`anthropic-beta`, `anthropic-version`).
    `strict` turns any loss in translation into an error.
    `blocks` tells the block types in the messages, each with the path of the first one.
    """

    model: str
    fields: json.Fields
    body: bytes = b""
    stream: bool = False
    max_tokens: int | None = None
    fallbacks: tuple[str, ...] = ()
    provider_keys: Mapping[str, SecretStr] = msgspec.field(default_factory=dict)
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    strict: bool = False
    blocks: Mapping[str, str] = msgspec.field(default_factory=dict)

    def __repr__(self) -> str:
        return f"MessageRequest(model={self.model!r}, stream={self.stream}, fields={list(self.fields)})"


def read_request(
    body: bytes,
    *,
    headers: Mapping[str, str] | None = None,
    strict: bool = False,
    max_nesting: int = 100,
    max_messages: int = MAX_MESSAGES,
) -> MessageRequest:
    """Read the body of `POST /v1/messages`; raises InvalidRequestError whose `param` is the path at fault."""
    fields = json.read_object(body, max_nesting=max_nesting)
    check(fields, REQUEST, "")
    given = {name for name, raw in fields.items() if json.kind(raw) != "null"}
    model = json.text(fields["model"])
    if not model.strip():
        raise InvalidRequestError(
            "model: expected a name like anthropic/claude-sonnet-4-5, got an empty string.", param="model"
        )
    blocks: dict[str, str] = {}
    _check_messages(fields["messages"], max_messages, blocks)
    if "system" in given:
        _check_content(fields["system"], "system", blocks, texts_only=True)
    for name in ("stop_sequences", "fallbacks"):
        if name in given:
            _check_strings(fields[name], name)
    if "tools" in given:
        _check_tools(fields["tools"])
    keys = fields.pop("provider_keys", None)
    return MessageRequest(
        model=model,
        fields=fields,
        body=body if keys is None else b"",
        stream=bytes(fields.get("stream", b"")) == b"true",
        max_tokens=_count(fields["max_tokens"], "max_tokens") if "max_tokens" in given else None,
        fallbacks=tuple(msgspec.json.decode(fields["fallbacks"], type=list[str])) if "fallbacks" in given else (),
        provider_keys=_keys(keys) if keys is not None and "provider_keys" in given else {},
        headers=headers or {},
        strict=strict,
        blocks=blocks,
    )


def check(fields: json.Fields, shapes: Mapping[str, Shape], path: str) -> None:
    """Hold an object against a table of shapes; raises InvalidRequestError for the first field that does not fit."""
    for name, shape in shapes.items():
        raw = fields.get(name)
        if raw is None:
            if shape.required:
                raise InvalidRequestError(f"{path}{name}: this field is required.", param=f"{path}{name}")
            continue
        found = json.kind(raw)
        if found not in shape.kinds and (found != "null" or shape.required):
            raise _misfit(f"{path}{name}", shape.kinds, found)


def _misfit(path: str, expected: tuple[str, ...], found: str) -> InvalidRequestError:
    wanted = " or ".join(ARTICLES[kind] for kind in expected)
    return InvalidRequestError(f"{path}: expected {wanted}, got {ARTICLES[found]}.", param=path)


def _check_messages(raw: msgspec.Raw, most: int, blocks: dict[str, str]) -> None:
    messages = json.decode_array(raw)
    if not messages:
        raise InvalidRequestError("messages: at least one message is required.", param="messages")
    if len(messages) > most:
        raise InvalidRequestError(f"messages: at most {most} messages, got {len(messages)}.", param="messages")
    for index, item in enumerate(messages):
        path = f"messages[{index}]"
        if (found := json.kind(item)) != "object":
            raise _misfit(path, ("object",), found)
        message = _decode_message(item)
        if message.role is msgspec.UNSET or message.content is msgspec.UNSET:
            missing = "role" if message.role is msgspec.UNSET else "content"
            raise InvalidRequestError(f"{path}.{missing}: this field is required.", param=f"{path}.{missing}")
        if (found := json.kind(message.role)) != "string":
            raise _misfit(f"{path}.role", ("string",), found)
        if json.text(message.role) not in ROLES:
            raise InvalidRequestError(f"{path}.role: expected one of {', '.join(ROLES)}.", param=f"{path}.role")
        _check_content(message.content, f"{path}.content", blocks)


def _check_content(raw: msgspec.Raw, path: str, blocks: dict[str, str], *, texts_only: bool = False) -> None:
    found = json.kind(raw)
    if found == "string":
        return
    if found != "array":
        raise _misfit(path, ("string", "array"), found)
    for index, item in enumerate(json.decode_array(raw)):
        here = f"{path}[{index}]"
        if (found := json.kind(item)) != "object":
            raise _misfit(here, ("object",), found)
        block = _decode_block(item)
        check(block, {"type": Shape(("string",), required=True)}, f"{here}.")
        name = json.text(block["type"])
        if texts_only and name != "text":
            raise InvalidRequestError(f'{here}.type: expected "text".', param=f"{here}.type")
        blocks.setdefault(name, here)
        check(block, BLOCKS.get(name, {}), f"{here}.")
        if name in SOURCED:
            check(json.decode_fields(block["source"]), {"type": Shape(("string",), required=True)}, f"{here}.source.")
        if name == "tool_result" and "content" in block and json.kind(block["content"]) == "array":
            _check_content(block["content"], f"{here}.content", blocks)


def _check_strings(raw: msgspec.Raw, path: str) -> None:
    for index, item in enumerate(json.decode_array(raw)):
        if (found := json.kind(item)) != "string":
            raise _misfit(f"{path}[{index}]", ("string",), found)


def _check_tools(raw: msgspec.Raw) -> None:
    for index, item in enumerate(json.decode_array(raw)):
        path = f"tools[{index}]"
        if (found := json.kind(item)) != "object":
            raise _misfit(path, ("object",), found)
        tool = _decode_block(item)
        check(
            tool,
            {"type": Shape(("string",)), "name": Shape(("string",)), "description": Shape(("string",))},
            f"{path}.",
        )
        kind = json.text(tool["type"]) if "type" in tool and json.kind(tool["type"]) == "string" else "custom"
        if kind in ("custom", "function"):
            check(
                tool,
                {"name": Shape(("string",), required=True), "input_schema": Shape(("object",), required=True)},
                f"{path}.",
            )


def _count(raw: msgspec.Raw, path: str) -> int:
    try:
        count = msgspec.json.decode(raw, type=int)
    except msgspec.DecodeError:
        count = -1
    if count < 0:
        raise InvalidRequestError(f"{path}: expected a whole number of tokens, 0 or more.", param=path)
    return count


def _keys(raw: msgspec.Raw) -> dict[str, SecretStr]:
    keys: dict[str, SecretStr] = {}
    for name, value in json.decode_fields(raw).items():
        path = f"provider_keys.{name}"
        if (found := json.kind(value)) != "string":
            raise _misfit(path, ("string",), found)
        keys[name.lower()] = SecretStr(json.text(value))
    return keys
