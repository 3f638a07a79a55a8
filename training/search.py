"""Other settings of the same parts, tried on folds of the user's own texts; settings that are better by more than the spread are kept.

The sizes, which decide how fast a run is, stay as they were asked for; only how the parts are fitted varies. Since the
parts are fitted separately and their logits are added, a trial fits one part again and adds the logits of the others.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import optuna
import pyarrow as pa

from lib.errors import CategorizerError
from lib.model.arrays import Float32s, Int64s
from training.baselines import summary
from training.calibration import rarity_of, summed
from training.card import settings_of_part, settings_text
from training.cross_validation import fold_sides
from training.dataset import LabelledTexts
from training.model import BAG, LINEAR, LSTM, Plan, factors_for, logits_of_part, parts_of, plan_of, worth_processes
from training.near_duplicates import Groups
from training.recipe import Recipe
from training.split import folds_by_group
from training.vectors import WordVectors
from training.workers import Say, run_together, silent

FOLDS = 3
# Trials drawn at random, before those that use what was found.
AT_RANDOM = 5
ADJUSTMENT = "logit adjustment"
ADJUSTMENTS = (0.0, 0.25, 0.5, 0.75, 1.0)

# Numbers by setting; the part says what they belong to.
Settings = Mapping[str, Any]
# For each part: setting -> least, greatest, and whether it is tried on a logarithmic scale.
SPACE: Mapping[str, Mapping[str, tuple[float, float, bool]]] = {
    LSTM: {
        "learning_rate": (1e-3, 4e-3, True),
        "epochs_factor": (0.5, 2.0, True),
        "word_dropout": (0.1, 0.5, False),
        "label_smoothing": (0.0, 0.15, False),
    },
    BAG: {
        "learning_rate": (1e-3, 4e-3, True),
        "epochs_factor": (0.5, 2.0, True),
        "feature_dropout": (0.0, 0.5, False),
        "dropout": (0.2, 0.7, False),
        "label_smoothing": (0.0, 0.15, False),
    },
    LINEAR: {"linear_c": (0.05, 4.0, True)},
}


@dataclass(frozen=True)
class Searched:
    """recipe: the one asked for, or a better one; record: for the manifest, only numbers, strings and lists."""

    recipe: Recipe
    record: Mapping[str, Any]


@dataclass(frozen=True)
class _Fold:
    """The data that the parts are fitted to; the texts and the labels of its validation side and of its test side."""

    plan: Plan
    texts: tuple[pa.Array, pa.Array]
    label_ids: tuple[Int64s, Int64s]
    rarity: Float32s


# The logits of one fold, for its validation and its test side.
Logits = tuple[Float32s, Float32s]


@dataclass
class _Folds:
    """Folds of one seed, and the logits on each of the parts of the recipe asked for."""

    folds: list[_Fold]
    labels: Sequence[str]
    processes: int | None
    logits: dict[str, list[Logits]] = field(default_factory=dict)

    def fit(self, recipe: Recipe, part: str) -> list[Logits]:
        """The logits of one part, for each fold.

        Raises:
            CategorizerError: a fit failed.
        """
        tasks = [partial(logits_of_part, fold.plan, recipe, part, fold.texts) for fold in self.folds]
        return [(one[0], one[1]) for one in run_together(tasks, silent, self.processes)]

    def f1(self, adjustment: float, instead: Mapping[str, list[Logits]] | None = None) -> Float32s:
        """Weighted F1 of each fold for the sum of the parts, some of them replaced."""
        parts = {**self.logits, **(instead or {})}
        return np.array(
            [self._f1_of(fold, [one[i] for one in parts.values()], adjustment) for i, fold in enumerate(self.folds)]
        )

    def _f1_of(self, fold: _Fold, parts: Sequence[Logits], adjustment: float) -> float:
        validation, test = ([*(one[side] for one in parts)] for side in (0, 1))
        factors = factors_for(validation, fold.rarity, fold.label_ids[0], adjustment)
        judged = [*test, np.broadcast_to(fold.rarity, test[0].shape)] if adjustment else test
        return summary(fold.label_ids[1], summed(judged, factors).argmax(axis=1), self.labels)["f1_weighted"]


def search(
    data: LabelledTexts,
    groups: Groups,
    rows: Int64s,
    recipe: Recipe,
    unlabelled: pa.Array | None = None,
    vectors: WordVectors | None = None,
    say: Say = print,
    clock: Callable[[], float] = time.monotonic,
) -> Searched:
    """Try settings for about the recipe's `search_minutes`, only on folds of the texts `rows`, and compare the best on other folds.

    About a third of the time goes into these: the best of many that were tried owes some of its lead to chance.

    Args:
        rows: those of the train and the validation side, int64; no other text is looked at.
        clock: seconds.
    Raises:
        InputError: fewer groups of unlike texts than folds.
        CategorizerError: a fit of the recipe asked for failed.
    """
    began = clock()
    some = replace(data, texts=data.texts.take(pa.array(rows)), label_ids=data.label_ids[rows], groups=None)
    folds = partial(_folds, some, groups.without_pairs(rows), recipe, unlabelled, vectors)
    tried = folds(recipe.fit.seed + 1)
    once = clock() - began
    until = began + 60 * recipe.search_minutes - 2 * once
    found, trials = _tried(tried, recipe, until, say, clock)
    record = {"minutes": recipe.search_minutes, "trials": trials, "folds": FOLDS, "settings": {}, "ahead_by": None}
    if not found:
        say(f"search: {sum(trials.values())} trials, none was better{_too_short(trials, once)}; the recipe stays.")
        return Searched(recipe, record)
    ahead, kept = _confirmed(folds(recipe.fit.seed + 2), recipe, found)
    text = settings_text(kept)
    mean, spread = float(ahead.mean()), float(ahead.std(ddof=1))
    better = mean > spread
    say(
        f"search: {sum(trials.values())} trials; on other folds the best is ahead by {mean:+.4f} ± {spread:.4f} of weighted F1, "
        f"{'kept' if better else 'not more than the spread, so the recipe stays'}: {text}"
    )
    if not better:
        return Searched(recipe, record)
    return Searched(
        with_settings(recipe, kept), {**record, "settings": dict(kept), "ahead_by": {"mean": mean, "spread": spread}}
    )


def with_settings(recipe: Recipe, found: Mapping[str, Settings]) -> Recipe:
    """The recipe with the settings found for some of its parts."""
    if ADJUSTMENT in found:
        recipe = replace(recipe, **found[ADJUSTMENT])
    if LSTM in found:
        recipe = replace(recipe, fit=replace(recipe.fit, **found[LSTM]))
    for part in (BAG, LINEAR):
        if part in found and recipe.bag:
            recipe = replace(recipe, bag=replace(recipe.bag, **found[part]))
    return recipe


def _folds(
    data: LabelledTexts,
    groups: Groups,
    recipe: Recipe,
    unlabelled: pa.Array | None,
    vectors: WordVectors | None,
    seed: int,
) -> _Folds:
    """The folds with the logits of the recipe's own parts."""
    texts = data.texts.to_pylist()
    of_fold = folds_by_group(groups, data.label_ids, texts, FOLDS, seed)
    found = []
    for fold in range(FOLDS):
        sides = fold_sides(data, groups, texts, of_fold == fold, recipe.validation_share, seed + fold)
        plan = plan_of(data, sides, recipe, unlabelled, vectors)
        held_out = [data.texts.take(pa.array(side)) for side in (sides.validation, sides.test)]
        label_ids = data.label_ids[sides.validation], data.label_ids[sides.test]
        rarity = rarity_of(data.label_ids[sides.train], len(data.labels))
        found.append(_Fold(plan, (held_out[0], held_out[1]), label_ids, rarity))
    folds = _Folds(found, data.labels, None if worth_processes(found[0].plan, recipe) else 1)
    for part in parts_of(found[0].plan, recipe):
        folds.logits[part] = folds.fit(recipe, part)
    return folds


