"""The catalogue: every model Vango knows, found by any of its names.

The facts are data (`models.json`, made by `tools/make_catalog.py`); a catalogue compiles them into tables once and
never changes. Overrides and additions make a new one.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING

import msgspec

from vango.providers.catalog.listing import describe, listed
from vango.providers.catalog.overrides import overridden
from vango.types.models import Model

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

__all__ = ["Catalog", "describe", "listed"]

# The snapshot dates that vendors append: -20250929, @20250929, -2025-08-07.
_DATED = re.compile(r"[-@](?:20\d{6}|20\d\d-\d\d-\d\d)$")

# A bare name may be served by several providers: its maker comes first, then those who host the models of others.
_MAKERS = ("anthropic", "openai", "gemini", "mistral", "deepseek", "xai", "perplexity")

# Names too new for the catalogue still tell their maker.
_PREFIXES = (
    (re.compile(r"claude-"), "anthropic"),
    (re.compile(r"gpt-|chatgpt-|o\d"), "openai"),
    (re.compile(r"gemini-"), "gemini"),
    (re.compile(r"(?:mistral|ministral|magistral|codestral|devstral|pixtral|voxtral)-"), "mistral"),
    (re.compile(r"deepseek-"), "deepseek"),
    (re.compile(r"grok-"), "xai"),
    (re.compile(r"sonar(?:-|$)"), "perplexity"),
)


class _File(msgspec.Struct):
    models: list[Model]


class Catalog:
    """Models by name. Every look-up is a constant number of dictionary accesses."""

    def __init__(self, models: Iterable[Model]) -> None:
        """Compile the tables; of two models with the same provider and id the later one stays."""
        self._models = {(model.provider, model.id): model for model in models}
        self._names = _names(self._models.values())
        self._accepted = {
            (model.provider, name) for model in self._models.values() for name in (model.id, *model.aliases)
        }
        self._providers: dict[str, list[Model]] = {}
        for model in self._models.values():
            self._providers.setdefault(model.provider, []).append(model)
        self._owners = _owners(self._names)

    @classmethod
    def load(cls) -> Catalog:
        """Read the catalogue that comes with Vango."""
        data = resources.files(__name__).joinpath("models.json").read_bytes()
        return cls(msgspec.json.decode(data, type=_File).models)

    def find(self, provider: str, name: str) -> Model | None:
        """Return a provider's model by id, alias or nickname, or by another snapshot's date; None if it is not known."""
        found = self._names.get((provider, name))
        if found is None and (bare := _DATED.sub("", name)) != name:
            found = self._names.get((provider, bare))
        return found

    def wire_id(self, provider: str, name: str) -> str:
        """Return the name to send to the provider: what was asked for, unless only Vango knows that name."""
        found = self._names.get((provider, name))
        return name if found is None or (provider, name) in self._accepted else found.id

    def owner(self, name: str) -> str | None:
        """Return the provider that a bare model name belongs to, or None where nobody can tell."""
        if "/" in name:
            return None
        found = self._owners.get(name) or self._owners.get(_DATED.sub("", name))
        if found is None:
            found = next((provider for prefix, provider in _PREFIXES if prefix.match(name)), None)
        return found

    def models(self, provider: str | None = None) -> list[Model]:
        """Return the models of one provider, or of all, in the catalogue's order."""
        return list(self._models.values()) if provider is None else list(self._providers.get(provider, ()))

    def with_models(self, models: Iterable[Model]) -> Catalog:
        """Return a catalogue with more models; one that is already there is replaced."""
        return Catalog([*self._models.values(), *models])

    def with_overrides(self, overrides: Mapping[str, Mapping[str, Any]]) -> Catalog:
        """Return a catalogue with an operator's facts laid over the models' own, `{"provider/model": {field: value}}`.

        A model is named by any name that `find` understands; one that is not known is added.
        Raises ValueError with a sentence for a key or a field that means nothing.
        """
        changed: list[Model] = []
        for full_id, fields in overrides.items():
            provider, slash, name = full_id.partition("/")
            if not (provider and slash and name):
                raise ValueError(f"expected provider/model, got {full_id!r}")
            model = self.find(provider, name) or Model(provider=provider, id=name, display_name=name)
            changed.append(overridden(model, fields))
        return self.with_models(changed)


def _names(models: Iterable[Model]) -> dict[tuple[str, str], Model]:
    """Every name of every model. Ids go before aliases, those before nicknames, and all before undated ids."""
    names: dict[tuple[str, str], Model] = {(model.provider, model.id): model for model in models}
    for model in list(names.values()):
        for name in (*model.aliases, *model.nicknames):
            names.setdefault((model.provider, name), model)
    # Snapshot dates sort by age: the newest one lends its facts to the undated name.
    for provider, name in sorted(names, reverse=True):
        names.setdefault((provider, _DATED.sub("", name)), names[provider, name])
    return names


def _owners(names: Mapping[tuple[str, str], Model]) -> dict[str, str]:
    rank = {provider: place for place, provider in enumerate(_MAKERS)}
    owners: dict[str, str] = {}
    for provider, name in sorted(names, key=lambda key: rank.get(key[0], len(rank))):
        if "/" not in name:
            owners.setdefault(name, provider)
    return owners
