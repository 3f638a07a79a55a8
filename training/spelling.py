"""Names that may be spelled alike, found without comparing each with every other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import combinations, pairwise, takewhile

import numpy as np

from lib.model.arrays import Int64s

# Two names are alike if their difflib ratio is at least this: of the characters of both, as many are in blocks that both have in the same order.
MIN_SIMILARITY = 0.8
# So of two names with up to 14 characters together at most two characters are in no such block, and of these one name has at most 8.
SHORT, MOST_DELETED = 8, 2


class Spelling:
    """Finds all names that may be alike to one of them, and few that are not.

    Between the blocks that two names share there is at least one character that they do not. So of T characters in both, with at most (1 - s) T
    outside of blocks, at least (s / 2 - (1 - s)) T - 1 pairs of neighbouring characters are shared. For short names that is next to none: they
    are found by what is left of them without one or two characters. Names with other digits are never alike: numbers mean what they say.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names, self._lengths = names, np.array([len(name) for name in names], np.int64)
        numbers: dict[str, int] = {}
        self._digits = np.array([numbers.setdefault(digits_of(name), len(numbers)) for name in names], np.int64)
        pairs: dict[tuple[str, int], list[int]] = {}
        self._left: dict[str, list[tuple[int, int]]] = {}
        for place, name in enumerate(names):
            for pair in _pairs(name):
                pairs.setdefault(pair, []).append(place)
            for left, deleted in _left_of(name):
                self._left.setdefault(left, []).append((place, deleted))
        self._with_pair: dict[tuple[str, int], Int64s] = {pair: np.array(places, np.int64) for pair, places in pairs.items()}

    def near(self, place: int, before: int) -> Collection[int]:
        """The places, in ascending order, of names that may be alike to that of `place`, among the first `before` ones."""
        found: set[int] = set()
        if not before:
            return found
        for left, deleted in _left_of(self._names[place]):
            some = takewhile(lambda one: one[0] < before, self._left[left])
            found.update(other for other, more in some if deleted + more <= MOST_DELETED)
        shared = [self._with_pair[pair] for pair in _pairs(self._names[place])]
        if shared:
            counts = np.bincount(np.concatenate(shared), minlength=before)[:before]
            both = self._lengths[:before] + self._lengths[place]
            needed = np.maximum((1.5 * MIN_SIMILARITY - 1) * both - 1 - 1e-9, 1)
            same = self._digits[:before] == self._digits[place]
            found.update(map(int, np.flatnonzero(same & (counts >= needed))))
        return sorted(found - {place})


def digits_of(name: str) -> str:
    return "".join(filter(str.isdigit, name))


def _pairs(name: str) -> Iterator[tuple[str, int]]:
    """The pairs of neighbouring characters, the first, second ... of the same told apart."""
    seen: Counter[str] = Counter()
    for first, second in pairwise(name):
        yield first + second, seen[first + second]
        seen[first + second] += 1


def _left_of(name: str) -> Iterator[tuple[str, int]]:
    """What is left of a short name without some of its characters, digits excepted, and how many these are."""
    if len(name) <= SHORT:
        letters = [place for place, character in enumerate(name) if not character.isdigit()]
        for deleted in range(min(MOST_DELETED, len(letters)) + 1):
            for without in combinations(letters, deleted):
                yield "".join(character for place, character in enumerate(name) if place not in without), deleted
