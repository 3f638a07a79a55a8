"""A bundle against a labelled table, through the scoring of the nightly run."""

from __future__ import annotations

from typing import Any

import numpy as np
from pyspark.sql import functions as F

from lib.bundle import Bundle
from lib.errors import InputError
from lib.fields import columns_and_markers
from lib.metrics import classification_metrics
from lib.names import column
from lib.rows import joined_text
from lib.scoring import NO_LABEL, with_scores
from lib.sources import Source, require_text


def evaluate(source: Source, bundle: Bundle, text_columns: tuple[str, ...], label_column: str, engine: str) -> dict[str, Any]:
    """Metrics over every row that has a label.

    A row whose text has no words counts as a miss, as does a label that the bundle does not know; such labels are
    listed.

    Returns:
        lib.metrics.classification_metrics with model_version, labels, rows_without_label and unknown_labels.
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
    scored = with_scores(rows.repartition(2 * parallelism), bundle, engine)
    counts = scored.groupBy("label", F.col("score.label").alias("predicted")).count().collect()
    labelled = [row for row in counts if row["label"]]
    if not labelled:
        raise InputError(f"Expected rows with a label in {where}, found none; correct --labels or --label-column.")
    unknown = sorted({row["label"] for row in labelled} - set(bundle.labels))
    labels = [*bundle.labels, *unknown]
    confusion = np.zeros((len(labels), len(labels) + 1), dtype=np.int64)
    for row in labelled:
        predicted = len(labels) if row["predicted"] == NO_LABEL else row["predicted"]
        confusion[labels.index(row["label"]), predicted] += row["count"]
    return {
        "model_version": bundle.model_version,
        **classification_metrics(confusion, labels),
        "labels": labels,
        "unknown_labels": unknown,
        "rows_without_label": sum(row["count"] for row in counts if not row["label"]),
    }
