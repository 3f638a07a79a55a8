from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import BundleError
from lib.model.text import FIRST_WORD_ID, LONGEST_TEXT, OOV_ID, PAD_ID, TextSettings, Tokenizer, characters_for, tokens_of

# What an Arrow string can hold: any Unicode text but lone surrogates.
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
TOKENIZER = Tokenizer(["kettle", "steel", "cup"], TextSettings(max_tokens=5))


def tokens(*texts: str | None, **settings: object) -> list[list[str] | None]:
    return tokens_of(pa.array(texts, pa.string()), TextSettings(**settings)).to_pylist()


def test_case_punctuation_and_control_characters_part_or_vanish() -> None:
    assert tokens("Steel-Kettle, 1.7 L!\x00\tNEW") == [["steel", "kettle", "1", "7", "l", "new"]]


def test_both_apostrophes_give_the_same_tokens() -> None:
    assert tokens("King's", "King’s") == [["king", "s"], ["king", "s"]]


def test_trademark_signs_are_not_glued_to_the_word_before() -> None:
    assert tokens("Marvel™ ﬁsh") == [["marvel", "fish"]]


def test_marks_stay_within_their_words_and_composed_forms_are_one() -> None:
    assert tokens("हिन्दी", "e\u0301t\u00e9") == [["हिन्दी"], ["été"]]


def test_scripts_without_blanks_between_words_give_a_token_a_character() -> None:
    assert tokens("苹果iPhone手机, 透明", "カメラの本", "ﾊﾝ") == [
        ["苹", "果", "iphone", "手", "机", "透", "明"],
        ["カ", "メ", "ラ", "の", "本"],
        ["ハ", "ン"],
    ]
    assert tokens("苹果iPhone手机", one_character_words="") == [["苹果iphone手机"]]


def test_an_emoji_with_a_selector_leaves_no_trace() -> None:
    assert tokens("⚡️Fast ⚡️Charger", "Lego®️ set", "1️⃣ Pack", "❤️", "葛󠄀城") == [
        ["fast", "charger"],
        ["lego", "set"],
        ["1", "pack"],
        None,
        ["葛", "城"],
    ]
    assert tokens("Wasser\u00adkocher", "\ufeffsteel", "ket\u2060tle") == [["wasserkocher"], ["steel"], ["kettle"]]
    assert tokens("⚡️Fast", ignored="") == [["\ufe0ffast"]]


def test_letters_that_the_normal_form_makes_are_lower_case() -> None:
    assert tokens("𝐊𝐮𝐫𝐭𝐢 𝕱𝖔𝖗 ℂ") == [["kurti", "for", "c"]]
    assert tokens("𝐊𝐮𝐫𝐭𝐢", lowercase_normalized=False) == [["Kurti"]]
    assert tokens("𝐊𝐮𝐫𝐭𝐢", lowercase=False) == [["Kurti"]]


def test_markup_is_not_read() -> None:
    assert tokens("<p class='c'>Kettle&nbsp;1.7&nbsp;l</p><BR/>caf&eacute; <!-- old --> AT&amp;T &#8211; x") == [
        ["kettle", "1", "7", "l", "café", "at", "t", "x"]
    ]
    assert tokens("<style>p {color: red}</style>&lt;b&gt;Bold&lt;/b&gt; <Script type='x'>f('<b>')</script>lamp") == [
        ["bold", "lamp"]
    ]
    # What is no HTML stays.
    assert tokens("<NEW> cup", "3<5 a<n c>d", "R&D &unknown; cup", "<abc def>") == [
        ["new", "cup"],
        ["3", "5", "a", "n", "c", "d"],
        ["r", "d", "unknown", "cup"],
        ["abc", "def"],
    ]
    assert tokens("<b>bold</b>", markup=False) == [["b", "bold", "b"]]
    # What hides text does so to its end, also where that is cut off; a tag that is cut is not one.
    assert tokens("oak <style>p {color: red} table") == [["oak"]]
    assert tokens("cup <div class", max_characters=11) == [["cup", "div", "cl"]]


def test_what_lengthens_and_points_arabic_letters_is_not_read() -> None:
    assert tokens("كتـــاب كِتَابٌ كتاب") == [["كتاب"] * 3]


def test_bytes_that_are_no_text_part_tokens() -> None:
    values = [b"steel \xff kettle", b"cup \xe6\x97", b"\x80", "日本".encode() + b"\xe6", b"plain cup"]
    texts = pa.Array.from_buffers(pa.string(), len(values), pa.array(values, pa.binary()).buffers())
    # Without lower case nothing looks at the bytes before the normal form does.
    for settings in (TextSettings(), TextSettings(lowercase=False)):
        alone = [tokens_of(texts.slice(i, 1), settings).to_pylist()[0] for i in range(len(values))]
        assert alone == [["steel", "kettle"], ["cup"], None, ["日", "本"], ["plain", "cup"]]
        assert tokens_of(texts, settings).to_pylist() == alone


