"""Labels that are paths, level by level: the confidence from which on each level is published, and how good each level is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.model.arrays import Float32s, Int64s
from lib.model.hierarchy import level_metrics
from lib.model.tree import NO_NODE, Tree
from training.calibration import Thresholds, threshold_for_precision
from training.promise import promised_threshold
from training.recipe import ReviewSettings

# The precision for which the card gives the share of the rows that a level could be published for.
COVERED_AT = 0.98


@dataclass(frozen=True)
class Level:
    """A level of the paths that rows were given. rows: the positions of those whose path has it; confidence, right: those of these rows."""

    number: int
    rows: Int64s
    confidence: Float32s
    right: npt.NDArray[np.bool_]


def levels_of(tree: Tree, probabilities: Float32s, truth: Int64s) -> Iterator[Level]:
    """How good each level of the predicted paths is, the top first.

    A level is right where the true label has the same one, and everything above it the same.

    Args:
        probabilities: float32 [rows, labels], of texts the network was not fitted to; truth: int64 [rows], positions of labels, of which
            those beyond the tree's are never right.
    """
    predicted = probabilities.argmax(axis=1)
    confidences = tree.confidences(probabilities, predicted)
    for level, nodes in enumerate(tree.nodes):
        rows = np.flatnonzero(nodes[predicted] != NO_NODE)
        true = np.append(nodes, NO_NODE)[np.minimum(truth[rows], len(nodes))]
        yield Level(level + 1, rows, confidences[rows, level], nodes[predicted[rows]] == true)


def with_levels(
    thresholds: Thresholds, tree: Tree | None, probabilities: Float32s, label_ids: Int64s, review: ReviewSettings
) -> Thresholds:
    """The thresholds, with those of the levels added.

    With a precision as the target each level gets the lowest confidence at which that can be promised for it, as a label does
    (`training.calibration.review_thresholds`), and none gets a lower one than the level above it, so that what is published of a path is
    its upper part. A promise that passed at a lower threshold than that has also passed at the stricter one. Without a target
    all levels share the threshold for review.

    Args:
        tree: None where labels are not paths. probabilities: calibrated, float32 [rows, labels]; label_ids: int64 [rows].
    """
    if tree is None:
        return thresholds
    if review.target_precision is None:
        return replace(thresholds, by_level=(thresholds.review_below,) * tree.levels)
    target, confidence = review.target_precision, review.precision_confidence
    promises = tuple(
        promised_threshold(level.confidence, level.right, [f"level {level.number}"], target, confidence)
        for level in levels_of(tree, probabilities, label_ids)
    )
    by_level = tuple(accumulate((promise.confidence for promise in promises), max))
    return replace(thresholds, by_level=by_level, level_promises=promises)


def levels_record(
    tree: Tree, probabilities: Float32s, truth: Int64s, thresholds: Sequence[float], labels: Sequence[str]
) -> Any:
    """How good each level is, for the manifest's metrics.

    Args:
        probabilities: float32 [rows, labels of the tree], 0 for a text without words; truth: int64 [rows], positions in `labels`: the
            tree's, then those that it does not know. thresholds: those of the levels.
    Returns:
        lib.model.hierarchy.level_metrics; each level also with `published`, the share of all rows that the bundle's threshold publishes it for,
        and `precision`, how many of these are right, and with `covered`, the share that could be covered at COVERED_AT: a point
        estimate, with a threshold chosen on these very rows.
    """
    scored = probabilities.max(axis=1) > 0
    predicted = np.where(scored, probabilities.argmax(axis=1), len(labels))
    pairs, counts = np.unique(np.stack([truth, predicted]), axis=1, return_counts=True)
    names: list[str | None] = [*labels, None]
    found = level_metrics([(names[t], names[p], int(n)) for (t, p), n in zip(pairs.T, counts, strict=True)], tree.separator)
    for row, level in zip(found["levels"], levels_of(tree, probabilities, truth), strict=False):
        kept = scored[level.rows] & (level.confidence >= np.float32(thresholds[level.number - 1]))
        best = threshold_for_precision(level.confidence, level.right, COVERED_AT) if len(level.rows) else None
        reached = best is not None and best.precision >= COVERED_AT
        row |= {
            "published": float(kept.sum() / len(truth)),
            "precision": float(level.right[kept].mean()) if kept.any() else None,
            "covered": best.share * len(level.rows) / len(truth) if best and reached else 0.0,
        }
    return found
