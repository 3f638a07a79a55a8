"""Pretrained word vectors, from the fit to the bundle: what is learned from them is in the tables, and nowhere else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
import pytest

from lib.model.bundle import load_bundle
from lib.model.engines import build_engine, usable_engines
from lib.model.text import TextSettings, Tokenizer
from tests.recipes import tiny_place, tiny_recipe
from training import bag as bags
from training.calibration import network_probabilities
from training.dataset import LabelledTexts
from training.embeddings import SCALE
from training.fit import FitData, fit_network
from training.model import build_model
from training.network import folded, network_with_vectors
from training.recipe import BagSettings, NetworkSettings, Recipe
from training.split import Split
from training.training import train
from training.vectors import WordVectors

RANDOM = np.random.default_rng(11)
# Words without a part in common, of two kinds that only their vectors distinguish.
WORDS = ["".join(RANDOM.choice(list("bdfgklmnprst"), 6)) for _ in range(120)]
KINDS = np.arange(120) % 2
VECTORS = WordVectors(
    tuple(WORDS),
    (RANDOM.normal(0, 0.3, (120, 6)) + np.where(KINDS, 1, -1)[:, None] * [1, 1, 0, 0, 0, 0]).astype(np.float32),
    "made-up.txt",
    "0" * 64,
    120,
    "made up for this project",
)
# Training sees each of the first eighty in three texts; the others it never sees.
SEEN = 80
TEXTS = pa.array([f"{WORDS[i]} {WORDS[(i + 2) % SEEN]} {WORDS[(i + 6) % SEEN]}" for i in range(SEEN)])
DATA = LabelledTexts(TEXTS, KINDS[:SEEN].astype(np.int64), ("even", "odd"), SEEN, {}, "0" * 64)
ROWS = np.arange(SEEN)
SIDES = Split(ROWS[ROWS % 5 > 0], ROWS[ROWS % 5 == 0], np.empty(0, np.int64))
UNSEEN = pa.array(WORDS[SEEN:])


def recipe(**changes) -> Recipe:
    quick = replace(tiny_recipe(epochs=12, batch=8, word_dropout=0.1), min_count=2, vector_words=100)
    return replace(quick, bag=BagSettings(width=16, epochs=12, batch=8, learning_rate=0.02), **changes)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_the_folded_network_gives_what_the_fitted_one_gave(bidirectional: bool) -> None:
    settings = NetworkSettings(5, 7, bidirectional, 6)
    random = np.random.default_rng(2)
    vectors = random.normal(size=(40, 9)).astype(np.float32)
    vectors[:2] = 0
    network = network_with_vectors(vectors, 30, 3, settings, seed=1)
    for layer in network.layers:
        if layer.name not in ("vectors", "own_ids"):
            layer.set_weights([random.normal(size=w.shape).astype(np.float32) for w in layer.get_weights()])
    plain = folded(network, 3, settings)
    lengths = np.arange(1, 13)
    ids = np.where(np.arange(12) < lengths[:, None], random.integers(1, 40, (12, 12)), 0).astype(np.int32)
    # Words with their own row, words with only a vector, and unknown ones.
    assert (ids >= 30).any()
    assert (ids == 1).any()
    found, expected = plain.predict_on_batch(ids), network.predict_on_batch(ids)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert np.abs(found - network.predict_on_batch(np.where(ids >= 30, 1, ids))).max() > 0.01
    assert [layer.name for layer in plain.layers][:3] == ["ids", "embedding", "embedding_dropout"]


def test_vectors_begin_as_large_as_what_co_occurrence_gives() -> None:
    vectors = np.random.default_rng(2).normal(size=(400, 50)).astype(np.float32)
    network = network_with_vectors(vectors, 400, 3, NetworkSettings(40, 7), seed=7)
    (matrix,) = network.get_layer("projection").get_weights()
    assert np.sqrt(((vectors @ matrix) ** 2).mean()) == pytest.approx(SCALE, rel=0.1)
    again = network_with_vectors(vectors, 400, 3, NetworkSettings(40, 7), seed=7)
    np.testing.assert_array_equal(again.get_layer("projection").get_weights()[0], matrix)


def test_a_fitted_network_is_plain_and_its_vectors_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = Tokenizer(WORDS, TextSettings())
    vectors = np.concatenate([np.zeros((2, 6), np.float32), VECTORS.values])
    held: list[keras.Model] = []
    monkeypatch.setattr("training.fit.folded", lambda network, *rest: held.append(network) or folded(network, *rest))
    ids = tokenizer.ids_of(DATA.texts)
    data = FitData(ids, DATA.label_ids, 2, SIDES.train, SIDES.validation, 122, None, np.empty(0, np.int32), vectors, SEEN + 2)
    settings = NetworkSettings(8, 8, dense=8)
    plain = fit_network(data, settings, recipe().fit, say=lambda line: None).network
    (network,) = held
    np.testing.assert_array_equal(network.get_layer("vectors").get_weights()[0], vectors)
    assert np.abs(network.get_layer("projection").get_weights()[0]).max() > 0.05
    every = tokenizer.ids_of(pa.concat_arrays([TEXTS, UNSEEN]))
    # They differ only by rounding to float16.
    found, expected = network_probabilities(plain, every), network_probabilities(network, every)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3)


def test_the_bag_s_table_gives_what_was_fitted() -> None:
    tokenizer = Tokenizer(WORDS, TextSettings())
    vectors = np.concatenate([np.zeros((2, 6), np.float32), VECTORS.values])
    ids = tokenizer.ids_of(DATA.texts)
    fit_data = FitData(
        ids, DATA.label_ids, 2, SIDES.train, SIDES.validation, 122, None, np.empty(0, np.int32), vectors, SEEN + 2
    )
    settings = BagSettings(width=8, min_count_subword=1)
    data = bags.bag_data(DATA.texts, fit_data, tokenizer, settings)
    network = bags._Network(data.vocabulary.size, 2, settings, 3, steps=8, epochs=1, vectors=6)
    texts = bags.matrix_of(data.train, data.vocabulary.size)
    for _ in range(8):
        batch = bags._batch(texts @ data.expand, 0.2, np.random.default_rng(1))
        network.step(*batch, data.train_labels, texts[:, :122] @ data.vectors)
    projection = network.projection.numpy()
    assert np.abs(projection).max() > 1e-3
    # As it is summed up while it is fitted: rows of words and of their parts, and the vectors' part next to them.
    summed = texts @ data.expand @ network.table.numpy() + texts[:, :122] @ data.vectors @ projection
    fitted = network.fitted(data)
    expected = np.maximum(summed, 0) @ fitted.output + fitted.bias
    np.testing.assert_allclose(fitted.logits(data.train), expected, rtol=0, atol=1e-5)
    # A word that training never saw has only its parts and its vector.
    assert data.expand[SEEN + 1, SEEN + 1] > 0
    assert data.expand[SEEN + 2, SEEN + 2] == 0


@pytest.mark.parametrize("with_bag", [True, False])
def test_words_that_training_never_saw_are_told_by_their_vectors(with_bag: bool) -> None:
    chosen = recipe() if with_bag else replace(recipe(), bag=None)
    model = build_model(DATA, SIDES, chosen, say=lambda line: None, vectors=VECTORS)
    right = (model.probabilities(UNSEEN).argmax(axis=1) == KINDS[SEEN:]).mean()
    assert right > 0.9
    assert set(WORDS) <= set(model.tokenizer.words)
    without = build_model(DATA, SIDES, chosen, say=lambda line: None)
    assert (without.probabilities(UNSEEN).argmax(axis=1) == KINDS[SEEN:]).mean() < 0.75


def test_a_word_is_not_known_since_a_text_that_is_judged_on_has_it() -> None:
    """The file is read for the words of all labelled texts, wherever in it they are."""
    words = (*(f"filler{i}" for i in range(5)), *WORDS)
    values = np.concatenate([np.ones((5, VECTORS.values.shape[1]), np.float32), VECTORS.values])
    file = replace(VECTORS, words=words, values=values, first=5)
    few = build_model(DATA, SIDES, recipe(refit=False), say=lambda line: None, vectors=file)
    seen = {word for text in DATA.texts.take(pa.array(SIDES.train)).to_pylist() for word in text.split()}
    assert set(few.tokenizer.words) <= seen | set(words[:5])


def test_no_more_words_are_known_than_asked_for() -> None:
    few = build_model(DATA, SIDES, recipe(vector_words=5, refit=False), say=lambda line: None, vectors=VECTORS)
    assert few.parts.vectors is not None
    assert few.parts.vectors["words_of_vector_alone"] == 5
    more = pa.array([WORDS[100], WORDS[100].upper() + "!"])
    chosen = recipe(vector_words=5, refit=False)
    of_catalogue = build_model(DATA, SIDES, chosen, more, say=lambda line: None, vectors=VECTORS)
    assert WORDS[100] in of_catalogue.tokenizer.words
    assert WORDS[100] not in few.tokenizer.words


def test_the_bundle_tells_of_its_vectors_and_all_engines_agree(tmp_path: Path, sample_data) -> None:
    words = sorted({word for text in sample_data.texts.to_pylist() for word in text.lower().split() if word.isalpha()})
    file = WordVectors(
        (*words[:60], "zzyzx"), RANDOM.normal(size=(61, 12)).astype(np.float32), "f.vec.gz", "ab" * 32, 9_999, "CC BY"
    )
    trained = train(sample_data, tiny_recipe(epochs=2), tiny_place(tmp_path), say=lambda line: None, vectors=file)
    manifest = json.loads((trained.folder / "manifest.json").read_text())
    told = manifest["training"]["vectors"]
    assert told == {
        "name": "f.vec.gz",
        "sha256": "ab" * 32,
        "rows": 9_999,
        "width": 12,
        "note": "CC BY",
        "words": 61,
        "words_of_vector_alone": told["words_of_vector_alone"],
    }
    assert told["words_of_vector_alone"] >= 1
    card = (trained.folder / "README.md").read_text()
    assert f"f.vec.gz (SHA-256 `{'ab' * 32}`), 9,999 rows of 12 numbers; 61 words of the vocabulary have one" in card
    assert "CC BY" in card
    bundle = load_bundle(str(trained.folder))
    assert bundle.tokenizer.words[-1] == "zzyzx"
    texts = pa.array([*sample_data.texts.to_pylist(), "zzyzx", "zzyzx kettle", "never heard of"])
    ids = bundle.tokenizer.ids_of(texts)
    scores = {name: build_engine(name, bundle, 1).probabilities(ids) for name in usable_engines()}
    for name, found in scores.items():
        np.testing.assert_allclose(found, scores["keras"], rtol=0, atol=1e-4, err_msg=name)


def test_without_vectors_the_bundle_tells_of_none(tiny: Path) -> None:
    bundle = load_bundle(str(tiny))
    assert bundle.manifest["training"]["vectors"] is None
    assert "vectors" not in (tiny / bundle.manifest["version"] / "README.md").read_text()
