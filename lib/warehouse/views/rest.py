"""The basis of a target's views: where its tables are, which columns they have, and since which version moves are shown."""

from __future__ import annotations

import json
from datetime import datetime, timezone

from pyspark.sql import SparkSession

from lib.errors import InputError
from lib.tables.commits import Commit, commit_of_run, commits_of
from lib.tables.corrections import corrections_of
from lib.tables.locations import Location, commit_of, delta_log, delta_table, files_are_gone, is_delta, rows_at, storage_uri
from lib.tables.target import check_categorized, tables_of
from lib.warehouse.views.definitions import Tables
from lib.warehouse.views.dialects import Place


def tables_for(spark: SparkSession, target: Location, since: str | None, known_as: str | None) -> Tables:
    """
    Args:
        since: a run or a version; None for the version before the newest change. known_as: the engine's name of `categorized`, if
            it differs from Spark's; the tables next to it have the same name with their suffix.
    Raises:
        InputError: no table of categorized products, or no such version that can be read.
    """
    check_categorized(spark, target)
    commits = commits_of(spark, target)
    version = _version(commits, since, target)
    corrections, runs = corrections_of(target), tables_of(target).runs
    if not is_delta(spark, runs):
        raise InputError(
            f"Expected the ledger of {target.given} at {runs.given}, found none; restore it from a copy, or run categorize."
        )
    name = known_as or (None if target.is_path else target.uri)
    return Tables(
        _place(spark, target, name),
        _place(spark, runs, name and f"{name}_runs"),
        _place(spark, corrections, name and f"{name}_corrections") if is_delta(spark, corrections) else None,
        delta_table(spark, target).toDF().columns,
        delta_table(spark, runs).toDF().columns,
        _separator(spark, target),
        version,
        _committed_at(spark, target, version),
    )


def _place(spark: SparkSession, location: Location, name: str | None) -> Place:
    return Place(name, storage_uri(spark, location))


def _version(commits: list[Commit], since: str | None, target: Location) -> int:
    if since is None:
        newest = next((commit.version for commit in commits if commit.changes_rows), commits[0].version)
        return max(newest - 1, commits[-1].version)
    found = next((commit for commit in commits if str(commit.version) == since), None) or commit_of_run(commits, since)
    if found is None:
        runs = ", ".join(f"{run.run_id} (version {c.version})" for c in commits if (run := c.run))[:500] or "no run"
        raise InputError(
            f"Expected the version or the run {since!r} in the history of {target.given}, found versions {commits[-1].version} to "
            f"{commits[0].version} and {runs}; correct --since."
        )
    return found.version


def _committed_at(spark: SparkSession, target: Location, version: int) -> datetime:
    try:
        rows_at(spark, target, version)
    except Exception as error:
        if not files_are_gone(error):
            raise
        raise InputError(
            f"Expected version {version} of {target.given} to exist still, found it removed; give a newer version with --since."
        ) from None
    # By the commit's own time: Delta's history returns the time of its file, which a copy of the folder may not preserve.
    said = _says_when(commit_of(spark, delta_log(spark, target), version))
    if said is not None:
        return datetime.fromtimestamp(said / 1000, timezone.utc)
    row = delta_table(spark, target).history().filter(f"version = {version}").select("timestamp").collect()[0]
    return row["timestamp"].astimezone(timezone.utc)


def _says_when(commit: tuple[str, int] | None) -> int | None:
    """Milliseconds since 1970 from a commit's first line; None if it has no time. commit: as `commit_of` returns it."""
    info = json.loads(commit[0]).get("commitInfo", {}) if commit and commit[0] else {}
    said = info.get("inCommitTimestamp", info.get("timestamp"))
    return said if isinstance(said, int) else None


def _separator(spark: SparkSession, target: Location) -> str | None:
    """The separator of a category's levels, taken from a category with several levels; None if there is none."""
    rows = delta_table(spark, target).toDF()
    if "category_path" not in rows.columns:
        return None
    row = rows.filter("size(category_path) > 1").select("category", "category_path").head()
    if row is None:
        return None
    levels = row["category_path"]
    length = (len(row["category"]) - sum(map(len, levels))) // (len(levels) - 1)
    separator = row["category"][len(levels[0]) : len(levels[0]) + length]
    return separator if separator and separator.join(levels) == row["category"] else None
