"""How a provider's refusal becomes one of Vango's errors, the same for every dialect: status, retry hints, and whose key it was."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import TYPE_CHECKING, Any

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
from vango.wire import json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vango.providers.base import Target

LADDER: Mapping[int, type[VangoError]] = {
    404: NotFoundError,
    408: ProviderTimeoutError,
    429: RateLimitError,
    500: ProviderError,
    502: ProviderError,
    503: OverloadedError,
    504: ProviderTimeoutError,
    529: OverloadedError,
}
KEY_REFUSED = frozenset({401, 402, 403})
WAIT_STATUSES = frozenset({429, 503, 529})
"""Anthropic sends `retry-after` on successful answers too, so it counts only here."""

MAX_MESSAGE = 2000
MAX_KIND = 100
MAX_PARAM = 300
MAX_RETRY_AFTER = 366 * 86_400.0
"""Seconds; a provider that asks for more has not understood its own header."""

TELLING = 8
"""So many characters of a key in a row are a part of it that nobody may see."""

# The digit or asterisk keeps paths like `key_a.key_b` readable.
_KEY_LIKE = re.compile(r"(?<![A-Za-z0-9])(?:(?:sk|key|gsk|xai)[-_]|AIza)(?=[A-Za-z._-]*[0-9*])[A-Za-z0-9*._-]{12,}")


def refusal(
    status: int,
    kind: str,
    message: str,
    target: Target,
    *,
    headers: Mapping[str, str],
    param: str | None = None,
    code: str | None = None,
    details: dict[str, Any] | None = None,
) -> VangoError:
    """Map a status with the provider's own error type and sentence; `headers` may hold retry hints and a request id."""
    said = scrub(message, target)
    about = {
        "provider": target.provider,
        "provider_error": {"type": scrub(kind, target, MAX_KIND), "message": said},
        "provider_request_id": request_id(headers, target),
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
        param=param if error_class in (InvalidRequestError, NotFoundError) and _is_a_path(param, target) else None,
        code=code,
        retry_after=retry_after(headers) if status in WAIT_STATUSES else None,
        details=details if details is not None and _is_harmless(details, target) else None,
        retryable=retryable,
        **about,  # type: ignore[arg-type]
    )


def _is_a_path(param: str | None, target: Target) -> bool:
    return param is not None and len(param) <= MAX_PARAM and scrub(param, target) == param


def _is_harmless(details: dict[str, Any], target: Target) -> bool:
    """Whether a provider's details are short and do not repeat a key."""
    text = json.encode(details).decode()
    return len(text) <= MAX_MESSAGE and scrub(text, target) == text


def request_id(headers: Mapping[str, str], target: Target) -> str | None:
    """Return the id that a provider gave its answer; it goes into logs and answers, so no secret may come back in it."""
    given = headers.get("request-id") or headers.get("x-request-id")
    return scrub(given, target, MAX_KIND) if given else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds a provider asks to wait, from `retry-after-ms` or `retry-after` (seconds, or a date).

    A date is measured from the answer's own Date header, so that nobody's clock matters.
    """
    seconds = _number(headers.get("retry-after-ms"))
    if seconds is not None:
        seconds /= 1000
    else:
        value = headers.get("retry-after")
        seconds = _number(value)
        if seconds is None and value is not None:
            seconds = _seconds_until(value, headers.get("date"))
    return max(0.0, seconds) if seconds is not None and seconds <= MAX_RETRY_AFTER else None


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if isfinite(number) else None


def _seconds_until(date: str, now: str | None) -> float | None:
    try:
        return (parsedate_to_datetime(date) - parsedate_to_datetime(now or "")).total_seconds()
    except (ValueError, TypeError, OverflowError):  # the last two: dates without a zone, and years beyond counting
        return None


def scrub(text: str, target: Target, longest: int = MAX_MESSAGE) -> str:
    """Take out of what a provider said any part of the secrets it was sent, and whatever looks like a key."""
    shown = _KEY_LIKE.sub("[key]", text[:longest])
    secrets = [target.key.secret] if target.key is not None else []
    for secret in (*secrets, *(target.headers or {}).values()):
        shown = _without(shown, secret.get_secret_value())
    return shown if len(text) <= longest else shown + " …"


def _without(text: str, secret: str) -> str:
    size = min(TELLING, len(secret))
    hidden: set[int] = set()
    for piece in {secret[start : start + size] for start in range(len(secret) - size + 1)} if secret else ():
        found = text.find(piece)
        while found >= 0:
            hidden.update(range(found, found + size))
            found = text.find(piece, found + 1)
    if not hidden:
        return text
    return "".join(
        char if index not in hidden else "" if index - 1 in hidden else "[key]" for index, char in enumerate(text)
    )
