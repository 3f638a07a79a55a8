from __future__ import annotations

import csv
import hashlib
import io
from typing import cast

import numpy as np
import pyarrow as pa
import pytest
from sklearn.svm import LinearSVC

from lib.model.text import TextSettings
from training.baselines import (
    BASELINES,
    CHARACTERS,
    WORDS,
    Baseline,
    Cost,
    Predictor,
    fitted_baselines,
    out_of_fold_probabilities,
    reason_to_leave_out,
    summary,
    tfidf_pipeline,
)
from training.comparison import Compared, better_text, interval_text
from training.conflicts import Conflict
from training.few_texts import FEW_TEXTS
from training.split import Split
from training.wrong_labels import as_csv, in_several_folds, probably_wrong_labels

WORDS_OF_LABEL = {
    0: ["novel", "paperback", "author", "chapter"],
    1: ["kettle", "steel", "pan", "lid"],
    2: ["usb", "cable", "hdmi", "port"],
}


def texts_of(rows: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Texts of four words of their label and one of any."""
    random = np.random.default_rng(seed)
    labels = random.choice(3, rows, p=[0.5, 0.3, 0.2])
    every = [word for words in WORDS_OF_LABEL.values() for word in words]
    return [" ".join([*random.choice(WORDS_OF_LABEL[i], 4), random.choice(every)]) for i in labels], labels


def test_each_baseline_predicts_what_it_should() -> None:
    (texts, labels), (more, truth) = texts_of(300, 1), texts_of(90, 2)
    found = {name: baseline.fit(texts, labels)(more) for name, baseline in BASELINES.items()}
    assert set(found["majority class"]) == {0}
    for name in (WORDS, CHARACTERS, "fastText"):
        assert summary(truth, found[name], "abc")["f1_weighted"] > 0.95, name
    again = BASELINES["fastText"].fit(texts, labels)(more)
    np.testing.assert_array_equal(again, found["fastText"])


def test_parts_of_words_tell_what_whole_words_do_not() -> None:
    texts = ["steelkettle", "ironkettle", "usbcable", "hdmicable"] * 2
    labels = np.array([0, 0, 1, 1] * 2)
    more = ["copperkettle", "kettles", "cables", "fiberoptic cable"]
    assert BASELINES[CHARACTERS].fit(texts, labels)(more).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("texts", [["kettle pan", "usb cable", "lid steel", "port hdmi"], ["a", "b", "c", "d"]])
def test_texts_of_which_no_two_share_a_word(texts: list[str]) -> None:
    labels = np.array([0, 1, 0, 1])
    for name, baseline in BASELINES.items():
        if name != "majority class":
            assert set(baseline.fit(texts, labels)(texts)) <= {0, 1}, name
    assert BASELINES[WORDS].fit(texts, labels)(texts).tolist() == labels.tolist()
    assert out_of_fold_probabilities(texts, labels, np.array([0, 0, 1, 1]), 2).shape == (4, 2)


def test_where_texts_are_few_a_word_counts_from_its_first_text_on() -> None:
    """As it does for the model that is compared with them, and for the one that doubts labels."""
    texts = [f"{label} {word}" for label, word in (("steel", "kettle"), ("steel", "pan"), ("usb", "cable"), ("usb", "port"))]
    labels = np.array([0, 0, 1, 1])
    assert BASELINES[WORDS].fit(texts, labels)(["a kettle", "cable", "port", "pan"]).tolist() == [0, 1, 1, 0]
    doubted = out_of_fold_probabilities([*texts, "pan", "port"], np.array([0, 0, 1, 1, 0, 1]), np.array([0, 0, 0, 0, 1, 1]), 2)
    assert doubted[4, 0] > 0.5 < doubted[5, 1]
    many = texts * (FEW_TEXTS // len(texts)) + ["kettles"]
    words = tfidf_pipeline(LinearSVC(), many)[0]
    assert "kettles" not in words.fit(many).vocabulary_
    assert "kettles" in tfidf_pipeline(LinearSVC(), many[-9:])[0].fit(many[-9:]).vocabulary_


def test_none_of_the_baselines_is_fitted_without_being_asked_for(sample_data) -> None:
    sides = Split(np.arange(20), np.arange(20, 30), np.arange(30, 40))
    assert fitted_baselines(sample_data, sides, TextSettings(), []) == {}
    assert list(fitted_baselines(sample_data, sides, TextSettings(), [WORDS])) == [WORDS]


def test_one_that_fails_is_left_out(sample_data, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its fit comes after those of the network, which are not lost with it."""

    def fails(texts: list[str], label_ids: np.ndarray) -> Predictor:
        raise RuntimeError("Encountered NaN.")

    monkeypatch.setitem(cast("dict[str, Baseline]", BASELINES), "fastText", Baseline(fails, Cost(0, 0)))
    sides, said = Split(np.arange(20), np.arange(20, 30), np.arange(30, 40)), []
    assert list(fitted_baselines(sample_data, sides, TextSettings(), ["fastText", WORDS], said.append)) == [WORDS]
    assert said == ["fastText is left out of the comparison: its fit failed (RuntimeError: Encountered NaN.)."]


def test_the_cost_grows_with_characters_and_labels() -> None:
    cost = Cost(characters=2.0, cells=0.5)
    assert cost.seconds(3_000_000, 10) == pytest.approx(3 * (2 + 5))
    # A small shop is never refused; a million texts of a thousand labels are, but for the majority class.
    assert all(baseline.cost.seconds(5_000_000, 50) < 60 for baseline in BASELINES.values())
    assert BASELINES[CHARACTERS].cost.seconds(100_000_000, 1_000) > 3600


def test_what_takes_too_long_or_too_much_memory_is_left_out_for_a_reason() -> None:
    assert all(not reason_to_leave_out(name, 5_000_000, 50) for name in BASELINES)
    assert "about 168 minutes, more than the 3 that" in reason_to_leave_out(CHARACTERS, 100_000_000, 1_400)
    assert reason_to_leave_out(CHARACTERS, 40_000_000, 2) == (
        "40.0 million characters of 2 labels would take about 5 GB, more than the 4 that are spent on it"
    )
    assert not reason_to_leave_out(WORDS, 40_000_000, 2)


def compared(truth: np.ndarray, ours: np.ndarray, theirs: np.ndarray, groups: np.ndarray | None = None) -> Compared:
    alone = np.arange(len(truth)) if groups is None else groups
    others = {"majority class": truth, WORDS: theirs, CHARACTERS: ours}
    return Compared(truth, alone, "abc", ours, others, "test side")


def wrong_on(truth: np.ndarray, rows: range) -> np.ndarray:
    predicted = truth.copy()
    predicted[list(rows)] = (truth[list(rows)] + 1) % 3
    return predicted


def test_a_baseline_that_is_better_by_more_than_chance_is_named() -> None:
    truth = np.random.default_rng(8).integers(0, 3, 400)
    far_worse, worse = wrong_on(truth, range(40)), wrong_on(truth, range(10, 40))
    found = compared(truth, far_worse, worse).better_baselines()
    assert [row["model"] for row in found] == [WORDS]
    row = found[0]
    assert row["lstm_f1_weighted"] == summary(truth, far_worse, "abc")["f1_weighted"]
    assert row["f1_weighted"] == summary(truth, worse, "abc")["f1_weighted"]
    assert 0 < row["low"] < row["f1_weighted"] - row["lstm_f1_weighted"] < row["high"]
    said = better_text(found)
    assert said.startswith(f"{WORDS} is better than the LSTM on the test side by more than chance: weighted F1 0.9")
    assert better_text([]) == ""


def test_a_baseline_that_is_ahead_by_chance_worse_or_level_is_not_named() -> None:
    truth = np.random.default_rng(9).integers(0, 3, 400)
    assert compared(truth, wrong_on(truth, range(20)), wrong_on(truth, range(17, 37))).better_baselines() == []
    assert compared(truth, wrong_on(truth, range(3)), truth).better_baselines() == []
    assert compared(truth, truth, wrong_on(truth, range(40))).better_baselines() == []


def test_few_texts_say_little_even_if_none_is_wrong() -> None:
    truth = np.arange(15) % 3
    low, high = compared(truth, truth, truth).interval()
    assert (round(low, 2), high) == (0.78, 1.0)
    # Copies of a text say no more than one of them.
    assert compared(truth, truth, truth, np.arange(15) // 3).interval()[0] < 0.5
    many = np.arange(3000) % 3
    low, high = compared(many, wrong_on(many, range(150)), many).interval()
    assert 0.94 < low < 0.95 < high < 0.96


def test_the_interval_contains_the_truth_as_often_as_it_says() -> None:
    random, texts = np.random.default_rng(11), 45
    truth = np.arange(texts) % 3
    intervals = [
        compared(truth, np.where(random.random(texts) < 0.05, (truth + 1) % 3, truth), truth).interval() for _ in range(60)
    ]
    assert sum(low <= 0.95 <= high for low, high in intervals) >= 57


def test_near_duplicates_count_as_one() -> None:
    """Thirty errors more in thirty texts are no chance; in two groups of fifteen copies they may be."""
    truth = np.random.default_rng(10).integers(0, 3, 400)
    groups = np.arange(400)
    groups[:15], groups[15:30] = 0, 15
    ours = wrong_on(truth, range(30))
    assert compared(truth, ours, truth).better_baselines()
    assert compared(truth, ours, truth, groups).better_baselines() == []


def test_the_weighted_f1_lies_in_its_interval() -> None:
    truth = np.random.default_rng(12).integers(0, 3, 400)
    ours = wrong_on(truth, range(40))
    low, high = compared(truth, ours, truth).interval()
    # An accuracy of 0.9 of 400 texts has a standard error of 0.015.
    assert low < summary(truth, ours, "abc")["f1_weighted"] < high
    assert high - low == pytest.approx(4 * 0.015, rel=0.15)
    # Copies are drawn together, so forty errors in four groups say less.
    groups = np.arange(400)
    groups[:40] = groups[:40] // 10 * 10
    wide = compared(truth, ours, truth, groups).interval()
    assert wide[1] - wide[0] > 2 * (high - low)
    assert interval_text({"f1_weighted_interval": [0.91, 0.95]}).startswith("0.9100 to 0.9500 at a confidence level of 95%")


def test_a_text_without_a_category_is_a_miss() -> None:
    truth = np.random.default_rng(11).integers(0, 3, 200)
    ours = np.where(np.arange(200) < 30, -1, truth)
    found = compared(truth, ours, truth).better_baselines()
    assert found[0]["lstm_f1_weighted"] == summary(truth, ours, "abc")["f1_weighted"] < 1


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
    # cleanlab is careful: it names as many as it estimates to be wrong, the surest first.
    assert len(rows & set(wrong.tolist())) >= 14
    assert len(rows - set(wrong.tolist())) <= 5
    assert all("abc"[given[one.row]] == one.label and one.suggested != one.label for one in found)
    table = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert "text" not in table[0]
    assert table[0]["text_hash"] == found[0].text_hash
    with_texts = list(csv.DictReader(io.StringIO(as_csv(found, pa.array(texts)))))
    assert with_texts[0]["text"] == texts[found[0].row]
    # What copies contradict is surer than what a model doubts.
    tie, slip = Conflict("kettle", "a", "b", 0.5, 0.5), Conflict("pan", "c", "b", 0.01, 0.99)
    first, second, third, *_ = csv.DictReader(io.StringIO(as_csv(found, pa.array(texts), [tie, slip])))
    assert (first["text"], first["label"], first["suggested"], first["suggested_probability"]) == ("pan", "c", "b", "0.99")
    assert first["text_hash"] == hashlib.sha256(b"pan").hexdigest()
    assert (second["text"], third) == ("kettle", with_texts[0])
    assert len(as_csv([], None, [slip]).splitlines()) == 2


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
    for name, baseline in BASELINES.items():
        assert baseline.fit(texts[:2], labels[:2])(["a usb novel"]).tolist() == [0], name


def test_labels_that_no_model_knew_are_not_doubted() -> None:
    """Three texts of one fold: the model that judges them has never seen their label."""
    random = np.random.default_rng(5)
    ids = np.concatenate([np.repeat([0, 1], 60), [2, 2, 2]])
    folds = np.concatenate([np.arange(120) % 3, [1, 1, 1]])
    examined = in_several_folds(ids, folds, 3)
    assert examined.tolist() == [True, True, False]
    given = np.where(ids == 2, 0, ids)
    probabilities = np.full((123, 3), 0.0, np.float32)
    probabilities[np.arange(123), given] = 0.9 + random.random(123) * 0.05
    probabilities[np.arange(123), 1 - given] = 1 - probabilities[np.arange(123), given]
    # One that is wrong, in a label that is examined.
    probabilities[7] = [0.01, 0.99, 0]
    texts = pa.array([f"text {i}" for i in range(123)])
    assert {one.row for one in probably_wrong_labels(texts, ids, "abc", probabilities)} & {120, 121, 122}
    found = probably_wrong_labels(texts, ids, "abc", probabilities, examined)
    assert [(one.row, one.label, one.suggested) for one in found] == [(7, "a", "b")]
    assert probably_wrong_labels(texts, ids, "abc", probabilities, np.array([True, False, False])) == []
