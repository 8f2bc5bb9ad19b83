#!/usr/bin/env bash
# Pin every package that this project uses, with hashes: `tools/lock.sh`, or `tools/lock.sh --upgrade` for newer versions.
#
#   requirements.lock        all of it, for development, tests and CI
#   requirements-serve.lock  what the server runs with
#   requirements-build.lock  what builds the project's own wheel
#
# Pins that pyproject.toml still allows stay as they are. Where packages come from is the business of whoever installs.
set -euo pipefail
cd "$(dirname "$0")/.."
draft=$(mktemp)
trap 'rm -f "$draft"' EXIT

compile() { # LOCK SOURCE [OPTION…]
  local lock=$1
  shift
  cp "$lock" "$draft" 2> /dev/null || : > "$draft" # the pins to keep
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
    --no-emit-index-url --no-emit-find-links --output-file "$draft" "$@"
  # A lock works with any index: options are left out, and an address anywhere else is a fault.
  if grep -E '://' <(grep -v '^-' "$draft"); then
    echo "$lock would name an address, see above; it is left as it was" >&2
    exit 1
  fi
  grep -v '^-' "$draft" > "$lock"
}

build_requires='import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")'

compile requirements.lock pyproject.toml --extra dev --extra test "$@"
# Servers run with the versions that the tests ran with.
compile requirements-serve.lock pyproject.toml --constraint requirements.lock "$@"
python3 -c "$build_requires" | compile requirements-build.lock - --constraint requirements.lock "$@"
