"""The one strict JSON reader for what callers and providers send, and the splitting that keeps their bytes.

Values that nobody here needs to understand stay `msgspec.Raw`: a slice of the sender's own bytes, checked for syntax only,
so that number spelling, key order and unknown fields survive. NaN, Infinity, control characters, lone surrogates, invalid
UTF-8 and trailing text are refused.
"""

from __future__ import annotations

import re
from array import array
from itertools import accumulate
from typing import Any

import msgspec

from vango.errors import InvalidRequestError

Fields = dict[str, msgspec.Raw]
"""An object split at its top level, in the sender's order; of a repeated name the last one counts."""

decode_fields = msgspec.json.Decoder(Fields).decode
decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
decode_any = msgspec.json.Decoder().decode
encode = msgspec.json.Encoder().encode

KINDS = {
    ord("{"): "object",
    ord("["): "array",
    ord('"'): "string",
    ord("t"): "boolean",
    ord("f"): "boolean",
    ord("n"): "null",
}

MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What the decoders raise for bytes that are not the JSON they should be."""

_LONE_SURROGATE = re.compile(
    rb"(?<!\\)(?:\\\\)*(?:\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F])"
)
_KEY = re.compile(rb'\s*,?\s*("[^"\\]*(?:\\.[^"\\]*)*")\s*:\s*')
_POSITION = re.compile(r"\(byte (\d+)\)")
_AROUND = 32
_ONE_BRACKET = bytes.maketrans(b"[]", b"{}")
_ROUNDS = 6
_STEPS = bytes.maketrans(b"{}", b"\x01\xff")
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))


def kind(raw: msgspec.Raw) -> str:
    """Name the JSON type of a value by its first byte, which its syntax check has made decisive."""
    return KINDS.get(memoryview(raw)[0], "number")


def text(raw: msgspec.Raw) -> str:
    """Decode a string; the caller has checked that it is one."""
    return msgspec.json.decode(raw, type=str)


def text_if_string(raw: msgspec.Raw | None) -> str:
    """Decode a string; "" where there is no value, or it is something else."""
    return text(raw) if raw is not None and kind(raw) == "string" else ""


def join(fields: Fields | dict[str, Any]) -> bytes:
    """Write an object from its parts: Raw values byte for byte, others encoded."""
    return encode(fields)


def replaced(body: bytes, fields: Fields, name: str, value: bytes) -> bytes | None:
    """Return a well-formed object's own bytes with another value for one field; `fields` is its split.

    None where a name is repeated, since readers disagree on which of them counts.
    """
    if encode(fields) == body:  # as most clients write it: an eighth of the cost of the walk below
        return encode({**fields, name: msgspec.Raw(value)})
    position, found = body.index(b"{") + 1, None
    for key, raw in fields.items():
        match = _KEY.match(body, position)
        if match is None or msgspec.json.decode(match[1]) != key or not body.startswith(bytes(raw), match.end()):
            return None
        position = match.end() + len(memoryview(raw))
        if key == name:
            found = match.end(), position
    if found is None or body[position:].strip() != b"}":
        return None
    return b"".join((body[: found[0]], value, body[found[1] :]))


def read_object(body: bytes, *, max_nesting: int) -> Fields:
    """Split a request body into its top-level fields.

    Raises InvalidRequestError for anything but one JSON object nested at most `max_nesting` deep.
    """
    try:
        if not body.isascii():
            body.decode()
        fields = decode_fields(body)
    except msgspec.ValidationError as exc:
        raise InvalidRequestError(f"The body must be a JSON object; {_found(exc)}.") from exc
    except MALFORMED as exc:
        raise InvalidRequestError(_complaint(body, exc)) from exc
    if too_deep(body, max_nesting):
        raise InvalidRequestError(f"The body is nested deeper than {max_nesting} levels.")
    return fields


def too_deep(body: bytes, limit: int) -> bool:
    """Whether objects and arrays of a well-formed body nest deeper than `limit`.

    Counting the openers settles short bodies. For the rest, everything but brackets and quotes is cut away, then strings, then
    innermost pairs, a level a round, all of it in C: 60 µs for the 31 KiB of an agent's turn. What nests deeper than people write
    is summed up instead: rounds to the limit took 20 s for 31 MB of nothing but brackets, which everybody else waited for.
    """
    if body.count(b"{") + body.count(b"[") <= limit:
        return False
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Two quotes side by side have no bracket between them: they are a string, or the gap between two, and go either way.
    structure = body.translate(_ONE_BRACKET, _NOT_STRUCTURE).replace(b'""', b"")
    if b'"' in structure:
        structure = b"".join(structure.split(b'"')[::2])
    for level in range(limit):
        if not structure:
            return False
        if level == _ROUNDS:
            return level + max(accumulate(array("b", structure.translate(_STEPS)))) > limit
        structure = structure.replace(b"{}", b"")
    return bool(structure)


def _found(exc: msgspec.ValidationError) -> str:
    # msgspec: "Expected `object`, got `array`"
    _, _, got = str(exc).partition("got ")
    return f"this is {got.strip('`').split('`')[0] or 'something else'}"


def _complaint(body: bytes, exc: Exception) -> str:
    if isinstance(exc, UnicodeDecodeError):
        return f"The body is not valid UTF-8 (byte {exc.start})."
    if isinstance(exc, RecursionError):
        return "The body is nested too deeply."
    if not body.strip():
        return "The body is empty; a JSON object was expected."
    detail = str(exc).removeprefix("JSON is malformed: ")
    at = int(found[1]) if (found := _POSITION.search(detail)) else len(body)
    if _LONE_SURROGATE.search(body[max(0, at - _AROUND) : at + _AROUND]):
        return "The body is not valid JSON: it has a lone surrogate escape (half of a character)."
    return f"The body is not valid JSON: {detail[:1].lower()}{detail[1:]}."
