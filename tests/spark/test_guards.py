"""Guardrails look where the trouble is: at texts, ids and what would be removed, compared with the median of the last good runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.rollback import RollbackSettings
from jobs.rollback import main as rollback_main
from lib.command import run_command
from tests.faults.nights import FIRST, hashes_in, ledger, run, titles_hash, write_source

pytestmark = pytest.mark.usefixtures("spark")

MANY = {f"p{i}": f"steel kettle {i}" for i in range(1500)}


@pytest.mark.fault(
    "of a catalogue that was good all or two fifths of the texts are empty, all ids are new, or all texts short",
    "exit 4 and the reason, also after a small run or a rollback to nothing",
    "exit 4 and the reason",
)
def test_a_catalogue_that_went_wrong_is_held(spark, tmp_path: Path, capsys) -> None:
    source, lake = tmp_path / "in.parquet", tmp_path / "lake"
    assert run(write_source(source, MANY), lake) == 0

    def held(rows: dict[str, str | None], *phrases: str) -> None:
        capsys.readouterr()
        assert run(write_source(source, rows), lake, "--dry-run") == 4
        said = capsys.readouterr().out
        assert [phrase for phrase in phrases if phrase not in said] == []

    empty = {i: None if int(i[1:]) % 5 < 2 else text for i, text in MANY.items()}
    held(
        empty,
        "the share `unclassifiable` rose from 0.000 to 0.400",
        "the share of empty texts in title rose from 0.000 to 0.400",
    )
    held({f"q{i}": text for i, text in MANY.items()}, "of the ids are new", "of the last good run's ids are gone")
    held(dict.fromkeys(MANY, "kettle"), "the mean length of texts in title changed by -")
    # Neither a small run that somebody released nor a rollback to the empty table disarms them.
    assert run(write_source(source, FIRST), lake, "--guard-rows", "inf", "--guard-ids", "inf", "--guard-drift", "inf") == 0
    held(empty, "the share of empty texts")
    assert run_command(RollbackSettings, rollback_main, "rollback", ["--target", str(lake), "--to", "0"]) == 0
    held(empty, "the share of empty texts")
    told = spark.read.format("delta").load(f"{lake}_runs").orderBy("started_at").first()["guarded"]
    assert (told["unclassifiable"], told["empty:title"]) == (0, 0)
    assert 14 < told["length:title"] < 20


@pytest.mark.fault(
    "no row with a usable id, or none of the existing ids, under `--missing delete`",
    "exit 4; the table as it was, also when `--publish-anyway` is given with `--dry-run`",
    "exit 4, table as it was",
)
def test_a_night_that_would_empty_the_table_is_held_whatever_its_size(spark, tmp_path: Path, capsys) -> None:
    source, lake = tmp_path / "in.parquet", tmp_path / "lake"
    assert run(write_source(source, FIRST), lake) == 0
    assert run(write_source(source, {}, *[(None, text) for text in FIRST.values()]), lake, "--missing", "delete") == 4
    assert "none of the 4 rows has a usable id; 100.0% of the table's rows would be deleted" in capsys.readouterr().err
    for mode in ("incremental", "full"):
        assert run(write_source(source, {"9": "lamp"}), lake, "--missing", "delete", "--mode", mode) == 4
        assert "100.0% of the table's rows would be deleted (limit 80%)" in capsys.readouterr().err
    assert hashes_in(spark, lake) == titles_hash(FIRST)
    held = ledger(spark, lake)[-1][0]
    assert run(source, lake, "--dry-run", "--publish-anyway", held) == 2
    assert "found both" in capsys.readouterr().err
    assert hashes_in(spark, lake) == titles_hash(FIRST)


@pytest.mark.parametrize("wrong", [("--guard-rows", "nan"), ("--guard-empty", "-1"), ("--guard-runs", "0")])
def test_limits_that_are_none_are_refused(tmp_path: Path, wrong: tuple[str, str]) -> None:
    assert run(tmp_path / "in.parquet", tmp_path / "lake", *wrong) == 2


@pytest.mark.fault(
    "every text of a catalogue is under the id of the next product",
    "exit 4 and the share of the products whose category changes",
    "exit 4 and the share",
)
@pytest.mark.parametrize("mode", ["incremental", "full"])
def test_texts_under_the_wrong_ids_are_held(tmp_path: Path, capsys, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # As for a catalogue of millions, of which only a sample is compared.
    monkeypatch.setattr("lib.scoring.comparison.ENOUGH_TO_TELL", 300)
    kinds = ("steel kettle", "detective novel", "cotton shirt")
    texts = [f"{kinds[i % 3]} {i}" for i in range(1500)]
    source, lake = tmp_path / "in.parquet", tmp_path / "lake"
    assert run(write_source(source, {f"p{i}": text for i, text in enumerate(texts)}), lake) == 0
    shifted = write_source(source, {f"p{i}": texts[i - 1] for i in range(1500)})
    capsys.readouterr()
    assert run(shifted, lake, "--mode", mode) == 4
    assert "of the products that stay have another category under the same model (limit 20%)" in capsys.readouterr().err
    assert run(shifted, lake, "--guard-moved", "1", "--dry-run", "--mode", mode) == 0
