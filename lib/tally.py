"""What the ledger and the guardrails count: rows by category and status, of one evaluation of the frame they come from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lib.rows import IdCount, digest_of_ids
from schemas.tables import CATEGORIZED_STATUS, REVIEW


@dataclass(frozen=True)
class Group:
    """Rows of one category (None: they have none) and status. confidence: the sum of their confidences."""

    category: str | None
    status: str
    rows: int
    confidence: float
    tokens: int = 0
    unknown_tokens: int = 0


def count_groups(rows: DataFrame, **sums: Column) -> tuple[list[Group], IdCount]:
    """Groups of rows with product_id, category, status and confidence, and the set of their ids.

    Args:
        sums: further fields of Group, summed up.
    """
    counted = (
        rows.groupBy("category", "status")
        .agg(
            F.count("*").alias("rows"),
            F.coalesce(F.sum("confidence"), F.lit(0.0)).alias("confidence"),
            *[F.coalesce(F.sum(value), F.lit(0)).alias(name) for name, value in sums.items()],
            digest_of_ids().alias("digest"),
        )
        .collect()
    )
    groups = [Group(**{name: value for name, value in row.asDict().items() if name != "digest"}) for row in counted]
    return groups, sum((IdCount(row["rows"], row["digest"]) for row in counted), IdCount(0, 0))


def rows_in(groups: Iterable[Group], status: str | None = None) -> int:
    return sum(group.rows for group in groups if status in (None, group.status))


def category_shares(groups: Sequence[Group]) -> dict[str, float]:
    """Of the rows that have a category."""
    counts: dict[str, int] = {}
    for group in groups:
        if group.category is not None:
            counts[group.category] = counts.get(group.category, 0) + group.rows
    total = sum(counts.values())
    return {name: count / total for name, count in sorted(counts.items())}


def mean_confidence(groups: Iterable[Group]) -> float | None:
    """Of the rows that have a category; None if there are none.

    It is also their estimated accuracy: a calibrated confidence is the probability of being right, so their mean is the
    share to expect. Confidence-based performance estimation, as in NannyML (Białek et al. 2024, arXiv 2401.08348). It
    holds while the confidences stay calibrated, not for kinds of products that the model does not know.
    """
    classified = [group for group in groups if group.category is not None]
    return sum(group.confidence for group in classified) / rows_in(classified) if classified else None


def estimated_precision(groups: Iterable[Group]) -> float | None:
    """Estimated accuracy of the rows that need no review; None if there are none."""
    return mean_confidence(group for group in groups if group.status == CATEGORIZED_STATUS)


def review_share(groups: Sequence[Group]) -> float | None:
    return rows_in(groups, REVIEW) / rows_in(groups) if groups else None


def out_of_vocabulary_share(groups: Sequence[Group]) -> float | None:
    tokens = sum(group.tokens for group in groups)
    return sum(group.unknown_tokens for group in groups) / tokens if tokens else None
