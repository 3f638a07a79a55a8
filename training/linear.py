"""A linear classifier on the features of the bag: alongside the bag's network it learns what few texts show, and it is quick to fit."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from lib.model.arrays import Float64s
from training.bag import BagData, FittedBag, matrix_of
from training.progress import counted
from training.recipe import BagSettings

# A text has about two features for each of its characters. Beyond this many times labels, one classifier per label takes minutes.
MOST_CELLS = 3e9
# Scikit-learn takes some 40 bytes for each feature of each text, twice where two fits run at once.
MOST_FEATURES = 1e8
FEATURES_PER_CHARACTER = 2
# The margin of a label without texts: that of a sure no.
NO_MARGIN = -1.0
# The least deviation of a label's margins: those of a label without texts do not vary at all.
SMALLEST_SPREAD = 1e-6


def worth_fitting(characters: int, labels: int) -> bool:
    """Whether a linear classifier takes no longer than the other fits, and not more memory than there may be.

    Args:
        characters: those of all texts that are read.
    """
    features = FEATURES_PER_CHARACTER * characters
    return features <= MOST_FEATURES and features * labels <= MOST_CELLS


def fit_linear(data: BagData, settings: BagSettings, seed: int, say: Callable[[str], None]) -> FittedBag:
    """A support vector classifier for each label against the others, as a bag whose hidden layer has no ReLU.

    For more labels than `settings.linear_width` the weights are stored as a product of two narrower matrices.
    """
    began = time.monotonic()
    texts = matrix_of(data.train, data.vocabulary.size) @ data.expand
    weights, bias = _margins(texts, data, settings, seed)
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


def _margins(texts: csr_matrix, data: BagData, settings: BagSettings, seed: int) -> tuple[Float64s, Float64s]:
    """The weights of each label's margin, float64 [features, labels], and its intercept, float64 [labels]."""
    weights, bias = np.zeros((texts.shape[1], data.labels)), np.full(data.labels, NO_MARGIN)
    present = np.unique(data.train_labels)
    if len(present) < 2:
        # A small side may have texts of one label alone: the margins are those without any feature.
        bias[present] = -NO_MARGIN
        return weights, bias
    classifier = LinearSVC(C=settings.linear_c, random_state=seed)
    with warnings.catch_warnings():
        # A fit that is not quite at the optimum after a thousand passes classifies no worse.
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(texts, data.train_labels)
    weights[:, classifier.classes_] = _two_sided(classifier.coef_).T
    bias[classifier.classes_] = _two_sided(classifier.intercept_[:, None])[:, 0]
    return weights, bias


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
