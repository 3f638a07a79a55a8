"""A run publishes on the version that it was planned on: nothing committed meanwhile is removed unseen, whoever wrote it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lib.command import run_command
from lib.tables import publish
from lib.tables.locations import delta_table, locate
from tests.fault_table import Fault
from tests.faults.nights import FIRST, OTHER, SECOND, at, hashes_in, ledger, run, titles_hash, write_source


def rollback(lake: Path, to: object) -> int:
    from jobs.rollback import RollbackSettings, main

    return run_command(RollbackSettings, main, "rollback", ["--target", str(lake), "--to", str(to)])


def copy_of_row(spark, lake: Path, fresh: str) -> None:
    """Another writer's append: the row of product 1 under another id."""
    row = (
        spark.read.format("delta")
        .load(str(lake))
        .filter("product_id = '1'")
        .selectExpr("* EXCEPT (product_id)", f"'{fresh}' product_id")
    )
    row.select(spark.read.format("delta").load(str(lake)).columns).write.format("delta").mode("append").save(str(lake))


def test_another_writer_appends_before_a_full_run_commits(
    spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault]
) -> None:
    told = fault("another writer appends a row before a full run commits", "the run starts over; the row stays")
    with at("publishing", lambda: copy_of_row(spark, lake, "by hand")):
        assert run(tmp_path / "second.parquet", lake, "--mode", "full") == 0
    assert hashes_in(spark, lake) == titles_hash({"4": FIRST["4"], **SECOND, "by hand": FIRST["1"]})
    told.saw("started over, the row is there")


def test_upkeep_and_another_run_before_a_full_run_commits(
    spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault]
) -> None:
    """A reads, maintenance follows, B reads and goes on to its commit, A commits, B commits."""
    told = fault(
        "a run that read before maintenance commits before a full run that read after it",
        "the latter starts over; nothing is lost",
    )
    # Two small files, so that maintenance has something to do.
    assert run(tmp_path / "other.parquet", lake) == 0

    def upkeep_then_full() -> None:
        delta_table(spark, locate(spark, str(lake))).optimize().executeCompaction()
        with at("publishing", lambda: None):
            inner.append(run(tmp_path / "second.parquet", lake, "--mode", "full"))

    inner: list[int] = []
    with at("publishing", upkeep_then_full):
        assert run(write_source(tmp_path / "third.parquet", {**OTHER, "9": "lamp"}), lake) == 0
    assert inner == [0]
    assert hashes_in(spark, lake) == titles_hash({**FIRST, **SECOND, **OTHER, "9": "lamp"})
    assert [status for _, status in ledger(spark, lake)] == ["published"] * 4
    told.saw("started over, nothing lost")


def test_a_rollback_while_a_full_run_publishes(spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault]) -> None:
    told = fault("`rollback` before a full run commits", "the run starts over; the row that was rolled back does not return")
    first = ledger(spark, lake)[0][0]
    assert run(tmp_path / "other.parquet", lake) == 0
    with at("publishing", lambda: rollback(lake, first)):
        assert run(tmp_path / "second.parquet", lake, "--mode", "full") == 0
    assert hashes_in(spark, lake) == titles_hash({"4": FIRST["4"], **SECOND})
    told.saw("started over, the row is gone")


def test_a_run_killed_before_its_ledger_row_and_then_rolled_back(
    spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault]
) -> None:
    told = fault("a run that ended before its row in the ledger, then `rollback`", "both are in the ledger")

    def die() -> None:
        raise RuntimeError("killed")

    with at("recording", die):
        assert run(tmp_path / "second.parquet", lake) == 1
    assert rollback(lake, ledger(spark, lake)[0][0]) == 0
    assert [status for _, status in ledger(spark, lake)] == ["published", "published", "rolled back"]
    told.saw("both in the ledger")


def test_a_night_held_while_another_is_released(spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault]) -> None:
    told = fault(
        "another run is held back, and the ledger lost, while one is released", "the released run is in the table, and reported"
    )
    strict = ("--guard-from-rows", "1", "--guard-rows", "0")
    assert run(tmp_path / "second.parquet", lake, *strict) == 4
    held = ledger(spark, lake)[-1][0]
    with at("publishing", lambda: run(write_source(tmp_path / "x.parquet", {"9": "lamp", "8": "hose"}), lake, *strict)):
        assert run("anything", lake, "--publish-anyway", held) == 0
    assert hashes_in(spark, lake) == titles_hash({"4": FIRST["4"], **SECOND})
    told.saw("the released run is in the table, and reported")


def beaten_in_every_attempt(spark, lake: Path, tmp_path: Path, *options: str) -> None:
    """The second run; before each of its commits another writer copies a row: as a, b and c."""
    turns = iter("abcdef")
    with at("publishing", lambda: copy_of_row(spark, lake, next(turns)), times=3):
        assert run(tmp_path / "second.parquet", lake, *options) == 1


def test_other_changes_before_every_attempt(
    spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault], capsys
) -> None:
    told = fault("another writer before every attempt of a run", "exit 1; nothing of the run is in the table, theirs is")
    beaten_in_every_attempt(spark, lake, tmp_path)
    assert "another writer at work on it meanwhile; run again" in capsys.readouterr().err
    assert set(hashes_in(spark, lake)) == {*FIRST, "a", "b", "c"}
    told.saw("exit 1, nothing of the run in the table")


def test_a_run_that_stands_beside_other_changes_is_told(
    spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault], capsys, monkeypatch
) -> None:
    told = fault(
        "another writer between the last look and Delta's merge (a table with a change feed), in every attempt",
        "exit 1; what is left of the run is reported, and in the ledger",
    )
    # That moment is too short to be hit, so here the check runs before the other writer.
    monkeypatch.setattr("lib.tables.publish.changed_since", lambda commits, version: False)
    beaten_in_every_attempt(spark, lake, tmp_path, "--change-data-feed")
    assert "the run's changes are in its version" in capsys.readouterr().err
    found = hashes_in(spark, lake)
    assert found["5"] == titles_hash(SECOND)["5"]
    stamped = {row["run_id"] for row in spark.read.format("delta").load(str(lake)).select("run_id").collect()}
    assert stamped <= {run_id for run_id, _ in ledger(spark, lake)}
    told.saw("exit 1, reported and in the ledger")


def test_another_writer_behind_the_last_look(
    spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault], capsys, monkeypatch
) -> None:
    told = fault(
        "another writer between the last look and the commit (a table of rows alone), in every attempt",
        "exit 1; nothing of the run is in the table, theirs is",
    )
    turns, look = iter("abcdef"), publish._after_maintenance

    def look_then_another(*arguments) -> int | None:
        version = look(*arguments)
        copy_of_row(spark, lake, next(turns))
        return version

    monkeypatch.setattr(publish, "_after_maintenance", look_then_another)
    assert run(tmp_path / "second.parquet", lake) == 1
    assert "another writer at work on it meanwhile; run again" in capsys.readouterr().err
    assert set(hashes_in(spark, lake)) == {*FIRST, "a", "b", "c"}
    assert len(ledger(spark, lake)) == 1
    told.saw("exit 1, nothing of the run in the table")
