"""What a text's probabilities decide: its category, its status and the reason. lib.scoring.categories.with_category does the same in Spark's columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lib.model.arrays import Float32s, Int64s
from lib.model.bundle import Bundle
from lib.model.engines.engine import TextScores
from lib.model.tree import lists_of
from lib.model.unfamiliarity import is_above
from schemas.statuses import (
    CATEGORIZED_STATUS,
    LOW_CONFIDENCE,
    NO_TEXT,
    NO_WORDS,
    OF_LEVELS,
    REVIEW,
    UNCLASSIFIABLE,
    UNFAMILIAR,
)

STATUSES = pa.array([CATEGORIZED_STATUS, REVIEW, UNCLASSIFIABLE])
# A text's reason is the first of these that is true; it has none if none is.
REASONS = pa.array([NO_TEXT, NO_WORDS, UNFAMILIAR, LOW_CONFIDENCE])
SCORES = "scores"


def most_probable(probabilities: Float32s, count: int) -> Int64s:
    """The `count` most probable labels of each text, the most probable first, int64 [rows, count]; any labels for a text of NaN.

    Ties go to the label that comes first, on every machine.
    """
    rows = np.arange(len(probabilities))
    others = np.array(probabilities)
    found = np.empty((len(probabilities), count), np.int64)
    # One pass per label: for a few labels out of thousands that costs a tenth of `np.partition`.
    for place in range(count):
        found[:, place] = others.argmax(axis=1)
        others[rows, found[:, place]] = -1
    return found


def decided(
    texts: pa.Array, found: TextScores, bundle: Bundle, unfamiliar: float | None = None, scores: bool = True
) -> pa.RecordBatch:
    """For texts, strings [rows] without null, the columns of the table `categorized` that follow from their scores alone.

    Args:
        unfamiliar: the share of texts like the training texts that get the status `review` for being the most unlike them.
        scores: whether to return the probabilities of all labels, which takes the longest where there are thousands.
    Returns:
        category, confidence, runner_up, runner_up_confidence, scores (a field for each label, if asked for), status, reason, unfamiliarity; for a
        bundle whose labels are paths also category_path, level_confidence and published_path.
    """
    labels, known, rows = pa.array(bundle.labels, pa.string()), found.tokens > 0, np.arange(len(texts))
    best, second = most_probable(found.probabilities, 2).T
    confidence = found.probabilities[rows, best]
    unlike = bundle.unfamiliarity.of(found.evidence) if bundle.unfamiliarity else np.full(len(texts), np.nan, np.float32)
    unsure = known & (confidence < np.array(bundle.review_below, np.float32)[best])
    strange = known & is_above(unlike, unfamiliar) if unfamiliar is not None else np.zeros_like(known)
    empty = pc.equal(texts, "").to_numpy(zero_copy_only=False)
    reasons = np.select([empty, ~known, strange, unsure], [0, 1, 2, 3], len(REASONS))
    columns = {
        "category": labels.take(pa.array(best, mask=~known)),
        "confidence": pa.array(confidence, mask=~known),
        "runner_up": labels.take(pa.array(second, mask=~known)),
        "runner_up_confidence": pa.array(found.probabilities[rows, second], mask=~known),
        **({SCORES: _of_labels(found.probabilities, known, bundle.labels)} if scores else {}),
        "status": STATUSES.take(pa.array(np.where(~known, 2, np.where(strange | unsure, 1, 0)))),
        "reason": REASONS.take(pa.array(reasons, mask=reasons == len(REASONS))),
        "unfamiliarity": pa.array(unlike, mask=np.isnan(unlike) | ~known),
    }
    return pa.RecordBatch.from_pydict({**columns, **_levels(found.probabilities, best, known, bundle)})


def _of_labels(probabilities: Float32s, known: Any, labels: Sequence[str]) -> pa.StructArray:
    """Each text's probabilities, a field for each label; null where bool [rows] `known` is false."""
    columns = [pa.array(np.ascontiguousarray(column)) for column in probabilities.T]
    return pa.StructArray.from_arrays(columns, labels, mask=pa.array(~known))


def _levels(probabilities: Float32s, labels: Int64s, known: Any, bundle: Bundle) -> dict[str, pa.Array]:
    """The columns of a text's label level by level; none where labels are not paths."""
    tree = bundle.tree
    if tree is None:
        return {}
    confidences, depths = tree.confidences(probabilities, labels), tree.depths[labels]
    published = tree.published(confidences, labels, bundle.level_thresholds)
    columns = (
        tree.prefixes(labels, depths, known),
        lists_of(confidences, depths, known),
        tree.prefixes(labels, published, known),
    )
    return dict(zip(OF_LEVELS, columns, strict=True))
