"""A run that the guardrails hold back, and its release."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.faults.nights import FIRST, SECOND, hashes_in, ledger, run, titles_hash, vacuum_all, write_source
from tests.spark.conftest import ALL_BOOKS, STRICT, rollback, versions

pytestmark = pytest.mark.usefixtures("spark")


def test_a_night_held_back_and_released(spark, lake, tmp_path, capsys) -> None:
    odd = write_source(tmp_path / "odd.parquet", ALL_BOOKS, (None, "no id"), (None, "no id either"))
    version = versions(spark, lake)
    capsys.readouterr()
    assert run(odd, lake, *STRICT, "--missing", "delete") == 4
    error = capsys.readouterr().err
    assert "the shares of the categories drifted by" in error
    assert "the share rejected rose from 0.000 to 0.286 (limit +0.05)" in error
    assert len(error.strip().splitlines()) == 1
    assert versions(spark, lake) == version
    assert hashes_in(spark, lake) == titles_hash(FIRST)
    (_, _), (held, status) = ledger(spark, lake)
    assert status == "held"
    assert held in error
    candidate = spark.read.format("delta").load(f"{lake}_held")
    assert {row["category"] for row in candidate.collect() if not row["vanished"]} == {"Books"}
    assert run("anything", lake, "--publish-anyway", "another-run") == 2
    assert f"found the run {held}" in capsys.readouterr().err
    assert run("anything", lake, "--publish-anyway", held) == 0
    assert hashes_in(spark, lake) == titles_hash(ALL_BOOKS)
    assert ledger(spark, lake)[1:] == [(held, "published")]
    # Released counts as published: the input is known, and a second release does nothing.
    for again in ((odd, lake, *STRICT, "--missing", "delete"), ("anything", lake, "--publish-anyway", held)):
        capsys.readouterr()
        assert run(*again) == 0
        assert "nothing to do" in capsys.readouterr().out
    assert spark.read.format("delta").load(f"{lake}_rejected").filter(f"run_id = '{held}'").count() == 2


def test_the_same_run_again_is_held_under_the_same_id(spark, lake, tmp_path, capsys) -> None:
    odd = write_source(tmp_path / "odd.parquet", ALL_BOOKS, (None, "no id"))
    assert run(odd, lake, *STRICT) == 4
    runs = ledger(spark, lake)
    first = capsys.readouterr().err
    assert run(odd, lake, *STRICT) == 4
    again = capsys.readouterr().err
    assert f"than those of the run {runs[1][0]}, which was held back since " in again
    assert again.partition(" the candidate is in ")[2] == first.partition(" the candidate is in ")[2]
    assert len(again.strip().splitlines()) == 1
    assert ledger(spark, lake) == runs
    assert spark.read.format("delta").load(f"{lake}_rejected").count() == 1
    # Another limit, or a look at all rows, is another question.
    assert run(odd, lake, *STRICT, "--mode", "full") == 4
    assert run(odd, lake) == 0
    assert hashes_in(spark, lake) == titles_hash(ALL_BOOKS)


def test_a_change_that_stays_is_released_once(spark, lake, tmp_path, capsys) -> None:
    source = tmp_path / "in.parquet"
    for word in ("red", "blue"):
        assert run(write_source(source, {**FIRST, "1": f"{word} kettle"}), lake) == 0
    assert run(write_source(source, ALL_BOOKS), lake, *STRICT) == 4
    held = ledger(spark, lake)[-1][0]
    assert run("anything", lake, "--publish-anyway", held) == 0
    assert run(write_source(source, {**ALL_BOOKS, "1": "a new novel"}), lake, *STRICT) == 0
    # What was usual before is still no surprise, and anything else is.
    assert run(write_source(source, FIRST), lake, *STRICT, "--guard-moved", "inf") == 0
    assert run(write_source(source, dict.fromkeys(FIRST, "usb cable for phones")), lake, *STRICT, "--guard-moved", "inf") == 4


def test_a_held_night_that_the_table_has_left_behind(spark, lake, tmp_path, capsys) -> None:
    odd = write_source(tmp_path / "odd.parquet", ALL_BOOKS)
    assert run(odd, lake, *STRICT) == 4
    held = ledger(spark, lake)[1][0]
    assert run(tmp_path / "second.parquet", lake) == 0
    capsys.readouterr()
    assert run(odd, lake, "--publish-anyway", held) == 2
    assert "found later changes in it" in capsys.readouterr().err
    assert hashes_in(spark, lake) == titles_hash({"4": FIRST["4"], **SECOND})


def test_guardrails_look_at_the_whole_table(spark, lake, tmp_path) -> None:
    """One changed row of four is all Books; among only the scored rows that would be a drift."""
    one = write_source(tmp_path / "one.parquet", {**FIRST, "1": "electric kettle"})
    assert run(one, lake, *STRICT) == 0
    assert spark.read.format("delta").load(f"{lake}_runs").orderBy("started_at").collect()[-1]["drift"] == pytest.approx(0)


def test_a_held_run_is_released_after_maintenance(spark, lake, tmp_path, capsys) -> None:
    """Which puts its rows into other files, and removes those of before."""
    odd = write_source(tmp_path / "odd.parquet", ALL_BOOKS)
    assert run(odd, lake, *STRICT) == 4
    held = ledger(spark, lake)[1][0]
    spark.sql(f"OPTIMIZE delta.`{lake}_held` ZORDER BY (product_id)")
    vacuum_all(spark, f"{lake}_held")
    assert run(odd, lake, *STRICT) == 4
    assert f"the run {held}, which was held back since" in capsys.readouterr().err
    assert run("anything", lake, "--publish-anyway", held) == 0
    assert hashes_in(spark, lake) == titles_hash(ALL_BOOKS)


def test_a_held_run_whose_rows_are_gone_is_scored_again(spark, lake, tmp_path, capsys) -> None:
    odd = write_source(tmp_path / "odd.parquet", ALL_BOOKS)
    assert run(odd, lake, *STRICT) == 4
    held = ledger(spark, lake)[1][0]
    for file in Path(f"{lake}_held").glob("*.parquet"):
        file.unlink()
    capsys.readouterr()
    assert run("anything", lake, "--publish-anyway", held) == 2
    assert "found some of their files gone; run the job again" in capsys.readouterr().err
    assert run(odd, lake, *STRICT) == 4
    assert f"the rows of the held run {held} are gone from {lake}_held: all is scored again" in capsys.readouterr().out
    ((_, _), (_, _), (again, status)) = ledger(spark, lake)
    assert status == "held"
    assert run("anything", lake, "--publish-anyway", again) == 0
    assert hashes_in(spark, lake) == titles_hash(ALL_BOOKS)


def test_what_is_left_of_a_held_night_does_not_matter(spark, lake, tmp_path) -> None:
    """Its rows may be gone by now."""
    assert run(write_source(tmp_path / "odd.parquet", ALL_BOOKS), lake, *STRICT) == 4
    for file in Path(f"{lake}_held").glob("*.parquet"):
        file.unlink()
    assert run(tmp_path / "second.parquet", lake) == 0


def test_a_target_that_is_gone_is_guarded_by_its_ledger(spark, lake, tmp_path, capsys) -> None:
    """A first run after the table was dropped, moved or not mounted."""
    shutil.rmtree(lake)
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
    odd = write_source(tmp_path / "odd.parquet", ALL_BOOKS)
    told = f"found neither rows nor runs in {lake}, though its ledger {lake}_runs has 1 published run: the table is made anew"
    for more, code in ((("--dry-run",), 4), ((), 4), (("--missing", "delete"), 4)):
        capsys.readouterr()
        assert run(odd, lake, *STRICT, *more) == code
        captured = capsys.readouterr()
        assert told in captured.out
        assert "the shares of the categories drifted by" in captured.err + captured.out
    held = ledger(spark, lake)[-1][0]
    assert run("anything", lake, "--publish-anyway", held) == 0
    assert hashes_in(spark, lake) == titles_hash(ALL_BOOKS)
    # Begun again, its own history is what counts.
    capsys.readouterr()
    assert run(write_source(odd, {**ALL_BOOKS, "1": "a new novel"}), lake, *STRICT) == 0
    assert "the table is made anew" not in capsys.readouterr().out


@pytest.mark.fault(
    "`--publish-anyway` for a run held back next to a table that was since dropped and recreated",
    "exit 2; the new table as it was",
    "exit 2, new table as it was",
)
def test_a_held_night_is_not_published_to_another_table(spark, lake, tmp_path, capsys) -> None:
    odd = write_source(tmp_path / "odd.parquet", ALL_BOOKS)
    assert run(odd, lake, *STRICT) == 4
    held = ledger(spark, lake)[1][0]
    shutil.rmtree(lake)
    assert run(tmp_path / "first.parquet", lake) == 0
    version = versions(spark, lake)
    capsys.readouterr()
    assert run(odd, lake, "--publish-anyway", held) == 2
    assert "or another table" in capsys.readouterr().err
    assert versions(spark, lake) == version
    assert hashes_in(spark, lake) == titles_hash(FIRST)


def test_a_released_night_that_was_rolled_back_is_not_said_to_stand(spark, lake, tmp_path, capsys) -> None:
    odd = write_source(tmp_path / "odd.parquet", ALL_BOOKS)
    assert run(odd, lake, *STRICT) == 4
    (first, _), (held, _) = ledger(spark, lake)
    assert run("anything", lake, "--publish-anyway", held) == 0
    assert rollback("--target", lake, "--to", first) == 0
    capsys.readouterr()
    assert run("anything", lake, "--publish-anyway", held) == 2
    assert f"`rollback --to {held}` brings it back" in capsys.readouterr().err
    assert rollback("--target", lake, "--to", held) == 0
    assert run("anything", lake, "--publish-anyway", held) == 0
    assert "was published before, in version 2" in capsys.readouterr().out


def test_an_empty_id_publishes_nothing(spark, lake, tmp_path, capsys) -> None:
    assert run(tmp_path / "second.parquet", lake, "--publish-anyway", "") == 2
    assert "found an empty text" in capsys.readouterr().err
    assert hashes_in(spark, lake) == titles_hash(FIRST)


def test_a_table_of_somebody_else_s_in_the_place_of_held_rows_is_left_alone(spark, lake, tmp_path, capsys) -> None:
    theirs = f"{lake}_held"
    spark.sql("SELECT 'theirs' AS note, '1' AS product_id").write.format("delta").save(theirs)
    odd = write_source(tmp_path / "odd.parquet", ALL_BOOKS)
    capsys.readouterr()
    assert run(odd, lake, *STRICT) == 2
    assert f"or nothing yet, at {theirs}, found a table without category, " in capsys.readouterr().err
    assert [row["note"] for row in spark.read.format("delta").load(theirs).collect()] == ["theirs"]
    shutil.rmtree(theirs)
    assert run(odd, lake, *STRICT) == 4
