"""Random sequences of runs against a dictionary (sequences.py).

    ./run-tests.sh tests/faults/test_sequences.py --sequences 2000 --seed 1

A failure names the seed and the steps of its sequence; FIRST, in the test's name, is the number of the first of its part.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import jobs.categorize as categorize_job
from lib.model.bundle import load_bundle
from tests.conftest import SHIPPED
from tests.faults.sequences import Sequence, check, labels_of

PART = 8


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize("first", range(0, metafunc.config.getoption("sequences"), PART))


@pytest.fixture
def planned_quickly(spark):
    """A run of six rows is mostly planning: use the settings that plan least."""
    name = "spark.sql.shuffle.partitions"
    before = spark.conf.get(name)
    spark.conf.set(name, "1")
    yield spark
    spark.conf.set(name, before)


def test_random_sequences(planned_quickly, tmp_path: Path, tiny: Path, first: int, pytestconfig, monkeypatch) -> None:
    models = (tiny / (tiny / "current").read_text().strip(), SHIPPED / (SHIPPED / "current").read_text().strip())
    bundles = tuple(load_bundle(str(model)) for model in models)
    # Verifying a bundle takes longer than a run of six rows.
    monkeypatch.setattr(categorize_job, "bundle_at", lambda path: bundles[models.index(Path(path))])
    labels = labels_of(bundles)
    for number in range(first, min(first + PART, pytestconfig.getoption("sequences"))):
        sequence = Sequence(f"{pytestconfig.getoption('seed')}/{number}", tmp_path / str(number), bundles, models)
        check(planned_quickly, sequence, labels)
        shutil.rmtree(sequence.folder)
