"""A table whose model's labels were moved and merged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.relabel import RelabelSettings
from jobs.relabel import main as relabel_main
from jobs.report import ReportSettings
from jobs.report import main as report_main
from jobs.rollback import RollbackSettings
from jobs.rollback import main as rollback_main
from lib.app.rows import Browser
from lib.command import run_command
from lib.model.bundle import load_bundle
from lib.tables.commits import read_state
from lib.tables.locations import locate
from lib.tables.target import tables_of
from tests.conftest import SHIPPED
from tests.corrections import correct
from tests.faults.nights import ledger, run, write_source
from tests.pages import Page

pytestmark = pytest.mark.usefixtures("spark")
KINDS = ("steel kettle", "detective novel, paperback", "cotton shirt", "usb cable for phones")
MANY = {f"p{i}": f"{KINDS[i % 4]} {i}" for i in range(1200)}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "models" / "shop"))


@pytest.fixture
def relabel(models: Path, tmp_path: Path) -> Callable[..., None]:
    def change(*changes: str) -> None:
        (tmp_path / "changes.csv").write_text("\n".join(["old,new", *changes]) + "\n")
        arguments = ["--model", str(models), "--changes", str(tmp_path / "changes.csv")]
        assert run_command(RelabelSettings, relabel_main, "relabel", arguments) == 0

    return change


def rows_of(spark, lake: Path) -> dict[str, tuple]:
    rows = spark.read.format("delta").load(str(lake)).select("product_id", "category", "confidence", "scores").collect()
    return {row["product_id"]: (row["category"], row["confidence"], row["scores"]) for row in rows}


def test_nights_behind_a_relabelling(spark, models: Path, relabel, tmp_path: Path, capsys) -> None:
    source, lake = write_source(tmp_path / "in.parquet", MANY), tmp_path / "lake"
    assert run(source, lake, model=models) == 0
    before = rows_of(spark, lake)
    # Every category of the last run is gone; the guardrails know the new names.
    relabel("Household,Home", "Books,Media", "Electronics,Household", "Clothing & Accessories,Home")
    assert run(source, lake, model=models) == 0
    now = rows_of(spark, lake)
    names = {"Household": "Home", "Books": "Media", "Electronics": "Household", "Clothing & Accessories": "Home"}
    for name, (category, confidence, scores) in before.items():
        assert now[name][0] == names[category]
        added: dict[str, float] = {}
        for label, score in scores.items():
            added[names[label]] = added.get(names[label], 0.0) + score
        assert now[name][2] == pytest.approx(added, abs=1e-6)
        assert now[name][1] >= confidence - 1e-6
    assert [status for _, status in ledger(spark, lake)] == ["published"] * 2
    record = read_state(spark, locate(spark, str(lake))).last_run
    assert record.rows_scored == len(MANY)
    assert record.drift == pytest.approx(0, abs=1e-6)
    assert sum(record.label_changes["Books"].values()) == record.label_changes["Books"]["Media"]
    # The same run again is recognised, and the one after it is compared under today's names, though two labels have swapped.
    assert run(source, lake, model=models) == 0
    assert len(ledger(spark, lake)) == 2
    relabel("Home,Household", "Household,Home")
    assert run(source, lake, model=models) == 0
    assert read_state(spark, locate(spark, str(lake))).last_run.drift == pytest.approx(0, abs=1e-6)
    assert "does not know" not in capsys.readouterr().out


def test_back_to_the_names_before(spark, models: Path, relabel, tmp_path: Path, capsys) -> None:
    source, lake = write_source(tmp_path / "in.parquet", MANY), tmp_path / "lake"
    first = (models / "current").read_text().strip()
    assert run(source, lake, model=models) == 0
    relabel("Books,Media", "Electronics,Household", "Household,Electronics")
    assert run(source, lake, model=models) == 0
    arguments = ["--model", str(models), "--to", first]
    assert run_command(RollbackSettings, rollback_main, "rollback", arguments) == 0
    assert run(source, lake, model=models) == 0
    assert rows_of(spark, lake)["p1"][0] == "Books"
    record = read_state(spark, locate(spark, str(lake))).last_run
    assert record.drift == pytest.approx(0, abs=1e-6)
    assert set(record.category_shares) == set(load_bundle(str(models)).labels)
    # Nothing has moved on the page of the run either, though names have come back.
    assert run_command(ReportSettings, report_main, "report", ["--target", str(lake), "--output", str(tmp_path / "pages")]) == 0
    tables = Page(tmp_path / "pages" / f"{record.run_id}.html").tables
    categories = next(rows for caption, rows in tables.items() if caption.startswith("Of the rows that have one"))
    assert {row[0]: row[-1] for row in categories[1:]} == dict.fromkeys(
        ["Media", "Electronics", "Household", "Clothing & Accessories"], "+0.00%"
    )
    assert "does not know" not in capsys.readouterr().out
    # A category that is really lost is seen, under its old name.
    assert (
        run(
            write_source(tmp_path / "in.parquet", {i: text for i, text in MANY.items() if "novel" not in text}),
            lake,
            model=models,
        )
        == 4
    )
    assert "the rows of the category 'Media' fell" in capsys.readouterr().err


def test_names_of_before_are_not_offered_for_corrections(spark, models: Path, relabel, tmp_path: Path) -> None:
    source, lake = write_source(tmp_path / "in.parquet", MANY), tmp_path / "lake"
    assert run(source, lake, model=models) == 0
    correct(lake, {"p1": "Household", "p2": "Garden", "p3": "Books"})
    tables = tables_of(locate(spark, str(lake)))
    four = {"Books", "Clothing & Accessories", "Electronics", "Household"}
    assert set(Browser().overview(spark, tables).labels) == {*four, "Garden"}
    relabel("Household,Home", "Books,Electronics", "Electronics,Books")
    assert run(source, lake, model=models) == 0
    # A category that a person has made stays, and so does a name that is that of another label now.
    assert set(Browser().overview(spark, tables).labels) == {*four, "Garden", "Home"} - {"Household"}


def test_categories_that_come_and_go_are_told(spark, models: Path, relabel, tmp_path: Path, capsys) -> None:
    source, lake = write_source(tmp_path / "in.parquet", MANY), tmp_path / "lake"
    assert run(source, lake, model=models) == 0
    relabel("Books,Media")
    # As a training with other labels would leave it: nothing shows that they are the same.
    folder = models / (models / "current").read_text().strip()
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "relabelled": []}))
    (folder / "manifest.sha256").unlink()
    assert run(source, lake, model=models) == 4
    said = capsys.readouterr()
    assert (
        "does not know 1 category ('Books') of the last runs, with 25.0% of the rows; it knows 1 category ('Media')" in said.out
    )
    assert "the shares of the categories drifted" in said.err
    assert rows_of(spark, lake)["p1"][0] == "Books"


def test_categories_without_rows_are_no_news_under_a_new_training(spark, models: Path, tmp_path: Path, capsys) -> None:
    source = write_source(tmp_path / "in.parquet", {f"p{i}": f"steel kettle {i}" for i in range(1200)})
    assert run(source, tmp_path / "lake", model=models) == 0
    # As a training on the same labels would leave it.
    folder = models / (models / "current").read_text().strip()
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "version": "20300101-00000000"}))
    (folder / "manifest.sha256").unlink()
    assert run(source, tmp_path / "lake", model=models) == 0
    said = capsys.readouterr().out
    assert read_state(spark, locate(spark, str(tmp_path / "lake"))).last_run.model_version.endswith("/20300101-00000000")
    assert "knows" not in said
