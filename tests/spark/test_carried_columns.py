"""Columns carried along from run to run: they come, go and change their type with `--mode full`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.tables import CATEGORIZED, COMMENTS
from tests.faults.nights import run

pytestmark = pytest.mark.usefixtures("spark")


def catalogue(path: Path, **columns: list[Any]) -> Path:
    count = len(next(iter(columns.values()))) if columns else 3
    titles = ["steel kettle", "detective novel, paperback", "usb cable for phones"]
    pq.write_table(pa.table({"product_id": ["1", "2", "3"][:count], "title": titles[:count], **columns}), path)
    return path


@pytest.mark.fault(
    "a carried column gone from the source, or of another type in it, after runs that carried it",
    "exit 2 and the way: `--mode full` replaces the columns, and the runs after it go on",
    "exit 2; then the table in the new columns",
)
def test_columns_go_and_change_with_a_full_run(spark, tmp_path: Path, capsys) -> None:
    source, lake = tmp_path / "in.parquet", tmp_path / "lake"

    def column(name: str) -> dict[str, Any]:
        rows = spark.read.format("delta").load(str(lake)).collect()
        return {row["product_id"]: row.asDict().get(name, "no column") for row in rows}

    assert run(catalogue(source, price=[1, 2, 3]), lake, "--carry", "price") == 0
    assert run(catalogue(source), lake) == 2
    assert "found also price bigint; carry these columns too, or drop them with --mode full" in capsys.readouterr().err
    # A kept product keeps what fits the new type.
    assert run(catalogue(source, price=["4", "a lot"]), lake, "--carry", "price") == 2
    assert "give it the new type with --mode full" in capsys.readouterr().err
    assert run(catalogue(source, price=["4", "a lot"]), lake, "--carry", "price", "--mode", "full", "--missing", "keep") == 0
    assert column("price") == {"1": "4", "2": "a lot", "3": "3"}
    assert run(catalogue(source, price=[5, 6]), lake, "--carry", "price", "--mode", "full") == 0
    assert column("price") == {"1": 5, "2": 6, "3": 3}
    # Another column in its place, and missing products in today's columns.
    assert run(catalogue(source, stock=[7, 8]), lake, "--carry", "stock", "--mode", "full", "--missing", "mark") == 0
    assert column("price") == dict.fromkeys("123", "no column")
    described = {row["col_name"]: row["comment"] for row in spark.sql(f"DESCRIBE TABLE delta.`{lake}`").collect()}
    assert (described["confidence"], described["stock"]) == (COMMENTS["confidence"], None)
    nullable = {field.name: field.nullable for field in spark.read.format("delta").load(str(lake)).schema.fields}
    assert {name: nullable[name] for name in CATEGORIZED.names} == {field.name: field.nullable for field in CATEGORIZED.fields}
    assert column("stock") == {"1": 7, "2": 8, "3": None}
    assert run(catalogue(source, stock=[7, 9]), lake, "--carry", "stock") == 0
    assert column("stock") == {"1": 7, "2": 9, "3": None}


@pytest.mark.fault(
    "a carried Parquet column without any value, after a run in which it had some",
    "the table keeps the column's type, and products that are no longer in the source keep their values",
    "type and values kept",
)
def test_a_carried_column_without_a_value(spark, tmp_path: Path) -> None:
    source, lake = tmp_path / "in.parquet", tmp_path / "lake"

    def values() -> dict[str, Any]:
        rows = spark.read.format("delta").load(str(lake))
        assert (rows.schema["brand"].dataType.simpleString(), rows.schema["size"].dataType.simpleString()) == (
            "string",
            "double",
        )
        return {row["product_id"]: (row["brand"], row["size"]) for row in rows.collect()}

    both = ("--carry", "brand,size")
    assert run(catalogue(source, brand=pa.nulls(3), size=[1.5, 2.5, 3.5]), lake, *both) == 0
    assert run(catalogue(source, brand=["a", "b", "c"], size=[1.5, 2.5, 3.5]), lake, *both) == 0
    assert run(catalogue(source, brand=pa.nulls(2), size=pa.nulls(2)), lake, *both, "--mode", "full", "--missing", "keep") == 0
    assert values() == {"1": (None, None), "2": (None, None), "3": ("c", 3.5)}


def test_columns_of_any_name_beside_copies_and_changes(spark, tmp_path: Path) -> None:
    source, lake = f"delta.`{tmp_path / 'source'}`", tmp_path / "lake"
    spark.sql(f"CREATE TABLE {source} (product_id string, title string, of_hash string, of_more string) USING delta")
    spark.sql(f"INSERT INTO {source} VALUES ('1', 'steel kettle', 'a', 'b'), ('2', 'usb cable', 'c', 'd')")
    assert run(tmp_path / "source", lake, "--carry", "of_hash") == 0
    spark.sql(f"INSERT INTO {source} VALUES ('1', 'steel kettle', 'a', 'f')")
    spark.sql(f"UPDATE {source} SET of_hash = 'g' WHERE product_id = '2'")
    assert run(tmp_path / "source", lake, "--carry", "of_hash") == 0
    rows = spark.read.format("delta").load(str(lake)).collect()
    assert {row["product_id"]: row["of_hash"] for row in rows} == {"1": "a", "2": "g"}


def test_a_kept_value_that_the_new_type_does_not_hold_is_null(spark, tmp_path: Path) -> None:
    source, lake = tmp_path / "in.parquet", tmp_path / "lake"
    assert run(catalogue(source, price=[1.0, 2.9, 3.0]), lake, "--carry", "price") == 0
    assert run(catalogue(source, price=[1]), lake, "--carry", "price", "--mode", "full") == 0
    prices = {row["product_id"]: row["price"] for row in spark.read.format("delta").load(str(lake)).collect()}
    assert prices == {"1": 1, "2": None, "3": 3}


def test_a_column_that_the_table_is_laid_out_by_is_not_dropped(spark, tmp_path: Path, capsys) -> None:
    source, lake = tmp_path / "in.parquet", tmp_path / "lake"
    assert run(catalogue(source, price=[1, 2, 3]), lake, "--carry", "price") == 0
    spark.sql(f"ALTER TABLE delta.`{lake}` CLUSTER BY (price)")
    assert run(catalogue(source), lake, "--mode", "full") == 2
    assert "found price no longer carried" in capsys.readouterr().err


@pytest.mark.parametrize(("laid", "found"), [("partitionBy", "partitionColumns"), ("clusterBy", "clusteringColumns")])
def test_a_full_run_leaves_partitions_and_clustering_as_they_are(spark, tmp_path: Path, laid: str, found: str) -> None:
    source, lake = tmp_path / "in.parquet", tmp_path / "lake"
    assert run(catalogue(source, price=[1, 2, 3]), lake, "--carry", "price") == 0
    rows = spark.read.format("delta").load(str(lake)).collect()
    schema = spark.read.format("delta").load(str(lake)).schema
    if laid == "clusterBy":
        spark.sql(f"ALTER TABLE delta.`{lake}` CLUSTER BY (category)")
    else:
        writer = spark.createDataFrame(rows, schema).write.format("delta").mode("overwrite").option("overwriteSchema", True)
        writer.partitionBy("category").save(str(lake))
    for price in ({"price": [4, 5, 6]}, {}):
        carry = ("--carry", "price") if price else ()
        assert run(catalogue(source, **price), lake, "--mode", "full", *carry) == 0
        assert spark.sql(f"DESCRIBE DETAIL delta.`{lake}`").head()[found] == ["category"]
    assert "price" not in spark.read.format("delta").load(str(lake)).columns


def test_texts_with_a_collation(spark, tmp_path: Path) -> None:
    """Delta stores none, and texts of two collations cannot be joined."""
    catalogue(tmp_path / "plain.parquet", brand=["Acme", "ACME", None])
    rows = spark.read.parquet(str(tmp_path / "plain.parquet"))
    names = {"product_id": "UTF8_LCASE", "title": "UNICODE", "brand": "UTF8_LCASE"}
    rows.selectExpr(*[f"{name} COLLATE {kind} AS {name}" for name, kind in names.items()]).write.parquet(str(tmp_path / "in"))
    lake = tmp_path / "lake"
    assert run(tmp_path / "in", lake, "--text-columns", "title,brand", "--carry", "brand") == 0
    assert {row["product_id"]: row["brand"] for row in spark.read.format("delta").load(str(lake)).collect()} == {
        "1": "Acme",
        "2": "ACME",
        "3": None,
    }
    assert run(tmp_path / "in", lake, "--text-columns", "title,brand", "--carry", "brand", "--verify") == 0
