"""The promise of a precision, on simulated validation sides whose true precision is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
import pytest

from lib.model.bundle import load_bundle
from tests.recipes import tiny_place, tiny_recipe
from training.calibration import review_thresholds, threshold_for_precision
from training.promise import GRID, Promise, fewest_rows, lower_bound, promise_text, promised_threshold
from training.recipe import ReviewSettings
from training.training import train

TARGET, LEVEL, SIDES = 0.95, 0.9, 1000
# How often a row of this confidence is right: as it says; less often than it says; at any confidence just not often enough.
ACCURACIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "calibrated": lambda confidence: confidence,
    "overconfident": lambda confidence: 1 / (1 + (1 / confidence - 1) ** 0.75),
    "just below the target": lambda confidence: np.full(len(confidence), TARGET - 0.001),
}


def confidences(random: np.random.Generator, rows: int) -> np.ndarray:
    return (1 / (1 + np.exp(-np.abs(random.normal(3.5, 2, rows))))).astype(np.float32)


def true_precisions(accuracy: Callable[[np.ndarray], np.ndarray]) -> Callable[[float], float]:
    """Precision above a threshold, over enough rows to be as good as the truth."""
    confidence = np.sort(confidences(np.random.default_rng(0), 1_000_000))[::-1]
    means = np.cumsum(accuracy(confidence).astype(float)) / np.arange(1, len(confidence) + 1)
    return lambda threshold: float(means[max(int((confidence >= threshold).sum()) - 1, 0)])


@pytest.mark.parametrize("rows", [100, 1500])
@pytest.mark.parametrize("kind", ACCURACIES)
def test_a_promise_holds_as_often_as_its_level_says(kind: str, rows: int) -> None:
    random, accuracy = np.random.default_rng(5), ACCURACIES[kind]
    precision = true_precisions(accuracy)
    by_grid = {float(threshold): precision(threshold) for threshold in GRID}
    broken = kept = 0
    for _ in range(SIDES):
        confidence = confidences(random, rows)
        correct = random.random(rows) < accuracy(confidence)
        found = promised_threshold(confidence, correct, "a", TARGET, LEVEL)
        kept += found.is_kept
        broken += found.is_kept and by_grid[found.confidence] < TARGET
    # Three standard errors of that many simulations.
    assert broken / SIDES <= 1 - LEVEL + 3 * np.sqrt(LEVEL * (1 - LEVEL) / SIDES)
    if kind == "calibrated" and rows == 1500:
        assert kept == SIDES


@pytest.mark.parametrize("kind", ["calibrated", "overconfident"])
def test_a_point_estimate_breaks_half_of_its_promises(kind: str) -> None:
    random, accuracy = np.random.default_rng(5), ACCURACIES[kind]
    precision, broken = true_precisions(accuracy), 0
    for _ in range(200):
        confidence = confidences(random, 1500)
        found = threshold_for_precision(confidence, random.random(1500) < accuracy(confidence), TARGET)
        broken += precision(found.confidence) < TARGET
    assert broken / 200 > 0.35


def test_the_price_of_a_promise_is_small_where_there_are_many_texts() -> None:
    random = np.random.default_rng(6)
    confidence = confidences(random, 20_000)
    correct = random.random(20_000) < confidence
    found = promised_threshold(confidence, correct, "a", TARGET, 0.95)
    possible = threshold_for_precision(confidence, correct, TARGET)
    assert found.is_kept
    assert found.texts / 20_000 > possible.share - 0.05
    assert found.texts == (confidence >= np.float32(found.confidence)).sum()
    assert found.errors == (~correct[confidence >= np.float32(found.confidence)]).sum()


def test_lower_bounds() -> None:
    # The rule of three: without an error among n rows, about 3 / n may be wrong.
    assert lower_bound(300, 0, 0.95) == pytest.approx(1 - 3 / 300, abs=1e-4)
    # Clopper and Pearson: with this share of right ones, this many or more are seen in 5 % of the samples.
    from scipy.stats import binom

    share = float(lower_bound(200, 7, 0.95))
    assert binom.sf(192, 200, share) == pytest.approx(0.05)
    assert lower_bound(5, 5, 0.95) == 0
    assert (fewest_rows(0, 0.98, 0.95), fewest_rows(0, 0.95, 0.95)) == (149, 59)
    for errors in (0, 3):
        rows = fewest_rows(errors, 0.98, 0.9)
        assert lower_bound(rows - 1, errors, 0.9) < 0.98 <= lower_bound(rows, errors, 0.9)


def test_too_few_texts_for_a_promise() -> None:
    confidence = np.linspace(0.6, 0.9, 100).astype(np.float32)
    found = promised_threshold(confidence, np.ones(100, bool), "ab", 0.98, 0.95)
    assert not found.is_kept
    # The surest quarter stays; 100 texts without an error would not do either.
    assert 25 <= found.texts <= 30
    assert found.bound == pytest.approx(float(lower_bound(found.texts, 0, 0.95)))
    said = promise_text(found, 2)
    assert "NOT KEPT: expected a threshold above which a precision of 98.0% can be promised" in said
    assert "at least 149 above the threshold" in said
    kept = promised_threshold(confidence, np.ones(100, bool), "a", 0.95, 0.975)
    assert kept.is_kept
    assert promise_text(kept, 2).startswith(
        "Of the rows above 0.000 that get a at least 96.38% are right, at a confidence level of 97.5% (target 95.0%): 0 of the 100"
    )
    assert promised_threshold(confidence[:0], np.ones(0, bool), "ab", 0.98, 0.95).bound == 0


def test_too_many_errors_for_a_promise() -> None:
    confidence = np.linspace(0.6, 0.99, 2000).astype(np.float32)
    correct = np.arange(2000) % 5 != 0
    found = promised_threshold(confidence, correct, "ab", 0.98, 0.95)
    assert not found.is_kept
    assert 500 <= found.texts < 700
    assert 0.7 < found.bound < 0.8


def sides_by_label(*rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels a, b, c are given to this many rows; of b's below a confidence of 0.75 every second one is wrong."""
    predicted = np.repeat([0, 1, 2], rows)
    confidence = np.concatenate([np.linspace(0.5, 0.9, count) for count in rows])
    probabilities = np.full((len(predicted), 3), 0.05, np.float32)
    probabilities[np.arange(len(predicted)), predicted] = confidence
    doubtful = (predicted == 1) & (confidence < 0.75) & (np.arange(len(predicted)) % 2 == 0)
    return probabilities, np.where(doubtful, 0, predicted)


