"""What an engine is, and the micro-batches in which engines that need rectangles score."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lib.errors import BundleError
from lib.model.arrays import Float32s, Int32s, Int64s
from lib.model.bundle import Bundle
from lib.model.text import TokenIds, Tokenizer

# Of a bag. A text of more, such as one of unknown long words throughout, is scored alone.
MOST_FEATURES = 1024


@dataclass(frozen=True)
class TextScores:
    """What an engine returns for texts.

    probabilities: float32 [rows, labels]; evidence: float32 [rows]; both NaN for a text without tokens. tokens, unknown_tokens:
    int32 [rows]. seconds: what it took to turn texts into ids (`text`), and these into probabilities (`network`).
    """

    probabilities: Float32s
    evidence: Float32s
    tokens: Int32s
    unknown_tokens: Int32s
    seconds: Mapping[str, float]


class Engine(Protocol):
    """Token ids to probabilities."""

    name: str

    def probabilities(self, texts: TokenIds) -> Float32s:
        """Probability of each label for each text, float32 [rows, labels]; a text without tokens gets NaN."""
        return self.probabilities_and_evidence(texts)[0]

    def probabilities_and_evidence(self, texts: TokenIds) -> tuple[Float32s, Float32s]:
        """Probabilities, and how much evidence there is for any label at all: ln Σ exp(logit), float32 [rows].

        It is the negative of the free energy of Liu et al. 2020, "Energy-based Out-of-distribution Detection". NaN for a text
        without tokens, and for all texts where the bundle is older than that number.
        """
        raise NotImplementedError

    def scores_of(self, tokenizer: Tokenizer, texts: pa.Array) -> TextScores:
        """The scores of texts, strings [rows]; null counts as blank."""
        began = perf_counter()
        ids = tokenizer.ids_of(texts)
        tokenized = perf_counter()
        probabilities, evidence = self.probabilities_and_evidence(ids)
        seconds = {"text": tokenized - began, "network": perf_counter() - tokenized}
        return TextScores(
            probabilities, evidence, ids.lengths.astype(np.int32), ids.out_of_vocabulary().astype(np.int32), seconds
        )


def usable_cores(group: Path = Path("/sys/fs/cgroup")) -> int:
    """The cores that this process may use, where the system reports them: those that it may run on, or the container's share if that is less.

    Args:
        group: the folder of the container's control group, version 2 or 1.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Microseconds of processor time in a period: `max` or -1 where there is no limit.
    for files in ((group / "cpu.max",), (group / "cpu" / "cpu.cfs_quota_us", group / "cpu" / "cpu.cfs_period_us")):
        with suppress(OSError, ValueError):
            quota, period = map(int, " ".join(file.read_text() for file in files).split())
            if quota > 0 and period > 0:
                cores = min(cores, -(-quota // period))
    return cores


def check_bag(bundle: Bundle, found: int) -> None:
    """Compare the number of features that a model has rows for with the bundle's.

    Raises:
        BundleError: they differ.
    """
    bag = bundle.tokenizer.bag
    expected = bag.size if bag else 0
    if found != expected:
        raise BundleError(
            f"Expected a bag of {expected} features in the model of {bundle.model_version}, found {found}; retrain the bundle."
        )


def parted(columns: Float32s) -> tuple[Float32s, Float32s]:
    """Probabilities followed by evidence, split: [rows, labels + 1] to [rows, labels] and [rows]."""
    return np.ascontiguousarray(columns[:, :-1]), np.ascontiguousarray(columns[:, -1])


def score_in_micro_batches(
    texts: TokenIds, labels: int, size: int, score: Callable[[Mapping[str, npt.NDArray[Any]]], Float32s], step: int = 1
) -> Float32s:
    """Sort by length, score in rectangles of `size` rows, restore the order.

    Texts of similar length waste little padding, and every rectangle has the same height (the last is filled up with
    rows of one padding token), so that the shape of a matrix product, and with it the rounding of a row's
    probabilities, does not depend on how many rows happen to share its batch. A text of very many features is scored alone, since all
    rows of a rectangle get room for as many; which texts these are depends on nothing else either.

    Args:
        score: from `ids` int32 [height, width], `lengths` int32 [height], all at least 1, and, where the texts have bags,
            `features` int32 and `weights` float32 [height, features], to probabilities float32 [height, labels].
        step: widths are rounded up to multiples of it.
    Returns:
        float32 [rows, labels]; NaN where a text has no tokens.
    """
    lengths: Int64s = texts.lengths
    probabilities = np.full((len(lengths), labels), np.nan, dtype=np.float32)
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    wide = np.diff(texts.bag.offsets)[order] > MOST_FEATURES if texts.bag else np.zeros(len(order), bool)
    for some, height in ((order[~wide], size), (order[wide], 1)):
        for start in range(0, len(some), height):
            rows = some[start : start + height]
            probabilities[rows] = score(rectangles(texts, rows, height, step))[: len(rows)]
    return probabilities


def rectangles(texts: TokenIds, rows: Int64s, height: int, step: int) -> dict[str, npt.NDArray[Any]]:
    """The texts `rows` as the inputs of a network, filled up to `height` rows."""
    filled = np.ones(height, dtype=np.int32)
    filled[: len(rows)] = texts.lengths[rows]
    inputs: dict[str, npt.NDArray[Any]] = {
        "ids": texts.padded(rows, _rounded(int(filled.max()), step), height),
        "lengths": filled,
    }
    if texts.bag:
        widest = int(np.diff(texts.bag.offsets)[rows].max(initial=1))
        inputs["features"], inputs["weights"] = texts.bag.padded(rows, _rounded(widest, step), height)
    return inputs


def _rounded(width: int, step: int) -> int:
    return -(-width // step) * step
