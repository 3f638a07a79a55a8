"""The files that are checked and named are those that Spark reads."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from lib.errors import InputError
from lib.session import FORBIDDEN, REQUIRED, SHUFFLE_PARTITIONS, _local, configure
from lib.tables.locations import locate
from lib.tables.sources import read_source
from tests.spark.test_readers import delivered, parquet, titles

pytestmark = pytest.mark.usefixtures("spark")


@pytest.mark.parametrize("link", ["b.csv", "folder"])
@pytest.mark.fault(
    "a broken symbolic link among the files of a source",
    "exit 2, the link named",
    "link named",
)
def test_a_link_to_nothing(spark, tmp_path: Path, link: str) -> None:
    source = delivered(tmp_path / "in", {"a.csv": "product_id,title\n1,lamp\n"})
    (source / "_temporary").symlink_to(tmp_path / "gone")
    (source / "again").symlink_to(delivered(tmp_path / "other", {"c.csv": "product_id,title\n2,mat\n"}))
    assert titles(spark, source) == {"1": "lamp", "2": "mat"}
    (source / link).symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=f"found the symbolic link .*{link} to .*gone, which does not exist"):
        titles(spark, source)


@pytest.mark.fault(
    "a folder of a source that the user may list but not enter",
    "exit 2, the folder named",
    "folder named",
)
def test_a_folder_that_may_not_be_entered(spark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Java lists its names and finds none of the files. This test may run as root, who may enter every folder."""
    source = delivered(tmp_path / "in", {"de/a.csv": "product_id,title\n1,lamp\n", "us/b.csv": "product_id,title\n2,mat\n"})
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: may(path, mode) and not (str(path).endswith("us") and mode & os.X_OK))
    with pytest.raises(InputError, match=r"may read and enter, found .*/us; give it the right"):
        titles(spark, source)


def test_a_link_to_nothing_in_a_table_by_name(spark, tmp_path: Path) -> None:
    parquet(tmp_path / "in" / "a.parquet", product_id=["1"], title=["lamp"])
    (tmp_path / "in" / "b.parquet").symlink_to(tmp_path / "gone")
    spark.sql(f"CREATE TABLE linked (product_id string, title string) USING parquet LOCATION '{tmp_path}/in'")
    try:
        with pytest.raises(InputError, match=r"the symbolic link .*b\.parquet"):
            titles(spark, "linked")
    finally:
        spark.sql("DROP TABLE linked")


def test_a_file_named_like_a_partition(spark, tmp_path: Path) -> None:
    source = delivered(tmp_path / "in", {"_x=1.csv": "product_id,title\n1,lamp\n", "b.csv": "title,product_id\nchair,2\n"})
    assert titles(spark, source) == {"1": "lamp", "2": "chair"}
    before = read_source(spark, locate(spark, str(source))).version
    delivered(source, {"_x=1.csv": "product_id,title\n1,lamp\n3,mat\n"})
    assert read_source(spark, locate(spark, str(source))).version != before


def test_a_name_with_a_colon(spark, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"names without a colon.*a:b\.csv"):
        titles(spark, delivered(tmp_path / "in", {"a:b.csv": "product_id,title\n1,lamp\n"}))


OTHERWISE = {
    "true": "false",
    "false": "true",
    "UTC": "Europe/Berlin",
    "static": "dynamic",
    "CORRECTED": "LEGACY",
    "TIMESTAMP_LTZ": "TIMESTAMP_NTZ",
    "avro,csv,json,kafka,orc,parquet,text": "avro",
    "2147483647": "20",
}


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_settings_that_change_what_is_read_are_set_aside(spark, name: str) -> None:
    spark.conf.set(name, OTHERWISE[REQUIRED[name]])
    configure(spark)
    assert spark.conf.get(name) == REQUIRED[name]


@pytest.mark.parametrize(
    ("given", "expected"), [("TIMESTAMP_MILLIS", "INT96"), ("timestamp_micros", "timestamp_micros"), (None, "INT96")]
)
def test_settings_that_lose_what_is_written_are_set_aside(spark, monkeypatch, given: str | None, expected: str) -> None:
    told = {"spark.sql.parquet.outputTimestampType": given} if given else {}
    monkeypatch.setattr(spark.sparkContext, "getConf", lambda: SimpleNamespace(getAll=told.items))
    configure(spark)
    found = spark.conf.get("spark.sql.parquet.outputTimestampType")
    monkeypatch.undo()
    configure(spark)
    assert found == expected


@pytest.mark.parametrize("name", FORBIDDEN)
def test_numbers_of_writes_are_not_taken_over(spark, name: str) -> None:
    spark.conf.set(name, "1")
    configure(spark)
    assert spark.conf.get(name, None) is None


def test_long_lines_are_not_passed_over(spark, tmp_path: Path) -> None:
    folder = delivered(tmp_path / "in", {"a.json": '{"product_id": "1", "title": "a lamp with a long description"}\n'})
    spark.conf.set("mapreduce.input.linerecordreader.line.maxlength", "20")
    configure(spark)
    assert titles(spark, folder) == {"1": "a lamp with a long description"}


def test_json_numbers_stay_as_they_are_written(spark, tmp_path: Path) -> None:
    spark.conf.set("spark.sql.json.enableExactStringParsing", "false")
    configure(spark)
    assert titles(spark, delivered(tmp_path / "in", {"a.json": '{"product_id": 1.10, "title": "lamp"}\n'})) == {"1.10": "lamp"}


@pytest.mark.parametrize(("cores", "partitions"), [(1, "4"), (2, "4"), (64, "64")])
def test_shuffles_use_all_cores_of_a_large_machine(spark, monkeypatch, cores: int, partitions: str) -> None:
    monkeypatch.setattr(type(spark.sparkContext), "defaultParallelism", cores)
    assert _local(spark)[SHUFFLE_PARTITIONS] == partitions