def test_labels_with_enough_texts_get_a_promise_of_their_own() -> None:
    probabilities, truth = sides_by_label(600, 1200, 5)
    found = review_thresholds(probabilities, truth, "abc", ReviewSettings(target_precision=0.95, by_label=True))
    assert set(found.by_label) == {"a", "b"}
    assert found.by_label["a"] == 0
    assert 0.7 < found.by_label["b"] < 0.77
    # "c" does not borrow the promise of the others' rows.
    assert [(promise.labels, promise.is_kept) for promise in found.promises] == [
        (("a",), True),
        (("b",), True),
        (("c",), False),
    ]
    assert found.review_below == found.promises[-1].confidence > 0.8


def test_labels_with_few_texts_share_a_promise() -> None:
    probabilities, _ = sides_by_label(600, 50, 50)
    right = probabilities.argmax(axis=1)
    found = review_thresholds(probabilities, right, "abc", ReviewSettings(target_precision=0.95, by_label=True))
    # 59 texts without an error are enough, 50 are not.
    told = [(promise.labels, promise.of, promise.is_kept) for promise in found.promises]
    assert told == [(("a",), 600, True), (("b", "c"), 100, True)]
    few = review_thresholds(probabilities[:650], right[:650], "abc", ReviewSettings(target_precision=0.95, by_label=True))
    assert not few.promises[-1].is_kept


