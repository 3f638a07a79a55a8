"""The split of a training, with the messages about it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from training.dataset import LabelledTexts
from training.labels import listed
from training.near_duplicates import Groups
from training.recipe import Recipe
from training.split import Split, split_by_group

# A side that is further than this from the share asked for is reported.
TOLERANCE = 0.02


def split_data(data: LabelledTexts, groups: Groups, recipe: Recipe, say: Callable[[str], None]) -> Split:
    """Train, validation and test side as the recipe asks for.

    Raises:
        InputError: no label has a group for each side.
    """
    shares = recipe.test_share, recipe.validation_share
    split = split_by_group(groups, data.label_ids, data.texts.to_pylist(), *shares, recipe.fit.seed)
    kind = f"groups by {data.group_column} or" if data.group_column else "groups of"
    say(
        f"{len(data.texts):,} distinct texts in {groups.numbers.max() + 1:,} {kind} near-duplicates: "
        f"train {len(split.train):,}, validation {len(split.validation):,}, test {len(split.test):,}"
    )
    for line in (_left_out(split), *_off_the_shares(split, len(data.texts), recipe), _train_only(split, data)):
        if line:
            say(line)
    return split


def train_only(split: Split, data: LabelledTexts) -> dict[str, int]:
    """The labels that are only on the train side, with their texts, the more frequent first."""
    texts = np.bincount(data.label_ids[split.train], minlength=len(data.labels))
    judged = np.bincount(data.label_ids[np.concatenate([split.validation, split.test])], minlength=len(data.labels))
    return {data.labels[i]: int(texts[i]) for i in np.argsort(-texts, kind="stable") if texts[i] and not judged[i]}


def _left_out(split: Split) -> str:
    if not split.left_out:
        return ""
    return f"{split.left_out:,} texts are on no side, since they are near-duplicates of a text that the model is judged on."


def _off_the_shares(split: Split, rows: int, recipe: Recipe) -> list[str]:
    sides = (("test", split.test, recipe.test_share), ("validation", split.validation, recipe.validation_share))
    return [
        f"The {name} side holds {len(side) / rows:.1%} of the texts rather than the {share:.1%} asked for, since groups are not "
        "torn apart and every label of enough groups has one on each side."
        for name, side, share in sides
        if abs(len(side) / rows - share) > TOLERANCE
    ]


def _train_only(split: Split, data: LabelledTexts) -> str:
    alone = train_only(split, data)
    if not alone:
        return ""
    return (
        f"{len(alone):,} of the {len(data.labels):,} labels are learned and not judged, since their texts form too few groups for "
        f"each side to have one: {listed(alone, data.look_alikes)}."
    )
