"""What the footers of Parquet files say of their columns: Spark reads each file by the types of one of them, or of the catalog."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from lib.errors import InputError
from lib.tables.file_checks import check_none_lacks, check_none_twice
from lib.tables.listing import LISTED, is_data, plain_path, relations_of
from lib.tables.locations import java_class

# Each is read as any behind it without a loss; times without a zone are taken for UTC.
_WIDER = (("tinyint", "smallint", "int", "bigint"), ("float", "double"), ("timestamp_ntz", "timestamp"))
_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")


@dataclass(frozen=True)
class Footer:
    """columns: of a file, as they are written there; types: by the lower-case name of each column asked for, Spark's name of it."""

    columns: tuple[str, ...]
    types: Mapping[str, str] = field(hash=False)


def check_columns_of_files(spark: SparkSession, frame: DataFrame, wanted: Sequence[str], where: str) -> set[tuple[str, ...]]:
    """The columns that Parquet files of a frame have, after checking that each file has what the job asks for, as it is read.

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
    """By path; Spark reads the footers side by side, without the rows."""
    package = "org.apache.spark.sql.execution.datasources.parquet"
    reader = getattr(java_class(spark, f"{package}.ParquetFileFormat$"), "MODULE$").readParquetFootersInParallel
    java: Any = spark
    converter = java_class(spark, f"{package}.ParquetToSparkSchemaConverter")(java._jsparkSession.sessionState().conf())
    jsc: Any = spark.sparkContext._jsc
    found: dict[str, Footer] = {}
    known: dict[str, Footer] = {}
    footers = reader(jsc.hadoopConfiguration(), _index(spark, relation).allFiles(), False).iterator()
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
        # Spark lists summaries of Parquet files too, which hold no rows.
        if is_data(path.rpartition("/")[2]):
            found[path] = known[text]
    return found


def _index(spark: SparkSession, relation: Any) -> Any:
    """The listing of a relation's files; a partitioned table's is made from the partitions that the catalog names."""
    index = relation.location()
    if index.getClass().getSimpleName() in LISTED:
        return index
    return index.filterPartitions(getattr(java_class(spark, "scala.collection.immutable.Nil$"), "MODULE$"))


def _type_of(spark: SparkSession, converter: Any, kind: Any) -> str:
    """Spark's name of the type that a Parquet column has by itself; Parquet's name where Spark has none."""
    alone = java_class(spark, "java.util.ArrayList")()
    alone.add(kind)
    try:
        message = java_class(spark, "org.apache.parquet.schema.MessageType")("alone", alone)
        return _plain(converter.convert(message).fields()[0].dataType())
    except Exception:  # py4j's error for each of Java's
        return str(kind.toString())


def _plain(kind: Any) -> str:
    text = str(kind.catalogString())
    return "string" if re.fullmatch(r"(var)?char\(\d+\)", text) else text


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
        # That is another file's type, or the catalog's.
        like = next((other for other, kind in types.items() if kind == read_as), None)
        yield path, found, read_as, f"in {like}" if like else "the table says"


def _is_read_as(found: str, read_as: str) -> bool:
    one, other = _DECIMAL.fullmatch(found), _DECIMAL.fullmatch(read_as)
    if one and other:
        return one[2] == other[2] and int(one[1]) <= int(other[1])
    return any(found in kinds and read_as in kinds[kinds.index(found) :] for kinds in _WIDER)
