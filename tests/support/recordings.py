"""Recorded provider traffic, where it lies beside the project; tests that need it are skipped elsewhere."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[3] / "shared" / "wire" / "recordings"


@dataclass(frozen=True)
class Case:
    name: str
    about: dict[str, Any]
    request: dict[str, Any]
    status: int
    headers: dict[str, str]
    body: bytes
    streamed: bool

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def _case(folder: Path) -> Case:
    about = json.loads((folder / "case.json").read_text())
    request = json.loads((folder / "request.json").read_text())
    if (stream := folder / "response.sse").exists():
        meta = json.loads((folder / "response.meta.json").read_text())
        return Case(folder.name, about, request, meta["status"], meta["headers"], stream.read_bytes(), True)
    whole = json.loads((folder / "response.json").read_text())
    body = (
        whole["body_text"].encode() if "body_text" in whole else json.dumps(whole["body"], ensure_ascii=False).encode()
    )
    return Case(folder.name, about, request, whole["status"], whole["headers"], body, False)


def cases(api: str, **wanted: Any) -> list[Any]:
    """The cases of one API as pytest parameters; `streamed=…` and `ok=…` narrow them."""
    folder = FOLDER / api
    if not folder.is_dir():
        return [pytest.param(None, marks=pytest.mark.skip(reason="the recordings are not here"))]
    found = [_case(path) for path in sorted(folder.iterdir()) if path.is_dir()]
    if "streamed" in wanted:
        found = [case for case in found if case.streamed is wanted["streamed"]]
    if "ok" in wanted:
        found = [case for case in found if (case.status == 200) is wanted["ok"]]
    return [pytest.param(case, id=case.name) for case in found]
