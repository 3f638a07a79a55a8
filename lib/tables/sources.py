"""Extract: a path or table name to a DataFrame with a pinned version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from pyspark.errors import AnalysisException, ArithmeticException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StringType, TimestampNTZType

from lib.errors import InputError
from lib.identifiers import column
from lib.pairs.offered import in_utf8
from lib.tables.formats import Files, ReadOptions, format_of, options_for, read_csv, read_json, read_parquet
from lib.tables.listing import (
    LISTED,
    File,
    changed_since,
    check_names,
    check_no_log,
    check_same_files,
    check_whole,
    digest_of,
    files_read_by,
    files_under,
    is_partitioned,
    leaves_of,
    plain_path,
    relations_of,
)
from lib.tables.locations import Location, exists, file_system, is_delta, newest_snapshot, pinned, rows_at, stands
from lib.tables.parquet_checks import check_columns_of_files
from lib.tables.pinned import PinnedVersion

UNVERSIONED = "unversioned"
# The prefix of a pinned version of a Delta table.
DELTA = "delta:"
# The classes that read Parquet, Spark's and Delta's; and the names of the formats that Spark's other classes read.
PARQUET_FORMATS = ("ParquetFileFormat", "DeltaParquetFileFormat")
OTHER_FORMATS = {"OrcFileFormat": "ORC", "CSVFileFormat": "CSV", "JsonFileFormat": "JSON lines", "TextFileFormat": "text"}
# Options of a table that would pass over rows of a file in silence.
PASSING_OVER = ("ignorecorruptfiles", "ignoremissingfiles")
# A table that Hive's own classes read, at the leaf of a plan.
OF_HIVE = "HiveTableRelation"


@dataclass(frozen=True)
class Source:
    """A pinned input: reading `frame` twice returns the same rows, and `version` changes when they may have changed.

    Attributes:
        reading: digest of everything else that decides what is read: the options and the columns with their types.
        files: the listing that `frame` reads and `version` digests; none for a Delta table.
        carried: as lib.tables.formats.ReadOptions has it.
    """

    location: Location
    frame: DataFrame
    version: str
    format: str
    reading: str = ""
    files: tuple[File, ...] = ()
    carried: tuple[str, ...] = ()

    @property
    def delta_version(self) -> PinnedVersion | None:
        """The version of the Delta table; None if the source is none."""
        return delta_version_of(self.version)

    def as_read(self, rows: DataFrame) -> DataFrame:
        """Rows of another version of it in the types and texts of `frame`."""
        return _as_read(rows, self.carried)


def delta_version_of(version: str) -> PinnedVersion | None:
    """The version of a Delta table from a source's version, also an earlier one's; None if the source was no Delta table."""
    told = version.removeprefix(DELTA)
    # The first releases recorded the number alone, which another table may have too.
    return PinnedVersion.of(told) if version.startswith(DELTA) and ":" in told else None


def read_source(spark: SparkSession, location: Location, options: ReadOptions = ReadOptions()) -> Source:
    """Resolve a source and pin its version (Delta: the version, the table's id and the commit; files: their names, sizes and times).

    A view counts as changed each time, and so does a partitioned table that is no Delta table: none of these pins what it reads.

    Raises:
        InputError: nothing exists there, it is not a table or cannot be read as one, or one of its files differs from the others.
    """
    if not exists(spark, location):
        what = "a file, folder or table" if location.is_path else "a table, or a path"
        raise InputError(
            f"Expected {what} at {location.given}, found nothing; correct the path or the table's name.", see="no-source"
        )
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
    snapshot = newest_snapshot(spark, location)
    version = int(snapshot.version())
    frame = _as_read(rows_at(spark, location, version), options.carried)
    # With the ids of the columns, where it has any: one that is dropped and added again has the same name, and other values.
    reading = _reading(options, frame, str(snapshot.metadata().schemaString()))
    return Source(location, frame, f"{DELTA}{pinned(spark, snapshot)}", "delta", reading, carried=options.carried)


def _read_table(spark: SparkSession, location: Location, options: ReadOptions) -> Source:
    # The session may have cached the files of an earlier read.
    spark.catalog.refreshTable(location.sql)
    frame = _as_read(spark.read.table(location.sql), options.carried)
    _refuse_other_formats(frame, location)
    _refuse_options(frame, location)
    files = files_read_by(frame)
    check_names(files)
    check_whole([root for relation in relations_of(frame) for root in _roots(relation)], location.given)
    _check_no_logs(spark, frame, files, location)
    listed = all(relation.location().getClass().getSimpleName() in LISTED for relation in relations_of(frame))
    check_columns_of_files(spark, frame, options.wanted, location.given)
    is_table = spark.catalog.getTable(location.sql).tableType in ("MANAGED", "EXTERNAL")
    pinned = files and listed and is_table and _is_plain(frame)
    version = f"files:{digest_of(files)}" if pinned else UNVERSIONED
    return Source(location, frame, version, "table", _reading(options, frame), tuple(files), options.carried)


def _roots(relation: Any) -> list[str]:
    """The folders, or files, that a relation lists."""
    return str(relation.location().rootPaths().mkString("\0")).split("\0")


def _check_no_logs(spark: SparkSession, frame: DataFrame, files: Sequence[File], location: Location) -> None:
    paths = {file.path for file in files}
    for relation in relations_of(frame):
        # Delta reads with another class.
        if relation.fileFormat().getClass().getSimpleName() == "ParquetFileFormat":
            for root in _roots(relation):
                if plain_path(root) not in paths:
                    check_no_log(spark, root, [PurePosixPath()], location.given)


def _refuse_other_formats(frame: DataFrame, location: Location) -> None:
    """A table over other files is read as its definition says: columns by position, and what a file lacks or does not fit as null."""
    kinds = [str(relation.fileFormat().getClass().getSimpleName()) for relation in relations_of(frame)]
    found = [OTHER_FORMATS.get(kind, kind.removesuffix("FileFormat")) for kind in kinds if kind not in PARQUET_FORMATS]
    found += ["files by Hive's own classes" for leaf in leaves_of(frame) if leaf.nodeName() == OF_HIVE]
    if found:
        raise InputError(
            f"Expected a table of Delta or Parquet files at {location.given}, found one that reads {found[0]}; give the path of its files, "
            f"if they are CSV or JSON, whose columns are then read by name, or make a table of Parquet or Delta of it."
        )


def _refuse_options(frame: DataFrame, location: Location) -> None:
    """A table's own options win over the session's settings."""
    for relation in relations_of(frame):
        own = dict(one.split(" -> ", 1) for one in str(relation.options().mkString("\0")).split("\0") if " -> " in one)
        found = [f"{name} = {value}" for name, value in own.items() if name.lower() in PASSING_OVER and value.lower() == "true"]
        if found:
            raise InputError(
                f"Expected a table of which all rows are read at {location.given}, found one with the option {', '.join(found)}; give the path of its "
                "files, or make the table without it."
            )


def _is_plain(frame: DataFrame) -> bool:
    """Whether every leaf of the plan reads files."""
    return len(list(relations_of(frame))) == frame._jdf.queryExecution().analyzed().collectLeaves().size()


def _read_path(spark: SparkSession, location: Location, options: ReadOptions) -> Source:
    lines, files = files_under(spark, location)
    kind = format_of(files, location, options)
    # Folders that are not columns are looked through; otherwise Spark would look for columns in every folder name.
    layout = {} if is_partitioned(spark, files, location) else {"recursiveFileLookup": True}
    found = Files(location, lines, files, layout, options_for(files, options))
    try:
        if kind == "parquet":
            frame = read_parquet(found)
        elif kind == "csv":
            frame = read_csv(found)
        else:
            frame = read_json(found)
    # The latter for a decimal of more digits than Spark supports.
    except (AnalysisException, ArithmeticException) as error:
        first = str(error).splitlines()[0]
        raise InputError(
            f"Expected {kind} data at {location.given}, found something that cannot be read as such ({first})."
        ) from None
    check_same_files(files_read_by(frame), files, location.given)
    frame = _as_read(_spelled(frame, options.wanted), options.carried)
    return Source(location, frame, f"files:{digest_of(files)}", kind, _reading(options, frame), tuple(files), options.carried)


def _reading(options: ReadOptions, frame: DataFrame, *more: str) -> str:
    # The carried columns are recorded with a run's columns; older versions did not pass them here.
    options_then = {name: value for name, value in asdict(options).items() if name != "carried"}
    parts = [options_then, frame.schema.jsonValue(), *more]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _spelled(frame: DataFrame, wanted: Sequence[str]) -> DataFrame:
    """The requested columns, renamed to the case in which they were requested."""
    there = {name.lower(): name for name in frame.columns}
    renamed = {there[name.lower()]: name for name in wanted if name not in frame.columns and name.lower() in there}
    return frame.withColumnsRenamed(renamed) if renamed else frame


def _as_read(frame: DataFrame, carried: Sequence[str]) -> DataFrame:
    """With U+FFFD for what is not UTF-8 in carried texts, which Parquet and Delta may hold, and with texts that compare by their bytes."""
    collated = [
        field.name for field in frame.schema.fields if isinstance(field.dataType, StringType) and field.dataType != StringType()
    ]
    if collated:
        # Delta stores no collations, and texts of two of them cannot be joined.
        frame = frame.withColumns({name: column(name).cast("string") for name in collated})
    texts = [field.name for field in frame.schema.fields if field.name in carried and isinstance(field.dataType, StringType)]
    return _with_zone(frame.withColumns({name: in_utf8(column(name)) for name in texts}) if texts else frame)


def _with_zone(frame: DataFrame) -> DataFrame:
    """Times without a zone as UTC: a Delta table that holds them is closed to older readers."""
    without = [field.name for field in frame.schema.fields if isinstance(field.dataType, TimestampNTZType)]
    return frame.withColumns({name: column(name).cast("timestamp") for name in without}) if without else frame


def check_unchanged(source: Source) -> None:
    """Refuse what was read if the source has changed meanwhile: its rows may mix both states.

    Raises:
        InputError: a file has another size or time than when it was listed; the Delta table is another one.
    """
    spark, location = source.frame.sparkSession, source.location
    if version := source.delta_version:
        changed = None if stands(spark, location, version) else f"{location.given} recreated"
    else:
        roots = [location.uri] if location.is_path else sorted({file.path.rpartition("/")[0] for file in source.files})
        changed = changed_since(spark, source.files, roots)
    if changed:
        raise InputError(
            f"Expected the source {location.given} to stay as it is during the run, found {changed} with other content than when it "
            f"was listed; run again once the delivery is complete."
        )


def at_version(source: Source, version: str) -> Source | None:
    """The source at a version that an earlier read has pinned; None if that can no longer be read."""
    if source.version == version != UNVERSIONED:
        return source
    spark, earlier = source.frame.sparkSession, delta_version_of(version)
    if source.format != "delta" or earlier is None or not stands(spark, source.location, earlier):
        return None
    try:
        frame = source.as_read(rows_at(spark, source.location, earlier.number))
        files = [file_system(spark, path) for path in frame.inputFiles()]
    except Exception:  # its part of the log is gone
        return None
    # The log may name files that VACUUM has removed.
    return replace(source, frame=frame, version=version) if all(system.exists(path) for system, path in files) else None
