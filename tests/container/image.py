"""The container image, built from this tree and run without a container engine.

`buildah` builds it on a base that is on this machine. It runs in namespaces of its own, as an engine would run it:
process 1, the image's user and environment and nothing else of ours, a root that cannot be written, and a small /tmp.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import trio

TREE = Path(__file__).parents[2]
TAG = "localhost/vango-test"
BASE_TAG = "localhost/vango-test-base"

# What a program may take to start where tests share the machine; nothing waits this long in a test that passes.
PATIENCE = 60.0

# Runs in namespaces of its own. The arguments are the root, the user, a file to mount as the configuration, and a command.
ENTER = """
root=$1 user=$2 config=$3
shift 3
mount --bind "$root" "$root"
[ -z "$config" ] || mount --bind "$config" "$root/etc/vango/vango.toml"
mount -o remount,bind,ro "$root"
mount -t tmpfs -o mode=1777,size=1m tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
exec chroot --userspec="$user" --groups= "$root" "$@"
"""


def obstacle() -> str | None:
    """Say what keeps the image from being built and run here."""
    if not os.environ.get("VANGO_BASE_IMAGE") and os.environ.get("VANGO_CONTAINER_TEST") != "1":
        return "the image takes minutes to build: VANGO_CONTAINER_TEST=1, or a local base image in VANGO_BASE_IMAGE, asks for it"
    if sys.platform != "linux" or os.geteuid() != 0:
        return "mounting the image's file system takes root on Linux"
    tools = ["buildah", "unshare", "mount", "chroot"]
    if not os.environ.get("VANGO_BASE_IMAGE"):
        tools.append("debootstrap")
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


@dataclass(frozen=True)
class Image:
    """An image whose file system is mounted at `root`; `config` is what it says of itself, as Docker writes it."""

    root: str
    config: dict[str, Any]

    @property
    def command(self) -> list[str]:
        return [*self.config["Entrypoint"], *self.config["Cmd"]]

    def environ(self, **more: str) -> dict[str, str]:
        return dict(variable.split("=", 1) for variable in self.config["Env"]) | more

    def inside(self, command: Sequence[str], *, config: Path | None = None) -> list[str]:
        """Return the command line that runs a command as the image's first process."""
        script = ["sh", "-euc", ENTER, "enter", self.root, self.config["User"], str(config or "")]
        return ["unshare", "--mount", "--pid", "--fork", *script, *command]

    def run(self, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; blocks."""
        process = subprocess.Popen(
            self.inside(command),
            env=self.environ(**environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                output, errors = process.communicate(timeout=PATIENCE)
            finally:
                if process.poll() is None:
                    _kill(process.pid)
        return subprocess.CompletedProcess(command, process.returncode, output, errors)


@dataclass
class Container:
    """The image's command while it runs and accepts. `pid` is its number outside."""

    process: trio.Process
    pid: int
    port: int
    http: httpx.AsyncClient

    def terminate(self) -> None:
        """Ask it to end, as an engine does."""
        os.kill(self.pid, signal.SIGTERM)

    async def wait_ended(self) -> int:
        """Return the exit code."""
        with trio.fail_after(PATIENCE):
            return await self.process.wait()

    async def end(self) -> int:
        """Ask it to end, and return the exit code."""
        self.terminate()
        return await self.wait_ended()


@asynccontextmanager
async def running(
    image: Image, environ: Mapping[str, str] | None = None, *, config: Path | None = None
) -> AsyncIterator[Container]:
    """Run the image on a free port for the time of the block; it is killed when the block is left."""
    process = await trio.lowlevel.open_process(
        image.inside(image.command, config=config),
        env=image.environ(**(environ or {}), VANGO_PORT="0"),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        with trio.fail_after(PATIENCE):
            line = await _first_line(process.stdout)
        port = re.search(r"http://0\.0\.0\.0:(\d+)", line)
        assert port, line
        (pid,) = _children(process.pid)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port[1]}", timeout=30, trust_env=False) as http:
            yield Container(process, pid, int(port[1]), http)
    finally:
        if process.returncode is None:
            _kill(process.pid)
        with trio.CancelScope(shield=True), trio.move_on_after(PATIENCE):
            await process.wait()
            await process.stdout.aclose()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _kill(pid: int) -> None:
    """Kill an `unshare` and what runs in it."""
    # The parent's death is no signal to a child that has changed its user, so --kill-child would not do.
    for process in [*_children(pid), pid]:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


async def _first_line(stream: trio.abc.ReceiveStream) -> str:
    text = b""
    while b"\n" not in text:
        data = await stream.receive_some()
        assert data, f"ended after {text!r}"
        text += data
    return text.decode().partition("\n")[0]


@contextmanager
def built(folder: Path) -> Iterator[Image]:
    """Build the image and mount it for the time of the block."""
    base = os.environ.get("VANGO_BASE_IMAGE") or _local_base()
    options = ["--isolation", "chroot", "--format", "docker", "--layers=false", "--build-arg", f"BASE_IMAGE={base}"]
    _buildah("build", *options, *_package_source(folder), "--tag", TAG, str(TREE))
    container = _buildah("from", TAG)
    try:
        config = json.loads(_buildah("inspect", "--type", "image", TAG))["Docker"]["config"]
        yield Image(_buildah("mount", container), config)
    finally:
        _buildah("rm", container)
        _buildah("rmi", TAG)


def _local_base() -> str:
    """Return a small Debian with Python; it is made once and stays among this machine's images."""
    if _buildah("images", "--noheading", "--filter", f"reference={BASE_TAG}"):
        return BASE_TAG
    release = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    container = _buildah("from", "scratch")
    try:
        packages = "python3,python3-venv,ca-certificates"
        root = _buildah("mount", container)
        _run("debootstrap", "--variant=minbase", f"--include={packages}", release[1] if release else "stable", root)
        _buildah("commit", container, BASE_TAG)
    finally:
        _buildah("rm", container)
    return BASE_TAG


def _package_source(folder: Path) -> list[str]:
    """Return options that let pip inside the build get packages as it does here, with nothing of it left in the image."""
    listing = _run(sys.executable, "-m", "pip", "config", "list")
    wanted = "cert|extra-index-url|index-url|proxy|timeout|trusted-host"
    values = dict(re.findall(rf"^(?:global|user|site|:env:)\.({wanted})='(.*)'$", listing, re.MULTILINE))
    if "file:" in values.get("extra-index-url", ""):
        del values["extra-index-url"]  # a folder of this machine, which the build does not see
    options = []
    if "cert" in values:
        options = ["--volume", f"{values['cert']}:{values['cert']}:ro"]
    secret = folder / "pip.conf"
    secret.write_text("\n".join(["[global]", *(f"{name} = {value}" for name, value in values.items())]))
    return [*options, "--secret", f"id=pip.conf,src={secret}"]


def _buildah(*arguments: str) -> str:
    return _run("buildah", *arguments)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout.strip()
