"""Which rows of a night are scored, and in which tasks."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lib.identifiers import column
from lib.scoring.catalogue import LENGTHS, CatalogueColumns, Census, IdCount, catalogue_rows, usable_id
from lib.scoring.counts import Group, count_groups
from lib.scoring.scratch import Scratch
from lib.tables.sources import Source

# A task's size: large enough that its start is nothing, small enough that the last one does not keep the others waiting.
ROWS_PER_TASK = 25_000
# How much longer than with equal shares the source's own partitions may take before its rows are dealt out anew.
MOST_UNEVENNESS = 1.2
# Ids of changed rows that every task can hold beside its work; more of them are joined by sorting.
MOST_IDS_TO_BROADCAST = 500_000


@dataclass(frozen=True)
class Selection:
    """The rows to score (product_id, text, text_hash, carried columns), and those that stay as they are.

    groups: of the latter, what the ledger and the guardrails count (lib.scoring.counts).
    """

    rows: DataFrame
    unchanged: IdCount
    groups: Sequence[Group] = ()


def select_all(source: Source, columns: CatalogueColumns, max_characters: int, census: Census) -> Selection:
    """Every row, in the source's own partitions where they are even: dealing out texts anew costs as much as reading them."""
    rows = catalogue_rows(source.frame, columns, max_characters, census, measured=True)
    if not is_even(rows_by_partition(source), _cores(rows)):
        rows = rows.repartition(_tasks(rows, census.ids))
    return Selection(rows, IdCount(0, 0))


def select_changed(
    source: Source,
    columns: CatalogueColumns,
    max_characters: int,
    census: Census,
    known: DataFrame,
    scratch: Scratch,
    feed: DataFrame | None = None,
) -> Selection:
    """The rows whose id, text and carried values do not stand in `known` yet.

    Ids and hashes are compared first; only of the changed rows the texts are read again.

    Args:
        known: product_id, text_hash, category, status, confidence and the carried columns of what the table holds.
        scratch: at its end what is kept of the comparison on disk goes; the rows must have been read by then.
        feed: ids (changed_id) that a change feed of the source names, since what stands in `known` was read from it.
            Only their texts are hashed.
    """
    fresh = source.frame
    same = F.col("fresh.product_id") == F.col("known.product_id")
    others = None
    if feed is not None:
        ids = source.frame.select(usable_id(columns).alias("product_id")).filter("product_id IS NOT NULL")
        ids = ids.distinct() if census.repeated_ids else ids
        others = _compared(ids.join(feed, ids["product_id"] == feed["changed_id"], "left_anti"), known, same)
        fresh = fresh.join(feed, usable_id(columns) == feed["changed_id"], "left_semi")
    for name in ("text_hash", *columns.carry):
        same = same & column(name, of="fresh").eqNullSafe(column(name, of="known"))
    compared = _compared(catalogue_rows(fresh, columns, max_characters, census, measured=True).drop("text"), known, same)
    compared = scratch.keep(compared.unionByName(others) if others is not None else compared)
    groups, unchanged = count_groups(compared.filter("unchanged"), len(columns.text))
    changed = compared.filter("NOT unchanged").select("product_id")
    count = census.ids - unchanged.ids
    if count <= MOST_IDS_TO_BROADCAST:
        changed = changed.hint("broadcast")
    # Of an id that is not in the feed and yet unknown the text is needed too.
    rows = catalogue_rows(source.frame, columns, max_characters, census, measured=True)
    return Selection(rows.join(changed, "product_id", "left_semi").repartition(_tasks(rows, count)), unchanged, groups)


def _compared(fresh: DataFrame, known: DataFrame, same: Column) -> DataFrame:
    kept = [F.col(f"known.{name}") for name in ("category", "status", "confidence")]
    joined = fresh.alias("fresh").join(known.alias("known"), same, "left_outer")
    # Of rows that a change feed does not name the texts are not read.
    lengths = F.col(f"fresh.{LENGTHS}") if LENGTHS in fresh.columns else F.lit(None).cast("array<int>").alias(LENGTHS)
    return joined.select("fresh.product_id", F.col("known.product_id").isNotNull().alias("unchanged"), *kept, lengths)


def rows_by_partition(source: Source) -> list[int]:
    """Rows in each partition that has any. Of Parquet and Delta only the footers are read."""
    return [row["count"] for row in source.frame.groupBy(F.spark_partition_id()).count().collect()]


def is_even(rows: Sequence[int], cores: int) -> bool:
    """Whether `cores` that take partitions of these sizes in turn end at about the same time."""
    busy = [0] * cores
    for size in rows:
        heapq.heapreplace(busy, busy[0] + size)
    return max(busy) * cores <= MOST_UNEVENNESS * sum(rows)


def _cores(rows: DataFrame) -> int:
    return int(rows.sparkSession.sparkContext.defaultParallelism)


def _tasks(rows: DataFrame, count: int) -> int:
    """As many tasks as fill all cores some times over."""
    cores = _cores(rows)
    return cores * (-(-count // (cores * ROWS_PER_TASK)) or 1)
