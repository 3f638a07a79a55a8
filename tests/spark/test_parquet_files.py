"""Parquet files are read with the types of their own footers, or the run ends with the file's name."""

from __future__ import annotations

import base64
import json
import os
import pickle
import re
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lib.errors import InputError
from lib.pairs.offered import WIDER_PARQUET
from lib.tables.formats import ReadOptions
from lib.tables.locations import locate
from lib.tables.sources import read_source
from tests.spark.test_readers import parquet, titles

SINCE_4 = pytest.mark.skipif(not WIDER_PARQUET, reason="an older Spark does not know these types, or reads none as a wider one")
pytestmark = pytest.mark.usefixtures("spark")


def priced(spark, folder: Path, *prices: Any) -> list[object]:
    """Write one file for each array; returns what is read from the column price."""
    for number, price in enumerate(prices):
        parquet(folder / f"{number}.parquet", product_id=[str(number)], title=["lamp"], price=price)
    options = ReadOptions(wanted=("product_id", "title", "price"))
    rows = read_source(spark, locate(spark, str(folder)), options).frame.orderBy("product_id").collect()
    return [row["price"] for row in rows]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array([5], pa.int32()), pa.array([Decimal("19.99")], pa.decimal128(7, 2))),
        (pa.array([5], pa.int32()), pa.array([date(2024, 1, 1)])),
        (pa.array(["5"]), pa.array([b"\xff"], pa.binary())),
        (pa.array([5.0]), pa.array([5], pa.int64())),
        (pa.array([Decimal("1.9")], pa.decimal128(7, 1)), pa.array([Decimal("19.99")], pa.decimal128(7, 2))),
    ],
)
@pytest.mark.fault(
    "Parquet files of one source whose columns have one name and two types",
    "exit 2 with file, column and both types, unless Spark reads one as the other without a loss",
    "file, column and types named",
)
def test_types_that_differ_are_named(spark, tmp_path: Path, one: Any, other: Any) -> None:
    for name, arrays in (("there", (one, other)), ("back", (other, one))):
        with pytest.raises(InputError, match=r"the column price as .* in each file .*, found .* in .*\.parquet"):
            priced(spark, tmp_path / name, *arrays)


