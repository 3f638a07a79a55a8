"""Files to a DataFrame, read strictly and by the names of their columns, in whatever order each file has them.

A file that cannot be read correctly ends the run: a row that is silently null because its quoting was broken would look like
a product without a text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from lib.errors import HEADER_AMONG_ROWS, HEADER_DESPITE_COLUMNS, InputError
from lib.identifiers import column
from lib.pairs.offered import frame_of, without_trailing
from lib.settings import UTF_8, JobSettings
from lib.tables.csv_checks import check_quotes_closed, delimiter_read_as, header_of
from lib.tables.file_checks import (
    check_encoding,
    check_none_lacks,
    check_none_twice,
    checked_encoding,
    inspected,
    text_of,
)
from lib.tables.json_checks import check_lines, check_objects, check_one_spelling
from lib.tables.listing import (
    LITERAL_PATHS,
    File,
    plain_path,
    relations_of,
)
from lib.tables.locations import Location, java_class
from lib.tables.parquet_checks import columns_of_files
from schemas.tables import text_schema

SUFFIXES = {
    ".parquet": "parquet",
    **dict.fromkeys((".csv", ".tsv", ".tab"), "csv"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "json"),
}
# Of CSV whose delimiter is a tab, unless another or the format is given.
TABBED = {".tsv", ".tab"}
# What to do with files that no reader takes as they are.
ADVICE = {
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save each sheet as CSV"),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".7z", ".rar"), "unpack them"),
    ".txt": "give --format csv, with the --delimiter of its fields",
}
_THROUGH: Mapping[str, Any] = {"recursiveFileLookup": True}
BYTE_ORDER_MARK = "\ufeff"
COMPRESSIONS = {".gz", ".bz2", ".zst", ".snappy", ".lz4", ".deflate"}


@dataclass(frozen=True)
class ReadOptions:
    """How to read files that do not describe themselves.

    Attributes:
        columns: names the columns of a CSV without a header.
        encoding: of CSV and JSON files.
        wanted: the columns that the job asks for, the id or the label first. Each file has to have them, in whatever order and
            case; of JSON lines, which leave out what has no value, each file has to have the first and one of the others.
        carried: those of them that are stored as they are read, but in UTF-8: no reader of a table accepts other texts.
    """

    format: str | None = None
    columns: tuple[str, ...] = ()
    delimiter: str = ","
    encoding: str = UTF_8
    wanted: tuple[str, ...] = ()
    carried: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, settings: JobSettings | Mapping[str, Any], wanted: tuple[str, ...], carried: tuple[str, ...] = ()
    ) -> ReadOptions:
        """How a job reads its files, or a run has read them.

        Args:
            settings: of the job, or of the run's record; an option that is not among them gets its default.
        """
        given = settings if isinstance(settings, Mapping) else vars(settings)
        told = {name: given[name] for name in ("format", "columns", "delimiter", "encoding") if name in given}
        return cls(**{**told, "columns": tuple(told.get("columns", ())), "wanted": wanted, "carried": carried})


@dataclass(frozen=True)
class Files:
    """The files at a path, and how to read them.

    lines: of text files, as lib.tables.listing.files_under returns them; files: the listing that the read must match; layout:
    options of Spark's reader that decide which folders are read.
    """

    location: Location
    lines: DataFrame
    files: Sequence[File]
    layout: Mapping[str, bool]
    options: ReadOptions

    @property
    def spark(self) -> SparkSession:
        return self.lines.sparkSession


def format_of(files: Sequence[File], location: Location, options: ReadOptions) -> str:
    if not files:
        raise InputError(f"Expected data files at {location.given}, found none; correct the path, or wait for the delivery.")
    if options.format:
        if options.format == "delta":
            raise InputError(
                f"Expected a Delta table at {location.given}, found none (no _delta_log); correct the path or --format."
            )
        return options.format
    found = {_suffix(file.path) for file in files}
    kinds = {(SUFFIXES.get(suffix), suffix in TABBED) for suffix in found}
    kind = SUFFIXES.get(min(found))
    if len(kinds) != 1 or kind is None:
        advice = ADVICE.get(min(found), "") if len(found) == 1 else ""
        raise InputError(
            f"Expected a Delta table, or files of one kind out of {', '.join(SUFFIXES)}, at {location.given}, "
            f"found files ending in {', '.join(sorted(found))}; {advice or 'correct the path, or give --format'}."
        )
    return kind


def options_for(files: Sequence[File], options: ReadOptions) -> ReadOptions:
    """The options to read these files with: whose names say that tabs separate their fields, by tabs."""
    says_tabs = all(_suffix(file.path) in TABBED for file in files)
    return replace(options, delimiter="\\t") if says_tabs and not options.format and options.delimiter == "," else options


def _suffix(path: str) -> str:
    suffixes = [suffix for suffix in PurePosixPath(path.lower()).suffixes if suffix not in COMPRESSIONS]
    return suffixes[-1] if suffixes else "no suffix"


def read_parquet(of: Files) -> DataFrame:
    for file in of.files:
        # Spark skips files of zero bytes. A Parquet file has a footer, so one without is an interrupted delivery.
        if file.size == 0:
            raise InputError(
                f"Expected whole Parquet files at {of.location.given}, found {PurePosixPath(file.path).name} with zero bytes; deliver it again."
            )
    reader = of.spark.read.options(**of.layout, **LITERAL_PATHS)
    found = columns_of_files(of.spark, of.lines, _folder_keys(of), of.options.wanted, of.location.given)
    frames = []
    for absent, paths in found.without.items():
        # PySpark changes what it makes a field of, where a text has a collation.
        fields = [deepcopy(field) for field in found.fields if field["name"].lower() not in absent]
        reading = reader.schema(StructType.fromJson({"type": "struct", "fields": fields}))
        if len(found.without) == 1:
            frames.append(reading.parquet(of.location.uri))
        else:
            base = {} if of.layout else {"basePath": of.location.uri}
            frames.append(reading.options(**base).parquet(*paths))
    frame = united(frames)
    # Which type the table has for a carried column is not known here.
    kinds = {name: "void" if name in of.options.carried else "string" for name in found.empty}
    return frame.withColumns({name: F.lit(None).cast(kind) for name, kind in kinds.items()}) if kinds else frame


def united(frames: Sequence[DataFrame]) -> DataFrame:
    """The rows of several frames, with the columns of all."""
    union = frames[0]
    for frame in frames[1:]:
        union = union.unionByName(frame, allowMissingColumns=True)
    return union


def read_json(of: Files) -> DataFrame:
    encoding = _prepared_encoding(of.spark, of.options)
    wanted = _outside_folders(of, of.options.wanted)
    # For other encodings Spark needs the line separator.
    ends = {} if encoding == UTF_8 else {"lineSep": "\n"}
    lines = (
        of.lines
        if not ends
        else of.spark.read.format("text").options(**ends, **_THROUGH, **LITERAL_PATHS).load(of.location.uri)
    )
    if len(of.files) > 1 or ends:
        told = inspected(lines, of.files, encoding, wanted)
        check_encoding(of.spark, told, encoding)
        # A file without a line lacks nothing.
        full = [file for file in told if file.header is not None]
        there = {file.path: set(wanted) - set(file.lacks) for file in full}
        one_of_others = {path: wanted if names - set(wanted[:1]) else wanted[:1] for path, names in there.items()}
        check_none_lacks(there, wanted[:1], of.location.given)
        check_none_lacks(one_of_others, wanted[1:], of.location.given)
    check_lines(lines, text_of(F.col("value"), encoding), encoding, wanted)
    # As strings, so that an id keeps its leading zeros and no column's type depends on a sample.
    options: dict[str, Any] = {"mode": "FAILFAST", "primitivesAsString": True, **of.layout, **LITERAL_PATHS, **ends}
    if ends:
        options["encoding"] = encoding
    reader = of.spark.read.options(**options)
    try:
        schema = _json_schema(of, reader)
    except InputError:
        raise
    except Exception:
        # Spark's parser refuses bytes that are not text, and lines that are not objects, but does not report where they are.
        check_encoding(of.spark, inspected(lines, of.files, encoding, ()), encoding)
        check_objects(reader, of.location.uri)
        raise
    try:
        return reader.schema(schema).json(of.location.uri)
    except AnalysisException:  # keys below others that differ only in case
        return of.spark.read.options(**options).json(of.location.uri)


def _json_schema(of: Files, reader: Any) -> StructType:
    """The columns of JSON lines without those of their folders, by case: Spark alone would take the first of several spellings."""
    of.spark.conf.set("spark.sql.caseSensitive", "true")
    try:
        relation = next(relations_of(reader.json(of.location.uri)))
    finally:
        of.spark.conf.set("spark.sql.caseSensitive", "false")
    keys = StructType.fromJson(json.loads(relation.dataSchema().json()))
    check_one_spelling(keys.names, of.options.wanted, of.location.given)
    check_none_twice({of.location.given: keys.names}, _folder_keys(of), of.options.wanted, of.location.given)
    return keys


def read_csv(of: Files) -> DataFrame:
    """A CSV source, each file's columns by the names in its own header."""
    encoding = _prepared_encoding(of.spark, of.options)
    delimiter = delimiter_read_as(of.spark, of.options.delimiter)
    told = inspected(of.lines, of.files, encoding, ())
    check_encoding(of.spark, told, encoding)
    check_quotes_closed(of.spark, told, encoding, delimiter)
    reader = of.spark.read.options(**_csv_options(of.options, encoding), **LITERAL_PATHS)
    if of.options.columns:
        return _csv_frame(reader.options(**of.layout), of.options.columns, of.options, of.location.uri)
    by_header: dict[str, list[str]] = {}
    for file in told:
        by_header.setdefault(header_of(of.spark, file, encoding, delimiter), []).append(file.path)
    names = {header: _names_of_header(of.spark, header, of.options) for header in by_header}
    there = {path: names[header] for header, paths in by_header.items() for path in paths}
    for header, paths in by_header.items():
        _check_once(of, header, names[header], paths[0])
    # The parser would expect one field less in each row.
    folders = _folder_keys(of)
    check_none_twice(there, folders, sorted(folders), of.location.given)
    check_none_lacks(there, of.options.wanted, of.location.given)
    if len(by_header) == 1:
        return _csv_frame(reader.options(**of.layout), names.popitem()[1], of.options, of.location.uri)
    # Files with the same header are read together; the frames of different headers are united by column name.
    base = {} if of.layout else {"basePath": of.location.uri}
    return united([_csv_frame(reader.options(**base), names[header], of.options, paths) for header, paths in by_header.items()])


