"""What changed between two versions of the table: by its change feed, or by comparing both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import AtomicType, DataType, DoubleType, FloatType, MapType, NumericType

from lib.identifiers import column
from lib.tables.feeds import rows_apart
from lib.tables.locations import Location, change_feed, rows_at
from lib.warehouse.columns import ID

# After the table's columns: what happens to a row, and the numbers that order these operations.
OPERATION, ORDER = "_warehouse_operation", "_warehouse_order"
PUT, REMOVE = "put", "del"


def all_rows(spark: SparkSession, table: Location, version: int) -> DataFrame:
    rows = rows_at(spark, table, version)
    return _with(rows, map(column, rows.columns), F.lit(PUT), F.lit(version))


def changes(spark: SparkSession, table: Location, since: int, version: int) -> tuple[DataFrame, str]:
    """Rows to put and ids to remove, and their origin. A row may come several times; the greatest ORDER, and in it PUT, counts.

    Reading fails where the files of the older version, or of the feed, are gone (lib.tables.locations.files_are_gone).
    """
    names = rows_at(spark, table, version).columns
    feed = change_feed(spark, table, since, version)
    if feed is not None and set(names) <= set(feed.columns):
        kind = F.col("_change_type")
        wanted = feed.filter(kind != "update_preimage")
        operation = F.when(kind == "delete", REMOVE).otherwise(PUT)
        return _with(wanted, map(column, names), operation, F.col("_commit_version")), "its change feed"
    return compared(spark, table, since, version), "a comparison of both versions"


def compared(spark: SparkSession, table: Location, since: int, version: int) -> DataFrame:
    """As `changes`, from the rows of both versions, without those in data files that both have. Both versions have the same columns."""
    apart = rows_apart(spark, table, since, version)
    before, after = apart or (rows_at(spark, table, since), rows_at(spark, table, version))
    names = after.columns
    old = before.select(column(ID).alias("old_id"), hash_of(before, names).alias("old_hash"))
    # In a separate structure, since a column may have any name.
    new = after.select(column(ID).alias("id"), F.struct(*map(column, names)).alias("row"), hash_of(after, names).alias("hash"))
    both = new.join(old, F.col("id") == F.col("old_id"), "full_outer")
    # No hash is null.
    differ = both.filter(~F.col("hash").eqNullSafe(F.col("old_hash")))
    values = [F.col("row")[name].alias(name) if name != ID else F.coalesce("id", "old_id").alias(ID) for name in names]
    operation = F.when(F.col("id").isNull(), REMOVE).otherwise(PUT)
    return _with(differ, values, operation, F.lit(version))


def _with(rows: DataFrame, values: Iterable[SparkColumn], operation: SparkColumn, order: SparkColumn) -> DataFrame:
    return rows.select(*values, operation.alias(OPERATION), order.cast("long").alias(ORDER))


def hash_of(rows: DataFrame, names: Sequence[str]) -> SparkColumn:
    """A hash of a row's values and of which of them are null, since Spark's hash ignores nulls."""
    kinds = {field.name: field.dataType for field in rows.schema.fields}
    values = [_hashed(column(name), kinds[name]) for name in names]
    return F.xxhash64(*values, *(F.isnull(column(name)) for name in names))


def _hashed(value: SparkColumn, kind: DataType) -> SparkColumn:
    if isinstance(kind, MapType) and isinstance(kind.valueType, NumericType):
        return F.map_entries(value)
    if isinstance(kind, (FloatType, DoubleType)):
        # Its hash is the same for 0 and -0.
        return F.struct(value, F.when(value == 0, value.cast("string")))
    # Within others nulls would be passed over too.
    return value if isinstance(kind, AtomicType) else F.to_json(value, {"ignoreNullFields": "false"})
