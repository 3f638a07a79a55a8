"""Where a table is: a path or a name, given by the user as one word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from lib.errors import InputError
from lib.names import quoted


@dataclass(frozen=True)
class Location:
    """A path (`uri` is qualified, with its file system) or the name of a table (`uri` is the name)."""

    given: str
    uri: str
    is_path: bool

    @property
    def sql(self) -> str:
        """The identifier to write in SQL."""
        if self.is_path:
            return f"delta.{quoted(self.uri)}"
        return ".".join(quoted(part) for part in self.uri.split("."))

    def sibling(self, suffix: str) -> Location:
        """The table beside this one, with its name and `suffix`."""
        return Location(self.given.rstrip("/") + suffix, self.uri.rstrip("/") + suffix, self.is_path)


def file_system(spark: SparkSession, path: str) -> tuple[Any, Any]:
    """Hadoop's FileSystem and Path of `path` (py4j objects)."""
    jvm: Any = spark.sparkContext._jvm
    hadoop_path = jvm.org.apache.hadoop.fs.Path(path)
    jsc: Any = spark.sparkContext._jsc
    return hadoop_path.getFileSystem(jsc.hadoopConfiguration()), hadoop_path


def locate(spark: SparkSession, given: str) -> Location:
    """A path if it looks like one (a slash in it) or exists as one; otherwise the name of a table."""
    if not given.strip():
        raise InputError("Expected a path or the name of a table, found an empty text; give one.")
    try:
        system, path = file_system(spark, given)
        if "/" in given or system.exists(path):
            return Location(given, str(system.makeQualified(path).toString()), True)
    except Exception as error:  # py4j wraps every Java exception in one type
        reason = str(getattr(error, "java_exception", error)).splitlines()[0]
        raise InputError(
            f"Expected a path or the name of a table, found {given!r}, which cannot be looked up ({reason})."
        ) from None
    return Location(given, given, False)


def exists(spark: SparkSession, location: Location) -> bool:
    if location.is_path:
        system, path = file_system(spark, location.uri)
        return bool(system.exists(path))
    try:
        return spark.catalog.tableExists(location.uri)
    except Exception:  # a name that is no identifier, a catalogue that is not there
        return False


def is_delta(spark: SparkSession, location: Location) -> bool:
    if location.is_path:
        return DeltaTable.isDeltaTable(spark, location.uri)
    if not exists(spark, location):
        return False
    details = spark.sql(f"DESCRIBE TABLE EXTENDED {location.sql}").filter("col_name = 'Provider'").collect()
    return bool(details) and details[0]["data_type"].lower() == "delta"


def delta_table(spark: SparkSession, location: Location) -> DeltaTable:
    return DeltaTable.forPath(spark, location.uri) if location.is_path else DeltaTable.forName(spark, location.uri)


def rows_at(spark: SparkSession, location: Location, version: int) -> DataFrame:
    """A Delta table as it was at a version; reading it twice gives the same rows, whoever writes meanwhile."""
    reader = spark.read.format("delta").option("versionAsOf", version)
    return reader.load(location.uri) if location.is_path else reader.table(location.uri)


def file_count(spark: SparkSession, location: Location) -> int:
    """Data files of a Delta table, as its log tells; none hold rows where there are none."""
    return int(delta_table(spark, location).detail().select("numFiles").collect()[0]["numFiles"])


def storage_uri(spark: SparkSession, location: Location) -> str:
    """Where the data lies, to compare a path with a name; the name itself for what has no files."""
    if location.is_path or not is_delta(spark, location):
        return location.uri.rstrip("/")
    row = delta_table(spark, location).detail().select("location").collect()[0]
    return str(row["location"]).rstrip("/")
