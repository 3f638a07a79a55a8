"""The tables of a target: where they are, whether they are ours, and how they are created and written."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType

from lib.errors import InputError
from lib.tables.locations import Location, delta_table, exists, file_system, is_delta, is_on, newest_snapshot
from schemas.tables import (
    ADDED_TO_CATEGORIZED,
    ADDED_TO_RUNS,
    CATEGORIZED,
    CATEGORIZED_CONSTRAINTS,
    REJECTED,
    RUNS,
    categorized_schema,
    commented,
)

CHANGE_DATA_FEED = "delta.enableChangeDataFeed"
# The column of `held` that `categorized` does not have (lib.tables.publish.Candidate).
VANISHED = "vanished"


@dataclass(frozen=True)
class Tables:
    """The tables of a target: its own name, and three next to it. `held` exists only after a run was held back."""

    categorized: Location
    rejected: Location
    runs: Location
    held: Location


def tables_of(target: Location) -> Tables:
    """The tables of a target.

    Raises:
        InputError: an older release has put the tables next to the link that leads to the target instead of next to the target.
    """
    if target.link and os.path.isdir(f"{target.link}_runs"):
        raise InputError(
            f"Expected the tables of {target.given} next to it, found {target.link}_runs next to the link that leads there, where older "
            f"releases put them; move {target.link}_runs, _rejected and _held there."
        )
    return Tables(target, *(target.sibling(suffix) for suffix in ("_rejected", "_runs", "_held")))


def check_targets(spark: SparkSession, tables: Tables, carried: Sequence[StructField], replaces: bool) -> None:
    """Refuse targets that are not ours to write, before any row is read.

    Args:
        replaces: the run overwrites the table, so carried columns may be added, dropped or have another type.
    Raises:
        InputError: not a Delta table, or one with other columns.
    """
    for location, schema, may_lack, may_hold_more in (
        (tables.categorized, CATEGORIZED if replaces else categorized_schema(carried), ADDED_TO_CATEGORIZED, replaces),
        # A column that somebody has added to these stays empty in new rows.
        (tables.rejected, REJECTED, set(), True),
        (tables.runs, RUNS, ADDED_TO_RUNS, True),
    ):
        if _is_delta_or_free(spark, location):
            if replaces and location == tables.categorized:
                _check_layout(spark, location, categorized_schema(carried).names)
            _check_schema(location, delta_table(spark, location).toDF().schema, schema, may_lack, may_hold_more)
    _check_held(spark, tables.held)


def _check_held(spark: SparkSession, location: Location) -> None:
    """Refuse somebody else's table where a held run would replace all rows."""
    if not _is_delta_or_free(spark, location):
        return
    columns = [name.lower() for name in delta_table(spark, location).toDF().columns]
    lacking = [name for name in (*CATEGORIZED.names, VANISHED) if name not in columns and name not in ADDED_TO_CATEGORIZED]
    if columns and lacking:
        raise InputError(
            f"Expected the rows of a held run, or nothing yet, at {location.given}, found a table without {', '.join(lacking)}; move it, or "
            f"choose another --target."
        )


def _check_layout(spark: SparkSession, location: Location, wanted: Sequence[str]) -> None:
    """Refuse to drop a column by which a table's files are laid out."""
    names = {name.lower() for name in wanted}
    if all(name.lower() in names for name in delta_table(spark, location).toDF().columns):
        return
    details = delta_table(spark, location).detail().select("partitionColumns", "clusteringColumns").collect()[0]
    lost = [name for columns in details for name in columns or () if name.lower() not in names]
    if lost:
        raise InputError(
            f"Expected the columns by which {location.given} is partitioned or clustered, found {', '.join(lost)} no longer carried; carry "
            f"it, or partition or cluster the table by others first."
        )


def check_root(spark: SparkSession, location: Location) -> None:
    """Refuse a folder inside of a Delta table, there or not: Delta takes it for a partition of that table.

    Raises:
        InputError: names the target.
    """
    if location.is_path and is_delta(spark, location):
        system, log = file_system(spark, f"{location.uri}/_delta_log")
        if not system.exists(log):
            raise InputError(
                f"Expected a target outside of other Delta tables, found {location.given} inside of one; choose another --target."
            )


def check_categorized(spark: SparkSession, location: Location) -> None:
    """Refuse anything but a table of categorized products, such as one of the tables next to it.

    Raises:
        InputError: no table there, or one with other columns.
    """
    check_root(spark, location)
    if not is_delta(spark, location):
        raise InputError(f"Expected a table at {location.given}, found none; correct --target.")
    columns = {name.lower() for name in delta_table(spark, location).toDF().columns}
    lacking = [name for name in CATEGORIZED.names if name not in columns and name not in ADDED_TO_CATEGORIZED]
    if lacking:
        raise InputError(
            f"Expected a table of categorized products at {location.given}, found one without {', '.join(lacking)}; give the "
            f"same --target as for `categorize`."
        )


