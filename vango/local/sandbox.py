"""The upstream behind `sandbox://` origins: which dialect an origin speaks.

A model's words, a dialect's bytes and the time they take are three things: `vango.local.models` knows the first, the dialects the
second, and a transport that plays scripts the third.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vango.local.anthropic import dialect as anthropic
from vango.local.models import MODELS
from vango.types.script import Script

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vango.wire.call import HttpCall

__all__ = ["DIALECTS", "MODELS", "answer"]

DIALECTS: Mapping[str, Callable[[HttpCall], Script]] = {"anthropic": anthropic.answer}
"""By the host of the origin: `sandbox://anthropic`."""


def answer(call: HttpCall) -> Script:
    """Answer a call in the dialect of its origin; an origin without one refuses the connection."""
    dialect = DIALECTS.get(call.origin.host)
    return dialect(call) if dialect else Script.refuse()
