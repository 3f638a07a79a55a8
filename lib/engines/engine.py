"""What an engine is, and the micro-batches that all of them score in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from lib.arrays import Float32s, Int32s, Int64s
from lib.text import TokenIds


class Engine(Protocol):
    """Token ids to probabilities."""

    name: str

    def probabilities(self, texts: TokenIds) -> Float32s:
        """Probability of each label for each text, float32 [rows, labels]; a text without tokens gets NaN."""


def score_in_micro_batches(texts: TokenIds, labels: int, size: int, score: Callable[[Int32s, Int32s], Float32s]) -> Float32s:
    """Sort by length, score in rectangles of `size` rows, put the order back.

    Texts of like length waste little padding, and every rectangle has the same height (the last is filled up with
    rows of one padding token), so that the shape of a matrix product, and with it the rounding of a row's
    probabilities, does not depend on how many rows happen to share its batch.

    Args:
        score: (ids int32 [size, width], lengths int32 [size], all at least 1) to probabilities float32 [size, labels].
    Returns:
        float32 [rows, labels]; NaN where a text has no tokens.
    """
    lengths: Int64s = texts.lengths
    probabilities = np.full((len(lengths), labels), np.nan, dtype=np.float32)
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        filled = np.ones(size, dtype=np.int32)
        filled[: len(rows)] = lengths[rows]
        rectangle = texts.padded(rows, width=int(filled.max()), height=size)
        probabilities[rows] = score(rectangle, filled)[: len(rows)]
    return probabilities
