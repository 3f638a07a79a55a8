"""Confidences that mean what they say, and the confidence below which a row goes to review."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from lib.engines.engine import Float32s, score_in_micro_batches
from lib.text import TokenIds

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
TEMPERATURES = (0.2, 5.0)
BATCH = 256
# A precision measured on fewer rows than this would be luck.
MIN_ROWS = 20


@dataclass(frozen=True)
class Threshold:
    """Rows with at least this confidence are `share` of all and right in `precision` of the cases."""

    confidence: float
    precision: float
    share: float


@dataclass(frozen=True)
class Calibrated:
    """The temperature that went into the network, and the confidence below which a row goes to review."""

    temperature: float
    review_below: float


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
    """The lowest confidence from which on at least `target` of the rows are right.

    Where no confidence reaches the target, the one with the highest precision. At least MIN_ROWS rows (or all, if there
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


def calibrate(
    network: keras.Model, texts: TokenIds, label_ids: Int64s, review_below: float, target_precision: float | None
) -> Calibrated:
    """Fit the temperature on the validation side, put it into the network, and pick the threshold for review.

    Args:
        texts: the validation side; label_ids: int64, its labels.
    """
    temperature = fit_temperature(network_probabilities(network, texts), label_ids)
    apply_temperature(network, temperature)
    if target_precision is None:
        return Calibrated(temperature, review_below)
    probabilities = network_probabilities(network, texts)
    right = probabilities.argmax(axis=1) == label_ids
    return Calibrated(temperature, threshold_for_precision(probabilities.max(axis=1), right, target_precision).confidence)
