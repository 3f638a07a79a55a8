"""Pretrained word vectors, as their files come."""

from __future__ import annotations

import gzip
import hashlib
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lib.errors import InputError
from lib.model.text import TextSettings
from training import vectors
from training.pretrained import coverage, record_of, rows_of, vectors_for, words_with_vectors
from training.vectors import WordVectors, read_vectors

SETTINGS = TextSettings()
ROWS = "kettle 0.5 -1.5 2e-1\ncup 1 2 3\npan -.25 0 4.\n"
EXPECTED = {"kettle": [0.5, -1.5, 0.2], "cup": [1, 2, 3], "pan": [-0.25, 0, 4]}


def file_of(folder: Path, content: str | bytes) -> str:
    path = folder / "vectors.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def found_in(path: str, others: int = 100, wanted: tuple[str, ...] = ()) -> dict[str, list[float]]:
    found = read_vectors(path, wanted, others, SETTINGS)
    return {word: pytest.approx(row) for word, row in zip(found.words, found.values.tolist(), strict=True)}


@pytest.mark.parametrize(
    "content",
    [
        ROWS,
        ROWS.removesuffix("\n"),
        "3 3\n" + ROWS,
        ROWS.replace("\n", " \n"),
        "3 3\r\n" + ROWS.replace("\n", "\r\n"),
        ROWS.replace(" ", "\t"),
        ROWS + "\n\n",
        gzip.compress(ROWS.encode(), mtime=0),
        gzip.compress(b"3 3\n", mtime=0) + gzip.compress(ROWS.encode(), mtime=0),
    ],
    ids=["GloVe", "no last line end", "fastText", "word2vec", "Windows", "tabs", "blank lines", "gzip", "gzip in two parts"],
)
def test_formats(tmp_path: Path, content: str | bytes) -> None:
    path = file_of(tmp_path, content)
    found = read_vectors(path, (), 100, SETTINGS, "public domain")
    assert {word: pytest.approx(row) for word, row in zip(found.words, found.values.tolist(), strict=True)} == EXPECTED
    assert found.words == ("kettle", "cup", "pan")
    assert (found.rows, found.width, found.name, found.note) == (3, 3, "vectors.txt", "public domain")
    assert found.values.dtype == np.float32
    assert found.sha256 == hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_a_row_of_one_number_is_no_header(tmp_path: Path) -> None:
    assert found_in(file_of(tmp_path, "kettle 2\ncup 3\n")) == {"kettle": [2], "cup": [3]}
    # A number is a word too, after the first line.
    assert found_in(file_of(tmp_path, "2 1\n7 3\n")) == {"7": [3]}


def test_words_are_cleaned_as_texts_are_and_the_first_of_a_kind_counts(tmp_path: Path) -> None:
    rows = ["</s> 1 1", ", 2 2", "Kettle 3 3", "kettle. 4 4", "KETTLE 5 5", "new_york 6 6", "don't 7 7", "ＣＵＰ 8 8"]
    rows += ["stra\u00dfe 9 9", "s 10 10", "at name@shop.com 11 11", ". . 12 12", "a\u00a0b 13 13"]
    expected = {"kettle": [3, 3], "cup": [8, 8], "straße": [9, 9], "s": [10, 10]}
    assert found_in(file_of(tmp_path, "\n".join(rows))) == expected


def test_bytes_that_are_no_utf_8_in_a_word_are_no_word_of_ours(tmp_path: Path) -> None:
    assert found_in(file_of(tmp_path, b"\xff\xfe 1 1\ncup 2 2\n")) == {"cup": [2, 2]}


def test_the_first_words_are_kept_and_those_that_are_wanted(tmp_path: Path) -> None:
    path = file_of(tmp_path, "".join(f"w{i} {i} 0.5\n" for i in range(50)))
    assert list(found_in(path, 2, ("w40", "w7", "other"))) == ["w0", "w1", "w7", "w40"]
    assert found_in(path, 0) == {}


def test_what_is_not_wanted_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "BLOCK_LINES", 100)
    numbers = " ".join(["0.125"] * 300)
    path = file_of(tmp_path, "".join(f"w{i} {numbers}\n" for i in range(5_000)))
    tracemalloc.start()
    found = read_vectors(path, {"w4999"}, 10, SETTINGS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.words) == 11
    # All rows as float32 are 6 MB, the file's text is 9 MB; a block of 100 lines split into numbers is some 1.5 MB.
    assert peak < 3_500_000


