#!/usr/bin/env bash
# bootstrap.sh s3://BUCKET/catalog-categorizer.tar.gz
#
# A bootstrap action for EMR 7 (Amazon Linux 2023): the clone into the home of the user `hadoop` on the primary node, with the Python and the packages
# that the step in steps.json runs with. The archive is what `git archive --prefix=catalog-categorizer/ -o catalog-categorizer.tar.gz HEAD` makes.
set -euo pipefail
[ $# = 1 ] || { echo "error: Expected the address of the archive, found $# arguments; see deploy/emr/bootstrap.sh." >&2; exit 2; }

# The other nodes get Python and packages with the job.
grep -Eq '"isMaster": *true' /mnt/var/lib/info/instance.json || exit 0

sudo dnf install -y -q python3.11 python3.11-pip
# What the kernel is compiled with; without it ONNX Runtime scores, and the job says so.
sudo dnf install -y -q gcc-c++ libstdc++-static || echo "no C++ compiler: ONNX Runtime will score" >&2

cd "$HOME"
aws s3 cp "$1" - | tar -xz
# Java comes with Spark's jars later: the first step fetches Delta's, and those for s3a://.
PYTHON3=python3.11 catalog-categorizer/spark-submit.sh categorize --help >/dev/null
