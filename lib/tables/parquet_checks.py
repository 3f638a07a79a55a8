"""Checks of the columns in the footers of Parquet files: Spark reads all files with the types of one of them, or of the catalog."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructField

from lib.errors import InputError
from lib.pairs.offered import WIDER_PARQUET
from lib.tables.file_checks import check_none_lacks, check_none_twice
from lib.tables.listing import index_of, is_data, plain_path, relations_of
from lib.tables.locations import java_class

# Each type can be read as any after it without a loss; times without a zone are taken as UTC.
_WIDER = (("tinyint", "smallint", "int"), ("timestamp_ntz", "timestamp"))
_WIDER_SINCE_4 = (("tinyint", "smallint", "int", "bigint"), ("float", "double"))
_PACKAGE = "org.apache.spark.sql.execution.datasources.parquet"
# Schemas in a file's metadata, besides Parquet's own: Spark's and Arrow's.
_SCHEMAS = ("org.apache.spark.sql.parquet.row.metadata", "ARROW:schema")
# In the JSON of Spark's types: one that it only names, and one that PySpark loads as code from the file's metadata.
_UNUSABLE = re.compile(r'"time\(|"type": "udt"')
# A column of a schema, at its top, whose type says that it holds no value; and what Spark takes it for.
_OF_NO_TYPE = re.compile(r"^  \w+ \w+ (.+) \(UNKNOWN\)(?: = \d+)?;$", re.MULTILINE)
TYPE_OF_EMPTY = "integer"
_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")


@dataclass(frozen=True)
class Footer:
    """The columns of a file.

    columns: as spelled there; fields: Spark's, as JSON, by their names in lower case, None for one that Spark does not read; types: Spark's
    names of their types, Parquet's where it has none; empty: those that hold no value and so have no type, although Spark takes one for it.
    """

    columns: tuple[str, ...]
    fields: Mapping[str, dict[str, Any] | None] = field(hash=False)
    types: Mapping[str, str] = field(hash=False)
    empty: frozenset[str]


@dataclass(frozen=True)
class Columns:
    """How to read the files of a source.

    fields: of Spark's schema, as JSON; empty: wanted columns for which no file has a type; without: the files to read without some of these
    fields, since they hold no value and another type there, by these names in lower case, with all other files under none.
    """

    fields: Sequence[dict[str, Any]]
    empty: Sequence[str]
    without: Mapping[frozenset[str], Sequence[str]]


def check_columns_of_files(spark: SparkSession, frame: DataFrame, wanted: Sequence[str], where: str) -> None:
    """Check that each of a frame's Parquet files has what the job needs, with the type that Spark reads.

    Raises:
        InputError: names a file without such a column, with another type, or with one that its folder names too.
    """
    for relation in relations_of(frame):
        if relation.fileFormat().getClass().getSimpleName() == "ParquetFileFormat":
            folders = {str(name).lower() for name in relation.partitionSchema().fieldNames()}
            footers = _footers(spark, relation)
            declared = {
                str(one.name()).lower(): _plain(one.dataType().catalogString()) for one in relation.dataSchema().fields()
            }
            inside = _checked_names(footers, folders, wanted, where, declared)
            _check_types(footers, inside, declared, where)


def columns_of_files(spark: SparkSession, listed: DataFrame, folders: set[str], wanted: Sequence[str], where: str) -> Columns:
    """How to read the Parquet files of a listing. Of columns that the job does not need those are left out that Spark does not read, or that
    differ between files.

    Args:
        listed: a frame that reads the files in whatever format; folders: the names of the columns that folders have, in lower case.
    Raises:
        InputError: names a file, and the column, as `check_columns_of_files` does; or one that Spark does not read.
    """
    footers = {path: footer for relation in relations_of(listed) for path, footer in _footers(spark, relation).items()}
    inside = _checked_names(footers, folders, wanted, where)
    _check_readable(footers, inside)
    _check_types(footers, inside, {}, where)
    each = dict.fromkeys(footers[path] for path in sorted(footers))
    fields = _merged(list(each), {name.lower() for name in inside}, folders)
    apart: dict[frozenset[str], list[str]] = {}
    for path, footer in sorted(footers.items()):
        absent = frozenset(name for name in footer.empty if name in fields and fields[name]["type"] != TYPE_OF_EMPTY)
        apart.setdefault(absent, []).append(path)
    empty = [name for name in inside if name.lower() not in fields and any(name.lower() in footer.empty for footer in each)]
    # Whatever order the files were read in, and each has: the source's columns are the same.
    return Columns(list(fields.values()), empty, {absent: apart[absent] for absent in sorted(apart, key=sorted)})


def _checked_names(
    footers: Mapping[str, Footer], folders: set[str], wanted: Sequence[str], where: str, declared: Iterable[str] = ()
) -> list[str]:
    """The wanted columns that are in the files."""
    there = {path: footer.columns for path, footer in footers.items()}
    check_none_twice(there, folders, wanted, where)
    inside = [name for name in wanted if name.lower() not in folders]
    check_none_lacks(there, inside, where, declared)
    return inside


def _check_readable(footers: Mapping[str, Footer], wanted: Sequence[str]) -> None:
    for path in sorted(footers):
        for name in wanted:
            spellings = [one for one in footers[path].columns if one.lower() == name.lower()]
            if len(spellings) > 1:
                raise InputError(
                    f"Expected the column {name} once in {path}, found {' and '.join(spellings)}; give each column its own name."
                )
            if spellings and footers[path].fields[name.lower()] is None:
                kind = footers[path].types[name.lower()]
                way = " (in microseconds: pandas' to_parquet takes coerce_timestamps='us')" if "NANOS" in kind else ""
                raise InputError(
                    f"Expected the column {name} in a type that Spark reads in {path}, found {kind}; write it in another one{way}, or do without it."
                )


def _merged(footers: Sequence[Footer], wanted: set[str], folders: set[str]) -> dict[str, dict[str, Any]]:
    """The fields to read, by their names in lower case: of a wanted column the first file's, of another the one of all files."""
    merged = {}
    for name in dict.fromkeys(name for footer in footers for name in footer.fields if name not in folders):
        those = [footer for footer in footers if name in footer.fields]
        typed = [footer for footer in those if name not in footer.empty]
        if name in wanted:
            found = typed[0].fields[name] if typed else None
        elif len(typed) < len(those) or any(footer.fields[name] is None for footer in those):
            found = None
        else:
            found = those[0].fields[name] if len({footer.types[name] for footer in those}) == 1 else None
        if found is not None:
            merged[name] = found
    return merged


