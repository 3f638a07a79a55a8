"""Clocks that cannot be trusted: one that goes back, a leap day, machines in two time zones."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.rollback import RollbackSettings
from jobs.rollback import main as rollback_main
from lib.command import run_command
from tests.fault_table import Fault
from tests.faults.nights import FIRST, SECOND, Night, arguments, hashes_in, ledger, run, titles_hash, write_source

DAY = 86_400


@pytest.fixture
def clock_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the clock that the job's Python sees; it goes on from there."""
    real = time.time

    def to(seconds: float) -> None:
        shift = seconds - real()
        monkeypatch.setattr(time, "time", lambda: real() + shift)

    return to


def seconds_of(*date: int) -> float:
    return datetime(*date, tzinfo=timezone.utc).timestamp()


def started(spark, lake: Path) -> dict[str, int]:
    """run id -> seconds since the epoch, as stored in the ledger, whatever this process's time zone is."""
    rows = spark.read.format("delta").load(f"{lake}_runs").selectExpr("run_id", "CAST(started_at AS LONG) AS at").collect()
    return {row["run_id"]: row["at"] for row in rows}


def test_a_clock_that_goes_back(
    spark, tmp_path: Path, fault: Callable[[str, str], Fault], clock_at: Callable[[float], None], capsys
) -> None:
    told = fault(
        "a clock that goes back by two days between two runs", "the later run is the last one, to reruns and to rollback"
    )
    lake, now = tmp_path / "lake", time.time()
    clock_at(now + DAY)
    assert run(write_source(tmp_path / "first.parquet", FIRST), lake) == 0
    (first,) = (name for name, _ in ledger(spark, lake))
    # Delta reads a commit's time from its file.
    for table in (lake, Path(f"{lake}_runs")):
        for file in (table / "_delta_log").glob("*.json"):
            os.utime(file, (now + DAY, now + DAY))
    clock_at(now - DAY)
    source = write_source(tmp_path / "second.parquet", SECOND)
    assert run(source, lake, "--missing", "delete") == 0
    assert hashes_in(spark, lake) == titles_hash(SECOND)
    assert len(ledger(spark, lake)) == 2
    capsys.readouterr()
    assert run(source, lake, "--missing", "delete") == 0
    assert "nothing to do" in capsys.readouterr().out
    assert run_command(RollbackSettings, rollback_main, "rollback", ["--target", str(lake), "--to", first]) == 0
    assert hashes_in(spark, lake) == titles_hash(FIRST)
    told.saw("the later run is the last one, rolled back to the first")


def test_the_twenty_ninth_of_february(
    spark, tmp_path: Path, fault: Callable[[str, str], Fault], clock_at: Callable[[float], None], capsys
) -> None:
    told = fault("a run on 29 February, with that day in the source", "the day is in ledger and table; reruns find it")
    lake, source = tmp_path / "lake", tmp_path / "leap.parquet"
    leap, before = datetime(2028, 2, 29, 12), datetime(2028, 2, 28, 23, 59, 59)
    rows = {"product_id": ["1", "1", "2"], "title": ["old lamp", "steel kettle", "chair"], "at": [before, leap, leap]}
    pq.write_table(pa.table(rows).set_column(2, "at", pa.array(rows["at"], pa.timestamp("us", "UTC"))), source)
    begun = seconds_of(2028, 2, 29, 23, 59, 58)
    clock_at(begun)
    options = ("--order-by", "at", "--carry", "at")
    assert run(source, lake, *options) == 0
    assert hashes_in(spark, lake) == titles_hash({"1": "steel kettle", "2": "chair"})
    days = spark.read.format("delta").load(str(lake)).selectExpr("CAST(CAST(at AS DATE) AS STRING) AS day").distinct()
    assert [row["day"] for row in days.collect()] == ["2028-02-29"]
    ((name, at),) = started(spark, lake).items()
    assert name.startswith("2028-02-29T2359")
    assert 0 <= at - int(begun) < 600
    capsys.readouterr()
    clock_at(seconds_of(2029, 2, 28))
    assert run(source, lake, *options) == 0
    assert "nothing to do" in capsys.readouterr().out
    told.saw("29 February in ledger and table, nothing to do a year later")


def test_two_time_zones(spark, tmp_path: Path, fault: Callable[[str, str], Fault], monkeypatch: pytest.MonkeyPatch) -> None:
    told = fault(
        "runs from machines in two time zones, times inside an hour that clocks skip in one",
        "the same instants in table and ledger; an unchanged row is unchanged",
    )
    lake = tmp_path / "lake"
    # 02:30 on that day does not exist in Los Angeles.
    times = [datetime(2026, 3, 8, 2, 30), datetime(2026, 3, 8, 3, 30), datetime(2026, 3, 8, 10, 30)]

    def source(name: str, changed: str) -> Path:
        """With instants, and with times without a zone."""
        table = {
            "product_id": ["1", "1", "2"],
            "title": ["old lamp", "steel kettle", changed],
            "at": pa.array(times, pa.timestamp("us", "UTC")),
            "shown": pa.array(times, pa.timestamp("us")),
        }
        pq.write_table(pa.table(table), tmp_path / name)
        return tmp_path / name

    options = ("--order-by", "at", "--carry", "at,shown")
    before = time.time()
    assert run(source("here.parquet", "chair"), lake, *options) == 0
    monkeypatch.setenv("TZ", "America/Los_Angeles")
    there = Night(tmp_path / "night", "", arguments(source("there.parquet", "yoga mat"), lake, *options))
    assert there.end() == 0, there.said()
    monkeypatch.delenv("TZ")
    assert hashes_in(spark, lake) == titles_hash({"1": "steel kettle", "2": "yoga mat"})
    rows = (
        spark.read.format("delta")
        .load(str(lake))
        .selectExpr("product_id", "CAST(at AS LONG) AS at", "CAST(shown AS STRING) AS shown")
    )
    assert {row["product_id"]: (row["at"], row["shown"]) for row in rows.collect()} == {
        "1": (seconds_of(2026, 3, 8, 3, 30), "2026-03-08 03:30:00"),
        "2": (seconds_of(2026, 3, 8, 10, 30), "2026-03-08 10:30:00"),
    }
    scored = spark.read.format("delta").load(f"{lake}_runs").orderBy("started_at").select("rows_scored", "rows_unchanged")
    assert [tuple(row) for row in scored.collect()] == [(2, 0), (1, 1)]
    assert all(before - 1 <= at <= time.time() for at in started(spark, lake).values())
    told.saw("the same instants, one of two rows scored again")
