#!/usr/bin/env bash
# scripts/matrix.sh [PAIR[/PYTHON] ...] [PYTEST OPTIONS]   runs the jobs on pairs of Spark and Delta (4.1, 4.0, 3.5) and on Pythons, such as
# 3.5 or 4.1/3.13; by default the older two pairs on this machine's python3. A Python must be on the PATH, or where pyenv installs them.
# In a separate environment for each (build/spark-PAIR[-python-PYTHON], made once from requirements/spark-PAIR.lock and jars-PAIR.xml) it executes
# the README's first run, the same run again, and the core tests, which tests/matrix.txt lists. Exit 1 if one fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# In a separate process, since the set-up is for one pair: on_pair PAIR[/PYTHON] [PYTEST OPTIONS]
on_pair() {
    export CATALOG_SPARK=${1%/*}
    case $1 in */*) on_python "${1#*/}" ;; esac
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
        say "Spark $CATALOG_SPARK, $("$PYTHON" --version): a night of the samples, which shall say '$said'"
        (cd "$folder" && env -u SPARK_CONF_DIR -u PYSPARK_PYTHON -u PYSPARK_DRIVER_PYTHON "$ROOT/spark-submit.sh") >"$folder/said" 2>&1 && grep -q "$said" "$folder/said" ||
            { tail -n 20 "$folder/said" >&2; rm -rf "$folder"; fail "Expected a run of the samples on Spark $CATALOG_SPARK that prints '$said', found the above." 1; }
    done
    rm -rf "$folder"
    "$PYTHON" -m pytest --numprocesses 2 --dist worksteal @tests/matrix.txt "$@"
}

# on_python VERSION: makes the environment with that Python. Tried by starting it, since pyenv's shims also exist for versions that they cannot start.
on_python() {
    export PYTHON3 CATALOG_VENV=$PWD/build/spark-$CATALOG_SPARK-python-$1
    for PYTHON3 in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
        if "$PYTHON3" -I -c '' 2>/dev/null; then return; fi
    done
    printf 'error: Expected Python %s as python%s on the PATH, found none; install it, or leave it out.\n' "$1" "$1" >&2
    exit 2
}

pairs=()
while [ $# -gt 0 ]; do case $1 in [0-9].[0-9] | [0-9].[0-9]/[0-9].[0-9]*) pairs+=("$1"); shift ;; *) break ;; esac; done
[ ${#pairs[@]} -gt 0 ] || pairs=(4.0 3.5)
told=() failed=
for pair in "${pairs[@]}"; do
    # Not as a condition of `if`, where a failing command would not end it.
    set +e
    (set -e; on_pair "$pair" "$@")
    code=$?
    set -e
    if [ "$code" = 0 ]; then told+=("Spark $pair: passed"); else told+=("Spark $pair: failed") failed=yes; fi
done
printf '%s\n' "${told[@]}"
[ -z "$failed" ]