def _csv_frame(reader: Any, names: Sequence[str], options: ReadOptions, paths: str | list[str]) -> DataFrame:
    """The parser assumes that all records end with a file's first line break: if that is a line feed inside of quotes, or of
    another kind than those after it, the carriage returns of the others stay with the last column."""
    frame: DataFrame = reader.schema(text_schema(names)).csv(paths)
    if not names:
        return frame
    return without_headers(frame.withColumn(names[-1], without_trailing(column(names[-1]), "\r")), names, options)


def without_headers(frame: DataFrame, names: Sequence[str], options: ReadOptions) -> DataFrame:
    """Rows of CSV whose reading ends where a row is a header: one of several files in one, or that of a file for which `options` names columns.

    A header holds the names of all columns that the job asks for, in whatever order, and has only names in their places. A single name might
    be a text, so with fewer than two there is no check. It is made on the first of them, which every job reads, when rows are read: a pass of
    its own would parse the file once more. lib.spark_errors makes a sentence of the mark.
    """
    lower = [name.lower() for name in names]
    inside = [name.lower() for name in options.wanted if name.lower() in lower]
    if len(inside) < 2:
        return frame
    # A file may begin with a byte order mark, and so may its header inside of another file.
    fields = F.array(*[F.regexp_replace(F.lower(column(name)), f"^{BYTE_ORDER_MARK}", "") for name in names])
    key, *others = [names[lower.index(name)] for name in inside]
    spelled = [*lower, *(f"{BYTE_ORDER_MARK}{name}" for name in lower)]
    is_header = F.lit(True)
    for name in others:
        is_header &= F.lower(column(name)).isin(spelled)
    for name in inside:
        is_header &= F.array_contains(fields, name)
    mark = HEADER_DESPITE_COLUMNS if options.columns else HEADER_AMONG_ROWS
    hidden = any(name.lower() == "_metadata" for name in frame.columns)
    where = F.lit("") if hidden else F.concat(F.lit(" in "), F.col("_metadata.file_path"))
    refused = F.raise_error(F.concat(F.lit(mark), where))
    # Within another `when`: Spark would evaluate what occurs in several conditions of one for each row.
    checked = F.when(is_header, refused).otherwise(column(key))
    return frame.withColumn(key, F.when(F.lower(column(key)).isin(spelled), checked).otherwise(column(key)))


