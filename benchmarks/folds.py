"""Fits on folds that near-duplicates do not cross, in processes of one thread, two at a time; shared by the searches and the suite."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any

# TensorFlow is imported by each process, after its threads are set.
if TYPE_CHECKING:
    from training.dataset import LabelledTexts
    from training.near_duplicates import Groups
    from training.recipe import Recipe
    from training.split import Split

PROCESSES = 2


def in_processes(function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Each call's arguments with its result, in the order in which they finish; one process each, since TensorFlow's threads are set once."""
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=context, max_tasks_per_child=1) as pool:
        asked = {pool.submit(function, *call): call for call in calls}
        for done in as_completed(asked):
            yield asked[done], done.result()


def sides_of_fold(data: LabelledTexts, recipe: Recipe, fold: int, folds: int, seed: int) -> tuple[Groups, Split]:
    """The groups of near-duplicates and the sides of one fold."""
    from training.cross_validation import fold_sides
    from training.near_duplicates import near_duplicates
    from training.split import folds_by_group

    groups, texts = near_duplicates(data.texts, recipe.text, data.groups), data.texts.to_pylist()
    of_fold = folds_by_group(groups, data.label_ids, texts, folds, seed)
    return groups, fold_sides(data, groups, texts, of_fold == fold, recipe.validation_share, seed + fold)
