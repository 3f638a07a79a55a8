"""Groups of near-duplicates: another size or colour of one product, the same description after another title.

Two texts are near-duplicates if their sets of word shingles have a Jaccard similarity of at least SIMILARITY. Candidates come
from MinHash with locality-sensitive hashing (Broder 1997; Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets",
ch. 3), each is checked on the sets themselves, and texts that are connected, directly or through others, are one group. A group that
grew too large that way to be one product is grouped once more without what many of its texts share, such as the shop's own
sentences below each product, and then, if need be, split into cores and what is near to them.

All of it works on flat arrays, in blocks: a million texts of a hundred words take about 3 GB, where sets of Python strings
would take 35.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from lib.model.arrays import Int64s, UInt32s
from lib.model.text import TextSettings, tokens_of

SIMILARITY = 0.5
SHINGLE_WORDS = 3
# Two texts that are just similar enough share a band with a probability of 1 - (1 - 0.5 ** 3) ** 42 = 0.996.
BANDS, ROWS = 42, 3
# Texts that share a band are each compared with this many before them in it, and with its first: all pairs of a thousand copies
# would be half a million comparisons to learn that they are one group.
NEIGHBOURS = 25
BLOCK_TEXTS = 20_000
BLOCK_PAIRS = 20_000

# Texts connected through others are a group up to this share of the texts, or this many of them, and of few texts up to a part. Above
# that they are not one product: what they share is boilerplate, or they are a chain of look-alikes.
LARGEST_SHARE, LARGEST_TEXTS, LARGEST_PART, SMALLEST_LIMIT = 0.01, 100, 0.25, 20
# What a text of a large group has beyond the shingles of many: with fewer than this many (two words exchanged change six), or this share of all, it is a
# variant, told from the others by a word or two, and is compared by all of them.
OWN_SHINGLES, OWN_SHARE = 8, 0.1

UInt64s = npt.NDArray[np.uint64]


def _none() -> Int64s:
    return np.empty(0, np.int64)


@dataclass(frozen=True)
class Groups:
    """What stays together on one side of a split.

    numbers: the group of each text, int64 [rows], from 0 without gaps; first, second: int64 [pairs], rows of near-duplicates
    that are in different groups nevertheless; chained: int64, the groups that a chain of look-alikes was split into; of_variants: whether
    each text is a group although it is like the others.
    """

    numbers: Int64s
    first: Int64s = field(default_factory=_none)
    second: Int64s = field(default_factory=_none)
    chained: Int64s = field(default_factory=_none)
    of_variants: bool = False

    def without_pairs(self, rows: Int64s) -> Groups:
        """The groups of some rows, renumbered."""
        old, numbers = np.unique(self.numbers[rows], return_inverse=True)
        return Groups(
            numbers.astype(np.int64), chained=np.flatnonzero(np.isin(old, self.chained)), of_variants=self.of_variants
        )


def near_duplicates(texts: pa.Array, settings: TextSettings, names: pa.Array | None = None) -> Groups:
    """Groups of near-duplicates, the same whatever the order of the rows.

    Args:
        texts: strings [rows].
        names: strings [rows], groups that are given; a text without one (null) is grouped with its near-duplicates.
    """
    rows = len(texts)
    shingled, rank = _prepared(texts, settings)
    first, second = _pairs(shingled, rank)
    numbers = _connected(first, second, rows)
    large = np.flatnonzero(_is_large(numbers, rows))
    if len(large):
        # Their pairs are found anew: by what they share with many, any of them is as near as any other.
        inside = np.isin(first, large)
        near = _pairs(shingled.of(large).without_common(_largest(rows)), rank[large])
        first, second = (np.concatenate([old[~inside], large[new]]) for old, new in zip((first, second), near, strict=True))
        numbers = _large_ones_by_cores(_connected(first, second, rows), first, second, rank)
    chained = numbers >= rows
    if names is not None:
        given = names.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        # Above the numbers of the near-duplicates, which are at most twice as many as rows.
        numbers = np.where(given < 0, numbers, given + 2 * rows)
        chained &= given < 0
    numbers = np.unique(numbers, return_inverse=True)[1].astype(np.int64)
    crossing = numbers[first] != numbers[second]
    return Groups(numbers, first[crossing], second[crossing], np.unique(numbers[chained]))


def near_duplicate_groups(texts: pa.Array, settings: TextSettings) -> Int64s:
    """Group number of each text, int64 [rows]; near-duplicates share one."""
    return near_duplicates(texts, settings).numbers


@dataclass(frozen=True)
class Shingled:
    """The distinct shingles of each text: hashes of all texts, ascending within one, and where those of each begin, int64 [texts + 1]."""

    flat: UInt64s
    offsets: Int64s

    @property
    def counts(self) -> Int64s:
        return np.diff(self.offsets)

    def of(self, rows: Int64s) -> Shingled:
        """Those of some texts."""
        counts = self.counts[rows]
        offsets = np.concatenate(([0], np.cumsum(counts)))
        return Shingled(self.flat[np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], counts)], offsets)

    def without_common(self, most: float) -> Shingled:
        """Without shingles that more than `most` of the texts have (Broder et al. 1997, "Syntactic Clustering of the Web"); a text that has hardly any others
        keeps all."""
        _, place, texts_of = np.unique(self.flat, return_inverse=True, return_counts=True)
        own = texts_of[place] <= most
        text = np.repeat(np.arange(len(self.counts)), self.counts)
        owned = np.bincount(text[own], minlength=len(self.counts))
        few = (owned < OWN_SHINGLES) | (owned < OWN_SHARE * self.counts)
        kept = own | few[text]
        return Shingled(self.flat[kept], np.concatenate(([0], np.cumsum(np.bincount(text[kept], minlength=len(self.counts))))))


def _prepared(texts: pa.Array, settings: TextSettings) -> tuple[Shingled, UInt64s]:
    """The shingles of all texts, and a digest of each text that orders them."""
    rank = np.zeros(len(texts), dtype=np.uint64)
    shingles: list[UInt64s] = [np.empty(0, np.uint64)]
    counts: list[Int64s] = [_none()]
    for start in range(0, len(texts), BLOCK_TEXTS):
        block = texts.slice(start, BLOCK_TEXTS)
        some, lengths = shingles_of(tokens_of(block, settings))
        rank[start : start + BLOCK_TEXTS] = [_hash(text or "") for text in block.to_pylist()]
        shingles.append(some)
        counts.append(lengths)
    return Shingled(np.concatenate(shingles), np.concatenate(([0], np.cumsum(np.concatenate(counts))))), rank


def _pairs(shingled: Shingled, rank: UInt64s) -> tuple[Int64s, Int64s]:
    """Pairs of near-duplicates, the smaller row first."""
    counts = shingled.counts
    signatures = np.zeros((len(counts), BANDS * ROWS), dtype=np.uint32)
    for start in range(0, len(counts), BLOCK_TEXTS):
        here = slice(start, start + BLOCK_TEXTS)
        ends = shingled.offsets[start : start + BLOCK_TEXTS + 1]
        signatures[here] = _signatures(shingled.flat[ends[0] : ends[-1]], counts[here], seed=start)
    first, second = _candidates(signatures, rank)
    same = np.zeros(len(first), dtype=bool)
    for start in range(0, len(first), BLOCK_PAIRS):
        block = slice(start, start + BLOCK_PAIRS)
        same[block] = jaccard(shingled.flat, shingled.offsets, first[block], second[block]) >= SIMILARITY
    return first[same], second[same]


def _connected(first: Int64s, second: Int64s, rows: int) -> Int64s:
    """The number of the component that each text is in, int64 [rows]."""
    edges = (np.ones(len(first), dtype=np.int8), (first, second))
    numbers: Int64s = connected_components(coo_matrix(edges, shape=(rows, rows)), directed=False)[1].astype(np.int64)
    return numbers


def _largest(rows: int) -> float:
    """The most texts that one product can have among so many."""
    return max(SMALLEST_LIMIT, min(max(LARGEST_TEXTS, LARGEST_SHARE * rows), LARGEST_PART * rows))


def _is_large(numbers: Int64s, rows: int) -> npt.NDArray[np.bool_]:
    """Whether the group of each text is larger than one product can be, bool [rows]."""
    return np.bincount(numbers)[numbers] > _largest(rows) if rows else np.empty(0, bool)


def _large_ones_by_cores(numbers: Int64s, first: Int64s, second: Int64s, rank: UInt64s) -> Int64s:
    """Split groups that are too large to be one product: the text with the most near-duplicates is a core and takes them, then
    the next of what is left, and so on (leader clustering, Hartigan 1975, ch. 3). Their numbers are from `rows` on."""
    rows = len(numbers)
    large = _is_large(numbers, rows)
    if not large.any():
        return numbers
    inside = large[first]
    ends = np.concatenate([first[inside], second[inside]]), np.concatenate([second[inside], first[inside]])
    near = coo_matrix((np.ones(len(ends[0]), dtype=np.int8), ends), shape=(rows, rows)).tocsr()
    texts = np.flatnonzero(large)
    core = np.where(large, -1, 0)
    for text in texts[np.lexsort((rank[texts], -np.diff(near.indptr)[texts]))]:
        if core[text] < 0:
            around = near.indices[near.indptr[text] : near.indptr[text + 1]]
            core[around[core[around] < 0]] = text
            core[text] = text
    return np.where(large, rows + core, numbers)


def shingles_of(tokens: pa.ListArray) -> tuple[UInt64s, Int64s]:
    """The distinct shingles of each text as hashes, ascending within a text, and how many each has.

    A shingle is a run of SHINGLE_WORDS words; the shorter runs at a text's end keep short titles comparable.
    """
    lengths = pc.fill_null(pc.list_value_length(tokens), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    encoded = tokens.flatten().dictionary_encode()
    hashes = np.array([_hash(word) for word in encoded.dictionary.to_pylist()], dtype=np.uint64)
    words = hashes[encoded.indices.to_numpy(zero_copy_only=False)] if len(hashes) else np.empty(0, np.uint64)
    text = np.repeat(np.arange(len(lengths)), lengths)
    shingle = words.copy()
    for ahead in range(1, SHINGLE_WORDS):
        inside = text[ahead:] == text[:-ahead]
        # Order counts: each word further on is multiplied once more.
        follower = np.where(inside, words[ahead:] * _odd(ahead), np.uint64(0))
        shingle[: len(follower)] = _mixed(shingle[: len(follower)] + follower)
        shingle[len(follower) :] = _mixed(shingle[len(follower) :])
    order = np.lexsort((shingle, text))
    shingle, text = shingle[order], text[order]
    new = np.r_[True, (shingle[1:] != shingle[:-1]) | (text[1:] != text[:-1])] if len(shingle) else np.empty(0, bool)
    return shingle[new], np.bincount(text[new], minlength=len(lengths)).astype(np.int64)


def _hash(word: str) -> int:
    return int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little")


def _odd(number: int) -> np.uint64:
    return np.uint64((0x9E3779B97F4A7C15 * (2 * number + 1)) % (1 << 64) | 1)


def _mixed(values: UInt64s) -> UInt64s:
    """The finalizer of SplitMix64 (Steele, Lea and Flood 2014): every bit of the input moves every bit of the result."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _signatures(shingles: UInt64s, lengths: Int64s, seed: int) -> UInt32s:
    """The least hash of each text's shingles under BANDS x ROWS hash functions, uint32 [texts, functions].

    A text without words gets its own values, so that it is a near-duplicate of nothing.
    """
    random = np.random.default_rng(seed + 1)
    found = random.integers(0, 1 << 32, (len(lengths), BANDS * ROWS), dtype=np.uint32)
    worded = lengths > 0
    starts = (np.cumsum(lengths) - lengths)[worded]
    if len(starts):
        for i in range(BANDS * ROWS):
            # Multiply-shift (Dietzfelbinger et al. 1997): the upper half of the product with an odd number.
            hashed = ((shingles * _odd(i + 1000)) >> np.uint64(32)).astype(np.uint32)
            found[worded, i] = np.minimum.reduceat(hashed, starts)
    return found


