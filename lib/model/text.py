"""Texts to token ids: the same code for training, for scoring on executors and for single texts.

Everything is vectorised with pyarrow.compute, apart from the normal form of texts that are not ASCII, and works on the flat form of a batch:
one array with all ids and the offsets at which each text begins. Where the native library is there, it does the same faster. Only code that needs a rectangle adds padding (`padded`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lib.errors import BundleError
from lib.model.arrays import Int32s, Int64s, UInt32s
from lib.model.bag import Bag, BagVocabulary, marked, places_of
from lib.model.markup import without_markup
from lib.model.native import FOREIGN, SEPARATOR, NativeTokenizer, library

PAD_ID = 0
OOV_ID = 1
FIRST_WORD_ID = 2
# What Arrow and Python raise for bytes that are not UTF-8.
NOT_UTF8 = (pa.ArrowInvalid, UnicodeDecodeError)
# In characters, and in tokens: each thread of scoring has room for one.
LONGEST_TEXT = 1 << 20
# The characters of a text that are read at least, and for each of its tokens: as many as these are for 200 tokens.
LEAST_CHARACTERS, CHARACTERS_PER_TOKEN = 4096, 20
NORMAL_FORMS = ("NFC", "NFKC", "NFD", "NFKD")


@dataclass(frozen=True)
class TextSettings:
    """How a text becomes tokens; stored in the bundle, so that scoring repeats what training did.

    What `separators` (an RE2 pattern) matches separates tokens, as a blank does. The default keeps letters, digits and
    the marks that Indic and Arabic words are written with; every apostrophe separates, since its typographic form
    (King’s) does in much data, and both forms should give the same tokens. Leaving single blanks out of the
    pattern makes the replacement five times as fast.

    A character that `one_character_words` (an RE2 pattern of one character; empty for none) matches is a separate token: Chinese and
    Japanese put no spaces between words, and a whole phrase as one token is a word that no other text has.

    A character that `ignored` (an RE2 pattern of one character; empty for none) matches leaves no trace: variation selectors and the keycap are marks,
    which would stay behind when the emoji that they belong to separates, and make the next word an unknown one; soft hyphens and word joiners would part
    a word; so would the strokes that lengthen Arabic letters, and the signs for vowels, which most shops leave out. With `lowercase_normalized`, letters that the normal form makes of others
    (mathematical bold, superscripts) are lower-cased too. With `markup`, texts are read without their HTML (lib.model.markup).
    """

    normal_form: str = "NFKC"
    lowercase: bool = True
    separators: str = r"[^\p{L}\p{N}\p{M} ]+"
    one_character_words: str = r"[\p{Han}\p{Hiragana}\p{Katakana}]"
    ignored: str = r"[\x{AD}\x{0640}\x{064B}-\x{0652}\x{0670}\x{180B}-\x{180F}\x{2060}\x{20E3}\x{FE00}-\x{FE0F}\x{FEFF}\x{E0100}-\x{E01EF}]"
    lowercase_normalized: bool = True
    markup: bool = True
    max_characters: int = LEAST_CHARACTERS
    max_tokens: int = 200
    # The columns the texts were joined from, each after its marker (lib.model.fields); empty for texts of one column.
    fields: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.normal_form not in NORMAL_FORMS:
            raise BundleError(f"Expected the text setting normal_form to be one of {NORMAL_FORMS}, found {self.normal_form!r}.")
        for name in ("max_characters", "max_tokens"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LONGEST_TEXT:
                raise BundleError(
                    f"Expected the text setting {name} to be a whole number from 1 to {LONGEST_TEXT:,}, found {value!r}."
                )
        for name in ("lowercase", "lowercase_normalized", "markup"):
            if not isinstance(getattr(self, name), bool):
                raise BundleError(f"Expected the text setting {name} to be true or false, found {getattr(self, name)!r}.")
        if not all(isinstance(name, str) for name in self.fields) or len(set(self.fields)) != len(self.fields):
            raise BundleError(f"Expected the text setting fields to be different names, found {self.fields!r}.")
        for name in ("separators", "one_character_words", "ignored"):
            try:
                pc.replace_substring_regex(pa.array([""]), getattr(self, name), " ")
            except (TypeError, ValueError) as error:
                raise BundleError(
                    f"Expected the text setting {name} to be an RE2 pattern, found {getattr(self, name)!r} ({error})."
                ) from None


def characters_for(max_tokens: int) -> int:
    """How many characters to read of a text, so that as many tokens are there to be read."""
    return min(max(CHARACTERS_PER_TOKEN * max_tokens, LEAST_CHARACTERS), LONGEST_TEXT)


def without_halves(text: str) -> str:
    """A text that Arrow accepts: lone surrogates, which Python makes of bytes that are not text, become `?`."""
    return text.encode("utf-8", "replace").decode("utf-8")


def plain_strings(texts: pa.Array) -> pa.Array:
    """Texts as the compiled code reads them: nulls as blanks, and with 32-bit offsets, whatever Spark was told to send."""
    return pc.fill_null(texts, "").cast(pa.string())


def tokens_of(texts: pa.Array, settings: TextSettings) -> pa.ListArray:
    """Tokens of each text.

    Args:
        texts: strings [rows].
    Returns:
        lists of strings [rows], not yet cut to max_tokens; null for a text that has no tokens.
    """
    try:
        return _split(texts, settings)
    except NOT_UTF8:
        # Parquet and Delta hold the bytes that were put there, such as a text that was cut in the middle of a character.
        return _split(pa.concat_arrays([_in_utf8(texts.slice(i, 1), settings) for i in range(len(texts))]), settings)


def _in_utf8(text: pa.Array, settings: TextSettings) -> pa.Array:
    """One text, with U+FFFD for bytes that Arrow does not take for UTF-8, whatever the texts next to it are."""
    try:
        _split(text, settings)
        return text
    except NOT_UTF8:
        return pa.array([text.cast(pa.binary())[0].as_py().decode("utf-8", "replace")], text.type)


def _split(texts: pa.Array, settings: TextSettings) -> pa.ListArray:
    texts = pc.utf8_slice_codeunits(pc.fill_null(texts, ""), 0, settings.max_characters)
    if settings.markup:
        texts = without_markup(texts)
    if settings.lowercase:
        texts = pc.utf8_lower(texts)
    if settings.ignored:
        texts = pc.replace_substring_regex(texts, settings.ignored, "")
    texts = pc.replace_substring_regex(texts, settings.separators, " ")
    # Only after the separators: NFKC would first turn a trademark sign into the letters "tm", glued to the word before.
    texts = _normalized(texts, settings)
    texts = pc.ascii_trim_whitespace(texts)
    # Splitting a blank string would give one empty token.
    return pc.ascii_split_whitespace(pc.if_else(pc.equal(texts, ""), None, texts))


def _normalized(texts: pa.Array, settings: TextSettings) -> pa.Array:
    """`texts` in normal form, with words of one character set apart; ASCII texts, usually most of them, are left alone: nothing can change in them."""
    foreign = pc.invert(pc.string_is_ascii(texts))
    if not pc.any(foreign).as_py():
        return texts
    # Not by Arrow, which composes nothing before version 26: NFC of "é" gave two characters.
    form: Any = settings.normal_form
    changed = pa.array([unicodedata.normalize(form, text) for text in texts.filter(foreign).to_pylist()], texts.type)
    if settings.lowercase and settings.lowercase_normalized:
        changed = pc.utf8_lower(changed)
    if settings.one_character_words:
        changed = pc.replace_substring_regex(changed, f"({settings.one_character_words})", r" \1 ")
    return pc.replace_with_mask(texts, foreign, changed)


def joined_tokens(texts: pa.Array, settings: TextSettings) -> pa.Array:
    """Each text's tokens, separated by blanks: equal for texts that differ in case and punctuation only."""
    return pc.fill_null(pc.binary_join(tokens_of(texts, settings), " "), "")


