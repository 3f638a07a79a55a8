#!/usr/bin/env bash
# bootstrap.sh s3://BUCKET/catalog-categorizer.tar.gz
#
# A bootstrap action for EMR 7 (Amazon Linux 2023): it unpacks the clone in the home of the user `hadoop` on the primary node and installs the Python and
# the packages that the step in steps.json needs. Make the archive with `git archive --prefix=catalog-categorizer/ -o catalog-categorizer.tar.gz HEAD`.
set -euo pipefail
[ $# = 1 ] || { echo "error: Expected the address of the archive, found $# arguments; see deploy/emr/bootstrap.sh." >&2; exit 2; }

# The other nodes get Python and packages with the job.
grep -Eq '"isMaster": *true' /mnt/var/lib/info/instance.json || exit 0

sudo dnf install -y -q python3.11 python3.11-pip
# The kernel is compiled with this; without it ONNX Runtime scores, and the job says so.
sudo dnf install -y -q gcc-c++ libstdc++-static || echo "no C++ compiler: ONNX Runtime will score" >&2

cd "$HOME"
aws s3 cp "$1" - | tar -xz
# This installs the packages only: the first step fetches Delta's jars and those for s3a://.
PYTHON3=python3.11 catalog-categorizer/spark-submit.sh categorize --help >/dev/null
