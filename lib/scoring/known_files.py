"""What a run records about each file of its source, so that the next one knows the rows of those that are still there without reading them."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lib.identifiers import column
from lib.pairs.offered import frame_of
from lib.scoring.catalogue import IdCount
from lib.scoring.counts import text_totals
from lib.scoring.whole import by_column
from lib.tables.listing import File, path_in_metadata, plain_path, relations_of
from lib.tables.sources import UNVERSIONED, Source

# In a commit's metadata.
FILES = "source_files"
# Each file takes some 40 bytes of the metadata, and is named in the next run's query.
MOST_FILES = 2000
# A column of a row: hash of the file that it comes from. No column of a source has this name.
FILE = "file of the row\n"
_METADATA = "_metadata"
_PATH = f"{_METADATA}.file_path"


@dataclass(frozen=True)
class FileCounts:
    """The rows of a file, each of which has its own id.

    ids: exclusive or of the ids' hashes; content: of the hashes of id, text and carried values together; lengths, empty: as
    lib.scoring.counts.Group has them.
    """

    rows: int
    ids: int
    content: int
    lengths: tuple[int, ...]
    empty: tuple[int, ...]


@dataclass(frozen=True)
class Known:
    """A file that a run has read. key: digest of its path, size and time."""

    key: str
    size: int
    counts: FileCounts


def key_of(file: File) -> str:
    return hashlib.sha256(f"{file.path}\0{file.size}\0{file.time}".encode(errors="surrogatepass")).hexdigest()[:24]


def can_tell_files(source: Source) -> bool:
    """Whether the source is one listing of files, each of which has its rows to itself, and none of its columns hides the name of a row's file.

    CSV files with different headers are read apart and united, and Spark does not tell the files of a union's rows.
    """
    hidden = any(name.lower() == _METADATA for name in source.frame.columns)
    one = len(list(relations_of(source.frame))) == 1
    return 0 < len(source.files) <= MOST_FILES and source.version != UNVERSIONED and one and not hidden


def file_hash() -> Column:
    """The value of FILE, in a frame that reads files."""
    return F.xxhash64(F.col(_PATH))


def of_files(source: Source, files: Iterable[File]) -> DataFrame:
    """The rows of some of the source's files; no other is opened."""
    wanted = {file.path for file in files}
    return source.frame.filter(F.col(_PATH).isin([path for path, listed in _spelled(source) if listed.path in wanted]))


def _spelled(source: Source) -> list[tuple[str, File]]:
    """The source's files as `_metadata.file_path` may spell them: versions of Spark differ in the slashes of a local path."""
    listed = {file.path: file for file in source.files}
    pairs = [(path, listed[path_in_metadata(path)]) for path in source.frame.inputFiles() if path_in_metadata(path) in listed]
    return [(spelling, file) for path, file in pairs for spelling in sorted({path, plain_path(path)})]


def count_files(source: Source, rows: DataFrame, lengths: Sequence[Column]) -> dict[File, FileCounts]:
    """Counts of the rows of each file. rows: FILE, `hash` and `content`, and what `lengths` need, the bytes of each text column."""
    totals = text_totals(lengths)
    counted = (
        rows.groupBy(column(FILE))
        .agg(
            F.count("*").alias("rows"),
            F.bit_xor("hash").alias("ids"),
            F.bit_xor(F.xxhash64("hash", "content")).alias("content"),
            *[totals[name].alias(name) for name in ("lengths", "empty")],
        )
        .collect()
    )
    files = _by_hash(source)
    return {
        files[row[FILE]]: FileCounts(row["rows"], row["ids"], row["content"], tuple(row["lengths"]), tuple(row["empty"]))
        for row in counted
        if row[FILE] in files
    }


def _by_hash(source: Source) -> dict[int, File]:
    spelled = _spelled(source)
    paths = frame_of(source.frame.sparkSession, pa.table({"path": pa.array([path for path, _ in spelled], pa.string())}))
    hashes = {row["path"]: row["hash"] for row in paths.select("path", F.xxhash64("path").alias("hash")).collect()}
    return {hashes[path]: file for path, file in spelled}


def known(counts: Mapping[File, FileCounts]) -> list[Known]:
    return [Known(key_of(file), file.size, counted) for file, counted in counts.items()]


def totals_of(files: Iterable[Known], texts: int) -> FileCounts:
    """Of several files together. texts: how many text columns there are."""
    rows = ids = content = 0
    for file in files:
        rows, ids, content = rows + file.counts.rows, ids ^ file.counts.ids, content ^ file.counts.content
    none = (0,) * texts
    lengths, empty = (by_column([none, *(getattr(file.counts, name) for file in files)]) for name in ("lengths", "empty"))
    return FileCounts(rows, ids, content, lengths, empty)


def ids_of(counts: FileCounts) -> IdCount:
    return IdCount(counts.rows, counts.ids)


def packed(files: Sequence[Known]) -> str:
    """For a commit's metadata."""
    content = [[file.key, file.size, *astuple(file.counts)] for file in files]
    return base64.b64encode(zlib.compress(json.dumps(content, separators=(",", ":")).encode())).decode()


def unpacked(noted: str | None) -> dict[str, Known]:
    """By key; empty where the metadata holds none."""
    if not noted:
        return {}
    files = json.loads(zlib.decompress(base64.b64decode(noted)))
    found = [
        Known(key, size, FileCounts(rows, ids, content, tuple(lengths), tuple(empty)))
        for key, size, rows, ids, content, lengths, empty in files
    ]
    return {file.key: file for file in found}
