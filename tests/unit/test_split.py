from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from lib.errors import InputError
from lib.model.text import TextSettings
from training.dataset import LabelledTexts
from training.near_duplicates import Groups, near_duplicates
from training.sides import groups_of, split_data
from training.split import OF_VARIANTS, TEST, TRAIN, VALIDATION, folds_by_group, split_by_group, split_of

WORDS = np.array([f"word{i}" for i in range(4000)], dtype=object)
# File, text, label, and a column of groups.
REAL = (
    ("ecommerce_text.parquet", "text", "label", None),
    ("suite/grocery.parquet", "title", "aisle", None),
    ("suite/webproducts.parquet", "title", "level3", None),
    ("suite/webproducts.parquet", "title", "level3", "host"),
)


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
    groups = near_duplicates(pa.array(texts), TextSettings())
    pairs = {(product, group) for product, group in zip(product_of, groups.numbers, strict=True)}
    assert len(pairs) == 150
    assert len({group for _, group in pairs}) == 150


def test_no_group_crosses_the_split_and_every_label_is_on_every_side() -> None:
    texts, product_of = catalogue(200)
    labels = np.array(product_of) % 4
    groups = near_duplicates(pa.array(texts), TextSettings())
    split = split_by_group(groups, labels, texts, 0.2, 0.1, seed=1)
    sides = (split.train, split.validation, split.test)
    assert sorted(np.concatenate(sides)) == list(range(len(texts)))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not set(groups.numbers[sides[one]]) & set(groups.numbers[sides[other]])
    for side, share in zip(sides, (0.7, 0.1, 0.2), strict=True):
        assert set(labels[side]) == {0, 1, 2, 3}
        assert len(side) / len(texts) == pytest.approx(share, abs=0.02)


def test_the_order_of_the_rows_does_not_matter() -> None:
    texts, product_of = catalogue(60)
    labels = np.array(product_of) % 2
    order = np.random.default_rng(4).permutation(len(texts))

    def test_texts(texts: list[str], labels: np.ndarray) -> set[str]:
        groups = near_duplicates(pa.array(texts), TextSettings())
        return {texts[i] for i in split_by_group(groups, labels, texts, 0.2, 0.2, seed=1).test}

    # A group's side hangs on its first text in digest order, so copies of one product stay together in any order.
    assert test_texts(texts, labels) == test_texts([texts[i] for i in order], labels[order])


def lamps_and_words() -> tuple[list[str], np.ndarray]:
    """Six texts of one lamp and six of all kinds."""
    texts = [f"the same long description of one lamp in size {i}" for i in range(6)] + [f"{w} {w}x" for w in WORDS[:6]]
    return texts, np.repeat([0, 1], 6)


def test_a_label_of_near_copies_only_is_on_the_train_side() -> None:
    texts, labels = lamps_and_words()
    split = split_by_group(near_duplicates(pa.array(texts), TextSettings()), labels, texts, 0.2, 0.2, seed=1)
    assert set(labels[split.validation]) == set(labels[split.test]) == {1}
    assert set(range(6)) <= set(split.train)


def test_labels_none_of_which_can_be_judged_are_refused() -> None:
    texts, _ = lamps_and_words()
    texts = [*texts[:6], *(text.replace("lamp", "chair in grey") for text in texts[:6])]
    with pytest.raises(
        InputError, match="a label with at least 3 groups of unlike texts, one for each side, found none among 12"
    ):
        split_by_group(near_duplicates(pa.array(texts), TextSettings()), np.repeat([0, 1], 6), texts, 0.2, 0.2, seed=1)


def test_texts_of_a_template_are_judged_as_its_variants() -> None:
    from tests.recipes import tiny_recipe

    topics = "refund", "delivery", "login", "invoice"
    texts = [
        f"dear support team this is ticket {i} about a problem with my {topics[i % 4]} please get back to me as soon as you can"
        for i in range(200)
    ]
    data = LabelledTexts(pa.array(texts), np.arange(200) % 4, topics, 200, {}, "f" * 64)
    said: list[str] = []
    groups = groups_of(data, tiny_recipe(), said.append)
    split = split_data(data, groups, tiny_recipe(), said.append)
    assert min(len(split.train), len(split.validation), len(split.test)) >= 36
    assert split.method == OF_VARIANTS
    assert said[0].startswith("No label has 3 groups of unlike texts: they are variants of a few")
    # A column that says what belongs together is believed.
    one = replace(data, groups=pa.array(["a"] * 200), group_column="shop")
    assert not groups_of(one, tiny_recipe(), said.append).of_variants


