"""Which rows of a run are scored, and in which tasks."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lib.scoring.catalogue import CatalogueColumns, Census, IdCount, catalogue_rows
from lib.scoring.counts import Group
from lib.scoring.known_files import Known
from lib.tables.sources import Source

# A task's size: large enough that its start costs nothing in comparison, small enough that the others do not wait long for the last one.
ROWS_PER_TASK = 25_000
# With fewer rows a task's Python worker, which loads a model of its own, would take longer to start than to score.
LEAST_ROWS_PER_TASK = 1_000
# How much longer than with equal shares the source's own partitions may take before its rows are repartitioned.
MOST_UNEVENNESS = 1.2


@dataclass(frozen=True)
class Stood:
    """KEY and category of the table's rows that are scored again under the same model as before, or of a sample of them.

    every: how many rows one row of the sample represents.
    """

    rows: DataFrame
    every: int = 1


@dataclass(frozen=True)
class Turnover:
    """Ids that came and went since the previous run, which had `ids` of them. aged: as in lib.scoring.whole.Whole."""

    came: int
    gone: int
    ids: int
    aged: int


@dataclass(frozen=True)
class Selection:
    """The rows to score (product_id, text, text_hash, carried columns), and those that stay as they are.

    census: of all rows of the source; groups: the counts of the rows that stay, for the ledger and the guardrails (lib.scoring.counts);
    gone: the rows of the table whose products the source lacks, gone_ids of them; stood: what the scored rows may be compared with;
    None where the table holds no rows. turnover: None where all ids were compared. files: what is known of each file of the source; None where nothing is.
    """

    rows: DataFrame
    census: Census
    unchanged: IdCount
    groups: Sequence[Group] = ()
    gone: DataFrame | None = None
    gone_ids: int = 0
    stood: Stood | None = None
    turnover: Turnover | None = None
    files: Sequence[Known] | None = None


def select_all(source: Source, columns: CatalogueColumns, max_characters: int, census: Census) -> Selection:
    """Every row, in the source's own partitions where they are even: repartitioning texts costs as much as reading them."""
    rows = catalogue_rows(source.frame, columns, max_characters, census, measured=True)
    sizes = rows_by_partition(source)
    if not is_even(sizes, _cores_for(rows, sum(sizes))):
        rows = rows.repartition(_tasks(rows, census.ids))
    return Selection(rows, census, IdCount(0, 0))


def in_even_tasks(rows: DataFrame, count: int) -> DataFrame:
    """Rows that are scattered over the source, repartitioned. count: how many there are."""
    return rows.repartition(_tasks(rows, count))


def rows_by_partition(source: Source) -> list[int]:
    """Rows in each partition that has any. For Parquet and Delta only the footers are read."""
    return [row["count"] for row in source.frame.groupBy(F.spark_partition_id()).count().collect()]


def is_even(rows: Sequence[int], cores: int) -> bool:
    """Whether `cores` that take partitions of these sizes in turn finish at about the same time."""
    busy = [0] * cores
    for size in rows:
        heapq.heapreplace(busy, busy[0] + size)
    return max(busy) * cores <= MOST_UNEVENNESS * sum(rows)


def _cores_for(rows: DataFrame, count: int) -> int:
    """How many cores are worth a task each."""
    return min(int(rows.sparkSession.sparkContext.defaultParallelism), -(-count // LEAST_ROWS_PER_TASK) or 1)


def _tasks(rows: DataFrame, count: int) -> int:
    """Enough tasks to fill these cores several times."""
    cores = _cores_for(rows, count)
    return cores * (-(-count // (cores * ROWS_PER_TASK)) or 1)
