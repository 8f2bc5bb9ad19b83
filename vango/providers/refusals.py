"""How a provider's refusal becomes one of Vango's errors, the same for every dialect: status, retry hints, and whose key it was."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from vango.errors import (
    AuthenticationError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProviderError,
    ProviderTimeoutError,
    RateLimitError,
    VangoError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vango.providers.base import Target

LADDER: Mapping[int, type[VangoError]] = {
    404: NotFoundError,
    408: ProviderTimeoutError,
    429: RateLimitError,
    500: ProviderError,
    502: OverloadedError,
    503: OverloadedError,
    504: ProviderTimeoutError,
    529: OverloadedError,
}
KEY_REFUSED = frozenset({401, 402, 403})
WAIT_STATUSES = frozenset({429, 503, 529})
"""Anthropic sends `retry-after` on successful answers too, so it counts only here."""

MAX_MESSAGE = 2000
_KEY_LIKE = re.compile(r"(?:sk|key|gsk|xai|AIza)[-_]?[A-Za-z0-9*._-]{12,}")


def refusal(
    status: int,
    kind: str,
    message: str,
    target: Target,
    *,
    headers: Mapping[str, str],
    param: str | None = None,
    code: str | None = None,
) -> VangoError:
    """Map a status with the provider's own error type and sentence; `headers` may hold retry hints and a request id."""
    said = scrub(message, target)
    about = {
        "provider": target.provider,
        "provider_error": {"type": kind, "message": said},
        "provider_request_id": headers.get("request-id") or headers.get("x-request-id"),
    }
    if status in KEY_REFUSED:
        if target.key_of_caller:
            refused = AuthenticationError if status == 401 else PermissionDeniedError
            return refused(f"{target.provider}: {said}", code="provider_key_refused", **about)  # type: ignore[arg-type]
        return ProviderError(
            f"{target.provider} refused the key that is configured here.",
            code="provider_key_refused",
            retryable=False,
            **about,  # type: ignore[arg-type]
        )
    error_class = LADDER.get(status, InvalidRequestError if 400 <= status < 500 else ProviderError)
    retryable = {"true": True, "false": False}.get(headers.get("x-should-retry", ""))
    if 300 <= status < 400:
        retryable = False
    return error_class(
        f"{target.provider}: {said}",
        status=413 if status == 413 else None,
        param=param if error_class in (InvalidRequestError, NotFoundError) else None,
        code=code,
        retry_after=retry_after(headers) if status in WAIT_STATUSES else None,
        retryable=retryable,
        **about,  # type: ignore[arg-type]
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds a provider asks to wait, from `retry-after-ms` or `retry-after` (seconds, or a date).

    A date is measured from the answer's own Date header, so that nobody's clock matters.
    """
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        value = headers["retry-after"]
    except (KeyError, ValueError):
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - parsedate_to_datetime(headers["date"])).total_seconds()
        except (KeyError, ValueError, TypeError):
            return None
    return max(0.0, seconds) if seconds < float("inf") else None


def scrub(message: str, target: Target) -> str:
    """Take out of a provider's sentence whatever looks like a key, and the key that was used."""
    if target.key is not None and (secret := target.key.secret.get_secret_value()):
        message = message.replace(secret, "[key]")
    message = _KEY_LIKE.sub("[key]", message)
    return message if len(message) <= MAX_MESSAGE else message[:MAX_MESSAGE] + " …"