def chains(lengths: Sequence[int], others: int, seed: int = 0) -> list[str]:
    """Chains of texts, each near to the few before it and unlike those further away, and texts of all kinds."""
    random = np.random.default_rng(seed)
    texts = []
    for chain, length in enumerate(lengths):
        words = [f"c{chain}w{i}" for i in range(length + 20)]
        texts += [" ".join(words[i : i + 20]) for i in range(length)]
    return texts + [" ".join(random.choice(WORDS, 20)) for _ in range(others)]


def test_a_chain_of_look_alikes_does_not_fill_a_side() -> None:
    texts = chains((500, 400), 2100)
    labels = np.arange(3000) % 3
    groups = near_duplicates(pa.array(texts), TextSettings())
    assert np.bincount(groups.numbers).max() < 20
    split = split_by_group(groups, labels, texts, 0.15, 0.1, seed=7)
    assert len(split.test) / 3000 == pytest.approx(0.15, abs=0.02)
    assert len(split.validation) / 3000 == pytest.approx(0.10, abs=0.02)
    # Enough texts are in no chain, so none has to be split.
    assert split.left_out == 0


def test_what_a_chain_has_on_another_side_than_a_near_duplicate_is_left_out() -> None:
    texts = chains((600,), 0)
    labels = np.arange(600) % 2
    groups = near_duplicates(pa.array(texts), TextSettings())
    split = split_by_group(groups, labels, texts, 0.15, 0.1, seed=7)
    assert len(split.test) / 600 == pytest.approx(0.15, abs=0.02)
    assert 0 < split.left_out < 250
    side = np.full(600, -1)
    for number, rows in enumerate((split.train, split.validation, split.test)):
        side[rows] = number
    for one, other in zip(groups.first, groups.second, strict=True):
        assert side[one] == side[other] or -1 in (side[one], side[other])


def test_small_labels_do_not_make_the_test_side_larger_than_asked() -> None:
    """A hundred labels of three texts give a third each, which the large labels make up for."""
    texts = chains((), 2300)
    labels = np.concatenate([np.repeat(np.arange(100), 3), np.full(1000, 100), np.full(1000, 101)])
    split = split_by_group(near_duplicates(pa.array(texts), TextSettings()), labels, texts, 0.15, 0.10, seed=3)
    assert len(split.test) / 2300 == pytest.approx(0.15, abs=0.02)
    assert len(split.validation) / 2300 == pytest.approx(0.10, abs=0.02)
    for side in (split.train, split.validation, split.test):
        assert set(labels[side]) == set(range(102))


def test_a_group_of_more_than_half_a_side_is_on_the_train_side() -> None:
    texts = chains((), 400)
    names = pa.array([*["large"] * 40, *[f"shop {i % 90}" for i in range(360)]])
    groups = near_duplicates(pa.array(texts), TextSettings(), names)
    for seed in range(20):
        split = split_by_group(groups, np.arange(400) % 2, texts, 0.15, 0.15, seed=seed)
        assert set(range(40)) <= set(split.train)


def test_groups_that_are_given_stay_whole_and_what_is_alike_in_two_of_them_does_not_leak() -> None:
    """Forty shops; every fifth text is in another shop too, in another size."""
    texts, shops = [], []
    for i, text in enumerate(chains((), 800)):
        texts.append(text)
        shops.append(f"shop {i % 40}" if i % 10 else None)
        if i % 5 == 1:
            texts.append(f"{text} large")
            shops.append(f"shop {(i + 7) % 40}")
    labels = np.arange(len(texts)) % 3
    groups = near_duplicates(pa.array(texts), TextSettings(), pa.array(shops))
    split = split_by_group(groups, labels, texts, 0.2, 0.1, seed=1)
    train, test = ({shops[i] for i in side} - {None} for side in (split.train, split.test))
    assert train
    assert test
    assert not train & test
    assert len(split.test) / len(texts) == pytest.approx(0.2, abs=0.02)
    assert split.left_out > 0
    judged = {texts[i].removesuffix(" large") for i in split.test}
    assert not judged & {texts[i].removesuffix(" large") for i in (*split.train, *split.validation)}
    folds = folds_by_group(groups, labels, texts, 5, seed=1)
    assert len({(shop, fold) for shop, fold in zip(shops, folds, strict=True) if shop}) == len(set(shops) - {None})


