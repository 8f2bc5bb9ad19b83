"""The sandbox's models as the catalogue lists them: free, and able to do what their scripts can."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vango.local.models import MODELS
from vango.types.models import Capabilities, Model, Price, RateCard, Rates

if TYPE_CHECKING:
    from collections.abc import Iterator

CREATED_AT = "2026-11-24T00:00:00Z"
CONTEXT_WINDOW = 200_000
MAX_OUTPUT_TOKENS = 64_000

FREE = Price(standard=RateCard(rates=Rates(input=0, output=0, cache_read=0, cache_write=0, cache_write_1h=0)))

CAPABILITIES = Capabilities(
    text=True,
    vision=True,
    audio_input=False,
    audio_output=False,
    video=False,
    documents=True,
    tools=True,
    tool_streaming=True,
    thinking=True,
    structured_output=True,
)


def listing() -> Iterator[Model]:
    """Yield the catalogue entries of the sandbox."""
    for name in MODELS:
        yield Model(
            provider="sandbox",
            id=name,
            display_name=f"Sandbox {name}",
            created_at=CREATED_AT,
            context_window=CONTEXT_WINDOW,
            max_output_tokens=MAX_OUTPUT_TOKENS,
            capabilities=CAPABILITIES,
            sampling=True,
            price=FREE,
        )
