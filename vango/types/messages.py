"""A message request: checked in its shape, split at its top level, its values still the caller's own bytes.

Shapes are tables, so that every fault is named by its path (`messages[0].content[2].source`) and the OpenAPI page says the same
as the check. What is not in a table is passed on: fields and block types that Vango has never heard of are the provider's to judge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
from pydantic import SecretStr

from vango.errors import InvalidRequestError
from vango.types import shapes
from vango.wire import json

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_MESSAGES = 100_000
"""Also the most content blocks, and the most entries of any other list: each costs microseconds to look at, so that
a body of nothing but entries would hold everybody up for long."""

MAX_FIELDS = 1000
MAX_MODEL = 256
"""Characters of a model's name, which is repeated in logs and errors."""

MAX_FALLBACKS = 20
"""Each is asked as often as retries allow, so that one request for many would be many to the providers."""

MAX_SHOWN = 31
"""A name of the caller's longer than this is not repeated in an error: it may be a key in the wrong place."""

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
    "fallbacks": Shape(("array", "string")),
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

TYPED = {"type": Shape(("string",), required=True)}
TOOL = {"type": Shape(("string",)), "name": Shape(("string",)), "description": Shape(("string",))}
OWN_TOOL = {"name": Shape(("string",), required=True), "input_schema": Shape(("object",), required=True)}

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
    if len(fields) > MAX_FIELDS:
        raise InvalidRequestError(f"The body has more than {MAX_FIELDS} fields.")
    check(fields, REQUEST, "")
    given = {name for name, raw in fields.items() if json.kind(raw) != "null"}
    model = _model_name(fields["model"], "model")
    blocks = _Blocks(max_messages)
    _check_messages(fields["messages"], max_messages, blocks)
    if "system" in given:
        _check_content(fields["system"], "system", blocks, texts_only=True)
    fallbacks: tuple[str, ...] = ()
    if "stop_sequences" in given:
        _check_strings(fields["stop_sequences"], "stop_sequences", max_messages)
    if "fallbacks" in given and not is_anthropics_fallbacks(fields["fallbacks"]):
        if (found := json.kind(fields["fallbacks"])) != "array":
            raise _misfit("fallbacks", ("array",), found)
        _check_strings(fields["fallbacks"], "fallbacks", MAX_FALLBACKS)
        fallbacks = _fallbacks(fields["fallbacks"])
    if "tools" in given:
        _check_tools(fields["tools"], max_messages)
    keys = fields.pop("provider_keys", None)
    return MessageRequest(
        model=model,
        fields=fields,
        body=body if keys is None else b"",
        stream=bytes(fields.get("stream", b"")) == b"true",
        max_tokens=_count(fields["max_tokens"], "max_tokens") if "max_tokens" in given else None,
        fallbacks=fallbacks,
        provider_keys=_keys(keys) if keys is not None and "provider_keys" in given else {},
        headers=headers or {},
        strict=strict,
        blocks=blocks.first,
    )


def check(fields: json.Fields, table: Mapping[str, Shape], path: str) -> None:
    """Hold an object against a table of shapes; raises InvalidRequestError for the first field that does not fit."""
    for name, shape in table.items():
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


class _Blocks:
    """The kinds of content block met so far, each with the path of its first, and how many more there may be."""

    __slots__ = ("first", "left", "most")

    def __init__(self, most: int) -> None:
        self.first: dict[str, str] = {}
        self.most = self.left = most

    def note(self, kind: str, path: str) -> None:
        """Count a block; raises InvalidRequestError for one too many."""
        self.left -= 1
        if self.left < 0:
            raise InvalidRequestError(f"{path}: at most {self.most} content blocks in a request.", param=path)
        self.first.setdefault(kind, path)


def _model_name(raw: msgspec.Raw, path: str) -> str:
    name = json.text(raw)
    if not name.strip():
        raise InvalidRequestError(
            f"{path}: expected a name like anthropic/claude-sonnet-4-5, got an empty string.", param=path
        )
    if len(name) > MAX_MODEL or not name.isprintable():
        raise InvalidRequestError(f"{path}: expected a name of at most {MAX_MODEL} printable characters.", param=path)
    return name