def test_a_shared_promise_holds_as_often_as_its_level_says() -> None:
    """Labels come to share a threshold by failing alone, and one that is nearly always right does not lift the others."""
    random = np.random.default_rng(8)
    accuracy = np.array([0.995, TARGET - 0.005, TARGET - 0.03])
    review = ReviewSettings(target_precision=TARGET, by_label=True, precision_confidence=LEVEL)
    broken = broken_for_all = 0
    for _ in range(SIDES // 2):
        probabilities, given = sides_by_label(2000, 200, 60)
        predicted = probabilities.argmax(axis=1)
        truth = np.where(random.random(len(given)) < accuracy[predicted], predicted, (predicted + 1) % 3)
        shared = review_thresholds(probabilities, truth, "abc", review).promises[-1]
        broken += shared.is_kept and "a" not in shared.labels
        correct = truth == predicted
        broken_for_all += promised_threshold(probabilities.max(axis=1), correct, "abc", TARGET, LEVEL).is_kept
    assert broken / (SIDES // 2) <= 1 - LEVEL + 3 * np.sqrt(LEVEL * (1 - LEVEL) * 2 / SIDES)
    # Tested on the rows of all labels, the same threshold nearly always passes, and is as wrong for these.
    assert broken_for_all > 0.9 * SIDES // 2


def test_one_threshold_for_all_labels() -> None:
    probabilities, truth = sides_by_label(600, 600, 5)
    found = review_thresholds(probabilities, truth, "abc", ReviewSettings(target_precision=0.95))
    (promise,) = found.promises
    assert (promise.labels, promise.of, promise.level, promise.is_kept) == (("a", "b", "c"), 1205, 0.95, True)
    assert found.review_below == promise.confidence
    assert not found.by_label
    surer = review_thresholds(probabilities, truth, "abc", ReviewSettings(target_precision=0.95, precision_confidence=0.999))
    assert surer.review_below > found.review_below
    given = review_thresholds(probabilities, truth, "abc", ReviewSettings(below=0.4, below_by_label={"b": 0.7}))
    assert (given.review_below, given.by_label, given.promises) == (0.4, {"b": 0.7}, ())


@pytest.mark.parametrize(("target", "kept"), [(0.3, True), (0.98, False)])
def test_bundle_card_and_screen_tell_the_promise(tmp_path, sample_data, target: float, kept: bool) -> None:
    said: list[str] = []
    review = ReviewSettings(target_precision=target, precision_confidence=0.9)
    trained = train(sample_data, replace(tiny_recipe(epochs=6), review=review), tiny_place(tmp_path), say=said.append)
    bundle = load_bundle(str(trained.folder))
    (promise,) = bundle.manifest["thresholds"]["promises"]
    assert len(set(bundle.review_below)) == 1
    assert bundle.review_below[0] == promise["confidence"] == trained.metrics["review"]["review_below"]
    assert (promise["bound"] >= target) == kept
    assert (promise["target"], promise["level"], promise["of"]) == (target, 0.9, bundle.manifest["data"]["split"]["validation"])
    assert bundle.manifest["training"]["review"]["target_precision"] == target
    card = (trained.folder / "README.md").read_text()
    assert "go to review" in card
    for text in (card, "\n".join(said)):
        assert ("NOT KEPT" in text) == (not kept)
        assert "at a confidence level of 90%" in text
        assert f"{promise['errors']} of the {promise['texts']} texts above" in text


def test_a_promise_is_what_the_manifest_keeps() -> None:
    found = promised_threshold(np.full(100, 0.9, np.float32), np.ones(100, bool), "ab", 0.9, 0.9)
    assert type(found)(**asdict(found)) == found


def test_many_labels_of_a_promise_are_not_all_named() -> None:
    promise = Promise(tuple(f"label {i}" for i in range(3000)), 0.9, 0.98, 0.95, 0.99, 500, 1, 900, 149)
    said = promise_text(promise, 3001)
    assert "that get label 0 or label 1 or label 2 or label 3 or label 4 or one of 2,995 more at least" in said
