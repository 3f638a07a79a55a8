"""Confidences that mean what they say, and the confidence below which a row goes to review."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from lib.model.arrays import Float32s, Float64s, Int64s
from lib.model.engines.engine import score_in_micro_batches
from lib.model.text import TokenIds
from training.promise import Promise, promised_threshold
from training.recipe import ReviewSettings

Bools = npt.NDArray[np.bool_]
FACTORS = (0.02, 20.0)
# Factors that suit most data sets, for an LSTM, a bag's network and a linear classifier. Fifty texts are too few to choose them:
# starting from equal factors they cost up to 0.8 points of F1 (decision 17).
USUAL_FACTORS = (0.2, 0.5, 1.5)
PRIOR_TEXTS = 1
# Logits of so many texts times labels are added up at once.
MOST_CELLS_AT_ONCE = 20_000_000
BATCH = 256
# Widths are rounded up to multiples of this, so that TensorFlow traces few shapes.
WIDTH_STEP = 32
# A precision measured on fewer rows than this would be luck.
MIN_ROWS = 20
CALIBRATION_BINS = 10
# Of outcomes, to see what error there is by chance.
CHANCE_DRAWS = 200
CHANCE_SEED = 7
PRECISIONS = (0.95, 0.98, 0.99)


@dataclass(frozen=True)
class Threshold:
    """Rows with at least this confidence are `share` of all and right in `precision` of the cases."""

    confidence: float
    precision: float
    share: float


@dataclass(frozen=True)
class Thresholds:
    """The confidences below which a row goes to review: one for all labels, and separate ones for some.

    promises: what they are based on, where a precision was the target; each label is in one of them. by_level, level_promises: the
    confidences from which on a level of a path is published, the top first, and what these are based on; empty where labels are not
    paths.
    """

    review_below: float
    by_label: Mapping[str, float]
    promises: tuple[Promise, ...] = ()
    by_level: tuple[float, ...] = ()
    level_promises: tuple[Promise, ...] = ()


def network_probabilities(network: keras.Model, texts: TokenIds) -> Float32s:
    """The network's output, float32 [rows, labels]."""
    names = [tensor.name for tensor in network.inputs]

    def score(inputs: Mapping[str, npt.NDArray[Any]]) -> Float32s:
        # A network with one input expects it without a name.
        return network.predict_on_batch({name: inputs[name] for name in names} if len(names) > 1 else inputs["ids"])

    return score_in_micro_batches(texts, network.output_shape[-1], BATCH, score, WIDTH_STEP)


def network_logits(network: keras.Model, texts: TokenIds) -> Float32s:
    """The input of the last layer's softmax, float32 [rows, labels]; NaN for a text without words."""
    last = network.get_layer("probabilities")
    kernel, bias = last.get_weights()
    # Keras has the softmax inside that layer.
    logits: Float32s = network_probabilities(keras.Model(network.inputs, last.input), texts) @ kernel + bias
    return logits


def evidence_of(logits: Float32s) -> Float32s:
    """The evidence as engines return it, ln Σ exp(logit): float32 [rows, labels] to [rows]."""
    # A text without words keeps its NaN.
    with np.errstate(invalid="ignore"):
        return np.logaddexp.reduce(logits.astype(np.float64), axis=1).astype(np.float32)


def summed(logits: Sequence[Float32s], factors: Sequence[float]) -> Float32s:
    """The logits of a network: the sum of its parts' logits times their factors, float32 [rows, labels]."""
    found = np.empty(logits[0].shape, np.float32)
    for rows in _blocks(logits[0]):
        found[rows] = _sum([part[rows] for part in logits], factors)
    return found


def _sum(logits: Sequence[Float32s], factors: Sequence[float]) -> npt.NDArray[np.float64]:
    return sum(part.astype(np.float64) * factor for part, factor in zip(logits, factors, strict=True))  # type: ignore[return-value]


