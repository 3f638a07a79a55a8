#!/usr/bin/env bash
# Writes the four lock files anew from setup.py. Needs uv (pip install uv).
# One resolution (test) pins everything; the two smaller files are its subsets, so that versions never differ.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() {
    uv pip compile setup.py --universal --python-version 3.10 --generate-hashes --no-emit-find-links --quiet \
        --custom-compile-command ./requirements/lock.sh "$@"
}
compile --extra test -o requirements/test.lock
compile --extra bench -c requirements/test.lock -o requirements/bench.lock
compile --extra training -c requirements/test.lock -o requirements/training.lock
compile --extra jobs -c requirements/test.lock -o requirements/run.lock
rm -rf ./*.egg-info