def is_anthropics_fallbacks(raw: msgspec.Raw) -> bool:
    """Whether `fallbacks` is Anthropic's beta field of that name (`"default"`, or objects) rather than Vango's list of models."""
    if json.kind(raw) == "string":
        return bytes(raw) == b'"default"'
    return json.kind(raw) == "array" and any(json.kind(item) == "object" for item in json.decode_array(raw)[:1])


def _fallbacks(raw: msgspec.Raw) -> tuple[str, ...]:
    return tuple(_model_name(item, f"fallbacks[{index}]") for index, item in enumerate(json.decode_array(raw)))


def _entries(raw: msgspec.Raw, path: str, most: int) -> list[msgspec.Raw]:
    entries = json.decode_array(raw)
    if len(entries) > most:
        raise InvalidRequestError(f"{path}: at most {most} entries, got {len(entries)}.", param=path)
    return entries


def _check_messages(raw: msgspec.Raw, most: int, blocks: _Blocks) -> None:
    try:
        ordinary = shapes.decode_messages(raw)
    except json.MALFORMED:
        ordinary = []
    if 0 < len(ordinary) <= most:
        for name, path in shapes.blocks_of(ordinary):
            blocks.note(name, path)
        return
    messages = _entries(raw, "messages", most)
    if not messages:
        raise InvalidRequestError("messages: at least one message is required.", param="messages")
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


def _check_content(raw: msgspec.Raw, path: str, blocks: _Blocks, *, texts_only: bool = False) -> None:
    found = json.kind(raw)
    if found == "string":
        return
    if found != "array":
        raise _misfit(path, ("string", "array"), found)
    for index, item in enumerate(json.decode_array(raw)):
        here = f"{path}[{index}]"
        if (found := json.kind(item)) != "object":
            raise _misfit(here, ("object",), found)
        block = json.decode_fields(item)
        check(block, TYPED, f"{here}.")
        name = json.text(block["type"])
        if texts_only and name != "text":
            raise InvalidRequestError(f'{here}.type: expected "text".', param=f"{here}.type")
        blocks.note(name, here)
        check(block, BLOCKS.get(name, {}), f"{here}.")
        if name in SOURCED:
            check(json.decode_fields(block["source"]), TYPED, f"{here}.source.")
        if name == "tool_result" and "content" in block and json.kind(block["content"]) == "array":
            _check_content(block["content"], f"{here}.content", blocks)


def _check_strings(raw: msgspec.Raw, path: str, most: int) -> None:
    for index, item in enumerate(_entries(raw, path, most)):
        if (found := json.kind(item)) != "string":
            raise _misfit(f"{path}[{index}]", ("string",), found)


def _check_tools(raw: msgspec.Raw, most: int) -> None:
    try:
        if len(shapes.decode_tools(raw)) <= most:
            return
    except json.MALFORMED:
        pass
    for index, item in enumerate(_entries(raw, "tools", most)):
        path = f"tools[{index}]"
        if (found := json.kind(item)) != "object":
            raise _misfit(path, ("object",), found)
        tool = json.decode_fields(item)
        check(tool, TOOL, f"{path}.")
        kind = json.text(tool["type"]) if "type" in tool and json.kind(tool["type"]) == "string" else "custom"
        if kind in ("custom", "function"):
            check(tool, OWN_TOOL, f"{path}.")


def _count(raw: msgspec.Raw, path: str) -> int:
    try:
        count = msgspec.json.decode(raw, type=int)
    except msgspec.DecodeError:
        count = -1
    if count < 0:
        raise InvalidRequestError(f"{path}: expected a whole number of tokens, 0 or more.", param=path)
    return count


def _keys(raw: msgspec.Raw) -> dict[str, SecretStr]:
    given = json.decode_fields(raw)
    if len(given) > MAX_FIELDS:
        raise InvalidRequestError(f"provider_keys: at most {MAX_FIELDS} keys.", param="provider_keys")
    keys: dict[str, SecretStr] = {}
    for name, value in given.items():
        path = f"provider_keys.{name}" if len(name) <= MAX_SHOWN else "provider_keys"
        if (found := json.kind(value)) != "string":
            raise _misfit(path, ("string",), found)
        keys[name.lower()] = SecretStr(json.text(value))
    return keys
