"""The files of a source: Spark lists them once, and the same list is checked, digested and read."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

from pyspark.sql import DataFrame, SparkSession

from lib.errors import InputError
from lib.tables.locations import Location, file_system, java_class

# Spark's own key: without it brackets, stars and braces in a path are a pattern for other paths.
LITERAL_PATHS = {"__globPaths__": "false"}
# Entries of a folder whose files are read through their own log; without the log old rows would be read too.
LOGS = {"_delta_log": "a Delta table", ".hoodie": "a Hudi table"}
# At the path itself Spark follows a stream's log without being asked. The path may also be a partition of a Hudi table, which is marked.
LOGS_AT_ROOT = {**LOGS, ".hoodie_partition_metadata": "a part of a Hudi table"}
LOGS_INSIDE = {**LOGS, "_spark_metadata": "the output of a stream of Spark"}
# What Databricks' commit protocol writes next to the files of a folder.
DATABRICKS = "_committed_*"
# Spark's indexes that list the files once for as long as a frame lives: from the store, or from the log of the stream that wrote them.
LISTED = ("InMemoryFileIndex", "MetadataLogFileIndex")
# That of a partitioned table in a catalogue, which asks the catalogue for its partitions, and lists their files, each time it is read.
BY_PARTITION = "CatalogFileIndex"
# How Hadoop's FileStatus shows itself: all files of a listing come over from Java in one text.
_STATUS = re.compile(r"path=(.*); isDirectory=false; length=(\d+);.*? modification_time=(\d+);", re.DOTALL)


@dataclass(frozen=True)
class File:
    """path: with its file system, not encoded. size in bytes, time of the last change in milliseconds."""

    path: str
    size: int
    time: int


def files_under(spark: SparkSession, location: Location) -> tuple[DataFrame, list[File]]:
    """All data files at a path at any depth, and their lines as a frame; like Spark, without names that begin with _ or a dot.

    Raises:
        InputError: a file that Hadoop skips or cannot open.
    """
    lines = spark.read.format("text").options(recursiveFileLookup=True, **LITERAL_PATHS).load(location.uri)
    files = files_read_by(lines)
    check_whole([location.uri], location.given)
    check_names(files)
    return lines, files


def is_data(name: str) -> bool:
    """Whether Spark reads a file or a folder of this name (PartitioningAwareFileIndex.isDataPath)."""
    return not (name.startswith(".") or (name.startswith("_") and "=" not in name))


def check_names(files: Iterable[File]) -> None:
    """Refuse local files whose name has a colon: Hadoop cannot name their checksums, so it does not open them."""
    for file in files:
        if file.path.startswith("file:") and ":" in PurePosixPath(file.path).name:
            raise InputError(
                f"Expected file names without a colon, which Hadoop cannot open, found {file.path}; rename that file and run again."
            )


def check_whole(roots: Iterable[str], where: str) -> None:
    """Refuse what Hadoop's listing of a local disk skips, and so its rows: broken symbolic links, and folders that may not be entered.

    Raises:
        InputError: names the link or the folder.
    """
    for root in roots:
        skipped = next(_skipped(plain_path(root).removeprefix("file:"), set()), None) if root.startswith("file:") else None
        if skipped and os.path.isdir(skipped):
            raise InputError(
                f"Expected folders at {where} that this user may read and enter, found {skipped}; give it the right, as by chmod u+rx."
            )
        if skipped:
            raise InputError(
                f"Expected whole files at {where}, found the symbolic link {skipped} to {os.readlink(skipped)}, which does not exist; mount "
                f"or deliver that, or remove the link."
            )


def _skipped(folder: str, seen: set[str]) -> Iterator[str]:
    real = os.path.realpath(folder)
    if real in seen or not os.path.isdir(real):
        return
    if not os.access(real, os.R_OK | os.X_OK):
        yield folder
        return
    seen.add(real)
    with os.scandir(folder) as entries:
        for entry in sorted((one for one in entries if is_data(one.name)), key=lambda one: one.name):
            if entry.is_symlink() and not os.path.exists(entry.path):
                yield entry.path
            elif entry.is_dir():
                yield from _skipped(entry.path, seen)


def files_read_by(frame: DataFrame) -> list[File]:
    """The files that a frame reads, as they were when they were listed; none if it does not read from a listing of files."""
    found = {}
    for relation in relations_of(frame):
        # Delta has its own index, and versions.
        if relation.location().getClass().getSimpleName() not in (*LISTED, BY_PARTITION):
            continue
        for text in str(index_of(frame.sparkSession, relation).allFiles().mkString("\0")).split("\0"):
            status = _STATUS.search(text)
            # Spark also lists summaries of Parquet files, which have no rows: _metadata and _common_metadata.
            if status and is_data(PurePosixPath(status[1]).name):
                found[status[1]] = File(plain_path(status[1]), int(status[2]), int(status[3]))
    return sorted(found.values(), key=lambda file: file.path)


def index_of(spark: SparkSession, relation: Any) -> Any:
    """The listing (py4j) of a relation's files; for a partitioned table it comes from the partitions in the catalog."""
    index = relation.location()
    if index.getClass().getSimpleName() in LISTED:
        return index
    return index.filterPartitions(getattr(java_class(spark, "scala.collection.immutable.Nil$"), "MODULE$"))


def leaves_of(frame: DataFrame) -> Iterator[Any]:
    """The leaves (py4j) of a frame's plan."""
    java: Any = frame._jdf
    leaves = java.queryExecution().analyzed().collectLeaves().iterator()
    while leaves.hasNext():
        yield leaves.next()