def test_integers_without_a_sign_do_not_become_negative(spark, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the column price as int in each file .*0\.parquet, found bigint in .*1\.parquet"):
        priced(spark, tmp_path / "in", pa.array([5], pa.int32()), pa.array([4_000_000_000], pa.uint32()))


@pytest.mark.parametrize(
    ("arrays", "prices"),
    [
        pytest.param(
            (pa.array([5], pa.int64()), pa.array([-6], pa.int32()), pa.array([7], pa.int8())), [5, -6, 7], marks=SINCE_4
        ),
        ((pa.array([5], pa.int64()), pa.array([4_000_000_000], pa.uint32())), [5, 4_000_000_000]),
        pytest.param((pa.array([1.5], pa.float64()), pa.array([2.5], pa.float32())), [1.5, 2.5], marks=SINCE_4),
        (
            (pa.array([Decimal("12345.67")], pa.decimal128(20, 2)), pa.array([Decimal("1.25")], pa.decimal128(7, 2))),
            [Decimal("12345.67"), Decimal("1.25")],
        ),
    ],
)
def test_types_that_are_read_as_a_wider_one(spark, tmp_path: Path, arrays: tuple[Any, ...], prices: list[object]) -> None:
    assert priced(spark, tmp_path / "in", *arrays) == prices


def test_an_older_spark_reads_no_wider_type(spark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.tables.parquet_checks.WIDER_PARQUET", False)
    assert priced(spark, tmp_path / "short", pa.array([5], pa.int32()), pa.array([7], pa.int8())) == [5, 7]
    with pytest.raises(InputError, match=r"the column price as bigint in each file .*, found int in .*1\.parquet"):
        priced(spark, tmp_path / "long", pa.array([5], pa.int64()), pa.array([6], pa.int32()))


@pytest.mark.fault(
    "a table by name over Parquet files of which none has the text column, or a partition's file has not, or as another type",
    "exit 2, the file named",
    "file named",
)
def test_a_table_by_name_over_files_without_the_column(spark, tmp_path: Path) -> None:
    parquet(tmp_path / "one" / "a.parquet", product_id=["1"])
    parquet(tmp_path / "typed" / "a.parquet", product_id=["1"], title=[5])
    parquet(tmp_path / "parts" / "day=1" / "a.parquet", product_id=["1"], title=["lamp"])
    columns = "product_id string, title string"
    spark.sql(f"CREATE TABLE lacking ({columns}) USING parquet LOCATION '{tmp_path}/one'")
    spark.sql(f"CREATE TABLE typed ({columns}) USING parquet LOCATION '{tmp_path}/typed'")
    spark.sql(f"CREATE TABLE parts ({columns}, day string) USING parquet PARTITIONED BY (day) LOCATION '{tmp_path}/parts'")
    spark.sql("MSCK REPAIR TABLE parts")
    try:
        with pytest.raises(InputError, match=r"the column title in each file of lacking, found none in .*a\.parquet"):
            titles(spark, "lacking")
        with pytest.raises(InputError, match=r"the column title as string .*the table says, found bigint in .*a\.parquet"):
            titles(spark, "typed")
        assert titles(spark, "parts", "day") == {"1": "lamp"}
        parquet(tmp_path / "parts" / "day=2" / "b.parquet", product_id=["2"])
        spark.sql("MSCK REPAIR TABLE parts")
        with pytest.raises(InputError, match=r"the column title in each file of parts, found none in .*b\.parquet"):
            titles(spark, "parts")
    finally:
        for name in ("lacking", "typed", "parts"):
            spark.sql(f"DROP TABLE {name}")


def test_a_column_of_the_folder_and_of_the_file(spark, tmp_path: Path) -> None:
    parquet(tmp_path / "in" / "title=lamp" / "a.parquet", product_id=["1"], title=["chair"])
    with pytest.raises(InputError, match=r"the column title of .* found it in both for .*a\.parquet"):
        titles(spark, tmp_path / "in")


def plus(path: Path, number: str, more: Any, name: str = "more") -> Path:
    """A product with another column."""
    parquet(path, product_id=[number], title=["lamp"], **{name: more})
    return path


@pytest.mark.parametrize(
    ("more", "found"),
    [
        (pa.array([datetime(2024, 1, 1)], pa.timestamp("ns")), r"int64 \(TIMESTAMP\(NANOS,false\)\); .*coerce_timestamps='us'"),
        (pa.array([time(1, 2)], pa.time64("us")), r"int64 \(TIME\(MICROS,\w+\)\); write it in another one, or"),
        pytest.param(pa.array([1.5], pa.float16()), r"fixed_len_byte_array\(2\) \(FLOAT16\); ", marks=SINCE_4),
        (pa.array([1], pa.decimal256(50, 2)), r"fixed_len_byte_array\(21\) \(DECIMAL\(50,2\)\); "),
        (pa.array([{"at": datetime(2024, 1, 1)}], pa.struct([("at", pa.timestamp("ns"))])), r"group \{; "),
    ],
)
@pytest.mark.fault(
    "a Parquet column of a type that Spark does not read, such as the times that pandas writes",
    "left out; exit 2 with file and column if the job needs it",
    "left out, or named",
)
def test_types_that_spark_does_not_read(spark, tmp_path: Path, more: Any, found: str) -> None:
    plus(tmp_path / "in" / "a.parquet", "1", [5])
    plus(tmp_path / "in" / "b.parquet", "2", more)
    assert titles(spark, tmp_path / "in") == {"1": "lamp", "2": "lamp"}
    assert titles(spark, tmp_path / "in" / "b.parquet") == {"2": "lamp"}
    with pytest.raises(InputError, match=rf"the column more in a type that Spark reads in file:\S*b\.parquet, found {found}"):
        titles(spark, tmp_path / "in", "more")


@pytest.mark.fault(
    "a Parquet column that the job does not need, with types that differ between files or twice in one file",
    "left out; the file is named where the job needs the column",
    "left out, or named",
)
def test_columns_that_the_job_does_not_need(spark, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    parquet(
        folder / "a.parquet", product_id=["1"], title=["lamp"], price=[5], size=pa.array([1], pa.int32()), kind=["x"], at=[1]
    )
    parquet(
        folder / "b.parquet",
        product_id=["2"],
        title=["lamp"],
        price=["5"],
        size=[2],
        colour=["red"],
        at=[2],
        KIND=["y"],
        kind=["z"],
    )
    frame = read_source(spark, locate(spark, str(folder)), ReadOptions(wanted=("product_id", "title"))).frame
    assert dict(frame.dtypes) == {"product_id": "string", "title": "string", "at": "bigint", "colour": "string"}
    rows = frame.orderBy("product_id").collect()
    assert [tuple(row) for row in rows] == [("1", "lamp", 1, None), ("2", "lamp", 2, "red")]
    with pytest.raises(InputError, match=r"the column kind once in file:\S*b\.parquet, found KIND and kind"):
        titles(spark, folder, "kind")


@pytest.mark.parametrize("folder", ["", "day=1"])
@pytest.mark.fault(
    "a Parquet column without any value, which has no type, in all files or in one of them",
    "read as the type that it has in other files, or as text",
    "read as missing values",
)
def test_a_column_without_a_value_fits_any_type(spark, tmp_path: Path, folder: str) -> None:
    plus(tmp_path / folder / "a.parquet", "1", pa.nulls(1))
    options = ReadOptions(wanted=("product_id", "title", "more"))
    frame = read_source(spark, locate(spark, str(tmp_path)), options).frame
    assert [(row["product_id"], row["more"]) for row in frame.collect()] == [("1", None)]
    assert dict(frame.dtypes)["more"] == "string"
    plus(tmp_path / folder / "b.parquet", "2", ["x"])
    plus(tmp_path / folder / "c.parquet", "3", pa.nulls(1), "MORE")
    source = read_source(spark, locate(spark, str(tmp_path)), options)
    rows = source.frame.orderBy("product_id").collect()
    assert [(row["product_id"], row["more"]) for row in rows] == [("1", None), ("2", "x"), ("3", None)]
    assert [row.asDict().get("day") for row in rows] == ["1" if folder else None] * 3
    assert len(source.files) == 3
    # Where nobody asks for it, all files are read as one.
    assert titles(spark, tmp_path) == dict.fromkeys("123", "lamp")


@pytest.mark.parametrize("way", ["Parquet", "Arrow"])
def test_how_a_file_says_that_a_column_has_no_type(spark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    if way == "Arrow":
        # As under Spark 4.0 and older, which do not show this type of Parquet's.
        monkeypatch.setattr("lib.tables.parquet_checks._OF_NO_TYPE", re.compile("none"))
    table = pa.table({"product_id": ["1"], "title": pa.nulls(1)})
    pq.write_table(table, tmp_path / "a.parquet", store_schema=way == "Arrow")
    assert titles(spark, tmp_path / "a.parquet") == {"1": None}


def test_damaged_metadata_of_arrow_is_passed_over(spark, tmp_path: Path) -> None:
    damaged = pa.schema([("product_id", pa.string()), ("title", pa.string())], {"ARROW:schema": base64.b64encode(b"x" * 40)})
    with pq.ParquetWriter(tmp_path / "a.parquet", damaged, store_schema=False) as writer:
        writer.write_table(pa.table({"product_id": ["1"], "title": ["lamp"]}, damaged))
    assert titles(spark, tmp_path / "a.parquet") == {"1": "lamp"}


class _Touch:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(os.environ["TOUCHED"]),)


@pytest.mark.fault(
    "a Parquet file whose metadata holds code, as Spark's user-defined types do",
    "the column is left out, or refused; no code of the file runs",
    "left out, nothing ran",
)
def test_no_code_of_a_file_runs(spark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHED", str(tmp_path / "ran"))
    code = base64.b64encode(pickle.dumps(_Touch())).decode()
    own = {"type": "udt", "pyClass": "json.Own", "serializedClass": code, "sqlType": "string"}
    kinds = {"product_id": "string", "title": "string", "more": own}
    fields = [{"name": name, "type": kind, "nullable": True, "metadata": {}} for name, kind in kinds.items()]
    table = pa.table({"product_id": ["1"], "title": ["lamp"], "more": ["x"]})
    key = "org.apache.spark.sql.parquet.row.metadata"
    table = table.replace_schema_metadata({key: json.dumps({"type": "struct", "fields": fields})})
    pq.write_table(table, tmp_path / "a.parquet")
    assert titles(spark, tmp_path / "a.parquet") == {"1": "lamp"}
    with pytest.raises(InputError, match=r"the column more in a type that Spark reads"):
        titles(spark, tmp_path / "a.parquet", "more")
    assert not (tmp_path / "ran").exists()
