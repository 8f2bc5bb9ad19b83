"""What can be known of the Containerfile without building it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from vango.config import load
from vango.errors import ConfigError

TREE = Path(__file__).parents[2]
TEXT = re.sub(r"\\\n\s*", "", (TREE / "Containerfile").read_text())
IGNORE = (TREE / ".containerignore").read_text().split()


def instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} +(.+)$", TEXT, re.MULTILINE)


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    copied = {name for line in instructions("COPY") if "--from" not in line for name in line.split()[:-1]}

    assert copied
    assert IGNORE[0] == "*"
    assert copied == {name.removeprefix("!") for name in IGNORE if name.startswith("!")}
    assert all((TREE / name).exists() for name in copied)


def test_the_image_s_own_configuration_wants_a_key() -> None:
    (written,) = re.findall(r"printf '%s\\n' (.+) > /etc/vango/vango.toml", TEXT)
    text = "\n".join(shlex.split(written))
    environ = dict(pair.split("=", 1) for line in instructions("ENV") for pair in line.split())

    assert environ["VANGO_CONFIG"] == "/etc/vango/vango.toml"
    with pytest.raises(ConfigError) as failure:
        load(text, environ)
    (fault,) = failure.value.faults
    assert "auth.api_keys: is empty" in fault

    settings = load(text, {**environ, "VANGO__AUTH__API_KEYS": '[{name = "team", key = "vango_sk_example"}]'})
    assert (settings.auth.mode, settings.server.host) == ("api_key", "0.0.0.0")
    assert [str(settings.server.port)] == instructions("EXPOSE")


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_health_check_goes_by_the_status_of_health(status: int, code: int) -> None:
    with answering(status) as (port, asked):
        done = health_check(port)

    assert asked == ["/health"]
    assert done.returncode == code


def test_health_check_fails_where_nothing_listens() -> None:
    with answering(200) as (port, _):
        pass

    assert health_check(port).returncode == 1


def health_check(port: int) -> subprocess.CompletedProcess[bytes]:
    (check,) = instructions("HEALTHCHECK")
    command = check.partition("CMD ")[2]
    # A proxy that everything else goes through is nothing to a look at oneself.
    environ = {"VANGO_PORT": str(port), "http_proxy": "http://127.0.0.1:9"}
    return subprocess.run([sys.executable, *json.loads(command)[1:]], env=environ, capture_output=True, check=False)


@contextmanager
def answering(status: int) -> Iterator[tuple[int, list[str]]]:
    """Answer every GET with a status; yields the port and the paths that were asked for."""
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()
            thread.join()
