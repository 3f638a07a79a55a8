"""Splits and folds that near-duplicates do not cross."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lib.errors import InputError
from lib.model.arrays import Int64s
from training.near_duplicates import Groups

TRAIN, VALIDATION, TEST = range(3)
# How groups are assigned to the sides, for the manifest: a bundle's test side can only be reproduced in the same way.
METHOD = "groups dealt by label, at most two points off the shares"
OF_VARIANTS = "single texts dealt by label: all are variants of a few"
# To make up for labels that give too little or too much, a label gives at most MOST times its share, or SPARED of it less.
MOST, SPARED = 2.0, 0.25
# By how much a side may exceed what was asked for, as a share of all texts, before groups go back.
SLACK = 0.005


@dataclass(frozen=True)
class Split:
    """Row numbers of each side, int64, ascending. `left_out`: texts on no side, since they are near-duplicates of one that is
    judged on; `method`: how the texts came to their sides, for the manifest."""

    train: Int64s
    validation: Int64s
    test: Int64s
    left_out: int = 0
    method: str = METHOD


def split_by_group(
    groups: Groups, label_ids: Int64s, texts: Sequence[str], test_share: float, validation_share: float, seed: int
) -> Split:
    """Whole groups to test, validation and train, each label in roughly the wanted shares, all labels together more closely.

    The same data gives the same split, whatever the order of its rows.

    Args:
        label_ids: int64 [rows], from 0; texts: strings [rows]; test_share: 0 for no test side.
    Raises:
        InputError: no label has a group for each side, or near-duplicates leave none for one.
    """
    return filled(split_of(deal(groups, label_ids, texts, test_share, validation_share, seed), groups))


def split_of(sides: Int64s, groups: Groups) -> Split:
    """The rows of each side, without near-duplicates of a text that is judged on: one on the test side takes precedence over
    one on the validation side, and that over one on the train side.

    Args:
        sides: TRAIN, VALIDATION or TEST of each row, int64 [rows].
    """
    one, other = sides[groups.first], sides[groups.second]
    leaks = np.concatenate([groups.first[one < other], groups.second[other < one]])
    kept = np.ones(len(sides), dtype=bool)
    kept[leaks] = False
    train, validation, test = (np.flatnonzero(kept & (sides == side)) for side in (TRAIN, VALIDATION, TEST))
    return Split(train, validation, test, int((~kept).sum()))


def filled(split: Split) -> Split:
    """The split, if there are texts to learn from and to calibrate on.

    Raises:
        InputError: one of these sides is empty: all of its texts are near-duplicates of one that is judged on.
    """
    for name, side in (("train", split.train), ("validation", split.validation)):
        if not len(side):
            raise InputError(
                f"Expected texts for the {name} side that are not near-duplicates of those of another side, found none "
                f"({split.left_out:,} texts are left out for that); take a --group-column whose groups have different texts, or leave it out, or add "
                "texts that are not near-copies of each other."
            )
    return split


def deal(
    groups: Groups, label_ids: Int64s, texts: Sequence[str], test_share: float, validation_share: float, seed: int
) -> Int64s:
    """The side of each row, int64 [rows]: as for `split_by_group`, which describes the arguments and the errors."""
    cards = _Cards(groups, label_ids, texts, seed)
    wanted = [(side, share) for side, share in ((TEST, test_share), (VALIDATION, validation_share)) if share]
    cards.spread = cards.groups_of_label > len(wanted)
    for place, (side, share) in enumerate(wanted):
        cards.fill(side, share, left_for_others=len(wanted) - place)
        if not (cards.side == side).any():
            raise InputError(
                f"Expected a label with at least {len(wanted) + 1} groups of unlike texts, one for each side, found none among "
                f"{len(texts):,} texts; add texts that are not near-copies of each other."
            )
    return cards.side[groups.numbers]


def folds_by_group(groups: Groups, label_ids: Int64s, texts: Sequence[str], folds: int, seed: int) -> Int64s:
    """Fold number of each text, int64 [rows], 0 to folds - 1: whole groups, each label spread evenly.

    Every fold serves once as the test side of a cross-validation. A label with fewer groups than folds is missing from
    some of them.

    Raises:
        InputError: fewer groups than folds.
    """
    cards = _Cards(groups, label_ids, texts, seed)
    if len(cards.sizes) < folds:
        raise InputError(
            f"Expected at least as many groups of unlike texts as folds, found {len(cards.sizes):,} for {folds:,} folds; take "
            "fewer folds, or add texts."
        )
    fold_of_group = np.full(len(cards.sizes), -1)
    of_label = np.zeros((len(cards.rows_of_label), folds), dtype=np.int64)
    of_all = [0] * folds
    for label in cards.rarest_first:
        members, counts = cards.of_label(label)
        # The large ones first, so that the small ones make up for them.
        for group in members[np.argsort(-counts, kind="stable")]:
            if fold_of_group[group] < 0:
                have = of_label[label].tolist()
                fold = min(range(folds), key=lambda one: (have[one], of_all[one], one))
                fold_of_group[group] = fold
                of_all[fold] += int(cards.sizes[group])
                labels, rows = cards.in_group(group)
                of_label[labels, fold] += rows
    return fold_of_group[groups.numbers]


def largest_on(share: float, rows: int) -> float:
    """The size of the largest group that moves to a side of that share of the texts, unless a label has no other for it."""
    return share * rows / 2


class _Cards:
    """Groups of texts to be assigned to sides: how many texts of each label each has, in the order of a digest, whatever the order of the rows.

    Those of a chain of look-alikes come last: where one of them is on the test side, its neighbours in the chain are on no side.

    side: that of each group; sizes: texts of each group; spread: the labels that have a group for each side.
    """

    def __init__(self, dealt: Groups, label_ids: Int64s, texts: Sequence[str], seed: int) -> None:
        numbers = dealt.numbers
        groups, labels = int(numbers.max(initial=-1)) + 1, int(label_ids.max(initial=-1)) + 1
        cells, counts = np.unique(label_ids * max(groups, 1) + numbers, return_counts=True)
        label, group = cells // max(groups, 1), cells % max(groups, 1)
        chained = np.isin(np.arange(groups), dealt.chained)
        self._keys = _keys(numbers, groups, texts, seed)
        by_label = np.lexsort((self._keys[group], chained[group], label))
        by_group = np.lexsort((label, group))
        self._group, self._count = group[by_label], counts[by_label]
        self._label, self._rows = label[by_group], counts[by_group]
        self.sizes = np.bincount(numbers, minlength=groups)
        self.rows_of_label = np.bincount(label_ids, minlength=labels)
        self.groups_of_label = np.bincount(label, minlength=labels)
        self._label_at = np.r_[0, np.cumsum(self.groups_of_label)]
        self._group_at = np.r_[0, np.cumsum(np.bincount(group, minlength=groups))]
        self.rarest_first = np.argsort(self.groups_of_label, kind="stable")
        self.side = np.full(groups, TRAIN)
        self.spread = np.ones(labels, dtype=bool)

    def of_label(self, label: int) -> tuple[Int64s, Int64s]:
        """The groups that have texts of a label, and how many each has."""
        here = slice(self._label_at[label], self._label_at[label + 1])
        return self._group[here], self._count[here]

    def in_group(self, group: int) -> tuple[Int64s, Int64s]:
        """The labels of a group's texts, and how many of each."""
        here = slice(self._group_at[group], self._group_at[group + 1])
        return self._label[here], self._rows[here]

    def fill(self, side: int, share: float, left_for_others: int) -> None:
        """Move groups from train to `side`, label by label, until it has `share` of the texts.

        A group moves if that brings its labels nearer to their shares and it is at most half of the side; a label that has
        none by then gives its smallest group. `left_for_others` groups of every label stay.
        """
        free = np.array([(self.side[self.of_label(label)[0]] == TRAIN).sum() for label in range(len(self.spread))])
        kept = np.where(self.spread, left_for_others, 1)
        goals = self._goals(share)
        missing = goals.copy()
        largest = largest_on(share, int(self.sizes.sum()))

        def take(group: int, forced: bool = False) -> bool:
            labels, rows = self.in_group(group)
            if self.side[group] != TRAIN or (free[labels] <= kept[labels]).any():
                return False
            after = missing[labels] - rows
            if not forced and (self.sizes[group] > largest or np.abs(after).sum() >= np.abs(missing[labels]).sum()):
                return False
            self.side[group] = side
            free[labels] -= 1
            missing[labels] = after
            return True

        # Frequent labels make up for what rare ones gave too much or too little.
        owed = 0.0
        for label in self.rarest_first[self.spread[self.rarest_first]]:
            most = MOST * share * self.rows_of_label[label] - goals[label]
            missing[label] += np.clip(owed, min(0.0, -goals[label] * SPARED), max(0.0, most))
            owed += goals[label]
            groups = self.of_label(label)[0]
            for group in groups.tolist():
                if missing[label] < 0.5:
                    break
                take(group)
            if not (self.side[groups] == side).any():
                any(take(group, forced=True) for group in groups[np.argsort(self.sizes[groups], kind="stable")].tolist())
            owed -= self._given(label, side)
        self._give_back(side, share)

    def _give_back(self, side: int, share: float) -> None:
        """Groups of many labels may add more than was asked for: some that no label needs go back."""
        over = self.sizes[self.side == side].sum() - (share + SLACK) * self.sizes.sum()
        here = np.array([(self.side[self.of_label(label)[0]] == side).sum() for label in range(len(self.spread))])
        groups = np.flatnonzero(self.side == side)
        for group in groups[np.lexsort((self._keys[groups], -self.sizes[groups]))] if over > 0 else ():
            labels = self.in_group(group)[0]
            if self.sizes[group] <= over and (here[labels] > 1).all():
                self.side[group] = TRAIN
                here[labels] -= 1
                over -= self.sizes[group]

    def _given(self, label: int, side: int) -> int:
        groups, counts = self.of_label(label)
        return int(counts[self.side[groups] == side].sum())

    def _goals(self, share: float) -> npt.NDArray[np.float64]:
        """Texts that each label is to give: its smallest group at least, else all by the same factor, together `share`."""
        least = np.array([self._least(label) for label in range(len(self.spread))], dtype=float)
        even = np.where(self.spread, share * self.rows_of_label, 0)
        low, high = 0.0, MOST
        for _ in range(50):
            factor = (low + high) / 2
            low, high = (factor, high) if np.maximum(least, factor * even).sum() < share * self.sizes.sum() else (low, factor)
        return np.maximum(least, low * even)

    def _least(self, label: int) -> int:
        groups, counts = self.of_label(label)
        return int(counts[self.side[groups] == TRAIN].min(initial=self.rows_of_label[label])) if self.spread[label] else 0


def _keys(numbers: Int64s, groups: int, texts: Sequence[str], seed: int) -> npt.NDArray[np.uint64]:
    """For each group the least digest of its texts."""
    digests = (hashlib.sha256(f"{seed}\0{text}".encode()).digest()[:8] for text in texts)
    keys = np.fromiter((int.from_bytes(digest, "big") for digest in digests), np.uint64, len(texts))
    of_group = np.full(groups, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(of_group, numbers, keys)
    return of_group
