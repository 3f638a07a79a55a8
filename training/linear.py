"""A linear classifier on the features of the bag: alongside the bag's network it learns what few texts show, and it is quick to fit."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from lib.model.arrays import Float32s, Float64s
from training.bag import BagData, FittedBag, matrix_of
from training.baselines import MOST_FEATURES
from training.progress import counted
from training.recipe import BagSettings

# A text has about this many features for each of its characters: words, pairs of words and subwords, and without subwords.
FEATURES_PER_CHARACTER, WORDS_PER_CHARACTER = 2, 0.25
# Features of all texts times labels that a classifier per label takes some 25 minutes for; the LSTM takes hours where there are as many.
MOST_CELLS = 3e10
# Weights, one per distinct feature and label, of 4 bytes.
MOST_WEIGHTS = 1e9
# Labels whose weights scikit-learn holds at once, in 8 bytes.
LABELS_AT_ONCE = 512
TEXTS_AT_ONCE = 20_000
# The margin of a label without texts: that of a sure no.
NO_MARGIN = -1.0
# What all other labels are called while some are told from them.
OTHERS = -1
# The least deviation of a label's margins: those of a label without texts do not vary at all.
SMALLEST_SPREAD = 1e-6


def with_linear_that_fits(characters: int, labels: int, settings: BagSettings, vocabulary: int) -> BagSettings:
    """The settings with the linear classifier that takes no longer than the other fits, and not more memory than there may be: on all
    features, without subwords, or none.

    Args:
        characters: those of all texts that are read; vocabulary: the most words there may be.
    """
    words = vocabulary + settings.pairs
    for changed, each, distinct in (
        (settings, FEATURES_PER_CHARACTER, words + settings.subwords),
        (replace(settings, linear_subwords=False), WORDS_PER_CHARACTER, words),
    ):
        features = each * characters
        weights = min(distinct, features) * labels
        if features <= MOST_FEATURES and features * labels <= MOST_CELLS and weights <= MOST_WEIGHTS:
            return changed
    return replace(settings, linear=False)


def fit_linear(data: BagData, settings: BagSettings, seed: int, say: Callable[[str], None]) -> FittedBag:
    """A support vector classifier for each label against the others, as a bag whose hidden layer has no ReLU.

    For more labels than `settings.linear_width` the weights are stored as a product of two narrower matrices.
    """
    began = time.monotonic()
    expand = data.expand if settings.linear_subwords else data.expand[:, : data.vocabulary.first_subword]
    texts = matrix_of(data.train, data.vocabulary.size) @ expand
    weights, bias = _margins(texts, data, settings, seed)
    if data.labels > settings.linear_width:
        into, output, shift = narrowed(texts, weights, settings.linear_width)
        table, bias = expand @ (weights @ into), bias + shift
    else:
        table, output = expand @ weights, np.eye(data.labels)
    slopes = np.ones(table.shape[1], np.float32)
    fitted = FittedBag(data.vocabulary, table.astype(np.float32), output.astype(np.float32), bias.astype(np.float32), slopes)
    shown, figures = "", {}
    if len(data.validation_labels):
        right = fitted.logits(data.validation).argmax(axis=1) == data.validation_labels
        shown, figures = f"  validation accuracy {right.mean():.4f}", {"validation_accuracy": round(float(right.mean()), 6)}
    seconds = time.monotonic() - began
    say(counted(f"fitted{shown}  {seconds:.1f} s", "", "epoch", (1, 1), seconds, figures))
    return fitted


def _margins(texts: csr_matrix, data: BagData, settings: BagSettings, seed: int) -> tuple[Float32s, Float64s]:
    """The weights of each label's margin, float32 [features, labels], and its intercept, float64 [labels]."""
    weights, bias = np.zeros((texts.shape[1], data.labels), np.float32), np.full(data.labels, NO_MARGIN)
    present = np.unique(data.train_labels)
    if len(present) < 2:
        # A small side may have texts of one label alone: the margins are those without any feature.
        bias[present] = -NO_MARGIN
        return weights, bias
    for some in np.array_split(present, math.ceil(len(present) / LABELS_AT_ONCE)):
        # Each is told from all others, so the rest may go by one name.
        label_ids = np.where(np.isin(data.train_labels, some), data.train_labels, OTHERS)
        classifier = LinearSVC(C=settings.linear_c, random_state=seed)
        with warnings.catch_warnings():
            # A fit that is not quite at the optimum after a thousand passes classifies no worse.
            warnings.simplefilter("ignore", ConvergenceWarning)
            classifier.fit(texts, label_ids)
        ours = classifier.classes_ != OTHERS
        weights[:, some] = _two_sided(classifier.coef_)[ours].T
        bias[some] = _two_sided(classifier.intercept_[:, None])[ours, 0]
    return weights, bias


def _two_sided(rows: Float64s) -> Float64s:
    """A row for each class: for two classes scikit-learn stores only that of the second."""
    return np.concatenate([-rows, rows]) if len(rows) == 1 else rows


def narrowed(texts: csr_matrix, weights: Float32s, width: int) -> tuple[Float64s, Float64s, Float64s]:
    """Matrices that keep most of a text's margins in `width` numbers: margins @ into @ output + shift is nearest to the margins.

    They are the principal components of each label's margins divided by the root of their standard deviation. With the margins as
    they are, rare labels, whose margins hardly vary, would be lost first; scaled to one deviation, frequent ones would be lost as soon.

    Args:
        texts: those that the classifier is fitted to, [rows, features]; weights: float32 [features, labels]. Their product is the margins,
            without the intercepts.

    Returns:
        into: float64 [labels, width]; output: float64 [width, labels]; shift: float64 [labels].
    """
    rows, labels = texts.shape[0], weights.shape[1]
    total, products = np.zeros(labels), np.zeros((labels, labels))
    for start in range(0, rows, TEXTS_AT_ONCE):
        margins = (texts[start : start + TEXTS_AT_ONCE] @ weights).astype(np.float64)
        total += margins.sum(axis=0)
        products += margins.T @ margins
    mean = total / rows
    covariance = products / rows - np.outer(mean, mean)
    scale = np.sqrt(np.maximum(np.sqrt(np.maximum(np.diag(covariance), 0)), SMALLEST_SPREAD))
    _, directions = np.linalg.eigh(covariance / np.outer(scale, scale))
    into, output = directions[:, -width:] / scale[:, None], directions[:, -width:].T * scale
    return into, output, mean - mean @ into @ output
