"""What must hold between settings. Each rule names the settings it looked at.

A setting that is itself at fault is left out before the rules are asked: what a rule that looked at it then says is
noise, which `load` drops by the fault's `involves`.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from vango.config.environment import BUILT_IN, BUILT_IN_VOICES, OTHER_NAMES, RETIRED_VOICES, plug_ins
from vango.config.faults import Fault, Path, dotted
from vango.config.schema import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from vango.config.settings import Settings


def broken(settings: Settings) -> list[Fault]:
    """Return the faults of a configuration whose values are all right by themselves."""
    return [fault for rule in RULES for fault in rule(settings)]


def is_loopback(host: str) -> bool:
    """Say whether an address or host name can be reached from this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _guarded(settings: Settings) -> Iterator[Fault]:
    auth = settings.auth
    if auth.mode == "none" and not auth.allow_unauthenticated and not is_loopback(settings.server.host):
        yield Fault(
            ("auth", "mode"),
            '"none" lets in everybody who reaches server.host, which is not a loopback address; '
            'expected "api_key" or "passthrough", or auth.allow_unauthenticated = true where that is meant',
            (("auth", "mode"), ("auth", "allow_unauthenticated"), ("server", "host")),
        )


def _tls_has_files(settings: Settings) -> Iterator[Fault]:
    for name in ("cert_file", "key_file"):
        if settings.server.tls.enabled and not getattr(settings.server.tls, name):
            path = ("server", "tls", name)
            yield Fault(
                path, "is not set although TLS is enabled; expected a PEM file", (path, ("server", "tls", "enabled"))
            )


def _keys_are_whole(settings: Settings) -> Iterator[Fault]:
    for index, key in enumerate(settings.auth.api_keys):
        path: Path = ("auth", "api_keys", index)
        involves = ((*path, "key"), (*path, "key_hash"))
        if key.key is None and key.key_hash is None:
            yield Fault(path, "has no key; expected either key or key_hash", involves)
        elif key.key is not None and key.key_hash is not None:
            yield Fault(path, "has both key and key_hash; expected one of them", involves)


def _keys_exist(settings: Settings) -> Iterator[Fault]:
    # An empty list would refuse every caller; who means that can mark the keys as disabled.
    if settings.auth.mode == "api_key" and not settings.auth.api_keys:
        yield Fault(
            ("auth", "api_keys"),
            'is empty although auth.mode is "api_key"; expected at least one [[auth.api_keys]] with key or key_hash',
            (("auth", "mode"), ("auth", "api_keys")),
        )


def _keys_differ(settings: Settings) -> Iterator[Fault]:
    keys: dict[bytes, int] = {}
    names: dict[str, int] = {}
    for index, key in enumerate(settings.auth.api_keys):
        path: Path = ("auth", "api_keys", index)
        digest = key.digest()
        if digest and (first := keys.setdefault(digest, index)) != index:
            known = dotted(("auth", "api_keys", first))
            yield Fault(
                path, f"has the same key as {known}; expected another key, or one entry", (("auth", "api_keys"),)
            )
        if key.name is not None and (first := names.setdefault(key.name, index)) != index:
            known = dotted(("auth", "api_keys", first))
            message = f"is the name of {known}, too; expected a name for each key"
            yield Fault((*path, "name"), message, (("auth", "api_keys"),))


def _providers_are_known(settings: Settings) -> Iterator[Fault]:
    known = [*BUILT_IN, *plug_ins()]
    for name, provider in settings.providers.items():
        path: Path = ("providers", name)
        involves = ((*path, "kind"), (*path, "base_url"))
        if name not in known and (provider.kind is None or provider.base_url is None):
            yield Fault(path, _unknown(name, known), involves)
        elif provider.kind is not None and provider.base_url is None and name != provider.kind:
            yield Fault((*path, "base_url"), "is not set although kind is; expected the server's URL", involves)


def _voices_are_known(settings: Settings) -> Iterator[Fault]:
    for direction, built_in in BUILT_IN_VOICES.items():
        configured = getattr(settings.voice, direction)
        for name, speech in configured.items():
            path: Path = ("voice", direction, name)
            involves = ((*path, "kind"), (*path, "base_url"))
            if name not in built_in and (speech.kind is None or speech.base_url is None):
                yield Fault(path, _unknown(name, built_in), involves)
        default = getattr(settings.voice, f"default_{direction}")
        if default is not None and default not in {*built_in, *configured}:
            path = ("voice", f"default_{direction}")
            known = ", ".join([*built_in, *(name for name in configured if name not in built_in)])
            yield Fault(path, f"is not a known provider; expected one of {known}", (path, ("voice", direction)))


def _aliases_end(settings: Settings) -> Iterator[Fault]:
    reported: set[str] = set()
    for start in settings.aliases:
        walk = [start]
        while (target := settings.aliases.get(walk[-1])) is not None and target not in walk:
            walk.append(target)
        if target is None or target != start or start in reported:
            continue  # it ends, or it only leads into a loop that is reported from within
        reported.update(walk)
        message = (
            "is an alias of itself; expected the name of a model"
            if len(walk) == 1
            else f"leads back to itself by way of {', '.join(walk[1:])}; expected the name of a model at the end"
        )
        yield Fault(("aliases", start), message, tuple(("aliases", name) for name in walk))


def _unknown(name: str, known: Iterable[str]) -> str:
    if name in RETIRED_VOICES:
        return f"{RETIRED_VOICES[name]}; expected one of {', '.join(known)}"
    close = OTHER_NAMES.get(name) or nearest(name, known)
    meant = f'did you mean "{close}"?' if close else f"known are {', '.join(known)};"
    return f"is not a known provider; {meant} a provider of your own needs kind and base_url"


RULES: tuple[Callable[[Settings], Iterator[Fault]], ...] = (
    _guarded,
    _tls_has_files,
    _keys_exist,
    _keys_are_whole,
    _keys_differ,
    _providers_are_known,
    _voices_are_known,
    _aliases_end,
)