def _csv_options(options: ReadOptions, encoding: str) -> dict[str, Any]:
    return {
        "mode": "FAILFAST",
        "header": not options.columns,
        "multiLine": True,
        "sep": options.delimiter,
        "encoding": encoding,
        "quote": '"',
        "escape": '"',
        "unescapedQuoteHandling": "RAISE_ERROR",
        # With pruning a row with too many or too few fields would pass if only columns that the job does not need are affected.
        "columnPruning": False,
        # Texts of several megabytes are cut later, not refused here.
        "maxCharsPerColumn": -1,
    }


def _names_of_header(spark: SparkSession, header: str, options: ReadOptions) -> list[str]:
    """The names of the columns, as Spark's own parser reads them from this text. Reading the file would take its path for a pattern."""
    return list(_parsed(spark, header, _csv_options(options, UTF_8)).columns())


def _parsed(spark: SparkSession, text: str, options: Mapping[str, Any]) -> Any:
    """Lines of a CSV file as a Java DataFrame."""
    lines: Any = frame_of(spark, pa.table({"value": [text]}))._jdf
    strings = java_class(spark, "org.apache.spark.sql.Encoders").STRING()
    reader: Any = spark.read.options(**{**options, "multiLine": False})
    return reader._jreader.csv(getattr(lines, "as")(strings))


