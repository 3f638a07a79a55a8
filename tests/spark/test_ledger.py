"""The content of `runs`: estimates, label changes, runs it has missed, and tables of older releases."""

from __future__ import annotations

import shutil

import pytest

from tests.faults.nights import FIRST, SECOND, ledger, run, write_source
from tests.spark.conftest import versions

pytestmark = pytest.mark.usefixtures("spark")


def test_a_table_of_an_older_version_goes_on(spark, lake, tmp_path) -> None:
    older = spark.read.format("delta").load(str(lake)).drop("missing_since")
    older.write.format("delta").mode("overwrite").option("overwriteSchema", True).save(str(lake))
    assert run(tmp_path / "second.parquet", lake, "--missing", "mark") == 0
    rows = {row["product_id"]: row for row in spark.read.format("delta").load(str(lake)).collect()}
    assert {i for i in rows if rows[i]["missing_since"]} == {"4"}


def test_a_run_estimates_its_accuracy(spark, lake, tmp_path, capsys) -> None:
    """Over all rows of the source, scored now or unchanged; rows of a product that is gone do not count, nor those without words."""
    source = write_source(tmp_path / "more.parquet", {**SECOND, "7": "thing for the thing", "8": "?!"})
    capsys.readouterr()
    assert run(source, lake) == 0
    table = spark.read.format("delta").load(str(lake)).filter("product_id != '4' AND category IS NOT NULL")
    rows = [(row["status"], row["confidence"]) for row in table.collect()]
    sure = [confidence for status, confidence in rows if status == "categorized"]
    assert 0 < len(sure) < len(rows) == 6
    told = spark.read.format("delta").load(f"{lake}_runs").orderBy("started_at").collect()[-1]
    assert told["mean_confidence"] == pytest.approx(sum(confidence for _, confidence in rows) / len(rows))
    assert told["estimated_precision"] == pytest.approx(sum(sure) / len(sure))
    expected = f"estimated accuracy {told['mean_confidence']:.1%}; of the rows not in review {told['estimated_precision']:.1%}"
    assert expected in capsys.readouterr().out


def test_a_run_without_a_sure_row_estimates_no_precision(spark, tmp_path, capsys) -> None:
    assert run(write_source(tmp_path / "one.parquet", {"1": "thing for the thing"}), tmp_path / "new") == 0
    (told,) = spark.read.format("delta").load(f"{tmp_path}/new_runs").collect()
    assert (told["estimated_precision"], told["rows_review"]) == (None, 1)
    assert f"estimated accuracy {told['mean_confidence']:.1%}\n" in capsys.readouterr().out


@pytest.mark.parametrize("lost", [False, True])
def test_a_ledger_of_an_older_version_gets_the_new_column(spark, lake, tmp_path, lost) -> None:
    """Even if the next run first writes the row of a run that the ledger has lost."""
    ledger_at = f"{lake}_runs"
    older = spark.read.format("delta").load(ledger_at).drop("estimated_precision")
    older.write.format("delta").mode("overwrite").option("overwriteSchema", True).save(ledger_at)
    if lost:
        spark.sql(f"DELETE FROM delta.`{ledger_at}`")
    assert run(tmp_path / "second.parquet", lake) == 0
    before, now = spark.read.format("delta").load(ledger_at).orderBy("started_at").collect()
    assert (before["estimated_precision"] is None) == (not lost)
    assert now["estimated_precision"] > 0.5
    assert before["mean_confidence"] > 0.5


def test_a_run_that_the_ledger_missed_is_told_by_the_next_night_too(spark, lake, tmp_path, capsys) -> None:
    (before,) = ledger(spark, lake)
    spark.sql(f"DELETE FROM delta.`{lake}_runs`")
    assert run(tmp_path / "second.parquet", lake) == 0
    assert f"the ledger now knows the run {before[0]} too" in capsys.readouterr().out
    assert ledger(spark, lake)[0] == before
    assert len(ledger(spark, lake)) == 2


@pytest.mark.parametrize("left", [0, 1])
def test_a_ledger_that_was_lost_or_is_an_old_copy_gets_all_runs_of_the_history(
    spark, lake, tmp_path, capsys, monkeypatch, left
) -> None:
    monkeypatch.setattr("lib.tables.ledger.MOST_STOPPED", 2)
    for i in range(3):
        assert run(write_source(tmp_path / "more.parquet", {**FIRST, "9": f"lamp {i}"}), lake) == 0
    before = ledger(spark, lake)
    if left:
        spark.sql(f"DELETE FROM delta.`{lake}_runs` WHERE run_id > '{before[0][0]}'")
    else:
        shutil.rmtree(f"{lake}_runs")
        spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
    commits = versions(spark, f"{lake}_runs") if left else 1
    capsys.readouterr()
    assert run(tmp_path / "more.parquet", lake) == 0
    assert (
        f"(The ledger now knows {4 - left} runs too, whose rows it lacked; the newest is {before[-1][0]}.)"
        in capsys.readouterr().out
    )
    assert ledger(spark, lake) == before
    assert versions(spark, f"{lake}_runs") == commits + 1


def test_a_release_that_is_repeated_brings_back_all_of_a_lost_ledger(spark, lake, tmp_path) -> None:
    assert run(tmp_path / "second.parquet", lake) == 0
    before = ledger(spark, lake)
    shutil.rmtree(f"{lake}_runs")
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
    assert run("anything", lake, "--publish-anyway", before[-1][0]) == 0
    assert ledger(spark, lake) == before
