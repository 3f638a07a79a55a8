from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import functions as F
from pyspark.testing import assertDataFrameEqual

from lib.errors import InputError
from lib.spark_errors import input_fault
from lib.tables.columns import ID_TYPES, TEXT_TYPES, require_columns
from lib.tables.formats import ReadOptions
from lib.tables.locations import locate
from lib.tables.sources import read_source

ROWS = [("1", 'a "quoted" lamp'), ("2", "two\nlines"), ("3", None)]
CSV = 'product_id,title\n1,"a ""quoted"" lamp"\n2,"two\nlines"\n3,\n'


def read(spark, path: object, options: ReadOptions = ReadOptions()):
    return read_source(spark, locate(spark, str(path)), options)


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def rows(spark):
    return spark.createDataFrame(ROWS, "product_id string, title string")


def test_csv_with_quotes_and_line_breaks(spark, rows, tmp_path) -> None:
    source = read(spark, written(tmp_path / "a.csv", CSV))
    assertDataFrameEqual(source.frame, rows)
    assert source.version.startswith("files:")


def test_names_with_blanks_and_other_scripts(spark, rows, tmp_path) -> None:
    path = written(tmp_path / "my näme 100% cotton" / "a b.csv", CSV)
    source = read(spark, path.parent)
    assertDataFrameEqual(source.frame, rows)
    assert source.version.startswith("files:")
    assert "found one still open" in faults(spark, written(path.parent / "c.csv", 'product_id,title\n1,"open\n'))


def test_an_empty_csv_file_has_no_columns(spark, tmp_path) -> None:
    frame = read(spark, written(tmp_path / "a.csv", "")).frame
    with pytest.raises(InputError, match="found no columns"):
        require_columns(frame, "a.csv", id_column=(["id"], ID_TYPES))


def test_csv_without_header_takes_the_names_given(spark, rows, tmp_path) -> None:
    path = written(tmp_path / "a.csv", CSV.split("\n", 1)[1])
    assertDataFrameEqual(read(spark, path, ReadOptions(columns=("product_id", "title"))).frame, rows)


def test_json_lines_keep_ids_as_text(spark, tmp_path) -> None:
    path = written(tmp_path / "a.jsonl", '{"product_id": "007", "title": "x"}\n{"product_id": 8, "title": null}\n')
    expected = spark.createDataFrame([("007", "x"), ("8", None)], "product_id string, title string")
    assertDataFrameEqual(read(spark, path).frame, expected)


def test_parquet_and_delta_by_path_and_by_name(spark, rows, tmp_path) -> None:
    rows.write.parquet(str(tmp_path / "p"))
    rows.write.format("delta").save(str(tmp_path / "d"))
    spark.sql("CREATE DATABASE IF NOT EXISTS shop")
    rows.write.mode("overwrite").format("delta").saveAsTable("shop.by_name")
    rows.write.mode("overwrite").format("parquet").saveAsTable("plain_table")
    for place, kind in (
        (tmp_path / "p", "parquet"),
        (tmp_path / "d", "delta"),
        ("shop.by_name", "delta"),
        ("plain_table", "table"),
    ):
        source = read(spark, place)
        assert source.format == kind
        assertDataFrameEqual(source.frame, rows)


def test_a_delta_source_is_pinned_to_its_version(spark, rows, tmp_path) -> None:
    path = str(tmp_path / "d")
    rows.write.format("delta").save(path)
    source = read(spark, path)
    rows.write.format("delta").mode("append").save(path)
    assert source.version.startswith("delta:0:")
    assert source.frame.count() == 3
    first, appended = source.delta_version, read(spark, path).delta_version
    assert (first.number, appended.number, appended.table_id) == (0, 1, first.table_id)
    assert appended.commit != first.commit
    assert source.version == f"delta:{first}"


def test_the_version_of_files_changes_with_them(spark, tmp_path) -> None:
    path = written(tmp_path / "in" / "a.csv", CSV)
    first = read(spark, path.parent).version
    assert read(spark, path.parent).version == first
    written(tmp_path / "in" / "b.csv", CSV)
    assert read(spark, path.parent).version != first