@pytest.mark.parametrize(
    ("content", "because"),
    [
        ("", "Expected word vectors in .*, found none"),
        ("3 300\n", "Expected word vectors in .*, found none"),
        (ROWS + "lid 1 2\n", "Expected a word and 3 numbers in line 4 of .*, found 3 values"),
        (ROWS + "lid .1 .2 .3 .4\n", "Expected a word and 3 numbers in line 4 of .*, found 5 values"),
        (ROWS + "lid 1 2e-05 3 4 5\n", "Expected a word and 3 numbers in line 4 of .*, found 6 values"),
        (ROWS + "lid 1\n", "Expected a word and 3 numbers in line 4 of .*, found 2 values"),
        (ROWS + " 1 2 3\n", "Expected a word and 3 numbers in line 4 of .*, found 3 values"),
        ("3 300\n" + ROWS, "Expected a word and 300 numbers in line 2 of .*, found 4 values"),
        ("kettle\ncup\n", "Expected a word and numbers in line 1 of .*, found 1 values"),
        ("3 0\nkettle\n", "Expected a word and numbers in line 2 of .*, found 1 values"),
        (ROWS + "lid 1 x 3\n", "Expected finite numbers after the word in line 4 of"),
        (ROWS + "lid 1 nan 3\n", "Expected finite numbers after the word in line 4 of"),
        (ROWS + "lid 1 -inf 3\n", "Expected finite numbers after the word in line 4 of"),
        (ROWS + "lid 1 1e99 3\n", "Expected finite numbers after the word in line 4 of"),
        (ROWS + "lid 1  3\n", "Expected finite numbers after the word in line 4 of"),
        (b"2 3\nkettle " + np.ones(3, "<f4").tobytes(), "found other bytes in line 2; convert a binary file of word2vec"),
        (b"kettle " + b"1 " * 600_000, "found other bytes in line 1"),
        (b"PK\x03\x04" + b"glove.6B.50d.txt", "Expected word vectors as text or gzip at .*, found a zip archive; unpack it"),
        (gzip.compress(ROWS.encode() * 99, mtime=0)[:-20], "Expected a whole gzip file at .*, found a damaged one"),
        (gzip.compress(ROWS.encode(), mtime=0)[:12] + b"\xff" * 40, "Expected a whole gzip file at .*, found a damaged one"),
    ],
)
def test_a_file_that_is_none_is_refused_in_one_sentence(tmp_path: Path, content: str | bytes, because: str) -> None:
    with pytest.raises(InputError, match=because) as refused:
        read_vectors(file_of(tmp_path, content), (), 100, SETTINGS)
    assert "\n" not in str(refused.value)


def test_a_folder_and_nothing(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match=r"Expected a file of word vectors at .*, found none that can be read"):
            read_vectors(str(path), (), 9, SETTINGS)


TEXTS = pa.array(["Steel kettle", "steel cup", "steel, steel", None])


def of_words(*words: str) -> WordVectors:
    values = np.arange(1, 2 * len(words) + 1, dtype=np.float32).reshape(-1, 2)
    return WordVectors(words, values, "file.txt", "0" * 64, 7, "note")


def test_coverage_counts_words_and_tokens() -> None:
    found = coverage(of_words("the", "steel", "cup"), TEXTS, SETTINGS)
    assert str(found) == "vectors for 2 of 3 words, 83% of the tokens"
    with pytest.raises(InputError, match=r"found none of their 3 words in its 7 rows; give vectors of the texts' language"):
        coverage(of_words("acier"), TEXTS, SETTINGS)


def test_further_words_are_of_the_texts_first_then_the_most_frequent_of_the_file() -> None:
    file = of_words("the", "of", "kettle", "lamp", "steel", "cup")
    more = pa.array(["lamp of brass", "lamp"])
    assert words_with_vectors(file, ["kettle"], [TEXTS, more], SETTINGS, 9) == ["steel", "cup", "lamp", "of", "the"]
    assert words_with_vectors(file, ["kettle"], [TEXTS, more], SETTINGS, 2) == ["steel", "cup"]
    assert words_with_vectors(file, ["kettle"], [TEXTS], SETTINGS, 3) == ["steel", "cup", "the"]


def test_rows_have_one_length_and_words_without_a_vector_none() -> None:
    rows = rows_of(of_words("cup", "pan"), ["pan", "lid", "cup"])
    assert rows.dtype == np.float32
    assert not rows[[0, 1, 3]].any()
    np.testing.assert_allclose(rows[2], np.array([3, 4]) / np.sqrt(12.5), rtol=1e-6)
    np.testing.assert_allclose((rows[[2, 4]] ** 2).mean(axis=1), 1, rtol=1e-6)
    record = record_of(of_words("cup", "pan"), rows, own=4)
    assert (record["words"], record["words_of_vector_alone"]) == (2, 1)
    assert not rows_of(of_words("cup"), ["lid"]).any()


def test_words_of_all_texts_are_looked_for(tmp_path: Path) -> None:
    path = file_of(tmp_path, "the 1 2\nof 1 2\nlamp 3 4\nsteel 5 6\n")
    assert vectors_for(path, [TEXTS, pa.array(["Lamp!"])], SETTINGS, 1, "n").words == ("the", "lamp", "steel")
