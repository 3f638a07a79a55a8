"""What the ids of a source and of the table are to each other, and how many there are of each kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lib.scoring.catalogue import SKETCH_SIZE, Census, IdCount
from lib.scoring.counts import Group, text_totals
from schemas.tables import CATEGORIZED_STATUS, REVIEW, UNCLASSIFIABLE

MOST_LABELS_IN_A_QUERY = 100
# An id of the table alone; rows without an id; an id of several rows; one as the table holds it; one that is new or has other content.
GONE, WITHOUT_ID, COPIES, SAME, CHANGED = range(5)


def code() -> Column:
    """A number by which rows of the table are counted; the few texts that it represents are looked up."""
    return F.xxhash64("category", "status")


def kind() -> Column:
    """What a row of the comparison is: copies, content and known are its columns."""
    same = F.coalesce(F.col("content") == F.col("known"), F.lit(False))
    return (
        F.when(F.col("copies") == 0, GONE)
        .when(F.col("hash").isNull(), WITHOUT_ID)
        .when(F.col("copies") > 1, COPIES)
        .when(same, SAME)
        .otherwise(CHANGED)
    )


@dataclass(frozen=True)
class KindCounts:
    """Counts of the rows of the comparison, by kind and, for rows that stay, by the code of their category and status.

    names: category and status by their code, as far as they follow from the labels of the model.
    """

    parts: Sequence[Mapping[str, Any]]
    sketch: bytes | None
    names: Mapping[int, tuple[str | None, str]]

    def rows(self, kind: int) -> int:
        return sum(part["ids"] for part in self._of(kind))

    def _of(self, *kinds: int) -> list[Mapping[str, Any]]:
        return [part for part in self.parts if part["kind"] in kinds]

    def ids(self, *kinds: int) -> IdCount:
        return sum((IdCount(part["ids"], part["digest"] or 0) for part in self._of(*kinds)), IdCount(0, 0))

    @property
    def unchanged(self) -> IdCount:
        return self.ids(SAME)

    @property
    def census(self) -> Census:
        """Its order type is not determined yet."""
        rows, without = (
            sum(part["copies"] for part in self._of(*kinds)) for kinds in ((WITHOUT_ID, COPIES, SAME, CHANGED), (WITHOUT_ID,))
        )
        ids = self.ids(COPIES, SAME, CHANGED)
        return Census(rows, without, ids.ids, self.rows(COPIES), ids.digest, sketch=self.sketch)

    def groups(self, present: DataFrame) -> list[Group]:
        """Those of the rows that stay. present: the rows whose categories and status they are counted by."""
        stay, names = self._of(SAME), dict(self.names)
        if any(part["code"] not in names for part in stay):
            # For instance, where another writer has set categories.
            rows = present.select(code().alias("code"), "category", "status").distinct().collect()
            names |= {row["code"]: (row["category"], row["status"]) for row in rows}
        return [
            Group(
                *names[part["code"]],
                rows=part["ids"],
                confidence=part["sure"],
                measured=part["measured"],
                lengths=tuple(part["lengths"]),
                empty=tuple(part["empty"]),
            )
            for part in stay
        ]


def count_kinds(every: DataFrame, lengths: Sequence[str], labels: Sequence[str] = ()) -> KindCounts:
    """Counts, in one pass. lengths: the columns with the bytes of each text; labels: categories that rows are likely to have."""
    measures = text_totals([F.col(name) for name in lengths])
    counted = every.groupBy("kind", F.when(F.col("kind") == SAME, F.col("code")).alias("code")).agg(
        F.count("*").alias("ids"),
        F.sum("copies").alias("copies"),
        F.coalesce(F.sum("sure"), F.lit(0.0)).alias("sure"),
        F.bit_xor("hash").alias("digest"),
        *[value.alias(name) for name, value in measures.items()],
        F.hll_sketch_agg(F.when(F.col("copies") > 0, F.col("hash")), SKETCH_SIZE).alias("sketch"),
    )
    parts = [name for name in counted.columns if name != "sketch"]
    likely = _likely(labels)
    codes = F.array(*[F.xxhash64(F.lit(category).cast("string"), F.lit(status)) for category, status in likely])
    totals = counted.agg(F.collect_list(F.struct(*parts)).alias("parts"), F.hll_union_agg("sketch").alias("sketch"))
    found = totals.select("parts", "sketch", codes.cast("array<bigint>").alias("codes")).collect()[0]
    names = dict(zip(found["codes"], likely, strict=True))
    return KindCounts([part.asDict() for part in found["parts"]], bytes(found["sketch"] or b"") or None, names)


def _likely(labels: Sequence[str]) -> list[tuple[str | None, str]]:
    """Categories with each status that they come with; none where there are many labels, since each is an expression of the query."""
    if len(labels) > MOST_LABELS_IN_A_QUERY:
        return []
    return [(None, UNCLASSIFIABLE), *((label, status) for label in labels for status in (CATEGORIZED_STATUS, REVIEW))]