def relations_of(frame: DataFrame) -> Iterator[Any]:
    """Spark's HadoopFsRelations (py4j) at the leaves of a frame's plan."""
    for leaf in leaves_of(frame):
        if leaf.nodeName() == "LogicalRelation" and leaf.relation().getClass().getSimpleName() == "HadoopFsRelation":
            yield leaf.relation()


def plain_path(uri: str) -> str:
    """One spelling for a file, whether it comes from a listing or from the metadata of a row."""
    return re.sub(r"^file:/+", "file:/", uri)


def path_in_metadata(uri: str) -> str:
    """The path in `_metadata.file_path`, where a blank is %20."""
    return plain_path(unquote(uri))


def digest_of(files: Iterable[File]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.path}\0{file.size}\0{file.time}\n".encode(errors="surrogatepass"))
    return digest.hexdigest()[:16]


def check_same_files(read: Sequence[File], listed: Sequence[File], where: str) -> None:
    """Refuse a source whose files are not those that were listed and checked.

    Raises:
        InputError: names a file that came, went, changed, or is hidden from the reader.
    """
    if read == listed:
        return
    before, now = ({file.path: file for file in files} for files in (listed, read))
    odd = sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))
    raise InputError(
        f"Expected the files of {where} to stay as they are while they are read, found {odd[0]} changed, new or gone; "
        f"run again once they are delivered."
    )


def changed_since(spark: SparkSession, files: Sequence[File], roots: Sequence[str]) -> str | None:
    """The first of these files that now has another size or time than when it was listed; None if there is none.

    A file that is gone does not count: reading it has failed already.
    """
    if not files:
        return None
    now: dict[str, File] = {}
    for root in roots:
        system, path = file_system(spark, root)
        if system.exists(path):
            lines = spark.read.format("text").options(recursiveFileLookup=True, **LITERAL_PATHS).load(root)
            now |= {file.path: file for file in files_read_by(lines)}
    return next((file.path for file in files if now.get(file.path, file) != file), None)


def is_partitioned(spark: SparkSession, files: Sequence[File], location: Location) -> bool:
    """Whether the files are in folders named key=value, whose values are columns; false if folders mean nothing.

    Raises:
        InputError: some are and some are not, or a folder has a table with its own log.
    """
    root = plain_path(location.uri.rstrip("/"))
    folders = {PurePosixPath(file.path[len(root) :].lstrip("/")).parent for file in files if file.path != root}
    keys = {tuple(part.partition("=")[0] if "=" in part else None for part in folder.parts): folder for folder in folders}
    plain = [folder for names, folder in keys.items() if None in names or not names]
    if len(plain) < len(keys) and (plain or len(keys) > 1):
        one = next(folder for names, folder in keys.items() if folder not in plain)
        other = plain[0] if plain else next(folder for folder in keys.values() if folder != one)
        raise InputError(
            f"Expected data files in folders named by the same key=value, or in none, at {location.given}, found "
            f"{_named(one)} next to {_named(other)}; deliver them in one layout, or give the path of one kind."
        )
    # Folders named key=value are all of one kind, and there may be thousands: looking into the first and the last is enough.
    looked_into = folders if plain else sorted(folders)[:: max(len(folders) - 1, 1)]
    check_no_log(spark, root, sorted({outer for folder in looked_into for outer in (folder, *folder.parents)}), location.given)
    return bool(keys) and not plain


def _named(folder: PurePosixPath) -> str:
    return f"the folder {folder}" if folder.parts else "files outside the folders"


def check_no_log(spark: SparkSession, root: str, folders: Iterable[PurePosixPath], where: str) -> None:
    """Refuse folders, relative to `root`, that hold a table: reading just their files would include the rows of its older versions.

    Raises:
        InputError: names the folder.
    """
    for folder in folders:
        for name, what in (LOGS_INSIDE if folder.parts else LOGS_AT_ROOT).items():
            system, path = file_system(spark, f"{root}/{folder}/{name}")
            if system.exists(path):
                raise InputError(
                    f"Expected data files at {where}, found {what} in {f'its folder {folder}' if folder.parts else 'it'}, whose files hold rows of "
                    f"other versions too; give that folder's path where it is a Delta table, or a copy of the rows of today."
                )
        _check_all_count(spark, f"{root}/{folder}", where)
    _check_not_in_iceberg(spark, root, where)


def _check_all_count(spark: SparkSession, folder: str, where: str) -> None:
    """Refuse a folder in which Databricks' commit protocol leaves files that do not count: it lists those removed in `_committed_ID`."""
    system, pattern = file_system(spark, f"{folder}/{DATABRICKS}")
    for marker in system.globStatus(pattern) or ():
        stream = system.open(marker.getPath())
        try:
            told = json.loads(bytes(stream.readAllBytes()))
        except ValueError:
            continue
        finally:
            stream.close()
        if isinstance(told, dict) and told.get("removed"):
            raise InputError(
                f"Expected data files at {where} that all count, found {len(told['removed']):,} that {marker.getPath()} names as removed; run "
                "Databricks' VACUUM on the folder, or give a copy of the rows of today."
            )


def _check_not_in_iceberg(spark: SparkSession, root: str, where: str) -> None:
    for folder in re.finditer(r"/data(?=/|$)", root):
        if _holds_metadata(spark, f"{root[: folder.start()]}/metadata"):
            raise InputError(
                f"Expected data files at {where}, found those of an Iceberg table, which hold rows of other versions too; give a copy of the rows of today."
            )


def _holds_metadata(spark: SparkSession, folder: str) -> bool:
    """Whether a folder next to that of the files holds an Iceberg table's metadata. False if it cannot be read."""
    try:
        system, path = file_system(spark, folder)
        return bool(system.exists(path)) and any(
            str(one.getPath().getName()).endswith(".metadata.json") for one in system.listStatus(path)
        )
    except Exception:  # py4j's error for each of Java's
        return False
