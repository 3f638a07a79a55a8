"""Texts one by one to what the job `predict` prints: category, scores, and the levels of a path."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import pyarrow as pa

from lib.model.arrays import Float32s
from lib.model.bundle import Bundle
from lib.model.engines import Engine
from lib.model.text import without_halves
from schemas.statuses import OF_LEVELS

LINES_AT_ONCE = 1024


def predictions(texts: Iterable[str], bundle: Bundle, engine: Engine, kept: int | None = None) -> Iterator[dict[str, object]]:
    """Category, confidence, scores, highest first, and unfamiliarity of each text; if labels are paths also their levels.

    The category of a text without words is null, and so is the unfamiliarity under a bundle of a format that has none.

    Args:
        kept: the scores of so many labels, the most probable ones; None for those of all.
    """
    texts = iter(texts)
    while several := list(islice(texts, LINES_AT_ONCE)):
        clean = [without_halves(text) for text in several]
        probabilities, evidence = engine.probabilities_and_evidence(bundle.tokenizer.ids_of(pa.array(clean, pa.string())))
        unfamiliar = bundle.unfamiliarity.of(evidence) if bundle.unfamiliarity else evidence * np.nan
        for row, unlike in zip(probabilities, unfamiliar, strict=True):
            unfamiliarity = round(float(unlike), 6) if np.isfinite(unlike) else None
            if np.isfinite(row).all():
                yield _prediction(row, unfamiliarity, bundle, kept)
            else:
                yield {"category": None, "confidence": None, "scores": {}, "unfamiliarity": unfamiliarity}


def _prediction(row: Float32s, unfamiliarity: float | None, bundle: Bundle, kept: int | None) -> dict[str, object]:
    """What is said of a text with words. row: its probabilities, float32 [labels]."""
    order = np.argsort(-row, kind="stable")
    best = int(order[0])
    return {
        "category": bundle.labels[best],
        "confidence": _rounded(row[best]),
        "scores": {bundle.labels[i]: _rounded(row[i]) for i in order[:kept]},
        "unfamiliarity": unfamiliarity,
        **_levels(row, best, bundle),
    }


def _levels(row: Float32s, label: int, bundle: Bundle) -> dict[str, object]:
    """The values of the table's level columns, from a text's probabilities, float32 [labels], and its label."""
    if bundle.tree is None:
        return {}
    path, place = list(bundle.tree.paths[label]), np.array([label])
    confidences = bundle.tree.confidences(row[None], place)
    (published,) = bundle.tree.published(confidences, place, bundle.level_thresholds)
    sure = [_rounded(one) for one in confidences[0, : len(path)]]
    return dict(zip(OF_LEVELS, (path, sure, path[:published]), strict=True))


def _rounded(share: np.float32) -> float:
    return round(float(share), 6)
