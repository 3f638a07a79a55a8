"""Manual commits: Delta's own transactions, started on a version that was read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from lib.identifiers import column
from lib.pairs.offered import joined, snapshot_at, write_command, write_operation
from lib.session import setting
from lib.tables.commits import APPLICATION
from lib.tables.locations import PYTHON_UTILS, Location, delta_log, is_on, java_class, no_option
from schemas.tables import replacement_columns

METRICS = "spark.databricks.delta.history.metricsEnabled"
# On a fast machine this takes a second to write; more tasks would only make small files.
ROWS_PER_FILE = 500_000
# Fewer rows are not worth their own task and file.
ROWS_PER_TASK = 25_000
# Ids of changed rows that every task can keep in memory besides its work; more of them are joined, or merged, by sorting.
MOST_IDS_TO_BROADCAST = 500_000
# With one of these properties Delta stores more than a table's rows, which only its own merge maintains.
BY_MERGE_ALONE = ("delta.enableChangeDataFeed", "delta.enableDeletionVectors", "delta.enableRowTracking")


class Transaction:
    """A Delta transaction on one version of a table: its commit fails if another commit has since changed what it has read."""

    def __init__(self, spark: SparkSession, target: Location, version: int) -> None:
        session: Any = spark._jsparkSession
        self._spark, self._session = spark, session
        self.none, self._log = no_option(spark), delta_log(spark, target)
        self.snapshot = snapshot_at(self._log, version, self.none)
        self.java = self._log.startTransaction(self.none, java_class(spark, "scala.Some")(self.snapshot))

    def _of_delta(self, name: str) -> Any:
        return java_class(self._spark, f"org.apache.spark.sql.delta.{name}")

    @property
    def columns(self) -> StructType:
        """The table's columns."""
        return StructType.fromJson(json.loads(self.snapshot.schema().json()))

    @property
    def partitions(self) -> list[str]:
        """The columns by which the table is partitioned."""
        found = self.snapshot.metadata().partitionColumns()
        return [str(found.apply(i)) for i in range(found.size())]

    def save_mode(self, name: str) -> Any:
        return getattr(java_class(self._spark, "org.apache.spark.sql.SaveMode"), name)

    def written_by(self, mode: Any) -> Any:
        """The operation Write, under which the history will list the commit."""
        return write_operation(self._of_delta("DeltaOperations$Write"), mode, self.none)

    def merged(self) -> Any:
        """The operation Merge."""
        empty = self.sequence(())
        return self._of_delta("DeltaOperations$Merge")(*[self.none] * 4, empty, empty, empty)

    def sequence(self, values: Iterable[Any]) -> Any:
        listed = java_class(self._spark, "java.util.ArrayList")()
        for value in values:
            listed.add(value)
        return java_class(self._spark, PYTHON_UTILS).toSeq(listed)

    def written(self, rows: DataFrame, mode: Any) -> Any:
        """Write the rows to new files of the table, in its layout; returns the actions to commit."""
        clustered = self._of_delta("skipping.clustering.ClusteredTableUtils").getClusterBySpecOptional(self.snapshot)
        return self._command(rows, mode).write(self.java, self._session, clustered, False)

    def _command(self, rows: DataFrame, mode: Any) -> Any:
        options = self._of_delta("DeltaOptions")(
            _scala_map(self._spark, {"mergeSchema": "true"}), self._session.sessionState().conf()
        )
        partitions, nothing = self.snapshot.metadata().partitionColumns(), _scala_map(self._spark, {})
        return write_command(
            self._of_delta("commands.WriteIntoDelta"),
            *(self._log, mode, options, partitions, nothing, rows._jdf, self.none, self.none),
        )

    def files_with(self, ids: DataFrame) -> list[Any]:
        """The table's data files that contain one of these ids. After that the transaction has read the whole table."""
        # With their row counts, which are left out by default.
        everything = java_class(self._spark, "org.apache.spark.sql.catalyst.expressions.Literal").TrueLiteral()
        every = self.java.filterFiles(self.sequence((everything,)), True)
        held = self.rows_of(every).select("product_id", F.input_file_name().alias("file")).join(ids, "product_id", "left_semi")
        paths = [row["file"] for row in held.select("file").distinct().collect()]
        command, root = self._command(ids, self.save_mode("Append")), self._log.dataPath()
        known = command.generateCandidateFileMap(root, every)
        return [command.getTouchedFile(root, path, known) for path in paths]

    def rows_of(self, files: Any) -> DataFrame:
        """The rows in a sequence of the table's files."""
        return DataFrame(self._log.createDataFrame(self.snapshot, files, False, self.none), self._spark)

    def commit(self, actions: Any, operation: Any, number: int, measured: bool = True) -> None:
        """Make them the table's next version.

        number: of the transaction, in the sequence that our commits share. measured: whether the history records the operation's
        metrics; only Delta's own command counts those of a merge.
        """
        numbered = joined(actions, self.sequence([self._of_delta("actions.SetTransaction")(APPLICATION, number, self.none)]))
        with nullcontext() if measured else setting(self._spark, METRICS, "false"):
            self.java.commit(numbered, operation)


