"""From a file's text and the environment to `Settings`, or to every fault at once."""

from __future__ import annotations

import tomllib
from copy import deepcopy
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from vango.config.environment import CONFIG_FILE
from vango.config.faults import Fault, explain
from vango.config.interpolate import interpolate_all
from vango.config.overrides import Overrides
from vango.config.schema import Slot
from vango.config.settings import Settings
from vango.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vango.config.faults import Path

ROOT = Slot.of(Settings)
DEFAULT_FILE = "vango.toml"
NO_FILE = "environment"


def load(text: str, environ: Mapping[str, str], *, source: str = DEFAULT_FILE) -> Settings:
    """Return the configuration that `text` (TOML) and the environment make together.

    Strings may hold `${NAME}` and `${NAME:-default}`; a provider's `api_key` whose variable is unset means no key.
    The environment overrides the file; only the providers' own variables (`ANTHROPIC_API_KEY` …) fill in what it lacks.
    Raises ConfigError with all faults; `source` is the file's name in them.
    """
    try:
        data = tomllib.loads(f"{text}\n")  # so that a fault in the last line is told with its number
    except RecursionError:
        raise ConfigError([f"{source}: is nested too deeply; expected tables as in vango.toml.example"]) from None
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError([f"{source}: is not TOML; {exc}"]) from None
    except ValueError:  # of int(), which tomllib lets through
        raise ConfigError([f"{source}: has a number of too many digits; expected at most 4300"]) from None
    return _settle(data, environ, source)


def load_mapping(config: Mapping[str, Any], environ: Mapping[str, str], *, source: str = "config") -> Settings:
    """Return the configuration that a mapping, with the keys of a file, and the environment make together; see `load`."""
    return _settle(deepcopy(dict(config)), environ, source)


def _settle(data: dict[str, Any], environ: Mapping[str, str], source: str) -> Settings:
    """Lay the environment over what was read, which is changed by it, and check it all."""
    overrides = Overrides(data, environ, ROOT)
    faults = [*interpolate_all(data, environ), *overrides.apply()]
    settings = _validate(data, faults)
    if settings is None or faults:
        raise ConfigError(list(dict.fromkeys(fault.sentence(overrides.source(fault.path, source)) for fault in faults)))
    return settings


def locate(path: str | None, environ: Mapping[str, str], cwd: str | FilePath) -> str | None:
    """Name the file to read: the one that was asked for, else VANGO_CONFIG, else vango.toml if `cwd` has one."""
    return path or environ.get(CONFIG_FILE) or (DEFAULT_FILE if FilePath(cwd, DEFAULT_FILE).exists() else None)


def read(path: str | None, environ: Mapping[str, str], cwd: str | FilePath) -> Settings:
    """Read and check the configuration; without any file, the defaults and the environment.

    Raises ConfigError, also where the file cannot be read.
    """
    source = locate(path, environ, cwd)
    if source is None:
        return load("", environ, source=NO_FILE)
    try:
        text = FilePath(cwd, source).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ConfigError([f"{source}: is not UTF-8 at byte {exc.start}; expected a text file in UTF-8"]) from None
    except (OSError, ValueError) as exc:
        raise ConfigError([f"{source}: cannot be read ({_reason(exc)}); expected a TOML file"]) from exc
    return load(text, environ, source=source)


def missing_files(settings: Settings) -> list[str]:
    """Return a fault for each file that the configuration names and that cannot be read. Looks at the disk."""
    tls = settings.server.tls
    named = {"cert_file": tls.cert_file, "key_file": tls.key_file} if tls.enabled else {}
    faults = []
    for name, file in named.items():
        try:
            with FilePath(file).open("rb"):
                pass
        except (OSError, ValueError) as exc:
            faults.append(f"server.tls.{name}: cannot be read ({_reason(exc)}); expected a PEM file")
    return faults


def _reason(exc: OSError | ValueError) -> str:
    return (exc.strerror if isinstance(exc, OSError) else None) or "not the name of a file"


def _validate(data: dict[str, Any], faults: list[Fault]) -> Settings | None:
    """Check the data and add to `faults`. Values at fault are taken out, so that the rules see all the others."""
    for _ in range(2):  # the rules are asked only when every value is right by itself
        wrong = [fault.path for fault in faults]
        for path in wrong:
            _take_out(data, path)
        try:
            return Settings.model_validate(data)
        except ValidationError as exc:
            found = [fault for fault in explain(exc, ROOT) if not any(fault.concerns(path) for path in wrong)]
        faults += found
        if any(fault.involves for fault in found):
            break
    return None


def _take_out(data: dict[str, Any], path: Path) -> None:
    """Remove the value at `path`; for an item of a list the whole list, so that no other item changes its place."""
    here: Any = data
    owner: dict[str, Any] = {}
    name = ""
    for key in path:
        if isinstance(here, dict) and isinstance(key, str) and key in here:
            owner, name, here = here, key, here[key]
        elif isinstance(here, list) and isinstance(key, int) and key < len(here):
            here = here[key]
        else:
            return  # it was never there, or went with a table above it
    owner.pop(name, None)
