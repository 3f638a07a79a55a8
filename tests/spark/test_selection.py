"""Which rows are scored, counted and in how many tasks."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import functions as F

from lib.errors import GuardrailError
from lib.scoring import audit, selection
from lib.scoring.catalogue import LENGTHS, CatalogueColumns, IdCount, catalogue_rows, count_of_ids, take_census
from lib.scoring.comparison import compare
from lib.scoring.counts import Group
from lib.scoring.scratch import Scratch
from lib.scoring.selection import Selection, in_even_tasks, is_even, rows_by_partition, select_all
from lib.tables.locations import locate
from lib.tables.sources import Source, read_source

COLUMNS = CatalogueColumns("product_id", ("text",))


@pytest.fixture
def source(spark, tmp_path: Path) -> Source:
    rows = [(f"p{i}", f"text {i}") for i in range(1000)]
    spark.createDataFrame(rows, "product_id string, text string").repartition(4).write.parquet(str(tmp_path / "in.parquet"))
    return read_source(spark, locate(spark, str(tmp_path / "in.parquet")))


@pytest.mark.parametrize(
    ("rows", "cores", "even"),
    [
        ([10, 10], 2, True),
        ([10] * 7, 2, True),
        ([90, 10], 2, False),
        ([10, 10, 10], 2, False),
        ([5], 1, True),
        ([5], 2, False),
        ([], 2, True),
    ],
)
def test_even_partitions(rows: list[int], cores: int, even: bool) -> None:
    assert is_even(rows, cores) is even


def test_even_files_are_not_dealt_out_anew_and_a_skewed_one_is(spark, source, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(selection, "LEAST_ROWS_PER_TASK", 100)
    even = select_all(source, COLUMNS, 4096, take_census(source.frame, COLUMNS)).rows
    assert sum(rows_by_partition(source)) == 1000
    assert "Repartition" not in even._jdf.queryExecution().optimizedPlan().toString()
    source.frame.coalesce(1).write.parquet(str(tmp_path / "one.parquet"))
    one = read_source(spark, locate(spark, str(tmp_path / "one.parquet")))
    skewed = select_all(one, COLUMNS, 4096, take_census(one.frame, COLUMNS)).rows
    assert skewed.rdd.getNumPartitions() == 2
    assert skewed.count() == 1000


def test_few_rows_start_few_workers_on_many_cores(spark, source, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(type(spark.sparkContext), "defaultParallelism", 64)
    source.frame.coalesce(1).write.parquet(str(tmp_path / "one.parquet"))
    one = read_source(spark, locate(spark, str(tmp_path / "one.parquet")))
    every = select_all(one, COLUMNS, 4096, take_census(one.frame, COLUMNS)).rows
    assert "Repartition" not in every._jdf.queryExecution().optimizedPlan().toString()
    tasks = {count: in_even_tasks(source.frame, count).rdd.getNumPartitions() for count in (0, 205, 1_001, 10_000)}
    assert tasks == {0: 1, 205: 1, 1_001: 2, 10_000: 10}
    monkeypatch.setattr(type(spark.sparkContext), "defaultParallelism", 2)
    assert in_even_tasks(source.frame, 1_000_000).rdd.getNumPartitions() == 40


@pytest.mark.parametrize("labels", [(), ("Books",), ("Household",)], ids=["no labels", "the label", "a label given by hand"])
def test_changed_rows_and_the_ids_that_stay(spark, source, labels: tuple[str, ...]) -> None:
    census = take_census(source.frame, COLUMNS)
    known = select_all(source, COLUMNS, 4096, census).rows.drop("text", LENGTHS).filter("product_id NOT IN ('p1', 'p7')")
    other = spark.createDataFrame([("p9", "x"), ("gone", "y")], "product_id string, text_hash string")
    known = (
        known.filter("product_id != 'p9'")
        .unionByName(other)
        .selectExpr("*", "'Books' category", "'review' status", "0.5F confidence")
    )
    selection = compare(source, COLUMNS, 4096, known, F.lit(True), Scratch(), labels=labels)
    assert selection.census == census
    assert selection.gone_ids == 1
    assert {(row["product_id"], row["text"]) for row in selection.rows.collect()} == {
        ("p1", "text 1"),
        ("p7", "text 7"),
        ("p9", "text 9"),
    }
    assert selection.unchanged.ids == 997
    assert selection.groups == [Group("Books", "review", 997, 498.5)]
    assert selection.unchanged + count_of_ids(selection.rows) == census.all_ids
    assert [row["product_id"] for row in selection.gone.collect()] == ["gone"]


def test_of_ids_with_copies_the_newest_is_compared(spark, tmp_path) -> None:
    """A null that moves from one carried column to the other is a change too."""
    columns = CatalogueColumns("product_id", ("text",), ("brand", "colour"), "night")
    schema = "product_id string, text string, brand string, colour string, night int"
    nights = [
        ("a", "lamp", None, "red", 1),
        ("b", "old chair", "x", "y", 1),
        ("c", "tent", "x", "y", 1),
        ("d", "rope", "x", "y", 1),
    ]
    before = spark.createDataFrame(nights, schema)
    now = [
        *[("a", "lamp", "red", None, 1)],
        *[("b", "old chair", "x", "y", 1), ("b", "new chair", "x", "y", 2)],
        *[("c", "tent", "x", "y", 3), ("c", "older tent", "x", "y", 2)],
        *[("d", "rope", "x", "y", 1), (None, "no id", "x", "y", 1), (None, "no id either", "x", "y", 1)],
    ]
    spark.createDataFrame(now, schema).write.parquet(str(tmp_path / "in.parquet"))
    source = read_source(spark, locate(spark, str(tmp_path / "in.parquet")))
    known = catalogue_rows(before, columns, 4096, take_census(before, columns))
    known = known.selectExpr("*", "'Books' category", "'review' status", "0.5F confidence")
    selection = compare(source, columns, 4096, known, F.lit(True), Scratch())
    assert selection.census == take_census(source.frame, columns)
    assert selection.census.repeated_ids == selection.census.rows_without_usable_id == 2
    assert {(row["product_id"], row["text"]) for row in selection.rows.collect()} == {("a", "lamp"), ("b", "new chair")}
    assert sum(group.rows for group in selection.groups) == selection.unchanged.ids == 2
    assert selection.unchanged + count_of_ids(selection.rows) == selection.census.all_ids


def test_carried_columns_may_have_any_name(spark, tmp_path) -> None:
    """Also those that a comparison would give its own columns, next to copies of an id."""
    columns = CatalogueColumns("product_id", ("text",), ("same", "known", "kind", "a.b"))
    schema = "product_id string, text string, same boolean, known string, kind int, `a.b` string"
    now = [("a", "lamp", True, "x", 7, "y"), ("a", "lamp", True, "x", 7, "y"), ("b", "tent", True, "x", 8, "y")]
    spark.createDataFrame(now, schema).write.parquet(str(tmp_path / "in.parquet"))
    source = read_source(spark, locate(spark, str(tmp_path / "in.parquet")))
    before = spark.createDataFrame([("b", "tent", True, "x", 8, "y")], schema)
    known = catalogue_rows(before, columns, 4096, take_census(before, columns))
    known = known.selectExpr("*", "'Books' category", "'review' status", "0.5F confidence")
    selection = compare(source, columns, 4096, known, F.lit(True), Scratch())
    found = selection.rows.select("product_id", "same", "known", "kind", "`a.b`").collect()
    assert [tuple(row) for row in found] == [("a", True, "x", 7, "y")]
    assert selection.unchanged.ids == 1


def test_an_id_missing_repeated_or_exchanged_holds_the_publication_back(source) -> None:
    census = take_census(source.frame, COLUMNS)
    rows = source.frame.select("product_id")

    def reconcile(ids) -> None:
        audit.reconcile(count_of_ids(ids), Selection(ids, census, IdCount(0, 0)), source)

    reconcile(rows)
    without = rows.filter("product_id != 'p5'")
    for wrong in (
        without,
        rows.unionByName(rows.limit(1)),
        without.unionByName(rows.filter("product_id = 'p6'")),
        without.unionByName(rows.selectExpr("'p1000' AS product_id").limit(1)),
    ):
        with pytest.raises(GuardrailError, match="Expected each of the 1000 ids"):
            reconcile(wrong)