def overwrite_version(rows: DataFrame, target: Location, version: int, number: int) -> None:
    """Replace the rows of one version of a table, in a commit that fails if any other has changed rows since.

    Spark's own overwrite replaces whatever is in the table when it starts; so the transaction is started here, on the version.

    Args:
        number: of the transaction, in the sequence that our commits share.
    """
    begun = Transaction(rows.sparkSession, target, version)
    columns = replacement_columns(rows.schema, begun.columns)
    if columns is not None:
        # Not by Delta's overwriteSchema, which also removes the columns' constraints and comments.
        old = begun.snapshot.metadata()
        names = (old.id(), old.name(), old.description(), old.format(), columns.json(), old.partitionColumns())
        begun.java.updateMetadataForTableOverwrite(old.copy(*names, old.configuration(), old.createdTime()))
    mode = begun.save_mode("Overwrite")
    actions = begun.written(rows, mode)
    begun.commit(actions, begun.written_by(mode), number)


def replace_rows(
    rows: DataFrame, count: int, vanished: str, keep_vanished: bool, target: Location, version: int, number: int
) -> bool:
    """Replace the rows of the same product_id, and add new ones, by rewriting the files that contain one of them.

    Delta's MERGE does the same, but sorts all rows of these files; here each task has the changed ids in memory.

    Args:
        rows: in the table's columns, and `vanished`, true for rows that are only deleted, or stored as given with keep_vanished.
        count: how many rows there are.
        number: of the transaction, in the sequence that our commits share.
    Returns:
        False, with nothing done, if only a merge works: too many ids, or a table that stores more than these columns.
    """
    if count > MOST_IDS_TO_BROADCAST:
        return False
    begun = Transaction(rows.sparkSession, target, version)
    fresh = rows.drop(vanished) if keep_vanished else rows.filter(~F.col(vanished)).drop(vanished)
    if _needs_merge(begun, fresh):
        return False
    ids = rows.select("product_id").hint("broadcast")
    old = begun.files_with(ids)
    kept = begun.rows_of(begun.sequence(old)).join(ids, "product_id", "left_anti")
    rewritten = _in_files(kept.unionByName(fresh, allowMissingColumns=True), sum(map(_rows_in, old)) + count, begun.partitions)
    actions = begun.written(rewritten, begun.save_mode("Append"))
    removed = begun.sequence(file.remove() for file in old)
    begun.commit(joined(actions, removed), begun.merged(), number, measured=False)
    return True


def in_large_files(rows: DataFrame, count: int) -> DataFrame:
    """The rows in as many tasks as should write files. count: about how many rows there are."""
    return rows.coalesce(_tasks(rows, count))


def _tasks(rows: DataFrame, count: int) -> int:
    return max(int(rows.sparkSession.sparkContext.defaultParallelism), count // ROWS_PER_FILE)


def _in_files(rows: DataFrame, count: int, partitions: Sequence[str]) -> DataFrame:
    """As `in_large_files`, but few rows go into few files, and rows of one partition of the table into the same."""
    tasks = min(-(-count // ROWS_PER_TASK) or 1, _tasks(rows, count))
    return rows.repartition(tasks, *map(column, partitions)) if partitions else rows.coalesce(tasks)


def _needs_merge(begun: Transaction, fresh: DataFrame) -> bool:
    if any(is_on(begun.snapshot, name) for name in BY_MERGE_ALONE):
        return True
    types = {field.name.lower(): field.dataType.simpleString() for field in fresh.schema.fields}
    return any(types.get(field.name.lower()) != field.dataType.simpleString() for field in begun.columns.fields)


def _rows_in(file: Any) -> int:
    """The row count in the log; 0 if it has none."""
    counted = file.numLogicalRecords()
    return int(counted.get()) if counted.isDefined() else 0


def _scala_map(spark: SparkSession, values: Mapping[str, str]) -> Any:
    content = java_class(spark, "java.util.HashMap")()
    for name, value in values.items():
        content.put(name, value)
    return java_class(spark, PYTHON_UTILS).toScalaMap(content)
