"""`replay`: a row derived again from what the ledger names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.replay import ReplaySettings, main
from lib.command import run_command
from tests.faults.nights import FIRST, SECOND, ledger, run, vacuum_all, write_source
from tests.spark.conftest import rollback
from tests.spark.test_identity import write_delta

pytestmark = pytest.mark.usefixtures("spark")


def replayed(lake: Path, *arguments: str) -> int:
    return run_command(ReplaySettings, main, "replay", ["--target", str(lake), *arguments])


def test_a_row_of_today_is_the_same_and_one_changed_by_hand_is_not(spark, tmp_path: Path, capsys) -> None:
    source, lake = tmp_path / "in.parquet", tmp_path / "lake"
    write_source(source, FIRST)
    assert run(source, lake) == 0
    capsys.readouterr()
    assert replayed(lake, "--id", "1") == 0
    assert "both are the same" in capsys.readouterr().out
    spark.sql(f"UPDATE delta.`{lake}` SET category = 'Books', confidence = 0.5 WHERE product_id = '1'")
    assert replayed(lake, "--id", "1", "--json") == 4
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(found["differs"]) == {"category", "confidence"}
    assert found["stands"]["category"] == "Books"
    assert found["derived"]["category"] == "Household"
    # The run itself is still what it was.
    assert replayed(lake, "--id", "1", "--run", found["run_id"]) == 0


def test_an_older_night_is_derived_from_the_version_that_it_has_read(spark, tmp_path: Path, capsys) -> None:
    source, lake = write_delta(spark, tmp_path / "source", FIRST), tmp_path / "lake"
    assert run(source, lake) == 0
    first = ledger(spark, lake)[0][0]
    spark.sql(f"UPDATE delta.`{source}` SET title = 'a novel, paperback' WHERE product_id = '1'")
    assert run(source, lake) == 0
    capsys.readouterr()
    assert replayed(lake, "--id", "1", "--run", first, "--json") == 0
    old = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert replayed(lake, "--id", "1", "--json") == 0
    new = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert old["derived"]["text_hash"] != new["derived"]["text_hash"]
    assert old["source_changed"] is None
    # Without the files of that version a message says that today's rows are different.
    vacuum_all(spark, source)
    assert replayed(lake, "--id", "1", "--run", first) == 2
    said = capsys.readouterr()
    assert "derived from what is there now" in said.out
    assert "it does not show whether the row is right" in said.err
    vacuum_all(spark, lake)
    assert replayed(lake, "--id", "1", "--run", first) == 2
    assert "found some gone (vacuumed); give a younger --run" in capsys.readouterr().err


def test_what_is_not_there_is_named(spark, tmp_path: Path, capsys) -> None:
    source, lake = tmp_path / "in.parquet", tmp_path / "lake"
    write_source(source, {**FIRST, "\t": "lamp"})
    assert run(source, lake) == 0
    for arguments, because in (
        (("--id", "nowhere"), "found none; correct --id"),
        (("--id", "\t"), "rejected by the run"),
        (("--id", "1", "--run", "never"), "found no 'never' in its history"),
        (("--id", "1", "--source", str(tmp_path / "moved")), "found nothing; correct the path"),
    ):
        assert replayed(lake, *arguments) == 2
        assert because in capsys.readouterr().err
    first = ledger(spark, lake)[0][0]
    write_source(source, SECOND)
    assert run(source, lake) == 0
    second = ledger(spark, lake)[1][0]
    capsys.readouterr()
    # Product 4 is gone from the source, and stays in the table.
    assert replayed(lake, "--id", "4", "--run", second) == 2
    assert f"found none: that run kept the row, which the run {first} had written" in capsys.readouterr().err
    assert replayed(lake, "--id", "4") == 2
    said = capsys.readouterr()
    assert "the source holds no such id" in said.out
    assert "found it changed" in said.err
    shutil.rmtree(lake)
    assert replayed(lake, "--id", "1") == 2


def test_a_rollback_is_no_night_to_replay(spark, lake, tmp_path: Path, capsys) -> None:
    assert run(tmp_path / "second.parquet", lake) == 0
    assert rollback("--target", lake, "--to", ledger(spark, lake)[0][0]) == 0
    back = ledger(spark, lake)[-1][0]
    capsys.readouterr()
    assert replayed(lake, "--id", "1", "--run", back) == 2
    assert "which is a rollback" in capsys.readouterr().err


def test_a_carried_column_in_another_case_is_compared(spark, tmp_path: Path, capsys) -> None:
    source, lake = tmp_path / "in.parquet", tmp_path / "lake"
    pq.write_table(pa.table({"product_id": ["1"], "title": [FIRST["1"]], "Price": [1.5]}), source)
    assert run(source, lake, "--carry", "Price") == 0
    pq.write_table(pa.table({"product_id": ["1"], "title": [FIRST["2"]], "price": [2.5]}), source)
    assert run(source, lake, "--carry", "price") == 0
    capsys.readouterr()
    assert replayed(lake, "--id", "1") == 0
    assert "both are the same" in capsys.readouterr().out
    spark.sql(f"UPDATE delta.`{lake}` SET Price = 99.0")
    assert replayed(lake, "--id", "1", "--json") == 4
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["differs"] == ["Price"]
