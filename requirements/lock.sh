#!/usr/bin/env bash
# Writes the lock files anew: five from setup.py, those of dbt, the documentation, MLflow and moto from NAME.in. Needs uv (pip install uv).
# One resolution (test) pins everything; the smaller files are its subsets, so that versions never differ.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() {
    uv pip compile --universal --python-version 3.10 --generate-hashes --no-emit-find-links --quiet \
        --custom-compile-command ./requirements/lock.sh "$@"
}
compile setup.py --extra test -o requirements/test.lock
compile setup.py --extra bench -c requirements/test.lock -o requirements/bench.lock
compile setup.py --extra training -c requirements/test.lock -o requirements/training.lock
compile setup.py --extra app -c requirements/test.lock -o requirements/app.lock
compile setup.py --extra jobs -c requirements/test.lock -o requirements/run.lock
# Environments of their own; pip wants the extras told (mashumaro[msgpack]).
compile requirements/dbt.in --no-strip-extras -o requirements/dbt.lock
compile requirements/docs.in -o requirements/docs.lock
compile requirements/moto.in -o requirements/moto.lock
# Scores with the same packages as the jobs do.
compile setup.py requirements/mlflow.in -c requirements/test.lock -o requirements/mlflow.lock
rm -rf ./*.egg-info
