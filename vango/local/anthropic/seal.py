"""Signatures of thoughts: like the real ones, they carry the thought and show any change to it."""

from __future__ import annotations

from base64 import b64decode, b64encode
from hashlib import blake2b

_SEAL_BYTES = 16


def sealed(thought: str) -> str:
    """Return the signature of a thought."""
    data = thought.encode()
    return b64encode(_seal(data) + data).decode()


def is_sealed(thought: str, signature: str) -> bool:
    """Whether a thought came back as it was signed, or empty, as one whose text was withheld does."""
    try:
        data = b64decode(signature, validate=True)
    except ValueError:
        return False
    signed = data[_SEAL_BYTES:]
    return data[:_SEAL_BYTES] == _seal(signed) and thought.encode() in {signed, b""}


def _seal(data: bytes) -> bytes:
    return blake2b(data, digest_size=_SEAL_BYTES).digest()
