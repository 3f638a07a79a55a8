"""A threshold for review with a promise: the precision above it, with a lower confidence bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import beta

from lib.model.arrays import Float32s
from training.labels import SHOWN

# The thresholds that may be picked, strictest first: even steps of the logit from 0.9997 down to 0.018, and finally 0,
# above which every row is. They must not depend on the labels. Beyond 0.9997 engines may differ (1e-4).
GRID: Float32s = np.append(1 / (1 + np.exp(-np.arange(80, -41, -1) / 10)), 0.0).astype(np.float32)
# The first test takes the surest rows, this share of all, or where there are very many, as many as leave room for these
# errors: the few very surest would fail by one error, since some labels are wrong at any confidence.
FIRST_ERRORS = 50
FIRST_SHARE = 0.25


@dataclass(frozen=True)
class Promise:
    """Of the rows that get one of `labels` with at least `confidence`, a share of `bound` is right, at the confidence level `level`.

    texts, errors: how many labelled texts above the threshold it is based on, and how many of these are wrong. of: texts that
    got one of the labels, at any confidence. texts_needed: how many, all of them right, are enough for `target`.
    """

    labels: tuple[str, ...]
    confidence: float
    target: float
    level: float
    bound: float
    texts: int
    errors: int
    of: int
    texts_needed: int

    @property
    def is_kept(self) -> bool:
        return self.bound >= self.target


def lower_bound(rows: Any, errors: Any, level: float) -> npt.NDArray[np.float64]:
    """One-sided lower confidence bound of a share of which `rows - errors` of `rows` were seen.

    Clopper and Pearson 1934, "The use of confidence or fiducial limits illustrated in the case of the binomial".
    """
    right = np.asarray(rows) - np.asarray(errors)
    return np.where(right > 0, beta.ppf(1 - level, np.maximum(right, 1), np.asarray(errors) + 1), 0.0)


def two_sided_bounds(rows: int, errors: int, level: float) -> tuple[float, float]:
    """The two-sided confidence interval of the same share, whose either side may be missed with half of 1 - level."""
    half = (1 + level) / 2
    return float(lower_bound(rows, errors, half)), 1 - float(lower_bound(rows, rows - errors, half))


def fewest_rows(errors: int, target: float, level: float) -> int:
    """The fewest rows whose lower bound reaches `target` with that many errors among them."""
    few, many = errors, errors + 1
    while lower_bound(many, errors, level) < target:
        few, many = many, 2 * many
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (middle, many) if lower_bound(middle, errors, level) < target else (few, middle)
    return many


def promised_threshold(
    confidence: Float32s, correct: npt.NDArray[np.bool_], labels: Sequence[str], target: float, level: float
) -> Promise:
    """The lowest threshold at which a precision of `target` can be promised, by fixed-sequence testing.

    Taking the best of all thresholds whose bound reaches the target would be optimistic, since one of many does by luck. So they are
    tested from the strictest down, each at the full level, and the first failure ends the test: a promise is wrong only if the
    first threshold whose precision is below the target passes, which happens in at most 1 - level of all samples.
    Angelopoulos, Bates, Candès, Jordan and Lei 2021, "Learn then Test: Calibrating Predictive Algorithms to Achieve Risk
    Control" (arXiv 2110.01052). The first threshold tested is chosen by how many rows are above it, whether right or not;
    that does no harm as long as rows of higher confidence are right more often.

    Where none passes, it is the strictest threshold above which there are enough rows for a first test; its bound, below the
    target, is what can be promised. The bound of a single threshold is valid for independent rows.

    Args:
        confidence: float32 [rows], of texts the network was not fitted to; correct: bool [rows]; labels: those that the rows
            got.
    """
    order = np.argsort(-confidence, kind="stable")
    rows = np.searchsorted(-confidence[order], -GRID, side="right")
    errors = np.append(0, np.cumsum(~correct[order]))[rows]
    bounds = lower_bound(rows, errors, level)
    needed = fewest_rows(0, target, level)
    first = min(fewest_rows(FIRST_ERRORS, target, level), max(int(len(confidence) * FIRST_SHARE), 1))
    tested = np.flatnonzero(rows >= max(first, needed))
    passed = np.logical_and.accumulate(bounds[tested] >= target).sum()
    place = tested[passed - 1] if passed else np.argmax(rows >= first)
    found = float(bounds[place]), int(rows[place]), int(errors[place])
    return Promise(tuple(labels), float(GRID[place]), target, level, *found, len(confidence), needed)


def _or(labels: Sequence[str]) -> str:
    """The first labels, for a sentence, and how many more there are."""
    return " or ".join(labels[:SHOWN]) + (f" or one of {len(labels) - SHOWN:,} more" if len(labels) > SHOWN else "")


def dependence_text(group_column: str | None) -> str:
    """What a promise leaves out of account, as a clause; empty without a column that says which texts belong together."""
    if group_column is None:
        return ""
    return (
        f"texts of one {group_column} count as independent, so a promise is too strong where the errors gather in few of them"
    )


def promise_text(promise: Promise, all_labels: int) -> str:
    """One sentence. all_labels: how many labels there are."""
    p = promise
    whose = "" if len(p.labels) == all_labels else f" that get {_or(p.labels)}"
    rests = f"{p.errors:,} of the {p.texts:,} texts above {p.confidence:.3f} are wrong ({p.of:,} texts in all)"
    if p.is_kept:
        return (
            f"Of the rows above {p.confidence:.3f}{whose} at least {p.bound:.2%} are right, at a confidence level of "
            f"{p.level * 100:g}% (target {p.target:.1%}): {rests}."
        )
    return (
        f"NOT KEPT: expected a threshold above which a precision of {p.target:.1%} can be promised at a confidence level of "
        f"{p.level * 100:g}% for the rows{whose}, found {p.bound:.2%}, since {rests}; give more labelled "
        f"texts (at least {p.texts_needed:,} above the threshold, if all are right; --folds counts all) or a lower --target-precision."
    )
