#!/usr/bin/env bash
# ./run-tests.sh [PYTEST OPTIONS]   prepares the environment, then lint, types, import rules and tests.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/scripts/environment.sh"
prepare test
cd "$ROOT"
export PATH=$VENV/bin:$PATH
ruff check .
ruff format --check .
mypy
lint-imports
python -m pytest "$@"