def _footers(spark: SparkSession, relation: Any) -> Mapping[str, Footer]:
    """The footers by path; Spark reads them in parallel, without the rows."""
    formats = getattr(java_class(spark, f"{_PACKAGE}.ParquetFileFormat$"), "MODULE$")
    java: Any = spark
    converter = java_class(spark, f"{_PACKAGE}.ParquetToSparkSchemaConverter")(java._jsparkSession.sessionState().conf())
    jsc: Any = spark.sparkContext._jsc
    found: dict[str, Footer] = {}
    known: dict[tuple[str, str, frozenset[str]], Footer] = {}
    files = index_of(spark, relation).allFiles()
    footers = formats.readParquetFootersInParallel(jsc.hadoopConfiguration(), files, False).iterator()
    while footers.hasNext():
        footer = footers.next()
        metadata = footer.getParquetMetadata().getFileMetaData()
        more = metadata.getKeyValueMetaData()
        schema, of_spark, of_arrow = (
            str(metadata.getSchema().toString()),
            *(str(more.getOrDefault(name, "")) for name in _SCHEMAS),
        )
        # Not Arrow's text itself: pandas writes the number of rows into it.
        key = (schema, of_spark, frozenset(_empty(schema, of_arrow)))
        if key not in known:
            known[key] = _footer(spark, formats, converter, footer, key[-1])
        path = plain_path(str(footer.getFile().toString()))
        # Spark also lists summaries of Parquet files, which have no rows.
        if is_data(path.rpartition("/")[2]):
            found[path] = known[key]
    return found


