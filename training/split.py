"""Splits and folds that near-duplicates do not cross."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lib.errors import InputError

TRAIN, VALIDATION, TEST = range(3)

Groups = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Row numbers of each side, int64, ascending."""

    train: Groups
    validation: Groups
    test: Groups


def split_by_group(
    groups: Groups,
    label_ids: Groups,
    labels: Sequence[str],
    texts: Sequence[str],
    test_share: float,
    validation_share: float,
    seed: int,
) -> Split:
    """Whole groups to test, validation and train, each label in about the wanted shares.

    The same data gives the same split, whatever the order of its rows.

    Args:
        groups: group numbers, int64 [rows]; label_ids: int64 [rows], positions in `labels`; texts: strings [rows].
        test_share: 0 for no test side.
    Raises:
        InputError: a label has fewer than three groups, one for each side.
    """
    side_of_group = np.full(int(groups.max()) + 1, TRAIN)
    sizes = np.bincount(groups)
    for members in _groups_by_label(groups, label_ids, texts, seed):
        if len(members) < 3:
            label = labels[label_ids[groups == members[0]][0]]
            raise InputError(
                f"Expected at least three groups of unlike texts for each label, found {len(members)} for {label!r}; "
                "add texts that are not near-copies of each other, or remove the label."
            )
        side_of_group[members] = _sides(sizes[members], test_share, validation_share)
    sides = side_of_group[groups]
    return Split(*(np.flatnonzero(sides == side) for side in (TRAIN, VALIDATION, TEST)))


def folds_by_group(groups: Groups, label_ids: Groups, texts: Sequence[str], folds: int, seed: int) -> Groups:
    """Fold number of each text, int64 [rows], 0 to folds - 1: whole groups, each label spread evenly.

    Every fold serves once as the test side of a cross-validation. A label with fewer groups than folds is missing from
    some of them.
    """
    fold_of_group = np.zeros(int(groups.max()) + 1, dtype=np.int64)
    sizes = np.bincount(groups)
    for members in _groups_by_label(groups, label_ids, texts, seed):
        before = np.cumsum(sizes[members]) - sizes[members]
        fold_of_group[members] = before * folds // sizes[members].sum()
    return fold_of_group[groups]


def _groups_by_label(groups: Groups, label_ids: Groups, texts: Sequence[str], seed: int) -> Iterator[Groups]:
    """For each label the numbers of its groups, in the order of a digest, whatever the order of the rows.

    A group stands with the label of that of its texts whose digest comes first.
    """
    keys = np.array([hashlib.sha256(f"{seed}\0{text}".encode()).hexdigest() for text in texts])
    order = np.lexsort((keys, groups))
    leaders = order[np.r_[True, np.diff(groups[order]) != 0]]
    for label in np.unique(label_ids[leaders]):
        members = leaders[label_ids[leaders] == label]
        yield groups[members[np.argsort(keys[members])]]


def _sides(sizes: Groups, test_share: float, validation_share: float) -> Groups:
    """Sides of one label's groups, in order: test, then validation, until their shares of the rows are reached."""
    before = (np.cumsum(sizes) - sizes) / sizes.sum()
    sides = np.where(before < test_share, TEST, np.where(before < test_share + validation_share, VALIDATION, TRAIN))
    # Each side gets a group, however large the first ones are.
    sides[0], sides[-1] = TEST if test_share else sides[0], TRAIN
    if VALIDATION not in sides:
        sides[1 if test_share else 0] = VALIDATION
    return sides
