"""No reader guesses: what a source holds arrives as it is, file by file, or the run ends with the file's name."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import Row

from lib.errors import InputError
from lib.scoring.catalogue import CatalogueColumns, catalogue_rows, take_census, usable_id
from lib.scoring.input_checks import check_carried_names
from lib.session import REQUIRED, configure
from lib.tables.formats import ReadOptions
from lib.tables.locations import locate
from lib.tables.sources import read_source
from tests.faults.nights import at, hashes_in, ledger, run, titles_hash

pytestmark = pytest.mark.usefixtures("spark")

Contents = Mapping[str, str | bytes]


def delivered(folder: Path, contents: Contents) -> Path:
    for name, text in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def parquet(path: Path, **columns: list[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def titles(spark, source: object, *more: str, **options: Any) -> dict[str, str]:
    """What a reader finds: product_id -> title."""
    read = read_source(spark, locate(spark, str(source)), ReadOptions(**options, wanted=("product_id", "title", *more)))
    rows = read.frame.select("product_id", "title").collect()
    found = {row["product_id"]: row["title"] for row in rows}
    assert len(found) == len(rows)
    return found


# Columns by name, file by file


@pytest.mark.parametrize(
    "contents",
    [
        {"a.csv": "product_id,title\n1,lamp\n", "b.csv": "title,product_id\nchair,2\n"},
        {"a.csv": "product_id,title\n1,lamp\n", "b.csv": "TITLE,Product_Id\nchair,2\n"},
        {"a.csv": "Product_ID,Title\n1,lamp\n", "b.csv": "title,product_id,price\nchair,2,5\n"},
        {"a.csv": "product_id,title,,x,x\n1,lamp,,,\n", "b.csv": "title,product_id\r\nchair,2\r\n"},
        {"a.csv": "\ufeffproduct_id,title\n1,lamp\n", "b.csv": "\n\nproduct_id,title\n2,chair\n"},
        {"a.csv": "product_id,title\n1,lamp\n", "b.csv.gz": gzip.compress(b"title,product_id\nchair,2\n")},
        {"a.csv": '"title","product_id","two\nlines"\nlamp,1,\n', "b.csv": '"title","product_id","two\nmore"\nchair,2,\n'},
        {"x=1/a.csv": "product_id,title\n1,lamp\n", "x=2/b.csv": "title,product_id\nchair,2\n"},
        {"deep/a.csv": "product_id,title\n1,lamp\n", "deep/deeper/b.csv": "title,product_id\nchair,2\n"},
        {"a.json": '{"product_id": "1", "title": "lamp"}\n', "deep/b.json": '{"title": "chair", "product_id": "2"}\n'},
        {"product_id=1/a.csv": "title\nlamp\n", "product_id=2/a.csv": "title\nchair\n"},
    ],
)
@pytest.mark.fault(
    "files of one source with columns in another order or case, with a byte order mark, quoted line ends or deeper folders",
    "columns by name, file by file",
    "read by name",
)
def test_files_that_differ_are_read_by_name(spark, tmp_path: Path, contents: Contents) -> None:
    assert titles(spark, delivered(tmp_path / "in", contents)) == {"1": "lamp", "2": "chair"}


@pytest.mark.fault(
    "a CSV file without a header whose first line break is a line feed inside of quotes, and whose rows end in CRLF",
    "the carriage returns are not part of the last column's values",
    "ids as they are written",
)
def test_line_breaks_in_quotes_do_not_decide_where_rows_end(spark, tmp_path: Path) -> None:
    names = ("title", "product_id")
    delivered(tmp_path / "in", {"a.csv": '"two\nlines",1\r\nlamp,2\r\nchair,3\r\n', "b.csv": "shirt,4\ncup,5\r\n"})
    found = titles(spark, tmp_path / "in", columns=names)
    assert found == {"1": "two\nlines", "2": "lamp", "3": "chair", "4": "shirt", "5": "cup"}


@pytest.mark.parametrize(
    ("contents", "named"),
    [
        ({"a.csv": "product_id,title\n1,lamp\n", "b.csv": "product_id,name\n2,chair\n"}, "b.csv"),
        ({"a.csv": "product_id,title\n1,lamp\n", "b.csv": "2,chair\n"}, "b.csv"),
        ({"a.csv": "product_id,title\n1,lamp\n", "b.csv": ""}, "b.csv"),
        ({"a.json": '{"product_id": "1", "title": "x"}\n', "b.json": '{"product_id": "2", "name": "x"}\n'}, "b.json"),
        ({"a.csv": "product_id,title\n1,lamp\n", "x=1/b.csv": "product_id,title\n2,chair\n"}, "x=1"),
        ({"x=1/a.csv": "product_id,title\n1,lamp\n", "y=1/b.csv": "product_id,title\n2,chair\n"}, "y=1"),
        ({"a.csv": "product_id,title\n1,lamp\n2,ol\xe9\n".encode("latin-1")}, "a.csv, found invalid bytes in its line 3"),
        (
            {"a.json": '{"product_id": "1", "title": "x"}\n{"product_id": "2", "title": "ol\xe9"}\n'.encode("latin-1")},
            "a.json, found invalid bytes in its line 2",
        ),
    ],
)
@pytest.mark.fault(
    "a file of the source without a column that the job needs, or with bytes that are not text",
    "the file is named, and the line; nothing is read",
    "file and line named",
)
def test_a_file_that_does_not_fit_is_named(spark, tmp_path: Path, contents: Contents, named: str) -> None:
    with pytest.raises(InputError, match=named):
        titles(spark, delivered(tmp_path / "in", contents))


def test_json_lines_leave_out_what_has_no_value(spark, tmp_path: Path) -> None:
    contents = {
        "a.json": '{"product_id": "1", "title": "lamp", "price": "3"}\n',
        "b.json": '{"product_id" : "2", "title": "chair"}\n',
    }
    assert titles(spark, delivered(tmp_path / "in", contents), "price") == {"1": "lamp", "2": "chair"}


def test_a_table_over_csv_is_refused(spark, tmp_path: Path) -> None:
    delivered(tmp_path / "in", {"a.csv": "product_id,title\n1,lamp\n", "b.csv": "title,product_id\nchair,2\n"})
    spark.sql(
        f"CREATE TABLE night_csv (product_id STRING, title STRING) USING csv OPTIONS (header true) LOCATION '{tmp_path}/in'"
    )
    spark.sql("CREATE VIEW night_view AS SELECT * FROM night_csv")
    try:
        for name in ("night_csv", "night_view"):
            with pytest.raises(InputError, match="found one that reads CSV"):
                read_source(spark, locate(spark, name), ReadOptions(wanted=("product_id", "title")))
    finally:
        spark.sql("DROP VIEW night_view")
        spark.sql("DROP TABLE night_csv")


@pytest.mark.fault(
    "one Parquet file of two without the text column",
    "the file is named",
    "file named",
)
def test_parquet_files_by_their_footers(spark, tmp_path: Path) -> None:
    parquet(tmp_path / "in" / "a.parquet", product_id=["1"], title=["lamp"])
    parquet(tmp_path / "in" / "b.parquet", product_id=["2"], price=[5])
    with pytest.raises(InputError, match=r"the column title in each file.*b\.parquet"):
        titles(spark, tmp_path / "in")
    # A column that is new in some is fine, as long as nobody asks for it; so is another case or order.
    parquet(tmp_path / "in" / "b.parquet", price=[5], Title=["chair"], product_id=["2"])
    assert titles(spark, tmp_path / "in") == {"1": "lamp", "2": "chair"}
    # A summary that some writers leave holds no rows.
    pq.write_metadata(pa.schema([("product_id", pa.string())]), tmp_path / "in" / "_common_metadata")
    assert titles(spark, tmp_path / "in") == {"1": "lamp", "2": "chair"}
    with pytest.raises(InputError, match=r"the column price in each file.*a\.parquet"):
        titles(spark, tmp_path / "in", "price")


def test_a_table_over_orc_is_refused(spark, tmp_path: Path) -> None:
    spark.createDataFrame([("1", "lamp")], "product_id string, title string").write.orc(str(tmp_path / "in"))
    # Spark reads null for what a file lacks.
    spark.createDataFrame([("2", "chair")], "product_id string, name string").write.mode("append").orc(str(tmp_path / "in"))
    spark.sql(f"CREATE TABLE night_orc (product_id string, title string) USING orc LOCATION '{tmp_path / 'in'}'")
    try:
        with pytest.raises(InputError, match=r"found one that reads ORC"):
            titles(spark, "night_orc")
    finally:
        spark.sql("DROP TABLE night_orc")


def test_a_table_by_name_has_its_files_checked_too(spark, tmp_path: Path) -> None:
    parquet(tmp_path / "in" / "a.parquet", product_id=["1"], title=["lamp"])
    spark.sql(f"CREATE TABLE named_files (product_id string, title string) USING parquet LOCATION '{tmp_path / 'in'}'")
    try:
        assert titles(spark, "named_files") == {"1": "lamp"}
        parquet(tmp_path / "in" / "b.parquet", product_id=["2"])
        with pytest.raises(InputError, match=r"b\.parquet"):
            titles(spark, "named_files")
    finally:
        spark.sql("DROP TABLE named_files")


# Paths


@pytest.mark.fault(
    "a source `night[12]` beside `night1`",
    "a path is a path",
    "read as it is named",
)
def test_a_path_is_no_pattern(spark, tmp_path: Path) -> None:
    delivered(tmp_path / "csv" / "night1", {"a.csv": "title,product_id\nwrong,one\n"})
    delivered(tmp_path / "night1", {"a.json": '{"id": "1", "name": "wrong"}\n'})
    for name in ("night[12]", "night{1,2}", "n*"):
        delivered(tmp_path / "csv" / name, {"a.csv": f'product_id,title\n"{name}",lamp\n'})
        assert titles(spark, tmp_path / "csv" / name) == {name: "lamp"}
    delivered(tmp_path / "night[12]", {"a.json": '{"product_id": "1", "title": "lamp"}\n'})
    assert titles(spark, tmp_path / "night[12]") == {"1": "lamp"}


@pytest.mark.fault(
    "a Delta table among the files of a source",
    "refused by name",
    "refused",
)
def test_a_table_among_files_is_not_read_without_its_log(spark, tmp_path: Path) -> None:
    lake = tmp_path / "shop" / "catalogue"
    frame = spark.createDataFrame([("1", "lamp", "x")], "product_id string, title string, part string")
    frame.write.format("delta").partitionBy("part").save(str(lake))
    for source in (tmp_path / "shop", lake / "part=x"):
        with pytest.raises(InputError, match="Delta table"):
            titles(spark, source)


@pytest.mark.fault(
    "files of a Hudi or an Iceberg table, of a Delta table in a folder named key=value, or of a stream's output further in",
    "refused: they hold rows of other versions too",
    "refused",
)
@pytest.mark.parametrize(
    ("log", "source"),
    [
        (".hoodie/hoodie.properties", ""),
        ("day=1/.hoodie_partition_metadata", "day=1"),
        ("day=1/_delta_log/00000000000000000000.json", ""),
        ("day=1/_spark_metadata/0", ""),
        ("../metadata/v1.metadata.json", ""),
        ("../metadata/v1.metadata.json", "day=1"),
    ],
)
def test_files_whose_log_lies_elsewhere_are_not_read_without_it(spark, tmp_path: Path, log: str, source: str) -> None:
    table = tmp_path / "data"
    parquet(table / "day=1" / "a.parquet", product_id=["1"], title=["lamp"])
    parquet(table / "day=1" / "b.parquet", product_id=["1"], title=["what was there before"])
    delivered(table, {log: "{}"})
    with pytest.raises(InputError, match=r"rows of other versions"):
        titles(spark, table / source)


@pytest.mark.fault(
    "Parquet files of Databricks' commit protocol, some of which it names as removed",
    "refused: their rows were replaced",
    "refused",
)
@pytest.mark.parametrize("folder", ["", "day=1"])
def test_files_that_databricks_has_removed_are_not_read(spark, tmp_path: Path, folder: str) -> None:
    for name, product in (("part-0-tid-1", "what was there before"), ("part-0-tid-2", "lamp")):
        parquet(tmp_path / "in" / folder / f"{name}.parquet", product_id=[product], title=[product])
    marker = f"{folder}/_committed_1".lstrip("/")
    delivered(tmp_path / "in", {marker: '{"added":["part-0-tid-1.parquet"],"removed":[]}', f"{marker}0": "no JSON"})
    titles(spark, tmp_path / "in")
    delivered(tmp_path / "in", {marker: '{"added":["part-0-tid-2.parquet"],"removed":["part-0-tid-1.parquet"]}'})
    with pytest.raises(InputError, match=r"found 1 that .*_committed_1 names as removed"):
        titles(spark, tmp_path / "in")


def test_a_parquet_table_over_delta_files_is_refused(spark, tmp_path: Path) -> None:
    for title in ("what was there before", "lamp"):
        rows = spark.createDataFrame([("1", title)], "product_id string, title string")
        rows.write.format("delta").mode("overwrite").save(str(tmp_path / "lake"))
    spark.sql(f"CREATE TABLE over_delta (product_id string, title string) USING parquet LOCATION '{tmp_path / 'lake'}'")
    try:
        with pytest.raises(InputError, match=r"a Delta table in it"):
            titles(spark, "over_delta")
    finally:
        spark.sql("DROP TABLE over_delta")


def test_of_a_stream_s_output_what_it_has_committed_is_read(spark, tmp_path: Path) -> None:
    parquet(tmp_path / "in" / "a.parquet", product_id=["1"], title=["lamp"])
    rows = spark.readStream.schema("product_id string, title string").parquet(str(tmp_path / "in"))
    writer = rows.writeStream.format("parquet").option("checkpointLocation", str(tmp_path / "checkpoint"))
    writer.trigger(availableNow=True).start(str(tmp_path / "out")).awaitTermination()
    parquet(tmp_path / "out" / "half.parquet", product_id=["2"], title=["a batch that was not committed"])
    assert titles(spark, tmp_path / "out") == {"1": "lamp"}


# Encodings


@pytest.mark.parametrize(
    ("encoding", "name", "text", "title"),
    [
        ("windows-1252", "a.csv", "product_id,title\n1,“café”\n", "“café”"),
        ("shift_jis", "a.csv", "product_id,title\n1,日本\n", "日本"),
        ("latin-1", "a.json", '{"product_id": "1", "title": "café"}\r\n', "café"),
    ],
)
def test_other_encodings(spark, tmp_path: Path, encoding: str, name: str, text: str, title: str) -> None:
    source = delivered(tmp_path / "in", {name: text.encode(encoding)})
    assert titles(spark, source, encoding=encoding) == {"1": title}


@pytest.mark.parametrize(
    ("encoding", "because"),
    [("utf-16", "convert the files"), ("klingon", "Expected an encoding like"), ("windows-1252", "in its line 2")],
)
def test_encodings_that_cannot_be_read(spark, tmp_path: Path, encoding: str, because: str) -> None:
    source = delivered(tmp_path / "in", {"a.csv": b"product_id,title\n1,\x81\n"})
    with pytest.raises(InputError, match=because):
        titles(spark, source, encoding=encoding)


# Ids


@pytest.mark.fault(
    "an id in a partition folder, `product_id=007`",
    "the id stays a text",
    "id 007",
)
def test_ids_stay_text(spark, tmp_path: Path) -> None:
    contents = {"product_id=007/a.csv": "title\nlamp\n", "product_id=1e3/a.csv": "title\nchair\n"}
    assert titles(spark, delivered(tmp_path / "in", contents)) == {"007": "lamp", "1e3": "chair"}


def test_ids_that_show_nothing_are_none(spark) -> None:
    nothing = ["\t", "\n", "\u00a0", "\0", "\u200b\u2060", "\u3164", "\u2800 ", "", None]
    visible = ["a", " b", "é", "日", "-", "\u00a0c", "😀", "\x7fd"]
    frame = spark.createDataFrame([(one,) for one in nothing + visible], "product_id string")
    rows = frame.select(usable_id(CatalogueColumns("product_id", ())).alias("usable")).collect()
    assert [row["usable"] for row in rows] == [None] * len(nothing) + visible


# Copies


def kept(spark, values: list[object], kind: str) -> object:
    """The value of the copy that is kept of one id."""
    frame = spark.createDataFrame([("1", "kettle", value) for value in values], f"product_id string, title string, at {kind}")
    columns = CatalogueColumns("product_id", ("title",), ("at",), "at")
    (row,) = catalogue_rows(frame, columns, 100, take_census(frame, columns)).collect()
    return row["at"]


@pytest.mark.parametrize(
    ("kind", "values", "newest"),
    [
        ("string", ["9", "10", None], "10"),
        ("string", ["9.5", "1e1", "NaN", ""], "1e1"),
        ("string", ["9007199254740993", "9007199254740992"], "9007199254740993"),
        ("string", ["2024-02-01", "2024-01-31T23:00:00", None], "2024-02-01"),
        ("string", ["2024-02-01T00:30:00+02:00", "2024-01-31T23:00:00Z"], "2024-01-31T23:00:00Z"),
        ("string", [" 9", "10 "], "10 "),
        ("double", [1.5, float("nan"), None], 1.5),
    ],
)
def test_the_newest_copy(spark, kind: str, values: list[object], newest: object) -> None:
    assert kept(spark, values, kind) == kept(spark, values[::-1], kind) == newest


def test_order_columns_that_say_nothing_are_refused(spark) -> None:
    for values in (["v9", "v10"], ["10", "2024-01-01", "soon"]):
        with pytest.raises(InputError, match="Expected numbers or times throughout in the column at"):
            kept(spark, values, "string")
    # Without copies the column decides nothing.
    assert kept(spark, ["soon"], "string") == "soon"


def test_copies_that_differ_far_behind_do_not_flip(spark) -> None:
    copies = [("1", "lamp", "x" * 5000 + end) for end in "ab"]
    columns = CatalogueColumns("product_id", ("title",), ("note",))
    frames = [spark.createDataFrame(rows, "product_id string, title string, note string") for rows in (copies, copies[::-1])]
    one, other = (catalogue_rows(frame, columns, 100, take_census(frame, columns)).collect() for frame in frames)
    assert one == other


def test_columns_that_no_run_needs_choose_no_copy(spark) -> None:
    """Such as the time of the export, which changes every night."""
    columns = CatalogueColumns("product_id", ("title",), ("price",))
    ids = [str(i) for i in range(12)]

    def night(exported: str) -> list[Row]:
        copies = [
            (i, title, price, f"{exported}{i}{title}{price}") for i in ids for title in ("lamp", "mat") for price in (1, 2)
        ]
        frame = spark.createDataFrame(copies, "product_id string, title string, price int, exported string")
        return catalogue_rows(frame, columns, 100, take_census(frame, columns)).orderBy("product_id").collect()

    assert night("Monday") == night("Tuesday")
    # Nor does a carried column choose the text, which jobs that carry nothing read too.
    without = CatalogueColumns("product_id", ("title",), ())
    frame = spark.createDataFrame(
        [(i, t, p) for i in ids for t, p in (("lamp", 1), ("mat", 2))], "product_id string, title string, price int"
    )
    chosen = [
        {row["product_id"]: row["text"] for row in catalogue_rows(frame, some, 100, take_census(frame, some)).collect()}
        for some in (columns, without)
    ]
    assert chosen[0] == chosen[1]


def test_times_without_a_zone_leave_the_table_open(spark, tmp_path: Path) -> None:
    parquet(tmp_path / "in.parquet", product_id=["1"], title=["lamp"], at=[datetime(2024, 2, 29, 12)])
    assert run(tmp_path / "in.parquet", tmp_path / "lake", "--carry", "at") == 0
    detail = spark.sql(f"DESCRIBE DETAIL delta.`{tmp_path}/lake`").collect()[0]
    assert detail["minReaderVersion"] == 1
    assert spark.sql(f"SELECT string(at) FROM delta.`{tmp_path}/lake`").collect()[0][0] == "2024-02-29 12:00:00"


@pytest.mark.parametrize("carry", ["Category", "text", "score", "vanished", "two words", "price,price", "price,Price"])
def test_carried_names_that_cannot_be(carry: str) -> None:
    with pytest.raises(InputError, match=r"Expected carried columns|Expected each column once"):
        check_carried_names(carry.split(","))


# What the promises depend on


@pytest.mark.fault(
    "Spark's `ignoreCorruptFiles` in somebody's defaults",
    "overridden, and reported",
    "overridden, reported",
)
def test_defaults_that_lose_rows_are_set_aside(spark, capsys, monkeypatch) -> None:
    class Given:
        def __init__(self) -> None:
            self.all = {"spark.sql.files.ignoreCorruptFiles": "true", "spark.sql.files.ignoreMissingFiles": "false"}

        def getAll(self) -> list[tuple[str, str]]:
            return list(self.all.items())

    monkeypatch.setattr(spark.sparkContext, "getConf", Given)
    configure(spark)
    assert {spark.conf.get(name) for name in REQUIRED if "ignore" in name} == {"false"}
    said = capsys.readouterr().err
    assert "spark.sql.files.ignoreCorruptFiles is false in this job, not true" in said
    assert "ignoreMissingFiles" not in said


# Ids that another writer has stored twice


@pytest.mark.fault(
    "an id twice in the target, by another writer",
    "exit 2 in the first run, with the command that fixes it",
    "exit 2, fixed by that command",
)
def test_an_id_twice_in_the_table_is_found_at_once(spark, tmp_path: Path, capsys) -> None:
    lake = tmp_path / "lake"
    source = delivered(tmp_path / "in", {"a.csv": "product_id,title\n1,lamp\n2,chair\n"})
    assert run(source, lake) == 0
    spark.sql(f"INSERT INTO delta.`{lake}` SELECT * FROM delta.`{lake}`")
    # Of one that the source still holds, and of one that it does not.
    source = delivered(tmp_path / "in", {"a.csv": "product_id,title\n1,lamp\n3,mat\n"})
    assert run(source, lake) == 2
    assert "found '1' 2 times (of 2 such ids), written by another writer; run with --mode full" in capsys.readouterr().err
    assert len(ledger(spark, lake)) == 1
    assert run(source, lake, "--mode", "full") == 0
    assert hashes_in(spark, lake) == titles_hash({"1": "lamp", "2": "chair", "3": "mat"})


# A source that changes under the reader


@pytest.mark.fault(
    "a file of the source grows while a run reads it",
    "exit 2; the table as it was",
    "exit 2, table as it was",
)
def test_a_file_that_grows_under_the_run_ends_it(spark, tmp_path: Path, capsys) -> None:
    lines = '{"product_id": "1", "title": "lamp"}\n{"product_id": "2", "title": "chair"}\n'
    source = delivered(tmp_path / "in", {"a.json": lines})

    def grow() -> None:
        with (source / "a.json").open("a") as file:
            file.write('{"product_id": "3", "title": "mat"}\n')

    with at("scored", grow):
        assert run(source, tmp_path / "lake") == 2
    assert "a.json with other content than when it was listed" in capsys.readouterr().err
    assert hashes_in(spark, tmp_path / "lake") == {}


@pytest.mark.fault(
    "a Parquet table by name whose own option passes over damaged or missing files",
    "exit 2 and the option; nothing written",
    "exit 2 and the option",
)
@pytest.mark.parametrize("option", ["ignoreCorruptFiles", "ignoremissingfiles"])
def test_a_table_that_passes_over_files(spark, tmp_path: Path, option: str, capsys) -> None:
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"product_id": ["1"], "title": ["lamp"]}), tmp_path / "in" / "one.parquet")
    columns = "product_id string, title string"
    spark.sql(f"CREATE TABLE passing ({columns}) USING parquet OPTIONS ({option} 'true') LOCATION '{tmp_path}/in'")
    try:
        assert run("default.passing", tmp_path / "lake") == 2
    finally:
        spark.sql("DROP TABLE passing")
    assert f"found one with the option {option.lower()} = true" in capsys.readouterr().err
    assert not (tmp_path / "lake").exists()


@pytest.mark.fault(
    "a partition's file of a Parquet table by name is replaced while a run reads it",
    "exit 2; nothing published",
    "exit 2, nothing published",
)
def test_a_partitioned_table_by_name_that_changes_under_the_run(spark, tmp_path: Path, capsys) -> None:
    def write(title: str) -> None:
        folder = tmp_path / "parts" / "day=1"
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"product_id": ["1"], "title": [title]}), folder / "a.parquet")

    write("steel kettle")
    columns = "product_id string, title string, day string"
    spark.sql(f"CREATE TABLE by_day ({columns}) USING parquet PARTITIONED BY (day) LOCATION '{tmp_path}/parts'")
    try:
        spark.sql("MSCK REPAIR TABLE by_day")
        with at("scored", lambda: write("a longer detective novel")):
            assert run("by_day", tmp_path / "lake") == 2
        assert "a.parquet with other content than when it was listed" in capsys.readouterr().err
        assert hashes_in(spark, tmp_path / "lake") == {}
        assert run("by_day", tmp_path / "lake") == 0
        assert hashes_in(spark, tmp_path / "lake") == titles_hash({"1": "a longer detective novel"})
    finally:
        spark.sql("DROP TABLE by_day")


def test_the_listing_that_is_read_is_the_one_that_is_digested(spark, tmp_path: Path, monkeypatch) -> None:
    """A file that grows between the reader's listing and any other one does not pass for read."""
    from lib.tables import sources

    path = delivered(tmp_path / "in", {"a.json": '{"product_id": "1", "title": "lamp"}\n'})
    first = read_source(spark, locate(spark, str(path)))
    reading: Callable[..., object] = sources.read_json

    def read_then_grow(*arguments: object) -> object:
        frame = reading(*arguments)
        (path / "a.json").write_text('{"product_id": "1", "title": "lamp"}\n{"product_id": "2", "title": "chair"}\n')
        return frame

    monkeypatch.setattr(sources, "read_json", read_then_grow)
    (path / "a.json").touch()
    assert read_source(spark, locate(spark, str(path)), ReadOptions()).version != first.version
    monkeypatch.undo()
    grown = read_source(spark, locate(spark, str(path)))
    assert grown.frame.count() == 2
