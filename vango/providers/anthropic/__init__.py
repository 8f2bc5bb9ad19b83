"""Anthropic Messages, the canonical dialect: what goes to it and comes from it stays byte for byte wherever it can.

Wire facts: https://docs.claude.com/en/api/messages and the official SDK's types.
"""

from __future__ import annotations

from vango.providers.anthropic.codec import AnthropicCodec

__all__ = ["AnthropicCodec"]
