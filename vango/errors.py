"""The error ladder: every failure Vango reports is one of these classes, and the class knows its status and wire type.

The shape on the wire is the Messages API's envelope (`{"type": "error", "error": {...}}`) with Vango's own fields beside it.
"""

from __future__ import annotations

from typing import Any, ClassVar


class VangoError(Exception):
    """A failure with a place in the contract.

    `message` is a sentence for the caller, without secrets.
    `param` is the path of the field at fault (`messages[0].content[2].source`), `code` a stable word for programs.
    `retry_after` is in seconds.
    `provider` names the provider that failed and `provider_error` is what it said (`{"type", "message"}`).
    `details` is the object of that name in Anthropic's envelope: what its SDKs act on (`{"error_code": …}`).
    `status` is the HTTP status and `retryable` says whether another attempt may succeed; both default to the class's own.
    """

    type: ClassVar[str] = "api_error"
    default_status: ClassVar[int] = 500
    default_retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        provider: str | None = None,
        provider_error: dict[str, Any] | None = None,
        details: dict[str, Any] | None = None,
        provider_request_id: str | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status or self.default_status
        self.param = param
        self.code = code
        self.retry_after = retry_after
        self.provider = provider
        self.provider_error = provider_error
        self.details = details
        self.provider_request_id = provider_request_id
        self.retryable = self.default_retryable if retryable is None else retryable

    def envelope(self, request_id: str | None = None) -> dict[str, Any]:
        """Return the body of the error response; fields that mean nothing here are null."""
        error: dict[str, Any] = {
            "type": self.type,
            "message": self.message,
            "param": self.param,
            "code": self.code,
            "request_id": request_id,
            "retry_after": self.retry_after,
        }
        if self.provider is not None:
            error["provider"] = self.provider
        if self.provider_error is not None:
            error["provider_error"] = self.provider_error
        if self.details is not None:
            error["details"] = self.details
        return {"type": "error", "error": error, "request_id": request_id}


class InvalidRequestError(VangoError):
    """The request is at fault (400; 405, 408, 413, 415, 431 where those say it better)."""

    type = "invalid_request_error"
    default_status = 400


class AuthenticationError(VangoError):
    """The caller's key is missing or wrong, or no key is known for the provider."""

    type = "authentication_error"
    default_status = 401


class PermissionDeniedError(VangoError):
    """The caller is known and may not do this."""

    type = "permission_error"
    default_status = 403


class NotFoundError(VangoError):
    """No such path, model or provider."""

    type = "not_found_error"
    default_status = 404


class RateLimitError(VangoError):
    """Too much for now: Vango's own limit, or the provider's."""

    type = "rate_limit_error"
    default_status = 429
    default_retryable = True


class ApiError(VangoError):
    """A bug in Vango. The message never shows a traceback."""


class ProviderError(VangoError):
    """The provider failed, answered nonsense, or refused the operator's key."""

    type = "provider_error"
    default_status = 502
    default_retryable = True


class TransportError(ProviderError):
    """The connection to a provider could not be made, or broke.

    `stale` marks a pooled connection that the provider had closed before it saw the request: asking again is free.
    """

    def __init__(self, message: str, *, stale: bool = False) -> None:
        super().__init__(message)
        self.stale = stale


class OverloadedError(VangoError):
    """The provider is overloaded, or this server is draining or full."""

    type = "overloaded_error"
    default_status = 503
    default_retryable = True


class ProviderTimeoutError(VangoError):
    """The provider did not answer in time."""

    type = "timeout_error"
    default_status = 504
    default_retryable = True


class ConfigError(VangoError):
    """A configuration with faults; nothing of it was taken. `faults` lists every one as a sentence."""

    type = "invalid_request_error"
    default_status = 400

    def __init__(self, faults: list[str]) -> None:
        super().__init__("The configuration has faults:\n" + "\n".join(f"  {fault}" for fault in faults))
        self.faults = faults
