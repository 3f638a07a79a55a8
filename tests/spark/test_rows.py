from __future__ import annotations

import hashlib
import json

import pytest
from pyspark.testing import assertDataFrameEqual

from lib.scoring.catalogue import (
    MAX_ID_CHARACTERS,
    CatalogueColumns,
    Census,
    catalogue_rows,
    count_of_ids,
    rejected_rows,
    take_census,
)
from schemas.tables import LONG_ID, NO_ID, OLDER_COPY

COLUMNS = CatalogueColumns("id", ("title", "description"), ("price",), "changed")
SCHEMA = "id string, title string, description string, price double, changed string"
ROWS = [
    ("1", "lamp", None, 1.0, "2026-01-01"),
    ("2", None, "a chair", 2.0, "2026-01-01"),
    (None, "no id", None, 3.0, "2026-01-01"),
    ("  ", "blank id", None, 4.0, "2026-01-01"),
    ("x" * (MAX_ID_CHARACTERS + 1), "long id", None, 5.0, "2026-01-01"),
    ("3", "old", None, 6.0, "2026-01-01"),
    ("3", "new", None, 7.0, "2026-03-01"),
    ("3", "undated", None, 8.0, None),
    ("4", None, None, 9.0, "2026-01-01"),
]


@pytest.fixture
def source(spark):
    return spark.createDataFrame(ROWS, SCHEMA)


def test_census_counts_rows_ids_and_copies(source) -> None:
    census = take_census(source, COLUMNS)
    ids = source.filter("trim(id) != '' AND length(id) < 100").selectExpr("id AS product_id").distinct()
    assert census == Census(rows=9, rows_without_usable_id=3, ids=4, repeated_ids=1, ids_digest=count_of_ids(ids).digest)
    assert census.rows_rejected == 5


def test_one_row_an_id_with_its_text_and_hash(spark, source) -> None:
    rows = catalogue_rows(source, COLUMNS, 100, take_census(source, COLUMNS))
    texts = {"1": ("lamp", 1.0), "2": ("a chair", 2.0), "3": ("new", 7.0), "4": ("", 9.0)}
    expected = [(i, t, hashlib.sha256(t.encode()).hexdigest(), p) for i, (t, p) in texts.items()]
    assertDataFrameEqual(
        rows, spark.createDataFrame(expected, "product_id string, text string, text_hash string, price double")
    )


def test_rejected_rows_say_why_and_keep_the_row(source) -> None:
    rejected = rejected_rows(source, COLUMNS, take_census(source, COLUMNS)).collect()
    assert sorted(row["reason"] for row in rejected) == sorted([NO_ID, NO_ID, LONG_ID, OLDER_COPY, OLDER_COPY])
    by_title = {json.loads(row["row"])["title"]: row for row in rejected}
    assert by_title["old"]["product_id"] == "3"
    assert by_title["no id"]["product_id"] is None
    assert len(by_title["long id"]["product_id"]) == MAX_ID_CHARACTERS
    assert json.loads(by_title["undated"]["row"])["price"] == 8.0


def test_the_kept_copy_does_not_depend_on_the_partitions(spark) -> None:
    columns = CatalogueColumns("id", ("title",))
    copies = spark.createDataFrame([("1", f"text {i}") for i in range(40)], "id string, title string")
    kept = set()
    for partitions in (1, 3, 8):
        shuffled = copies.repartition(partitions)
        rows = catalogue_rows(shuffled, columns, 100, take_census(shuffled, columns)).collect()
        kept.update(row["text"] for row in rows)
    assert len(kept) == 1


def test_long_texts_are_cut_before_python_sees_them(spark) -> None:
    source = spark.createDataFrame([("1", "ab " * 1_000_000, "end")], "id string, title string, description string")
    columns = CatalogueColumns("id", ("title", "description"))
    text = catalogue_rows(source, columns, 50, take_census(source, columns)).collect()[0]["text"]
    assert len(text) <= 50
    assert text.startswith("ab ab")


def test_whole_numbers_serve_as_ids(spark) -> None:
    source = spark.createDataFrame([(12345678901, "x")], "id long, title string")
    columns = CatalogueColumns("id", ("title",))
    assert catalogue_rows(source, columns, 50, take_census(source, columns)).collect()[0]["product_id"] == "12345678901"


def test_marked_columns_stand_behind_their_markers_if_they_hold_words(spark) -> None:
    rows = [
        ("1", "lamp", "warm light"),
        ("2", None, "a chair"),
        ("3", " ?! ", "-"),
        ("4", "Stuhl ü", ""),
        ("5", "&nbsp;", "<p><BR/></p>"),
        ("6", "a & b", "<NEW>"),
    ]
    source = spark.createDataFrame(rows, "id string, title string, description string")
    columns = CatalogueColumns("id", ("title", "description"), markers=("xxfield0", "xxfield1"))
    found = catalogue_rows(source, columns, 100, take_census(source, columns))
    texts = {row["product_id"]: row["text"] for row in found.collect()}
    assert texts == {
        "1": "xxfield0 lamp xxfield1 warm light",
        "2": "xxfield1 a chair",
        "3": "",
        "4": "xxfield0 Stuhl ü",
        "5": "",
        "6": "xxfield0 a & b xxfield1 <NEW>",
    }


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("2026-01-01 00:00:00.000000001", "2026-01-01 00:00:00.000000002"),
        ("1.0000000001", "1.0000000002"),
        ("-1.0000000002", "-1.0000000001"),
        ("1.9999999999", "2.0"),
        ("-2", "-1.9999999999"),
        ("-0.0000000002", "-0.0000000001"),
    ],
)
def test_copies_are_ordered_by_what_no_type_holds_too(spark, older: str, newer: str) -> None:
    columns = CatalogueColumns("id", ("title",), order_by="copy_rank")
    rows = [(str(i), text, at) for i in range(20) for text, at in (("old", older), ("new", newer))]
    source = spark.createDataFrame(rows, "id string, title string, copy_rank string")
    kept = catalogue_rows(source, columns, 100, take_census(source, columns)).collect()
    assert [row["text"] for row in kept] == ["new"] * 20
