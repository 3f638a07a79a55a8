"""The location of a table: a path or a name, which the user gives as one word."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from lib.errors import CategorizerError, InputError
from lib.identifiers import quoted
from lib.redaction import redacted
from lib.spark_errors import FILES_ARE_GONE
from lib.tables.pinned import PinnedVersion
from lib.tables.stores import check_answers, lost_commits

DELTA_TABLE = "io.delta.tables.DeltaTable"
PYTHON_UTILS = "org.apache.spark.api.python.PythonUtils"


@dataclass(frozen=True)
class Location:
    """A path (`uri` is qualified, with its file system) or the name of a table (`uri` is the name).

    given: as the user wrote it, to be shown and stored, so without keys and passwords. link: the path as given, if it is a local one
    that led elsewhere through links.
    """

    given: str
    uri: str
    is_path: bool
    link: str | None = None

    @property
    def sql(self) -> str:
        """The identifier to write in SQL."""
        if self.is_path:
            return f"delta.{quoted(self.uri)}"
        return ".".join(quoted(part) for part in self.uri.split("."))

    def sibling(self, suffix: str) -> Location:
        """The table next to this one, with its name and `suffix`."""
        return Location(self.given.rstrip("/") + suffix, self.uri.rstrip("/") + suffix, self.is_path)


def java_class(spark: SparkSession, name: str) -> Any:
    """A class of the JVM by its full name. With attributes (`jvm.org.apache…`) Java would search all jars for each package."""
    return getattr(spark._jvm, name)


def file_system(spark: SparkSession, path: str) -> tuple[Any, Any]:
    """Hadoop's FileSystem and Path of `path` (py4j objects)."""
    hadoop_path = java_class(spark, "org.apache.hadoop.fs.Path")(path)
    jsc: Any = spark.sparkContext._jsc
    return hadoop_path.getFileSystem(jsc.hadoopConfiguration()), hadoop_path


def locate(spark: SparkSession, given: str) -> Location:
    """A path if it looks like one (a slash in it) or exists as one; otherwise the name of a table.

    Links and dots in a local path are resolved as the operating system does: one table has one name, and the tables next to it one place.

    Raises:
        InputError: it can be neither, or is both: the working directory must not decide between them.
        CategorizerError: it is on S3, which does not answer.
    """
    if not given.strip():
        raise InputError("Expected a path or the name of a table, found an empty text; give one.")
    try:
        check_answers(given, spark.sparkContext._jsc.hadoopConfiguration())  # type: ignore[attr-defined]
        system, path = file_system(spark, given)
        is_path = "/" in given or bool(system.exists(path))
        uri = str(system.makeQualified(path).toString())
        real, link = _resolved(given, uri) if is_path else None, None
        if real:
            link = os.path.abspath(local_path(given))
            given, uri = real, str(system.makeQualified(file_system(spark, f"file:{real}")[1]).toString())
    except CategorizerError:
        raise
    except Exception as error:  # py4j wraps every Java exception in one type
        reason = str(getattr(error, "java_exception", error)).splitlines()[0]
        raise InputError(
            f"Expected a path or the name of a table, found {redacted(given)!r}, which cannot be looked up ({redacted(reason)})."
        ) from None
    if not is_path:
        return Location(given, given, False)
    # A query to a catalogue in memory would create a folder for it in the working directory.
    if "/" not in given and not forgets(spark) and exists(spark, Location(given, given, False)):
        raise InputError(
            f"Expected a path or the name of a table, found {given!r} as both; write ./{given} for the path, or the name with its database."
        )
    return Location(redacted(given), uri, True, link)


def locate_to_write(spark: SparkSession, given: str, say: Callable[[str], None] | None = None) -> Location:
    """As `locate`, for a table that the job commits to: warn if a commit there may be overwritten by another driver's.

    Args:
        say: prints the warning, by default on standard error.
    """
    found = locate(spark, given)
    warning = lost_commits(spark, found.uri if found.is_path else storage_uri(spark, found))
    if warning and say:
        say(warning)
    elif warning:
        print(warning, file=sys.stderr, flush=True)
    return found


def _resolved(given: str, uri: str) -> str | None:
    """The target of a local path with links; None if it has none. Hadoop removes `..` by spelling alone."""
    if not uri.startswith("file:/"):
        return None
    path = local_path(given)
    real = os.path.realpath(path)
    if os.path.isfile(real):
        # The name of a file decides its format.
        real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    return real if real != os.path.abspath(path) else None


def local_path(given: str) -> str:
    return "/" + given.removeprefix("file:").lstrip("/") if given.startswith("file:") else given


