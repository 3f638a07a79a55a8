"""How good a saved bundle is: metrics on the test side, by class and by length, and its calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lib.model.arrays import Float32s, Int64s
from lib.model.bundle import Bundle
from lib.model.engines import build_engine
from lib.model.metrics import classification_metrics, confusion_matrix
from lib.model.text import TokenIds
from lib.model.unfamiliarity import UNFAMILIAR_SHARE, is_above
from training.calibration import calibration_error_by_chance, calibration_table, coverage_table, expected_calibration_error
from training.levels import levels_record

# Upper ends of the length classes, in tokens: a title, a short and a long description.
LENGTH_CLASSES = (10, 30, 100)


def evaluate_bundle(bundle: Bundle, texts: pa.Array, true_labels: Sequence[str], threads: int) -> dict[str, Any]:
    """Metrics of the bundle as read from disk, with ONNX Runtime.

    Args:
        texts: strings [rows]; true_labels: one for each. A label that the bundle does not know counts as a miss.
    Returns:
        lib.model.metrics.classification_metrics with `labels`, `by_length`, `calibration`, `expected_calibration_error`,
        `calibration_error_by_chance`, `review` (what the bundle's threshold does here) and `coverage` (the share of the rows that could be covered at some
        precisions: point estimates, with thresholds chosen on these very rows); `hierarchy`: for labels that are paths
        training.levels.levels_record; `unfamiliar`: the share of the rows that
        `--unfamiliar` of UNFAMILIAR_SHARE sends to review here, None for a bundle that is older than it.
    """
    labels = [*bundle.labels, *sorted(set(true_labels) - set(bundle.labels))]
    places = {label: place for place, label in enumerate(labels)}
    truth = np.array([places[label] for label in true_labels], dtype=np.int64)
    ids = bundle.tokenizer.ids_of(texts)
    probabilities, evidence = build_engine("onnx", bundle, threads).probabilities_and_evidence(ids)
    # A text without words has no category; training drops such texts, other labelled tables may hold them.
    np.nan_to_num(probabilities, copy=False)
    found = metrics_of(bundle, labels, truth, ids.lengths, probabilities, unknown_words(ids))
    return {**found, "unfamiliar": _unfamiliar(bundle, evidence)}


def predicted_by(bundle: Bundle, texts: pa.Array) -> Int64s:
    """What the bundle predicts for each text, int64 [rows], positions in its labels; -1 for a text without words."""
    ids = bundle.tokenizer.ids_of(texts)
    probabilities = build_engine("onnx", bundle, threads=0).probabilities(ids)
    return np.where(ids.lengths > 0, np.nan_to_num(probabilities, copy=False).argmax(axis=1), -1)


def unknown_words(ids: TokenIds) -> float:
    """The share of the words that the vocabulary does not know."""
    return float(ids.out_of_vocabulary().sum() / max(len(ids.ids), 1))


def metrics_of(
    bundle: Bundle, labels: Sequence[str], truth: Int64s, lengths: Int64s, probabilities: Float32s, unknown: float
) -> dict[str, Any]:
    """The metrics of `evaluate_bundle`, from probabilities.

    Args:
        bundle: for its thresholds; labels: its own and perhaps more; truth: int64 [rows], positions in `labels`; lengths:
            tokens of each text; probabilities: float32 [rows, labels of the bundle], 0 for a text without words; unknown: share of unknown words.
    """
    scored = lengths > 0
    predicted = np.where(scored, probabilities.argmax(axis=1), len(labels))
    confidence = probabilities.max(axis=1)
    metrics = classification_metrics(confusion_matrix(truth, predicted, len(labels)), labels)
    if bundle.tree:
        levels = levels_record(bundle.tree, probabilities, truth, bundle.level_thresholds, labels)
        metrics["hierarchy"] = levels
    return {
        **metrics,
        "labels": labels,
        "review": _review(confidence, predicted, truth, bundle),
        "coverage": coverage_table(confidence, truth == predicted),
        "by_length": _by_length(lengths, truth, predicted, labels),
        "calibration": calibration_table(confidence[scored], (truth == predicted)[scored]),
        "expected_calibration_error": expected_calibration_error(confidence[scored], (truth == predicted)[scored]),
        "calibration_error_by_chance": calibration_error_by_chance(confidence[scored]),
        "out_of_vocabulary_share": unknown,
    }


def _unfamiliar(bundle: Bundle, evidence: Float32s) -> dict[str, float] | None:
    known = bundle.unfamiliarity
    if known is None or not len(evidence):
        return None
    return {"asked": UNFAMILIAR_SHARE, "found": float(is_above(known.of(evidence), UNFAMILIAR_SHARE).mean())}


def _review(confidence: npt.NDArray[np.float32], predicted: Int64s, truth: Int64s, bundle: Bundle) -> dict[str, Any]:
    """Share and precision of the rows that do not go to review."""
    # After the labels: those that it does not know, and no category. Neither is ever predicted with a confidence.
    below = np.array([*bundle.review_below, *[np.inf] * (int(predicted.max(initial=0)) + 1)], dtype=np.float32)
    kept = confidence >= below[predicted]
    return {
        **bundle.manifest["thresholds"],
        "share_kept": float(kept.mean()),
        "precision_kept": float((truth == predicted)[kept].mean()) if kept.any() else 0.0,
    }


def _by_length(lengths: Int64s, truth: Int64s, predicted: Int64s, labels: Sequence[str]) -> list[dict[str, Any]]:
    table: list[dict[str, Any]] = []
    for low, high in zip((0, *LENGTH_CLASSES), (*LENGTH_CLASSES, None), strict=True):
        inside = (lengths > low) & (lengths <= high) if high else lengths > low
        if inside.any():
            metrics = classification_metrics(confusion_matrix(truth[inside], predicted[inside], len(labels)), labels)
            name = f"{low + 1} to {high} tokens" if high else f"over {low} tokens"
            table.append({"length": name, "rows": metrics["rows"], "f1_weighted": metrics["f1_weighted"]})
    return table
