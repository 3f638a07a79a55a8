"""Checks of each single file of a source: encoding, and columns that are missing or there twice.

Spark assumes that all files are like one of them. So a file that differs would be read into the wrong columns, or without them.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lib.errors import InputError
from lib.pairs.offered import is_utf8
from lib.settings import UTF_8
from lib.tables.listing import LITERAL_PATHS, File, path_in_metadata
from lib.tables.locations import java_class

# Characters that a reader of lines looks for; files in an encoding with other bytes for them have to be converted first.
_ASCII = '\n\r",;\t{}:'


@dataclass(frozen=True)
class TextFile:
    """The result of one pass over the lines of a file.

    Attributes:
        header: its first line that is not empty, None without one.
        last_quoted: its last line with an odd number of adjacent quotes, None without one.
        lacks: the requested columns whose name is nowhere in it.
    """

    path: str
    header: str | None = None
    last_quoted: str | None = None
    has_bad_bytes: bool = False
    lacks: tuple[str, ...] = ()


def checked_encoding(spark: SparkSession, name: str) -> str:
    """Java's name of an encoding.

    Raises:
        InputError: Java or Python does not have it, or it does not encode ASCII's characters as ASCII does.
    """
    charset: Any = java_class(spark, "java.nio.charset.Charset")
    try:
        known = codecs.lookup(name).name
        fits = _ASCII.encode(known) == _ASCII.encode("ascii")
        # Either language has names that the other lacks.
        java = str(charset.forName(name if charset.isSupported(name) else known).name())
        # Python reads by Java's name later.
        fits = fits and codecs.lookup(java).name == known
    except Exception:  # LookupError in Python, py4j's error for each of Java's
        fits, java = False, ""
    if not fits:
        raise InputError(
            f"Expected an encoding like utf-8, iso-8859-1 or windows-1252 in --encoding, found {name!r}; correct it, or convert the "
            f"files to UTF-8."
        )
    return java.lower()


def inspected(lines: DataFrame, files: Sequence[File], encoding: str, wanted: Sequence[str]) -> list[TextFile]:
    """One pass over all lines of text files, in the order of `files`.

    Args:
        lines: the files read as text.
        wanted: names of keys of JSON to look for.
    """
    value = F.col("value")
    at = F.struct(F.col("_metadata.file_block_start"), F.monotonically_increasing_id())
    rows = lines.select("value", F.col("_metadata.file_path").alias("file"), at.alias("at"))
    bad = F.max(~is_utf8(value)) if encoding == UTF_8 else F.lit(False)
    text = text_of(value, encoding)
    # A line of blanks is a header to Spark, an empty one is not.
    first = F.min_by(value, F.when(value != "", F.col("at")))
    odd = F.replace(text, F.lit('""'), F.lit("")).contains('"')
    last_quoted = F.max_by(value, F.when(odd, F.col("at")))
    has = [F.max(text.rlike(key_pattern(name))).alias(f"has_{i}") for i, name in enumerate(wanted)]
    # An aggregate of objects: without one Spark sorts all lines by file, since strings are not of fixed size.
    hashed = F.collect_list(F.lit(None).cast("int")).alias("_")
    whole = [one.cast("binary").alias(name) for one, name in ((first, "header"), (last_quoted, "last_quoted"))]
    told_of = (*whole, bad.alias("bad"), hashed, *has)
    found = rows.groupBy("file").agg(*told_of).collect()
    by_path = {path_in_metadata(row["file"]): row for row in found}
    told = []
    for file in files:
        row = by_path.get(file.path)
        if row is None:
            told.append(TextFile(file.path))
        else:
            lacks = tuple(name for i, name in enumerate(wanted) if not row[f"has_{i}"])
            header, last = (_decoded(row[name], encoding) for name in ("header", "last_quoted"))
            told.append(TextFile(file.path, header, last, row["bad"], lacks))
    return told


def _decoded(value: bytearray | None, encoding: str) -> str | None:
    return None if value is None else bytes(value).decode(encoding, "replace")


def text_of(value: Column, encoding: str) -> Column:
    """Lines as text. In UTF-8, and where each byte is a character, ASCII's characters can be found in the bytes as well."""
    # After an escape sequence the quote is half of another character.
    each = bytes(range(256)) + b'\x1b$B""'
    if encoding == UTF_8 or len(each.decode(encoding, "replace")) == len(each):
        return value
    return F.decode(value.cast("binary"), encoding)


