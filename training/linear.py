"""A linear classifier on the features of the bag: alongside the bag's network it learns what few texts show, and it is quick to fit."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from lib.model.arrays import Float64s
from training.bag import BagData, FittedBag, matrix_of
from training.progress import counted
from training.recipe import BagSettings

# The most weights of the texts times labels: beyond this, one classifier per label takes minutes.
MOST_CELLS = 3e9
# The margin of a label without texts: that of a sure no.
NO_MARGIN = -1.0
# The least deviation of a label's margins: those of a label without texts do not vary at all.
SMALLEST_SPREAD = 1e-6


def worth_fitting(data: BagData, settings: BagSettings) -> bool:
    """Whether a linear classifier is asked for, and takes no longer than the other fits."""
    weights = np.diff(data.expand.indptr)[data.train.features].sum()
    return settings.linear and len(np.unique(data.train_labels)) > 1 and float(weights) * data.labels <= MOST_CELLS


def fit_linear(data: BagData, settings: BagSettings, seed: int, say: Callable[[str], None]) -> FittedBag:
    """A support vector classifier for each label against the others, as a bag whose hidden layer has no ReLU.

    For more labels than `settings.linear_width` the weights are stored as a product of two narrower matrices.
    """
    began = time.monotonic()
    texts = matrix_of(data.train, data.vocabulary.size) @ data.expand
    classifier = LinearSVC(C=settings.linear_c, random_state=seed)
    with warnings.catch_warnings():
        # A fit that is not quite at the optimum after a thousand passes classifies no worse.
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(texts, data.train_labels)
    weights = _by_label(classifier, data.labels)
    bias = np.full(data.labels, NO_MARGIN)
    bias[classifier.classes_] = _two_sided(classifier.intercept_[:, None])[:, 0]
    table, output = data.expand @ weights, np.eye(data.labels)
    if data.labels > settings.linear_width:
        into, output, shift = narrowed(texts @ weights, settings.linear_width)
        table, bias = table @ into, bias + shift
    slopes = np.ones(table.shape[1], np.float32)
    fitted = FittedBag(data.vocabulary, table.astype(np.float32), output.astype(np.float32), bias.astype(np.float32), slopes)
    shown, figures = "", {}
    if len(data.validation_labels):
        right = fitted.logits(data.validation).argmax(axis=1) == data.validation_labels
        shown, figures = f"  validation accuracy {right.mean():.4f}", {"validation_accuracy": round(float(right.mean()), 6)}
    seconds = time.monotonic() - began
    say(counted(f"fitted{shown}  {seconds:.1f} s", "", "epoch", (1, 1), seconds, figures))
    return fitted


def _by_label(classifier: LinearSVC, labels: int) -> Float64s:
    """float64 [features, labels]."""
    weights = np.zeros((classifier.coef_.shape[1], labels))
    weights[:, classifier.classes_] = _two_sided(classifier.coef_).T
    return weights


def _two_sided(rows: Float64s) -> Float64s:
    """A row for each class: for two classes scikit-learn stores only that of the second."""
    return np.concatenate([-rows, rows]) if len(rows) == 1 else rows


def narrowed(margins: Float64s, width: int) -> tuple[Float64s, Float64s, Float64s]:
    """Matrices that keep most of a text's margins in `width` numbers: margins @ into @ output + shift is nearest to the margins.

    They are the principal components of each label's margins divided by the root of their standard deviation. With the margins as
    they are, rare labels, whose margins hardly vary, would be lost first; scaled to one deviation, frequent ones would be lost as soon.

    Args:
        margins: of the texts that the classifier is fitted to, without its intercepts, float64 [rows, labels].

    Returns:
        into: float64 [labels, width]; output: float64 [width, labels]; shift: float64 [labels].
    """
    mean = margins.mean(axis=0)
    scale = np.sqrt(np.maximum(margins.std(axis=0), SMALLEST_SPREAD))
    even = (margins - mean) / scale
    _, directions = np.linalg.eigh(even.T @ even)
    into, output = directions[:, -width:] / scale[:, None], directions[:, -width:].T * scale
    return into, output, mean - mean @ into @ output
