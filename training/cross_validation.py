"""The recipe judged over folds that near-duplicates do not cross: mean and spread, compared with the baselines on the same folds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lib.model.arrays import Float32s, Int64s
from lib.model.text import joined_tokens
from training.baselines import fitted_baselines, summary
from training.calibration import expected_calibration_error
from training.card import LSTM
from training.dataset import LabelledTexts
from training.evaluation import unknown_words
from training.model import build_model
from training.near_duplicates import Groups
from training.progress import Counted, counted, step
from training.recipe import Recipe
from training.split import TEST, Split, deal, filled, folds_by_group, split_of
from training.vectors import WordVectors
from training.workers import silent


@dataclass(frozen=True)
class CrossValidation:
    """What every model predicted on each fold, and the LSTM's probabilities for texts it was fitted without.

    probabilities: float32 [rows, labels]; f1_weighted: model -> value for each fold; factors: those of the network's parts, in each fold; predicted:
    model -> label of each text, int64 [rows], -1 for none; unknown_words: share of the words that the folds did not know.
    """

    probabilities: Float32s
    f1_weighted: dict[str, list[float]]
    expected_calibration_error: float
    factors: tuple[tuple[float, ...], ...]
    predicted: dict[str, Int64s]
    unknown_words: float

    @property
    def folds(self) -> int:
        return len(self.f1_weighted[LSTM])

    def record(self) -> dict[str, Any]:
        """Mean and spread (standard deviation of the folds) of each model, and of the LSTM's lead."""
        models = {}
        for name, values in self.f1_weighted.items():
            ahead = np.array(self.f1_weighted[LSTM]) - np.array(values)
            models[name] = {"f1_weighted": values, **_mean_and_spread(values)}
            if name != LSTM:
                models[name]["lstm_ahead_by"] = _mean_and_spread(ahead)
        return {
            "folds": self.folds,
            "expected_calibration_error": self.expected_calibration_error,
            "models": models,
        }


def cross_validate(
    data: LabelledTexts,
    groups: Groups,
    recipe: Recipe,
    unlabelled: pa.Array | None,
    baselines: Sequence[str],
    say: Callable[[str], None],
    vectors: WordVectors | None = None,
) -> CrossValidation:
    """Fit and evaluate `recipe` once for each fold.

    Args:
        baselines: those of training.baselines.BASELINES to fit along with it.
    Raises:
        InputError: fewer groups than folds.
        CategorizerError: a fit failed.
    """
    texts = data.texts.to_pylist()
    folds = folds_by_group(groups, data.label_ids, texts, recipe.folds, recipe.fit.seed)
    probabilities = np.zeros((len(texts), len(data.labels)), dtype=np.float32)
    f1: dict[str, list[float]] = {}
    factors: list[tuple[float, ...]] = []
    every: dict[str, Int64s] = {}
    unknown: list[float] = []
    say(step("folds", recipe.folds, "folds"))
    for fold in range(recipe.folds):
        began = time.monotonic()
        sides = fold_sides(data, groups, texts, folds == fold, recipe.validation_share, seed=recipe.fit.seed + fold)
        model = build_model(data, sides, recipe, unlabelled, say=silent, vectors=vectors)
        held_out = data.texts.take(pa.array(sides.test))
        probabilities[sides.test] = np.nan_to_num(model.probabilities(held_out), copy=False)
        unknown.append(unknown_words(model.tokenizer.ids_of(held_out)))
        factors.append(model.factors)
        found = {LSTM: probabilities[sides.test].argmax(axis=1)}
        if baselines:
            tokens = joined_tokens(held_out, recipe.text).to_pylist()
            peers = fitted_baselines(data, sides, recipe.text, baselines, say)
            baselines = list(peers)
            found |= {name: predict(tokens) for name, predict in peers.items()}
        for name, predicted in found.items():
            every.setdefault(name, np.full(len(texts), -1, dtype=np.int64))[sides.test] = predicted
            f1.setdefault(name, []).append(summary(data.label_ids[sides.test], predicted, data.labels)["f1_weighted"])
        say(_fold_line(fold + 1, recipe.folds, {name: v[-1] for name, v in f1.items()}, time.monotonic() - began))
    # A baseline whose fit failed in one of the folds cannot be compared over all.
    compared = [LSTM, *baselines]
    f1, every = {name: f1[name] for name in compared}, {name: every[name] for name in compared}
    right = probabilities.argmax(axis=1) == data.label_ids
    error = expected_calibration_error(probabilities.max(axis=1), right)
    return CrossValidation(probabilities, f1, error, tuple(factors), every, float(np.mean(unknown)))


def _fold_line(number: int, folds: int, f1: Mapping[str, float], seconds: float) -> Counted:
    """The result of a fold, by model."""
    text = f"fold {number}/{folds}  weighted F1: " + ", ".join(f"{name} {value:.4f}" for name, value in f1.items())
    return counted(text, "", "fold", (number, folds), seconds, {"f1_weighted": {name: round(v, 6) for name, v in f1.items()}})


def fold_sides(
    data: LabelledTexts,
    groups: Groups,
    texts: Sequence[str],
    test: npt.NDArray[np.bool_],
    validation_share: float,
    seed: int,
) -> Split:
    """The sides of one fold, whose test side is given (bool [rows]); the rest is split into train and validation.

    Raises:
        InputError: no label of the rest has a group for each of both, or near-duplicates leave none for one.
    """
    rest = np.flatnonzero(~test)
    sides = np.full(len(test), TEST)
    some = [texts[int(i)] for i in rest]
    sides[rest] = deal(groups.without_pairs(rest), data.label_ids[rest], some, 0.0, validation_share, seed)
    return filled(split_of(sides, groups))


def _mean_and_spread(values: Sequence[float] | Any) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "spread": float(np.std(values, ddof=1))}
