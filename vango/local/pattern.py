"""Makes a string that a regular expression accepts, without ever running the expression.

Patterns come with requests, and matching a caller's pattern could backtrack for hours; writing one match out is linear. Known are
literals, classes, escapes, groups, alternatives, anchors at the ends and quantifiers.
"""

from __future__ import annotations

import string

MAX_LENGTH = 4_096
MAX_NESTING = 32

_DIGITS, _WORD, _SPACE = set(string.digits), set(string.ascii_letters + string.digits + "_"), set(" \t\n\r\f\v")
# The order in which a class's members are tried: what reads best first.
_PREFERRED = (
    string.ascii_lowercase + string.digits + string.ascii_uppercase + "_ -.@/:,;+*#%&=!?()[]{}<>|~^$'\"`\\\t\n\r\f\v"
)
_ALL = set(_PREFERRED)
_CLASSES = {"d": _DIGITS, "w": _WORD, "s": _SPACE, "D": _ALL - _DIGITS, "W": _ALL - _WORD, "S": _ALL - _SPACE}
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}


class UnknownPattern(Exception):
    """The pattern uses something beyond what is known here, or makes too long a string."""


def sample(pattern: str, extra: int = 0) -> str:
    """Return a match of the whole pattern: the shortest at `extra` 0, and quantifiers taken `extra` times more where they may be.

    Raises UnknownPattern.
    """
    if len(pattern) > MAX_LENGTH:
        raise UnknownPattern
    reader = _Reader(pattern, extra)
    text = reader.alternatives(0)
    if reader.at != len(pattern):
        raise UnknownPattern
    return text


class _Reader:
    def __init__(self, pattern: str, extra: int) -> None:
        self.pattern = pattern
        self.extra = extra
        self.at = 0

    def peek(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def take(self) -> str:
        if self.at == len(self.pattern):
            raise UnknownPattern
        self.at += 1
        return self.pattern[self.at - 1]

    def accept(self, text: str) -> bool:
        if self.pattern.startswith(text, self.at):
            self.at += len(text)
            return True
        return False

    def alternatives(self, depth: int) -> str:
        """Read alternatives and write the first."""
        if depth > MAX_NESTING:
            raise UnknownPattern
        first = self.sequence(depth)
        while self.accept("|"):
            self.sequence(depth)
        return first

    def sequence(self, depth: int) -> str:
        parts: list[str] = []
        length = 0
        while self.peek() not in {"", "|", ")"}:
            # An anchor inside would contradict what stands before or after it.
            if self.accept("^"):
                if length:
                    raise UnknownPattern
                continue
            if self.accept("$"):
                if self.peek() not in {"", "|", ")"}:
                    raise UnknownPattern
                continue
            text = self.atom(depth)
            least, most = self.quantifier()
            times = least + self.extra if most is None else min(most, least + self.extra)
            length += len(text) * times
            if length > MAX_LENGTH:
                raise UnknownPattern
            parts.append(text * times)
        return "".join(parts)

    def atom(self, depth: int) -> str:
        sign = self.take()
        if sign == "(":
            return self.group(depth)
        if sign == "[":
            return _best(self.members())
        if sign == ".":
            return "a"
        if sign == "\\":
            return _best(self.escape())
        if sign in "*+?{":
            raise UnknownPattern
        return sign

    def group(self, depth: int) -> str:
        if self.accept("?"):
            if self.accept("<") or self.accept("P<"):
                if self.peek() in {"=", "!"}:
                    raise UnknownPattern
                while self.take() != ">":
                    pass
            elif not self.accept(":"):
                raise UnknownPattern
        text = self.alternatives(depth + 1)
        if not self.accept(")"):
            raise UnknownPattern
        return text

    def escape(self) -> set[str]:
        sign = self.take()
        if sign in _CLASSES:
            return _CLASSES[sign]
        if sign in _CONTROLS:
            return {_CONTROLS[sign]}
        if sign in "xu":
            width = 2 if sign == "x" else 4
            digits = self.pattern[self.at : self.at + width]
            if len(digits) < width or not set(digits) <= set(string.hexdigits):
                raise UnknownPattern
            self.at += width
            character = chr(int(digits, 16))
            if "\ud800" <= character <= "\udfff":
                raise UnknownPattern  # half of a pair, which no JSON can hold
            return {character}
        if sign.isalnum():
            raise UnknownPattern
        return {sign}

    def members(self) -> set[str]:
        negated = self.accept("^")
        found: set[str] = set()
        first = True
        while first or self.peek() != "]":
            first = False
            low = self.member()
            if len(low) == 1 and self.peek() == "-" and self.pattern[self.at + 1 : self.at + 2] not in {"]", ""}:
                self.take()
                high = self.member()
                if len(high) != 1:
                    raise UnknownPattern
                start, end = ord(*low), ord(*high)
                found |= {sign for sign in _ALL if start <= ord(sign) <= end} | {chr(start)}
            else:
                found |= low
        self.take()
        return _ALL - found if negated else found

    def member(self) -> set[str]:
        sign = self.take()
        return self.escape() if sign == "\\" else {sign}

    def quantifier(self) -> tuple[int, int | None]:
        least, most = 1, 1
        bounds: tuple[int, int | None] = (least, most)
        if self.accept("*"):
            bounds = (0, None)
        elif self.accept("+"):
            bounds = (1, None)
        elif self.accept("?"):
            bounds = (0, 1)
        elif self.accept("{"):
            end = self.pattern.find("}", self.at)
            low, comma, high = self.pattern[self.at : max(end, self.at)].partition(",")
            if not low.isdecimal() or len(low) > 6 or (high and (not high.isdecimal() or len(high) > 6)):
                raise UnknownPattern
            self.at = end + 1
            bounds = (int(low), int(high) if high else None if comma else int(low))
        else:
            return bounds
        if not self.accept("?"):
            self.accept("+")
        return bounds


def _best(members: set[str]) -> str:
    for sign in _PREFERRED:
        if sign in members:
            return sign
    if not members:
        raise UnknownPattern
    return min(members)
