"""What each file of a source says of itself, looked at file by file: encoding, quotes, header, footer.

Spark takes one file's word for all of them. So a file that differs would be read into the wrong columns, or without them.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lib.errors import InputError
from lib.tables.listing import LITERAL_PATHS, File, path_in_metadata, plain_path

UTF_8 = "utf-8"
# What a reader of lines looks for; an encoding that writes it otherwise has to be converted before.
_ASCII = '\n\r",;\t{}:'


@dataclass(frozen=True)
class TextFile:
    """What one pass over the lines of a file tells. header: its first line that is not blank, None without one; lacks: of
    the columns asked for, those whose name stands nowhere in it."""

    path: str
    header: str | None
    quotes: int
    has_bad_bytes: bool
    lacks: tuple[str, ...]


def checked_encoding(spark: SparkSession, name: str) -> str:
    """Java's name of an encoding.

    Raises:
        InputError: unknown to Java or Python, or one that does not write ASCII's characters as ASCII does.
    """
    charset: Any = spark._jvm.java.nio.charset.Charset  # type: ignore[union-attr]
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
        wanted: names of keys to look for, as JSON writes them.
    """
    value = F.col("value")
    at = F.struct(F.col("_metadata.file_block_start"), F.monotonically_increasing_id())
    rows = lines.select("value", F.col("_metadata.file_path").alias("file"), at.alias("at"))
    quotes = F.sum(F.length("value") - F.length(F.replace(value, F.lit('"'), F.lit(""))))
    bad = F.max(~F.is_valid_utf8(value)) if encoding == UTF_8 else F.lit(False)
    header = F.min_by(F.when(F.trim(value) != "", value), F.when(F.trim(value) != "", F.col("at")))
    has = [F.max(value.rlike(f'"{re.escape(name)}"\\s*:')).alias(f"has_{i}") for i, name in enumerate(wanted)]
    # An aggregate of objects: without one Spark sorts all lines by file, since strings have no room of fixed size.
    hashed = F.collect_list(F.lit(None).cast("int")).alias("_")
    found = rows.groupBy("file").agg(header.alias("header"), quotes.alias("quotes"), bad.alias("bad"), hashed, *has).collect()
    by_path = {path_in_metadata(row["file"]): row for row in found}
    told = []
    for file in files:
        row = by_path.get(file.path)
        lacks = tuple(name for i, name in enumerate(wanted) if row is not None and not row[f"has_{i}"])
        told.append(
            TextFile(file.path, row["header"], row["quotes"], row["bad"], lacks)
            if row
            else TextFile(file.path, None, 0, False, ())
        )
    return told


def check_encoding(spark: SparkSession, files: Iterable[TextFile], encoding: str) -> None:
    """Refuse files with bytes that are no text: Spark would read them as replacement characters, and ids might become one.

    Raises:
        InputError: names the file and the line.
    """
    suspects = [file.path for file in files if file.has_bad_bytes or encoding != UTF_8]
    # Every byte is a character of these.
    if not suspects or encoding.startswith("iso-8859-1"):
        return
    found = _files_with(_content(spark, suspects), lambda line: not _decodes(line, encoding))
    if found:
        raise InputError(
            f"Expected text in {encoding.upper()} in {found[0]}, found bytes that are none in its line "
            f"{_bad_line(spark, found[0], encoding)}; convert the file, or say --encoding."
        )


def _content(spark: SparkSession, paths: str | Sequence[str], whole: bool = False) -> DataFrame:
    """The bytes of each line of text files, or of each file, as `value`, and the file's path in its metadata as `file`."""
    lines = spark.read.format("text").options(wholetext=whole, **LITERAL_PATHS).load(paths)  # type: ignore[arg-type]
    return lines.select(F.col("value").cast("binary"), F.col("_metadata.file_path").alias("file"))


