"""Rows as Parquet files that every warehouse reads: nested columns are JSON texts, times are in microseconds."""

from __future__ import annotations

import math
import os
from dataclasses import replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DecimalType, StructType

from lib.errors import InputError
from lib.failpoints import FILES_UNCOUNTED, reached
from lib.identifiers import column
from lib.session import setting
from lib.warehouse.changes import OPERATION, ORDER, REMOVE
from lib.warehouse.columns import ID, JSON, TYPES
from lib.warehouse.corrections import SAID
from lib.warehouse.files.folder import Folder
from lib.warehouse.files.manifest import ColumnTold, DataFile
from lib.warehouse.lines import json_as_written
from schemas.tables import COMMENTS, PUBLISHED_CORRECTIONS

# In files of changes, after the table's columns.
CHANGE, UPSERT, DELETE = "_operation", "upsert", "delete"
JSON_TYPE = "json"
# Bytes of the table for one file: a size that warehouses load well, and that one task can digest.
FILE_BYTES = 64 << 20
# Spark's default is a deprecated type.
TIMES = ("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")


def columns_told(schema: StructType, where: str) -> tuple[ColumnTold, ...]:
    """The columns of the files.

    Raises:
        InputError: a type that warehouses do not read from Parquet, or a name that files of changes need.
    """
    for field in schema.fields:
        if not isinstance(field.dataType, (DecimalType, *TYPES)):
            raise InputError(
                f"Expected columns of types that Parquet has, found {field.name} {field.dataType.simpleString()} in {where}; cast it in the "
                "source, or do not carry it."
            )
        if field.name.lower() == CHANGE:
            raise InputError(f"Expected no column named {CHANGE} in {where}, which files of changes have; rename it.")
    nested = _nested(schema)
    return tuple(
        ColumnTold(f.name, JSON_TYPE if f.name in nested else f.dataType.simpleString(), COMMENTS.get(f.name))
        for f in schema.fields
    )


def columns_said() -> tuple[ColumnTold, ...]:
    """The columns of the corrections, with the meaning of category there."""
    return tuple(replace(one, comment=SAID[one.name]) for one in columns_told(PUBLISHED_CORRECTIONS, ""))


def as_told(rows: DataFrame) -> DataFrame:
    """The rows as the files have them."""
    nested = _nested(rows.schema)
    return rows.select(*(json_as_written(name).alias(name) if name in nested else column(name) for name in rows.columns))


def _nested(schema: StructType) -> set[str]:
    kinds = {field.name: TYPES.get(type(field.dataType)) for field in schema.fields}
    return {name for name, kind in kinds.items() if kind == JSON}


def net(found: DataFrame) -> DataFrame:
    """One row a product from the rows of `lib.warehouse.changes.changes`: its last state, or only its id if it is gone."""
    names = [name for name in found.columns if name not in (OPERATION, ORDER)]
    newest = F.max_by(F.struct(*map(column, names), OPERATION), F.struct(ORDER, OPERATION))
    rows = found.groupBy(column(ID)).agg(newest.alias("newest"))
    gone = F.col("newest").getField(OPERATION) == REMOVE
    values = [column(name) if name == ID else F.when(~gone, F.col("newest").getField(name)).alias(name) for name in names]
    return rows.select(*values, F.when(gone, DELETE).otherwise(UPSERT).alias(CHANGE))


def write(rows: DataFrame, folder: Folder, path: str, size: int) -> tuple[DataFile, ...]:
    """Write rows into new files. size: about how many bytes they take in Parquet."""
    spark = rows.sparkSession
    tasks = max(int(spark.sparkContext.defaultParallelism), math.ceil(size / FILE_BYTES))
    with setting(spark, *TIMES):
        writer = rows.coalesce(tasks).write.mode("error").option("mapreduce.fileoutputcommitter.marksuccessfuljobs", "false")
        # Every warehouse reads Snappy, whatever codec the session uses for its tables.
        writer.parquet(folder.uri(path), compression="snappy")
    reached(FILES_UNCOUNTED)
    folder.drop_sums(path)
    found = spark.read.format("binaryFile").load(folder.pattern(path))
    measured = {os.path.basename(one["path"]): one for one in digested(found).collect()}
    counted = spark.read.schema(rows.schema).parquet(folder.pattern(path)).groupBy(F.input_file_name().alias("path")).count()
    counts = {os.path.basename(one["path"]): one["count"] for one in counted.collect()}
    files = (DataFile(f"{path}/{name}", counts.get(name, 0), one["length"], one["sha256"]) for name, one in measured.items())
    return tuple(sorted(files, key=lambda file: file.path))


def digested(found: DataFrame) -> DataFrame:
    """path, length and sha256 of files that are read as binary."""
    return found.select("path", "length", F.sha2("content", 256).alias("sha256"))
