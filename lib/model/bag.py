"""A text as a weighted bag of features: its words, the pairs of neighbouring words, and the parts of unknown words.

A feature is a row of the network's bag table; the network sums the rows of a text's features times their weights. Features
are numbered in this order:
- the ids of the vocabulary's words (lib.model.text); those of padding and of unknown words have no meaning;
- pairs of words that follow each other; the first and the last word also make one with the text's edge (id EDGE);
- subwords: the character n-grams of a word between "<" and ">" (Bojanowski et al. 2017, "Enriching Word Vectors with
  Subword Information"). Those of a known word are added to its own row when a bundle is written, so that only an unknown
  word has to be split.

With idf(word) = ln((1 + texts) / (1 + texts with it)) + 1, tf(feature) = 1 + ln(its count in the text), and norm = the
square root of the sum of (tf x idf)² over the text's distinct words, known or not, a word and a pair have the weight
tf / norm (their idf is in their row); each of the n known subwords of an unknown word has tf x idf / (norm x √n). So the
weights of a text are those of TF-IDF with sublinear tf and unit length, as far as they can be known word by word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lib.errors import BundleError
from lib.model.arrays import Float32s, Float64s, Int32s, Int64s

# Lengths of subwords in characters, with the marks of a word's ends.
SHORTEST, LONGEST = 3, 5
# Only the beginning of a longer word is split, without the mark of its end.
WORD_CHARACTERS = 32
# In a pair: the edge before a text's first word and after its last. No word has this id.
EDGE = 0


@dataclass(frozen=True)
class Bag:
    """The features of a batch of texts, flat: text i has features[offsets[i]:offsets[i + 1]], each with its weight.

    features: int32; weights: float32; offsets: int64 [rows + 1].
    """

    features: Int32s
    weights: Float32s
    offsets: Int64s

    def rows(self, rows: Int64s) -> Bag:
        """The texts `rows`, in their order."""
        places, offsets = places_of(self.offsets, rows)
        return Bag(self.features[places], self.weights[places], offsets)

    def followed_by(self, more: Bag) -> Bag:
        """These texts, then those of `more`."""
        return Bag(
            np.concatenate([self.features, more.features]),
            np.concatenate([self.weights, more.weights]),
            np.concatenate([self.offsets, self.offsets[-1] + more.offsets[1:]]),
        )

    def padded(self, rows: Int64s, width: int, height: int | None = None) -> tuple[Int32s, Float32s]:
        """The texts `rows` as rectangles [height or len(rows), width], of features and of weights; filled up with 0."""
        shape = height or len(rows), width
        features, weights = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
        inside = np.arange(width) < np.diff(self.offsets)[rows][:, None]
        places, _ = places_of(self.offsets, rows)
        features[: len(rows)][inside] = self.features[places]
        weights[: len(rows)][inside] = self.weights[places]
        return features, weights


def places_of(offsets: Int64s, rows: Int64s) -> tuple[Int64s, Int64s]:
    """Where the values of `rows` are in a flat array, one row after another, and the offsets of these rows in the result."""
    lengths = np.diff(offsets)[rows]
    ends = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
    return np.arange(ends[-1]) + np.repeat(offsets[rows] - ends[:-1], lengths), ends


def marked(word: str) -> str:
    """The form of a word that is split into subwords."""
    return f"<{word}>" if len(word) <= WORD_CHARACTERS else f"<{word[:WORD_CHARACTERS]}"


def subwords_of(marked: str) -> list[str]:
    """The character n-grams of a marked word, the shortest first; one that occurs twice is listed twice."""
    return [marked[i : i + n] for n in range(SHORTEST, LONGEST + 1) for i in range(len(marked) - n + 1)]


@dataclass(frozen=True)
class BagVocabulary:
    """What the features of a bundle are.

    idf: float32 [word ids], of which those of padding and of unknown words mean nothing; unknown_idf: that of a word that is not
    in the vocabulary; pairs: int32 [pairs, 2], ids of words; subwords: character n-grams.
    """

    idf: Float32s
    unknown_idf: float
    pairs: Int32s
    subwords: tuple[str, ...]
    _found: dict[str, Int32s] = field(default_factory=dict, repr=False, compare=False)

    @property
    def size(self) -> int:
        """Number of features."""
        return len(self.idf) + len(self.pairs) + len(self.subwords)

    @property
    def first_pair(self) -> int:
        return len(self.idf)

    @property
    def first_subword(self) -> int:
        return len(self.idf) + len(self.pairs)

    @cached_property
    def _subword_features(self) -> Mapping[str, int]:
        return {subword: self.first_subword + i for i, subword in enumerate(self.subwords)}

    @cached_property
    def _pair_keys(self) -> tuple[Int64s, Int64s]:
        """The pairs as numbers, ascending, and the feature of each."""
        keys = _pair_key(self.pairs[:, 0], self.pairs[:, 1])
        order = np.argsort(keys)
        return keys[order], order + self.first_pair

    def subword_features(self, word: str) -> Int32s:
        """The features of the known subwords of a marked word, in the order of `subwords_of`."""
        if word not in self._found:
            # The same words occur again and again, but not for ever.
            if len(self._found) > 200_000:
                self._found.clear()
            known = self._subword_features
            self._found[word] = np.array([known[one] for one in subwords_of(word) if one in known], dtype=np.int32)
        return self._found[word]

    def bag_of(self, tokens: pa.Array, ids: Int32s, offsets: Int64s, unknown_id: int) -> Bag:
        """The features of texts.

        Args:
            tokens: strings [tokens], the words of all texts; a null is a word without parts. ids: int32 [tokens], their ids;
                offsets: int64 [rows + 1], where each text begins.
        """
        rows = len(offsets) - 1
        row = np.repeat(np.arange(rows), np.diff(offsets))
        known = ids != unknown_id
        words_row, words, words_tf = _distinct(row[known], ids[known], len(self.idf))
        squares = np.bincount(words_row, (words_tf * self.idf[words]) ** 2, minlength=rows)
        pairs_row, pairs, pairs_tf = self._pairs_of(ids, offsets)
        parts_row, parts, parts_weight, unknown = self._parts_of(row[~known], tokens.filter(pa.array(~known)), rows)
        scale = 1 / np.sqrt(np.maximum(squares + unknown, 1e-12))
        text = np.concatenate([words_row, pairs_row, parts_row])
        order = np.argsort(text, kind="stable")
        weights = np.concatenate([words_tf, pairs_tf, parts_weight]) * scale[text]
        ends = np.concatenate(([0], np.cumsum(np.bincount(text, minlength=rows))))
        features = np.concatenate([words, pairs, parts])[order]
        return Bag(features.astype(np.int32), weights[order].astype(np.float32), ends.astype(np.int64))

    def _pairs_of(self, ids: Int32s, offsets: Int64s) -> tuple[Int64s, Int64s, Float64s]:
        """Texts, features and tf of the distinct known pairs."""
        keys, features = self._pair_keys
        if not len(ids) or not len(keys):
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
        row, first, second = neighbours(ids, offsets)
        found = _pair_key(first, second)
        places = np.minimum(np.searchsorted(keys, found), len(keys) - 1)
        inside = keys[places] == found
        return _distinct(row[inside], features[places[inside]], self.size)

    def _parts_of(self, row: Int64s, words: pa.Array, rows: int) -> tuple[Int64s, Int64s, Any, Any]:
        """For the unknown words: texts, features and weights of their subwords, and each text's sum of (tf x idf)²."""
        encoded = words.dictionary_encode()
        codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        # Long words with the same beginning count as one here.
        unknown, code_of = np.unique([marked(word) for word in encoded.dictionary.to_pylist()] or [""], return_inverse=True)
        row, codes, tf = _distinct(row[codes >= 0], code_of[codes[codes >= 0]], len(unknown))
        parts = [self.subword_features(word) for word in unknown.tolist()]
        counts = np.array([len(one) for one in parts], dtype=np.int64)
        flat = np.concatenate([*parts, np.empty(0, np.int32)])
        places, _ = places_of(np.concatenate(([0], np.cumsum(counts))), codes)
        weights = np.repeat(tf * self.unknown_idf / np.sqrt(np.maximum(counts, 1))[codes], counts[codes])
        squares = np.bincount(row, (tf * self.unknown_idf) ** 2, minlength=rows)
        return np.repeat(row, counts[codes]), flat[places].astype(np.int64), weights, squares

    def as_json(self) -> dict[str, Any]:
        return {
            "idf": [round(float(value), 4) for value in self.idf],
            "unknown_idf": self.unknown_idf,
            "pairs": self.pairs.ravel().tolist(),
            "subwords": list(self.subwords),
        }