@dataclass(frozen=True)
class TokenIds:
    """A batch of texts as ids, flat: text i is ids[offsets[i]:offsets[i + 1]].

    ids: int32 [tokens]; offsets: int64 [rows + 1]; bag: the texts' features, where the bundle has a bag.
    """

    ids: Int32s
    offsets: Int64s
    bag: Bag | None = None

    @property
    def lengths(self) -> Int64s:
        """Tokens in each text, int64 [rows]."""
        return np.diff(self.offsets)

    def out_of_vocabulary(self) -> Int64s:
        """Unknown tokens in each text, int64 [rows]."""
        unknown_before = np.concatenate(([0], np.cumsum(self.ids == OOV_ID, dtype=np.int64)))
        return unknown_before[self.offsets[1:]] - unknown_before[self.offsets[:-1]]

    def rows(self, rows: Int64s) -> TokenIds:
        """The texts `rows`, in their order."""
        places, offsets = places_of(self.offsets, rows)
        return TokenIds(self.ids[places], offsets, self.bag and self.bag.rows(rows))

    def padded(self, rows: Int64s, width: int, height: int | None = None) -> Int32s:
        """The texts `rows` as a rectangle int32 [height or len(rows), width], PAD_ID after each text's end."""
        lengths = self.lengths[rows]
        rectangle = np.full((height or len(rows), width), PAD_ID, dtype=np.int32)
        columns = np.arange(width)
        inside = columns < lengths[:, None]
        rectangle[: len(rows)][inside] = self.ids[(self.offsets[rows][:, None] + columns)[inside]]
        return rectangle


