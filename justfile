# What is done day to day. `just` comes with the development requirements.

bin := ".venv/bin"

# List the recipes.
default:
    @just --list

# Make the virtual environment with everything that development needs.
setup:
    test -x {{bin}}/python || python3 -m venv .venv
    {{bin}}/pip install --quiet --require-hashes -r requirements.lock -r requirements-build.lock
    {{bin}}/pip install --quiet --no-deps --no-build-isolation -e .

# Run the gateway.
serve *arguments: setup
    {{bin}}/vango serve {{arguments}}

# Run the tests.
test *arguments: setup
    {{bin}}/python -m pytest {{arguments}}

# Check style, types, layers and async rules.
check: setup
    {{bin}}/ruff format --check .
    {{bin}}/ruff check .
    {{bin}}/mypy
    {{bin}}/lint-imports
    {{bin}}/flake8-async --disable ASYNC114,ASYNC124,ASYNC128,ASYNC900,ASYNC910,ASYNC911,ASYNC912,ASYNC913 $(git ls-files 'vango/*.py')

# Put the code into the project's format.
format: setup
    {{bin}}/ruff format .
    {{bin}}/ruff check --fix .

# Pin the dependencies again.
lock:
    tools/lock.sh

# Measure the gateway beside a direct call.
bench *arguments: setup
    {{bin}}/python bench/run.py {{arguments}}