def _check_once(of: Files, header: str, names: Sequence[str], path: str) -> None:
    """Refuse a header with a wanted column twice: Spark numbers such columns, so that none has the name.

    Raises:
        InputError: names the file.
    """
    lacking = {name.lower() for name in of.options.wanted} - {name.lower() for name in names}
    if not lacking or of.options.columns:
        return
    rows = _parsed(of.spark, header, {**_csv_options(of.options, UTF_8), "header": False}).takeAsList(1)
    # A header of blanks alone has no row.
    written = [row.get(i) or "" for row in rows for i in range(row.size())]
    for name in of.options.wanted:
        spellings = [field for field in written if field.lower() == name.lower()]
        if len(spellings) > 1:
            raise InputError(
                f"Expected the column {name} once in the header of {path}, found {' and '.join(spellings)}; give each column its own name."
            )


def _prepared_encoding(spark: SparkSession, options: ReadOptions) -> str:
    encoding = checked_encoding(spark, options.encoding)
    # Spark's readers support eight encodings by default, and all of Java's with this setting.
    spark.conf.set("spark.sql.legacy.javaCharsets", encoding != UTF_8)
    # The checks look for bytes that are not text, and name them.
    spark.conf.set("spark.sql.legacy.codingErrorAction", encoding != UTF_8)
    return encoding


def _folder_keys(of: Files) -> set[str]:
    """The names, in lower case, of the columns in folder names key=value; none if the read looks through folders."""
    root = plain_path(of.location.uri.rstrip("/"))
    parts = {part for file in of.files for part in PurePosixPath(file.path[len(root) :]).parts[:-1]} if not of.layout else set()
    return {part.partition("=")[0].lower() for part in parts if "=" in part}


def _outside_folders(of: Files, wanted: Sequence[str]) -> list[str]:
    """The columns that are not names of partition folders, key=value."""
    keys = _folder_keys(of)
    return [name for name in wanted if name.lower() not in keys]
