"""The settings models seen from outside: which keys stand where, what a value is, and the words for what it may be."""

from __future__ import annotations

import difflib
import types
from datetime import datetime
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from vango.config.values import Expected

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TEXT_TYPES = {str, SecretStr, Decimal, datetime, IPv4Network, IPv6Network}


class Slot(NamedTuple):
    """A place in the configuration: the type of its value without `Annotated` and `| None`, and their metadata."""

    kind: Any
    metadata: tuple[Any, ...] = ()

    @classmethod
    def of(cls, annotation: Any, metadata: Iterable[Any] = ()) -> Slot:
        """Unwrap an annotation down to one type; a union of more than one keeps its first."""
        found = list(metadata)
        while True:
            if get_origin(annotation) is Annotated:
                annotation, *inner = get_args(annotation)
                found += inner
            elif get_origin(annotation) in {Union, types.UnionType}:
                annotation = next(part for part in get_args(annotation) if part is not type(None))
            else:
                break
        flat = [item for each in found for item in (each.metadata if isinstance(each, FieldInfo) else [each])]
        return cls(annotation, tuple(flat))

    @property
    def model(self) -> type[BaseModel] | None:
        """The settings class of a table whose keys are fixed."""
        return self.kind if isinstance(self.kind, type) and issubclass(self.kind, BaseModel) else None

    @property
    def is_text(self) -> bool:
        """Say whether a value is written as text, so that no TOML need be read out of an environment variable."""
        return self.kind in TEXT_TYPES or get_origin(self.kind) is Literal

    @property
    def is_number(self) -> bool:
        """Say whether a number belongs here."""
        return self.kind in {int, float, Decimal}

    @property
    def word(self) -> str:
        """Name the TOML type that belongs here, as `faults` names what came."""
        if self.is_number:
            return "a number"
        if self.kind is bool:
            return "true or false"
        if self.is_text:
            return "text"
        return "a list" if get_origin(self.kind) is tuple else "a table"

    def fields(self) -> dict[str, Slot]:
        """Return the keys of a table whose keys are fixed, as they are written."""
        if self.model is None:
            return {}
        fields = self.model.model_fields
        return {field.alias or name: Slot.of(field.annotation, field.metadata) for name, field in fields.items()}

    def child(self, key: str | int) -> Slot | None:
        """Return the place below this one that `key` leads to."""
        if self.model is not None:
            return self.fields().get(key) if isinstance(key, str) else None
        if get_origin(self.kind) is dict:
            return Slot.of(get_args(self.kind)[1])
        if get_origin(self.kind) is tuple and isinstance(key, int):
            return Slot.of(get_args(self.kind)[0])
        return None

    def at(self, path: Iterable[str | int]) -> Slot | None:
        """Return the place that a whole path leads to."""
        here: Slot | None = self
        for key in path:
            here = here and here.child(key)
        return here

    def expected(self) -> str:
        """Say what would be right here, to end the sentence "expected …"."""
        for item in self.metadata:
            if isinstance(item, Expected):
                return item.words
        if get_origin(self.kind) is Literal:
            *others, last = (f'"{choice}"' for choice in get_args(self.kind))
            return f"{', '.join(others)} or {last}" if others else last
        if get_origin(self.kind) is tuple:
            item = Slot.of(get_args(self.kind)[0])
            return "a list of tables" if item.model else f"a list, each item {item.expected()}"
        if self.model is not None or get_origin(self.kind) is dict:
            return "a table"
        if self.kind in {int, float}:
            noun = "a whole number" if self.kind is int else "a number"
            return f"{noun} from {self._bound('ge')} to {self._bound('le')}"
        return "true or false" if self.kind is bool else "text"

    def _bound(self, name: str) -> Any:
        return next(getattr(item, name) for item in self.metadata if hasattr(item, name))


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known name that `name` was probably meant to be."""
    return next(iter(difflib.get_close_matches(name.lower(), known, n=1, cutoff=cutoff)), None)


def suggestion(root: Slot, path: tuple[str | int, ...]) -> str:
    """Say what an unknown key was probably meant to be: a name near it, the same name elsewhere, or all there are."""
    name, here = str(path[-1]), root.at(path[:-1])
    known = list(here.fields()) if here else []
    if close := nearest(name, known, 0.75):
        return f'did you mean "{close}"?'
    places = {place[-1]: place for place in _places(root)}
    if elsewhere := nearest(name, places, 0.75):
        return f'did you mean "{".".join(places[elsewhere])}"?'
    if close := nearest(name, known, 0.5):
        return f'did you mean "{close}"?'
    return f"known here: {', '.join(known)}"


def _places(slot: Slot, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the paths of all keys of fixed tables."""
    for name, child in slot.fields().items():
        yield (*path, name)
        yield from _places(child, (*path, name))
