"""From the name a caller writes to a provider and its own model id."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import msgspec

from vango.engine.health import Health
from vango.errors import AuthenticationError, NotFoundError, PermissionDeniedError
from vango.governance.pricing import cost
from vango.providers.base import Target

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping

    from pydantic import SecretStr

    from vango.engine.calls import Deadlines
    from vango.providers.base import Codec
    from vango.providers.catalog import Catalog
    from vango.types.call import Caller, Credential
    from vango.types.models import Model
    from vango.types.usage import Usage
    from vango.wire.call import BaseUrl


@dataclass(frozen=True, slots=True)
class Provider:
    """One configured provider: its row with the operator's settings, and what was learnt of it."""

    name: str
    title: str
    codec: Codec
    base: BaseUrl
    deadlines: Deadlines
    needs_key: bool = True
    key: Credential | None = None
    aliases: tuple[str, ...] = ()
    headers: Mapping[str, SecretStr] = field(default_factory=dict)
    health: Health = field(default_factory=Health, compare=False)

    @property
    def configured(self) -> bool:
        """Whether the operator gave what it takes to call it."""
        return self.key is not None or not self.needs_key


class Route(msgspec.Struct, frozen=True):
    """A provider and the id by which it knows the model; `entry` is what the catalogue knows."""

    provider: Provider
    model: str
    entry: Model | None

    @property
    def full_id(self) -> str:
        """`provider/model`."""
        return f"{self.provider.name}/{self.model}"


class Routes:
    """Resolves model names. Aliases come first; a bare name belongs to the provider that the catalogue says.

    `now` returns the current, aware time: prices change on dates.
    """

    def __init__(
        self,
        providers: Mapping[str, Provider],
        catalog: Catalog,
        *,
        aliases: Mapping[str, str] | None = None,
        default_max_tokens: int = 4096,
        default_temperature: float | None = None,
        now: Callable[[], dt.datetime],
    ) -> None:
        self.providers = providers
        self.catalog = catalog
        self._aliases = aliases or {}
        self._default_max_tokens = default_max_tokens
        self._default_temperature = default_temperature
        self.now = now

    def resolve(self, name: str, *, param: str = "model") -> Route:
        """Return the route of a name; raises NotFoundError with `param` set."""
        seen = set()
        full = name
        while full in self._aliases and full not in seen:
            seen.add(full)
            full = self._aliases[full]
        owner, slash, model = full.partition("/")
        if not slash:
            owner, model = self.catalog.owner(full) or "", full
        provider = self.providers.get(owner)
        if provider is None or not model:
            raise NotFoundError(self._unknown(name, owner, param, is_bare=not slash), param=param, code="unknown_model")
        return Route(provider, model, self.catalog.find(owner, model))

    def target(self, route: Route, caller: Caller, *, param: str = "model") -> Target:
        """Return where a call to `route` goes, with the first key found: the caller's own, the passed-through, the operator's.

        Raises PermissionDeniedError with `param` set where the caller's key is not for this model, AuthenticationError where
        there is no key.
        """
        if caller.models is not None and not any(fnmatchcase(route.full_id, pattern) for pattern in caller.models):
            raise PermissionDeniedError(f"This key may not use {route.full_id}.", param=param, code="model_not_allowed")
        provider = route.provider
        own = self._own_key(provider, caller)
        key = own or provider.key
        if key is None and provider.needs_key:
            raise AuthenticationError(
                f"No key is known for {provider.name}: configure one, or send X-Provider-Key-{provider.title}.",
                code="provider_key_missing",
                provider=provider.name,
            )
        return Target(
            provider=provider.name,
            model=self.catalog.wire_id(provider.name, route.model),
            base=provider.base,
            price=_Rate(route.entry, self.now()),
            key=key,
            key_of_caller=own is not None,
            entry=route.entry,
            default_max_tokens=self._default_max_tokens,
            default_temperature=self._default_temperature,
            headers=provider.headers,
        )

    def _own_key(self, provider: Provider, caller: Caller) -> Credential | None:
        for name in (provider.name, *provider.aliases):
            if name in caller.provider_keys:
                return caller.provider_keys[name]
        # A key that was meant for no provider in particular is nothing to one that needs none.
        return caller.passthrough if provider.needs_key else None

    def _unknown(self, name: str, owner: str, param: str, *, is_bare: bool) -> str:
        if not owner or owner in self.providers:
            return f"{param}: {name!r} is not a known model; write it as provider/model."
        if is_bare or self.catalog.models(owner):
            return f"{param}: {name!r} is a model of {owner}, which this server cannot call."
        near = difflib.get_close_matches(owner, self.providers, n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        return f"{param}: no provider is called {owner!r}{hint}"


class _Rate:
    """The price of one model at one moment, as a function of usage."""

    __slots__ = ("_price",)

    def __init__(self, entry: Model | None, moment: dt.datetime) -> None:
        self._price = entry.price_at(moment) if entry is not None else None

    def __call__(self, usage: Usage) -> int | None:
        return cost(self._price, usage)
