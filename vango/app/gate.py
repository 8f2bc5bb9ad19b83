"""The gate: one way in for every route that can spend. Both kinds of endpoint pass the same functions."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from vango.errors import AuthenticationError
from vango.governance.keys import ApiKey, Keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr

    from vango.app.exchange import Exchange
    from vango.config import Settings
    from vango.types.call import Caller


class Gate:
    """Decides who may come in, from headers alone; it knows nothing of Quart."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    @classmethod
    def of(cls, settings: Settings) -> Gate:
        """Build the gate that a configuration asks for."""
        auth = settings.auth
        keys = [
            ApiKey(
                digest=item.digest(),
                name=item.name,
                user_id=item.user_id,
                models=item.models or None,
                expires_at=item.expires_at,
                disabled=item.disabled,
            )
            for item in auth.api_keys
        ]
        return cls(Keys(auth.mode, keys, allow_byok=auth.allow_byok, now=lambda: dt.datetime.now(dt.UTC)))

    def admit(self, exchange: Exchange) -> Caller:
        """Return who is calling, before anything of the body is read.

        Raises AuthenticationError, PermissionDeniedError, and InvalidRequestError for a provider key that cannot be one.
        """
        caller = self._identify(exchange)
        exchange.caller = self._keys.bring(caller, exchange.provider_keys(), where="X-Provider-Key-")
        return exchange.caller

    def _identify(self, exchange: Exchange) -> Caller:
        """Return the caller by the first of their keys that is known here."""
        shown = exchange.credentials()
        try:
            return self._keys.identify(shown[0] if shown else None, exchange.address)
        except AuthenticationError:
            if len(shown) < 2:
                raise
            return self._keys.identify(shown[1], exchange.address)

    def bring(self, exchange: Exchange, caller: Caller, provider_keys: Mapping[str, SecretStr]) -> Caller:
        """Add the provider keys of the body; those of the headers come first. Raises as `admit` does."""
        exchange.caller = self._keys.bring(caller, provider_keys, where="provider_keys.")
        return exchange.caller