def check_place(spark: SparkSession, target: Location) -> None:
    """Refuse places where a table and those next to it could not be found again.

    Raises:
        InputError: a name in no persistent catalogue, the root of a file system, or a backtick.
    """
    if "`" in target.uri:
        raise InputError(
            f"Expected a target without a backtick, which SQL could not name, found {target.given}; choose another."
        )
    if target.is_path:
        _, path = file_system(spark, target.uri)
        if path.getParent() is None:
            raise InputError(
                f"Expected a folder below the root of a file system or bucket, next to which tables can be created, found {target.given}; "
                f"choose another --target."
            )
    else:
        _check_catalogue(spark, target)


def _check_catalogue(spark: SparkSession, target: Location) -> None:
    name, parts = target.given, target.given.split(".")
    if len(parts) > 2 or (len(parts) == 2 and spark.conf.get(f"spark.sql.catalog.{parts[0]}", None)):
        return
    if forgets(spark) and (len(parts) == 1 or parts[0] == "default"):
        raise InputError(
            f"Expected a path, or a catalogue that stores tables by name, found {name!r} and no catalogue that outlives the run; write "
            f"./{name} for a path, or name a metastore, as by --conf spark.sql.catalogImplementation=hive, before the job's name.",
            see="no-catalogue",
        )
    _check_found_from_anywhere(spark, name)
    if len(parts) == 2 and not exists(spark, target) and not _has_database(spark, parts[0]):
        raise InputError(
            f"Expected a table's name in a database of the catalogue, found no database {parts[0]!r}; correct --target."
        )


def _check_found_from_anywhere(spark: SparkSession, name: str) -> None:
    """Refuse Hive's catalogue where nothing says where it is: Derby then makes it in the working directory, and each directory has its own."""
    if spark.conf.get("spark.sql.catalogImplementation", None) != "hive":
        return
    # Derby makes it at the first query.
    spark.catalog.databaseExists("default")
    hadoop: Any = spark.sparkContext._jsc.hadoopConfiguration()  # type: ignore[attr-defined]
    address = str(hadoop.get("javax.jdo.option.ConnectionURL") or "jdbc:derby:;databaseName=metastore_db")
    database = re.search(r"^jdbc:derby:(?:.*?;databaseName=)?([^;]*)", address)
    elsewhere = any(hadoop.get(key) for key in ("hive.metastore.uris", "hive.metastore.client.factory.class"))
    if database is None or elsewhere or os.path.isabs(database[1]) or not os.path.isdir(database[1]):
        return
    raise InputError(
        f"Expected a catalogue that is found whatever folder the job is started in, found Hive's in {os.path.abspath(database[1])}, the working "
        f"directory's own; write ./{name} for a path, or say where the metastore is.",
        see="no-catalogue",
    )


def forgets(spark: SparkSession) -> bool:
    """Whether names are looked up in Spark's own catalogue, and it ends with the process."""
    lasting = spark.conf.get("spark.sql.catalogImplementation", "in-memory") != "in-memory"
    return not lasting and spark.conf.get("spark.sql.defaultCatalog", "spark_catalog") == "spark_catalog"


def _has_database(spark: SparkSession, name: str) -> bool:
    try:
        return bool(spark.catalog.databaseExists(quoted(name)))
    except Exception:  # a name that is not an identifier
        return False


def exists(spark: SparkSession, location: Location) -> bool:
    if location.is_path:
        system, path = file_system(spark, location.uri)
        return bool(system.exists(path))
    try:
        return spark.catalog.tableExists(location.uri)
    except Exception:  # a name that is not an identifier, a catalogue that does not exist
        return False


def is_delta(spark: SparkSession, location: Location) -> bool:
    if location.is_path:
        return bool(java_class(spark, DELTA_TABLE).isDeltaTable(_session(spark), location.uri))
    if not exists(spark, location):
        return False
    details = spark.sql(f"DESCRIBE TABLE EXTENDED {location.sql}").filter("col_name = 'Provider'").collect()
    # The table's columns come first, and one may have this name.
    return bool(details) and details[-1]["data_type"].lower() == "delta"


def delta_table(spark: SparkSession, location: Location) -> DeltaTable:
    if not location.is_path:
        return DeltaTable.forName(spark, location.uri)
    # The same as DeltaTable.forPath (and `is_delta` as isDeltaTable), which look the class up by its packages.
    return DeltaTable(spark, java_class(spark, DELTA_TABLE).forPath(_session(spark), location.uri))


def _session(spark: SparkSession) -> Any:
    java: Any = spark
    return java._jsparkSession


def rows_at(spark: SparkSession, location: Location, version: int) -> DataFrame:
    """A Delta table at a version; reading it twice returns the same rows, whoever writes meanwhile."""
    reader = spark.read.format("delta").option("versionAsOf", version)
    return reader.load(location.uri) if location.is_path else reader.table(location.uri)


def change_feed(spark: SparkSession, location: Location, since: int, version: int) -> DataFrame | None:
    """Delta's change feed of the commits after the version `since` up to `version`; None if it does not have all of them."""
    reader = spark.read.format("delta").options(readChangeFeed=True, startingVersion=since + 1, endingVersion=version)
    try:
        changes = reader.load(location.uri) if location.is_path else reader.table(location.uri)
        # Only planning shows whether every version in between has a feed.
        changes._jdf.queryExecution().executedPlan()
    except Exception:
        return None
    return changes


