"""What the LSTM has to beat: the majority class, TF-IDF with a linear SVM, and fastText, on the very same texts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import fasttext
import numpy as np
import pyarrow as pa
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import LinearSVC

from lib.arrays import Float32s, Int64s
from lib.metrics import classification_metrics, confusion_matrix
from lib.text import TextSettings
from training.dataset import LabelledTexts, joined_tokens
from training.split import Split

MAJORITY = "majority class"
Predictor = Callable[[Sequence[str]], Int64s]

# Linear models are fitted once for each label: more than this many rows times labels would take longer than the LSTM.
MAX_CELLS = 1_000_000
# As the library's tutorial on text classification has it after tuning (learning rate 0.5, pairs of words, 25 epochs); one
# thread, since with more its result changes from run to run, and fewer buckets, since 2,000,000 take 800 MB.
FASTTEXT = {"lr": 0.5, "epoch": 25, "wordNgrams": 2, "dim": 100, "bucket": 200_000, "thread": 1, "seed": 7, "verbose": 0}


def tfidf_pipeline(classifier: Any) -> Pipeline:
    """TF-IDF of words before `classifier`; on the texts here, pairs of words made the linear models worse."""
    # Tokens are parted by blanks already; scikit-learn's own pattern would drop single letters and digits.
    words = TfidfVectorizer(sublinear_tf=True, min_df=2, token_pattern=r"\S+", lowercase=False)
    return make_pipeline(words, classifier)


def majority(texts: Sequence[str], label_ids: Int64s) -> Predictor:
    most_frequent = int(np.bincount(label_ids).argmax())
    return lambda more: np.full(len(more), most_frequent, dtype=np.int64)


def tfidf_linear_svc(texts: Sequence[str], label_ids: Int64s) -> Predictor:
    if len(np.unique(label_ids)) < 2:
        return majority(texts, label_ids)
    fitted = tfidf_pipeline(LinearSVC(C=0.5)).fit(texts, label_ids)
    return lambda more: np.asarray(fitted.predict(more), dtype=np.int64)


def fast_text(texts: Sequence[str], label_ids: Int64s) -> Predictor:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.txt"
        lines = (f"__label__{label} {text}\n" for label, text in zip(label_ids, texts, strict=True))
        path.write_text("".join(lines), encoding="utf-8")
        model = fasttext.train_supervised(str(path), **FASTTEXT)

    def predict(more: Sequence[str]) -> Int64s:
        found, _ = model.predict(list(more))
        return np.array([int(one[0].removeprefix("__label__")) if one else -1 for one in found], dtype=np.int64)

    return predict


BASELINES: Mapping[str, Callable[[Sequence[str], Int64s], Predictor]] = {
    MAJORITY: majority,
    "TF-IDF + LinearSVC": tfidf_linear_svc,
    "fastText": fast_text,
}


def fitted_baselines(data: LabelledTexts, sides: Split, settings: TextSettings) -> dict[str, Predictor]:
    """Each baseline fitted on the train and the validation side together, since it needs no validation.

    They take texts as tokens joined by blanks (training.dataset.joined_tokens).
    """
    rows = np.concatenate([sides.train, sides.validation])
    texts = joined_tokens(data.texts.take(pa.array(rows)), settings).to_pylist()
    return {name: fit(texts, data.label_ids[rows]) for name, fit in BASELINES.items()}


def summary(truth: Int64s, predicted: Int64s, labels: Sequence[str]) -> dict[str, float]:
    """Accuracy and F1 of one prediction; -1 is no category."""
    matrix = confusion_matrix(truth, np.where(predicted < 0, len(labels), predicted), len(labels))
    return headline(classification_metrics(matrix, labels))


def headline(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Of lib.metrics.classification_metrics, what one line of a comparison shows."""
    return {name: metrics[name] for name in ("accuracy", "f1_weighted", "f1_macro")}


def out_of_fold_probabilities(texts: Sequence[str], label_ids: Int64s, fold_of: Int64s, labels: int) -> Float32s:
    """What TF-IDF with logistic regression thinks of each text, fitted on the other folds: float32 [rows, labels].

    A label missing from those folds gets 0.
    """
    every = np.array(texts, dtype=object)
    probabilities = np.zeros((len(texts), labels), dtype=np.float32)
    for fold in np.unique(fold_of):
        inside = fold_of == fold
        known = np.unique(label_ids[~inside])
        if len(known) < 2:
            probabilities[np.ix_(inside, known)] = 1
            continue
        fitted = tfidf_pipeline(LogisticRegression(C=20, max_iter=300)).fit(every[~inside], label_ids[~inside])
        rows = np.flatnonzero(inside)
        probabilities[np.ix_(rows, fitted.classes_)] = fitted.predict_proba(every[inside])
    return probabilities
