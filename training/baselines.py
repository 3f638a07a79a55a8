"""What the LSTM has to beat: the majority class, TF-IDF with a linear SVM, and fastText, on the very same texts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fasttext
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline, make_union
from sklearn.svm import LinearSVC

from lib.model.arrays import Float32s, Int64s
from lib.model.metrics import classification_metrics, confusion_matrix
from lib.model.text import TextSettings, joined_tokens
from training.dataset import LabelledTexts
from training.few_texts import FEW_TEXTS
from training.split import Split

MAJORITY = "majority class"
WORDS = "TF-IDF + LinearSVC"
CHARACTERS = "TF-IDF of words and characters + LinearSVC"
Predictor = Callable[[Sequence[str]], Int64s]

# The settings of the library's tutorial on text classification after tuning (learning rate 0.5, pairs of words, 25 epochs); one
# thread, since with more its result changes from run to run, and fewer buckets, since 2,000,000 take 800 MB.
FASTTEXT = {"lr": 0.5, "epoch": 25, "wordNgrams": 2, "dim": 100, "bucket": 200_000, "thread": 1, "seed": 7, "verbose": 0}


def tfidf_pipeline(classifier: Any, texts: Sequence[str]) -> Pipeline:
    """TF-IDF of words before `classifier`; on long texts pairs of words made the linear models worse.

    Where texts are few a word counts that occurs in one of them, as it does for the model that is compared with it.

    Args:
        texts: those that it will be fitted to.
    """
    return make_pipeline(_words(min_df=1 if len(texts) < FEW_TEXTS else _fewest_texts(texts)), classifier)


def words_and_characters(texts: Sequence[str]) -> FeatureUnion:
    """TF-IDF of words and pairs of words along with that of two to five characters within words: the best on short texts.

    Args:
        texts: those that it will be fitted to.
    """
    characters = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=_fewest_texts(texts), lowercase=False
    )
    return make_union(_words(min_df=1, ngram_range=(1, 2)), characters)


def _words(**settings: Any) -> TfidfVectorizer:
    # Tokens are separated by blanks already; scikit-learn's own pattern would drop single letters and digits.
    return TfidfVectorizer(sublinear_tf=True, token_pattern=r"\S+", lowercase=False, **settings)


def _fewest_texts(texts: Sequence[str]) -> int:
    """The number of texts that a word has to occur in to count: two, or one if no word occurs in two."""
    seen: set[str] = set()
    for text in texts:
        words = set(text.split())
        if not seen.isdisjoint(words):
            return 2
        seen |= words
    return 1


def majority(texts: Sequence[str], label_ids: Int64s) -> Predictor:
    most_frequent = int(np.bincount(label_ids).argmax())
    return lambda more: np.full(len(more), most_frequent, dtype=np.int64)


def tfidf_linear_svc(texts: Sequence[str], label_ids: Int64s) -> Predictor:
    return fitted_pipeline(tfidf_pipeline(LinearSVC(C=0.5), texts), texts, label_ids)


def words_and_characters_linear_svc(texts: Sequence[str], label_ids: Int64s) -> Predictor:
    return fitted_pipeline(make_pipeline(words_and_characters(texts), LinearSVC(C=0.5)), texts, label_ids)


def fitted_pipeline(pipeline: Pipeline, texts: Sequence[str], label_ids: Int64s) -> Predictor:
    """`pipeline` fitted to the texts; or the only label, if there is just one."""
    if len(np.unique(label_ids)) < 2:
        return majority(texts, label_ids)
    fitted = pipeline.fit(texts, label_ids)
    return lambda more: np.asarray(fitted.predict(more), dtype=np.int64)


def fast_text(texts: Sequence[str], label_ids: Int64s, loss: str = "softmax") -> Predictor:
    """loss: one of fastText's, such as `hs`, a softmax over a binary tree of the labels, for many of them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.txt"
        lines = (f"__label__{label} {text}\n" for label, text in zip(label_ids, texts, strict=True))
        path.write_text("".join(lines), encoding="utf-8")
        model = fasttext.train_supervised(str(path), **FASTTEXT, loss=loss)

    def predict(more: Sequence[str]) -> Int64s:
        found, _ = model.predict(list(more))
        return np.array([int(one[0].removeprefix("__label__")) if one else -1 for one in found], dtype=np.int64)

    return predict


@dataclass(frozen=True)
class Cost:
    """About how many seconds a fit takes on one core: for a million characters, and for a million characters times labels.

    Fitted to the times in docs/benchmarks/suite.md: mostly within a factor of two, too high for long texts with hundreds of labels.
    """

    characters: float
    cells: float

    def seconds(self, characters: int, labels: int) -> float:
        return (self.characters + self.cells * labels) * characters / 1e6


