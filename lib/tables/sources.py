"""Extract: a path or table name to a DataFrame with a pinned version, read strictly.

What cannot be read as it should ends the run: a row that is silently null because its quoting was broken would look
like a product without a text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import (
    BinaryType,
    BooleanType,
    DataType,
    DateType,
    IntegralType,
    NumericType,
    StringType,
    TimestampNTZType,
    TimestampType,
)

from lib.errors import InputError
from lib.identifiers import column
from lib.tables.file_checks import (
    UTF_8,
    check_encoding,
    check_none_lacks,
    check_quotes_closed,
    checked_encoding,
    columns_of_footers,
    inspected,
    whole_header,
)
from lib.tables.listing import (
    LISTED,
    LITERAL_PATHS,
    File,
    changed_since,
    check_same_files,
    digest_of,
    files_read_by,
    files_under,
    is_partitioned,
    relations_of,
)
from lib.tables.locations import Location, delta_table, exists, file_system, is_delta, rows_at
from schemas.tables import text_schema

FORMATS = ("delta", "parquet", "csv", "json")
SUFFIXES = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "json", ".ndjson": "json"}
COMPRESSIONS = {".gz", ".bz2", ".zst", ".snappy", ".lz4", ".deflate"}


UNVERSIONED = "unversioned"
# Spark's classes that read text, and what they read.
TEXT_FORMATS = {"CSVFileFormat": "CSV", "JsonFileFormat": "JSON lines", "TextFileFormat": "text"}


@dataclass(frozen=True)
class ReadOptions:
    """How to read what does not describe itself.

    Attributes:
        columns: names the columns of a CSV without a header.
        encoding: of CSV and JSON files.
        wanted: the columns that the job asks for, the id or the label first. Each file has to have them, in whatever order and
            case; of JSON lines, which leave out what has no value, each file has to have the first and one of the others.
    """

    format: str | None = None
    columns: tuple[str, ...] = ()
    delimiter: str = ","
    encoding: str = UTF_8
    wanted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """A pinned input: reading `frame` twice gives the same rows, and `version` changes when they may have.

    Attributes:
        reading: digest of all else that decides what is read: the options and the columns with their types.
        files: the listing that `frame` reads and `version` digests; none for a Delta table.
    """

    location: Location
    frame: DataFrame
    version: str
    format: str
    reading: str = ""
    files: tuple[File, ...] = ()


def read_source(spark: SparkSession, location: Location, options: ReadOptions = ReadOptions()) -> Source:
    """Resolve a source and pin its version (Delta: the table's id and version; files: their names, sizes and times).

    A view counts as changed each time: what it reads is not pinned by any of these.

    Raises:
        InputError: nothing there, not a table, not readable as one, or a file in it that differs from the others.
    """
    if not exists(spark, location):
        what = "a file, folder or table" if location.is_path else "a table, or a path"
        raise InputError(f"Expected {what} at {location.given}, found nothing; correct the path or the table's name.")
    if is_delta(spark, location):
        _check_whole_table(spark, location)
        return _read_delta(spark, location, options)
    if not location.is_path:
        return _read_table(spark, location, options)
    return _read_path(spark, location, options)


def _check_whole_table(spark: SparkSession, location: Location) -> None:
    if location.is_path:
        system, log = file_system(spark, f"{location.uri}/_delta_log")
        if not system.exists(log):
            raise InputError(
                f"Expected a whole table at {location.given}, found a folder inside a Delta table; give the table's path."
            )


def _read_delta(spark: SparkSession, location: Location, options: ReadOptions) -> Source:
    table = delta_table(spark, location)
    version = table.history(1).select("version").collect()[0]["version"]
    frame = _with_zone(rows_at(spark, location, version))
    identity = table.detail().select("id").collect()[0]["id"]
    return Source(location, frame, f"delta:{version}:{identity}", "delta", _reading(options, frame))


def _read_table(spark: SparkSession, location: Location, options: ReadOptions) -> Source:
    # The session may know the files of an earlier reading.
    spark.catalog.refreshTable(location.sql)
    frame = _with_zone(spark.read.table(location.sql))
    _refuse_text_formats(frame, location)
    files = files_read_by(frame)
    listed = all(relation.location().getClass().getSimpleName() == LISTED for relation in relations_of(frame))
    _check_columns_of_files(spark, frame, files, options, location)
    is_table = spark.catalog.getTable(location.sql).tableType in ("MANAGED", "EXTERNAL")
    pinned = files and listed and is_table and _is_plain(frame)
    version = f"files:{digest_of(files)}" if pinned else UNVERSIONED
    return Source(location, frame, version, "table", _reading(options, frame), tuple(files))


def _refuse_text_formats(frame: DataFrame, location: Location) -> None:
    """A table over text files is read as its definition says: columns by position, and what does not fit as null."""
    for relation in relations_of(frame):
        kind = relation.fileFormat().getClass().getSimpleName()
        if kind in TEXT_FORMATS:
            raise InputError(
                f"Expected a table of Delta or Parquet files at {location.given}, found one that reads {TEXT_FORMATS[kind]}; give the "
                f"path of its files, whose columns are then read by name."
            )


def _is_plain(frame: DataFrame) -> bool:
    """Whether every leaf of the plan is a reading of files."""
    return len(list(relations_of(frame))) == frame._jdf.queryExecution().analyzed().collectLeaves().size()


def _read_path(spark: SparkSession, location: Location, options: ReadOptions) -> Source:
    lines, files = files_under(spark, location)
    kind = _format_of(files, location, options)
    # Folders that are no columns are read through; those that are make Spark look for columns in every name.
    layout = {} if is_partitioned(spark, files, location) else {"recursiveFileLookup": True}
    try:
        if kind == "parquet":
            frame = _read_parquet(spark, location, files, layout, options)
        elif kind == "csv":
            frame = _read_csv(spark, location, lines, files, layout, options)
        else:
            frame = _read_json(spark, location, lines, files, layout, options)
    except AnalysisException as error:
        first = str(error).splitlines()[0]
        raise InputError(
            f"Expected {kind} data at {location.given}, found something that does not read as such ({first})."
        ) from None
    check_same_files(files_read_by(frame), files, location.given)
    frame = _with_zone(_spelled(frame, options.wanted))
    return Source(location, frame, f"files:{digest_of(files)}", kind, _reading(options, frame), tuple(files))


def _reading(options: ReadOptions, frame: DataFrame) -> str:
    parts = [asdict(options), frame.schema.jsonValue()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _spelled(frame: DataFrame, wanted: Sequence[str]) -> DataFrame:
    """The columns asked for under the case they are asked for in."""
    there = {name.lower(): name for name in frame.columns}
    renamed = {there[name.lower()]: name for name in wanted if name not in frame.columns and name.lower() in there}
    return frame.withColumnsRenamed(renamed) if renamed else frame


def _with_zone(frame: DataFrame) -> DataFrame:
    """Times without a zone as UTC: a Delta table that holds them is closed to older readers."""
    without = [field.name for field in frame.schema.fields if isinstance(field.dataType, TimestampNTZType)]
    return frame.withColumns({name: column(name).cast("timestamp") for name in without}) if without else frame


def check_unchanged(source: Source) -> None:
    """Refuse what was read if the source has changed meanwhile: its rows may be of both states.

    Raises:
        InputError: a file has another size or time than when it was listed; the Delta table is another one.
    """
    spark, location = source.frame.sparkSession, source.location
    if source.format == "delta":
        found = delta_table(spark, location).detail().select("id").collect()[0]["id"]
        changed = None if source.version.endswith(f":{found}") else f"{location.given} made anew"
    else:
        roots = [location.uri] if location.is_path else sorted({file.path.rpartition("/")[0] for file in source.files})
        changed = changed_since(spark, source.files, roots)
    if changed:
        raise InputError(
            f"Expected the source {location.given} to stay as it is during the run, found {changed} with other content than when it "
            f"was listed; run again once it is delivered."
        )


def at_version(source: Source, version: str) -> Source | None:
    """The source as it was at a version that an earlier reading has pinned; None if that cannot be read any more."""
    if source.version == version != UNVERSIONED:
        return source
    if source.format != "delta" or version.count(":") != 2 or version.split(":")[2] != source.version.split(":")[2]:
        return None
    spark = source.frame.sparkSession
    try:
        frame = _with_zone(rows_at(spark, source.location, int(version.split(":")[1])))
        files = [file_system(spark, path) for path in frame.inputFiles()]
    except Exception:  # its part of the log is gone
        return None
    # The log may name files that VACUUM has removed.
    return replace(source, frame=frame, version=version) if all(system.exists(path) for system, path in files) else None


def changed_rows(source: Source, since: str) -> DataFrame | None:
    """Old and new copies of the rows that changed between an older version of a Delta source and the one that is pinned.

    None where the table has no change feed over the whole way, or `since` is no older version of it.
    """
    if source.format != "delta" or since.count(":") != 2:
        return None
    kind, version, identity = since.split(":")
    _, pinned, same = source.version.split(":")
    if kind != "delta" or identity != same or int(version) >= int(pinned):
        return None
    spark, location = source.frame.sparkSession, source.location
    reader = spark.read.format("delta").options(readChangeFeed=True, startingVersion=int(version) + 1, endingVersion=pinned)
    try:
        changes = reader.load(location.uri) if location.is_path else reader.table(location.uri)
        # Whether every version on the way has one shows only when it is planned.
        changes._jdf.queryExecution().executedPlan()
    except Exception:
        return None
    return changes


def _format_of(files: Sequence[File], location: Location, options: ReadOptions) -> str:
    if not files:
        raise InputError(f"Expected data files at {location.given}, found none; correct the path, or wait for the delivery.")
    if options.format:
        if options.format == "delta":
            raise InputError(
                f"Expected a Delta table at {location.given}, found none (no _delta_log); correct --source or --format."
            )
        return options.format
    found = {_suffix(file.path) for file in files}
    kinds = {SUFFIXES.get(suffix) for suffix in found}
    if len(kinds) != 1 or None in kinds:
        raise InputError(
            f"Expected a Delta table, or files of one kind out of {', '.join(SUFFIXES)}, at {location.given}, "
            f"found files ending in {', '.join(sorted(found))}; correct the path, or say --format."
        )
    return str(kinds.pop())


def _suffix(path: str) -> str:
    suffixes = [suffix for suffix in PurePosixPath(path.lower()).suffixes if suffix not in COMPRESSIONS]
    return suffixes[-1] if suffixes else "no suffix"


def _read_parquet(
    spark: SparkSession, location: Location, files: Sequence[File], layout: Mapping[str, bool], options: ReadOptions
) -> DataFrame:
    for file in files:
        # Spark reads over files of zero bytes; where files have footers, one without is a delivery that broke off.
        if file.size == 0:
            raise InputError(
                f"Expected whole Parquet files at {location.given}, found {PurePosixPath(file.path).name} with zero bytes; deliver it again."
            )
    reader = spark.read.options(**layout, **LITERAL_PATHS)
    frame = reader.parquet(location.uri)
    columns = _check_columns_of_files(spark, frame, files, options, location)
    # By itself Spark takes the columns of some file.
    return reader.option("mergeSchema", True).parquet(location.uri) if len(set(columns.values())) > 1 else frame


def _check_columns_of_files(
    spark: SparkSession, frame: DataFrame, files: Sequence[File], options: ReadOptions, location: Location
) -> Mapping[str, tuple[str, ...]]:
    """The columns of each Parquet file that a frame reads, after checking that each has what the job asks for."""
    columns: dict[str, tuple[str, ...]] = {}
    if len(files) > 1:
        for relation in relations_of(frame):
            if relation.fileFormat().getClass().getSimpleName() == "ParquetFileFormat" and (
                relation.location().getClass().getSimpleName() == LISTED
            ):
                there = {file.path for file in files}
                found = {path: names for path, names in columns_of_footers(spark, relation).items() if path in there}
                folders = {str(name).lower() for name in relation.partitionSchema().fieldNames()}
                check_none_lacks(found, [name for name in options.wanted if name.lower() not in folders], location.given)
                columns |= found
    return columns


def _read_json(
    spark: SparkSession,
    location: Location,
    lines: DataFrame,
    files: Sequence[File],
    layout: Mapping[str, bool],
    options: ReadOptions,
) -> DataFrame:
    encoding = _prepared_encoding(spark, options)
    if len(files) > 1 or encoding != UTF_8:
        wanted = _outside_folders(files, options.wanted)
        told = inspected(lines, files, encoding, wanted)
        check_encoding(spark, told, encoding)
        # A file without a line lacks nothing.
        full = [file for file in told if file.header is not None]
        there = {file.path: set(wanted) - set(file.lacks) for file in full}
        one_of_others = {path: wanted if names - set(wanted[:1]) else wanted[:1] for path, names in there.items()}
        check_none_lacks(there, wanted[:1], location.given)
        check_none_lacks(one_of_others, wanted[1:], location.given)
    # As strings, so that an id keeps its leading zeros and no column's type hangs on a sample.
    reader = spark.read.options(mode="FAILFAST", primitivesAsString=True, **layout, **LITERAL_PATHS)
    if encoding != UTF_8:
        reader = reader.options(encoding=encoding, lineSep="\n")
    try:
        return reader.json(location.uri)
    except Exception:
        # Spark's parser refuses bytes that are no text, but does not say where they are.
        check_encoding(spark, inspected(lines, files, encoding, ()), encoding)
        raise


def _read_csv(
    spark: SparkSession,
    location: Location,
    lines: DataFrame,
    files: Sequence[File],
    layout: Mapping[str, bool],
    options: ReadOptions,
) -> DataFrame:
    """A CSV source, each file's columns by the names in its own header."""
    encoding = _prepared_encoding(spark, options)
    told = inspected(lines, files, encoding, ())
    check_encoding(spark, told, encoding)
    check_quotes_closed(spark, told, encoding, options.delimiter)
    reader = spark.read.options(**_csv_options(options, encoding), **LITERAL_PATHS)
    if options.columns:
        return _csv_frame(reader.options(**layout), options.columns, location.uri)
    by_header: dict[str, list[str]] = {}
    for file in told:
        # Of a header that goes on behind its first line that line does not tell; such a file is read by itself.
        goes_on = (file.header or "").count('"') % 2
        header = whole_header(spark, file.path, encoding, options.delimiter) if goes_on else file.header or ""
        by_header.setdefault(header, []).append(file.path)
    names = {header: _names_of_header(spark, header, options) for header in by_header}
    check_none_lacks(
        {path: names[header] for header, paths in by_header.items() for path in paths}, options.wanted, location.given
    )
    if len(by_header) == 1:
        return _csv_frame(reader.options(**layout), names.popitem()[1], location.uri)
    # Files under one header are read together, those under several put side by side by name.
    base = {} if layout else {"basePath": location.uri}
    frames = [_csv_frame(reader.options(**base), names[header], paths) for header, paths in by_header.items()]
    union = frames[0]
    for frame in frames[1:]:
        union = union.unionByName(frame, allowMissingColumns=True)
    return union


def _csv_frame(reader: Any, names: Sequence[str], paths: str | list[str]) -> DataFrame:
    """The parser takes a file's first line break for those of all its records: where that is a line feed inside of quotes, or of
    another kind than those behind it, the carriage returns of the others stay with the last column."""
    frame: DataFrame = reader.schema(text_schema(names)).csv(paths)
    return frame.withColumn(names[-1], F.rtrim(column(names[-1]), F.lit("\r"))) if names else frame


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
        # With pruning a row with too many or too few fields passes, as long as its unwanted ones are at fault.
        "columnPruning": False,
        # Texts of several megabytes are cut later, not refused here.
        "maxCharsPerColumn": -1,
    }


