from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from lib.errors import InputError
from lib.text import TextSettings
from training.near_duplicates import near_duplicate_groups
from training.split import folds_by_group, split_by_group

WORDS = np.array([f"word{i}" for i in range(4000)], dtype=object)


def catalogue(products: int, seed: int = 0) -> tuple[list[str], list[int]]:
    """Texts of `products` products, each in one to four sizes, and the product each belongs to."""
    random = np.random.default_rng(seed)
    texts, product_of = [], []
    for product in range(products):
        body = " ".join(random.choice(WORDS, 25))
        for size in range(random.integers(1, 5)):
            texts.append(f"{body} size {size}")
            product_of.append(product)
    return texts, product_of


def test_sizes_of_one_product_share_a_group_and_products_do_not() -> None:
    texts, product_of = catalogue(150)
    groups = near_duplicate_groups(pa.array(texts), TextSettings())
    pairs = {(product, group) for product, group in zip(product_of, groups, strict=True)}
    assert len(pairs) == 150
    assert len({group for _, group in pairs}) == 150


def test_no_group_crosses_the_split_and_every_label_is_on_every_side() -> None:
    texts, product_of = catalogue(200)
    labels = np.array(product_of) % 4
    groups = near_duplicate_groups(pa.array(texts), TextSettings())
    split = split_by_group(groups, labels, "abcd", texts, 0.2, 0.1, seed=1)
    sides = (split.train, split.validation, split.test)
    assert sorted(np.concatenate(sides)) == list(range(len(texts)))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not set(groups[sides[one]]) & set(groups[sides[other]])
    for side, share in zip(sides, (0.7, 0.1, 0.2), strict=True):
        assert set(labels[side]) == {0, 1, 2, 3}
        assert len(side) / len(texts) == pytest.approx(share, abs=0.04)


def test_the_order_of_the_rows_does_not_matter() -> None:
    texts, product_of = catalogue(60)
    labels = np.array(product_of) % 2
    order = np.random.default_rng(4).permutation(len(texts))

    def test_texts(texts: list[str], labels: np.ndarray) -> set[str]:
        groups = near_duplicate_groups(pa.array(texts), TextSettings())
        return {texts[i] for i in split_by_group(groups, labels, "ab", texts, 0.2, 0.2, seed=1).test}

    # A group's side hangs on its first text in digest order, so copies of one product stay together in any order.
    assert test_texts(texts, labels) == test_texts([texts[i] for i in order], labels[order])


def test_a_label_of_near_copies_only_is_refused() -> None:
    texts = [f"the same long description of one lamp in size {i}" for i in range(6)] + [f"{w} {w}x" for w in WORDS[:6]]
    groups = near_duplicate_groups(pa.array(texts), TextSettings())
    with pytest.raises(InputError, match="at least three groups of unlike texts for each label, found 1 for 'lamps'"):
        split_by_group(groups, np.repeat([0, 1], 6), ["lamps", "words"], texts, 0.2, 0.2, seed=1)


def test_folds_hold_whole_groups_and_every_label() -> None:
    texts, product_of = catalogue(200)
    labels = np.array(product_of) % 4
    groups = near_duplicate_groups(pa.array(texts), TextSettings())
    folds = folds_by_group(groups, labels, texts, 5, seed=1)
    assert len({(group, fold) for group, fold in zip(groups, folds, strict=True)}) == len(set(groups))
    for fold in range(5):
        assert set(labels[folds == fold]) == {0, 1, 2, 3}
        assert (folds == fold).mean() == pytest.approx(0.2, abs=0.03)
    again = folds_by_group(groups, labels, texts, 5, seed=2)
    assert (folds != again).any()


def test_without_a_test_side_nothing_goes_there() -> None:
    texts, product_of = catalogue(60)
    labels = np.array(product_of) % 2
    groups = near_duplicate_groups(pa.array(texts), TextSettings())
    split = split_by_group(groups, labels, "ab", texts, 0.0, 0.001, seed=1)
    assert len(split.test) == 0
    assert set(labels[split.validation]) == {0, 1}
