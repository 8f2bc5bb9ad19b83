"""Who is calling: keys compared by digest, and the principal that everything is counted for."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from vango.errors import AuthenticationError, InvalidRequestError, PermissionDeniedError
from vango.types.call import Caller, Credential
from vango.types.messages import MAX_SHOWN

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterable, Mapping

    from pydantic import SecretStr

_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key that callers may show, known by its SHA-256 only."""

    digest: bytes
    name: str | None = None
    user_id: str | None = None
    models: tuple[str, ...] | None = None
    expires_at: dt.datetime | None = None
    disabled: bool = False


class Keys:
    """Decides who a caller is. `now` returns the current, aware time; keys expire by it."""

    def __init__(
        self,
        mode: str,
        keys: Iterable[ApiKey] = (),
        *,
        allow_byok: bool = True,
        now: Callable[[], dt.datetime],
    ) -> None:
        self.mode = mode
        self.allow_byok = allow_byok
        self._keys = tuple(keys)
        self._now = now

    def identify(self, shown: Credential | None, address: str) -> Caller:
        """Return the caller who showed a key (or none) from an address; raises AuthenticationError."""
        if self.mode == "none":
            return Caller(principal=address)
        if shown is None:
            raise AuthenticationError("A key is required: send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`.")
        if self.mode == "passthrough":
            secret = shown.secret.get_secret_value()
            if not _HEADER_SAFE.fullmatch(secret):
                raise AuthenticationError("The key has characters that no key has.")
            who = hashlib.sha256(secret.encode()).hexdigest()[:16]
            return Caller(principal=f"key-{who}", passthrough=shown)
        key = self._find(shown)
        return Caller(principal=key.user_id or key.name or address, key_name=key.name, models=key.models)

    def bring(self, caller: Caller, provider_keys: Mapping[str, SecretStr], *, where: str) -> Caller:
        """Return the caller with provider keys of their own; those they have already brought come first.

        `where` begins the path of a key at fault. Raises PermissionDeniedError where the server takes no such keys, and
        InvalidRequestError for one that no header can carry.
        """
        if not provider_keys:
            return caller
        if not self.allow_byok:
            raise PermissionDeniedError("This server does not take provider keys from callers.", code="byok_disabled")
        for name, secret in provider_keys.items():
            if not _HEADER_SAFE.fullmatch(secret.get_secret_value()):
                path = where + name if len(name) <= MAX_SHOWN else where.rstrip(".-")
                raise InvalidRequestError(f"{path}: expected a key, got characters that no key has.", param=path)
        brought = {name: Credential(secret) for name, secret in provider_keys.items()}
        return msgspec.structs.replace(caller, provider_keys={**brought, **caller.provider_keys})

    def _find(self, shown: Credential) -> ApiKey:
        # Digests have one length and every key is compared, so the time tells nothing about which came near.
        digest = hashlib.sha256(shown.secret.get_secret_value().encode(errors="surrogateescape")).digest()
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        if found is None or found.disabled:
            raise AuthenticationError("This key is not valid.")
        if found.expires_at is not None and found.expires_at <= self._now():
            raise AuthenticationError("This key has expired.", code="key_expired")
        return found
