"""What the ledger and the guardrails count: rows by category and status, of one evaluation of the frame they come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lib.scoring.catalogue import LENGTHS, IdCount, digest_of_ids
from lib.scoring.guardrails import EMPTY_SHARE, MEAN_LENGTH
from schemas.tables import CATEGORIZED_STATUS, REVIEW, UNCLASSIFIABLE


@dataclass(frozen=True)
class Group:
    """Rows of one category (None: no category) and status. confidence: the sum of their confidences.

    stood: rows that were compared with what the same model had given them; moved: those of these that have another category now.
    measured: rows whose texts were measured; lengths, empty: for each text column the sum of bytes, and the rows without a text.
    """

    category: str | None
    status: str
    rows: int
    confidence: float
    tokens: int = 0
    unknown_tokens: int = 0
    stood: int = 0
    moved: int = 0
    measured: int = field(default=0, compare=False)
    lengths: tuple[int, ...] = field(default=(), compare=False)
    empty: tuple[int, ...] = field(default=(), compare=False)


def count_groups(rows: DataFrame, texts: int = 0, **sums: Column) -> tuple[list[Group], IdCount]:
    """Groups of rows with product_id, category, status and confidence, and the set of their ids.

    Args:
        texts: how many text columns the rows have LENGTHS of.
        sums: further fields of Group, summed up.
    """
    measures = text_totals([F.get(LENGTHS, F.lit(i)) for i in range(texts)])
    counted = (
        rows.groupBy("category", "status")
        .agg(
            F.count("*").alias("rows"),
            F.coalesce(F.sum("confidence"), F.lit(0.0)).alias("confidence"),
            *[F.coalesce(F.sum(value), F.lit(0)).alias(name) for name, value in sums.items()],
            *[value.alias(name) for name, value in measures.items()],
            digest_of_ids().alias("digest"),
        )
        .collect()
    )
    groups = [_group(row.asDict()) for row in counted]
    return groups, sum((IdCount(row["rows"], row["digest"]) for row in counted), IdCount(0, 0))


def text_totals(each: Sequence[Column]) -> dict[str, Column]:
    """What a Group holds of measured texts. each: the bytes of each text column, null in rows that were not measured."""
    if not each:
        return {}
    return {
        "measured": F.count(each[0]),
        "lengths": F.array(*[F.coalesce(F.sum(one), F.lit(0)) for one in each]),
        "empty": F.array(*[F.count(F.when(one == 0, 1)) for one in each]),
    }


def _group(values: Mapping[str, Any]) -> Group:
    found: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items() if n != "digest"}
    return Group(**found)


def rows_in(groups: Iterable[Group], status: str | None = None) -> int:
    return sum(group.rows for group in groups if status in (None, group.status))


def category_shares(groups: Sequence[Group]) -> dict[str, float]:
    """Shares of the rows that have a category."""
    counts: dict[str, int] = {}
    for group in groups:
        if group.category is not None:
            counts[group.category] = counts.get(group.category, 0) + group.rows
    total = sum(counts.values())
    return {name: count / total for name, count in sorted(counts.items())}


def mean_confidence(groups: Iterable[Group]) -> float | None:
    """Mean over the rows that have a category; None if there are none.

    It is also their estimated accuracy: a calibrated confidence is the probability of being right, so their mean is the
    share to expect. Confidence-based performance estimation, as in NannyML (Białek et al. 2024, arXiv 2401.08348). It
    is valid while the confidences stay calibrated, not for kinds of products that the model does not know.
    """
    classified = [group for group in groups if group.category is not None]
    return sum(group.confidence for group in classified) / rows_in(classified) if classified else None


def estimated_precision(groups: Iterable[Group]) -> float | None:
    """Estimated accuracy of the rows that need no review; None if there are none."""
    return mean_confidence(group for group in groups if group.status == CATEGORIZED_STATUS)


def review_share(groups: Sequence[Group]) -> float | None:
    return rows_in(groups, REVIEW) / rows_in(groups) if groups else None


def unclassifiable_share(groups: Sequence[Group]) -> float | None:
    return rows_in(groups, UNCLASSIFIABLE) / rows_in(groups) if groups else None


def text_figures(groups: Sequence[Group], names: Sequence[str]) -> dict[str, float]:
    """For each text column the share of rows without a text, and the mean bytes of the others; none if not all rows were measured."""
    rows = sum(group.measured for group in groups)
    if not rows or rows < rows_in(groups):
        return {}
    found = {}
    for i, name in enumerate(names):
        empty = sum(group.empty[i] for group in groups)
        found[f"{EMPTY_SHARE}{name}"] = empty / rows
        if empty < rows:
            found[f"{MEAN_LENGTH}{name}"] = sum(group.lengths[i] for group in groups) / (rows - empty)
    return found


def out_of_vocabulary_share(groups: Sequence[Group]) -> float | None:
    tokens = sum(group.tokens for group in groups)
    return sum(group.unknown_tokens for group in groups) / tokens if tokens else None
