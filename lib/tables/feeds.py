"""Rows that came and went in a Delta source between two versions: from its change feed, or from data files that only one has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lib.identifiers import column
from lib.pairs.offered import snapshot_at
from lib.tables.locations import PYTHON_UTILS, Location, change_feed, delta_log, java_class, no_option, stands
from lib.tables.sources import Source, delta_version_of

# Columns of a row besides the source's, none of which has such a name: whether it came or went, and in which version.
CAME, VERSION = "came\n", "in version\n"
# Each is named in a query over the log.
MOST_FILES = 1000
PHYSICAL_NAME = "delta.columnMapping.physicalName"


def changed_rows(source: Source, since: str) -> DataFrame | None:
    """The rows that came and went (CAME, VERSION) between an older version of a Delta source and the one that is pinned.

    A changed row went with its old values and came with its new ones; an unchanged row may be listed too. None if `since` is not
    an older version of the source, or its log does not show the changes.
    """
    now, before = source.delta_version, delta_version_of(since)
    # A version without its commit, as an older release has recorded it, may be one from before the table was restored from a copy.
    if now is None or before is None or since.count(":") != 3 or not stands(source.frame.sparkSession, source.location, before):
        return None
    if before.number >= now.number:
        return None
    changes = _by_feed(source, before.number, now.number)
    return _by_files(source, before.number, now.number) if changes is None else changes


def _by_feed(source: Source, version: int, newest: int) -> DataFrame | None:
    """None if the table has no change feed over the whole range."""
    changes = change_feed(source.frame.sparkSession, source.location, version, newest)
    if changes is None:
        return None
    came = F.col("_change_type").isin("insert", "update_postimage")
    return source.as_read(changes.withColumns({CAME: came, VERSION: F.col("_commit_version")}))


def _by_files(source: Source, version: int, newest: int) -> DataFrame | None:
    """All rows of the files that only one of two versions has; None if `rows_apart` returns None."""
    apart = rows_apart(source.frame.sparkSession, source.location, version, newest)
    if apart is None:
        return None
    parts = [rows.withColumn(CAME, F.lit(is_new)) for rows, is_new in zip(apart, (False, True), strict=True)]
    return source.as_read(parts[0].unionByName(parts[1]).withColumn(VERSION, F.lit(newest)))


def rows_apart(spark: SparkSession, location: Location, version: int, newest: int) -> tuple[DataFrame, DataFrame] | None:
    """The rows of the data files that only the older of two versions of a Delta table has, and of those that only the newer has.

    Rows in files that both versions have are the same in both. None if there are too many files, part of the log is gone, or a column
    was dropped and added again under its name: then the same files have other values for it.
    """
    log, none = delta_log(spark, location), no_option(spark)
    try:
        before, now = (snapshot_at(log, number, none) for number in (version, newest))
        old, new = (_files(spark, snapshot) for snapshot in (before, now))
        were, are = (dict(_stored_as(json.loads(snapshot.schema().json()))) for snapshot in (before, now))
    except Exception:
        return None
    if len(old ^ new) > MOST_FILES or any(are.get(name, stored) != stored for name, stored in were.items()):
        return None
    return _rows_of(spark, before, {path for path, _ in old - new}), _rows_of(spark, now, {path for path, _ in new - old})


def _stored_as(kind: Any, where: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each column and field of a type in the JSON of Spark's schemas, with its name in the data files (column mapping)."""
    if not isinstance(kind, dict):
        return
    for field in kind.get("fields", ()):
        path = (*where, field["name"].lower())
        yield path, field.get("metadata", {}).get(PHYSICAL_NAME, field["name"])
        yield from _stored_as(field["type"], path)
    for part in ("elementType", "keyType", "valueType"):
        yield from _stored_as(kind.get(part), (*where, part))


def _files(spark: SparkSession, snapshot: Any) -> set[tuple[str, str | None]]:
    """Path and deletion vector of each data file."""
    files = DataFrame(snapshot.allFiles().toDF(), spark).select("path", F.to_json("deletionVector").alias("deleted"))
    return {(row["path"], row["deleted"]) for row in files.collect()}


def _rows_of(spark: SparkSession, snapshot: Any, paths: set[str]) -> DataFrame:
    chosen = snapshot.allFiles().filter(column("path").isin(sorted(paths))._jc).collectAsList()
    files = java_class(spark, PYTHON_UTILS).toSeq(chosen)
    return DataFrame(snapshot.deltaLog().createDataFrame(snapshot, files, False, no_option(spark)), spark)
