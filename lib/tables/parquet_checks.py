"""Checks of the columns in the footers of Parquet files: Spark reads all files with the types of one of them, or of the catalog."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from lib.errors import InputError
from lib.tables.file_checks import check_none_lacks, check_none_twice
from lib.tables.listing import index_of, is_data, plain_path, relations_of
from lib.tables.locations import java_class

# Each type can be read as any after it without a loss; times without a zone are taken as UTC.
_WIDER = (("tinyint", "smallint", "int", "bigint"), ("float", "double"), ("timestamp_ntz", "timestamp"))
_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")


@dataclass(frozen=True)
class Footer:
    """columns: of a file, as spelled there; types: Spark's name of the type, by the lower-case name of each requested column."""

    columns: tuple[str, ...]
    types: Mapping[str, str] = field(hash=False)


def check_columns_of_files(spark: SparkSession, frame: DataFrame, wanted: Sequence[str], where: str) -> set[tuple[str, ...]]:
    """The columns of a frame's Parquet files, after checking that each file has what the job needs, with the type that Spark reads.

    Raises:
        InputError: names a file without such a column, with another type, or with one that its folder names too.
    """
    columns = set()
    for relation in relations_of(frame):
        if relation.fileFormat().getClass().getSimpleName() == "ParquetFileFormat":
            folders = {str(name).lower() for name in relation.partitionSchema().fieldNames()}
            footers = _footers(spark, relation, {name.lower() for name in wanted})
            there = {path: footer.columns for path, footer in footers.items()}
            check_none_twice(there, folders, wanted, where)
            inside = [name for name in wanted if name.lower() not in folders]
            declared = {str(one.name()).lower(): _plain(one.dataType()) for one in relation.dataSchema().fields()}
            check_none_lacks(there, inside, where, declared)
            _check_types(footers, inside, declared, where)
            columns |= {footer.columns for footer in footers.values()}
    return columns


def _footers(spark: SparkSession, relation: Any, wanted: set[str]) -> Mapping[str, Footer]:
    """The footers by path; Spark reads them in parallel, without the rows."""
    package = "org.apache.spark.sql.execution.datasources.parquet"
    reader = getattr(java_class(spark, f"{package}.ParquetFileFormat$"), "MODULE$").readParquetFootersInParallel
    java: Any = spark
    converter = java_class(spark, f"{package}.ParquetToSparkSchemaConverter")(java._jsparkSession.sessionState().conf())
    jsc: Any = spark.sparkContext._jsc
    found: dict[str, Footer] = {}
    known: dict[str, Footer] = {}
    footers = reader(jsc.hadoopConfiguration(), index_of(spark, relation).allFiles(), False).iterator()
    while footers.hasNext():
        footer = footers.next()
        schema = footer.getParquetMetadata().getFileMetaData().getSchema()
        text = str(schema.toString())
        if text not in known:
            kinds = [schema.getType(i) for i in range(schema.getFieldCount())]
            names = tuple(str(kind.getName()) for kind in kinds)
            types = {
                name.lower(): _type_of(spark, converter, kind)
                for name, kind in zip(names, kinds, strict=True)
                if name.lower() in wanted
            }
            known[text] = Footer(names, types)
        path = plain_path(str(footer.getFile().toString()))
        # Spark also lists summaries of Parquet files, which have no rows.
        if is_data(path.rpartition("/")[2]):
            found[path] = known[text]
    return found


def _type_of(spark: SparkSession, converter: Any, kind: Any) -> str:
    """Spark's name of the type of a single Parquet column; Parquet's name if Spark has none."""
    alone = java_class(spark, "java.util.ArrayList")()
    alone.add(kind)
    try:
        message = java_class(spark, "org.apache.parquet.schema.MessageType")("alone", alone)
        return _plain(converter.convert(message).fields()[0].dataType())
    except Exception:  # py4j's error for each of Java's
        return str(kind.toString())


def _plain(kind: Any) -> str:
    """A type as files have it, without the length or the collation of a text."""
    text = str(kind.catalogString())
    return "string" if re.fullmatch(r"(var)?char\(\d+\)|string collate \w+", text) else text


def _check_types(footers: Mapping[str, Footer], wanted: Sequence[str], declared: Mapping[str, str], where: str) -> None:
    for name in wanted:
        for path, found, read_as, because in _types(footers, name.lower(), declared):
            if found != read_as and not _is_read_as(found, read_as):
                raise InputError(
                    f"Expected the column {name} as {read_as} in each file of {where}, as {because}, found {found} in {path}; deliver the "
                    f"files again with one type."
                )


def _types(footers: Mapping[str, Footer], name: str, declared: Mapping[str, str]) -> Iterator[tuple[str, str, str, str]]:
    types = {path: footers[path].types[name] for path in sorted(footers) if name in footers[path].types}
    for path, found in types.items():
        read_as = declared.get(name) or next(iter(types.values()))
        # The type that Spark uses is another file's, or the catalog's.
        like = next((other for other, kind in types.items() if kind == read_as), None)
        yield path, found, read_as, f"in {like}" if like else "the table says"


def _is_read_as(found: str, read_as: str) -> bool:
    one, other = _DECIMAL.fullmatch(found), _DECIMAL.fullmatch(read_as)
    if one and other:
        return one[2] == other[2] and int(one[1]) <= int(other[1])
    return any(found in kinds and read_as in kinds[kinds.index(found) :] for kinds in _WIDER)
