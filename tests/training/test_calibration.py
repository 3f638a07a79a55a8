from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.bundle import load_bundle
from lib.text import TextSettings, TokenIds, Tokenizer
from tests.recipes import tiny_place, tiny_recipe
from training.calibration import (
    apply_temperature,
    fit_temperature,
    network_probabilities,
    review_thresholds,
    threshold_for_precision,
)
from training.fit import Fitted
from training.model import Model
from training.network import NetworkSettings, build_network
from training.recipe import ReviewSettings
from training.training import train


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
    assert fit_temperature(softmax(logits), labels) == pytest.approx(temperature, rel=0.05)


def test_the_temperature_goes_into_the_network() -> None:
    network, texts = small_network()
    before = network_probabilities(network, texts)
    apply_temperature(network, 0.1)
    np.testing.assert_allclose(network_probabilities(network, texts), softmax(np.log(before) / 0.1), atol=1e-5)


def test_a_temperature_can_be_replaced() -> None:
    network, texts = small_network()
    plain = network_probabilities(network, texts)
    apply_temperature(network, 0.5)
    model = Model(Fitted(network), Tokenizer(("a",), TextSettings()), 0.5, 0).with_temperature(2.0)
    assert model.temperature == 2.0
    np.testing.assert_allclose(network_probabilities(model.network, texts), softmax(np.log(plain) / 2), atol=1e-5)


rows = st.lists(st.tuples(st.integers(0, 100).map(lambda i: np.float32(i / 100)), st.booleans()), min_size=30, max_size=90)


@given(rows, st.floats(0.3, 0.99))
def test_the_threshold_keeps_its_promise_and_as_many_rows_as_it_can(rows: list[tuple[np.float32, bool]], target: float) -> None:
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


def test_a_target_precision_sets_the_bundle_s_threshold(tmp_path, sample_data) -> None:
    from dataclasses import replace

    recipe = replace(tiny_recipe(epochs=6), review=ReviewSettings(target_precision=0.9))
    trained = train(sample_data, recipe, tiny_place(tmp_path), say=lambda line: None)
    bundle = load_bundle(str(trained.folder))
    assert len(set(bundle.review_below)) == 1
    assert bundle.review_below[0] != 0.5
    assert trained.metrics["review"]["review_below"] == bundle.review_below[0]
    assert bundle.manifest["training"]["review"]["target_precision"] == 0.9
    assert "go to review" in (trained.folder / "README.md").read_text()


def test_each_label_can_have_its_own_threshold() -> None:
    random = np.random.default_rng(3)
    # "a" is right from the start, "b" only where the confidence is high, "c" is hardly ever given.
    predicted = np.array([0] * 200 + [1] * 200 + [2] * 5)
    confidence = np.concatenate([np.linspace(0.5, 0.9, 200), np.linspace(0.5, 0.9, 200), np.full(5, 0.8)])
    probabilities = np.full((405, 3), 0.05, np.float32)
    probabilities[np.arange(405), predicted] = confidence
    truth = np.where((predicted == 1) & (confidence < 0.8) & (random.random(405) < 0.5), 0, predicted)
    found = review_thresholds(probabilities, truth, "abc", ReviewSettings(target_precision=0.95, by_label=True))
    assert set(found.by_label) == {"a", "b"}
    assert found.by_label["a"] == pytest.approx(0.5, abs=1e-3)
    assert 0.75 < found.by_label["b"] < 0.85
    assert found.by_label["a"] < found.review_below < found.by_label["b"]
    assert not review_thresholds(probabilities, truth, "abc", ReviewSettings(target_precision=0.95)).by_label
    given = review_thresholds(probabilities, truth, "abc", ReviewSettings(below=0.4, below_by_label={"b": 0.7}))
    assert (given.review_below, given.by_label) == (0.4, {"b": 0.7})
