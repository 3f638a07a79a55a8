"""`categorize --unfamiliar` and what `evaluate` reports of it, on real tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from jobs.evaluate import EvaluateSettings
from jobs.evaluate import main as evaluate_main
from lib.command import run_command
from schemas.tables import LOW_CONFIDENCE, NO_TEXT, REVIEW, UNCLASSIFIABLE, UNFAMILIAR
from tests.conftest import SAMPLES
from tests.spark.test_categorize import commits, rows_of, run, runs_of

pytestmark = pytest.mark.usefixtures("spark")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    texts = pd.read_csv(SAMPLES / "labels.csv")["text"].tolist()[::3]
    texts += ["zzyzx quux", "bundesliga standings after the match", ""]
    path = tmp_path / "source.parquet"
    pd.DataFrame({"product_id": [str(i) for i in range(len(texts))], "title": texts}).to_parquet(path)
    return path


def above(rows, share: float) -> set[str]:
    return {i for i, row in rows.items() if row["unfamiliarity"] is not None and row["unfamiliarity"] > 1 - share}


def flagged(rows) -> set[str]:
    return {i for i, row in rows.items() if row["reason"] == UNFAMILIAR}


def test_the_least_familiar_go_to_review(spark, source, tmp_path, tiny) -> None:
    lake = tmp_path / "lake"
    assert run(source, lake, "--unfamiliar", "0.4", model=tiny) == 0
    rows = rows_of(spark, lake)
    assert flagged(rows) == above(rows, 0.4)
    assert 0 < len(flagged(rows)) < len(rows) - 1
    assert {rows[i]["status"] for i in flagged(rows)} == {REVIEW}
    empty = rows[str(len(rows) - 1)]
    assert (empty["status"], empty["reason"], empty["unfamiliarity"]) == (UNCLASSIFIABLE, NO_TEXT, None)
    assert {row["reason"] for row in rows.values()} <= {None, UNFAMILIAR, LOW_CONFIDENCE, NO_TEXT}
    assert runs_of(spark, lake)[-1]["rows_review"] == sum(row["status"] == REVIEW for row in rows.values())


def test_another_share_scores_only_the_rows_that_it_moves(spark, source, tmp_path, tiny, clocks) -> None:
    lake = tmp_path / "lake"
    assert run(source, lake, model=tiny) == 0
    first = rows_of(spark, lake)
    assert not flagged(first)
    written = commits(spark, lake)
    assert run(source, lake, "--unfamiliar", "0.5", model=tiny) == 0
    assert clocks[-1].texts == len(above(first, 0.5))
    second = rows_of(spark, lake)
    assert flagged(second) == above(first, 0.5)
    assert run(source, lake, "--unfamiliar", "0.5", model=tiny) == 0
    assert commits(spark, lake) == written + 1
    assert run(source, lake, "--unfamiliar", "0.3", model=tiny) == 0
    assert clocks[-1].texts == len(above(first, 0.5) - above(first, 0.3))
    assert flagged(rows_of(spark, lake)) == above(first, 0.3)
    assert run(source, lake, model=tiny) == 0
    last = rows_of(spark, lake)
    assert {i: (row["status"], row["reason"]) for i, row in last.items()} == {
        i: (row["status"], row["reason"]) for i, row in first.items()
    }


@pytest.mark.parametrize("share", ["0", "1", "0.0001"])
def test_a_share_that_cannot_be_told_writes_nothing(source, tmp_path, tiny, capsys, share) -> None:
    assert run(source, tmp_path / "lake", "--unfamiliar", share, model=tiny) == 2
    assert "Expected --unfamiliar from" in capsys.readouterr().err
    assert not (tmp_path / "lake").exists()


def test_a_bundle_without_the_number(spark, source, tmp_path, capsys, older) -> None:
    assert run(source, tmp_path / "lake", "--unfamiliar", "0.01", model=older) == 2
    assert "Expected a bundle of format 4 for --unfamiliar" in capsys.readouterr().err
    assert not (tmp_path / "lake").exists()
    assert run(source, tmp_path / "lake", model=older) == 0
    assert {row["unfamiliarity"] for row in rows_of(spark, tmp_path / "lake").values()} == {None}


@pytest.fixture
def older(tiny: Path, tmp_path: Path) -> Path:
    """A bundle of a format before 4, without a seal."""
    import json
    import shutil

    folder = Path(shutil.copytree(tiny / (tiny / "current").read_text().strip(), tmp_path / "older"))
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["unfamiliarity"]
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format_version": 2}))
    (folder / "manifest.sha256").unlink()
    return folder


def test_a_table_without_the_column_gets_it(spark, source, tmp_path, tiny) -> None:
    lake = tmp_path / "lake"
    assert run(source, lake, model=tiny) == 0
    before = spark.read.format("delta").load(str(lake)).drop("unfamiliarity")
    before.write.format("delta").mode("overwrite").option("overwriteSchema", True).save(str(lake))
    assert run(source, lake, "--unfamiliar", "0.5", "--mode", "full", model=tiny) == 0
    rows = rows_of(spark, lake)
    assert flagged(rows) == above(rows, 0.5) != set()


def test_evaluate_tells_the_share(tiny, capsys) -> None:
    arguments = ["--model", str(tiny), "--labels", str(SAMPLES / "labels.csv")]
    assert run_command(EvaluateSettings, evaluate_main, "evaluate", arguments) == 0
    assert "--unfamiliar 0.01 would send " in capsys.readouterr().out
