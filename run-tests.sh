#!/usr/bin/env bash
# ./run-tests.sh [PYTEST OPTIONS]   prepares the environment, then lint, types, import rules and tests.
# The tests run in two processes; --numprocesses 0 runs them in one.
# With --cluster also the tests on a real HDFS and YARN, whose jars (51 MB) it fetches once.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/scripts/environment.sh"
prepare test
case " $* " in *" --cluster "*) prepare_cluster ;; esac
cd "$ROOT"
export PATH=$VENV/bin:$PATH
ruff check .
ruff format --check .
mypy
lint-imports
python -m pytest --numprocesses 2 --dist worksteal "$@"
