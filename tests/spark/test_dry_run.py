"""A dry run reports what a run would do, and writes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.nights import FIRST, SECOND, run, write_source
from tests.spark.conftest import ALL_BOOKS, STRICT

pytestmark = pytest.mark.usefixtures("spark")


@pytest.mark.parametrize("first", [True, False])
def test_a_dry_run_writes_nothing(spark, tmp_path, capsys, first) -> None:
    source = write_source(tmp_path / "first.parquet", FIRST, (None, "no id"))
    if not first:
        assert run(source, tmp_path / "lake") == 0
        write_source(tmp_path / "first.parquet", SECOND, (None, "no id"))
    before = sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    assert run(source, tmp_path / "lake", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "nothing was written" in said
    assert f"scored {4 if first else 3}" in said
    assert sorted(tmp_path.rglob("*")) == before


def test_labels_that_another_model_changes(spark, lake, tmp_path, tiny, capsys) -> None:
    capsys.readouterr()
    assert run(tmp_path / "first.parquet", lake, "--dry-run", model=tiny) == 0
    assert "labels of the model before" in capsys.readouterr().out
    assert run(tmp_path / "first.parquet", lake, model=tiny) == 0
    said = capsys.readouterr().out
    assert "of 4 rows moved" in said
    assert "before \\ now" in said
    rows = spark.read.format("delta").load(f"{lake}_runs").orderBy("started_at").collect()
    assert rows[0]["label_changes"] is None
    changes = rows[1]["label_changes"]
    assert sum(sum(row.values()) for row in changes.values()) == 4
    now = {row["product_id"]: row["category"] for row in spark.read.format("delta").load(str(lake)).collect()}
    before = {"1": "Household", "2": "Books", "3": "Electronics", "4": "Clothing & Accessories"}
    expected: dict[str, dict[str, int]] = {}
    for i in before:
        new = now[i] or "(none)"
        expected.setdefault(before[i], {})[new] = expected.get(before[i], {}).get(new, 0) + 1
    assert changes == expected


def test_a_dry_run_tells_that_a_night_would_be_held(lake, tmp_path, capsys) -> None:
    odd = write_source(tmp_path / "odd.parquet", ALL_BOOKS)
    assert run(odd, lake, *STRICT, "--dry-run") == 4
    assert "would be held back: the shares of the categories drifted" in capsys.readouterr().out
    assert not Path(f"{lake}_held").exists()
