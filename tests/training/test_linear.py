"""The linear classifier next to the bag's network."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy.sparse import csr_matrix
from sklearn.svm import LinearSVC

from lib.model.text import TextSettings, Tokenizer
from tests.recipes import tiny_recipe
from training.bag import BagData, bag_data, matrix_of
from training.baselines import CHARACTERS, characters_of, reason_to_leave_out
from training.baselines import WORDS as WORDS_ALONE
from training.dataset import characters_read
from training.fit import FitData
from training.linear import NO_MARGIN, fit_linear, narrowed, with_linear_that_fits
from training.recipe import BagSettings

WORDS = ("steel", "kettle", "cup", "novel", "poem", "shirt", "blue", "silk")
TEXTS = ["steel kettle", "kettle cup", "steel cup", "novel", "poem novel", "a poem", "blue shirt", "silk shirt", "blue silk"]
LABELS = np.repeat([0, 1, 2], 3)
SETTINGS = BagSettings(min_texts_pair=1)


def data_of(texts: list[str], label_ids: np.ndarray, labels: int, validation: int = 0) -> BagData:
    tokenizer = Tokenizer(WORDS, TextSettings())
    rows = np.arange(len(texts))
    train, held_out = (rows[: len(rows) - validation], rows[len(rows) - validation :])
    fit = FitData(
        tokenizer.ids_of(pa.array(texts)), label_ids, labels, train, held_out, 10, None, markers=np.empty(0, np.int32)
    )
    return bag_data(pa.array(texts), fit, tokenizer, SETTINGS)


def test_it_gives_the_margins_of_scikit_learn() -> None:
    data = data_of(TEXTS, LABELS, 3)
    fitted = fit_linear(data, SETTINGS, 7, lambda line: None)
    features = matrix_of(data.train, data.vocabulary.size) @ data.expand
    expected = LinearSVC(C=SETTINGS.linear_c, random_state=7).fit(features, LABELS).decision_function(features)
    np.testing.assert_allclose(fitted.logits(data.train), expected, atol=1e-5)
    assert fitted.slopes.tolist() == [1, 1, 1]


def test_two_labels_and_one_that_no_text_has() -> None:
    data = data_of(TEXTS[:6], LABELS[:6], 3)
    logits = fit_linear(data, SETTINGS, 7, lambda line: None).logits(data.train)
    assert logits.argmax(axis=1).tolist() == LABELS[:6].tolist()
    np.testing.assert_allclose(logits[:, 0], -logits[:, 1], atol=1e-6)
    assert (logits[:, 2] == NO_MARGIN).all()


def test_what_it_says() -> None:
    said: list[str] = []
    # The last three are the validation side.
    order = np.array([0, 1, 3, 4, 6, 7, 2, 5, 8])
    fit_linear(data_of([TEXTS[i] for i in order], LABELS[order], 3, validation=3), SETTINGS, 7, said.append)
    assert len(said) == 1
    assert said[0].startswith("fitted  validation accuracy 1.0000  ")


@pytest.mark.parametrize(
    ("characters", "labels", "fitted"),
    [
        (6_000_000, 4, "all"),
        (15_000_000, 500, "all"),
        # With subwords too long, too many weights, and too many features.
        (30_000_000, 1_000, "words"),
        (1_000_000, 5_000, "words"),
        (60_000_000, 2, "words"),
        (100_000_000, 2_000, "none"),
        (500_000_000, 2, "none"),
    ],
)
def test_when_it_is_fitted(characters: int, labels: int, fitted: str) -> None:
    found = with_linear_that_fits(characters, labels, SETTINGS, 20_000)
    assert (("all" if found.linear_subwords else "words") if found.linear else "none") == fitted


def test_it_is_fitted_wherever_it_is_compared_with() -> None:
    """Where the linear models of words and of characters are worth their time, so is its own."""
    for characters, labels in itertools.product((10**5, 10**6, 10**7, 3 * 10**7, 10**8), (2, 10, 100, 1_000, 3_000)):
        found = with_linear_that_fits(characters, labels, SETTINGS, 20_000)
        if not reason_to_leave_out(CHARACTERS, characters, labels):
            assert (found.linear, found.linear_subwords) == (True, True), (characters, labels)
        if not reason_to_leave_out(WORDS_ALONE, characters, labels):
            assert found.linear, (characters, labels)


def test_words_alone() -> None:
    """Of features that are parts of words there is none."""
    settings = replace(SETTINGS, linear_subwords=False)
    data = data_of(TEXTS, LABELS, 3)
    fitted = fit_linear(data, settings, 7, lambda line: None)
    assert not fitted.table[data.vocabulary.first_subword :].any()
    assert fitted.table[: data.vocabulary.first_subword].any()
    assert fitted.logits(data.train).argmax(axis=1).tolist() == LABELS.tolist()


def test_labels_are_fitted_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from training import linear

    at_once = fit_linear(data_of(TEXTS, LABELS, 4), SETTINGS, 7, lambda line: None)
    monkeypatch.setattr(linear, "LABELS_AT_ONCE", 2)
    apart = fit_linear(data_of(TEXTS, LABELS, 4), SETTINGS, 7, lambda line: None)
    np.testing.assert_allclose(apart.table, at_once.table, atol=1e-3)
    np.testing.assert_allclose(apart.bias, at_once.bias, atol=1e-3)


def test_only_what_is_read_of_long_texts_counts(sample_data, monkeypatch: pytest.MonkeyPatch) -> None:
    from training import linear, training

    recipe, said = tiny_recipe(), []
    read = characters_read(sample_data.texts, recipe.text)
    longer = replace(sample_data, texts=pc.binary_join_element_wise(sample_data.texts, " and more" * 30, ""))
    assert read < characters_read(longer.texts, recipe.text) < 4 * read < characters_of(longer)
    monkeypatch.setattr(linear, "MOST_FEATURES", 8 * read)
    assert training._with_parts_that_fit(longer, recipe, said.append) is recipe
    monkeypatch.setattr(linear, "MOST_FEATURES", read)
    fits = training._with_parts_that_fit(longer, recipe, said.append).bag
    assert (fits.linear, fits.linear_subwords) == (True, False)
    monkeypatch.setattr(linear, "MOST_FEATURES", read / 10)
    assert not training._with_parts_that_fit(longer, recipe, said.append).bag.linear
    assert said[0].startswith(
        "The linear classifier learns from words and pairs of words alone: with parts of words, for 0.0 million"
    )
    assert said[1].startswith("The linear classifier is left out: for 0.0 million")


def test_texts_of_one_label_alone() -> None:
    data = data_of(TEXTS[:3], LABELS[:3], 3)
    for settings in (SETTINGS, replace(SETTINGS, linear_width=2)):
        logits = fit_linear(data, settings, 7, lambda line: None).logits(data.train)
        np.testing.assert_allclose(logits, np.tile([-NO_MARGIN, NO_MARGIN, NO_MARGIN], (3, 1)), atol=1e-6)


def test_many_labels_share_a_narrower_table() -> None:
    random = np.random.default_rng(3)
    margins = random.normal(size=(50, 4)) @ random.normal(size=(4, 20)) + random.normal(size=20)
    # A label that no text has.
    margins[:, 7] = 0
    into, output, shift = narrowed(csr_matrix(margins), np.eye(20, dtype=np.float32), 4)
    assert (into.shape, output.shape) == ((20, 4), (4, 20))
    np.testing.assert_allclose(margins @ into @ output + shift, margins, atol=1e-9)


def test_a_narrower_table_finds_the_same_labels() -> None:
    wide = fit_linear(data_of(TEXTS, LABELS, 3), SETTINGS, 7, lambda line: None)
    data = data_of(TEXTS, LABELS, 3)
    # The margins of three labels against each other vary in two directions, nearly.
    narrow = fit_linear(data, replace(SETTINGS, linear_width=2), 7, lambda line: None)
    assert narrow.table.shape[1] == 2
    assert narrow.logits(data.train).argmax(axis=1).tolist() == wide.logits(data.train).argmax(axis=1).tolist()
