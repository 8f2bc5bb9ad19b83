"""The sandbox's tokens: the same text always has the same ones, and joined they are the text again.

A token is a word, or up to eight characters of a long one, with the white space before it; or one other mark, likewise; or the
white space at the end. Counting is exact for the first 64 Ki characters of a text and takes four characters a token beyond, so
that counting megabytes does not hold up the loop.
"""

from __future__ import annotations

import re
from itertools import islice

_TOKEN = re.compile(r"\s*\w{1,8}|\s*[^\w\s]|\s+")

EXACT_CHARACTERS = 65_536
CHARACTERS_A_TOKEN = 4


def tokens(text: str, limit: int | None = None) -> list[str]:
    """Return the first `limit` tokens of a text, by default all of them."""
    return [match[0] for match in islice(_TOKEN.finditer(text), limit)]


def count(text: str) -> int:
    """Return the number of tokens."""
    head = text[:EXACT_CHARACTERS]
    rest = len(text) - len(head)
    return len(_TOKEN.findall(head)) + -(-rest // CHARACTERS_A_TOKEN)
