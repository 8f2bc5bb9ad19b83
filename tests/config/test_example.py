"""vango.toml.example shows every setting with its true default."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel, SecretStr

from vango.config import ProviderSettings, Settings, load
from vango.config.schema import Slot

TEXT = (Path(__file__).parents[2] / "vango.toml.example").read_text(encoding="utf-8")
COMMENTED = [line for line in TEXT.splitlines() if re.match("#[^ ]", line)]
UNCOMMENTED = re.sub(r"^#(?=[^ \n])", "", TEXT, flags=re.MULTILINE)


def inside(slot: Slot) -> tuple[Slot, tuple[str, ...]]:
    """Return what a list or a table with free names holds, and `*` for its place; anything else is itself."""
    if get_origin(slot.kind) in {dict, tuple}:
        return Slot.of(get_args(slot.kind)[get_origin(slot.kind) is dict]), ("*",)
    return slot, ()


def fields(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the path and the default of every field of a model and of those below it."""
    for name, field in model.model_fields.items():
        key = field.alias or name
        yield (*path, key), field.get_default(call_default_factory=True)
        inner, star = inside(Slot.of(model).fields()[key])
        if inner.model:
            yield from fields(inner.model, (*path, key, *star))


def keys(data: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the path and value of every key of a parsed document, in both spellings: by name, and with `*`."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        for spelled in ((*path, str(key)), (*path, "*")):
            yield spelled, value
            yield from keys(value, spelled)


FIELDS = list(fields(Settings))
SHOWN = list(keys(tomllib.loads(UNCOMMENTED)))
# None, an empty list and a table have nothing to show as a default: an example stands there.
DEFAULTS = [
    (path, default.get_secret_value() if isinstance(default, SecretStr) else default)
    for path, default in FIELDS
    if isinstance(default, bool | int | float | str | SecretStr)
]


def test_the_example_has_no_faults_without_any_variable_and_changes_nothing() -> None:
    settings = load(TEXT, {})

    assert settings.providers == {"anthropic": ProviderSettings()}
    assert settings.model_copy(update={"providers": {}}) == Settings()


def test_the_example_has_no_faults_with_everything_switched_on() -> None:
    settings = load(UNCOMMENTED, {"VANGO_CALLER_KEY": "vango_sk_1", "ANTHROPIC_API_KEY": "sk-1"})

    assert settings.configured_providers() == ["anthropic", "mine"]
    assert [key.name for key in settings.auth.api_keys] == ["production", "staging"]


@pytest.mark.parametrize("path", [path for path, _ in FIELDS], ids=".".join)
def test_every_setting_is_in_the_example(path: tuple[str, ...]) -> None:
    assert path in [spelled for spelled, _ in SHOWN]


@pytest.mark.parametrize(("path", "default"), [pytest.param(*each, id=".".join(each[0])) for each in DEFAULTS])
def test_the_default_of_a_setting_is_what_the_example_shows(path: tuple[str, ...], default: object) -> None:
    shown = [value for spelled, value in SHOWN if spelled == path]

    assert any(value == default and isinstance(value, bool) is isinstance(default, bool) for value in shown)


@pytest.mark.parametrize("line", COMMENTED)
def test_a_commented_setting_is_one(line: str) -> None:
    assert tomllib.loads(line.removeprefix("#"))
