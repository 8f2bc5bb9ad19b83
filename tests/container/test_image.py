"""What docs/container.md promises of the image, by building it and running it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.container.image import Image, built, obstacle, running

REASON = obstacle()
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")

KEY = "vango_sk_of-the-container-test"
KEYS = {"VANGO__AUTH__API_KEYS": f'[{{name = "test", key = "{KEY}"}}]'}


def ask(model: str = "sandbox/echo", **fields: object) -> dict[str, object]:
    return {"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": "Tell me a story."}], **fields}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    with built(tmp_path_factory.mktemp("image")) as image:
        yield image


def test_without_keys_it_says_so_and_does_not_start(image: Image) -> None:
    done = image.run(*image.command)

    assert done.returncode == 1
    assert "/etc/vango/vango.toml: auth.api_keys: is empty" in done.stderr
    assert done.stdout == ""


async def test_callers_need_a_key_and_health_needs_none(image: Image) -> None:
    async with running(image, KEYS) as container:
        refused = await container.http.post("/v1/messages", json=ask())
        answered = await container.http.post("/v1/messages", json=ask(), headers={"x-api-key": KEY})
        health = await container.http.get("/health")
        code = await container.end()

    assert refused.status_code == 401
    assert refused.json()["error"]["type"] == "authentication_error"
    assert answered.status_code == 200
    assert answered.json()["content"][0]["text"] == "Tell me a story."
    assert health.json()["status"] == "healthy"
    assert code == 0


async def test_it_is_process_one_of_a_user_without_privileges(image: Image) -> None:
    async with running(image, KEYS) as container:
        text = await trio.Path(f"/proc/{container.pid}/status").read_text()

    status = dict(line.split(":\t", 1) for line in text.splitlines())
    assert status["Uid"].split() == ["10001"] * 4
    assert status["Gid"].split() == ["10001"] * 4
    assert status["Groups"].split() == []
    assert int(status["CapEff"], 16) == 0
    assert status["NSpid"].split()[-1] == "1"


async def test_a_stream_that_runs_at_sigterm_ends_whole(image: Image) -> None:
    async with running(image, KEYS) as container:
        body = ask("sandbox/slow", stream=True)
        async with container.http.stream("POST", "/v1/messages", json=body, headers={"x-api-key": KEY}) as response:
            lines = response.aiter_lines()
            before = [await anext(lines)]
            while before[-1] != "event: content_block_delta":
                before.append(await anext(lines))
            container.terminate()
            after = [line async for line in lines if line.startswith("event: ")]
        code = await container.wait_ended()

    assert "event: message_stop" not in before
    assert after.count("event: content_block_delta") > 1
    assert after[-1] == "event: message_stop"
    assert code == 0


async def test_health_check_tells_a_server_from_none(image: Image) -> None:
    kind, *command = image.config["Healthcheck"]["Test"]

    async with running(image, KEYS) as container:
        port = str(container.port)
        well = await trio.to_thread.run_sync(lambda: image.run(*command, VANGO_PORT=port))
        assert await container.end() == 0
    gone = await trio.to_thread.run_sync(lambda: image.run(*command, VANGO_PORT=port))

    assert kind == "CMD"
    assert (well.returncode, well.stdout, well.stderr) == (0, "", "")
    assert gone.returncode == 1


async def test_mounted_file_decides_how_callers_are_known(image: Image, tmp_path: Path) -> None:
    config = tmp_path / "vango.toml"
    config.write_text('[auth]\nmode = "passthrough"\n[server]\nhost = "127.0.0.1"\nport = 1\nworkers = 2\n')
    config.chmod(0o644)

    async with running(image, config=config) as container:
        answered = await container.http.post("/v1/messages", json=ask(), headers={"x-api-key": "the-caller's-own"})
        code = await container.end()

    assert answered.status_code == 200
    assert code == 0


def test_its_user_can_change_nothing_that_it_runs(image: Image) -> None:
    # On the file system as it is: mounted to be read only, it would hide what may be written.
    enter = ["chroot", f"--userspec={image.config['User']}", "--groups=", image.root]
    find = "find / -xdev -path /dev -prune -o -writable -not -type l -print"
    found = subprocess.run([*enter, *find.split()], capture_output=True, text=True, check=False)

    assert "/tmp" in found.stdout.splitlines()
    assert set(found.stdout.splitlines()) <= {"/tmp", "/var/tmp", "/run/lock"}


def test_what_it_loads_is_compiled(image: Image) -> None:
    lines = (
        "import sys, json, pathlib, vango.cli.serve, vango.app.serve",
        "specs = [m.__spec__ for m in list(sys.modules.values()) if getattr(m, '__spec__', None) and m.__spec__.cached]",
        "print(json.dumps([len(specs), [s.name for s in specs if not pathlib.Path(s.cached).exists()]]))",
    )
    done = image.run("/opt/vango/bin/python", "-c", "; ".join(lines))

    count, uncompiled = json.loads(done.stdout)
    assert count > 300
    assert uncompiled == []


def test_it_ships_no_package_installer_and_no_trace_of_the_build(image: Image) -> None:
    there = {path.name for path in Path(image.root, "opt/vango/lib").glob("python3.*/site-packages/*")}

    assert "vango" in there
    assert not there & {"pip", "setuptools", "wheel"}
    assert not [name for name in ("build", "src", "dist", "etc/pip.conf") if Path(image.root, name).exists()]
