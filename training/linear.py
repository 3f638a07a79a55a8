"""A linear classifier on the features of the bag: beside the bag's network it learns what few texts show, and is quick to fit."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from lib.arrays import Float32s
from training.bag import BagData, FittedBag, matrix_of
from training.recipe import BagSettings

# Weights of the texts times labels: beyond, one classifier a label takes minutes.
MOST_CELLS = 3e9
# Of a label without texts: what a sure no gives.
NO_MARGIN = -1.0


def worth_fitting(data: BagData, settings: BagSettings) -> bool:
    """Whether a linear classifier is asked for, and takes no longer than the other fits."""
    weights = np.diff(data.expand.indptr)[data.train.features].sum()
    return settings.linear and len(np.unique(data.train_labels)) > 1 and float(weights) * data.labels <= MOST_CELLS


def fit_linear(data: BagData, settings: BagSettings, seed: int, say: Callable[[str], None]) -> FittedBag:
    """A support vector classifier for each label against the others, as a bag whose hidden layer has no ReLU.

    Of more labels than `settings.linear_width` the weights are kept as a product of two narrower matrices, the nearest to
    them (Eckart and Young 1936).
    """
    began = time.monotonic()
    texts = matrix_of(data.train, data.vocabulary.size) @ data.expand
    classifier = LinearSVC(C=settings.linear_c, random_state=seed)
    with warnings.catch_warnings():
        # What is not quite the optimum after a thousand passes classifies no worse.
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(texts, data.train_labels)
    weights = data.expand @ _by_label(classifier, data.labels)
    bias = np.full(data.labels, NO_MARGIN, np.float32)
    bias[classifier.classes_] = _two_sided(classifier.intercept_[:, None])[:, 0]
    table, output = narrowed(weights.astype(np.float32), settings.linear_width)
    fitted = FittedBag(data.vocabulary, table, output, bias, np.ones(table.shape[1], np.float32))
    shown = ""
    if len(data.validation_labels):
        right = fitted.logits(data.validation).argmax(axis=1) == data.validation_labels
        shown = f"  validation accuracy {right.mean():.4f}"
    say(f"fitted{shown}  {time.monotonic() - began:.1f} s")
    return fitted


def _by_label(classifier: LinearSVC, labels: int) -> npt.NDArray[np.float64]:
    """float64 [features, labels]."""
    weights = np.zeros((classifier.coef_.shape[1], labels))
    weights[:, classifier.classes_] = _two_sided(classifier.coef_).T
    return weights


def _two_sided(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A row for each class: of two classes scikit-learn keeps the second's alone."""
    return np.concatenate([-rows, rows]) if len(rows) == 1 else rows


def narrowed(weights: Float32s, width: int) -> tuple[Float32s, Float32s]:
    """Two matrices, [features, at most width] and [at most width, labels], whose product is nearest to `weights`."""
    if weights.shape[1] <= width:
        return weights, np.eye(weights.shape[1], dtype=np.float32)
    _, directions = np.linalg.eigh(weights.T.astype(np.float64) @ weights)
    kept = directions[:, -width:].astype(np.float32)
    return weights @ kept, np.ascontiguousarray(kept.T)
