"""Unlabelled texts that a first model is sure of, learned from with its labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from jobs.train import TrainSettings
from lib.errors import InputError
from tests.recipes import tiny_recipe
from training.dataset import LabelledTexts
from training.model import build_model
from training.recipe import BagSettings
from training.self_training import SCORED_FOR_EACH, with_sure_texts
from training.split import Split

KNOWN = {0: ["kettle", "pan", "cup", "lid"], 1: ["shirt", "sock", "coat", "belt"]}
# Words in other letters: about words that share some ("sock", "socke") a model knows much without having seen them.
FOREIGN = {0: ["чайник", "кружка", "ложка"], 1: ["рубашка", "носок", "пальто"]}


def texts_of(random: np.random.Generator, rows: int, known: int, foreign: int) -> tuple[list[str], np.ndarray]:
    labels = random.integers(0, 2, rows)
    words = [[*random.choice(KNOWN[label], known), *random.choice(FOREIGN[label], foreign)] for label in labels]
    return [" ".join([*random.permutation(of), f"no{i}"]) for i, of in enumerate(words)], labels.astype(np.int64)


def labelled(random: np.random.Generator) -> tuple[LabelledTexts, Split]:
    texts, labels = texts_of(random, 120, 3, 0)
    data = LabelledTexts(pa.array(texts), labels, ("kitchen", "clothes"), 120, {}, "f" * 64)
    return data, Split(np.arange(80), np.arange(80, 100), np.arange(100, 120))


def test_a_catalogue_in_other_words_is_understood() -> None:
    random = np.random.default_rng(1)
    data, sides = labelled(random)
    catalogue, judged = texts_of(random, 150, 2, 2)[0], texts_of(random, 60, 0, 3)
    recipe = replace(
        tiny_recipe(epochs=15, batch=8, learning_rate=0.01), bag=BagSettings(width=8, epochs=20, batch=8, learning_rate=0.02)
    )

    def right(self_training: bool) -> tuple[float, int]:
        model = build_model(
            data, sides, replace(recipe, self_training=self_training), pa.array(catalogue), say=lambda line: None, processes=1
        )
        found = np.nan_to_num(model.probabilities(pa.array(judged[0]))).argmax(axis=1)
        return float((found == judged[1]).mean()), model.guessed

    without, guessed = right(False)
    assert guessed == 0
    with_it, guessed = right(True)
    # Never more of them than half of the labelled texts.
    assert 0 < guessed <= 40
    assert with_it > 0.95
    assert with_it > without + 0.1


def test_only_what_is_sure_is_learned_and_never_more_than_half_of_what_is_labelled() -> None:
    data, sides = labelled(np.random.default_rng(2))
    asked: list[str] = []

    def probabilities(texts: pa.Array) -> np.ndarray:
        asked.extend(texts.to_pylist())
        sure = np.array([int(text.rsplit("-", 1)[1]) % 2 == 0 for text in texts.to_pylist()])
        found = np.where(sure[:, None], [[0.05, 0.95]], [[0.6, 0.4]]).astype(np.float32)
        found[[text.startswith("?") for text in texts.to_pylist()]] = np.nan
        return found

    few = pa.array([*(f"lamp-{i}" for i in range(10)), "?-0"])
    more, longer = with_sure_texts(data, sides, few, probabilities, 3)
    assert more.texts.to_pylist()[120:] == [f"lamp-{i}" for i in range(0, 10, 2)]
    assert more.label_ids[120:].tolist() == [1] * 5
    assert longer.train.tolist() == [*range(80), *range(120, 125)]
    assert (longer.validation == sides.validation).all()
    assert (longer.test == sides.test).all()
    asked.clear()
    many, _ = with_sure_texts(data, sides, pa.array([f"lamp-{i}" for i in range(10_000)]), probabilities, 3)
    assert len(asked) == SCORED_FOR_EACH * 40
    assert len(many.label_ids) == 120 + 40
    none, same = with_sure_texts(data, sides, few[:0], lambda texts: np.empty((0, 2), np.float32), 3)
    assert len(none.label_ids) == 120
    assert len(same.train) == 80


def test_a_text_of_a_side_that_is_held_out_is_not_learned_from() -> None:
    random = np.random.default_rng(3)
    data, sides = labelled(random)
    held_out = data.texts.take(pa.array(np.concatenate([sides.validation, sides.test])))
    recipe = replace(tiny_recipe(epochs=10, batch=8, learning_rate=0.01), bag=None, self_training=True)
    model = build_model(data, sides, recipe, shouted(held_out), say=lambda line: None, processes=1)
    assert model.guessed == 0


def shouted(texts: pa.Array) -> pa.Array:
    """The same texts as tokens."""
    return pa.array([text.upper() for text in texts.to_pylist()])


def test_self_training_wants_a_catalogue() -> None:
    with pytest.raises(InputError, match="Expected --unlabelled with --self-training, found none"):
        TrainSettings(labels="labels.csv", self_training=True)


def test_a_text_that_people_have_labelled_is_not_learned_once_more() -> None:
    data, sides = labelled(np.random.default_rng(3))
    recipe = replace(tiny_recipe(epochs=10, batch=8, learning_rate=0.01), bag=None, self_training=True)
    train = data.texts.take(pa.array(sides.train))
    assert build_model(data, sides, recipe, shouted(train), say=lambda line: None, processes=1).guessed == 0


def test_texts_are_scored_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each keeps a label and a confidence, whatever the number of labels."""
    monkeypatch.setattr("training.self_training.TEXTS_AT_ONCE", 30)
    random = np.random.default_rng(1)
    data, sides = labelled(random)
    catalogue = pa.array([f"text {i}" for i in range(100)])
    # Every third text has no words, and every other one is sure.
    rows = {text: [[np.nan, np.nan], [0.05, 0.95], [0.6, 0.4]][i % 3] for i, text in enumerate(catalogue.to_pylist())}
    scored: list[int] = []

    def probabilities(texts: pa.Array) -> np.ndarray:
        scored.append(len(texts))
        return np.array([rows[text] for text in texts.to_pylist()], np.float32)

    more, after = with_sure_texts(data, sides, catalogue, probabilities, seed=1)
    assert scored == [30, 30, 30, 10]
    assert set(more.texts.to_pylist()[120:]) == set(catalogue.to_pylist()[1::3])
    assert more.label_ids[120:].tolist() == [1] * 33
    assert len(after.train) == 80 + 33
