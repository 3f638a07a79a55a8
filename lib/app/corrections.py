"""What people enter in the page, written to the table of corrections: by the code of the job `correct`, in the background."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from threading import Lock

import pyarrow as pa
from pyspark.sql import SparkSession

from lib.app.lake import Lake
from lib.errors import InputError
from lib.pairs.offered import frame_of
from lib.spark_errors import sentence_of
from lib.tables.corrections import BY, CORRECT, WHY, add_corrections, read_corrections
from lib.tables.locations import Location
from lib.tables.sources import UNVERSIONED, Source
from lib.tables.target import Tables, check_categorized

HERE = Location("the page", "the page", is_path=False)


@dataclass(frozen=True)
class Correction:
    """texts: those of the product as the person saw it, by column."""

    product_id: str
    category: str
    by: str
    why: str = ""
    texts: tuple[tuple[str, str | None], ...] = ()


@dataclass
class Written:
    """What happened to the corrections of this page. refused: those that were not accepted, with the sentence that says why."""

    waiting: int = 0
    written: int = 0
    refused: list[tuple[Correction, str]] = field(default_factory=list)


class Corrections:
    """Corrections on their way. While one commit is written the next ones gather, and are written to the table together."""

    def __init__(self, lake: Lake, labels: Collection[str] = ()) -> None:
        """labels: those of the page's bundle, which no row of the table may have yet."""
        self._lake, self._labels = lake, frozenset(labels)
        self._lock = Lock()
        self._waiting: dict[str, Correction] = {}
        self._in_hand: dict[str, Correction] = {}
        self._done = Written()

    def add(self, correction: Correction) -> None:
        """Write it soon; if two for one product are waiting, the later one counts."""
        with self._lock:
            self._waiting[correction.product_id] = correction
        self._lake.ask(self._write)

    def state(self) -> Written:
        with self._lock:
            return Written(len(self._waiting) + len(self._in_hand), self._done.written, list(self._done.refused))

    def on_the_way(self) -> set[str]:
        """The products whose corrections are not in the table yet."""
        with self._lock:
            return {*self._waiting, *self._in_hand}

    def _write(self, spark: SparkSession, tables: Tables) -> None:
        with self._lock:
            self._in_hand, self._waiting = self._waiting, {}
            together = list(self._in_hand.values())
        if not together:
            return
        refused = self._refused(together, spark, tables)
        with self._lock:
            self._in_hand = {}
            self._done.refused += refused
            self._done.written += len(together) - len(refused)

    def _refused(self, together: Sequence[Correction], spark: SparkSession, tables: Tables) -> list[tuple[Correction, str]]:
        """Write them, together if possible: one that is refused must not take the others with it. Returns the refused ones, and why."""
        try:
            written(together, spark, tables, new_categories=all(one.category in self._labels for one in together))
        except Exception as error:  # Spark's own too: the person at the page has to know what was not written
            if len(together) > 1:
                return [fault for one in together for fault in self._refused([one], spark, tables)]
            return [(together[0], sentence_of(error, self._lake.target)[0])]
        return []


def written(corrections: Sequence[Correction], spark: SparkSession, tables: Tables, new_categories: bool) -> None:
    """Add corrections in one commit, as the job `correct` does from a file.

    Args:
        new_categories: accept those that the table does not know.
    Raises:
        InputError: a product or a category that the table does not know; nothing was written.
    """
    check_categorized(spark, tables.categorized)
    names = tuple(dict.fromkeys(name for one in corrections for name, _ in one.texts))
    if not all(one.category.strip() and one.by.strip() for one in corrections):
        raise InputError("Expected a category and a name in each correction, found one without; give both.")
    rows = {
        "product_id": [one.product_id for one in corrections],
        CORRECT: [one.category for one in corrections],
        BY: [one.by for one in corrections],
        WHY: [one.why for one in corrections],
        **{name: [dict(one.texts).get(name) for one in corrections] for name in names},
    }
    # Through Arrow: for plain Python rows Spark would start Python workers.
    frame = frame_of(spark, pa.table({name: pa.array(values, pa.string()) for name, values in rows.items()}))
    source = Source(HERE, frame, UNVERSIONED, "page")
    add_corrections(spark, tables.categorized, read_corrections(source, names, None, False), new_categories)
