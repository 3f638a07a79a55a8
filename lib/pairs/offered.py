"""Features of this process's Spark, and of Delta's classes; on older versions the same result in another way."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
from pyspark import SparkContext
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, StructType

from lib.pairs.supported import PYSPARK, line_of

SPARK = tuple(int(number) for number in line_of(PYSPARK).split("."))
# A UDF that receives Arrow arrays.
ARROW_UDF = SPARK >= (4, 1)
# A frame from an Arrow table.
ARROW_FRAMES = SPARK >= (4, 0)
# `is_valid_utf8` and similar functions; trims of characters other than blanks; `Column.try_cast`.
UTF8_FUNCTIONS = TRIMS_OTHERS = TRY_CAST = SPARK >= (4, 0)
# Numbers in JSON are read as texts exactly as written (1.10); before 4.0 only whole ones.
EXACT_JSON = SPARK >= (4, 0)
# A Parquet column of 32 bits is read as one of 64.
WIDER_PARQUET = SPARK >= (4, 0)
# Scala 2.13, whose sequences have appendedAll.
SCALA_2_13 = SPARK >= (4, 0)
# Delta 4.4, whose classes take more arguments than those before.
DELTA_4_4 = SPARK >= (4, 1)

ArrowBatches = Callable[[Iterator[pa.Array]], Iterator[pa.Array]]


def batches_udf(score: ArrowBatches, returns: StructType) -> Callable[[Column], Column]:
    """A UDF of one column of texts: `score` gets them batch by batch, and returns as many structs of the type `returns`."""
    if ARROW_UDF:
        from pyspark.sql.pandas.functions import arrow_udf

        applied: Callable[[Column], Column] = arrow_udf(score, returns)  # type: ignore[call-overload, unused-ignore]
        return applied

    from lib.pairs.by_pandas import batches_udf_by_pandas

    return batches_udf_by_pandas(score, returns)


def frame_of(spark: SparkSession, table: pa.Table, schema: StructType | None = None) -> DataFrame:
    """An Arrow table as a frame, in its own types or in those of `schema`."""
    if ARROW_FRAMES:
        return spark.createDataFrame(table, schema)
    from pyspark.sql.pandas.types import from_arrow_schema

    rows = [tuple(row.values()) for row in table.to_pylist(maps_as_pydicts="strict")]
    return spark.createDataFrame(rows, schema or from_arrow_schema(table.schema))


def is_utf8(value: Column) -> Column:
    """Whether the bytes of a text are UTF-8."""
    # Decoding and encoding changes bytes that are not UTF-8.
    return F.is_valid_utf8(value) if UTF8_FUNCTIONS else F.encode(in_utf8(value), "UTF-8") == value.cast("binary")


def in_utf8(text: Column) -> Column:
    """The text, with U+FFFD for what is not UTF-8."""
    return F.make_valid_utf8(text) if UTF8_FUNCTIONS else F.decode(text.cast("binary"), "UTF-8")


def without_trailing(text: Column, character: str) -> Column:
    """The text without this character at its end."""
    return F.rtrim(text, F.lit(character)) if TRIMS_OTHERS else F.regexp_replace(text, f"{re.escape(character)}+\\z", "")


def tried_cast(value: Column, kind: DataType | str) -> Column:
    """A cast that is null for anything that is not a value of the type."""
    if TRY_CAST:
        return value.try_cast(kind)
    java: Any = value._jc
    jvm, catalyst = _jvm(), "org.apache.spark.sql.catalyst"
    parser = getattr(getattr(jvm, f"{catalyst}.parser.CatalystSqlParser$"), "MODULE$")
    parsed = parser.parseDataType(kind if isinstance(kind, str) else kind.simpleString())
    mode = getattr(getattr(jvm, f"{catalyst}.expressions.EvalMode$"), "MODULE$").TRY()
    nothing = getattr(getattr(jvm, "scala.None$"), "MODULE$")
    cast = getattr(jvm, f"{catalyst}.expressions.Cast")(java.expr(), parsed, nothing, mode)
    column: Any = Column
    found: Column = column(getattr(jvm, "org.apache.spark.sql.Column")(cast))
    return found


def _jvm() -> Any:
    return SparkContext._jvm


def snapshot_at(log: Any, version: int, none: Any) -> Any:
    """A version of the table of a Delta log (py4j). none: Scala's None."""
    return log.getSnapshotAt(version, none, none, False) if DELTA_4_4 else log.getSnapshotAt(version, none, none)


def write_command(kind: Any, *arguments: Any) -> Any:
    """Delta's WriteIntoDelta (`kind`) with the eight arguments that all versions have."""
    return kind(*arguments, False) if DELTA_4_4 else kind(*arguments)


def write_operation(kind: Any, mode: Any, none: Any) -> Any:
    """Delta's operation Write, with its mode and no other detail."""
    return kind(mode, *[none] * (8 if DELTA_4_4 else 3))


def joined(one: Any, other: Any) -> Any:
    """Two Scala sequences (py4j), one after the other."""
    if SCALA_2_13:
        return one.appendedAll(other)
    listed = getattr(_jvm(), "java.util.ArrayList")()
    for values in (one, other):
        listed.addAll(getattr(_jvm(), "scala.collection.JavaConverters").seqAsJavaList(values))
    return getattr(_jvm(), "org.apache.spark.api.python.PythonUtils").toSeq(listed)
