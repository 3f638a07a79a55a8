"""Pretrained word vectors from the text files of GloVe, fastText and word2vec: only those of the wanted words are kept."""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from lib.errors import InputError
from lib.model.arrays import Float32s
from lib.model.text import TextSettings, tokens_of

# A line of 1,000 numbers has some 12,000 bytes. A file without line ends is not text, and must not be read as one line.
LONGEST_LINE = 1 << 20
BLOCK_LINES = 10_000
HASH_BYTES = 1 << 20
GZIP, ZIP = b"\x1f\x8b", b"PK\x03\x04"
# The mark of a sentence's end or an unknown word in such files; cleaned as a word it would be "s" or "unk".
SPECIAL = re.compile(r"<[^<> ]*>")
NUMBER = re.compile(rb"[-+]?((\d+\.\d*|\.\d+)([eE][-+]?\d+)?|\d+[eE][-+]?\d+)")


@dataclass(frozen=True)
class WordVectors:
    """Vectors of words, in the order of their file, which is that of frequency in all such files.

    words: as the tokenizer produces them, each once; values: float32 [words, width]; name, sha256, rows: of the file;
    note: their origin and licence, as the user states them; first: so many words are here whatever the texts are, the others since a text
    has them; None for all.
    """

    words: tuple[str, ...]
    values: Float32s
    name: str
    sha256: str
    rows: int
    note: str = ""
    first: int | None = None

    @property
    def width(self) -> int:
        return int(self.values.shape[1])

    @cached_property
    def place(self) -> dict[str, int]:
        """Each word's row."""
        return {word: i for i, word in enumerate(self.words)}


@dataclass(frozen=True)
class _Line:
    """A line of the file: its number, the word's bytes, and the numbers' bytes, separated by blanks."""

    number: int
    word: bytes
    numbers: list[bytes]


def read_vectors(path: str, wanted: Container[str], others: int, settings: TextSettings, note: str = "") -> WordVectors:
    """The vectors of the `wanted` words, and of the first `others` words of the file, whatever they are.

    The file is read line by line. A word is cleaned as texts are; an entry that gives no word or several is left out, and of words that
    give the same one the first counts. Numbers are checked only where a word is kept, the width everywhere.

    Raises:
        InputError: no file, not one of these formats, a line of another width or with something that is not a finite number, or
            no row at all.
    """
    kept, values, rows = [], [], 0
    known: set[str] = set()
    with _opened(path) as file:
        lines = _lines(file, path)
        while block := list(islice(lines, BLOCK_LINES)):
            rows += len(block)
            for line, word in zip(block, _words([line.word for line in block], settings), strict=True):
                if word is not None and word not in known and (len(known) < others or word in wanted):
                    known.add(word)
                    kept.append(word)
                    values.append(_numbers(line, path))
    if not rows:
        raise InputError(f"Expected word vectors in {path}, found none; correct --vectors.")
    width = len(line.numbers)
    matrix = np.stack(values) if values else np.empty((0, width), np.float32)
    return WordVectors(tuple(kept), matrix, Path(path).name, _sha256(path), rows, note, min(others, len(kept)))


def _words(words: list[bytes], settings: TextSettings) -> list[str | None]:
    """The word of a text that consists only of this word; None for none, several, or bytes that are not a word of any text."""
    texts = [word.decode("utf-8", errors="ignore") for word in words]
    tokens = tokens_of(pa.array(["" if SPECIAL.fullmatch(text) else text for text in texts], pa.string()), settings)
    return [found[0] if found and len(found) == 1 else None for found in tokens.to_pylist()]


def _lines(file: BinaryIO, path: str) -> Iterator[_Line]:
    """The file's lines without a header and blank ones; all have as many numbers as the first."""
    width = None
    number = 0
    while content := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(content) > LONGEST_LINE or b"\0" in content:
            raise InputError(
                f"Expected word vectors as text in {path}, found other bytes in line {number:,}; convert a binary file of "
                "word2vec or fastText to its text format."
            )
        parts = content.strip(b" \t\r\n").replace(b"\t", b" ").split(b" ")
        if parts == [b""]:
            continue
        if number == 1 and len(parts) == 2 and all(part.isdigit() for part in parts):
            width = int(parts[1])
            continue
        width = width or len(parts) - 1
        yield _line(number, parts, width, path)


def _line(number: int, parts: list[bytes], width: int, path: str) -> _Line:
    # Some words of GloVe's contain blanks; what looks like a number of the vector is not part of the word.
    word, numbers = parts[:-width] if width else parts, parts[-width:] if width else []
    if not width or not word or (len(word) > 1 and NUMBER.fullmatch(word[-1])):
        expected = f"a word and {width:,} numbers" if width else "a word and numbers"
        raise InputError(f"Expected {expected} in line {number:,} of {path}, found {len(parts):,} values; correct the file.")
    return _Line(number, b" ".join(word), numbers)


def _numbers(line: _Line, path: str) -> Float32s:
    try:
        with np.errstate(over="ignore"):
            values = np.array(line.numbers, dtype=np.bytes_).astype(np.float32)
    except ValueError:
        values = np.full(1, np.nan, np.float32)
    if not np.isfinite(values).all():
        raise InputError(
            f"Expected finite numbers after the word in line {line.number:,} of {path}, found others; correct the file."
        )
    return values


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    """The file's text, unpacked if it is gzip.

    Raises:
        InputError: nothing to read, a zip archive, or a gzip file that is cut off, at once or while it is read.
    """
    try:
        with open(path, "rb") as raw:
            begins = raw.read(len(ZIP))
            raw.seek(0)
            if begins == ZIP:
                raise InputError(f"Expected word vectors as text or gzip at {path}, found a zip archive; unpack it.")
            if begins.startswith(GZIP):
                with gzip.open(raw) as unpacked:
                    yield unpacked  # type: ignore[misc]
            else:
                yield raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"Expected a whole gzip file at {path}, found a damaged one ({error}); copy it again.") from None
    except OSError as error:
        raise InputError(
            f"Expected a file of word vectors at {path}, found none that can be read ({error.strerror}); correct --vectors."
        ) from None


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(HASH_BYTES):
            digest.update(part)
    return digest.hexdigest()
