"""Word embeddings from co-occurrence, to start the network from: which words occur together needs no labels.

Positive pointwise mutual information with smoothed contexts, factored by a truncated SVD: Levy, Goldberg and Dagan 2015,
"Improving Distributional Similarity with Lessons Learned from Word Embeddings" (context distribution smoothing 0.75,
symmetric singular values). On texts of this size they are as good as skip-gram, take seconds, and are the same on every run.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.linalg import ArpackError, svds
from sklearn.utils.extmath import randomized_svd

from lib.model.arrays import Float32s, Float64s, Int32s
from lib.model.text import FIRST_WORD_ID, PAD_ID, TokenIds

# The greatest distance in words; a pair d words apart counts 1/d.
WINDOW = 5
SMOOTHING = 0.75
# Tokens counted at a time: the pairs of a million texts would be many gigabytes.
BLOCK_TEXTS = 50_000
# Root mean square of an embedding's values. Much smaller and the fit has to grow them first, much larger and it cannot
# move them.
SCALE = 0.1


def cooccurrence_embeddings(texts: TokenIds, vocabulary_size: int, size: int, seed: int) -> Float32s:
    """Embeddings float32 [vocabulary_size, size] of root mean square SCALE per row.

    Words that never occur near another known word get small random values; padding and out-of-vocabulary get zeros.
    """
    counts = _cooccurrences(texts, vocabulary_size)
    size_found = min(size, vocabulary_size - 1)
    weighted = _positive_pmi(counts)
    if weighted.nnz == 0:
        return _random(vocabulary_size, size, seed)
    left, singular = _largest_singular(weighted, size_found, seed)
    embeddings = np.zeros((vocabulary_size, size))
    embeddings[:, :size_found] = left * np.sqrt(singular)
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    known = norms[:, 0] > 1e-8
    embeddings[known] *= SCALE * np.sqrt(size) / norms[known]
    embeddings[~known] = _random(vocabulary_size, size, seed)[~known]
    embeddings[:FIRST_WORD_ID] = 0
    return embeddings.astype(np.float32)


def _largest_singular(matrix: csr_matrix, count: int, seed: int) -> tuple[Float64s, Float64s]:
    """The `count` largest singular values [count] of a square matrix, and their left vectors [rows, count]."""
    try:
        left, singular, _ = svds(matrix, k=count, v0=np.ones(matrix.shape[0]))
    except ArpackError:
        # If few words of the texts occur together the matrix may have fewer dimensions than are asked for.
        left, singular, _ = randomized_svd(matrix, count, n_oversamples=count, n_iter=12, random_state=seed)
    return left, singular


def _random(vocabulary_size: int, size: int, seed: int) -> Float32s:
    return np.random.default_rng(seed).normal(0, SCALE / 2, (vocabulary_size, size)).astype(np.float32)


def _cooccurrences(texts: TokenIds, vocabulary_size: int) -> csr_matrix:
    """Weighted counts of pairs of known words within WINDOW of each other, symmetric."""
    counts = csr_matrix((vocabulary_size, vocabulary_size))
    for start in range(0, len(texts.lengths), BLOCK_TEXTS):
        line = _one_line(texts.rows(np.arange(start, min(start + BLOCK_TEXTS, len(texts.lengths)))))
        for distance in range(1, WINDOW + 1):
            first, second = line[:-distance], line[distance:]
            both = (first >= FIRST_WORD_ID) & (second >= FIRST_WORD_ID)
            pairs = (np.full(int(both.sum()), 1 / distance), (first[both], second[both]))
            counts = counts + coo_matrix(pairs, shape=counts.shape).tocsr()
    return counts + counts.T


def _one_line(texts: TokenIds) -> Int32s:
    """All texts in one row, separated by enough padding that no window reaches from one into the next."""
    shift = np.repeat(np.arange(len(texts.lengths)) * WINDOW, texts.lengths)
    line = np.full(len(texts.ids) + WINDOW * len(texts.lengths), PAD_ID, dtype=np.int32)
    line[np.arange(len(texts.ids)) + shift] = texts.ids
    return line


def _positive_pmi(counts: csr_matrix) -> csr_matrix:
    words = np.asarray(counts.sum(axis=1)).ravel()
    contexts = words**SMOOTHING
    contexts /= contexts.sum() or 1
    cells = counts.tocoo()
    information = np.log(cells.data / (words[cells.row] * contexts[cells.col]))
    positive = information > 0
    return csr_matrix((information[positive], (cells.row[positive], cells.col[positive])), shape=counts.shape)
