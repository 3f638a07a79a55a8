from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import ArpackError

from lib.model.text import TextSettings, Tokenizer
from training.embeddings import SCALE, WINDOW, _cooccurrences, _largest_singular, _positive_pmi, cooccurrence_embeddings

KITCHEN = ["kettle", "pan", "lid", "hob", "spoon"]
SHELF = ["novel", "author", "paperback", "chapter", "poems"]
TOKENIZER = Tokenizer([*KITCHEN, *SHELF, "lonely"], TextSettings())


def texts(seed: int = 0):
    random = np.random.default_rng(seed)
    rows = [" ".join(random.choice(words, 8)) for _ in range(200) for words in (KITCHEN, SHELF)]
    return TOKENIZER.ids_of(pa.array([*rows, "lonely", "unknown lonely", ""]))


def test_words_of_one_shelf_lie_closer_than_words_of_two() -> None:
    embeddings = cooccurrence_embeddings(texts(), TOKENIZER.vocabulary_size, 4, seed=1)
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-9)
    likeness = unit[2:12] @ unit[2:12].T
    assert likeness[:5, :5].mean() > 0.6
    assert likeness[5:, 5:].mean() > 0.6
    assert likeness[:5, 5:].mean() < 0.2


def test_shape_scale_and_special_rows() -> None:
    embeddings = cooccurrence_embeddings(texts(), TOKENIZER.vocabulary_size, 4, seed=1)
    assert embeddings.shape == (13, 4)
    assert embeddings.dtype == np.float32
    assert not embeddings[:2].any()
    np.testing.assert_allclose(np.sqrt((embeddings[2:12] ** 2).mean(axis=1)), SCALE, rtol=1e-5)
    assert embeddings[12].any()


def test_the_same_texts_give_the_same_embeddings() -> None:
    first, second = (cooccurrence_embeddings(texts(), TOKENIZER.vocabulary_size, 4, seed=1) for _ in range(2))
    assert (first == second).all()


def test_more_dimensions_than_words() -> None:
    assert cooccurrence_embeddings(texts(), TOKENIZER.vocabulary_size, 64, seed=1).shape == (13, 64)


def test_texts_without_pairs() -> None:
    ids = TOKENIZER.ids_of(pa.array(["lonely", ""]))
    assert np.isfinite(cooccurrence_embeddings(ids, TOKENIZER.vocabulary_size, 4, seed=1)).all()


@pytest.mark.parametrize("distance", range(1, WINDOW + 2))
def test_pairs_count_by_their_distance_and_never_across_texts(distance: int) -> None:
    text = " ".join(["kettle", *["unknown"] * (distance - 1), "novel"])
    counts = _cooccurrences(TOKENIZER.ids_of(pa.array([text, "pan"])), TOKENIZER.vocabulary_size).toarray()
    expected = 1 / distance if distance <= WINDOW else 0
    assert counts[2, 7] == counts[7, 2] == pytest.approx(expected)
    assert counts.sum() == pytest.approx(2 * expected)


@pytest.mark.parametrize("seed", [51, 98, 101, 274])
def test_texts_of_which_few_words_keep_company_have_embeddings_too(seed: int) -> None:
    """For these matrices ARPACK reports that no shifts could be applied, or, with other rounding, misses one of equal values."""
    random = np.random.default_rng(seed)
    words, pairs = int(random.integers(60, 400)), int(random.integers(10, 120))
    cells = np.ones(pairs), (random.integers(0, words, pairs), random.integers(0, words, pairs))
    counts = csr_matrix(cells, shape=(words, words))
    matrix = _positive_pmi(counts + counts.T)
    left, singular = _largest_singular(matrix, 48, seed=1)
    np.testing.assert_allclose(left.T @ left, np.eye(48), atol=1e-6)
    best = np.square(np.linalg.svd(matrix.toarray(), compute_uv=False)[:48]).sum()
    # ARPACK, when it succeeds, may return the next smaller of several equal values: 3 % in the worst of 400 such matrices.
    assert np.square(singular).sum() == pytest.approx(best, rel=0.05)
    assert np.square(matrix.T @ left).sum() == pytest.approx(best, rel=0.05)


def test_where_arpack_fails_the_values_are_found_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ArpackError(3)

    matrix = csr_matrix(np.random.default_rng(1).poisson(0.05, (300, 300)).astype(float))
    expected = np.linalg.svd(matrix.toarray(), compute_uv=False)[:48]
    monkeypatch.setattr("training.embeddings.svds", fails)
    left, singular = _largest_singular(matrix, 48, seed=1)
    np.testing.assert_allclose(np.sort(singular)[::-1], expected, rtol=0.01)
    np.testing.assert_allclose(np.sort(np.linalg.norm(matrix.T @ left, axis=0))[::-1], expected, rtol=0.01)
