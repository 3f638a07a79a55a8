"""`train --search`: other settings, on folds of the train and the validation side."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np
import pyarrow as pa
import pytest

from lib.model.text import TextSettings
from training.dataset import LabelledTexts
from training.model import LSTM
from training.near_duplicates import near_duplicates
from training.recipe import FitSettings, NetworkSettings, Recipe
from training.search import ADJUSTMENT, SPACE, search, with_settings

WORDS = ("kettle cup spoon plate bowl pan", "novel poem essay story verse tale", "shirt scarf glove sock hat coat")
RECIPE = Recipe(
    text=TextSettings(),
    network=NetworkSettings(embedding=8, units=4, dense=8),
    # Steps too small to learn anything.
    fit=FitSettings(epochs=12, learning_rate=1e-7, batch=8),
    vocabulary=100,
    min_count=1,
    pretrain=False,
    test_share=0.2,
    validation_share=0.2,
    bag=None,
    logit_adjustment=0.0,
    search_minutes=0.15,
)


def labelled() -> LabelledTexts:
    random = np.random.default_rng(4)
    label_ids = np.arange(120) % 3
    texts = [" ".join([*random.choice(WORDS[label].split(), 3), f"n{row}x", f"m{row}y"]) for row, label in enumerate(label_ids)]
    return LabelledTexts(pa.array(texts), label_ids, ("Kitchen", "Books", "Clothing"), 120, {}, "")


def ticking() -> object:
    """A clock that is a second later whenever it is asked."""
    ticks = count()
    return lambda: float(next(ticks))


def searched(recipe: Recipe, rows: np.ndarray) -> tuple[object, list[str]]:
    data, said = labelled(), []
    groups = near_duplicates(data.texts, recipe.text)
    # What the model is judged on is not even read.
    hidden = np.setdiff1d(np.arange(len(data.texts)), rows)
    texts = [None if row in hidden else text for row, text in enumerate(data.texts.to_pylist())]
    found = search(replace(data, texts=pa.array(texts)), groups, rows, recipe, say=said.append, clock=ticking())
    return found, said


def test_settings_that_are_better_are_found_and_kept() -> None:
    found, said = searched(RECIPE, np.arange(0, 96))
    settings = found.record["settings"][LSTM]
    assert set(settings) == set(SPACE[LSTM])
    assert found.recipe == replace(RECIPE, fit=replace(RECIPE.fit, **settings))
    assert settings["learning_rate"] >= 1e-3
    assert found.record["ahead_by"]["mean"] > found.record["ahead_by"]["spread"]
    assert found.record["trials"][LSTM] == sum(line.startswith("search: LSTM") for line in said)
    assert "kept: " in said[-1]


def test_too_little_time_leaves_the_recipe_and_says_how_much_is_needed() -> None:
    found, said = searched(replace(RECIPE, search_minutes=0.03), np.arange(0, 96))
    assert found.recipe.fit == RECIPE.fit
    assert found.record["settings"] == {}
    assert "three times that is the least" in said[-1]


@pytest.mark.parametrize("part", SPACE)
def test_the_recipe_s_own_settings_are_among_those_tried(part: str) -> None:
    defaults = Recipe(RECIPE.text, RECIPE.network, FitSettings(), 100, 1, False, 0.2, 0.2)
    own = defaults.fit if part == LSTM else defaults.bag
    for name, (low, high, _) in SPACE[part].items():
        assert low <= getattr(own, name) <= high
    assert with_settings(defaults, {part: {name: low for name, (low, _, _) in SPACE[part].items()}}) != defaults
    assert with_settings(defaults, {ADJUSTMENT: {"logit_adjustment": 0.25}}).logit_adjustment == 0.25
