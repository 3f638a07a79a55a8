"""What a run keeps on disk while it is at work."""

from __future__ import annotations

from contextlib import ExitStack, suppress

from pyspark import StorageLevel
from pyspark.sql import DataFrame


class Scratch(ExitStack):
    """Releases at its end what was kept."""

    def keep(self, rows: DataFrame) -> DataFrame:
        kept = rows.persist(StorageLevel.DISK_ONLY)
        self.callback(_release, kept)
        return kept


def _release(kept: DataFrame) -> None:
    # Where Spark has ended its files are gone too, and the error that ended the run matters more than a failure here.
    with suppress(Exception):
        # On one machine Spark may still be removing them when it stops, and would then print its own trace. On a cluster we do not wait: an executor
        # that was killed at this moment never answers, and Spark would wait for it without end.
        kept.unpersist(blocking=str(kept.sparkSession.sparkContext.master).startswith("local"))
