"""Alterations of the target's table by another writer: refused in one sentence, with the table as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.nights import FIRST, SECOND, hashes_in, run, titles_hash, write_source

pytestmark = pytest.mark.usefixtures("spark")


@pytest.mark.fault(
    "the target made append-only, or given a constraint that the run's rows do not meet",
    "exit 1 and what to do; the table as it was",
    "exit 1, table as it was",
)
@pytest.mark.parametrize(
    ("change", "because"),
    [
        ("SET TBLPROPERTIES (delta.appendOnly = true)", "found it append-only; unset its property delta.appendOnly"),
        ("ADD CONSTRAINT short CHECK (product_id < '5')", "drop a constraint that is not the job's"),
    ],
)
def test_a_table_that_does_not_take_the_rows_is_left_as_it_is(
    spark, lake: Path, tmp_path: Path, capsys, change, because
) -> None:
    spark.sql(f"ALTER TABLE delta.`{lake}` {change}")
    for mode in ("incremental", "full"):
        assert run(tmp_path / "second.parquet", lake, "--mode", mode) == 1
        said = capsys.readouterr().err
        assert because in said
        assert said.count("\n") == 1
        assert hashes_in(spark, lake) == titles_hash(FIRST)


def test_a_column_added_to_the_ledger_or_the_rejects_stays_empty(spark, lake: Path, tmp_path: Path) -> None:
    for suffix in ("_runs", "_rejected"):
        spark.sql(f"ALTER TABLE delta.`{lake}{suffix}` ADD COLUMN ticket string")
    source = write_source(tmp_path / "second.parquet", SECOND, (None, "no id"))
    assert run(source, lake) == 0
    for suffix in ("_runs", "_rejected"):
        rows = spark.read.format("delta").load(f"{lake}{suffix}").collect()
        assert {row["ticket"] for row in rows} == {None}
    assert run(source, lake, "--mode", "full") == 0
    assert hashes_in(spark, lake) == titles_hash({"4": FIRST["4"], **SECOND})


@pytest.mark.fault(
    "the newest commit in the target's log is overwritten with something else",
    "exit 1 and the version of the log",
    "exit 1 and the version",
)
@pytest.mark.parametrize("content", ["not a commit\n", "[1]\n"])
def test_a_damaged_log_is_told_from_a_damaged_source(spark, lake: Path, tmp_path: Path, capsys, content: str) -> None:
    log = lake / "_delta_log"
    newest = max(log.glob("*.json"))
    newest.write_text(content)
    (log / f".{newest.name}.crc").unlink(missing_ok=True)
    capsys.readouterr()
    assert run(write_source(tmp_path / "second.parquet", SECOND), lake) == 1
    said = capsys.readouterr().err
    assert f"{log} whole, found its version {int(newest.stem)} damaged" in said
    assert said.count("\n") == 1