def _candidates(signatures: UInt32s, rank: UInt64s) -> tuple[Int64s, Int64s]:
    """Pairs of texts that share a band, each once."""
    pairs = np.empty(0, np.int64)
    for more in _pairs_by_band(signatures, rank):
        # Band by band: near-copies share most bands, and all of their pairs at once would be many times the distinct ones.
        # Sorted and merged: NumPy's own union hashes all of them again, which takes far longer.
        pairs = np.sort(np.concatenate([pairs, np.sort(more)]), kind="stable")
        pairs = pairs[np.diff(pairs, prepend=-1) != 0]
    return pairs // max(len(signatures), 1), pairs % max(len(signatures), 1)


def _pairs_by_band(signatures: UInt32s, rank: UInt64s) -> Iterator[Int64s]:
    rows = len(signatures)
    if rows < 2:
        return
    for band in range(BANDS):
        columns = signatures[:, band * ROWS : (band + 1) * ROWS].astype(np.uint64)
        key = columns[:, 0]
        for i in range(1, ROWS):
            key = _mixed(key) + columns[:, i]
        # Ordered by a digest within a band, so that the pairs that are compared do not depend on the order of the rows.
        order = np.lexsort((rank, key)).astype(np.int64)
        key = key[order]
        found = []
        for distance in range(1, min(NEIGHBOURS, rows - 1) + 1):
            shared = key[distance:] == key[:-distance]
            if not shared.any():
                break
            found.append(_numbered(order[:-distance][shared], order[distance:][shared], rows))
        starts = np.r_[True, key[1:] != key[:-1]]
        leaders = np.flatnonzero(starts)[np.cumsum(starts) - 1]
        far = np.arange(rows) - leaders > NEIGHBOURS
        found.append(_numbered(order[leaders[far]], order[far], rows))
        yield np.concatenate(found)


