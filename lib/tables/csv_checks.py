"""CSV as Spark's parser (univocity) takes it: the delimiter, where quoted texts open and close, and the header."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lib.errors import InputError
from lib.tables.file_checks import TextFile, content_of
from lib.tables.listing import LITERAL_PATHS, path_in_metadata
from lib.tables.locations import java_class

# A header may span several lines; one that goes on for longer has a quote that was not closed.
MOST_HEADER_LINES = 10_000
_RUN = re.compile('"+')


def delimiter_read_as(spark: SparkSession, given: str) -> str:
    """The delimiter that Spark makes of a text: a backslash and t is a tab.

    Raises:
        InputError: empty, an escape that Spark does not know, or a character that ends rows or quotes texts.
    """
    try:
        found = str(java_class(spark, "org.apache.spark.sql.catalyst.csv.CSVExprUtils").toDelimiterStr(given))
    except Exception:  # py4j's error for each of Java's
        found = ""
    if not found or set(found) & set('"\r\n'):
        raise InputError(
            f"Expected a delimiter such as a semicolon, or \\t for a tab and \\\\ for a backslash, in --delimiter, found {given!r}; "
            f"correct it."
        )
    return found


class Quotes(NamedTuple):
    """The effect of a stretch of CSV on the state "inside of a quoted text".

    certain: after it the state is `opened` whatever it was before; otherwise it is inverted if `opened`.
    """

    certain: bool
    opened: bool

    def then(self, later: Quotes) -> Quotes:
        return later if later.certain else Quotes(self.certain, self.opened != later.opened)


NOTHING = Quotes(False, False)
OUTSIDE = Quotes(True, False)


def quotes_of(line: str, delimiter: str) -> Quotes:
    """The effect of one line, without knowledge of the lines before it.

    An even number of adjacent quotes changes nothing: inside of a text they are doubled quotes, at the start of a field an empty
    text, or one that opens and closes, elsewhere characters. An odd number closes a text that is open. If none is open, it opens one
    at the start of a field, and is characters elsewhere, since only the first character of a field opens a text. So after
    quotes elsewhere in a field no text is open, and quotes at the start of a field invert the state.
    """
    found, end = NOTHING, 0
    for run in _RUN.finditer(line) if '"' in line else ():
        if len(run[0]) % 2:
            before = line[end : run.start()].split(delimiter)
            begins_field = not before[-1] and (len(before) > 1 or not end)
            found, end = found.then(Quotes(False, True) if begins_field else OUTSIDE), run.end()
    return found


def check_quotes_closed(spark: SparkSession, files: Iterable[TextFile], encoding: str, delimiter: str) -> None:
    """Refuse a CSV file whose last quoted text never ends: Spark takes the rest of the file for that text.

    The parser itself refuses any other misplaced quote. Lines without an odd run of quotes change nothing, so the last line
    with one decides, unless all runs in it are at the start of a field (see `quotes_of`); only then is the file read again.

    Raises:
        InputError: names the file.
    """
    suspects = [file.path for file in files if file.last_quoted and quotes_of(file.last_quoted, delimiter) != OUTSIDE]
    for path in _left_open(spark, suspects, encoding, delimiter) if suspects else ():
        raise InputError(
            f"Expected every quoted text to be closed in the CSV file {path}, found one still open at its end; close it, and "
            f"double each quote inside a quoted text."
        )


def _left_open(spark: SparkSession, paths: list[str], encoding: str, delimiter: str) -> list[str]:
    """The files that end inside of a quoted text: each part of a file returns its effect on the state."""
    # Split at line feeds alone: whether a carriage return ends a row depends on the file's first line break.
    lines = spark.read.format("text").options(lineSep="\n", **LITERAL_PATHS).load(paths)
    content = lines.select(
        F.col("value").cast("binary"),
        F.col("_metadata.file_path").alias("file"),
        F.col("_metadata.file_block_start").alias("at"),
    )

    def summed(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        parts: dict[tuple[str, int], _Part] = {}
        for batch in batches:
            for value, file, at in zip(*(batch.column(name).to_pylist() for name in ("value", "file", "at")), strict=True):
                parts.setdefault((file, at), _Part()).add(value.decode(encoding, errors="replace"), delimiter)
        for (file, at), part in parts.items():
            yield pa.RecordBatch.from_pylist([{"file": file, "at": at, **part.told}], _TOLD)

    state: dict[str, bool] = {}
    by_returns: dict[str, bool] = {}
    columns = ", ".join(["file string", "at bigint", *(f"{name} boolean" for name in _STATES)])
    for row in sorted(content.mapInArrow(summed, columns).collect(), key=lambda row: (row["file"], row["at"])):  # type: ignore[arg-type]
        path = path_in_metadata(row["file"])
        suffix = "_r" if by_returns.setdefault(path, row["by_returns"]) else ""
        state[path] = Quotes(True, state.get(path, False)).then(Quotes(row[f"certain{suffix}"], row[f"opened{suffix}"])).opened
    return sorted(path for path, is_open in state.items() if is_open)


# What a part returns: how its lines end, and its effect under either reading.
_STATES = ("by_returns", "certain", "opened", "certain_r", "opened_r")
_TOLD = pa.schema([("file", pa.string()), ("at", pa.int64()), *((name, pa.bool_()) for name in _STATES)])


class _Part:
    """The lines of one part of a file, read both ways: univocity assumes that all line breaks are like a file's first one."""

    def __init__(self) -> None:
        self.by_returns: bool | None = None
        self.by_feeds, self.by_both = NOTHING, NOTHING

    def add(self, line: str, delimiter: str) -> None:
        inner = line.rstrip("\r") if line.endswith("\r") else line
        if self.by_returns is None:
            self.by_returns = "\r" in line[:-1]
        self.by_feeds = self.by_feeds.then(quotes_of(line, delimiter))
        for row in inner.split("\r"):
            self.by_both = self.by_both.then(quotes_of(row, delimiter))

    @property
    def told(self) -> dict[str, bool]:
        return dict(zip(_STATES, (bool(self.by_returns), *self.by_feeds, *self.by_both), strict=True))


def header_of(spark: SparkSession, file: TextFile, encoding: str, delimiter: str) -> str:
    """The header of a CSV file on one line: a line break inside of a name is a blank."""
    header = file.header or ""
    if not quotes_of(header, delimiter).opened:
        return header
    rows = content_of(spark, file.path).limit(MOST_HEADER_LINES).collect()
    lines: list[str] = []
    state = OUTSIDE
    for row in rows:
        line = bytes(row["value"]).decode(encoding)
        if line or lines:
            lines.append(line)
            state = state.then(quotes_of(line, delimiter))
            if not state.opened:
                break
    return " ".join(lines)