def _pair_key(first: Int32s, second: Int32s) -> Int64s:
    return first.astype(np.int64) << 32 | second.astype(np.int64)


def neighbours(ids: Int32s, offsets: Int64s) -> tuple[Int64s, Int32s, Int32s]:
    """The text, the first and the second id of each pair of neighbours, those at a text's edges included."""
    starts = offsets[:-1][np.diff(offsets) > 0]
    # Before each text, and after the last one.
    edged = np.append(np.insert(ids, starts, np.int32(EDGE)), np.int32(EDGE))
    row = np.repeat(np.flatnonzero(np.diff(offsets)), np.diff(offsets)[np.diff(offsets) > 0] + 1)
    return row, edged[:-1], edged[1:]


def _distinct(row: Int64s, values: Any, many: int) -> tuple[Int64s, Int64s, Float64s]:
    """Each pair of a text and a value below `many` once, ascending, and its tf."""
    keys, counts = np.unique(row * many + values, return_counts=True)
    return keys // many, keys % many, 1 + np.log(counts)


def bag_vocabulary(content: Any, first_word: int, words: int) -> BagVocabulary:
    """From JSON, checked.

    Args:
        first_word, words: the words of the vocabulary have the ids from first_word to words - 1.
    Raises:
        BundleError: anything about it does not fit.
    """
    try:
        idf = np.array(content["idf"], dtype=np.float32)
        pairs = np.array(content["pairs"], dtype=np.int32).reshape(-1, 2)
        subwords: Sequence[Any] = content["subwords"]
        unknown = float(content["unknown_idf"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BundleError(
            f"Expected the vocabulary of a bag of features, found something else ({error}); retrain the bundle."
        ) from None
    fits = (
        idf.shape == (words,)
        and np.isfinite(idf).all()
        and np.isfinite(unknown)
        and unknown > 0
        and (((pairs >= first_word) & (pairs < words)) | (pairs == EDGE)).all()
        and len(np.unique(_pair_key(pairs[:, 0], pairs[:, 1]))) == len(pairs)
        and isinstance(subwords, list)
        and all(isinstance(one, str) and one for one in subwords)
        and len(set(subwords)) == len(subwords)
    )
    if not fits:
        raise BundleError(
            f"Expected an idf for each of {words} word ids, distinct pairs of them and distinct subwords in the bag's vocabulary, "
            "found something else; retrain the bundle."
        )
    return BagVocabulary(idf, unknown, pairs, tuple(subwords))