def test_texts_without_words_have_no_tokens() -> None:
    assert tokens(None, "", "  \n", "!!! 👍") == [None, None, None, None]


def test_text_is_cut_at_max_characters() -> None:
    assert tokens("aaa bbb ccc", max_characters=5) == [["aaa", "b"]]


def test_as_many_characters_are_read_as_the_tokens_take() -> None:
    words = " ".join(["kettle-shaped", "cup"] * 500)
    settings = TextSettings(max_tokens=1000, max_characters=characters_for(1000))
    long = Tokenizer(["kettle", "cup"], settings)
    assert long.ids_of(pa.array([words])).lengths.tolist() == [1000]
    assert long.ids_by_arrow(pa.array([words])).lengths.tolist() == [1000]
    # The texts of every bundle so far, and of one that reads less, are cut where they were.
    assert characters_for(200) == characters_for(1) == TextSettings().max_characters == 4096
    TextSettings(max_tokens=LONGEST_TEXT, max_characters=characters_for(LONGEST_TEXT))


def test_ids_know_words_and_count_unknown_ones() -> None:
    ids = TOKENIZER.ids_of(pa.array(["Steel kettle of doom", None, "cup"]))
    assert ids.ids.tolist() == [FIRST_WORD_ID + 1, FIRST_WORD_ID, OOV_ID, OOV_ID, FIRST_WORD_ID + 2]
    assert ids.offsets.tolist() == [0, 4, 4, 5]
    assert ids.out_of_vocabulary().tolist() == [2, 0, 0]


def test_padding_stands_behind_and_fills_up_to_height() -> None:
    ids = TOKENIZER.ids_of(pa.array(["cup", "steel kettle cup"]))
    assert ids.padded(np.array([1, 0]), width=4, height=3).tolist() == [[3, 2, 4, 0], [4, 0, 0, 0], [0, 0, 0, 0]]


@given(st.lists(st.one_of(st.none(), any_text), max_size=20))
def test_any_unicode_text_gives_ids_within_the_vocabulary(texts: list[str | None]) -> None:
    ids = TOKENIZER.ids_of(pa.array(texts, pa.string()))
    assert len(ids.lengths) == len(texts)
    assert (ids.lengths <= TOKENIZER.settings.max_tokens).all()
    assert ids.offsets[-1] == len(ids.ids)
    assert ((ids.ids > PAD_ID) & (ids.ids < TOKENIZER.vocabulary_size)).all()


@given(st.lists(any_text, min_size=1, max_size=20))
def test_a_text_gives_the_same_ids_alone_as_in_any_batch(texts: list[str]) -> None:
    together = TOKENIZER.ids_of(pa.array(texts, pa.string()))
    for row, text in enumerate(texts):
        alone = TOKENIZER.ids_of(pa.array([text], pa.string())).ids
        assert alone.tolist() == together.ids[together.offsets[row] : together.offsets[row + 1]].tolist()


def test_repeated_words_are_refused() -> None:
    with pytest.raises(BundleError, match="once, found repeated words"):
        Tokenizer(["a", "a"], TextSettings())


def test_wrong_text_settings_are_refused() -> None:
    with pytest.raises(BundleError, match="max_tokens to be a whole number from 1 to 1,048,576, found 0"):
        TextSettings(max_tokens=0)
    with pytest.raises(BundleError, match="normal_form"):
        TextSettings(normal_form="NFXX")


def test_raw_texts_give_the_tokens_of_their_lower_cased_forms(real_data) -> None:
    """Where the two differ only in case and punctuation; how the forms were made: data/README.md next to the data."""
    import re

    import pandas as pd

    raw = pd.read_parquet(real_data / "ecommerce_raw.parquet")["text"]
    forms = set(pd.read_parquet(real_data / "ecommerce_text.parquet")["text"])
    lowered = [" ".join(re.sub(r"[^\w']+", " ", text.lower()).split()) for text in raw]
    pairs = [(text, form) for text, form in zip(raw, lowered, strict=True) if form in forms]
    assert len(pairs) > 500
    same = sum(a == b for a, b in zip(tokens(*[p[0] for p in pairs]), tokens(*[p[1] for p in pairs]), strict=True))
    assert same / len(pairs) >= 0.99


def test_rows_of_a_batch_in_any_order() -> None:
    tokenizer = Tokenizer(("a", "b", "c"), TextSettings())
    texts = ["a b", "", "c", "b b a"]
    every = tokenizer.ids_of(pa.array(texts))
    order = np.array([3, 0, 1, 3])
    some, expected = every.rows(order), tokenizer.ids_of(pa.array([texts[i] for i in order]))
    np.testing.assert_array_equal(some.ids, expected.ids)
    np.testing.assert_array_equal(some.offsets, expected.offsets)
