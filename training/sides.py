"""The split of a training, with the messages about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from training.dataset import LabelledTexts
from training.labels import listed
from training.near_duplicates import Groups, near_duplicates
from training.recipe import Recipe
from training.split import OF_VARIANTS, Split, largest_on, split_by_group

# A side that is further than this from the share asked for is reported, and so are more texts than this in groups that are too large to be judged.
TOLERANCE = 0.02


def groups_of(data: LabelledTexts, recipe: Recipe, say: Callable[[str], None]) -> Groups:
    """The groups of near-duplicates; each text alone, with a message, where no label has enough of them to be on every side.

    Texts of one template are like that: a word or two in each tells their labels, and otherwise they are the same. A group of one label
    is a product, whose variants would tell nothing about others.
    """
    groups = near_duplicates(data.texts, recipe.text, data.groups)
    sides = 1 + bool(recipe.test_share) + bool(recipe.validation_share)
    pairs = np.unique(np.stack([data.label_ids, groups.numbers]), axis=1)
    groups_of_label, labels_of_group = np.bincount(pairs[0]), np.bincount(pairs[1])
    in_several = (labels_of_group[groups.numbers] > 1).mean()
    if data.groups is not None or groups_of_label.max() >= sides or in_several <= 0.5:
        return groups
    say(
        f"No label has {sides} groups of unlike texts: they are variants of a few, as those of a template are. Each text counts alone, so the figures are "
        "about variants of texts that were learned from."
    )
    return Groups(np.arange(len(data.texts)), of_variants=True)


def split_data(data: LabelledTexts, groups: Groups, recipe: Recipe, say: Callable[[str], None]) -> Split:
    """Train, validation and test side as the recipe asks for.

    Raises:
        InputError: no label has a group for each side.
    """
    shares = recipe.test_share, recipe.validation_share
    split = split_by_group(groups, data.label_ids, data.texts.to_pylist(), *shares, recipe.fit.seed)
    if groups.of_variants:
        split = replace(split, method=OF_VARIANTS)
    kind = f"groups by {data.group_column} or" if data.group_column else "groups of"
    say(
        f"{len(data.texts):,} distinct texts in {groups.numbers.max() + 1:,} {kind} near-duplicates: "
        f"train {len(split.train):,}, validation {len(split.validation):,}, test {len(split.test):,}"
    )
    lines = (
        _left_out(split),
        _too_large(groups, shares),
        *_off_the_shares(split, len(data.texts), recipe),
        _train_only(split, data),
    )
    for line in lines:
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


def _too_large(groups: Groups, shares: Sequence[float]) -> str:
    sizes = np.bincount(groups.numbers)
    texts = sizes[sizes > largest_on(max(shares), len(groups.numbers))].sum()
    if texts <= TOLERANCE * len(groups.numbers):
        return ""
    return (
        f"{texts:,} texts, {texts / len(groups.numbers):.1%}, are in groups that are too large to be judged on: the figures are about the others. If such "
        "texts are of different products, remove what they have in common, such as the shop's own sentences."
    )


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
    texts = sum(alone.values())
    return (
        f"{len(alone):,} of the {len(data.labels):,} labels, with {texts:,} texts ({texts / len(data.texts):.1%}), are learned and not judged, "
        f"since their texts form too few groups for each side to have one: {listed(alone, data.look_alikes)}."
    )
