"""Creates views in the catalogue that Spark uses: Hive's metastore, Unity, or another persistent one."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import SparkSession

from lib.errors import InputError
from lib.identifiers import quoted
from lib.tables.locations import Location, forgets
from lib.warehouse.views.definitions import View
from lib.warehouse.views.dialects import MARK, Spark


def schema_for(spark: SparkSession, target: Location, given: str | None) -> str:
    """The schema for the views.

    Raises:
        InputError: a catalogue that ends with the process, a path without a schema, or a schema that does not exist.
    """
    if forgets(spark):
        raise InputError(
            "Expected a catalogue that stores views, found none that outlives the run; name a metastore, as by --conf spark.sql.catalogImplementation=hive, before "
            "the job's name, or print the statements for another engine with --dialect."
        )
    if given is None and target.is_path:
        raise InputError(
            f"Expected --schema for the views of {target.given}, found none, and a path has no schema; give one, or --dialect to print them."
        )
    before, _, _ = target.uri.rpartition(".")
    schema = given or before or spark.catalog.currentDatabase()
    if not spark.catalog.databaseExists(".".join(map(quoted, schema.split(".")))):
        raise InputError(f"Expected a schema {schema} in the catalogue, found none; create it, or correct --schema.")
    return schema


def create(spark: SparkSession, target: Location, prefix: str, views: Sequence[View]) -> list[str]:
    """Create the views, or replace existing ones, each in one step.

    Returns:
        Their names.
    Raises:
        InputError: a table, or a view of another writer or another target, has one of these names; nothing was created.
    """
    names = [f"{prefix}_{view.name}" for view in views]
    for name in names:
        _check_ours(spark, name, target)
    for name, view in zip(names, views, strict=True):
        spark.sql(Spark().view(name, view.comment, view.columns, view.query, target.uri))
    return names


def _check_ours(spark: SparkSession, name: str, target: Location) -> None:
    sql = Spark().named(name)
    if not spark.catalog.tableExists(sql):
        return
    kind = spark.catalog.getTable(sql).tableType
    marks = {row["key"]: row["value"] for row in spark.sql(f"SHOW TBLPROPERTIES {sql}").collect()}
    if kind != "VIEW" or marks.get(MARK) != target.uri:
        what = f"a view of {marks[MARK]}" if MARK in marks else f"a {kind.lower()} of another writer"
        raise InputError(f"Expected nothing yet at {name}, or the view of {target.given}, found {what}; give another --schema.")
