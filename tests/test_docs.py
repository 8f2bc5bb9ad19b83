"""What a reader would copy from the README, the docs and the examples works."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.support.server import running
from vango.config import load

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list[tuple[str, str]]:
    pattern = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [(page.name, match[1]) for page in PAGES for match in pattern.finditer(page.read_text())]


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("page", "text"), blocks("toml"))
def test_a_configuration_in_the_docs_has_no_fault(page: str, text: str) -> None:
    assert load(text, {"TEAM_KEY_SHA256": "0" * 64})


async def test_python_in_the_docs_runs() -> None:
    found = blocks("python")
    assert found
    async with running() as server:
        for _, text in found:
            code = text.replace("http://127.0.0.1:8080", server.url)
            output = await trio.to_thread.run_sync(run, "-c", code)

            assert output.strip()


async def test_the_requests_in_the_readme_are_answered() -> None:
    bodies = [json.loads(match) for _, text in blocks("sh") for match in re.findall(r"-d '(\{.*?\})'", text, re.DOTALL)]
    offline = [body for body in bodies if body["model"].startswith("sandbox/")]
    assert offline
    async with running() as server:
        for body in offline:
            assert (await server.post(body)).status_code == 200


@pytest.mark.parametrize(
    ("example", "output"),
    [
        ("embed.py", "12 * 7 is 84.\n"),
        (
            "script_the_sandbox.py",
            "Here I am.\nmessage_start content_block_start ping content_block_delta content_block_delta error\n",
        ),
    ],
)
def test_an_example_runs(example: str, output: str) -> None:
    assert run(str(ROOT / "examples" / example)) == output


def test_every_example_is_tested() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == {"embed.py", "script_the_sandbox.py"}
