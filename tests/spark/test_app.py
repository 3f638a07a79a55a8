"""What the page reads of the tables and writes into them, without a browser."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.correct import CorrectSettings
from jobs.correct import main as correct_main
from lib.app.corrections import Correction, Corrections
from lib.app.lake import Lake
from lib.app.rows import Browser, Shown, _columns_of_run, page_of_run, queue_of, runs_of, some_rows, texts_of
from lib.command import run_command
from lib.errors import InputError
from lib.tables.corrections import standing
from lib.tables.locations import locate
from lib.tables.run_record import RunRecord
from lib.tables.target import tables_of
from tests.faults.nights import FIRST, copy_of_first_night, run, write_source

pytestmark = pytest.mark.usefixtures("spark")


@pytest.fixture(scope="module")
def night(spark: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run whose rows are nearly all in review, and its source."""
    folder = tmp_path_factory.mktemp("night")
    source = write_source(folder / "first.parquet", FIRST)
    assert run(source, folder / "lake", "--unfamiliar", "0.9", "--carry", "title") == 0
    return folder


@pytest.fixture
def lake(night: Path, tmp_path: Path) -> Path:
    return copy_of_first_night(night, tmp_path)


def said(spark, lake: Path) -> dict[str, tuple[str, str, str | None]]:
    rows = standing(spark, locate(spark, str(lake)))
    return {row["product_id"]: (row["category"], row["corrected_by"], row["why"]) for row in rows.collect()} if rows else {}


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_products_stand_there_as_corrected(spark, lake: Path) -> None:
    tables, browser = tables_of(locate(spark, str(lake))), Browser()
    before = browser.overview(spark, tables)
    assert sum(count for _, _, count in before.counts) == len(FIRST)
    assert before.carried == ("title",)
    assert browser.overview(spark, tables) is before
    corrections = lake.parent / "c.csv"
    corrections.write_text("product_id,correct_category,corrected_by\n2,Household,Ada\n")
    arguments = ["--target", str(lake), "--file", str(corrections)]
    assert run_command(CorrectSettings, correct_main, "correct", arguments) == 0
    after = browser.overview(spark, tables)
    rows = some_rows(Shown(after.versions, status="corrected"), after.carried, spark, tables)
    assert [(row["product_id"], row["category"], row["corrected_by"], row["title"]) for row in rows] == [
        ("2", "Household", "Ada", FIRST["2"])
    ]
    assert rows[0]["model_category"] != "Household"
    assert some_rows(Shown(after.versions, category="Household", status="review"), (), spark, tables) == [
        row for row in some_rows(Shown(after.versions, status="review"), (), spark, tables) if row["category"] == "Household"
    ]
    (one,) = some_rows(Shown(after.versions, id_holds="2"), (), spark, tables)
    assert one["product_id"] == "2"
    sure = [row["confidence"] for row in some_rows(Shown(after.versions, surest_first=True), (), spark, tables)]
    assert sure == sorted(sure, reverse=True)
    rest = some_rows(Shown(after.versions, first=3), (), spark, tables)
    assert len(rest) == len(FIRST) - 3


def test_what_the_page_reads_leaves_the_tables_alone(spark, lake: Path) -> None:
    tables, before = tables_of(locate(spark, str(lake))), files(lake.parent)
    queue = queue_of(spark, tables)
    assert queue.text_columns == ("title",)
    assert {row["product_id"]: row["title"] for row in queue.rows}.items() <= FIRST.items()
    assert texts_of(2, (), spark, tables).fields == ("title",)
    (ran,) = runs_of(spark, tables)
    assert f"Run {ran.run_id}" in page_of_run(ran.run_id, spark, tables)
    assert files(lake.parent) == before


def test_a_bundle_with_more_fields_than_the_run_had_columns(spark, lake: Path) -> None:
    found = texts_of(2, ("description", "title"), spark, tables_of(locate(spark, str(lake))))
    assert (found.columns, found.fields) == (("title",), ("title",))
    assert [FIRST[name] for name in found.ids] == list(found.values[0])


