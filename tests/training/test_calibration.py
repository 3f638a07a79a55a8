from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.model.bag import Bag, BagVocabulary
from lib.model.text import TokenIds
from training.bag import FittedBag, beside
from training.calibration import (
    USUAL_FACTORS,
    calibration_error_by_chance,
    expected_calibration_error,
    fit_factors,
    mixed,
    network_probabilities,
    rarity_of,
    threshold_for_precision,
    with_adjustment,
)
from training.network import build_network, joined_network
from training.recipe import NetworkSettings


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def small_network() -> tuple[keras.Model, TokenIds]:
    """A network with random weights, and three texts for it."""
    keras.utils.set_random_seed(2)
    texts = TokenIds(np.arange(1, 21, dtype=np.int32), np.array([0, 5, 6, 20]))
    return build_network(30, 3, NetworkSettings(4, 4, True, 4)), texts


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_labels_is_found(temperature: float) -> None:
    random = np.random.default_rng(1)
    logits = random.normal(scale=3, size=(20_000, 4))
    labels = np.array([random.choice(4, p=row / row.sum()) for row in softmax(logits / temperature).astype(float)])
    assert fit_factors([logits], labels) == pytest.approx((1 / temperature,), rel=0.05)


def test_the_factors_that_made_the_labels_are_found() -> None:
    random = np.random.default_rng(2)
    parts = [random.normal(scale=2, size=(20_000, 5)) for _ in range(2)]
    labels = np.array([random.choice(5, p=row / row.sum()) for row in softmax(0.3 * parts[0] + 1.5 * parts[1]).astype(float)])
    assert fit_factors(parts, labels) == pytest.approx((0.3, 1.5), rel=0.05)


def test_a_part_that_knows_nothing_gets_next_to_no_factor() -> None:
    random = np.random.default_rng(3)
    useful, noise = random.normal(scale=2, size=(5_000, 3)), random.normal(scale=2, size=(5_000, 3))
    labels = np.array([random.choice(3, p=row / row.sum()) for row in softmax(useful).astype(float)])
    factors = fit_factors([useful, noise], labels)
    assert factors[0] == pytest.approx(1, rel=0.1)
    assert factors[1] < 0.05


def test_few_texts_do_not_move_the_factors_far() -> None:
    sure = np.array([[9.0, 0.0], [0.0, 9.0]], np.float32)
    assert all(0.1 < factor < 3 for factor in fit_factors([sure, -sure], np.array([0, 1])))


def test_few_texts_leave_three_parts_at_the_factors_that_are_usual() -> None:
    random = np.random.default_rng(6)
    parts = [random.normal(scale=2, size=(5_000, 4)) for _ in range(3)]
    labels = np.array([random.choice(4, p=row / row.sum()) for row in softmax(1.2 * parts[0] + 0.1 * parts[2]).astype(float)])

    def off(factors: tuple[float, ...]) -> float:
        return float(np.abs(np.log(factors) - np.log(USUAL_FACTORS)).max())

    several, all_of_them = (fit_factors([part[:rows] for part in parts], labels[:rows]) for rows in (3, 5_000))
    assert off(several) < 1 < off(all_of_them)
    assert all_of_them[0] == pytest.approx(1.2, rel=0.1)


def test_rarity_grows_as_texts_get_fewer_and_nothing_is_known_of_none() -> None:
    rarity = rarity_of(np.array([0, 0, 0, 0, 0, 0, 2, 2]), 4)
    np.testing.assert_allclose(rarity, [np.log(8 / 6), 0, np.log(4), 0], rtol=1e-6)


def test_the_adjustment_names_rare_labels_more_often_and_stays_calibrated() -> None:
    random = np.random.default_rng(5)
    prior = np.log([0.8, 0.15, 0.05])
    logits = prior + random.normal(scale=1.5, size=(20_000, 3))
    labels = np.array([random.choice(3, p=row / row.sum()) for row in softmax(logits).astype(float)])
    rarity = np.broadcast_to(rarity_of(labels, 3), logits.shape)
    parts, factors = [2 * logits, rarity], (0.5,)
    plain, adjusted = mixed(parts[:1], factors), mixed(parts, with_adjustment(parts, factors, 0.5, labels))

    def recall(probabilities: np.ndarray) -> np.ndarray:
        return np.array([(probabilities.argmax(axis=1) == label)[labels == label].mean() for label in range(3)])

    assert (recall(adjusted)[1:] > recall(plain)[1:]).all()
    assert recall(adjusted).mean() > recall(plain).mean() + 0.02
    right = adjusted.argmax(axis=1) == labels
    assert adjusted.max(axis=1).mean() == pytest.approx(right.mean(), abs=0.05)