def _numbered(one: Int64s, other: Int64s, rows: int) -> Int64s:
    """One number for each pair, the smaller row first."""
    return np.minimum(one, other) * rows + np.maximum(one, other)


def jaccard(shingles: UInt64s, offsets: Int64s, first: Int64s, second: Int64s) -> npt.NDArray[np.float64]:
    """Similarity of the texts of each pair: shared shingles over all of both."""
    sizes = np.diff(offsets)
    values, pair = [], []
    for side in (first, second):
        lengths = sizes[side]
        places = np.arange(lengths.sum()) + np.repeat(offsets[side] - (np.cumsum(lengths) - lengths), lengths)
        values.append(shingles[places])
        pair.append(np.repeat(np.arange(len(side)), lengths))
    value, of_pair = np.concatenate(values), np.concatenate(pair)
    order = np.lexsort((value, of_pair))
    value, of_pair = value[order], of_pair[order]
    # Shingles are distinct within a text, so one that occurs twice in a pair is shared.
    twice = (value[1:] == value[:-1]) & (of_pair[1:] == of_pair[:-1])
    shared = np.bincount(of_pair[1:][twice], minlength=len(first))
    found: npt.NDArray[np.float64] = shared / np.maximum(sizes[first] + sizes[second] - shared, 1)
    return found
