"""The other ways for older versions of Spark lead to the same results (lib/pairs/offered.py)."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import functions as F

from lib.errors import InputError
from lib.pairs import offered
from lib.scoring.udf import with_scores
from lib.tables.formats import ReadOptions
from lib.tables.locations import locate
from lib.tables.sources import read_source

# The bytes of the last one cannot be a Python text.
TEXTS = [
    b"stainless steel kettle",
    b"novel by a prize winning author",
    b"",
    b"?!",
    "usb cable \U0001f50c".encode(),
    b"kettle \xed\xa0\x80",
]


@pytest.fixture
def rows(spark):
    frame = spark.createDataFrame(list(enumerate(TEXTS * 5)), "id int, text binary")
    return frame.withColumn("text", F.col("text").cast("string")).repartition(2)


@pytest.mark.parametrize("kept", [None, 2])
def test_a_pandas_udf_gives_the_same_scores(rows, shipped, monkeypatch: pytest.MonkeyPatch, kept: int | None) -> None:
    def scored() -> list[object]:
        return sorted(with_scores(rows, shipped, "onnx", kept=kept).collect(), key=lambda row: row["id"])

    expected = scored()
    monkeypatch.setattr(offered, "ARROW_UDF", False)
    assert scored() == expected
    assert [row["score"]["label"] for row in expected[2:4]] == [-1, -1]


def test_frames_from_rows_are_those_from_arrow(spark, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = [pa.table({"now": [b"\x00\xff"], "n": [5]}), pa.table({"value": ["a", None]})]

    def found() -> list[object]:
        return [
            (frame.schema.simpleString(), frame.collect()) for frame in (offered.frame_of(spark, table) for table in tables)
        ]

    expected = found()
    monkeypatch.setattr(offered, "ARROW_FRAMES", False)
    assert found() == expected


def test_what_is_utf8(spark) -> None:
    values = [b"", b"kettle", "Ж\U0001f50c\ufffd".encode(), b"\xff", b"a\xed\xa0\x80", None]
    frame = spark.createDataFrame([(value,) for value in values], "value binary").select(F.col("value").cast("string"))
    found = frame.select(offered.is_utf8(F.col("value")), offered.in_utf8(F.col("value"))).collect()
    assert [row[0] for row in found] == [True, True, True, False, False, None]
    assert [row[1] for row in found][:4] == ["", "kettle", "Ж\U0001f50c\ufffd", "\ufffd"]


def test_what_is_trimmed_and_cast(spark) -> None:
    frame = spark.createDataFrame([("5\r\r",), ("\r",), ("x\ry",), (None,)], "value string")
    trimmed = offered.without_trailing(F.col("value"), "\r")
    assert [row[0] for row in frame.select(trimmed).collect()] == ["5", "", "x\ry", None]
    assert [row[0] for row in frame.select(offered.tried_cast(trimmed, "int")).collect()] == [5, None, None, None]


@pytest.mark.parametrize(
    ("line", "whole"), [('{"id": 110, "t": "a 1.10 \\" 2.5"}', True), ('{"id": 1.10}', False), ("{'t': 'x', 'id': -0}", False)]
)
def test_numbers_of_json_that_an_older_spark_would_spell_anew(
    spark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, whole: bool
) -> None:
    (tmp_path / "in.json").write_text(line + "\n")
    monkeypatch.setattr("lib.tables.json_checks.EXACT_JSON", False)
    options = ReadOptions(wanted=("id",))
    if whole:
        assert read_source(spark, locate(spark, str(tmp_path / "in.json")), options).frame.collect()[0]["id"] == "110"
    else:
        with pytest.raises(
            InputError, match=r"Expected JSON lines without numbers such as 1\.10, .* in file:\S*in\.json, found some"
        ):
            read_source(spark, locate(spark, str(tmp_path / "in.json")), options)