def _files_with(content: DataFrame, fault: Callable[[bytes], bool]) -> list[str]:
    """The paths of the files in which a value of `_content` has the fault, in their order."""

    def faulty(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            values = zip(batch.column("file").to_pylist(), batch.column("value").to_pylist(), strict=True)
            yield pa.record_batch({"file": pa.array(sorted({file for file, value in values if fault(value)}), pa.string())})

    rows = content.mapInArrow(faulty, "file string").distinct().collect()  # type: ignore[arg-type]
    return sorted(path_in_metadata(row["file"]) for row in rows)


def _decodes(value: bytes, encoding: str) -> bool:
    try:
        value.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _bad_line(spark: SparkSession, path: str, encoding: str) -> int:
    """The number of the first line that does not decode, from 1. Only of a file that has one: it is read in one piece."""
    name = "spark.sql.files.maxPartitionBytes"
    before = spark.conf.get(name)
    spark.conf.set(name, str(1 << 40))
    try:
        numbered = enumerate((bytes(row["value"]) for row in _content(spark, path).toLocalIterator()), 1)
        return next(number for number, value in numbered if not _decodes(value, encoding))
    finally:
        spark.conf.set(name, before or "")


def check_quotes_closed(spark: SparkSession, files: Iterable[TextFile], encoding: str, delimiter: str) -> None:
    """Refuse a CSV file whose last quoted text never ends: Spark would take the rest of the file for that text."""
    # An odd number of quotes is rare, and mostly this fault; only then is the file parsed a second time.
    suspects = [file.path for file in files if file.quotes % 2]
    if not suspects:
        return
    content = _content(spark, suspects, whole=True)
    broken = _files_with(content, lambda text: _ends_in_quotes(text.decode(encoding), delimiter))
    if broken:
        raise InputError(
            f"Expected every quoted text to be closed in the CSV file {broken[0]}, found one still open at its end; close it, and "
            f"double each quote inside a quoted text."
        )


def _ends_in_quotes(text: str, delimiter: str) -> bool:
    try:
        for _ in _records(text, delimiter):
            pass
    except csv.Error as error:
        return "unexpected end of data" in str(error)
    return False


def whole_header(spark: SparkSession, path: str, encoding: str, delimiter: str) -> str:
    """The header of a CSV file whose names hold line breaks, on one line, each break as a blank."""
    text = bytes(_content(spark, path, whole=True).collect()[0]["value"]).decode(encoding)
    names = next(_records(text, delimiter))
    line = io.StringIO()
    csv.writer(line, delimiter=delimiter if len(delimiter) == 1 else ",").writerow([" ".join(n.split("\n")) for n in names])
    return line.getvalue().strip("\r\n")


def _records(text: str, delimiter: str) -> Iterator[list[str]]:
    csv.field_size_limit(1 << 30)
    return csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter if len(delimiter) == 1 else ",")


def columns_of_footers(spark: SparkSession, relation: Any) -> Mapping[str, tuple[str, ...]]:
    """The columns of each Parquet file, by its path; Spark reads the footers side by side, without the rows."""
    jvm: Any = spark._jvm
    reader = getattr(
        getattr(jvm.org.apache.spark.sql.execution.datasources.parquet, "ParquetFileFormat$"), "MODULE$"
    ).readParquetFootersInParallel
    jsc: Any = spark.sparkContext._jsc
    footers = reader(jsc.hadoopConfiguration(), relation.location().allFiles(), False).iterator()
    found: dict[str, tuple[str, ...]] = {}
    known: dict[str, tuple[str, ...]] = {}
    while footers.hasNext():
        footer = footers.next()
        schema = footer.getParquetMetadata().getFileMetaData().getSchema()
        text = str(schema.toString())
        if text not in known:
            known[text] = tuple(str(schema.getFieldName(i)) for i in range(schema.getFieldCount()))
        found[plain_path(str(footer.getFile().toString()))] = known[text]
    return found


def check_none_lacks(columns: Mapping[str, Iterable[str]], wanted: Sequence[str], where: str) -> None:
    """Refuse a file without a column that others have and the job asks for: its rows would seem to have no value there.

    Args:
        columns: names by file.
    Raises:
        InputError: names the file and the column. A column that is in no file is another fault (lib.tables.columns.require_columns).
    """
    lower = {path: {name.lower() for name in names} for path, names in columns.items()}
    anywhere = set().union(*lower.values()) if lower else set()
    for name in wanted:
        if name.lower() in anywhere:
            for path in sorted(lower):
                if name.lower() not in lower[path]:
                    raise InputError(
                        f"Expected the column {name} in each file of {where}, found none in {path}; deliver that file again with it, "
                        f"or take it away."
                    )