def test_a_table_of_no_rows(spark, lake: Path) -> None:
    spark.sql(f"DELETE FROM delta.`{lake}`")
    tables = tables_of(locate(spark, str(lake)))
    overview = Browser().overview(spark, tables)
    assert list(overview.counts) == []
    assert some_rows(Shown(overview.versions), overview.carried, spark, tables) == []


def test_corrections_are_written_before_the_end(spark, lake: Path) -> None:
    """The later of two corrections counts; a refused one takes no other with it, and is reported."""
    asked = Lake(str(lake))
    corrections = Corrections(asked)
    corrections.add(Correction("1", "Electronics", "Ada"))
    corrections.add(Correction("1", "Household", "Ada", "a kettle", (("title", FIRST["1"]),)))
    corrections.add(Correction("3", "No such category", "Ada"))
    corrections.add(Correction("nobody", "Books", "Ada"))
    corrections.add(Correction("4", "Books", "Eve", ""))
    asked.close()
    state = corrections.state()
    assert said(spark, lake) == {"1": ("Household", "Ada", "a kettle"), "4": ("Books", "Eve", None)}
    assert state.waiting == 0
    assert {one.product_id: sentence.split(";")[0] for one, sentence in state.refused} == {
        "3": f"Expected categories of {lake} in the corrections, found 'No such category' (1 rows)",
        "nobody": f"Expected products of {lake} in the corrections, found 'nobody' (one of 1 unknown ones)",
    }


def test_a_label_of_the_page_s_bundle_is_written_though_no_row_has_it(spark, lake: Path) -> None:
    asked = Lake(str(lake))
    corrections = Corrections(asked, ["Kettles"])
    corrections.add(Correction("1", "Kettles", "Ada"))
    corrections.add(Correction("4", "No such category", "Ada"))
    asked.close()
    assert said(spark, lake) == {"1": ("Kettles", "Ada", None)}
    assert [one.product_id for one, _ in corrections.state().refused] == ["4"]


def test_a_table_that_is_not_there_is_told_in_a_sentence(tmp_path: Path) -> None:
    asked = Lake(str(tmp_path / "nothing"))
    with pytest.raises(InputError, match=r"Expected a table at .*nothing, found none; correct --target"):
        asked.ask(Browser().overview).result()
    with pytest.raises(InputError, match="found none"):
        asked.ask(queue_of).result()
    asked.close()


def test_carried_columns_that_are_called_as_the_page_calls_its_own(spark, tmp_path: Path) -> None:
    named = ("who", "said", "model_category", "corrected_by")
    table = pa.table({"product_id": ["1"], "title": [FIRST["1"]], **{name: [f"theirs: {name}"] for name in named}})
    pq.write_table(table, tmp_path / "in.parquet")
    lake = tmp_path / "lake"
    assert run(tmp_path / "in.parquet", lake, "--carry", ",".join(named)) == 0
    tables, browser = tables_of(locate(spark, str(lake))), Browser()
    (tmp_path / "c.csv").write_text("product_id,correct_category,corrected_by\n1,Books,Ada\n")
    for corrected in (False, True):
        if corrected:
            arguments = ["--target", str(lake), "--file", str(tmp_path / "c.csv")]
            assert run_command(CorrectSettings, correct_main, "correct", arguments) == 0
        overview = browser.overview(spark, tables)
        assert overview.carried == ("who", "said")
        (row,) = some_rows(Shown(overview.versions), overview.carried, spark, tables)
        assert (row["who"], row["said"]) == ("theirs: who", "theirs: said")
        assert (row["category"], row["corrected_by"]) == (("Books", "Ada") if corrected else (row["model_category"], None))


def test_the_queue_needs_no_bundle_with_the_fields_of_the_run(spark, night: Path) -> None:
    settings = json.dumps({"text_columns": ["title=title", "description=product_id"]})
    record = RunRecord("r", "published", source=str(night / "first.parquet"), settings=settings)
    assert _columns_of_run(spark, record) == ("title", "product_id")
    assert _columns_of_run(spark, replace(record, settings=json.dumps({"text_columns": ["title"]}))) == ("title",)
