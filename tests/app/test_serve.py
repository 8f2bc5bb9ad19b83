from __future__ import annotations

import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

import vango
from vango.errors import ConfigError

QUIET: dict[str, Any] = {"server": {"port": 0}, "aliases": {"mine": "sandbox/chat"}}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("VANGO_CONFIG", "VANGO_HOST", "VANGO_PORT", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


async def started(config: Any) -> Any:
    """Serve a configuration until it accepts, and return its settings."""
    async with trio.open_nursery() as nursery:
        serving = await nursery.start(partial(vango.serve, config, log=io.StringIO()))
        serving.drain.begin()
    return serving.gateway.settings


@pytest.mark.parametrize("kind", ["settings", "mapping", "path", "text", "found"])
async def test_a_configuration_is_taken_in_every_form(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "vango.toml"
    file.write_text('[server]\nport = 0\n[aliases]\nmine = "sandbox/chat"\n')
    forms = {
        "settings": vango.Settings.model_validate(QUIET),
        "mapping": QUIET,
        "path": file,
        "text": str(file),
        "found": None,
    }

    settings = await started(forms[kind])

    assert settings.aliases == {"mine": "sandbox/chat"}


async def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-from-the-environment")

    settings = await started(QUIET)

    assert settings.configured_providers() == ["anthropic"]
    assert "providers" not in QUIET


async def test_every_fault_of_a_mapping_is_told_and_nothing_listens() -> None:
    with pytest.raises(ConfigError) as caught:
        await vango.serve({"server": {"port": -1, "prot": 1}, "auth": {"mode": "x"}})

    assert [fault.partition(": ")[2].partition(":")[0] for fault in caught.value.faults] == [
        "server.port",
        "server.prot",
        "auth.mode",
    ]


async def test_the_address_is_told_once_it_accepts() -> None:
    async with trio.open_nursery() as nursery:
        serving = await nursery.start(partial(vango.serve, QUIET, log=io.StringIO()))
        port = int(serving.urls[0].rpartition(":")[2])
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(b"GET /ready HTTP/1.0\r\n\r\n")
            answer = b"".join([piece async for piece in stream])
        nursery.cancel_scope.cancel()

    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"status": "ready"}
