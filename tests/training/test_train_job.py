"""The job `train`, on files as users bring them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from jobs.train import TrainSettings, main
from lib.bundle import load_bundle
from lib.command import run_command
from tests.conftest import SAMPLES

SMALL = ("--epochs", "1", "--embedding", "4", "--units", "4", "--dense", "4", "--max-tokens", "20")


@pytest.fixture(autouse=True)
def keep_session(spark, monkeypatch):
    monkeypatch.setattr(type(spark), "stop", lambda self: None)


def run(labels: object, models: Path, *more: str) -> int:
    return run_command(TrainSettings, main, "train", ["--labels", str(labels), "--models", str(models), *SMALL, *more])


def test_the_data_set_s_original_form(tmp_path: Path, capsys) -> None:
    """No header, label then text, quotes and line breaks inside texts, nearly half of the rows copies."""
    with (SAMPLES / "labels.csv").open(encoding="utf-8") as file:
        rows = [(row["label"], row["text"]) for row in csv.DictReader(file)]
    rows[0] = (rows[0][0], 'A "quoted", kettle\nwith a line break and a comma')
    path = tmp_path / "ecommerceDataset.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([*rows, *rows[: len(rows) * 9 // 11], ("Books", ""), ("", "no label")])
    assert run(path, tmp_path / "models", "--columns", "label,text") == 0
    shown = capsys.readouterr().out
    assert f"{len(rows) + len(rows) * 9 // 11 + 2} labelled rows read" in shown
    assert f"no label 1, empty text 1, conflicting labels 0, duplicate text {len(rows) * 9 // 11}" in shown
    bundle = load_bundle(str(tmp_path / "models" / "ecommerceDataset"))
    assert bundle.manifest["data"]["rows"] == len(rows)


def test_other_column_names_and_many_labels(tmp_path: Path, spark, capsys) -> None:
    rows = [(f"class {i % 12}", f"word{i} thing{i * 7} item{i * 13}", f"more{i}") for i in range(240)]
    spark.createDataFrame(rows, "kind string, title string, more string").write.format("delta").save(str(tmp_path / "labels"))
    options = ("--text-columns", "title,more", "--label-column", "kind", "--name", "twelve")
    assert run(tmp_path / "labels", tmp_path / "models", *options) == 2
    assert "words that occur at least 2 times in the training texts, found none" in capsys.readouterr().err
    assert run(tmp_path / "labels", tmp_path / "models", *options, "--min-count", "1") == 0
    assert len(load_bundle(str(tmp_path / "models" / "twelve")).labels) == 12


@pytest.mark.parametrize(
    ("change", "because"),
    [
        (("--label-column", "kind"), "Expected the column kind in"),
        (("--text-columns", "title"), "Expected the column title in"),
        (("--max-rows", "10"), "Expected at most 10 rows and"),
        (("--max-bytes", "100"), "found 200 and"),
        (("--test-share", "1.5"), "Expected --test-share from 0 to below 1, found 1.5"),
        (("--validation-share", "0"), "above 0 and together below 0.9"),
        (("--units", "0"), "Expected --units of at least 1, found 0"),
    ],
)
def test_wrong_use_writes_nothing(tmp_path: Path, capsys, change, because) -> None:
    assert run(SAMPLES / "labels.csv", tmp_path / "models", *change) == 2
    assert because in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("rows", "because"),
    [
        ([("a", f"text {i}") for i in range(9)], "Expected at least two labels"),
        ([*[("a", f"text {i}") for i in range(9)], ("b", "one"), ("b", "two")], "found fewer of 'b' (2)"),
        ([], "Expected at least two labels"),
    ],
)
def test_labels_that_cannot_be_learned_from(tmp_path: Path, capsys, rows, because) -> None:
    path = tmp_path / "labels.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("label", "text"), *rows])
    assert run(path, tmp_path / "models") == 2
    assert because in capsys.readouterr().err
    assert not (tmp_path / "models").exists()
