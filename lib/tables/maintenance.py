"""Maintenance of a target's tables: compacts small files, and removes files of old versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import SparkSession
from pyspark.sql.types import AtomicType, BooleanType

from lib.errors import InputError
from lib.tables.ledger import mend_ledger
from lib.tables.locations import Location, delta_table, files_and_bytes, is_delta, java_class, newest_snapshot
from lib.tables.publish import MOST_TRIES, is_conflict
from lib.tables.target import Tables, check_categorized

# Delta's own default for how long a reader or a rollback may still need files: a week.
RETAIN_HOURS = 168
# With more than this many files of at most this mean size (bytes), a run compacts its table itself.
MOST_SMALL_FILES = 64
SMALL_FILE = 16 << 20


@dataclass(frozen=True)
class Maintained:
    """What was done to one table. `removed`: files that VACUUM removed, or would remove."""

    table: Location
    files_before: int
    files_after: int
    removed: int


def maintain(
    spark: SparkSession, tables: Tables, retain_hours: int = RETAIN_HOURS, cluster_by: Sequence[str] = (), dry_run: bool = False
) -> list[Maintained]:
    """Compact and vacuum the tables of a target that exist.

    Args:
        cluster_by: columns of `categorized` by whose values its rows are clustered (Z-order).
        dry_run: count what VACUUM would remove, and change nothing.
    Raises:
        InputError: no table, an unknown column, or a retention that would break readers; nothing was removed.
    """
    check_categorized(spark, tables.categorized)
    mend_ledger(spark, tables, dry_run)
    there = [t for t in (tables.categorized, tables.rejected, tables.runs, tables.held) if is_delta(spark, t)]
    if retain_hours < RETAIN_HOURS:
        raise InputError(
            f"Expected at least {RETAIN_HOURS} hours in --retain-hours, found {retain_hours}: a reader or a rollback may need files "
            f"of the last week; give more."
        )
    if cluster_by:
        _check_cluster_by(spark, tables.categorized, cluster_by)
    return [
        _maintain(spark, table, retain_hours, cluster_by if table == tables.categorized else (), dry_run) for table in there
    ]


def _check_cluster_by(spark: SparkSession, table: Location, names: Sequence[str]) -> None:
    fields = delta_table(spark, table).toDF().schema.fields
    # For other types Delta stores no minimum and maximum.
    known = [field.name for field in fields if isinstance(field.dataType, AtomicType) and field.dataType != BooleanType()]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(
            f"Expected columns of {table.given} with values in an order in --cluster-by, found {', '.join(unknown)} (there are "
            f"{', '.join(known)}); correct it."
        )
    details = delta_table(spark, table).detail().select("clusteringColumns").head()
    if details and details[0]:
        raise InputError(
            f"Expected a table that is not clustered yet for --cluster-by, found {table.given} clustered by {', '.join(details[0])}; leave "
            f"the option out: to compact such a table is to cluster it."
        )


def pack_if_scattered(spark: SparkSession, table: Location) -> None:
    """Compact a table that runs with few changes have scattered over many small files; if another run is at work, leave it to the next."""
    files, size = files_and_bytes(spark, table)
    if files <= MOST_SMALL_FILES or size > files * SMALL_FILE:
        return
    try:
        delta_table(spark, table).optimize().executeCompaction()
    except Exception as error:
        if not is_conflict(error):
            raise


def _own_retention(spark: SparkSession, table: Location) -> int:
    """The hours for which the table's own property keeps removed files; VACUUM refuses fewer."""
    delta = java_class(spark, "org.apache.spark.sql.delta.DeltaLog")
    milliseconds = int(delta.tombstoneRetentionMillis(newest_snapshot(spark, table).metadata()))
    return -(-milliseconds // 3_600_000)


def _maintain(spark: SparkSession, table: Location, retain_hours: int, cluster_by: Sequence[str], dry_run: bool) -> Maintained:
    before, _ = files_and_bytes(spark, table)
    if not dry_run:
        for attempt in range(MOST_TRIES):
            try:
                optimize = delta_table(spark, table).optimize()
                optimize.executeZOrderBy(*cluster_by) if cluster_by else optimize.executeCompaction()
                break
            except Exception as error:
                # A run has published meanwhile; its rows come first.
                if attempt == MOST_TRIES - 1 or not is_conflict(error):
                    raise
    retain_hours = max(retain_hours, _own_retention(spark, table))
    # The count is the same either way; VACUUM itself returns no number.
    removed = spark.sql(f"VACUUM {table.sql} RETAIN {retain_hours} HOURS DRY RUN").count()
    if removed and not dry_run:
        delta_table(spark, table).vacuum(retain_hours)
    return Maintained(table, before, files_and_bytes(spark, table)[0], removed)
