"""The version of the table for a warehouse, and what happened to the table since the version that the warehouse has."""

from __future__ import annotations

from pyspark.sql import SparkSession

from lib.errors import InputError
from lib.tables.commits import FEW_COMMITS, MOST_COMMITS, commits_of
from lib.tables.locations import Location, rows_at, stands
from lib.tables.pinned import PinnedVersion
from lib.tables.target import ids_twice
from lib.warehouse.columns import ID


def newest_run(spark: SparkSession, table: Location, version: int) -> str:
    """The newest run in the history up to a version: the one that wrote its rows, or the rollback that restored them.

    Raises:
        InputError: no run has published into the table.
    """
    for most in (FEW_COMMITS, MOST_COMMITS):
        commits = commits_of(spark, table, most)
        run = next((run for commit in commits if commit.version <= version and (run := commit.run)), None)
        if run:
            return run.run_id
    raise InputError(
        f"Expected a table into which a run has published, found none in the history of {table.given}; run categorize first."
    )


def only_maintenance(spark: SparkSession, table: Location, since: int, version: int) -> bool:
    """Whether no commit between two versions has changed a row."""
    between = [commit for commit in commits_of(spark, table, since=since) if commit.version <= version]
    # Some commits are missing from a history that was cleaned up.
    return len(between) == version - since and not any(commit.changes_rows for commit in between)


def reason_for_all(
    spark: SparkSession, table: Location, there: PinnedVersion, wanted: PinnedVersion, reload: bool
) -> str | None:
    """Why the table's history does not show what changed between two pinned versions; None if it may."""
    if reload:
        return "--reload asks for it"
    if there.table_id != wanted.table_id:
        return "the table was recreated"
    if there.number > wanted.number or not stands(spark, table, there):
        return f"version {there.number} is no longer the one that was published: the table was restored from a copy"
    return None


def check_ids_once(spark: SparkSession, table: Location, version: int) -> None:
    """
    Raises:
        InputError: an id is in that version more than once.
    """
    twice = ids_twice(rows_at(spark, table, version)).orderBy(ID).head()
    if twice:
        raise InputError(
            f"Expected each product_id once in {table.given}, found {twice[ID]!r} {twice['count']} times, written by another writer; run "
            "categorize with --mode full, which writes each of them once."
        )