def test_the_real_data_are_split_as_asked(real_data: Path) -> None:
    """Hundreds of labels, some of two texts, and chains of hundreds of product names."""
    for name, text, label, group in REAL:
        path = real_data / name
        if not path.is_file():
            pytest.skip(f"{path} is missing")
        rows = pd.read_parquet(path).drop_duplicates(text).dropna(subset=[text, label])
        rows = rows.groupby(label).filter(lambda some: len(some) > 1)
        texts, labels = rows[text].tolist(), rows[label].astype("category").cat.codes.to_numpy().astype(np.int64)
        names = pa.array(rows[group], pa.string(), from_pandas=True) if group else None
        groups = near_duplicates(pa.array(texts, pa.string()), TextSettings(), names)
        split = split_by_group(groups, labels, texts, 0.15, 0.10, seed=7)
        assert len(split.test) / len(texts) == pytest.approx(0.15, abs=0.02), name
        assert len(split.validation) / len(texts) == pytest.approx(0.10, abs=0.02), name
        if not group:
            assert split.left_out <= 0.01 * len(texts), name
            large = np.flatnonzero(pd.DataFrame({"l": labels, "g": groups.numbers}).groupby("l")["g"].nunique() >= 3)
            assert set(large) <= set(labels[split.test]) & set(labels[split.validation]), name


def test_folds_of_labels_with_fewer_groups_than_folds() -> None:
    texts, labels = lamps_and_words()
    groups = near_duplicates(pa.array(texts), TextSettings())
    folds = folds_by_group(groups, labels, texts, 4, seed=1)
    assert len(set(folds[:6])) == 1
    assert set(folds) == {0, 1, 2, 3}
    with pytest.raises(InputError, match="at least as many groups of unlike texts as folds, found 7 for 8 folds"):
        folds_by_group(groups, labels, texts, 8, seed=1)


def test_a_near_duplicate_is_taken_from_the_side_that_is_judged_on_less() -> None:
    groups = Groups(np.arange(4), first=np.array([0, 2]), second=np.array([1, 3]))
    split = split_of(np.array([TRAIN, TEST, TEST, VALIDATION]), groups)
    assert [side.tolist() for side in (split.train, split.validation, split.test)] == [[], [], [1, 2]]
    assert split.left_out == 2


def test_folds_hold_whole_groups_and_every_label() -> None:
    texts, product_of = catalogue(200)
    labels = np.array(product_of) % 4
    groups = near_duplicates(pa.array(texts), TextSettings())
    folds = folds_by_group(groups, labels, texts, 5, seed=1)
    assert len({(group, fold) for group, fold in zip(groups.numbers, folds, strict=True)}) == len(set(groups.numbers))
    for fold in range(5):
        assert set(labels[folds == fold]) == {0, 1, 2, 3}
        assert (folds == fold).mean() == pytest.approx(0.2, abs=0.01)
    again = folds_by_group(groups, labels, texts, 5, seed=2)
    assert (folds != again).any()


def test_without_a_test_side_nothing_goes_there() -> None:
    texts, product_of = catalogue(60)
    labels = np.array(product_of) % 2
    groups = near_duplicates(pa.array(texts), TextSettings())
    split = split_by_group(groups, labels, texts, 0.0, 0.001, seed=1)
    assert len(split.test) == 0
    assert set(labels[split.validation]) == {0, 1}


def test_a_shop_that_alone_has_a_label_is_on_the_train_side() -> None:
    texts = chains((), 300)
    shops = np.arange(300) % 20
    # Labels 1 to 8 are each in only one shop, next to a label that all have.
    labels = np.where((shops < 8) & (np.arange(300) % 3 == 0), shops + 1, 0)
    groups = near_duplicates(pa.array(texts), TextSettings(), pa.array([f"shop {i}" for i in shops]))
    for seed in range(10):
        split = split_by_group(groups, labels, texts, 0.2, 0.2, seed=seed)
        assert set(labels[split.train]) == set(range(9))
        assert len(split.test) / 300 == pytest.approx(0.2, abs=0.02)


def test_near_duplicates_in_other_groups_may_leave_nothing_to_learn_from() -> None:
    """Shops that sell the same goods, with a group for each shop."""
    texts = pa.array(
        [
            f"{name} of shop"
            for _ in range(3)
            for name in ("red steel kettle large", "blue cotton shirt small", "old novel about lamps")
        ]
    )
    labels = np.tile(np.arange(3), 3)
    groups = near_duplicates(texts, TextSettings(), pa.array(np.repeat(["a", "b", "c"], 3)))
    with pytest.raises(
        InputError, match="Expected texts for the train side that are not near-duplicates of those of another side, found none"
    ):
        split_by_group(groups, labels, texts.to_pylist(), 0.2, 0.2, 1)
