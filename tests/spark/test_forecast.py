"""`categorize --dry-run --explain`: what a run would take, without scoring a row."""

from __future__ import annotations

import json

import pytest

from lib.scoring.forecast import _expected
from lib.tables.run_record import RunRecord
from tests.faults.nights import FIRST, hashes_in, ledger, run, titles_hash, write_source
from tests.spark.conftest import versions

pytestmark = pytest.mark.usefixtures("spark")
EXPLAIN = ("--dry-run", "--explain")


def test_it_tells_what_would_be_scored_and_written_and_does_neither(spark, lake, tmp_path, clocks, capsys) -> None:
    before, scored = versions(spark, lake), len(clocks)
    assert run(tmp_path / "second.parquet", lake, *EXPLAIN, "--log-format", "json") == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["event"] == "forecast"
    assert told["why"] == "all rows are compared with the table's"
    assert (told["source_files"], told["source_bytes"]) == (1, (tmp_path / "second.parquet").stat().st_size)
    assert [told[f"rows_{name}"] for name in ("in", "rejected", "to_score", "unchanged", "gone")] == [5, 0, 3, 2, 1]
    # One of the products that are scored is in the table.
    assert (told["files"], told["files_with_changes"], told["runs"]) == (len(list(lake.glob("*.parquet"))), 1, 1)
    assert set(told["seconds"]) == {"counting", "scoring", "writing"}
    assert all(seconds > 0 for seconds in told["seconds"].values())
    assert (versions(spark, lake), len(clocks)) == (before, scored)
    assert hashes_in(spark, lake) == titles_hash(FIRST)
    assert len(ledger(spark, lake)) == 1
    assert run(tmp_path / "second.parquet", lake, *EXPLAIN, "--mode", "full") == 0
    said = capsys.readouterr().out
    assert "dry run: all rows are scored: --mode full; nothing was scored or written" in said
    assert "to score 5, unchanged 0, no longer in the source 1" in said
    assert "by one published run" in said


def test_before_the_first_night_nothing_is_made(tmp_path, capsys) -> None:
    assert run(write_source(tmp_path / "first.parquet", FIRST, (None, "no id")), tmp_path / "lake", *EXPLAIN) == 0
    said = capsys.readouterr().out
    assert "all rows are scored: the table holds none" in said
    assert "5 rows, of which 1 would be rejected" in said
    assert "expected seconds: not known, since no run has been published yet" in said
    assert not (tmp_path / "lake").exists()


def test_it_is_told_of_a_dry_run_only(tmp_path, capsys) -> None:
    assert run(write_source(tmp_path / "first.parquet", FIRST), tmp_path / "lake", "--explain") == 2
    assert "Expected --explain with --dry-run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds_by_rows", "rows", "expected"),
    [
        ({100: 12.0, 1000: 30.0}, 500, 20.0),  # ten to begin with, and fifty rows a second
        ({100: 10.0}, 10, 1.0),
        ({0: 3.0}, 10, 3.0),
        ({1000: 30.0, 100: 40.0}, 500, 35.0),  # more rows never take less
        ({100: 1.0, 1000: 100.0}, 1000, 100.1 / 1.01),  # the start takes no negative time
    ],
)
def test_the_seconds_are_on_a_line_through_those_of_the_runs(seconds_by_rows, rows, expected) -> None:
    runs = [RunRecord("", "", rows_scored=n, seconds={"scoring": seconds}) for n, seconds in seconds_by_rows.items()]
    assert _expected("scoring", runs, RunRecord("", "", rows_scored=rows)) == pytest.approx(expected)
