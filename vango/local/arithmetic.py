"""Arithmetic in words and signs: finds the sum in a sentence and works it out exactly, within bounds."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Enough for any sum a person types; a power of powers would otherwise fill the memory.
MAX_BITS = 2048
MAX_CHARACTERS = 200
MAX_NESTING = 20

_TO_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
    "nineteen twenty"
)
_SIGNS = {
    **{word: str(value) for value, word in enumerate(_TO_TWENTY.split())},
    "plus": "+",
    "minus": "-",
    "less": "-",
    "times": "*",
    "multiplied by": "*",
    "divided by": "/",
    "over": "/",
    "to the power of": "**",
    "squared": "** 2",
    "cubed": "** 3",
    "percent of": "/ 100 *",
}
_TYPED = str.maketrans({"\u2212": "-", "\u2013": "-", "\u00d7": "*", "·": "*", "÷": "/", "^": "**"})
_SPOKEN = re.compile(rf"\b(?:{'|'.join(_SIGNS)})\b", re.IGNORECASE)
_BETWEEN_NUMBERS = re.compile(r"(?<=[\d)])(?:\s*([x:])\s*(?=[\d(])|,(?=\d{3}\b)|\s*(%)\s*of\b)", re.IGNORECASE)
_MEANT = {"x": "*", ":": "/", "%": "/ 100 *"}
_EXPRESSION = re.compile(r"[-(\d.][-+*/%()\d.\s]*[)\d]")
_OPERATION = re.compile(r"[\d)]\s*(?:\*\*|[-+*/%])")
_NOT_A_SUM = re.compile(r"\d{4}-\d\d-\d\d|\d+/\d+/\d+|\d+-\d+-\d+|\d+\.\d+\.\d+")
_TOKEN = re.compile(r"\s*(\d+\.?\d*|\.\d+|\*\*|[-+*/%()])")


def find_sum(text: str) -> str | None:
    """Return the arithmetic expression in a text, in signs, or None; dates, versions and phone numbers are not sums."""
    if len(text) > MAX_CHARACTERS or _NOT_A_SUM.search(text):
        return None
    text = _SPOKEN.sub(lambda match: _SIGNS[match[0].lower()], text.translate(_TYPED))
    # A comma before three digits parts thousands.
    text = _BETWEEN_NUMBERS.sub(lambda match: _MEANT.get((match[1] or match[2] or "").lower(), ""), text)
    for match in _EXPRESSION.finditer(text):
        if _OPERATION.search(match[0]):
            return " ".join(_TOKEN.findall(match[0]))
    return None


def work_out(expression: str) -> Fraction:
    """Return the exact value.

    Raises ValueError for what is not an expression, ZeroDivisionError, and OverflowError beyond the bounds.
    """
    signs = _TOKEN.findall(expression)
    if "".join(signs) != re.sub(r"\s", "", expression):
        raise ValueError(f"not an expression: {expression!r}")
    parser = _Parser(signs)
    value = parser.sum(0)
    if parser.signs:
        raise ValueError(f"unexpected {parser.signs[-1]!r}")
    return value


def written(value: Fraction) -> str:
    """Write a value as a person would: whole, as a short decimal, or rounded to six places and marked as such."""
    if value.denominator == 1:
        return str(value.numerator)
    places = 10**6
    scaled = round(value * places)
    whole, rest = divmod(abs(scaled), places)
    decimal = f"{'-' if scaled < 0 else ''}{whole}" + (f".{rest:06d}".rstrip("0") if rest else "")
    return decimal if Fraction(scaled, places) == value else f"about {decimal}"


class _Parser:
    """Recursive descent over signs, kept last first."""

    def __init__(self, signs: list[str]) -> None:
        self.signs = signs[::-1]

    def sum(self, depth: int) -> Fraction:
        value = self.product(depth)
        while self.signs and self.signs[-1] in "+-":
            sign = self.signs.pop()
            right = self.product(depth)
            value = _bounded(value + right if sign == "+" else value - right)
        return value

    def product(self, depth: int) -> Fraction:
        value = self.power(depth)
        while self.signs and self.signs[-1] in {"*", "/", "%"}:
            sign = self.signs.pop()
            right = self.power(depth)
            value = _bounded(value * right if sign == "*" else value / right if sign == "/" else value % right)
        return value

    def power(self, depth: int) -> Fraction:
        if self.signs and self.signs[-1] in "+-":
            # As written in mathematics: -2 ** 2 is -4.
            return -self._deeper(depth, self.power) if self.signs.pop() == "-" else self._deeper(depth, self.power)
        base = self.atom(depth)
        if self.signs and self.signs[-1] == "**":
            self.signs.pop()
            exponent = self._deeper(depth, self.power)
            if exponent.denominator != 1:
                raise ValueError("roots are not exact")
            if abs(exponent) * max(base.numerator.bit_length(), base.denominator.bit_length()) > MAX_BITS:
                raise OverflowError
            return Fraction(base ** int(exponent))
        return base

    def atom(self, depth: int) -> Fraction:
        if not self.signs:
            raise ValueError("the expression ends early")
        sign = self.signs.pop()
        if sign == "(":
            value = self._deeper(depth, self.sum)
            if not self.signs or self.signs.pop() != ")":
                raise ValueError("a bracket is not closed")
            return value
        if not sign[0].isdigit() and sign[0] != ".":
            raise ValueError(f"unexpected {sign!r}")
        return _bounded(Fraction(sign))

    def _deeper(self, depth: int, parse: Callable[[int], Fraction]) -> Fraction:
        if depth == MAX_NESTING:
            raise OverflowError
        return parse(depth + 1)


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise OverflowError
    return value
