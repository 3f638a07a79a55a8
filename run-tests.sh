#!/usr/bin/env bash
# ./run-tests.sh [PYTEST OPTIONS]   prepares the environment, then lint, types, import rules and tests.
# The tests run in two processes; --numprocesses 0 runs them in one.
# With --cluster also the tests on a real HDFS and YARN, whose jars (51 MB) it fetches once, and the long ones on S3 and a standalone
# cluster; without options these run if a file that only they exercise has changed since they passed (tests/cluster_rule.py).
# With --deploy also those of deploy/ that the schedulers themselves run (500 MB, installed once).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/scripts/environment.sh"
prepare test
prepare_dbt
prepare_mlflow
prepare_moto
prepare_s3
prepare_browser
if [ $# = 0 ] && ! PYTHONPATH=$ROOT "$PYTHON" -m tests.cluster_rule; then
    say "the tests of --cluster run too: a file that only they exercise has changed since they passed (tests/cluster_rule.py)"
    set -- --cluster
fi
case " $* " in *" --cluster "*) prepare_cluster ;; esac
case " $* " in *" --deploy "*) prepare_schedulers ;; esac
cd "$ROOT"
export PATH=$VENV/bin:$PATH
# The tests start some hundred JVMs, each sooner from the archive of Java's classes that the first run of the samples leaves in build/.
if ! compgen -G "$ROOT/build/classes-*.jsa" >/dev/null; then
    say "running the samples alongside the checks, for the archive of Java's classes (once)"
    folder=$(mktemp -d)
    # As a user would: without the variables that are set here for the tests.
    (cd "$folder" && exec env -u SPARK_CONF_DIR "$ROOT/spark-submit.sh" >"$folder/output" 2>&1) &
    archiving=$!
    trap 'kill "$archiving" 2>/dev/null || true' EXIT
fi
ruff check .
ruff format --check .
mypy
lint-imports
# Fails on a broken link or anchor.
scripts/docs.sh
if [ -n "${archiving:-}" ]; then
    # If it fails, the tests report that too.
    wait "$archiving" || true
    trap - EXIT
    rm -rf "$folder"
fi
python -m pytest --numprocesses 2 --dist worksteal "$@"
