from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.text import TextSettings, TokenIds, Tokenizer
from training.calibration import (
    apply_temperature,
    fit_temperature,
    network_probabilities,
    threshold_for_precision,
)
from training.fit import Fitted
from training.model import Model
from training.network import NetworkSettings, build_network


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