def _blocks(logits: Float32s) -> Iterator[slice]:
    """A part of the rows at a time: float64 copies of all of them take gigabytes where there are thousands of labels."""
    rows, labels = logits.shape
    at_once = max(MOST_CELLS_AT_ONCE // labels, 1)
    return (slice(first, first + at_once) for first in range(0, rows, at_once))


def mixed(logits: Sequence[Float32s], factors: Sequence[float]) -> Float32s:
    """The probabilities of a network whose logits are the sum of its parts' times their factors, float32 [rows, labels]."""
    found = np.empty(logits[0].shape, np.float32)
    for rows in _blocks(logits[0]):
        together = _sum([part[rows] for part in logits], factors)
        together = np.exp(together - together.max(axis=1, keepdims=True))
        found[rows] = together / together.sum(axis=1, keepdims=True)
    return found


def fit_factors(logits: Sequence[Float32s], label_ids: Int64s) -> tuple[float, ...]:
    """The factors by which the parts' logits are to be multiplied before they are added, for the lowest log loss.

    For one part this is the inverse of the temperature of Guo et al. 2017, "On Calibration of Modern Neural Networks", section
    4.2; for several the factors also weigh the parts. Few texts prove little, so PRIOR_TEXTS further ones count in favour of
    USUAL_FACTORS where there are as many parts, else of equal parts that are left as they are.

    Args:
        logits: for each part float32 [rows, labels], on texts it was not fitted to; label_ids: int64 [rows].
    """
    usual, count = len(logits) == len(USUAL_FACTORS), len(label_ids)
    prior = np.log(USUAL_FACTORS if usual else np.full(len(logits), 1 / len(logits)))
    weight = PRIOR_TEXTS / count

    def loss_and_slope(logarithms: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        factors, off = np.exp(logarithms), logarithms - prior
        loss, slope = 0.0, np.zeros(len(logits))
        for rows in _blocks(logits[0]):
            parts = [part[rows] for part in logits]
            truth = np.arange(len(parts[0])), label_ids[rows]
            probabilities = mixed(parts, factors.tolist()).astype(np.float64)
            loss -= np.log(np.maximum(probabilities[truth], 1e-30)).sum()
            probabilities[truth] -= 1
            slope += [float((part.astype(np.float64) * probabilities).sum()) for part in parts]
        return float(loss / count + weight * (off**2).sum()), factors * slope / count + 2 * weight * off

    bounds = [tuple(map(math.log, FACTORS))] * len(logits)
    found = minimize(loss_and_slope, prior, jac=True, method="L-BFGS-B", bounds=bounds)
    return tuple(float(value) for value in np.exp(found.x))


def rarity_of(label_ids: Int64s, labels: int) -> Float32s:
    """How rare each label is, ln(texts / texts of it), float32 [labels]; 0 for a label without texts, about which nothing is known.

    Args:
        label_ids: int64 [rows], of the texts that a network was fitted to.
    """
    counts = np.bincount(label_ids, minlength=labels)
    return np.where(counts > 0, np.log(len(label_ids) / np.maximum(counts, 1)), 0).astype(np.float32)


def with_adjustment(
    logits: Sequence[Float32s], factors: Sequence[float], adjustment: float, label_ids: Int64s
) -> tuple[float, ...]:
    """The factors with `adjustment` as that of the last part, then all multiplied by one number, for the lowest log loss.

    "Logit adjustment" (Menon et al. 2021): the label that is likeliest is the best guess for the most right rows, yet a
    network that is fitted to many labels then hardly ever predicts a rare one. The factors between the parts stay as they were
    fitted without it.

    Args:
        logits: those of each part and, last, the labels' rarity, float32 [rows, labels], on texts the parts were not fitted to.
    """
    whole = (*factors, adjustment)
    (scale,) = fit_factors([summed(logits, whole)], label_ids)
    return tuple(scale * factor for factor in whole)


def threshold_for_precision(confidence: Float32s, correct: Bools, target: float) -> Threshold:
    """The lowest confidence from which on at least `target` of these very rows are right: a point estimate.

    For other rows, about half of the time fewer than `target` are right from there on; `training.promise` picks a threshold that
    can be promised. Where no confidence reaches the target, it is the one with the highest precision. At least MIN_ROWS rows (or all, if there
    are fewer) are above it.

    Args:
        confidence: float32 [rows]; correct: bool [rows].
    """
    order = np.argsort(-confidence, kind="stable")
    confidence, correct = confidence[order], correct[order]
    rows = np.arange(1, len(order) + 1)
    precision = np.cumsum(correct) / rows
    # A threshold cannot separate rows of equal confidence, so only the last of them counts.
    allowed = (np.append(confidence[1:], -1.0) < confidence) & (rows >= min(MIN_ROWS, len(rows)))
    places = np.flatnonzero(allowed)
    reached = places[precision[places] >= target]
    place = reached[-1] if len(reached) else places[np.argmax(precision[places])]
    return Threshold(float(confidence[place]), float(precision[place]), float(rows[place] / len(rows)))


def review_thresholds(probabilities: Float32s, label_ids: Int64s, labels: Sequence[str], review: ReviewSettings) -> Thresholds:
    """The thresholds asked for, picked with a lower bound where a precision is the target.

    With thresholds by label, each label is tested on the rows that get it, and has its own threshold if that passes. The others, with
    too few texts or too many errors, share one, tested only on their rows: the rows of the labels that
    pass would hide their errors. A label that is among them because its own test failed makes the shared test stricter, never
    laxer. Each promise is valid at its level on its own, not all of them at once.

    Args:
        probabilities: calibrated, float32 [rows, labels], of texts the network was not fitted to; label_ids: int64 [rows].
    """
    if review.target_precision is None:
        return Thresholds(review.below, dict(review.below_by_label))
    target, level = review.target_precision, review.precision_confidence
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    right = predicted == label_ids

    def promise(of: Sequence[int]) -> Promise:
        rows = np.isin(predicted, of)
        return promised_threshold(confidence[rows], right[rows], [labels[i] for i in of], target, level)

    places = range(len(labels))
    own = {i: one for i in (places if review.by_label else ()) if (one := promise([i])).is_kept}
    rest = [i for i in places if i not in own]
    shared = promise(rest or places)
    by_label = {labels[i]: one.confidence for i, one in own.items()}
    return Thresholds(shared.confidence, by_label, (*own.values(), *([shared] if rest else [])))


def coverage_table(confidence: Float32s, correct: Bools) -> list[dict[str, float]]:
    """The share of the rows that could be covered at some precisions.

    Point estimates, with thresholds chosen on these very rows: what is possible, not what is promised.
    """
    return [
        {"target_precision": target, **asdict(threshold_for_precision(confidence, correct, target))} for target in PRECISIONS
    ]


def calibration_table(confidence: Float32s, correct: Bools) -> list[dict[str, float]]:
    """Rows, mean confidence and accuracy of equal-width bins (Guo et al. 2017, "On Calibration of Modern Neural Networks")."""
    bins = _bins_of(confidence)
    return [
        {
            "rows": int((bins == b).sum()),
            "confidence": float(confidence[bins == b].mean()),
            "accuracy": float(correct[bins == b].mean()),
        }
        for b in range(CALIBRATION_BINS)
        if (bins == b).any()
    ]


def _bins_of(confidence: Float32s) -> Int64s:
    """The bin of `calibration_table` that each row is in, int64 [rows]."""
    return np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)


def calibration_error_by_chance(confidence: Float32s) -> float:
    """The calibration error that few texts show by chance alone: that of confidences that are all true stays below it in 95 % of draws.

    Consistency resampling (Bröcker and Smith 2007, "Increasing the reliability of reliability diagrams").
    """
    random = np.random.default_rng(CHANCE_SEED)
    if not len(confidence):
        return 0.0
    bins, draws = _bins_of(confidence), []
    for _ in range(CHANCE_DRAWS):
        # The same as `expected_calibration_error`, whose table is made anew for each: rows times |accuracy - confidence| is a sum over the bin.
        excess: Float64s = (random.random(len(confidence)) < confidence) - confidence.astype(np.float64)
        draws.append(np.abs(np.bincount(bins, weights=excess)).sum() / len(confidence))
    return float(np.quantile(draws, 0.95))


def expected_calibration_error(confidence: Float32s, correct: Bools) -> float:
    """How far apart confidence and accuracy are, averaged over the rows in the bins of `calibration_table`."""
    table = calibration_table(confidence, correct)
    return sum(row["rows"] * abs(row["accuracy"] - row["confidence"]) for row in table) / max(len(confidence), 1)