def _is_delta_or_free(spark: SparkSession, location: Location) -> bool:
    """Whether there is a Delta table; false if there is nothing yet."""
    if not exists(spark, location):
        return False
    if is_delta(spark, location):
        return True
    if location.is_path and not _holds_anything(spark, location):
        return False
    raise InputError(
        f"Expected a Delta table, or nothing yet, at the target {location.given}, found something else; choose another --target."
    )


def _holds_anything(spark: SparkSession, location: Location) -> bool:
    system, path = file_system(spark, location.uri)
    return bool(system.getFileStatus(path).isFile()) or len(system.listStatus(path)) > 0


def _check_schema(
    location: Location, found: StructType, wanted: StructType, may_lack: Collection[str], may_hold_more: bool
) -> None:
    # Like Delta, without regard to case.
    there = {f.name.lower(): f.dataType.simpleString() for f in found.fields}
    expected = {f.name: f.dataType.simpleString() for f in wanted.fields}
    ours = {name.lower() for name in expected}
    lacking = [f"{name} {kind}" for name, kind in expected.items() if name.lower() not in there and name not in may_lack]
    other = {name: kind for name, kind in expected.items() if there.get(name.lower(), kind) != kind}
    extra = (
        [] if may_hold_more else [f"{f.name} {f.dataType.simpleString()}" for f in found.fields if f.name.lower() not in ours]
    )
    parts, advice = [], []
    if lacking:
        parts.append(f"no {', '.join(lacking)}")
        advice.append("add carried columns with --mode full")
    if other:
        parts.append(", ".join(f"{name} as {there[name.lower()]}, which is {kind} now" for name, kind in other.items()))
        advice.append("cast that column in the source, or give it the new type with --mode full")
    if extra:
        parts.append(f"also {', '.join(extra)}")
        advice.append("carry these columns too, or drop them with --mode full")
    if parts:
        raise InputError(
            f"Expected the columns of this job (and the carried ones) in the existing table {location.given}, "
            f"found {' and '.join(parts)}; {', '.join(advice)}, or choose another --target."
        )


def create_tables(spark: SparkSession, tables: Tables, carried: Sequence[StructField], change_data_feed: bool = False) -> None:
    """Create the tables that do not exist yet, empty, each in one commit together with its properties.

    Args:
        change_data_feed: record row-level changes of `categorized`, even if the table exists already.
    """
    properties = {f"delta.constraints.{name}": condition for name, condition in CATEGORIZED_CONSTRAINTS.items()}
    if change_data_feed:
        properties[CHANGE_DATA_FEED] = "true"
    for location, schema, wanted in (
        (tables.categorized, categorized_schema(carried), properties),
        (tables.rejected, REJECTED, {}),
        (tables.runs, RUNS, {}),
    ):
        if is_delta(spark, location):
            if CHANGE_DATA_FEED in wanted and not feeds_changes(spark, location):
                spark.sql(f"ALTER TABLE {location.sql} SET TBLPROPERTIES ({CHANGE_DATA_FEED} = true)")
            continue
        create_table(spark, location, schema, wanted)


def create_table(
    spark: SparkSession, location: Location, schema: StructType, properties: Mapping[str, str] | None = None
) -> None:
    """Create an empty table, unless it exists."""
    builder = DeltaTable.createIfNotExists(spark).addColumns(commented(schema))
    builder = builder.location(location.uri) if location.is_path else builder.tableName(location.uri)
    for name, value in (properties or {}).items():
        builder = builder.property(name, value)
    builder.execute()


def ids_twice(rows: DataFrame) -> DataFrame:
    """product_id and count of the ids that are in a table more than once, written by another writer."""
    return rows.groupBy("product_id").count().filter("count > 1")


def feeds_changes(spark: SparkSession, location: Location) -> bool:
    """Whether a Delta table records its row-level changes."""
    return is_on(newest_snapshot(spark, location), CHANGE_DATA_FEED)


def with_added_columns(rows: DataFrame) -> DataFrame:
    """Rows of `categorized` with the columns that a table of an older release lacks, as null."""
    lacking = [field for field in CATEGORIZED if field.name in ADDED_TO_CATEGORIZED and field.name not in rows.columns]
    return rows.withColumns({field.name: F.lit(None).cast(field.dataType) for field in lacking}) if lacking else rows


def append(rows: DataFrame, location: Location) -> None:
    save(rows.write.format("delta").mode("append"), location)


def save(writer: Any, location: Location) -> None:
    if location.is_path:
        writer.save(location.uri)
    else:
        writer.saveAsTable(location.uri)
