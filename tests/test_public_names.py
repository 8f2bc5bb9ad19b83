from __future__ import annotations

import subprocess
import sys

import pytest

import vango


def test_the_public_names_are_exactly_these() -> None:
    assert vango.__all__ == ["Error", "Settings", "serve"]
    assert all(hasattr(vango, name) for name in vango.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = vango.nothing


def test_importing_vango_loads_no_server() -> None:
    code = "import sys, vango; print([name for name in ('quart', 'hypercorn', 'prometheus_client', 'httpx') if name in sys.modules])"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert loaded.strip() == "[]"
