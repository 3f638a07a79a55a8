"""How a training uses pretrained word vectors: further words, a row for each word, and how many words have a vector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
import pyarrow as pa

from lib.errors import InputError
from lib.model.arrays import Float32s
from lib.model.text import FIRST_WORD_ID, TextSettings
from training.fit import build_vocabulary, counted_words
from training.vectors import WordVectors, read_vectors

# The most words that are looked for, the most frequent: they bound what is kept of a file.
MOST_WANTED = 200_000


@dataclass(frozen=True)
class Coverage:
    """How many of the distinct words of texts, and what share of all their words, have a vector."""

    known: int
    words: int
    share_of_tokens: float

    def __str__(self) -> str:
        return f"vectors for {self.known:,} of {self.words:,} words, {self.share_of_tokens:.0%} of the tokens"


def vectors_for(path: str, texts: Sequence[pa.Array], settings: TextSettings, others: int, note: str = "") -> WordVectors:
    """The vectors of a file for the words of all `texts` (MOST_WANTED of each), and for its first `others` words.

    Raises:
        InputError: a file that cannot be read, or one that contains something other than word vectors.
    """
    wanted = frozenset(chain.from_iterable(build_vocabulary(some, settings, MOST_WANTED, 1) for some in texts))
    return read_vectors(path, wanted, others, settings, note)


def coverage(vectors: WordVectors, texts: pa.Array, settings: TextSettings) -> Coverage:
    """The coverage of the words of `texts`.

    Raises:
        InputError: no word of them has a vector.
    """
    counts = counted_words(texts, settings)
    known = {word: count for word, count in counts.items() if word in vectors.place}
    if not known:
        raise InputError(
            f"Expected vectors of words of the labelled texts in {vectors.name}, found none of their {len(counts):,} words in its "
            f"{vectors.rows:,} rows; give vectors of the texts' language."
        )
    return Coverage(len(known), len(counts), sum(known.values()) / sum(counts.values()))


def words_with_vectors(
    vectors: WordVectors, words: Sequence[str], texts: Sequence[pa.Array], settings: TextSettings, most: int
) -> list[str]:
    """Words besides `words` that have a vector, at most `most` of them.

    The words of the first of `texts` come first, by frequency, then those of the next, then the most frequent of the file. Others that
    `vectors` has are left out: it is read for all texts, those that are judged on among them, and their words must not be known by that.
    """
    known = set(words)

    def candidates() -> Iterator[str]:
        of_texts = (word for some in texts for word in build_vocabulary(some, settings, len(vectors.words), 1))
        for word in chain(of_texts, vectors.words[: vectors.first]):
            if word in vectors.place and word not in known:
                known.add(word)
                yield word

    return list(islice(candidates(), most))


def rows_of(vectors: WordVectors, words: Sequence[str]) -> Float32s:
    """The vector of each word id, float32 [word ids, width]: of root mean square 1, zero for a word without one."""
    rows = np.zeros((FIRST_WORD_ID + len(words), vectors.width), np.float32)
    found = [(i, vectors.place[word]) for i, word in enumerate(words, FIRST_WORD_ID) if word in vectors.place]
    if found:
        ids, places = np.array(found).T
        rows[ids] = vectors.values[places]
    scale = np.sqrt((rows**2).mean(axis=1, keepdims=True))
    return (rows / np.maximum(scale, 1e-12)).astype(np.float32)


def record_of(vectors: WordVectors, rows: Float32s, own: int) -> dict[str, Any]:
    """For the manifest: the file, and how many word ids have a vector, those from `own` on have nothing else."""
    return {
        "name": vectors.name,
        "sha256": vectors.sha256,
        "rows": vectors.rows,
        "width": vectors.width,
        "note": vectors.note,
        "words": int(rows.any(axis=1).sum()),
        "words_of_vector_alone": len(rows) - own,
    }