def key_pattern(*names: str) -> str:
    """A pattern for Java: one of these keys of JSON in any case, as it is or with escapes, and its colon. Letters outside of ASCII count as any
    other such letters, since `text_of` leaves their bytes as they are."""
    spellings = sorted({re.escape(one) for name in names for one in (name, json.dumps(name)[1:-1])})
    each = "|".join(re.sub(r"[^\x00-\x7f]+", lambda _: r"[^\x00-\x7f]+", one) for one in spellings)
    return rf"""["'](?i:{each})["']\s*:"""


def check_encoding(spark: SparkSession, files: Iterable[TextFile], encoding: str) -> None:
    """Refuse files with bytes that are not text: Spark would read them as replacement characters, and two ids might become one.

    Raises:
        InputError: names the file and the line.
    """
    suspects = [file.path for file in files if file.has_bad_bytes or encoding != UTF_8]
    # Every byte is a character in these encodings.
    if not suspects or encoding.startswith("iso-8859-1"):
        return
    for path in files_with(content_of(spark, suspects), lambda line: "" if _decodes(line, encoding) else "bytes"):
        raise InputError(
            f"Expected text in {encoding.upper()} in {path}, found invalid bytes in its line "
            f"{_bad_line(spark, path, encoding)}; convert the file, or give --encoding."
        )


def content_of(spark: SparkSession, paths: str | Sequence[str]) -> DataFrame:
    """The bytes of each line of text files as `value`, and the file's path in its metadata as `file`."""
    lines = spark.read.format("text").options(**LITERAL_PATHS).load(paths)  # type: ignore[arg-type]
    return lines.select(F.col("value").cast("binary"), F.col("_metadata.file_path").alias("file"))


def files_with(content: DataFrame, fault: Callable[[bytes], str]) -> dict[str, str]:
    """The first fault, by name, of each file in which a value of `content_of` has one, by path in their order.

    Args:
        fault: the fault of a value, empty for none.
    """

    def faulty(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            values = zip(batch.column("file").to_pylist(), batch.column("value").to_pylist(), strict=True)
            found = sorted({(file, what) for file, value in values if (what := fault(value))})
            files, faults = ([pair[i] for pair in found] for i in range(2))
            yield pa.record_batch({"file": pa.array(files, pa.string()), "fault": pa.array(faults, pa.string())})

    rows = content.mapInArrow(faulty, "file string, fault string").distinct().collect()  # type: ignore[arg-type]
    by_path: dict[str, str] = {}
    for path, what in sorted((path_in_metadata(row["file"]), row["fault"]) for row in rows):
        by_path.setdefault(path, what)
    return by_path


def _decodes(value: bytes, encoding: str) -> bool:
    try:
        value.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _bad_line(spark: SparkSession, path: str, encoding: str) -> int:
    """The number of the first line that does not decode, from 1. Only for a file that has one: it is read in one piece."""
    name = "spark.sql.files.maxPartitionBytes"
    before = spark.conf.get(name)
    spark.conf.set(name, str(1 << 40))
    try:
        numbered = enumerate((bytes(row["value"]) for row in content_of(spark, path).toLocalIterator()), 1)
        return next(number for number, value in numbered if not _decodes(value, encoding))
    finally:
        spark.conf.set(name, before or "")


def check_none_lacks(
    columns: Mapping[str, Iterable[str]], wanted: Sequence[str], where: str, declared: Iterable[str] = ()
) -> None:
    """Refuse a file without a column that others have and the job needs: its rows would seem to have no value there.

    Args:
        columns: names by file; declared: names in lower case that each file must have, even if none does.
    Raises:
        InputError: names the file and the column. A column that no file has is another error (lib.tables.columns.require_columns).
    """
    lower = {path: {name.lower() for name in names} for path, names in columns.items()}
    anywhere = set(declared).union(*lower.values())
    for name in wanted:
        if name.lower() in anywhere:
            for path in sorted(lower):
                if name.lower() not in lower[path]:
                    raise InputError(
                        f"Expected the column {name} in each file of {where}, found none in {path}; deliver that file again with it, "
                        f"or remove it."
                    )


def check_none_twice(columns: Mapping[str, Sequence[str]], folders: set[str], wanted: Sequence[str], where: str) -> None:
    """Refuse a file with a column that its folder names too: the folder's value would hide the file's.

    Args:
        columns: names by file; folders: the keys of the folders' names, in lower case.
    Raises:
        InputError: names the file and the column.
    """
    twice = folders & {name.lower() for name in wanted}
    for path in sorted(columns) if twice else ():
        for name in columns[path]:
            if name.lower() in twice:
                raise InputError(
                    f"Expected the column {name} of {where} in the files or in the names of their folders, found it in both for {path}; "
                    f"deliver it in one place, or rename the folders."
                )
