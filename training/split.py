"""A split that near-duplicates do not cross.

Two texts are near-duplicates if their sets of word shingles have a Jaccard similarity of at least SIMILARITY: another
size or colour of one product, the same description behind another title. Candidates come from MinHash with
locality-sensitive hashing (Broder 1997; Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", ch. 3), each is
checked on the sets themselves, and what is connected, directly or through others, is one group on one side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasketch import MinHash, MinHashLSH
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from lib.errors import InputError
from lib.text import TextSettings, tokens_of

SIMILARITY = 0.5
SHINGLE_WORDS = 3
PERMUTATIONS = 128
# Candidates are looked up somewhat below the wanted similarity, since MinHash only estimates it.
LOOKUP_SIMILARITY = 0.4

TRAIN, VALIDATION, TEST = range(3)

Groups = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Row numbers of each side, int64, ascending."""

    train: Groups
    validation: Groups
    test: Groups


def shingles_of(tokens: Sequence[str]) -> frozenset[str]:
    """Runs of up to SHINGLE_WORDS words; shorter runs at the end keep short titles comparable."""
    return frozenset(" ".join(tokens[i : i + SHINGLE_WORDS]) for i in range(len(tokens)))


def near_duplicate_groups(texts: pa.Array, settings: TextSettings) -> Groups:
    """Group number of each text, int64 [rows]; near-duplicates share one."""
    shingles = [shingles_of(tokens or ()) for tokens in tokens_of(texts, settings).to_pylist()]
    sketches = MinHash.bulk(
        [[shingle.encode() for shingle in one] for one in shingles], num_perm=PERMUTATIONS, hashfunc=crc32, seed=1
    )
    index = MinHashLSH(threshold=LOOKUP_SIMILARITY, num_perm=PERMUTATIONS)
    pairs: list[tuple[int, int]] = []
    for row, sketch in enumerate(sketches):
        pairs += [(row, other) for other in index.query(sketch) if _jaccard(shingles[row], shingles[other]) >= SIMILARITY]
        index.insert(row, sketch)
    return _components(pairs, len(shingles))


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    shared = len(one & other)
    return shared / ((len(one) + len(other) - shared) or 1)


def _components(pairs: list[tuple[int, int]], rows: int) -> Groups:
    left, right = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(left), dtype=np.int8), (left, right)), shape=(rows, rows))
    groups: Groups = connected_components(graph, directed=False)[1].astype(np.int64)
    return groups


def split_by_group(
    groups: Groups, label_ids: Groups, texts: Sequence[str], test_share: float, validation_share: float, seed: int
) -> Split:
    """Whole groups to test, validation and train, each label in about the wanted shares.

    A group stands with the label of its first text. Within a label the groups are put in the order of a digest of
    that text, so that the same data gives the same split, whatever the order of its rows.

    Args:
        groups: group numbers, int64 [rows]; label_ids: int64 [rows]; texts: strings [rows].
    Raises:
        InputError: a label has fewer than three groups, one for each side.
    """
    keys = np.array([hashlib.sha256(f"{seed}\0{text}".encode()).hexdigest() for text in texts])
    order = np.lexsort((keys, groups))
    leaders = order[np.r_[True, np.diff(groups[order]) != 0]]
    sizes = np.bincount(groups)
    side_of_group = np.full(len(sizes), TRAIN)
    for label in np.unique(label_ids[leaders]):
        members = leaders[label_ids[leaders] == label]
        members = groups[members[np.argsort(keys[members])]]
        if len(members) < 3:
            raise InputError(
                f"Expected at least three groups of unlike texts for each label, found {len(members)} for label number {label}; "
                "add texts that are not near-copies of each other, or remove the label."
            )
        side_of_group[members] = _sides(sizes[members], test_share, validation_share)
    sides = side_of_group[groups]
    return Split(*(np.flatnonzero(sides == side) for side in (TRAIN, VALIDATION, TEST)))


def _sides(sizes: Groups, test_share: float, validation_share: float) -> Groups:
    """Sides of one label's groups, in order: test, then validation, until their shares of the rows are reached."""
    before = (np.cumsum(sizes) - sizes) / sizes.sum()
    sides = np.where(before < test_share, TEST, np.where(before < test_share + validation_share, VALIDATION, TRAIN))
    # Each side gets a group, however large the first ones are.
    sides[0], sides[-1] = TEST, TRAIN
    if VALIDATION not in sides:
        sides[1] = VALIDATION
    return sides
