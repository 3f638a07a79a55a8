"""The columns that follow from the model's answer: category, status and reason, and what tells whether a row's are still up to date."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lib.identifiers import column
from lib.model.bundle import Bundle
from schemas.tables import (
    CATEGORIZED,
    CATEGORIZED_STATUS,
    LOW_CONFIDENCE,
    NO_TEXT,
    NO_WORDS,
    OF_LEVELS,
    REVIEW,
    UNCLASSIFIABLE,
    UNFAMILIAR,
)

NO_LABEL = -1


def is_unfamiliar(share: float | None, unfamiliarity: str = "unfamiliarity") -> Column:
    """Whether a row is among the `share` of texts that are most unlike the training texts; never true with None."""
    return F.lit(False) if share is None else F.coalesce(F.col(unfamiliarity) > F.lit(1 - share).cast("float"), F.lit(False))


def has_scores(kept: int, scores: str = "scores", category: str = "category") -> Column:
    """Whether a row of the table keeps the probabilities of that many labels; one without a category keeps none."""
    found = F.when(F.col(scores).isNull(), 0).otherwise(F.size(F.map_keys(scores)))
    return F.col(category).isNull() | (found == kept)


def with_category(
    scored: DataFrame, bundle: Bundle, review_below: Sequence[float], unfamiliar: float | None = None
) -> DataFrame:
    """The columns of the table `categorized` that follow from a row's scores, from the struct column `score`, which is dropped.

    Args:
        review_below: for each label of the bundle the confidence below which a row gets the status `review`; unfamiliar: the
            share of texts like the training texts that get it for being the most unlike them.
    """
    labels, thresholds = constants(bundle.labels), constants(list(map(float, review_below)), "float")
    label, confidence = F.col("score.label"), F.col("score.confidence")
    known = label != NO_LABEL
    unsure = confidence < F.get(thresholds, label)
    strange = is_unfamiliar(unfamiliar, "score.unfamiliarity")
    reason = F.when(F.col("text_hash") == F.sha2(F.lit(""), 256), NO_TEXT).when(~known, NO_WORDS)
    reason = reason.when(strange, UNFAMILIAR).when(unsure, LOW_CONFIDENCE)
    derived: dict[str, Column] = {
        "category": F.when(known, F.get(labels, label)),
        "confidence": confidence,
        "runner_up": F.when(known, F.get(labels, F.col("score.runner_up"))),
        "runner_up_confidence": F.col("score.runner_up_confidence"),
        "scores": _scores(labels),
        "status": F.when(~known, UNCLASSIFIABLE).when(strange | unsure, REVIEW).otherwise(CATEGORIZED_STATUS),
        "reason": reason,
        "unfamiliarity": F.col("score.unfamiliarity"),
        **levels(bundle, label, F.col("score.level_confidence")),
    }
    others = [column(name) for name in scored.columns if name != "score"]
    return scored.select(*others, *[value.alias(name) for name, value in derived.items()])


def levels(bundle: Bundle, label: Column, confidence: Column) -> dict[str, Column]:
    """The columns OF_LEVELS of a row of this label; null where the labels are no paths, and for a row without one.

    Args:
        confidence: of each level of the label, array<float>.
    """
    if bundle.tree is None:
        return {field.name: F.lit(None).cast(field.dataType) for field in CATEGORIZED if field.name in OF_LEVELS}
    path = F.when(label != NO_LABEL, F.get(constants(bundle.tree.paths, "array<string>"), label))
    thresholds = constants(bundle.level_thresholds, "float")
    sure = F.size(F.filter(confidence, lambda one, level: one >= F.get(thresholds, level)))
    columns = (path, confidence, F.when(label != NO_LABEL, F.slice(path, F.lit(1), sure)))
    return dict(zip(OF_LEVELS, columns, strict=True))


def constants(values: Sequence[Any], kind: str = "string") -> Column:
    """An array of the same values in every row: one expression, where a literal for each of thousands would take seconds."""
    return F.from_json(F.lit(json.dumps(values)), f"array<{kind}>")


def _scores(labels: Column) -> Column:
    """The map from label to probability; null where a row keeps none."""
    scored = F.transform("score.scored", lambda label: F.get(labels, label))
    kept = F.size("score.scores") > 0
    return F.when(kept, F.map_from_arrays(F.coalesce(scored, labels), F.col("score.scores")))


def categorized_rows(
    scored: DataFrame, bundle: Bundle, run_id: str, carry: tuple[str, ...], unfamiliar: float | None = None
) -> DataFrame:
    """Scored rows in the columns of the table `categorized`, then the carried ones."""
    stamped = with_category(scored, bundle, bundle.review_below, unfamiliar).withColumns(
        {
            "model_version": F.lit(bundle.model_version),
            "run_id": F.lit(run_id),
            "scored_at": F.current_timestamp(),
            "missing_since": F.lit(None).cast("timestamp"),
        }
    )
    return stamped.select(*CATEGORIZED.names, *[column(name) for name in carry])