def _tried(
    folds: _Folds, recipe: Recipe, until: float, say: Say, clock: Callable[[], float]
) -> tuple[dict[str, Settings], dict[str, int]]:
    """The best settings of each part that beat the recipe's, and how many were tried, until the time is up."""
    asked = float(folds.f1(recipe.logit_adjustment).mean())
    found: dict[str, Settings] = {}
    by_adjustment = {one: float(folds.f1(one).mean()) for one in ADJUSTMENTS}
    best_adjustment = max(by_adjustment, key=lambda one: by_adjustment[one])
    if by_adjustment[best_adjustment] > asked:
        found[ADJUSTMENT] = {"logit_adjustment": best_adjustment}
    studies = {part: _study(recipe, part, asked) for part in folds.logits}
    spent, trials = dict.fromkeys(studies, 0.0), dict.fromkeys(studies, 0)
    best = dict.fromkeys(studies, asked)
    while True:
        # Each part gets about as much time, so a quick one is tried more often.
        part = min(spent, key=lambda one: spent[one])
        expected = spent[part] / trials[part] if trials[part] else 0.0
        if clock() + expected > until:
            return found, {ADJUSTMENT: len(ADJUSTMENTS), **trials}
        started = clock()
        trial = studies[part].ask()
        settings = _suggested(trial, part)
        try:
            value = float(
                folds.f1(recipe.logit_adjustment, {part: folds.fit(with_settings(recipe, {part: settings}), part)}).mean()
            )
            studies[part].tell(trial, value)
        except CategorizerError:
            # Most likely the steps are too large for these texts.
            value = 0.0
            studies[part].tell(trial, state=optuna.trial.TrialState.FAIL)
        trials[part] += 1
        spent[part] += clock() - started
        if value > best[part]:
            best[part], found[part] = value, settings
        say(f"search: {part} {trials[part]}: weighted F1 {value:.4f}, as asked for {asked:.4f}  {settings_of_part(settings)}")


