"""Settings from environment variables, laid over what the file says. A variable that is empty counts as unset."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any, get_origin

from vango.config.environment import BUILT_IN, PREFIX, SHORT_NAMES
from vango.config.faults import Fault, Path
from vango.config.schema import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vango.config.schema import Slot


class Overrides:
    """The environment's settings, as they are found: `origins` says which variable each of them came from."""

    def __init__(self, data: dict[str, Any], environ: Mapping[str, str], root: Slot) -> None:
        self._data = data
        self._environ = environ
        self._root = root
        self.origins: dict[Path, str] = {}

    def apply(self) -> Iterator[Fault]:
        """Lay the variables over the data, in place, and yield a fault for each that names no setting."""
        # A table's own variable sorts before those of its fields; the short names are read last and win.
        names = sorted(name for name in self._environ if name.startswith(PREFIX))
        paths = [(name, self._path(name.removeprefix(PREFIX).split("__"))) for name in names if self._environ[name]]
        paths += [(name, path) for name, path in SHORT_NAMES.items() if self._environ.get(name)]
        for name, path in paths:
            self.origins[path] = name
            if (slot := self._root.at(path)) is None:
                yield Fault(path, self._unknown(path))
            else:
                self._put(path, read_value(self._environ[name], slot))
        self._fill_keys()

    def source(self, path: Path, file: str) -> str:
        """Return the variable that set the value at `path` or the table around it, else the file."""
        return next((self.origins[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.origins), file)

    def _path(self, segments: list[str]) -> Path:
        """Find the keys that a variable's name spells in capitals and underscores."""
        path: Path = ()
        present: Any = self._data
        for segment in segments:
            key = segment.lower()
            slot = self._root.at(path)
            if slot is not None and get_origin(slot.kind) is dict:
                names = [*(present if isinstance(present, dict) else ()), *(BUILT_IN if path == ("providers",) else ())]
                key = next((name for name in names if name.lower().replace("-", "_") == key), key)
            present = present.get(key) if isinstance(present, dict) else None
            path = (*path, key)
        return path

    def _unknown(self, path: Path) -> str:
        known = next(n for n in range(len(path)) if self._root.at(path[: n + 1]) is None)
        parent = self._root.at(path[:known])
        if parent is None or not parent.fields():
            return "is not a known key; expected VANGO__SECTION__FIELD, where a list is given whole, as TOML"
        return f"is not a known key; {suggestion(self._root, path[: known + 1])}"

    def _put(self, path: Path, value: Any) -> None:
        table: Any = self._data
        for key in path[:-1]:
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                return  # the file has something else where a table belongs, and is refused for that
        table[path[-1]] = value

    def _fill_keys(self) -> None:
        """Give each built-in provider without a key in the file the one in its own variable."""
        providers = self._data.get("providers", {})
        if not isinstance(providers, dict):
            return
        for name, variables in BUILT_IN.items():
            found = next((variable for variable in variables if self._environ.get(variable, "").strip()), None)
            entry = providers.get(name, {})
            if found is None or not isinstance(entry, dict) or not _is_blank(entry.get("api_key", "")):
                continue
            path = ("providers", name, "api_key")
            self.origins[path] = found
            self._put(path, self._environ[found])


def read_value(text: str, slot: Slot) -> Any:
    """Return a variable's value: text as it is, anything else as TOML writes it (`8080`, `true`, `["a", "b"]`).

    What is not TOML is returned as text: the check of its type says what was expected, and takes `True` and `yes`.
    """
    if slot.is_text:
        return text
    try:
        document = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return document["value"] if len(document) == 1 else text


def _is_blank(value: Any) -> bool:
    return isinstance(value, str) and not value.strip()