@pytest.mark.parametrize(
    ("make", "because"),
    [
        (lambda d: None, "found nothing; correct the path"),
        (lambda d: d.mkdir(), "Expected data files at"),
        (lambda d: written(d / "_SUCCESS", ""), "Expected data files at"),
        (lambda d: written(d / "notes.txt", "hello"), "found files ending in .txt; give --format csv, with the --delimiter"),
        (lambda d: written(d / "a.xlsx", "x"), "found files ending in .xlsx; save each sheet as CSV."),
        (lambda d: written(d / "a.csv.zip", "x"), "found files ending in .zip; unpack them."),
        (lambda d: written(d / "a.orc", "x"), "found files ending in .orc; correct the path, or give --format."),
        (lambda d: (written(d / "a.csv", CSV), written(d / "b.tsv", CSV)), "found files ending in .csv, .tsv"),
        (lambda d: (written(d / "a.csv", CSV), written(d / "b.json", "{}")), "found files ending in .csv, .json"),
    ],
)
def test_what_is_no_table_is_refused(spark, tmp_path, make, because) -> None:
    make(tmp_path / "in")
    with pytest.raises(InputError, match=because):
        read(spark, tmp_path / "in")


def test_no_such_table(spark) -> None:
    with pytest.raises(InputError, match="Expected a table, or a path at no_such_table, found nothing"):
        read(spark, "no_such_table")


def faults(spark, path: Path) -> str:
    """The message for the user when the whole file at `path` is read."""
    try:
        read(spark, path).frame.select("product_id").foreach(lambda row: None)
    except InputError as error:
        return str(error)
    except Exception as error:  # Spark's own; run_command translates them
        return input_fault(error) or f"not translated: {error}"
    return "read without a fault"


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ('product_id,title\n1,"never closed\n2,lamp\n', "found one still open at its end"),
        ('product_id,title\n1,"never closed\n2,"lamp"\n', "found a row that is not"),
        ("product_id,title\n1,a,b\n", "found a row that is not"),
        ("product_id,title\n1\n", "found a row that is not"),
    ],
)
def test_broken_csv_is_refused(spark, tmp_path, text, because) -> None:
    assert because in faults(spark, written(tmp_path / "a.csv", text))


def test_an_inch_sign_in_an_unquoted_field_is_fine(spark, tmp_path) -> None:
    source = read(spark, written(tmp_path / "a.csv", 'product_id,title\n1,5" pipe\n'))
    assert source.frame.collect()[0]["title"] == '5" pipe'


def test_broken_json_and_parquet_are_refused(spark, tmp_path) -> None:
    assert "one JSON object a line" in faults(spark, written(tmp_path / "a.json", '{"product_id": "1"}\n{"product_id": \n'))
    assert "Expected Parquet files" in faults(spark, written(tmp_path / "a.parquet", "no parquet at all"))


def test_columns_are_checked_by_name_and_type(spark) -> None:
    frame = spark.createDataFrame([(1, "x", 2.5)], "id int, title string, price double")
    require_columns(frame, "here", id_column=(["id"], ID_TYPES), text_columns=(["title"], TEXT_TYPES))
    with pytest.raises(InputError, match="Expected the column name in here, found id int, title string, price double"):
        require_columns(frame, "here", text_columns=(["name"], TEXT_TYPES))
    with pytest.raises(InputError, match=r"column price to be string in here, found double .*correct --text-columns"):
        require_columns(frame, "here", text_columns=(["price"], TEXT_TYPES))


def test_a_column_with_a_dot_in_its_name(spark) -> None:
    from lib.identifiers import column

    frame = spark.createDataFrame([("x",)], "`a.b` string")
    assert frame.select(column("a.b").alias("c")).collect()[0]["c"] == "x"
    assert frame.select(F.col("`a.b`")).count() == 1
