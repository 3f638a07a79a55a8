"""A bundle against a labelled table, through the scoring of the nightly run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from lib.errors import InputError
from lib.identifiers import column
from lib.model.bundle import Bundle
from lib.model.fields import columns_and_markers
from lib.model.metrics import classification_metrics
from lib.model.unfamiliarity import UNFAMILIAR_SHARE
from lib.scoring.catalogue import joined_text
from lib.scoring.counts import Group, mean_confidence, rows_in
from lib.scoring.udf import is_unfamiliar, with_category, with_scores
from lib.tables.columns import require_text
from lib.tables.sources import Source, check_unchanged
from schemas.tables import CATEGORIZED_STATUS


def evaluate(source: Source, bundle: Bundle, text_columns: tuple[str, ...], label_column: str, engine: str) -> dict[str, Any]:
    """Metrics over every row that has a label.

    A row whose text has no words counts as a miss, as does a label that the bundle does not know; such labels are
    listed.

    Returns:
        lib.model.metrics.classification_metrics with model_version, labels, rows_without_label and unknown_labels;
        estimated_accuracy of the rows that have a category, and estimated_precision of those that need no review: rows,
        estimated (as a nightly run does without labels) and measured. Both are None without such rows. unfamiliar: the share
        of the rows that --unfamiliar of UNFAMILIAR_SHARE would send to review; None under a bundle that is older than it.
    Raises:
        InputError: columns missing, or no labelled row.
    """
    where = source.location.given
    require_text(source.frame, where, [label_column], flag="label_column")
    settings = bundle.tokenizer.settings
    text_columns, markers = columns_and_markers(text_columns, settings.fields)
    require_text(source.frame, where, text_columns)
    text = joined_text(text_columns, settings.max_characters, markers)
    rows = source.frame.select(F.trim(column(label_column)).alias("label"), text.alias("text"))
    parallelism = rows.sparkSession.sparkContext.defaultParallelism
    counts = _counts(with_scores(rows.repartition(2 * parallelism), bundle, engine), bundle)
    check_unchanged(source)
    labelled = [row for row in counts if row["label"]]
    if not labelled:
        raise InputError(f"Expected rows with a label in {where}, found none; correct --labels or --label-column.")
    unknown = sorted({row["label"] for row in labelled} - set(bundle.labels))
    labels = [*bundle.labels, *unknown]
    confusion = np.zeros((len(labels), len(labels) + 1), dtype=np.int64)
    for row in labelled:
        predicted = len(labels) if row["category"] is None else labels.index(row["category"])
        confusion[labels.index(row["label"]), predicted] += row["rows"]
    return {
        "model_version": bundle.model_version,
        **classification_metrics(confusion, labels),
        "labels": labels,
        "unknown_labels": unknown,
        "rows_without_label": sum(row["rows"] for row in counts if not row["label"]),
        "estimated_accuracy": _estimate([row for row in labelled if row["category"] is not None]),
        "estimated_precision": _estimate([row for row in labelled if row["status"] == CATEGORIZED_STATUS]),
        "unfamiliar": _unfamiliar(labelled) if bundle.unfamiliarity else None,
    }


def _counts(scored: DataFrame, bundle: Bundle) -> list[Row]:
    """Rows, and the sum of their confidences, by label, category and status."""
    # Whose text is empty has no words either; the hash would only tell the reasons apart.
    judged = with_category(scored.withColumn("text_hash", F.lit(None)), bundle, bundle.review_below)
    strange = F.count_if(is_unfamiliar(UNFAMILIAR_SHARE))
    sums = (
        F.count("*").alias("rows"),
        F.coalesce(F.sum("confidence"), F.lit(0.0)).alias("confidence"),
        strange.alias("unfamiliar"),
    )
    return judged.groupBy("label", "category", "status").agg(*sums).collect()


def _estimate(counts: Sequence[Row]) -> dict[str, float] | None:
    groups = [Group(row["category"], row["status"], row["rows"], row["confidence"]) for row in counts]
    estimated = mean_confidence(groups)
    if estimated is None:
        return None
    hits = sum(row["rows"] for row in counts if row["label"] == row["category"])
    return {"rows": rows_in(groups), "estimated": estimated, "measured": hits / rows_in(groups)}


def _unfamiliar(counts: Sequence[Row]) -> dict[str, float]:
    rows = sum(row["rows"] for row in counts)
    return {"asked": UNFAMILIAR_SHARE, "found": sum(row["unfamiliar"] for row in counts) / rows}


def estimates_text(metrics: Mapping[str, Any]) -> str:
    """What a run would say of itself without the labels, beside what they tell; a line for a terminal."""
    parts = [
        f"of the {row['rows']:,} rows {which}: estimated {row['estimated']:.1%}, measured {row['measured']:.1%}"
        for which, row in (
            ("with a category", metrics["estimated_accuracy"]),
            ("not in review", metrics["estimated_precision"]),
        )
        if row
    ]
    accuracy = f"accuracy {'; '.join(parts)}" if parts else "accuracy: no row has a category"
    unfamiliar = metrics.get("unfamiliar")
    if unfamiliar is None:
        return accuracy
    return f"{accuracy}\n--unfamiliar {unfamiliar['asked']:g} would send {unfamiliar['found']:.1%} of the rows to review"
