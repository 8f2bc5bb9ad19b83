"""Who calls, and what became of the call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr

    from vango.types.usage import Usage


class Credential(msgspec.Struct, frozen=True):
    """A provider key. `bearer` says that it came as `Authorization: Bearer`, and should go on so."""

    secret: SecretStr
    bearer: bool = False


class Caller(msgspec.Struct, frozen=True):
    """Whoever sent a request, as the gate saw them.

    `principal` is who limits, usage and logs count for.
    `models` are the patterns the key is limited to (`anthropic/*`); None allows all.
    `provider_keys` are the caller's own keys by provider name, `passthrough` the key that goes to whichever provider is asked.
    """

    principal: str
    key_name: str | None = None
    models: tuple[str, ...] | None = None
    provider_keys: Mapping[str, Credential] = msgspec.field(default_factory=dict)
    passthrough: Credential | None = None


class Outcome(msgspec.Struct):
    """What became of one call, filled in as it runs; read once, when it ends, for the log line, metrics and usage.

    Times are seconds on the caller's clock. `upstream_seconds` is time spent waiting for providers (and for retries), so that
    the rest is Vango's own.
    """

    provider: str | None = None
    model: str | None = None
    stream: bool = False
    attempts: int = 0
    retries: list[str] = msgspec.field(default_factory=list)
    upstream_errors: list[tuple[str, str]] = msgspec.field(default_factory=list)
    provider_request_id: str | None = None
    losses: tuple[str, ...] = ()
    first_token_at: float | None = None
    upstream_seconds: float = 0.0
    usage: Usage | None = None
    cost: int | None = None
    stop_reason: str | None = None
    cancelled_by: str | None = None
