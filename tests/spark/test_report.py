"""Pages of a run and of all runs: they show what the ledger and the table hold, and request nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jobs.report import ReportSettings
from jobs.report import main as report_main
from lib.command import run_command
from tests.faults.nights import ledger, run, write_source
from tests.pages import Page
from tests.spark.conftest import rollback

pytestmark = pytest.mark.usefixtures("spark")

KINDS = ("steel kettle", "detective novel, paperback", "cotton shirt", "usb cable for phones")
MANY = {f"p{i}": f"{KINDS[i % 4]} {i}" for i in range(1200)}


def report(*arguments: object) -> int:
    return run_command(ReportSettings, report_main, "report", list(map(str, arguments)))


@pytest.fixture
def two_nights(spark, tmp_path: Path) -> Path:
    """A good run with odd rows, and one that is held back since two fifths of its texts are empty."""
    source, lake = tmp_path / "in.parquet", tmp_path / "lake"
    odd = {**MANY, "p0": "<script>alert('x')</script> kettle\u202e"}
    assert run(write_source(source, odd, (None, "no id"), ("p1", "a copy")), lake, "--carry", "title") == 0
    empty = {i: None if int(i[1:]) % 5 < 2 else text for i, text in MANY.items()}
    assert run(write_source(source, empty), lake, "--carry", "title") == 4
    return lake


def test_a_held_night_says_why(spark, two_nights: Path, tmp_path: Path) -> None:
    out = tmp_path / "pages"
    assert report("--target", two_nights, "--output", out) == 0
    good, held = (run_id for run_id, _ in ledger(spark, two_nights))
    page = Page(out / f"{held}.html")
    assert "Held back" in page.source
    assert f"--publish-anyway {held}" in page.source
    measured = {row[0]: row for row in page.tables["Compared with the last good run"]}
    assert measured["share `unclassifiable`"][1:5] == ["0", "0.4", "0.4", "0.05"]
    assert measured["share `unclassifiable`"][-1] == "exceeded"
    assert (measured["rows in"][1], measured["rows in"][-1]) == ("1,202", "within")
    # The nearest to its limit comes first.
    assert list(measured)[1] == "share `unclassifiable`"
    index = Page(out / "index.html")
    assert [row[:2] for row in index.tables["Newest first"][1:]] == [[held, "held"], [good, "published"]]
    assert f'href="{held}.html"' in index.source
    assert f'href="{good}.html"' not in index.source
    assert run(write_source(tmp_path / "later.parquet", {**MANY, "new": "lamp"}), two_nights, "--carry", "title") == 0
    assert report("--target", two_nights, "--run", held, "--output", out) == 0
    assert "can no longer be published" in Page(out / f"{held}.html").source


def test_a_good_night_tells_its_rows(spark, two_nights: Path, tmp_path: Path) -> None:
    out = tmp_path / "pages"
    good = ledger(spark, two_nights)[0][0]
    assert report("--target", two_nights, "--run", good, "--output", out) == 0
    page = Page(out / f"{good}.html")
    assert "Held back" not in page.source
    counts = {row[0]: row[1] for row in page.tables["Rows of the source = rejected + unchanged + scored"]}
    assert (counts["rows in the source"], counts["rejected"], counts["scored"]) == ("1,202", "2", "1,200")
    table = spark.read.format("delta").load(str(two_nights)).filter("confidence IS NOT NULL")
    binned = [sum(int(cell.replace(",", "")) for cell in row[1:]) for row in page.tables["Rows by confidence"][1:]]
    assert (sum(binned), sum(binned[10:])) == (table.count(), table.filter("confidence >= 0.5").count())
    least = table.orderBy("confidence", "product_id").select("product_id").head(20)
    assert [row[0] for row in page.tables["Worth a look first"][1:]] == [row[0] for row in least]
    rejects = {row[0]: row[1:] for row in page.tables["By reason"][1:]}
    assert rejects == {"no id": ["1", ""], "older copy of the id": ["1", "p1"]}
    for path in out.iterdir():
        content = path.read_text(encoding="utf-8")
        assert len(content) < 100_000
        # No script runs, and no network is used.
        assert not re.search(r"<script|https?://|@import|url\(|src=", content)
        assert "\u202e" not in content


def test_runs_of_every_kind_have_a_page(spark, tmp_path: Path, capsys) -> None:
    """Other models, rollbacks, files that are gone, and records of older versions."""
    source, lake, out = tmp_path / "in.parquet", tmp_path / "lake", tmp_path / "pages"
    assert run(write_source(source, {"1": "steel kettle", "2": "a novel"}), lake) == 0
    assert run(write_source(source, {"1": "cotton shirt"}), lake, "--mode", "full", "--missing", "mark") == 0
    first = ledger(spark, lake)[0][0]
    assert rollback("--target", lake, "--to", first) == 0
    runs = f"delta.`{lake}_runs`"
    spark.sql(f"UPDATE {runs} SET guarded = NULL, seconds = NULL, review_share = NULL WHERE run_id = '{first}'")
    spark.sql(f"UPDATE {runs} SET label_changes = map('Books', map('Books', 3L, 'Toys', 1L)) WHERE run_id = '{first}'")
    for run_id, _ in ledger(spark, lake):
        assert report("--target", lake, "--run", run_id, "--output", out) == 0
    page = Page(out / f"{first}.html")
    assert "1 of 4 rows moved (25.0%)" in page.source
    assert page.tables["Rows by the category before and now"][1] == ["Books", "3", "1", "0"]
    assert len(Page(out / "index.html").tables["Newest first"]) == 4
    for path in lake.glob("*.parquet"):
        path.unlink()
    assert report("--target", lake, "--run", first, "--output", out) == 0
    assert "are gone (vacuumed" in (out / f"{first}.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("more", "because"),
    [
        (("--run", "never"), "Expected a run of the ledger"),
        (("--output", "/proc/nowhere"), "Expected a folder to write to in --output"),
        (("--output", "hdfs://name/pages"), "Expected a local folder in --output"),
        (("--output", ""), "Expected a local folder in --output"),
    ],
)
def test_reports_that_cannot_be_written(spark, lake, tmp_path: Path, capsys, more, because) -> None:
    assert report("--target", lake, "--output", tmp_path / "pages", *more) == 2
    assert because in capsys.readouterr().err
    assert report("--target", tmp_path / "nowhere") == 2
