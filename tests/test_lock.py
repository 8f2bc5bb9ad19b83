"""The lock files, and what `tools/lock.sh` makes of uv's output."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

TREE = Path(__file__).parents[1]
PROJECT = tomllib.loads((TREE / "pyproject.toml").read_text())
LOCKS = ("requirements.lock", "requirements-serve.lock", "requirements-build.lock")

# All that a lock may hold: pins, hashes, and who wants a pin. There is no place for an address or a path in it.
NAME = r"[A-Za-z0-9]+(?:[._-]+[A-Za-z0-9]+)*"
LINE = re.compile(
    rf"{NAME}(?:\[{NAME}(?:,{NAME})*\])?==[0-9][A-Za-z0-9.+!]*(?: ; [A-Za-z0-9_.*'<>=!() ]+)? \\"
    r"|    --hash=sha256:[0-9a-f]{64}(?: \\)?"
    rf"|    # +(?:via(?: {NAME}(?: \(pyproject\.toml\))?)?|{NAME}(?: \(pyproject\.toml\))?|-c requirements\.lock)"
)


def pins(lock: str) -> dict[str, list[tuple[str, str]]]:
    """Return the pinned versions and their markers by name."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in (TREE / lock).read_text().splitlines():
        if match := re.match(rf"({NAME})[^=]*==(\S+)(?: ; (.+?))? \\$", line):
            found.setdefault(canonicalize_name(match[1]), []).append((match[2], match[3] or ""))
    return found


def check_pinned(requirements: list[str], lock: str) -> None:
    pinned = pins(lock)
    for requirement in map(Requirement, requirements):
        versions = pinned.get(canonicalize_name(requirement.name), [])
        assert versions, f"{lock} lacks {requirement}; tools/lock.sh"
        for version, _ in versions:
            assert requirement.specifier.contains(Version(version)), f"{lock} has {version} for {requirement}"


@pytest.mark.parametrize("lock", LOCKS)
def test_no_line_has_room_for_an_address(lock: str) -> None:
    lines = (TREE / lock).read_text().splitlines()

    assert lines
    assert [line for line in lines if not LINE.fullmatch(line)] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_a_hash(lock: str) -> None:
    lines = (TREE / lock).read_text().splitlines()

    after = [lines[index + 1] for index, line in enumerate(lines) if "==" in line and not line.startswith(" ")]
    assert after
    assert all(line.startswith("    --hash=sha256:") for line in after)


def test_what_the_project_asks_for_is_pinned_as_it_allows() -> None:
    project = PROJECT["project"]
    extras = [
        line for group in project["optional-dependencies"].values() for line in group if not line.startswith("vango[")
    ]

    check_pinned(project["dependencies"] + extras, "requirements.lock")
    check_pinned(project["dependencies"], "requirements-serve.lock")
    check_pinned(PROJECT["build-system"]["requires"], "requirements-build.lock")


def test_servers_run_with_the_versions_that_were_tested() -> None:
    tested = {name: {version for version, _ in versions} for name, versions in pins("requirements.lock").items()}
    served = {name: {version for version, _ in versions} for name, versions in pins("requirements-serve.lock").items()}

    assert served.items() <= tested.items()
    assert not {"pytest", "ruff", "mypy"} & served.keys()


UV = f"""#!{sys.executable}
import sys
from pathlib import Path

arguments = sys.argv[1:]
output = Path(arguments[arguments.index("--output-file") + 1])
with Path("calls").open("a") as calls:
    print(sys.stdin.read() if "-" in arguments else "", *arguments, output.read_text(), sep="|", end="~", file=calls)
output.write_text(Path("answer").read_text())
"""

PIN = "trio==0.35.0 \\\n    --hash=sha256:" + "0" * 64 + "\n    # via vango (pyproject.toml)\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Make a project with the script and a uv that notes how it was called and writes what `answer` says."""
    (tmp_path / "tools").mkdir()
    shutil.copy(TREE / "tools/lock.sh", tmp_path / "tools/lock.sh")
    (tmp_path / "pyproject.toml").write_text('[build-system]\nrequires = ["setuptools>=77"]\n')
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text(UV)
    uv.chmod(0o755)
    return tmp_path


def run(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = f"{tree / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = [str(tree / "tools/lock.sh"), *arguments]
    return subprocess.run(command, env={"PATH": path}, cwd="/", capture_output=True, text=True, check=False)


def test_options_that_name_an_index_do_not_get_into_a_lock(tree: Path) -> None:
    (tree / "answer").write_text(
        "--index-url https://index.example/simple\n-i https://index.example\n--find-links /wheels\n"
        f"--trusted-host index.example\n--extra-index-url https://user:pass@index.example\n\n{PIN}"
    )

    done = run(tree)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [(tree / lock).read_text().strip() for lock in LOCKS] == [PIN.strip()] * 3


def test_an_address_in_a_pin_is_refused_and_the_lock_stays(tree: Path) -> None:
    (tree / "requirements.lock").write_text("old\n")
    (tree / "answer").write_text("vango-extra @ https://files.example/vango_extra.whl\n")

    done = run(tree)

    assert done.returncode == 1
    assert "https://files.example" in done.stdout
    assert "requirements.lock would name an address" in done.stderr
    assert (tree / "requirements.lock").read_text() == "old\n"


def test_pins_are_kept_and_options_go_to_uv(tree: Path) -> None:
    (tree / "requirements.lock").write_text("old==1\n")
    (tree / "answer").write_text(PIN)

    run(tree, "--upgrade")

    everything, serve, build = (call.split("|") for call in (tree / "calls").read_text().split("~")[:-1])
    assert everything[-1] == "old==1\n"
    assert {"--generate-hashes", "--universal", "--upgrade"} <= {*everything} & {*serve} & {*build}
    assert {"dev", "test"} <= {*everything}
    assert not {"dev", "test"} & {*serve}
    assert build[0] == "setuptools>=77\n"
