"""Metrics from counts: a confusion matrix however large the data, and the drift between two runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.model.arrays import Int64s

MAX_CLASSES_SHOWN = 30
# A matrix of more labels is nearly all zeros, and takes megabytes of a bundle.
MOST_LABELS_IN_A_MATRIX = 100


def classification_metrics(confusion: Int64s, labels: Sequence[str]) -> dict[str, Any]:
    """Accuracy, F1 and a per-class table.

    Args:
        confusion: int64 [true, predicted], its columns the labels and, last, "no category".
    Returns:
        rows, accuracy, f1_weighted, f1_macro, and per_class: label -> precision, recall, f1, support. A ratio whose
        denominator is 0 counts as 0, as in scikit-learn; classes without a row are left out of both averages. confusion_matrix, the
        counts row by row, of up to MOST_LABELS_IN_A_MATRIX labels; of more it is null, and confusions lists [true, predicted, rows]
        of the cells with rows, by the places of the labels.
    """
    hits = confusion.diagonal().astype(float)
    support, predicted = confusion.sum(axis=1), confusion[:, : len(labels)].sum(axis=0)
    precision, recall = _ratio(hits, predicted), _ratio(hits, support)
    f1 = _ratio(2 * hits, support + predicted)
    rows = int(confusion.sum())
    present = support > 0
    return {
        "rows": rows,
        "accuracy": float(hits.sum() / rows) if rows else 0.0,
        "f1_weighted": float((f1 * support).sum() / rows) if rows else 0.0,
        "f1_macro": float(f1[present].mean()) if rows else 0.0,
        "per_class": {
            label: {
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "support": int(support[i]),
            }
            for i, label in enumerate(labels)
        },
        **_cells(confusion),
    }


def _cells(confusion: Int64s) -> dict[str, Any]:
    if len(confusion) <= MOST_LABELS_IN_A_MATRIX:
        return {"confusion_matrix": confusion.tolist()}
    truth, predicted = confusion.nonzero()
    cells = np.stack([truth, predicted, confusion[truth, predicted]], axis=1)
    return {"confusion_matrix": None, "confusions": cells.tolist()}


def worst_confusions(metrics: Mapping[str, Any], most: int) -> list[tuple[str, str, int]]:
    """The most frequent confusions of two labels: (true, predicted, rows), the most frequent first."""
    labels, matrix = metrics["labels"], metrics["confusion_matrix"]
    cells = (
        metrics["confusions"]
        if matrix is None
        else [(i, j, rows) for i, row in enumerate(matrix) for j, rows in enumerate(row)]
    )
    wrong = [(rows, i, j) for i, j, rows in cells if rows and i != j < len(labels)]
    return [(labels[i], labels[j], rows) for rows, i, j in sorted(wrong, reverse=True)[:most]]


def confusion_matrix(truth: Int64s, predicted: Int64s, labels: int) -> Int64s:
    """Counts int64 [labels, labels + 1]: true by predicted, the last column for no category."""
    matrix = np.zeros((labels, labels + 1), dtype=np.int64)
    np.add.at(matrix, (truth, predicted), 1)
    return matrix


def _ratio(numerator: Any, denominator: Any) -> npt.NDArray[np.float64]:
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=np.asarray(denominator) > 0)


def classes_shown(metrics: Mapping[str, Any]) -> tuple[list[tuple[str, Mapping[str, Any]]], list[str]]:
    """Labels with rows and their figures, only the worst of very many, and remarks on the others."""
    judged = [one for one in metrics["per_class"].items() if one[1]["support"]]
    classes, remarks = judged, []
    if len(classes) > MAX_CLASSES_SHOWN:
        classes = sorted(classes, key=lambda one: one[1]["f1"])[:MAX_CLASSES_SHOWN]
        remarks.append(f"… the {len(classes)} classes with the lowest F1 of {len(judged)}")
    if len(judged) < len(metrics["per_class"]):
        remarks.append(f"… {len(metrics['per_class']) - len(judged)} classes without a row")
    return classes, remarks


def metrics_table(metrics: Mapping[str, Any]) -> str:
    """The metrics as lines of text for a terminal: classes with rows, only the worst of very many."""
    width = max([len(label) for label in metrics["per_class"]] + [len("f1_weighted")])
    lines = [f"{name:{width}}  {metrics[name]:.4f}" for name in ("accuracy", "f1_weighted", "f1_macro")]
    lines += ["", f"{'':{width}}  precision  recall      f1  support"]
    classes, remarks = classes_shown(metrics)
    for label, row in classes:
        lines.append(f"{label:{width}}  {row['precision']:9.4f}  {row['recall']:6.4f}  {row['f1']:6.4f}  {row['support']:7d}")
    return "\n".join([*lines, *remarks])


def population_stability_index(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """Drift between two distributions over categories: the sum of `drift_parts`. 0 is none; above 0.25 is commonly read as a shift."""
    return float(sum(drift_parts(before, after).values()))


def drift_parts(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What each category adds to the population stability index: (after - before) x ln(after / before).

    Shares below 1e-4 count as 1e-4, so that a category that is new or gone weighs much but not infinitely.
    """
    names = sorted(set(before) | set(after))
    old, new = (np.array([max(side.get(name, 0.0), 1e-4) for name in names]) for side in (before, after))
    return dict(zip(names, map(float, (new - old) * np.log(new / old)), strict=True))
