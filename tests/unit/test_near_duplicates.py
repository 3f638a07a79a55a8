from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest

from lib.model.text import TextSettings, tokens_of
from training.near_duplicates import NEIGHBOURS, SIMILARITY, jaccard, near_duplicate_groups, near_duplicates, shingles_of

SETTINGS = TextSettings()


def word_shingles(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[i : i + 3]) for i in range(len(words))}


def similarity(one: str, other: str) -> float:
    a, b = word_shingles(one), word_shingles(other)
    return len(a & b) / (len(a | b) or 1)


def variants(products: int, seed: int) -> list[str]:
    """Texts with more and fewer words exchanged, so that similarities of all sizes occur."""
    random = np.random.default_rng(seed)
    texts = []
    for _ in range(products):
        words = [f"w{i}" for i in random.integers(0, 3000, random.integers(1, 40))]
        for changes in range(random.integers(1, 5)):
            other = list(words)
            for place in random.integers(0, len(words), changes):
                other[place] = f"x{random.integers(0, 9999)}"
            texts.append(" ".join(other))
    return texts


def same_group(groups: np.ndarray) -> set[tuple[int, int]]:
    return {(i, j) for i, j in itertools.combinations(range(len(groups)), 2) if groups[i] == groups[j]}


def connected(texts: list[str]) -> np.ndarray:
    """By comparing all pairs."""
    group = np.arange(len(texts))
    for i, j in itertools.combinations(range(len(texts)), 2):
        if similarity(texts[i], texts[j]) >= SIMILARITY:
            group[group == group[j]] = group[i]
    return group


def test_groups_are_those_of_comparing_all_pairs() -> None:
    texts = variants(150, seed=1)
    found, expected = same_group(near_duplicate_groups(pa.array(texts), SETTINGS)), same_group(connected(texts))
    assert len(expected) > 100
    assert found <= expected
    # Locality-sensitive hashing misses a pair that is just similar enough four times in a thousand.
    assert len(expected - found) <= 0.02 * len(expected)


def test_similarity_is_that_of_the_sets_of_shingles() -> None:
    texts = [*variants(40, seed=2), "one", "one two", "two one", "a a a a a a", "a a a"]
    flat, lengths = shingles_of(tokens_of(pa.array(texts), SETTINGS))
    assert lengths.tolist() == [len(word_shingles(text)) for text in texts]
    first, second = (np.array(side) for side in zip(*itertools.combinations(range(len(texts)), 2), strict=True))
    found = jaccard(flat, np.concatenate(([0], np.cumsum(lengths))), first, second)
    assert found == pytest.approx([similarity(texts[i], texts[j]) for i, j in zip(first, second, strict=True)])


def test_a_thousand_copies_are_one_group() -> None:
    texts = [f"the same long description of a lamp with a shade of linen and a foot of oak number {i}" for i in range(1000)]
    assert len(set(near_duplicate_groups(pa.array(texts), SETTINGS))) == 1
    assert NEIGHBOURS < 1000


def test_texts_without_words_stand_alone() -> None:
    assert len(set(near_duplicate_groups(pa.array(["?!", "", None, "word", "word"]), SETTINGS))) == 4
    assert len(near_duplicate_groups(pa.array([], pa.string()), SETTINGS)) == 0


def test_blocks_do_not_show(monkeypatch) -> None:
    texts = pa.array(variants(60, seed=3))
    whole = same_group(near_duplicate_groups(texts, SETTINGS))
    monkeypatch.setattr("training.near_duplicates.BLOCK_TEXTS", 7)
    monkeypatch.setattr("training.near_duplicates.BLOCK_PAIRS", 5)
    assert same_group(near_duplicate_groups(texts, SETTINGS)) == whole


def test_a_chain_is_taken_apart_into_cores_and_what_is_near_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.near_duplicates.LARGEST_TEXTS", 30)
    words = [f"w{i}" for i in range(220)]
    chain = [" ".join(words[i : i + 20]) for i in range(200)]
    # Each of these is a near-duplicate of all of them: however many, they are one product.
    copies = [f"the same long description of a lamp with a shade of linen and a foot of oak number {i}" for i in range(60)]
    texts = [*chain, *copies]
    found = near_duplicates(pa.array(texts), SETTINGS)
    assert len(set(found.numbers[200:])) == 1
    assert set(found.numbers[200:]) & set(found.numbers[:200]) == set()
    for group in set(found.numbers[:200]):
        members = [texts[i] for i in np.flatnonzero(found.numbers == group)]
        assert any(all(similarity(core, one) >= SIMILARITY for one in members) for core in members)
    crossing = {(i, j) for i, j in itertools.combinations(range(200), 2) if similarity(texts[i], texts[j]) >= SIMILARITY}
    crossing -= same_group(found.numbers)
    pairs = set(zip(np.minimum(found.first, found.second), np.maximum(found.first, found.second), strict=True))
    assert pairs <= crossing
    assert len(pairs) >= 0.98 * len(crossing)
    assert set(found.chained) == set(found.numbers)
    order = np.random.default_rng(5).permutation(len(texts))
    shuffled = near_duplicates(pa.array([texts[i] for i in order]), SETTINGS)
    back = np.empty_like(order)
    back[order] = shuffled.numbers
    assert same_group(back) == same_group(found.numbers)


def test_given_groups_come_before_likeness() -> None:
    same = "one two three four five six seven eight nine ten"
    texts = [same, f"{same} eleven", "twelve", "thirteen", f"{same} fourteen"]
    found = near_duplicates(pa.array(texts), SETTINGS, pa.array(["a", "b", "a", None, None]))
    assert same_group(found.numbers) == {(0, 2)}
    assert set(zip(found.first, found.second, strict=True)) >= {(0, 1), (0, 4)}
    assert len(found.chained) == 0


MARKUP = '<div class="description" style="font-family: Arial; font-size: 14px"><p><b>{}</b></p><span style="color: rgb(0,0,0)"></span></div>'
FOOTER = " all prices include taxes and we ship within two days from our own stock in the city with a right of return for thirty days"


@pytest.mark.parametrize("rows", [90, 300, 2000])
@pytest.mark.parametrize("text", [MARKUP, "{}" + FOOTER], ids=["markup", "footer"])
def test_what_a_shop_writes_under_every_product_does_not_make_them_one(text: str, rows: int) -> None:
    random = np.random.default_rng(rows)
    texts = [text.format(" ".join(f"w{i}" for i in random.integers(0, 5000, random.integers(8, 13)))) for _ in range(rows)]
    # Two that share a word of their own as well may be a group.
    assert len(set(near_duplicate_groups(pa.array(texts), SETTINGS))) > 0.99 * rows


def test_variants_are_found_under_what_a_shop_writes_below_them() -> None:
    """Whether the others have it too or not, and however many variants there are of one of the products."""
    random = np.random.default_rng(3)
    bodies = [" ".join(f"w{i}" for i in random.integers(0, 5000, 12)) for _ in range(60)]
    product_of = np.r_[np.repeat(np.arange(60), 5), np.repeat(60, 300)]
    lamp = "a lamp with a shade of linen and a foot of oak that is oiled by hand twice a year in white"
    texts = [f"{bodies[product]} size {i}{FOOTER}" for i, product in enumerate(product_of[:300])]
    texts += [f"{lamp} size {i}" for i in range(300)]
    assert same_group(near_duplicate_groups(pa.array(texts), SETTINGS)) == same_group(product_of)
