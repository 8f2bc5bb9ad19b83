"""The gateway as one object: what the server serves and the client library calls."""

from __future__ import annotations

import datetime as dt
import random
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import trio
from pydantic import SecretStr

from vango.config import Settings
from vango.engine import Deadlines, Engine, Provider, RetryPolicy, Routes
from vango.errors import InvalidRequestError, NotFoundError
from vango.local import sandbox as local_sandbox
from vango.local.listing import listing
from vango.providers.catalog import Catalog, describe, listed
from vango.providers.registry import CODECS, Row, rows
from vango.transport.http import HttpTransport
from vango.transport.sandbox import SandboxTransport
from vango.transport.sockets import trusted_context
from vango.types.call import Credential
from vango.types.messages import MAX_SHOWN
from vango.wire import json
from vango.wire.call import BaseUrl

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from vango.engine import Stream
    from vango.providers.base import Decoded
    from vango.transport.base import Transport
    from vango.types.call import Caller, Outcome
    from vango.types.messages import MessageRequest
    from vango.types.models import Model
    from vango.wire.call import Origin


MAX_PAGE = 1000
"""As Anthropic's list of models has it."""


class Page(NamedTuple):
    """A part of a list: at most `limit` entries after one id, or the last ones before another."""

    limit: int | None = None
    after_id: str | None = None
    before_id: str | None = None

    def cut(self, entries: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], bool]:
        """Return the page, and whether there is more in its direction."""
        limit = len(entries) if self.limit is None else self.limit
        if self.before_id is not None:
            before = entries[: self._place(entries, "before_id", self.before_id)]
            return before[max(0, len(before) - limit) :], len(before) > limit
        after = entries[self._place(entries, "after_id", self.after_id) + 1 :] if self.after_id is not None else entries
        return after[:limit], len(after) > limit

    def _place(self, entries: list[dict[str, Any]], param: str, wanted: str) -> int:
        for index, entry in enumerate(entries):
            if entry["id"] == wanted:
                return index
        raise InvalidRequestError(f"{param}: {wanted[:MAX_SHOWN]!r} is not in this list.", param=param)


