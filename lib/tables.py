"""Load: rows into the Delta tables, a run in one commit that says what made it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType

from lib.errors import InputError
from lib.locations import Location, delta_table, exists, file_system, is_delta
from schemas.tables import ADDED_TO_RUNS, CATEGORIZED_CONSTRAINTS, REJECTED, RUNS, categorized_schema

USER_METADATA = "spark.databricks.delta.commitInfo.userMetadata"
METADATA_KEY = "catalog_categorizer"
# Operations of Delta that leave the rows as they are: a night is still the last one behind them.
MAINTENANCE = {
    "CREATE TABLE",
    "OPTIMIZE",
    "REORG",
    "VACUUM START",
    "VACUUM END",
    "SET TBLPROPERTIES",
    "UNSET TBLPROPERTIES",
    "ADD CONSTRAINT",
    "CLUSTER BY",
}
HISTORY_COMMITS = 1000


@dataclass(frozen=True)
class Tables:
    """The three tables of a target: its own name, and two beside it."""

    categorized: Location
    rejected: Location
    runs: Location


def tables_of(target: Location) -> Tables:
    return Tables(target, target.sibling("_rejected"), target.sibling("_runs"))


def check_targets(spark: SparkSession, tables: Tables, carried: Sequence[StructField], replaces: bool) -> None:
    """Refuse targets that are not ours to write, before any row is read.

    Args:
        replaces: the run overwrites the table, so carried columns may come and go.
    Raises:
        InputError: not a Delta table, or one with other columns.
    """
    for location, schema, may_lack, may_hold_more in (
        (tables.categorized, categorized_schema(carried), {field.name for field in carried if replaces}, replaces),
        (tables.rejected, REJECTED, set(), False),
        (tables.runs, RUNS, ADDED_TO_RUNS, False),
    ):
        if not exists(spark, location):
            continue
        if not is_delta(spark, location):
            if location.is_path and not _holds_anything(spark, location):
                continue
            raise InputError(
                f"Expected a Delta table, or nothing yet, at the target {location.given}, found something else; choose another --target."
            )
        _check_schema(location, delta_table(spark, location).toDF().schema, schema, may_lack, may_hold_more)


def _holds_anything(spark: SparkSession, location: Location) -> bool:
    system, path = file_system(spark, location.uri)
    return bool(system.getFileStatus(path).isFile()) or len(system.listStatus(path)) > 0


def _check_schema(
    location: Location, found: StructType, wanted: StructType, may_lack: Collection[str], may_hold_more: bool
) -> None:
    there = {f.name: f.dataType.simpleString() for f in found.fields}
    expected = {f.name: f.dataType.simpleString() for f in wanted.fields}
    wrong = [f"{name} {kind}" for name, kind in expected.items() if there.get(name, kind if name in may_lack else None) != kind]
    extra = [] if may_hold_more else [f"{name} {kind}" for name, kind in there.items() if name not in expected]
    if wrong or extra:
        parts = ([f"no {', '.join(wrong)}"] if wrong else []) + ([f"also {', '.join(extra)}"] if extra else [])
        raise InputError(
            f"Expected the columns of this job (and the carried ones) in the existing table {location.given}, "
            f"found {' and '.join(parts)}; choose another --target, or change --carry with --mode full."
        )


def create_tables(spark: SparkSession, tables: Tables, carried: Sequence[StructField]) -> None:
    """Create what is not there yet, empty, each in one commit together with its constraints."""
    for location, schema, constraints in (
        (tables.categorized, categorized_schema(carried), CATEGORIZED_CONSTRAINTS),
        (tables.rejected, REJECTED, {}),
        (tables.runs, RUNS, {}),
    ):
        if is_delta(spark, location):
            continue
        builder = DeltaTable.createIfNotExists(spark).addColumns(schema)
        builder = builder.location(location.uri) if location.is_path else builder.tableName(location.uri)
        for name, condition in constraints.items():
            builder = builder.property(f"delta.constraints.{name}", condition)
        builder.execute()


def last_run(spark: SparkSession, tables: Tables) -> Mapping[str, Any] | None:
    """What the last commit that changed rows says of itself; None if it was not a run of this job, or there is none."""
    if not is_delta(spark, tables.categorized):
        return None
    history = delta_table(spark, tables.categorized).history(HISTORY_COMMITS)
    ours = F.coalesce(F.col("userMetadata").contains(METADATA_KEY), F.lit(False))
    changes = history.filter(ours | ~F.col("operation").isin(*MAINTENANCE))
    newest = changes.orderBy(F.desc("version")).select("userMetadata").head()
    if newest is None or not newest["userMetadata"]:
        return None
    try:
        content = json.loads(newest["userMetadata"])
    except ValueError:
        return None
    found = content.get(METADATA_KEY) if isinstance(content, dict) else None
    return found if isinstance(found, dict) else None


def publish(rows: DataFrame, tables: Tables, mode: str, metadata: Mapping[str, Any]) -> None:
    """Put a run's rows into `categorized` in one commit.

    Args:
        mode: `full` replaces the table's rows, `incremental` updates and adds the given ones, `note` changes no row
            and only lets the commit tell of the run.
        metadata: kept with the commit; `last_run` finds it again.
    """
    spark = rows.sparkSession
    note = json.dumps({METADATA_KEY: metadata}, ensure_ascii=False)
    if mode == "full":
        writer = rows.write.format("delta").mode("overwrite").option("mergeSchema", True).option("userMetadata", note)
        _save(writer, tables.categorized)
        return
    spark.conf.set(USER_METADATA, note)
    try:
        if mode == "note":
            # Neither a merge nor an append of no rows will do: each writes a data file without rows.
            run_id = metadata["run"]["run_id"].replace("'", "")
            spark.sql(f"ALTER TABLE {tables.categorized.sql} SET TBLPROPERTIES ('{METADATA_KEY}.last_run' = '{run_id}')")
            return
        merge = (
            delta_table(spark, tables.categorized)
            .alias("present")
            .merge(rows.alias("scored"), "present.product_id = scored.product_id")
        )
        merge.whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()
    finally:
        spark.conf.unset(USER_METADATA)


def append(rows: DataFrame, location: Location) -> None:
    _save(rows.write.format("delta").mode("append"), location)


def _save(writer: Any, location: Location) -> None:
    if location.is_path:
        writer.save(location.uri)
    else:
        writer.saveAsTable(location.uri)


def has_run(spark: SparkSession, tables: Tables, run_id: str) -> bool:
    """Whether the ledger knows a run."""
    if not is_delta(spark, tables.runs):
        return False
    return not delta_table(spark, tables.runs).toDF().filter(F.col("run_id") == run_id).isEmpty()


def write_ledger(spark: SparkSession, tables: Tables, record: Mapping[str, Any]) -> None:
    """Append a run to `runs`. `record` is JSON-ready: times are ISO 8601 texts."""
    values = dict(record)
    for name in ("started_at", "ended_at"):
        values[name] = datetime.fromisoformat(values[name])
    row = spark.createDataFrame([tuple(values.get(name) for name in RUNS.names)], RUNS)
    # A ledger of an older version gets the columns it lacks.
    _save(row.write.format("delta").mode("append").option("mergeSchema", True), tables.runs)
