"""What the features of a text are."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from lib.errors import BundleError
from lib.model.bag import Bag, BagVocabulary, bag_vocabulary, marked, subwords_of
from lib.model.text import FIRST_WORD_ID, TextSettings, Tokenizer

WORDS = ("steel", "kettle", "cup")
CONTENT = {
    "idf": [1.0, 1.0, 2.0, 3.0, 6.0],
    "unknown_idf": 4.0,
    "pairs": [2, 3, 3, 4],
    "subwords": ["<te", "tea", "pot>"],
}
VOCABULARY = bag_vocabulary(CONTENT, FIRST_WORD_ID, 5)


def bags(*texts: str) -> list[dict[int, float]]:
    bag = Tokenizer(WORDS, TextSettings(), VOCABULARY).ids_by_arrow(pa.array(texts)).bag
    assert bag is not None
    ends = zip(bag.offsets[:-1], bag.offsets[1:], strict=True)
    return [dict(zip(bag.features[a:b].tolist(), bag.weights[a:b].tolist(), strict=True)) for a, b in ends]


def test_words_and_pairs_have_the_weight_of_sublinear_tf_and_unit_length() -> None:
    twice = 1 + np.log(2)
    length = np.sqrt((twice * 2) ** 2 + (twice * 3) ** 2 + 6**2)
    assert bags("Steel kettle, steel kettle cup", "cup") == [
        pytest.approx({2: twice / length, 3: twice / length, 4: 1 / length, 5: twice / length, 6: 1 / length}),
        pytest.approx({4: 1 / 6}),
    ]


def test_an_unknown_word_is_its_known_subwords() -> None:
    # idf 4 of a length of 5, over the root of three subwords.
    assert bags("kettle teapot") == [pytest.approx({3: 1 / 5, **dict.fromkeys((7, 8, 9), 4 / 5 / np.sqrt(3))})]
    twice = 1 + np.log(2)
    length = np.sqrt(3**2 + (4 * twice) ** 2)
    assert bags("kettle teapot teapot") == [
        pytest.approx({3: 1 / length, **dict.fromkeys((7, 8, 9), 4 * twice / length / np.sqrt(3))})
    ]


def test_the_first_and_the_last_word_make_pairs_with_the_edge() -> None:
    vocabulary = bag_vocabulary({**CONTENT, "pairs": [0, 4, 4, 0, 2, 4]}, FIRST_WORD_ID, 5)
    texts = pa.array(["cup", "steel cup", "cup steel", "", "teapot cup"])
    bag = Tokenizer(WORDS, TextSettings(), vocabulary).ids_by_arrow(texts).bag
    assert bag is not None
    found = [set(one.tolist()) & {5, 6, 7} for one in np.split(bag.features, bag.offsets[1:-1])]
    assert found == [{5, 6}, {6, 7}, {5}, set(), {6}]


def test_texts_without_a_known_part_have_no_features() -> None:
    assert bags("zzz", "", "cup zzz") == [{}, {}, pytest.approx({4: 1 / np.sqrt(36 + 16)})]


def test_a_hidden_word_is_nothing_at_all() -> None:
    tokenizer = Tokenizer(WORDS, TextSettings(), VOCABULARY)
    hidden = tokenizer.ids_of_tokens(pa.array([["teapot", None, "cup"], ["cup"]], pa.list_(pa.string())))
    assert hidden.ids.tolist() == [1, 1, 4, 4]
    assert hidden.bag is not None
    assert hidden.bag.features[hidden.bag.offsets[1] :].tolist() == [4]
    assert len(hidden.bag.features) == 5


def test_subwords_stand_between_the_marks_of_a_word_s_ends() -> None:
    assert subwords_of(marked("cup")) == ["<cu", "cup", "up>", "<cup", "cup>", "<cup>"]
    assert subwords_of(marked("a")) == ["<a>"]
    assert marked("x" * 33) == "<" + "x" * 32


def test_rows_and_rectangles() -> None:
    bag = Bag(np.array([7, 8, 9], np.int32), np.array([1, 2, 3], np.float32), np.array([0, 1, 1, 3]))
    some = bag.rows(np.array([2, 1]))
    assert (some.features.tolist(), some.offsets.tolist()) == ([8, 9], [0, 2, 2])
    features, weights = bag.padded(np.array([0, 2]), 3, height=4)
    assert features.tolist() == [[7, 0, 0], [8, 9, 0], [0] * 3, [0] * 3]
    assert weights.tolist() == [[1, 0, 0], [2, 3, 0], [0] * 3, [0] * 3]
    both = bag.followed_by(some)
    assert both.offsets.tolist() == [0, 1, 1, 3, 5, 5]


def test_a_vocabulary_goes_through_json() -> None:
    again = bag_vocabulary(json.loads(json.dumps(VOCABULARY.as_json())), FIRST_WORD_ID, 5)
    assert (again.idf.tolist(), again.pairs.tolist(), again.subwords) == (
        VOCABULARY.idf.tolist(),
        VOCABULARY.pairs.tolist(),
        VOCABULARY.subwords,
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"idf": [1.0]},
        {"idf": [1.0, 1.0, 2.0, float("nan"), 6.0]},
        {"idf": "steel"},
        {"unknown_idf": 0},
        {"unknown_idf": None},
        {"pairs": [2, 3, 2, 3]},
        {"pairs": [2, 9]},
        {"pairs": [1, 2]},
        {"pairs": [2, 3, 4]},
        {"subwords": ["tea", "tea"]},
        {"subwords": [""]},
        {"subwords": "tea"},
        {"subwords": [1]},
    ],
)
def test_a_vocabulary_that_does_not_fit_is_refused(wrong) -> None:
    with pytest.raises(BundleError, match="retrain the bundle"):
        bag_vocabulary({**CONTENT, **wrong}, FIRST_WORD_ID, 5)


def test_a_vocabulary_with_a_part_missing_is_refused() -> None:
    for name in CONTENT:
        with pytest.raises(BundleError, match=name):
            bag_vocabulary({key: value for key, value in CONTENT.items() if key != name}, FIRST_WORD_ID, 5)


def test_numbers_of_features() -> None:
    assert isinstance(VOCABULARY, BagVocabulary)
    assert (VOCABULARY.first_pair, VOCABULARY.first_subword, VOCABULARY.size) == (5, 7, 10)