@dataclass(frozen=True)
class Baseline:
    """A model to compare with. features: how many a text has for each of its characters, each of which takes scikit-learn some 40 bytes."""

    fit: Callable[[Sequence[str], Int64s], Predictor]
    cost: Cost
    features: float = 0.0


BASELINES: Mapping[str, Baseline] = {
    MAJORITY: Baseline(majority, Cost(0, 0)),
    WORDS: Baseline(tfidf_linear_svc, Cost(0.1, 0.01), 0.15),
    CHARACTERS: Baseline(words_and_characters_linear_svc, Cost(2.5, 0.07), 3.1),
    "fastText": Baseline(fast_text, Cost(1.5, 0.04)),
}
# The cost of one fold of `out_of_fold_probabilities`.
OUT_OF_FOLD = Cost(0.3, 0.05)
# A fit that would take longer, or more memory, is left out: one more model to compare with is not worth it.
MOST_SECONDS = 180
MOST_FEATURES = 1e8
GB_PER_FEATURE = 40e-9


def reason_to_leave_out(name: str, characters: int, labels: int) -> str:
    """Why the fit of a baseline would not be worth it, as a clause; empty if it is."""
    baseline = BASELINES[name]
    features = baseline.features * characters
    if reason := too_long(baseline.cost.seconds(characters, labels), characters, labels):
        return reason
    if features <= MOST_FEATURES:
        return ""
    return (
        f"{_would_take(characters, labels)} {features * GB_PER_FEATURE:,.0f} GB, more than the {MOST_FEATURES * GB_PER_FEATURE:.0f} that are "
        "spent on it"
    )


def too_long(seconds: float, characters: int, labels: int) -> str:
    """Why a fit that takes so long would not be worth it, as a clause; empty if it is."""
    if seconds <= MOST_SECONDS:
        return ""
    return f"{_would_take(characters, labels)} {seconds / 60:,.0f} minutes, more than the {MOST_SECONDS / 60:.0f} that are spent on it"


def _would_take(characters: int, labels: int) -> str:
    return f"{characters / 1e6:,.1f} million characters of {labels:,} labels would take about"


def characters_of(data: LabelledTexts) -> int:
    return int(pc.sum(pc.utf8_length(data.texts)).as_py() or 0)


def fitted_baselines(
    data: LabelledTexts,
    sides: Split,
    settings: TextSettings,
    names: Sequence[str] = tuple(BASELINES),
    say: Callable[[str], None] = print,
) -> dict[str, Predictor]:
    """Each baseline of `names` fitted on the train and the validation side together, since it needs no validation.

    They take texts as tokens joined by blanks (training.dataset.joined_tokens). One that fails is left out, with a message: the
    network, which took longer to fit, is not lost with it.
    """
    if not names:
        return {}
    rows = np.concatenate([sides.train, sides.validation])
    texts = joined_tokens(data.texts.take(pa.array(rows)), settings).to_pylist()
    fitted = {}
    for name in names:
        try:
            fitted[name] = BASELINES[name].fit(texts, data.label_ids[rows])
        except Exception as error:
            say(f"{name} is left out of the comparison: its fit failed ({type(error).__name__}: {error}).")
    return fitted


def logistic_regression() -> LogisticRegression:
    return LogisticRegression(C=20, max_iter=300)


def summary(truth: Int64s, predicted: Int64s, labels: Sequence[str]) -> dict[str, float]:
    """Accuracy and F1 of one prediction; -1 is no category."""
    matrix = confusion_matrix(truth, np.where(predicted < 0, len(labels), predicted), len(labels))
    return headline(classification_metrics(matrix, labels))


def headline(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The figures of lib.model.metrics.classification_metrics that one line of a comparison shows."""
    return {name: metrics[name] for name in ("accuracy", "f1_weighted", "f1_macro")}


def out_of_fold_probabilities(texts: Sequence[str], label_ids: Int64s, fold_of: Int64s, labels: int) -> Float32s:
    """The probabilities of each text from TF-IDF with logistic regression, fitted on the other folds: float32 [rows, labels].

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
        outside = every[~inside]
        fitted = tfidf_pipeline(logistic_regression(), outside).fit(outside, label_ids[~inside])
        rows = np.flatnonzero(inside)
        probabilities[np.ix_(rows, fitted.classes_)] = fitted.predict_proba(every[inside])
    return probabilities
