#!/usr/bin/env bash
# Regenerates the lock files: five from setup.py, those of dbt, the documentation, MLflow, moto and the schedulers from NAME.in, and those of
# older pairs of Spark and Delta. Needs uv (pip install uv).
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
# For separate environments. pip needs the extras to be written (mashumaro[msgpack]).
compile requirements/dbt.in --no-strip-extras -o requirements/dbt.lock
compile requirements/docs.in -o requirements/docs.lock
compile requirements/moto.in -o requirements/moto.lock
compile requirements/schedulers.in -o requirements/schedulers.lock
# Scores with the same packages as the jobs do.
compile setup.py requirements/mlflow.in -c requirements/test.lock -o requirements/mlflow.lock
# Older pairs of Spark and Delta: all else in the versions of the default one. The tests' tools on them go into the same environments.
constraints=$(mktemp)
trap 'rm -f "$constraints"' EXIT
grep -E '^[a-z0-9._-]+==' requirements/test.lock | sed 's/ *\\$//' | grep -Ev '^(pyspark|delta-spark|py4j)==' >"$constraints"
for pair in 4.0 3.5; do
    compile setup.py --extra jobs -c "$constraints" --override "requirements/spark-$pair.in" --no-annotate -o "requirements/spark-$pair.lock"
done
compile requirements/matrix.in -c "$constraints" --no-annotate -o requirements/matrix.lock
rm -rf ./*.egg-info
