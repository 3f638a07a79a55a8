from __future__ import annotations

import csv
import io

import numpy as np
import pyarrow as pa
import pytest

from training.baselines import BASELINES, out_of_fold_probabilities, summary
from training.wrong_labels import as_csv, probably_wrong_labels

WORDS = {
    0: ["novel", "paperback", "author", "chapter"],
    1: ["kettle", "steel", "pan", "lid"],
    2: ["usb", "cable", "hdmi", "port"],
}


def texts_of(rows: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Texts of four words of their label and one of any."""
    random = np.random.default_rng(seed)
    labels = random.choice(3, rows, p=[0.5, 0.3, 0.2])
    every = [word for words in WORDS.values() for word in words]
    return [" ".join([*random.choice(WORDS[i], 4), random.choice(every)]) for i in labels], labels


def test_each_baseline_predicts_what_it_should() -> None:
    (texts, labels), (more, truth) = texts_of(300, 1), texts_of(90, 2)
    found = {name: fit(texts, labels)(more) for name, fit in BASELINES.items()}
    assert set(found["majority class"]) == {0}
    for name in ("TF-IDF + LinearSVC", "fastText"):
        assert summary(truth, found[name], "abc")["f1_weighted"] > 0.95, name
    again = BASELINES["fastText"](texts, labels)(more)
    np.testing.assert_array_equal(again, found["fastText"])


def test_the_figures_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import accuracy_score, f1_score

    random = np.random.default_rng(3)
    truth, predicted = random.integers(0, 3, 200), random.integers(-1, 3, 200)
    found = summary(truth, predicted, "abc")
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    assert found["f1_weighted"] == pytest.approx(f1_score(truth, predicted, average="weighted", labels=[0, 1, 2]))
    assert found["f1_macro"] == pytest.approx(f1_score(truth, predicted, average="macro", labels=[0, 1, 2]))


def test_wrong_labels_are_found_by_models_that_did_not_see_them() -> None:
    texts, labels = texts_of(400, 4)
    random = np.random.default_rng(5)
    wrong = random.choice(400, 20, replace=False)
    given = labels.copy()
    given[wrong] = (labels[wrong] + 1) % 3
    folds = random.integers(0, 4, 400)
    probabilities = out_of_fold_probabilities(texts, given, folds, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    found = probably_wrong_labels(pa.array(texts), given, "abc", probabilities)
    rows = {one.row for one in found}
    # cleanlab holds back: it names as many as it estimates to be wrong, the surest first.
    assert len(rows & set(wrong.tolist())) >= 14
    assert len(rows - set(wrong.tolist())) <= 5
    assert all("abc"[given[one.row]] == one.label and one.suggested != one.label for one in found)
    table = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert "text" not in table[0]
    assert table[0]["text_hash"] == found[0].text_hash
    with_texts = list(csv.DictReader(io.StringIO(as_csv(found, pa.array(texts)))))
    assert with_texts[0]["text"] == texts[found[0].row]


def test_a_label_missing_from_the_other_folds_gets_nothing() -> None:
    texts, labels = texts_of(90, 6)
    folds = np.where(labels == 2, 0, np.arange(90) % 2)
    probabilities = out_of_fold_probabilities(texts, labels, folds, 3)
    assert (probabilities[labels == 2, 2] == 0).all()


def test_labels_of_one_or_two_texts_do_not_stop_the_search_for_wrong_ones() -> None:
    texts, labels = texts_of(90, 7)
    texts, labels = [*texts, "lone word", "pair of words", "words in pair"], np.append(labels, [3, 4, 4])
    folds = np.arange(93) % 3
    probabilities = out_of_fold_probabilities(texts, labels, folds, 5)
    assert (probabilities[labels == 3, 3] == 0).all()
    found = probably_wrong_labels(pa.array(texts), labels, "abcde", probabilities)
    assert all(0 <= one.row < 93 for one in found)


def test_folds_that_leave_one_label() -> None:
    texts, labels = ["usb cable", "usb port", "a novel"], np.array([0, 0, 1])
    probabilities = out_of_fold_probabilities(texts, labels, np.array([0, 0, 1]), 2)
    assert probabilities.tolist() == [[0, 1], [0, 1], [1, 0]]
    for name, fit in BASELINES.items():
        assert fit(texts[:2], labels[:2])(["a usb novel"]).tolist() == [0], name
