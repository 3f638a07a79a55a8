#!/usr/bin/env bash
# scripts/kubernetes.sh [PYTEST OPTIONS]   the tests of deploy/kubernetes, with runs on Kubernetes' own API server and controllers, and
# under the Spark operator. These are compiled once into build/kubernetes, which needs Go and takes some twenty minutes on two cores; the runs
# need root, for the containers. CATALOG_IMAGE_ROOT names a folder with an unpacked image, which the containers then use as their root instead of
# this machine.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# compiled NAME FOLDER PACKAGE: build/kubernetes/NAME from the Go module in FOLDER, whose go.sum has the digests of all its dependencies.
compiled() {
    local record=$ROOT/build/kubernetes/$1.from
    if cat "$2"/* | cmp -s - "$record"; then return; fi
    command -v go >/dev/null || fail "Expected Go to compile $3, found none; install it, or leave these tests out." 2
    say "compiling $3 (once)"
    (cd "$2" && go build -ldflags='-s -w' -o "$ROOT/build/kubernetes/$1" "$3") || fail "Expected $3 to compile, found the fault above; mend it, or leave these tests out."
    cat "$2"/* >"$record"
}

prepare test
prepare_s3
mkdir -p "$ROOT/build/kubernetes"
tests=$ROOT/tests/deploy/kubernetes
compiled control-plane "$tests/control-plane" .
compiled operator "$tests/operator" github.com/kubeflow/spark-operator/v2/cmd/operator
# The operator's resource definitions are in its source.
source_of_operator=$(cd "$tests/operator" && go list -m -f '{{.Dir}}' github.com/kubeflow/spark-operator/v2)
cp -f "$source_of_operator"/config/crd/bases/sparkoperator.k8s.io_*.yaml "$ROOT/build/kubernetes/"
cd "$ROOT"
exec "$PYTHON" -m pytest --cluster "$@" tests/deploy/kubernetes