def _confirmed(folds: _Folds, recipe: Recipe, found: Mapping[str, Settings]) -> tuple[Float32s, dict[str, Settings]]:
    """By how much everything that was found, or only the best of it, is ahead in each of these folds."""
    asked = folds.f1(recipe.logit_adjustment)
    instead = {
        part: folds.fit(with_settings(recipe, {part: settings}), part)
        for part, settings in found.items()
        if part in folds.logits
    }
    choices = [dict(found)] + ([{part: settings} for part, settings in found.items()] if len(found) > 1 else [])
    ahead = []
    for choice in choices:
        others = {part: logits for part, logits in instead.items() if part in choice}
        ahead.append(folds.f1(with_settings(recipe, choice).logit_adjustment, others) - asked)
    best = max(range(len(choices)), key=lambda one: float(ahead[one].mean()))
    return ahead[best], choices[best]


def _study(recipe: Recipe, part: str, asked: float) -> optuna.Study:
    """A study that knows the result of the recipe's own settings, unless they are outside the range that is tried."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(n_startup_trials=AT_RANDOM, multivariate=True, seed=recipe.fit.seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    of_part = recipe.fit if part == LSTM else recipe.bag
    own = {name: getattr(of_part, name) for name in SPACE[part]}
    if all(low <= own[name] <= high for name, (low, high, _) in SPACE[part].items()):
        study.enqueue_trial(own)
        trial = study.ask()
        _suggested(trial, part)
        study.tell(trial, asked)
    return study


def _suggested(trial: optuna.Trial, part: str) -> Settings:
    return {name: trial.suggest_float(name, low, high, log=log) for name, (low, high, log) in SPACE[part].items()}


def _too_short(trials: Mapping[str, int], seconds: float) -> str:
    if all(count for count in trials.values()):
        return ""
    return f" (fitting the recipe once to the {FOLDS} folds takes {seconds / 60:.1f} minutes; three times that is the least)"
