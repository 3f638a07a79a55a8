"""Confidences that mean what they say, and the confidence below which a row goes to review."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import keras
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from lib.arrays import Float32s, Int64s
from lib.engines.engine import score_in_micro_batches
from lib.text import TokenIds
from training.promise import Promise, promised_threshold
from training.recipe import ReviewSettings

Bools = npt.NDArray[np.bool_]
TEMPERATURES = (0.2, 5.0)
BATCH = 256
# A precision measured on fewer rows than this would be luck.
MIN_ROWS = 20
CALIBRATION_BINS = 10
PRECISIONS = (0.95, 0.98, 0.99)


@dataclass(frozen=True)
class Threshold:
    """Rows with at least this confidence are `share` of all and right in `precision` of the cases."""

    confidence: float
    precision: float
    share: float


@dataclass(frozen=True)
class Thresholds:
    """The confidences below which a row goes to review: for all labels, and for some their own.

    promises: what they rest on, where a precision was the target; each label is in one of them.
    """

    review_below: float
    by_label: Mapping[str, float]
    promises: tuple[Promise, ...] = ()


def network_probabilities(network: keras.Model, texts: TokenIds) -> Float32s:
    """What the network gives, float32 [rows, labels]."""
    return score_in_micro_batches(texts, network.output_shape[-1], BATCH, lambda ids, lengths: network.predict_on_batch(ids))


def fit_temperature(probabilities: Float32s, label_ids: Int64s) -> float:
    """The temperature by which logits are to be divided for the lowest log loss.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2. Probabilities serve as well as logits:
    their logarithms differ from the logits by one number a row, which the softmax takes out again.

    Args:
        probabilities: float32 [rows, labels] on texts the network was not fitted to; label_ids: int64 [rows].
    """
    logits = np.log(np.clip(probabilities.astype(np.float64), 1e-12, 1.0))
    rows = np.arange(len(label_ids))

    def log_loss(temperature: float) -> float:
        scaled = logits / temperature
        scaled -= scaled.max(axis=1, keepdims=True)
        return float((np.log(np.exp(scaled).sum(axis=1)) - scaled[rows, label_ids]).mean())

    return float(minimize_scalar(log_loss, bounds=TEMPERATURES, method="bounded").x)


def apply_temperature(network: keras.Model, temperature: float) -> None:
    """Divide the logits by `temperature`, in place: in the last layer's weights, so that every engine has it for nothing."""
    layer = network.get_layer("probabilities")
    layer.set_weights([weights / np.float32(temperature) for weights in layer.get_weights()])


def threshold_for_precision(confidence: Float32s, correct: Bools, target: float) -> Threshold:
    """The lowest confidence from which on at least `target` of these very rows are right: a point estimate.

    About half of the time fewer than `target` of other rows are right from there on; `training.promise` picks one that
    holds. Where no confidence reaches the target, the one with the highest precision. At least MIN_ROWS rows (or all, if there
    are fewer) lie above it.

    Args:
        confidence: float32 [rows]; correct: bool [rows].
    """
    order = np.argsort(-confidence, kind="stable")
    confidence, correct = confidence[order], correct[order]
    rows = np.arange(1, len(order) + 1)
    precision = np.cumsum(correct) / rows
    # A threshold cannot part rows of equal confidence, so only the last of them counts.
    allowed = (np.append(confidence[1:], -1.0) < confidence) & (rows >= min(MIN_ROWS, len(rows)))
    places = np.flatnonzero(allowed)
    reached = places[precision[places] >= target]
    place = reached[-1] if len(reached) else places[np.argmax(precision[places])]
    return Threshold(float(confidence[place]), float(precision[place]), float(rows[place] / len(rows)))


def review_thresholds(probabilities: Float32s, label_ids: Int64s, labels: Sequence[str], review: ReviewSettings) -> Thresholds:
    """The thresholds asked for, picked with a lower bound where a precision is the target.

    By label, each is tested on the rows that are given it and gets its own threshold where that passes. The others, of
    which there are too few texts or too many errors, share one, tested on their rows alone: the rows of the labels that
    pass would hide their errors. That a label comes there because its own test failed makes the shared test stricter, never
    laxer. Each promise holds at its level by itself, not all of them at once.

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
    """The share of the rows that could be had at some precisions.

    Point estimates, with thresholds chosen on these very rows: what is possible, not what is promised.
    """
    return [
        {"target_precision": target, **asdict(threshold_for_precision(confidence, correct, target))} for target in PRECISIONS
    ]


def calibration_table(confidence: Float32s, correct: Bools) -> list[dict[str, float]]:
    """Rows, mean confidence and accuracy of equal-width bins (Guo et al. 2017, "On Calibration of Modern Neural Networks")."""
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return [
        {
            "rows": int((bins == b).sum()),
            "confidence": float(confidence[bins == b].mean()),
            "accuracy": float(correct[bins == b].mean()),
        }
        for b in range(CALIBRATION_BINS)
        if (bins == b).any()
    ]


def expected_calibration_error(confidence: Float32s, correct: Bools) -> float:
    """How far confidence and accuracy lie apart, averaged over the rows in the bins of `calibration_table`."""
    table = calibration_table(confidence, correct)
    return sum(row["rows"] * abs(row["accuracy"] - row["confidence"]) for row in table) / max(len(confidence), 1)
