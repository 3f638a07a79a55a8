"""What a run keeps on disk while it is at work."""

from __future__ import annotations

from contextlib import ExitStack, suppress

from pyspark import StorageLevel
from pyspark.sql import DataFrame


class Scratch(ExitStack):
    """Lets go at its end of what was kept."""

    def keep(self, rows: DataFrame) -> DataFrame:
        kept = rows.persist(StorageLevel.DISK_ONLY)
        self.callback(_let_go, kept)
        return kept


def _let_go(kept: DataFrame) -> None:
    # Where Spark is gone its files are too, and what the run ended with is worth more than that this fails.
    with suppress(Exception):
        # On one machine Spark may still be at it when it stops, and then prints a trace of its own. On a cluster nobody waits: of an executor
        # that was killed in this moment the answer never comes, and Spark's patience has no end.
        kept.unpersist(blocking=str(kept.sparkSession.sparkContext.master).startswith("local"))