class Tokenizer:
    """A vocabulary with its text settings.

    Id 0 is padding and 1 is any word outside the vocabulary; word i of `words` has id i + 2. With `bag`, texts also become
    bags of features.
    """

    def __init__(self, words: Sequence[str], settings: TextSettings, bag: BagVocabulary | None = None) -> None:
        if len(set(words)) != len(words):
            raise BundleError("Expected every word of the vocabulary once, found repeated words; train the bundle again.")
        self.words = tuple(words)
        self.settings = settings
        self.bag = bag
        self._lookup = pa.array(self.words, type=pa.string())

    @property
    def vocabulary_size(self) -> int:
        """Number of ids, padding and out-of-vocabulary included."""
        return len(self.words) + FIRST_WORD_ID

    def ids_of(self, texts: pa.Array) -> TokenIds:
        """Ids of each text, cut to max_tokens.

        Args:
            texts: strings [rows]; null counts as blank.
        """
        if self.compiled is None:
            return self.ids_by_arrow(texts)
        texts = plain_strings(texts)
        ids, lengths, bag = self.compiled.ids_of(texts)
        foreign = np.flatnonzero(lengths < 0)
        if not len(foreign):
            return TokenIds(ids, _offsets(lengths), bag)
        others = self.ids_by_arrow(texts.take(pa.array(foreign)))
        if len(foreign) == len(texts):
            return others
        ours = np.flatnonzero(lengths >= 0)
        both = TokenIds(
            np.concatenate([ids, others.ids]),
            _offsets(np.concatenate([lengths[ours], others.lengths])),
            bag and others.bag and bag.rows(ours).followed_by(others.bag),
        )
        return both.rows(np.argsort(np.concatenate([ours, foreign])))

    def knows(self, word: str) -> bool:
        """Whether a word is in the vocabulary, or has parts that are."""
        return word in self._known or (self.bag is not None and len(self.bag.subword_features(marked(word))) > 0)

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.words)

    @cached_property
    def compiled(self) -> NativeTokenizer | None:
        """The tokenizer that reads most texts, several times as fast; None without the library, or where separators match more than a character."""
        if library() is None or not CHARACTER_CLASS.fullmatch(self.settings.separators):
            return None
        most = self.settings.max_characters, self.settings.max_tokens
        return NativeTokenizer(
            self._lookup, _characters(self.settings), self.settings.markup, *most, FIRST_WORD_ID, OOV_ID, self.bag
        )

    def ids_by_arrow(self, texts: pa.Array) -> TokenIds:
        """The result of `ids_of`, without the compiled code."""
        return self.ids_of_tokens(tokens_of(texts, self.settings))

    def ids_of_tokens(self, tokens: pa.ListArray) -> TokenIds:
        """Ids of texts that are split into words already, cut to max_tokens.

        Args:
            tokens: lists of strings [rows]; a null among them is a word that is to count as unknown, even by its parts.
        """
        lengths = pc.fill_null(pc.list_value_length(tokens), 0).to_numpy(zero_copy_only=False)
        if (lengths > self.settings.max_tokens).any():
            tokens = pc.list_slice(tokens, 0, self.settings.max_tokens)
            lengths = np.minimum(lengths, self.settings.max_tokens)
        words, offsets = tokens.flatten(), _offsets(lengths)
        found = pc.fill_null(pc.index_in(words, value_set=self._lookup), OOV_ID - FIRST_WORD_ID)
        ids = found.to_numpy(zero_copy_only=False).astype(np.int32, copy=False) + np.int32(FIRST_WORD_ID)
        return TokenIds(ids, offsets, self.bag.bag_of(words, ids, offsets, OOV_ID) if self.bag else None)


# A pattern that looks at one character at a time: what it matches does not depend on the rest of the text.
CHARACTER_CLASS = re.compile(r"\[(?:[^\[\]\\]|\\[pP]\{\w+\}|\\[pP]\w|\\[^\w])+\]\+?")
# Latin, Greek, Cyrillic and their neighbours, punctuation and symbols, and the pictures of the emoji.
READ_ONE_BY_ONE = (range(0x1100), range(0x2000, 0x2E80), range(0x1F000, 0x1FB00))


def _characters(settings: TextSettings) -> UInt32s:
    """For each character what it becomes in a token, as lib.model.native.NativeTokenizer expects it.

    Found by asking `tokens_of`, so that both agree. Marks are left out, and so are the characters that become more than
    one, or leave no trace: only without these can a text's tokens be made character by character.
    """
    every = pa.array([chr(n) for block in READ_ONE_BY_ONE for n in block if not unicodedata.category(chr(n)).startswith("M")])
    if settings.ignored:
        every = every.filter(pc.invert(pc.match_substring_regex(every, settings.ignored)))
    alone = replace(settings, max_characters=1)
    table = np.full(READ_ONE_BY_ONE[-1].stop, FOREIGN, np.uint32)
    for number, tokens in zip(map(ord, every.to_pylist()), tokens_of(every, alone).to_pylist(), strict=True):
        if tokens is None:
            table[number] = SEPARATOR
        elif len(tokens) == 1 and len(tokens[0]) == 1 and not unicodedata.combining(tokens[0]):
            table[number] = ord(tokens[0])
    return table


def _offsets(lengths: npt.NDArray[np.integer[Any]]) -> Int64s:
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