def test_the_factors_go_into_the_network() -> None:
    network, texts = small_network()
    plain = np.log(network_probabilities(network, texts))
    joined = joined_network(network, 10.0, None)
    np.testing.assert_allclose(network_probabilities(joined, texts), softmax(plain * 10), atol=1e-5)
    adjustment = np.array([0.5, 0, -2], np.float32)
    joined = joined_network(network, 10.0, None, adjustment)
    np.testing.assert_allclose(network_probabilities(joined, texts), softmax(plain * 10 + adjustment), atol=1e-5)


def test_a_network_with_bags_is_the_sum_of_its_parts() -> None:
    network, texts = small_network()
    random = np.random.default_rng(4)

    def fitted(width: int, slope: float, size: float) -> FittedBag:
        table, output, bias = (random.normal(size=shape).astype(np.float32) for shape in ((9, width), (width, 3), (3,)))
        vocabulary = BagVocabulary(np.ones(9, np.float32), 1.0, np.empty((0, 2), np.int32), ())
        return FittedBag(
            vocabulary, table * np.float32(size), output / np.float32(size), bias, np.full(width, slope, np.float32)
        )

    # The second's weights are in its output; a row's one scale has to do for both.
    bags, factors = [fitted(6, 0, 1), fitted(3, 1, 1e-3)], (0.4, 1.3, 0.7)
    bag = Bag(np.array([2, 5, 5, 8, 1], np.int32), random.random(5).astype(np.float32), np.array([0, 2, 2, 5]))
    logits = [np.log(network_probabilities(network, texts)), *(one.logits(bag) for one in bags)]
    both = beside(bags, factors[1:])
    joined = joined_network(network, factors[0], (both.table, both.output, both.bias, both.slopes))
    found = network_probabilities(joined, TokenIds(texts.ids, texts.offsets, bag))
    np.testing.assert_allclose(found, mixed(logits, factors), atol=0.02)
    exact = [logits[0] * factors[0], both.logits(bag)]
    np.testing.assert_allclose(found, mixed(exact, (1, 1)), atol=1e-5)


rows = st.lists(st.tuples(st.integers(0, 100).map(lambda i: np.float32(i / 100)), st.booleans()), min_size=30, max_size=90)


@given(rows, st.floats(0.3, 0.99))
def test_the_threshold_of_a_point_estimate_keeps_as_many_rows_as_it_can(
    rows: list[tuple[np.float32, bool]], target: float
) -> None:
    confidence, correct = (np.array(side) for side in zip(*rows, strict=True))
    found = threshold_for_precision(confidence, correct, target)
    kept = confidence >= np.float32(found.confidence)
    assert found.precision == pytest.approx(correct[kept].mean())
    assert found.share == pytest.approx(kept.mean())
    possible = [t for t in set(confidence) if (confidence >= t).sum() >= 20 and correct[confidence >= t].mean() >= target]
    if possible:
        assert found.confidence == pytest.approx(min(possible))
    else:
        assert found.precision < target


def test_the_error_that_chance_explains_covers_confidences_that_are_true() -> None:
    random, below = np.random.default_rng(4), 0
    for _ in range(40):
        confidence = random.beta(6, 1, 150).astype(np.float32)
        error = expected_calibration_error(confidence, random.random(150) < confidence)
        below += error <= calibration_error_by_chance(confidence)
    assert below >= 36
    confidence = np.full(150, 0.9, np.float32)
    assert expected_calibration_error(confidence, random.random(150) < 0.7) > calibration_error_by_chance(confidence)
    assert calibration_error_by_chance(confidence[:0]) == 0