def _footer(spark: SparkSession, formats: Any, converter: Any, footer: Any, empty: frozenset[str]) -> Footer:
    schema = footer.getParquetMetadata().getFileMetaData().getSchema()
    columns = [schema.getType(i) for i in range(schema.getFieldCount())]
    names = tuple(str(one.getName()) for one in columns)
    lower = [name.lower() for name in names]
    try:
        read = json.loads(formats.readSchemaFromFooter(footer, converter).json())["fields"]
    except Exception:  # py4j's error for each of Java's
        read = [one for kind in columns for one in _converted(spark, converter, kind)]
    fields: dict[str, dict[str, Any] | None] = dict.fromkeys(lower)
    # Of a name that is there twice Spark reads neither.
    read = [one for one in read if lower.count(one["name"].lower()) == 1 and not _UNUSABLE.search(json.dumps(one["type"]))]
    fields |= {one["name"].lower(): one for one in read}
    types = {}
    for name, kind in zip(lower, columns, strict=True):
        one = fields[name]
        # PySpark changes what it makes a field of, where a text has a collation.
        types[name] = _plain(StructField.fromJson(deepcopy(one)).dataType.simpleString()) if one else _parquets_name(kind)
    return Footer(names, fields, types, empty)


def _converted(spark: SparkSession, converter: Any, kind: Any) -> list[dict[str, Any]]:
    """Spark's field for a single Parquet column; none if Spark does not read it."""
    alone = java_class(spark, "java.util.ArrayList")()
    alone.add(kind)
    try:
        message = java_class(spark, "org.apache.parquet.schema.MessageType")("alone", alone)
        return list(json.loads(converter.convert(message).json())["fields"])
    except Exception:  # py4j's error for each of Java's
        return []


def _parquets_name(kind: Any) -> str:
    """The name of a Parquet column's type."""
    first, name = str(kind.toString()).split("\n")[0], str(kind.getName())
    return first.split(" ", 1)[1].replace(f" {name} ", " ", 1).removesuffix(f" {name}")


def _empty(schema: str, of_arrow: str) -> set[str]:
    """The columns, in lower case, whose type says that they hold no value, as pandas writes one of None alone.

    Args:
        schema: as Parquet shows it, from Spark 4.1 on with this type; of_arrow: as pandas and others add it, or empty.
    """
    found = {name.lower() for name in _OF_NO_TYPE.findall(schema)}
    try:
        fields = pa.ipc.read_schema(pa.BufferReader(base64.b64decode(of_arrow))) if of_arrow else ()
    except (ValueError, OSError, pa.ArrowException):
        return found
    return found | {one.name.lower() for one in fields if pa.types.is_null(one.type)}


def _plain(text: str) -> str:
    """A type, by Spark's name, as files have it: without the length or the collation of a text."""
    return "string" if re.fullmatch(r"(var)?char\(\d+\)|string collate \w+", text) else text


def _check_types(footers: Mapping[str, Footer], wanted: Sequence[str], declared: Mapping[str, str], where: str) -> None:
    for name in wanted:
        for path, found, read_as, because in _types(footers, name.lower(), declared):
            if not _is_read_as(found, read_as):
                raise InputError(
                    f"Expected the column {name} as {read_as} in each file of {where}, as {because}, found {found} in {path}; deliver the "
                    f"files again with one type."
                )


def _types(footers: Mapping[str, Footer], name: str, declared: Mapping[str, str]) -> Iterator[tuple[str, str, str, str]]:
    # A column without a value is read as any type from a path, and by a table as Spark takes it.
    those = {path: footers[path] for path in sorted(footers) if declared or name not in footers[path].empty}
    types = {path: footer.types[name] for path, footer in those.items() if name in footer.types}
    for path, found in types.items():
        read_as = declared.get(name) or next(iter(types.values()))
        # The type that Spark uses is another file's, or the catalog's.
        like = next((other for other, kind in types.items() if kind == read_as), None)
        yield path, found, read_as, f"in {like}" if like else "the table says"


def _is_read_as(found: str, read_as: str) -> bool:
    if found == read_as:
        return True
    one, other = _DECIMAL.fullmatch(found), _DECIMAL.fullmatch(read_as)
    if one and other:
        return one[2] == other[2] and int(one[1]) <= int(other[1])
    wider = (*_WIDER, *_WIDER_SINCE_4) if WIDER_PARQUET else _WIDER
    return any(found in kinds and read_as in kinds[kinds.index(found) :] for kinds in wider)