class LocalGateway:
    """The gateway in this process, an async context manager that owns every upstream connection.

    `sandbox` scripts the sandbox provider; `transports` replace the ones made here, by scheme; `randomness` returns numbers from
    0 to 1 for the jitter of retries, `now` the aware time by which prices hold.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        sandbox: SandboxTransport | None = None,
        transports: Mapping[str, Transport] | None = None,
        randomness: Callable[[], float] = random.random,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self.settings = settings or Settings()
        self._now = now
        self.providers = _providers(self.settings)
        self.catalog = _catalog(self.settings)
        self.sandbox = sandbox or SandboxTransport(local_sandbox.answer)
        self._http = HttpTransport(_bounds(self.providers, self.settings))
        http: dict[str, Transport] = {"http": self._http, "https": self._http, "sandbox": self.sandbox}
        self.engine = Engine(
            Routes(
                self.providers,
                self.catalog,
                aliases=self.settings.aliases,
                default_max_tokens=self.settings.defaults.max_tokens,
                default_temperature=self.settings.defaults.temperature,
                now=now,
            ),
            {**http, **(transports or {})},
            retries=RetryPolicy(self.settings.retries.max_attempts, self.settings.retries.max_wait_seconds),
            random=randomness,
            fallbacks=self.settings.fallbacks,
            strict=self.settings.defaults.strict,
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        if any(item.configured and item.base.origin.scheme == "https" for item in self.providers.values()):
            self._http.trust(await trio.to_thread.run_sync(trusted_context))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, exc, tb)  # noqa: ASYNC102 - closes without waiting

    async def create(self, request: MessageRequest, caller: Caller, outcome: Outcome) -> Decoded:
        """Run one turn and return the whole answer; raises VangoError."""
        _refuse_voice(request)
        return await self.engine.create(request, caller, outcome)

    def stream(self, request: MessageRequest, caller: Caller, outcome: Outcome) -> AbstractAsyncContextManager[Stream]:
        """Run one turn as a stream; leaving the block ends the upstream call at once. Raises VangoError."""
        _refuse_voice(request)
        return self.engine.stream(request, caller, outcome)

    async def count_tokens(self, request: MessageRequest, caller: Caller, outcome: Outcome) -> int:
        """Return the input tokens of a request as its provider counts them; raises VangoError."""
        return await self.engine.count_tokens(request, caller, outcome)

    def models(
        self,
        *,
        provider: str | None = None,
        capability: str | None = None,
        configured: bool = False,
        lifecycle: Collection[str] = (),
        page: Page | None = None,
    ) -> dict[str, Any]:
        """Return the catalogue as `GET /v1/models` shows it, filtered; `page` cuts `data` as Anthropic's list is cut.

        Raises InvalidRequestError for a page that begins at a model which is not listed.
        """
        shown = [
            item
            for item in self.providers.values()
            if (provider is None or item.name == provider) and (not configured or item.configured)
        ]
        now = self._now()
        data: list[dict[str, Any]] = []
        providers: list[dict[str, Any]] = []
        for item in shown:
            models = [model for model in self.catalog.models(item.name) if _can(model, capability)]
            entries = [listed(model, f"{item.name}/{model.id}", now.date()) for model in models]
            data.extend(entry for entry in entries if not lifecycle or entry["lifecycle"] in lifecycle)
            providers.append(
                {
                    "id": item.name,
                    "name": item.title,
                    "configured": item.configured,
                    "models": [describe(model, now) for model in models],
                }
            )
        data, has_more = page.cut(data) if page is not None else (data, False)
        return {
            "data": data,
            "has_more": has_more,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
            "providers": providers,
            "voice": {"stt": [], "tts": []},
        }

    def model(self, name: str) -> dict[str, Any]:
        """Return one model as `GET /v1/models/{id}` shows it; raises NotFoundError."""
        route = self.engine.routes.resolve(name, param="id")
        if route.entry is None:
            raise NotFoundError(f"{route.full_id} is not in the catalogue.", param="id", code="unknown_model")
        now = self._now()
        about = {name: value for name, value in describe(route.entry, now).items() if name not in ("id", "name")}
        return {**listed(route.entry, route.full_id, now.date()), **about}

    def notes(self) -> list[str]:
        """Return a sentence for everything in the configuration that cannot work as it stands."""
        found: list[str] = []
        for model, names in self.settings.fallbacks.items():
            for name in names:
                try:
                    provider = self.engine.routes.resolve(name).provider
                except NotFoundError:
                    found.append(f'fallbacks."{model}" names {name}, which is not known; it is skipped.')
                else:
                    if not provider.configured:
                        found.append(
                            f'fallbacks."{model}" names {name}, whose provider has no key; it is skipped without one.'
                        )
        return found

    def health(self) -> dict[str, dict[str, Any]]:
        """Return what traffic has told about each configured provider."""
        return {
            item.name: {
                "status": item.health.status,
                "latency_ms": None if item.health.latency is None else round(item.health.latency * 1000, 1),
                **({"error": item.health.error} if item.health.error else {}),
            }
            for item in self.providers.values()
            if item.configured
        }


def _refuse_voice(request: MessageRequest) -> None:
    if "voice" in request.fields and json.kind(request.fields["voice"]) != "null":
        raise InvalidRequestError("voice: this version has no speech in messages.", param="voice", code="unsupported")


def _can(model: Model, capability: str | None) -> bool:
    return (
        capability is None or getattr(model.capabilities, capability, None) is True or capability in model.native_tools
    )


def _catalog(settings: Settings) -> Catalog:
    catalog = Catalog.load().with_models(listing())
    overrides = {
        name: item.model_dump(exclude_none=True, exclude_defaults=True) for name, item in settings.models.items()
    }
    return catalog.with_overrides(overrides) if overrides else catalog


def _providers(settings: Settings) -> dict[str, Provider]:
    """Join the registry's rows with the configuration; a section with a `kind` makes a row of its own."""
    known = rows()
    for name, section in settings.providers.items():
        if section.kind is not None and section.base_url is not None:
            needs_key = settings.auth.mode == "passthrough"  # else the caller's key would not be passed through
            known.setdefault(name, Row(name, name, CODECS[section.kind], section.base_url, needs_key=needs_key))
    return {name: _provider(row, settings) for name, row in known.items()}


def _provider(row: Row, settings: Settings) -> Provider:
    section = settings.providers.get(row.name)
    if section is None:
        return Provider(
            row.name, row.title, row.codec, BaseUrl.parse(row.base_url), Deadlines(), row.needs_key, aliases=row.aliases
        )
    return Provider(
        name=row.name,
        title=row.title,
        codec=row.codec,
        base=BaseUrl.parse(section.base_url or row.base_url),
        deadlines=Deadlines(
            connect=section.connect_timeout_seconds,
            answer=section.timeout_seconds,
            silence=section.stream_silence_seconds,
            stream=section.stream_max_seconds,
        ),
        needs_key=row.needs_key,
        key=Credential(SecretStr(section.api_key.get_secret_value())) if section.api_key is not None else None,
        aliases=row.aliases,
        headers=section.headers,
    )


def _bounds(providers: Mapping[str, Provider], settings: Settings) -> Callable[[Origin], int]:
    """Return how many connections an origin may have: what its provider's section says."""
    most: dict[Origin, int] = {}
    for name, provider in providers.items():
        section = settings.providers.get(name)
        bound = section.max_connections if section is not None else 1000
        most[provider.base.origin] = max(bound, most.get(provider.base.origin, 0))
    return lambda origin: most.get(origin, 1000)
