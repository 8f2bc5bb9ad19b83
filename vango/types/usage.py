"""What one call used, in buckets that never overlap, so that a price is a plain sum over them."""

from __future__ import annotations

from msgspec import Struct


class Usage(Struct, frozen=True, omit_defaults=True):
    """Tokens and paid requests of one call to a provider.

    The token buckets are disjoint whatever the provider's dialect counts: a token stands in exactly one of them.
    `input_tokens` are uncached input tokens of text and pictures; cached and audio ones have their own buckets.
    `output_tokens` are text, tool calls included, without the reasoning that the provider reports beside it;
    where it reports one inclusive number (as `output_tokens` of the Messages API is), reasoning stays in here
    and `reasoning_tokens` is 0. `cache_write_other_tokens` are cache writes without a known lifetime.

    The request counts are of tools that the provider ran. Code execution is billed by container time, which no reply
    reports, so its count is a record only and takes no part in a price.
    `service_tier`, `speed` and `inference_geo` are what the provider says it used ("" when it says nothing).
    `estimated` marks numbers that Vango counted itself because the provider sent none.
    """

    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    cache_write_other_tokens: int = 0
    audio_input_tokens: int = 0
    audio_cache_read_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    audio_output_tokens: int = 0
    image_output_tokens: int = 0
    web_search_requests: int = 0
    web_fetch_requests: int = 0
    file_search_requests: int = 0
    code_execution_requests: int = 0
    service_tier: str = ""
    speed: str = ""
    inference_geo: str = ""
    estimated: bool = False

    @property
    def total_cache_read(self) -> int:
        """Input tokens that came from the cache, audio included."""
        return self.cache_read_tokens + self.audio_cache_read_tokens

    @property
    def cache_write_tokens(self) -> int:
        """Input tokens written to the cache, whatever their lifetime."""
        return self.cache_write_5m_tokens + self.cache_write_1h_tokens + self.cache_write_other_tokens

    @property
    def total_input(self) -> int:
        """The size of the whole prompt, cached parts included; long-context prices go by it."""
        return self.input_tokens + self.audio_input_tokens + self.total_cache_read + self.cache_write_tokens

    @property
    def total_output(self) -> int:
        """Every token the model produced, reasoning included: what the Messages API calls `output_tokens`."""
        return self.output_tokens + self.reasoning_tokens + self.audio_output_tokens + self.image_output_tokens

    @property
    def total_tokens(self) -> int:
        """Everything billed in and out."""
        return self.total_input + self.total_output
