"""Random sequences of nights against a dictionary (sequences.py).

./run-tests.sh tests/faults/test_sequences.py --sequences 2000 --seed 1
"""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

from tests.conftest import SHIPPED
from tests.faults.nights import FAULTS

# Spark plans small queries on one core: two processes fill two cores.
PROCESSES = 2


def test_random_sequences(tmp_path: Path, tiny: Path, pytestconfig) -> None:
    models = (tiny / (tiny / "current").read_text().strip(), SHIPPED / (SHIPPED / "current").read_text().strip())
    total, seed = pytestconfig.getoption("sequences"), str(pytestconfig.getoption("seed"))
    bounds = [total * i // PROCESSES for i in range(PROCESSES + 1)]
    running = []
    for first, end in itertools.pairwise(bounds):
        command = [
            sys.executable,
            str(FAULTS / "sequences.py"),
            str(tmp_path),
            seed,
            str(first),
            str(end - first),
            *map(str, models),
        ]
        with (tmp_path / f"{first}.log").open("w") as log:
            running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log))
    codes = [process.wait() for process in running]
    failed = [first for first, code in zip(bounds, codes, strict=False) if code]
    assert not failed, "\n".join((tmp_path / f"{first}.log").read_text()[-3000:] for first in failed)
