"""The official TypeScript SDK against a server process: `typescript/check.mjs` calls, and its report is judged here."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, NoReturn

import pytest

pytestmark = pytest.mark.clients

HERE = Path(__file__).parent / "typescript"
KEY = "vango_sk_of_the_test"
CONFIG = f"""
[auth]
mode = "api_key"
[[auth.api_keys]]
key = "{KEY}"
name = "test"
[retries]
max_attempts = 0
"""
UNREACHABLE = re.compile(
    r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|ERR_SOCKET_TIMEOUT|E40[34]"
)


def unavailable(reason: str) -> NoReturn:
    """Skip, or fail where VANGO_REQUIRE_CLIENTS=1 says that the clients must be there."""
    if os.environ.get("VANGO_REQUIRE_CLIENTS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def checks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the script with the SDK beside it, as the lock file says."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        unavailable("node and npm are needed for the TypeScript SDK")
    folder = tmp_path_factory.mktemp("typescript")
    for name in ("package.json", "package-lock.json", "check.mjs"):
        shutil.copy(HERE / name, folder)
    command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1", "--fetch-timeout=30000"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        unavailable("npm ci took longer than 120 s")
    if done.returncode != 0:
        if UNREACHABLE.search(done.stderr):
            unavailable(f"npm cannot fetch the TypeScript SDK: {done.stderr.strip().splitlines()[0]}")
        pytest.fail(done.stderr)
    return folder


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Run `vango serve` on a free port and give its address."""
    (folder / "vango.toml").write_text(CONFIG)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("VANGO", "ANTHROPIC"))}
    command = [sys.executable, "-m", "vango", "serve", "--config", str(folder / "vango.toml"), "--port", "0"]
    with (
        (folder / "server.log").open("wb") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environ) as process,
    ):
        assert process.stdout is not None
        said = process.stdout.readline().decode()
        address = re.search(r"http://127\.0\.0\.1:\d+", said)
        # The log goes on on the same pipe, which must not fill up.
        reader = Thread(target=process.stdout.read)
        reader.start()
        try:
            assert address, (said, (folder / "server.log").read_text())
            yield address[0]
        finally:
            process.send_signal(signal.SIGTERM)
            reader.join(timeout=15)
            process.kill()
    assert process.returncode == 0


@pytest.fixture(scope="session")
def report(checks: Path) -> dict[str, Any]:
    with server(checks) as url:
        environ = {**os.environ, "VANGO_URL": url, "VANGO_KEY": KEY}
        done = subprocess.run(
            ["node", "check.mjs"], cwd=checks, env=environ, capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def got(report: dict[str, Any], request: pytest.FixtureRequest) -> Any:
    """What the check of the test's own name gave."""
    check = request.node.originalname.removeprefix("test_")
    outcome = report[check]
    assert "got" in outcome, outcome["failed"]
    return outcome["got"]


def text(message: dict[str, Any]) -> str:
    return "".join(block["text"] for block in message["content"] if block["type"] == "text")


def test_create(got: Any) -> None:
    message, headers = got["message"], got["headers"]
    usage = message["usage"]
    assert "Ada" in text(message)
    assert message["model"] == headers["x-model"] == "sandbox/chat"
    assert message["stop_reason"] == "end_turn"
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert got["requestID"] == headers["request-id"] == headers["x-request-id"]
    assert headers["x-input-tokens"] == str(usage["input_tokens"])


def test_stream(got: Any, report: dict[str, Any]) -> None:
    whole = report["create"]["got"]["message"]
    assert len(got["texts"]) > 3
    assert "".join(got["texts"]) == got["text"] == text(got["message"]) == text(whole)
    assert got["message"]["usage"].items() <= whole["usage"].items()
    assert got["requestID"].startswith("req_")


def test_rawStream(got: Any, report: dict[str, Any]) -> None:  # noqa: N802 - named as in check.mjs
    assert got[0]["message"]["model"] == "sandbox/chat"
    assert got[-1] == {"type": "message_stop"}
    assert got[-2]["type"] == "message_delta"
    assert got[-2]["usage"] == report["create"]["got"]["message"]["usage"]


def test_tools(got: Any) -> None:
    assert got["first"]["stop_reason"] == "tool_use"
    assert (got["call"]["name"], got["call"]["input"]) == ("get_weather", {"city": "Paris"})
    assert got["last"]["stop_reason"] == "end_turn"
    assert "Sunny, 21 degrees" in text(got["last"])


def test_streamedTools(got: Any, report: dict[str, Any]) -> None:  # noqa: N802
    assert got == report["tools"]["got"]["call"]


@pytest.mark.parametrize("check", ["toolRunner", "streamedToolRunner"])
def test_the_tool_runner_runs_the_loop_to_its_end(report: dict[str, Any], check: str) -> None:
    assert report[check] == {
        "got": {
            "cities": ["Paris"],
            "stops": ["tool_use", "end_turn"],
            "last": {"type": "text", "text": "get_weather says: Rain in Paris"},
        }
    }


def test_thinking(got: Any) -> None:
    thought, said = got["message"]["content"]
    assert (thought["type"], said["type"]) == ("thinking", "text")
    assert thought["thinking"]
    assert thought["signature"]
    assert "Ada" in text(got["next"])


def test_structured(got: Any) -> None:
    assert got == {"name": "Ada", "age": 36}


def test_countTokens(got: Any) -> None:  # noqa: N802
    assert got["counted"] == got["used"] > 0


def test_models(got: Any) -> None:
    assert {"sandbox/chat", "sandbox/tools"} < set(got["ids"])
    assert len(got["ids"]) == len(set(got["ids"]))
    assert (got["one"]["id"], got["one"]["type"]) == ("sandbox/chat", "model")


def test_abort(got: Any) -> None:
    assert got == {"aborted": True, "events": 3}


@pytest.mark.parametrize(
    ("check", "expected", "status", "kind", "retry_after"),
    [
        ("rateLimited", "RateLimitError", 429, "rate_limit_error", "1"),
        ("rateLimitedStream", "RateLimitError", 429, "rate_limit_error", "1"),
        ("overloaded", "InternalServerError", 503, "overloaded_error", "1"),
        ("failed", "InternalServerError", 502, "provider_error", None),
        ("unknownModel", "NotFoundError", 404, "not_found_error", None),
        ("badRequest", "BadRequestError", 400, "invalid_request_error", None),
        ("wrongKey", "AuthenticationError", 401, "authentication_error", None),
    ],
)
def test_failures_are_the_sdks_typed_errors(
    report: dict[str, Any], check: str, expected: str, status: int, kind: str, retry_after: str | None
) -> None:
    assert "got" in report[check], report[check]["failed"]
    error = report[check]["got"]
    assert error["classes"] == [expected]
    assert (error["status"], error["type"], error["retryAfter"]) == (status, kind, retry_after)
    assert error["body"]["error"]["type"] == kind
    assert error["requestID"] == error["body"]["request_id"]
