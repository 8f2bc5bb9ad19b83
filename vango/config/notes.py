"""Settings that are checked and then have no effect in this version: said aloud, so that nobody relies on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from vango.config.faults import Path, dotted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vango.config.settings import Settings

NO_EFFECT = "has no effect in this version"
NOT_ENFORCED = "is not enforced by this version"

# Tables and settings without an effect, and what is said of each setting in them that is not at its default.
UNUSED: dict[Path, str] = {
    ("server", "limits", "live_json_frame_bytes"): NO_EFFECT,
    ("server", "limits", "live_binary_frame_bytes"): NO_EFFECT,
    ("server", "limits", "live_audio_rate"): NO_EFFECT,
    ("server", "live"): NO_EFFECT,
    ("voice",): NO_EFFECT,
    ("rate_limits", "store"): NO_EFFECT,
    ("rate_limits", "on_store_failure"): NO_EFFECT,
    ("rate_limits", "global"): NOT_ENFORCED,
    ("rate_limits", "per_user"): NOT_ENFORCED,
    ("usage",): NO_EFFECT,
    ("observability", "tracing"): NO_EFFECT,
}
UNUSED_OF_KEY: dict[str, str] = {
    "admin": NO_EFFECT,
    "rate_limit": NOT_ENFORCED,
    "tokens_per_minute": NOT_ENFORCED,
    "max_concurrent": NOT_ENFORCED,
    "budget_usd": NOT_ENFORCED,
    "budget_period": NOT_ENFORCED,
}

# Built-in providers that this version can call without being told their kind.
CALLABLE = {"anthropic", "sandbox"}


def unused(settings: Settings) -> list[str]:
    """Return a sentence for each setting that was set and does nothing."""
    return [f"{dotted(path)} {says}." for path, says in _found(settings)]


def _found(settings: Settings) -> Iterator[tuple[Path, str]]:
    changed = list(_changes(settings, ()))
    for table, says in UNUSED.items():
        yield from ((path, says) for path in changed if path[: len(table)] == table)
    for index, key in enumerate(settings.auth.api_keys):
        for path in _changes(key, ("auth", "api_keys", index)):
            if path[-1] in UNUSED_OF_KEY:
                yield path, UNUSED_OF_KEY[str(path[-1])]
    if settings.auth.api_keys and settings.auth.mode != "api_key":
        yield ("auth", "api_keys"), f'has no effect while auth.mode is "{settings.auth.mode}"'
    for name, provider in settings.providers.items():
        if name not in CALLABLE and provider.kind is None:
            yield ("providers", name), "cannot be called by this version without kind and base_url"


def _changes(table: BaseModel | dict[str, Any], path: Path) -> Iterator[Path]:
    """Yield the path of each setting that is not at its default; each entry of a table with free keys is one."""
    if isinstance(table, dict):
        yield from ((*path, key) for key in table)
        return
    for name, field in type(table).model_fields.items():
        value = getattr(table, name)
        here: Path = (*path, field.alias or name)
        if isinstance(value, BaseModel | dict):
            yield from _changes(value, here)
        elif value != field.get_default(call_default_factory=True):
            yield here