def delta_log(spark: SparkSession, location: Location) -> Any:
    """Delta's own object for a table's log, in the JVM; DESCRIBE DETAIL returns the same, but costs a query."""
    return delta_table(spark, location)._jdt.deltaLog()


def newest_snapshot(spark: SparkSession, location: Location) -> Any:
    """The JVM's snapshot of the newest version of a Delta table; its metadata costs no query."""
    none = no_option(spark)
    return delta_log(spark, location).update(False, none, none)


def is_on(snapshot: Any, name: str) -> bool:
    """Whether a boolean property of a table is set and true."""
    properties = snapshot.metadata().configuration()
    return bool(properties.contains(name) and properties.apply(name).lower() == "true")


def no_option(spark: SparkSession) -> Any:
    """Scala's None."""
    return getattr(java_class(spark, "scala.None$"), "MODULE$")


def files_and_bytes(spark: SparkSession, location: Location) -> tuple[int, int]:
    """How many data files a Delta table has, and their bytes, according to its log."""
    snapshot = newest_snapshot(spark, location)
    # Most commits carry a checksum with both; counting them again takes a query over the log.
    checksum = snapshot.checksumOpt()
    if checksum.isDefined():
        return int(checksum.get().numFiles()), int(checksum.get().tableSizeBytes())
    return int(snapshot.numOfFiles()), int(snapshot.sizeInBytes())


def rows_counted(spark: SparkSession, location: Location, version: int) -> int:
    """How many rows a version of a Delta table has: from the log's counts of each file, or by a query where they are missing."""
    snapshot = newest_snapshot(spark, location)
    checksum = snapshot.checksumOpt()
    # For tables of up to about a hundred files the checksum of a commit names all; rows in deletion vectors are subtracted.
    if int(snapshot.version()) == version and checksum.isDefined() and checksum.get().allFiles().isDefined():
        files = checksum.get().allFiles().get()
        counts = [files.apply(i).numLogicalRecords() for i in range(files.size())]
        if all(count.isDefined() for count in counts):
            return sum(int(count.get()) for count in counts)
    return rows_at(spark, location, version).count()


def table_id(spark: SparkSession, location: Location) -> str:
    """The id of a Delta table: another table at the same place has another id."""
    return str(newest_snapshot(spark, location).metadata().id())


def commit_of(spark: SparkSession, log: Any, version: int) -> tuple[str, int] | None:
    """The first line of the commit that made a version of a Delta table, and its number of lines; None if its file is gone.

    Delta writes the commit's own description, with its time, in front of its files.

    Args:
        log: Delta's own object for the table's log.
    """
    file = java_class(spark, "org.apache.spark.sql.delta.util.FileNames").unsafeDeltaFile(log.logPath(), version)
    try:
        lines = log.store().read(file, log.newDeltaHadoopConf())
    except Exception as error:
        if "FileNotFound" in str(error):
            return None
        raise
    return str(lines.head()) if lines.nonEmpty() else "", int(lines.size())


def _commit_digest(spark: SparkSession, log: Any, version: int) -> str | None:
    found = commit_of(spark, log, version)
    return found and hashlib.sha256(f"{found[1]} {found[0]}".encode()).hexdigest()[:12]


def pinned(spark: SparkSession, snapshot: Any, version: int | None = None) -> PinnedVersion:
    """
    Args:
        snapshot: the table's newest. version: an older one.
    """
    number = int(snapshot.version()) if version is None else version
    return PinnedVersion(number, str(snapshot.metadata().id()), _commit_digest(spark, snapshot.deltaLog(), number) or "")


def stands(spark: SparkSession, location: Location, version: PinnedVersion) -> bool:
    """Whether a pinned version is still one of the table's. A commit that is not given, or no longer in the log, is trusted."""
    if not is_delta(spark, location):
        return False
    snapshot = newest_snapshot(spark, location)
    if str(snapshot.metadata().id()) != version.table_id:
        return False
    return not version.commit or _commit_digest(spark, snapshot.deltaLog(), version.number) in (version.commit, None)


def files_are_gone(error: Exception) -> bool:
    """Whether a read failed because a data file or a version's log no longer exists: both are removed for old versions after a while."""
    return any(mark in str(error) for mark in (*FILES_ARE_GONE, "DELTA_VERSION_NOT_FOUND"))


def storage_uri(spark: SparkSession, location: Location) -> str:
    """Where the data is, to compare a path with a name; the name itself if it has no files."""
    if location.is_path or not is_delta(spark, location):
        return location.uri.rstrip("/")
    return str(delta_log(spark, location).dataPath().toString()).rstrip("/")
