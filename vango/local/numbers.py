"""Numbers that satisfy a JSON schema: exact arithmetic on its bounds and steps."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor, isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Range(NamedTuple):
    """The numbers that a schema allows: multiples of `step` (or any, where it is None) from `low` to `high`."""

    low: Fraction | None
    high: Fraction | None
    low_is_open: bool
    high_is_open: bool
    step: Fraction | None

    @classmethod
    def of(cls, schema: Mapping[str, Any], *, whole: bool) -> Range:
        """Read the bounds; `exclusiveMinimum` may be a number or, as in older drafts, say that `minimum` is open."""
        low, low_is_open = _bound(schema, "minimum", "exclusiveMinimum", 1)
        high, high_is_open = _bound(schema, "maximum", "exclusiveMaximum", -1)
        step = _exact(schema.get("multipleOf"))
        step = None if step is None or step <= 0 else step
        if whole:
            # The whole multiples of p/q in lowest terms are the multiples of p.
            step = Fraction(step.numerator if step else 1)
        return cls(low, high, low_is_open, high_is_open, step)

    def __contains__(self, value: object) -> bool:
        exact = _exact(value)
        return exact is not None and not (
            (self.low is not None and (exact < self.low or (self.low_is_open and exact == self.low)))
            or (self.high is not None and (exact > self.high or (self.high_is_open and exact == self.high)))
            or (self.step is not None and exact % self.step != 0)
        )

    def pick(self, wanted: Iterable[float], variant: int = 0) -> float | None:
        """Return the first wanted number that is allowed, else the number nearest to 1 that is simple to write.

        Each `variant` above 0 is another allowed number. None where there is none.
        """
        if not variant:
            for value in wanted:
                if value in self:
                    return value
        exact = self._stepped(variant) if self.step else self._continuous(variant)
        if exact is None:
            return None
        try:
            value = exact.numerator if exact.denominator == 1 else float(exact)
        except OverflowError:
            return None
        return value if value in self else None

    def _stepped(self, variant: int) -> Fraction | None:
        step = self.step or Fraction(1)
        least = None if self.low is None else ceil(self.low / step)
        most = None if self.high is None else floor(self.high / step)
        if least is not None and self.low_is_open and least * step == self.low:
            least += 1
        if most is not None and self.high_is_open and most * step == self.high:
            most -= 1
        if least is not None and most is not None:
            places = most - least + 1
            return None if variant >= places else step * (least + (_clamp(1, least, most) - least + variant) % places)
        times = _clamp(1, least, most)
        return step * (times + variant if most is None else times - variant)

    def _continuous(self, variant: int) -> Fraction:
        if self.low is not None and self.high is not None:
            if self.low == self.high:
                return self.low
            return self.low + (self.high - self.low) * Fraction(1, 2 + variant)
        if self.high is not None:
            return min(Fraction(1), self.high - 1) - variant
        return max(Fraction(1), Fraction(1) if self.low is None else self.low + 1) + variant


def _bound(schema: Mapping[str, Any], name: str, exclusive: str, sign: int) -> tuple[Fraction | None, bool]:
    closed, opened = _exact(schema.get(name)), _exact(schema.get(exclusive))
    if schema.get(exclusive) is True:
        return closed, closed is not None
    if opened is not None and (closed is None or sign * opened >= sign * closed):
        return opened, True
    return closed, False


def _clamp(value: int, least: int | None, most: int | None) -> int:
    if least is not None and value < least:
        return least
    return most if most is not None and value > most else value


def _exact(value: object) -> Fraction | None:
    """Read a number as it is written: 0.1 is a tenth."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    return Fraction(value) if isinstance(value, int) else Fraction(str(value))
