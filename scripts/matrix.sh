#!/usr/bin/env bash
# scripts/matrix.sh [4.1] [4.0] [3.5] [PYTEST OPTIONS]   the jobs on each pair of Spark and Delta that they support; by default the older two
# In an environment for each pair (build/spark-PAIR, made once from requirements/spark-PAIR.lock and jars-PAIR.xml) it runs the README's first
# run, the same night again, and the core tests, which tests/matrix.txt lists. Exit 1 if a pair fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# In a process of its own, since the set-up is of one pair: on_pair PAIR [PYTEST OPTIONS]
on_pair() {
    export CATALOG_SPARK=$1
    shift
    source scripts/environment.sh
    prepare run
    if ! cmp -s requirements/matrix.lock "$VENV/installed-matrix.lock"; then
        say "installing the tests' tools of requirements/matrix.lock into $VENV (once)"
        "$PYTHON" -I -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/matrix.lock >&2
        cp requirements/matrix.lock "$VENV/installed-matrix.lock"
    fi
    local folder said
    folder=$(mktemp -d)
    for said in "published to lake/categorized" "nothing to do: "; do
        say "Spark $CATALOG_SPARK: a night of the samples, which shall say '$said'"
        (cd "$folder" && env -u SPARK_CONF_DIR -u PYSPARK_PYTHON -u PYSPARK_DRIVER_PYTHON "$ROOT/spark-submit.sh") >"$folder/said" 2>&1 && grep -q "$said" "$folder/said" ||
            { tail -n 20 "$folder/said" >&2; rm -rf "$folder"; fail "Expected a night of the samples on Spark $CATALOG_SPARK that says '$said', found the above." 1; }
    done
    rm -rf "$folder"
    "$PYTHON" -m pytest --numprocesses 2 --dist worksteal @tests/matrix.txt "$@"
}

pairs=()
while [ $# -gt 0 ]; do case $1 in [0-9]*.[0-9]*) pairs+=("$1"); shift ;; *) break ;; esac; done
[ ${#pairs[@]} -gt 0 ] || pairs=(4.0 3.5)
told=() failed=
for pair in "${pairs[@]}"; do
    # Not as a condition of `if`: there no command would end it.
    set +e
    (set -e; on_pair "$pair" "$@")
    code=$?
    set -e
    if [ "$code" = 0 ]; then told+=("Spark $pair: passed"); else told+=("Spark $pair: failed") failed=yes; fi
done
printf '%s\n' "${told[@]}"
[ -z "$failed" ]