def _names_of_header(spark: SparkSession, header: str, options: ReadOptions) -> list[str]:
    """The names of the columns, as Spark's own parser reads them from this text. From files it takes paths for patterns."""
    lines: Any = spark.createDataFrame([(header,)], "value string")._jdf
    jvm: Any = spark._jvm
    reader: Any = spark.read.options(**{**_csv_options(options, UTF_8), "multiLine": False})
    return list(reader._jreader.csv(getattr(lines, "as")(jvm.org.apache.spark.sql.Encoders.STRING())).columns())


def _prepared_encoding(spark: SparkSession, options: ReadOptions) -> str:
    encoding = checked_encoding(spark, options.encoding)
    # Spark's readers know eight encodings by themselves, and all of Java's by this setting.
    spark.conf.set("spark.sql.legacy.javaCharsets", encoding != UTF_8)
    return encoding


def _outside_folders(files: Sequence[File], wanted: Sequence[str]) -> list[str]:
    """Those of the columns that are no names of partition folders, key=value."""
    keys = {part.partition("=")[0].lower() for file in files for part in PurePosixPath(file.path).parts[:-1] if "=" in part}
    return [name for name in wanted if name.lower() not in keys]


def require_columns(frame: DataFrame, where: str, **wanted: tuple[Sequence[str], tuple[type[DataType], ...]]) -> None:
    """Check that columns are there with a usable type, before any row is read.

    Args:
        wanted: option name = (column names, accepted types).
    Raises:
        InputError: names what is missing or of another type, and what is there.
    """
    types = {field.name: field.dataType for field in frame.schema.fields}
    there = ", ".join(f"{name} {kind.simpleString()}" for name, kind in types.items())
    for flag, (names, kinds) in wanted.items():
        missing = [name for name in names if name not in types]
        if missing:
            raise InputError(
                f"Expected the column {', '.join(missing)} in {where}, found {there or 'no columns'}; correct --{flag.replace('_', '-')}."
            )
        for name in names:
            if not isinstance(types[name], kinds):
                expected = " or ".join(kind.__name__.removesuffix("Type").lower() for kind in kinds)
                raise InputError(
                    f"Expected the column {name} to be {expected} in {where}, found {types[name].simpleString()} "
                    f"(all columns: {there}); correct --{flag.replace('_', '-')}, or cast it in the source."
                )


def require_text(frame: DataFrame, where: str, names: Sequence[str], flag: str = "text_columns") -> None:
    """Check that there is at least one text column, and that each holds text.

    Raises:
        InputError: as `require_columns`, or if no column is named.
    """
    if not names:
        raise InputError(f"Expected at least one text column, found none; give --{flag.replace('_', '-')}.")
    require_columns(frame, where, **{flag: (names, TEXT_TYPES)})


TEXT_TYPES: tuple[type[DataType], ...] = (StringType,)
# What any reader of Delta tables knows; others, such as variants, close the table to older ones.
CARRIED_TYPES: tuple[type[DataType], ...] = (
    StringType,
    NumericType,
    BooleanType,
    DateType,
    TimestampType,
    BinaryType,
)
ID_TYPES: tuple[type[DataType], ...] = (StringType, IntegralType)
