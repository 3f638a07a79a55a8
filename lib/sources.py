"""Extract: a path or table name to a DataFrame with a pinned version, read strictly.

What cannot be read as it should ends the run: a row that is silently null because its quoting was broken would look
like a product without a text.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

import pandas as pd
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, IntegralType, StringType

from lib.errors import InputError
from lib.locations import Location, delta_table, exists, file_system, is_delta, rows_at
from schemas.tables import text_schema

FORMATS = ("delta", "parquet", "csv", "json")
SUFFIXES = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "json", ".ndjson": "json"}
COMPRESSIONS = {".gz", ".bz2", ".zst", ".snappy", ".lz4", ".deflate"}


@dataclass(frozen=True)
class ReadOptions:
    """How to read what does not describe itself. `columns` names the columns of a CSV without a header."""

    format: str | None = None
    columns: tuple[str, ...] = ()
    delimiter: str = ","


@dataclass(frozen=True)
class Source:
    """A pinned input: reading `frame` twice gives the same rows, and `version` changes when they may have."""

    location: Location
    frame: DataFrame
    version: str
    format: str


def read_source(spark: SparkSession, location: Location, options: ReadOptions = ReadOptions()) -> Source:
    """Resolve a source and pin its version (Delta: the table's version; files: their names, sizes and times).

    Raises:
        InputError: nothing there, not a table, or not readable as one.
    """
    if not exists(spark, location):
        what = "a file, folder or table" if location.is_path else "a table, or a path"
        raise InputError(f"Expected {what} at {location.given}, found nothing; correct the path or the table's name.")
    if is_delta(spark, location):
        return _read_delta(spark, location)
    kind = _format_of(spark, location, options) if location.is_path else "table"
    try:
        frame = _read_files(spark, location, kind, options)
    except AnalysisException as error:
        first = str(error).splitlines()[0]
        raise InputError(
            f"Expected {kind} data at {location.given}, found something that does not read as such ({first})."
        ) from None
    _check_quotes_closed(spark, frame, kind, location)
    return Source(location, frame, _file_version(spark, frame), kind)


def _read_delta(spark: SparkSession, location: Location) -> Source:
    version = delta_table(spark, location).history(1).select("version").collect()[0]["version"]
    return Source(location, rows_at(spark, location, version), f"delta:{version}", "delta")


def changed_rows(source: Source, since: str) -> DataFrame | None:
    """Old and new copies of the rows that changed between an older version of a Delta source and the one that is pinned.

    None where the table has no change feed over the whole way, or `since` is no older version of it.
    """
    kind, _, version = since.partition(":")
    pinned = source.version.partition(":")[2]
    if kind != "delta" or source.format != "delta" or int(version) >= int(pinned):
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


def _format_of(spark: SparkSession, location: Location, options: ReadOptions) -> str:
    if options.format:
        if options.format == "delta":
            raise InputError(
                f"Expected a Delta table at {location.given}, found none (no _delta_log); correct --source or --format."
            )
        return options.format
    names = [status.getPath().getName() for status in _data_files(spark, location)]
    if not names:
        raise InputError(f"Expected data files at {location.given}, found none; correct the path, or wait for the delivery.")
    found = {_suffix(name) for name in names}
    kinds = {SUFFIXES.get(suffix) for suffix in found}
    if len(kinds) != 1 or None in kinds:
        raise InputError(
            f"Expected a Delta table, or files of one kind out of {', '.join(SUFFIXES)}, at {location.given}, "
            f"found files ending in {', '.join(sorted(found))}; correct the path, or say --format."
        )
    return str(kinds.pop())


def _suffix(name: str) -> str:
    suffixes = [suffix for suffix in PurePosixPath(name.lower()).suffixes if suffix not in COMPRESSIONS]
    return suffixes[-1] if suffixes else "no suffix"


def _data_files(spark: SparkSession, location: Location) -> Iterator[Any]:
    """Hadoop's FileStatus of the data files at a path; like Spark, without what begins with _ or a dot."""
    system, path = file_system(spark, location.uri)
    if system.getFileStatus(path).isFile():
        yield system.getFileStatus(path)
        return
    found = system.listFiles(path, True)
    root = path.toString()
    while found.hasNext():
        status = found.next()
        inner = PurePosixPath(status.getPath().toString().split(root, 1)[-1].lstrip("/"))
        if not any(part.startswith(("_", ".")) for part in inner.parts):
            yield status


def _check_none_is_empty(spark: SparkSession, location: Location) -> None:
    """Spark reads over files of zero bytes; where files have footers, one without is a delivery that broke off."""
    for status in _data_files(spark, location):
        if status.getLen() == 0:
            raise InputError(
                f"Expected whole Parquet files at {location.given}, found {status.getPath().getName()} with zero bytes; deliver it again."
            )


def _read_files(spark: SparkSession, location: Location, kind: str, options: ReadOptions) -> DataFrame:
    if kind == "table":
        return spark.read.table(location.uri)
    if kind == "parquet":
        if location.is_path:
            _check_none_is_empty(spark, location)
        return spark.read.parquet(location.uri)
    if kind == "json":
        # As strings, so that an id keeps its leading zeros and no column's type hangs on a sample.
        return spark.read.options(mode="FAILFAST", primitivesAsString=True).json(location.uri)
    reader = spark.read.options(
        mode="FAILFAST",
        header=not options.columns,
        multiLine=True,
        sep=options.delimiter,
        quote='"',
        escape='"',
        unescapedQuoteHandling="RAISE_ERROR",
        # With pruning a row with too many or too few fields passes, as long as its unwanted ones are at fault.
        columnPruning=False,
        # Texts of several megabytes are cut later, not refused here.
        maxCharsPerColumn=-1,
    )
    if options.columns:
        reader = reader.schema(text_schema(options.columns))
    return reader.csv(location.uri)


def _check_quotes_closed(spark: SparkSession, frame: DataFrame, kind: str, location: Location) -> None:
    """Refuse a CSV file whose last quoted text never ends: Spark would take the rest of the file for that text."""
    if kind != "csv":
        return
    lines = spark.read.text(_files_of(frame)).select("value", F.col("_metadata.file_path").alias("file"))
    quotes = F.sum(F.length("value") - F.length(F.replace("value", F.lit('"'), F.lit("")))).alias("quotes")
    # An odd number of quotes is rare, and mostly this fault; only then is the file parsed a second time.
    suspects = [unquote(row["file"]) for row in lines.groupBy("file").agg(quotes).filter("quotes % 2 = 1").collect()]
    if not suspects:
        return
    whole = spark.read.text(suspects, wholetext=True).select(F.col("_metadata.file_path").alias("file"), "value")
    broken = whole.mapInPandas(_files_ending_in_quotes, "file string").collect()
    if broken:
        raise InputError(
            f"Expected every quoted text to be closed in the CSV file {broken[0]['file']}, found one still open at its end; "
            f"close it, and double each quote inside a quoted text."
        )


def _files_ending_in_quotes(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    csv.field_size_limit(1 << 30)
    for batch in batches:
        yield batch.loc[[_ends_in_quotes(text) for text in batch["value"]], ["file"]]


def _ends_in_quotes(text: str) -> bool:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for _ in rows:
            pass
    except csv.Error as error:
        return "unexpected end of data" in str(error)
    return False


def _files_of(frame: DataFrame) -> list[str]:
    """The files that `frame` reads, as paths: Spark gives them as encoded URIs, in which a blank is %20."""
    return sorted(unquote(name) for name in frame.inputFiles())


def _file_version(spark: SparkSession, frame: DataFrame) -> str:
    """Digest of names, sizes and times of the files that `frame` reads; their listing is pinned in its plan."""
    paths = _files_of(frame)
    if not paths:
        return "unversioned"
    digest = hashlib.sha256()
    for name in paths:
        system, path = file_system(spark, name)
        status = system.getFileStatus(path)
        digest.update(f"{name}\0{status.getLen()}\0{status.getModificationTime()}\n".encode())
    return f"files:{digest.hexdigest()[:16]}"


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
ID_TYPES: tuple[type[DataType], ...] = (StringType, IntegralType)
