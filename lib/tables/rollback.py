"""Rollback: restores the table to an older run or version, in one commit that records it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pyspark.sql import SparkSession

from lib.errors import CategorizerError, InputError
from lib.tables.commits import RESTORED, Commit, TableState, commit_of_run, commits_of, noted, sequence_of, state_of
from lib.tables.ledger import recover
from lib.tables.locations import delta_table
from lib.tables.run_record import RunRecord
from lib.tables.target import Tables, check_categorized
from lib.times import iso, run_id
from schemas.tables import ROLLED_BACK

# For a version that no run has made.
EMPTY = RunRecord("", "")


def rollback(spark: SparkSession, tables: Tables, to: str) -> RunRecord | None:
    """Restore `categorized` to a version, or to what a run had published, and record it in the ledger.

    The run that is undone stays in the history: a rollback to its version restores it. The next run on the input that made the
    restored rows has nothing to do.

    Returns:
        The row for the ledger; None if the table has these rows already.
    Raises:
        InputError: no such version or run in the history, or its files are gone; nothing was written.
    """
    started = time.time()
    where = tables.categorized.given
    check_categorized(spark, tables.categorized)
    commits = commits_of(spark, tables.categorized)
    wanted = _wanted(commits, to, where)
    # Even if nothing is left to restore: a rollback that was killed before it wrote its row is run again.
    recover(spark, tables, state_of(commits).runs)
    newer = [commit for commit in commits if commit.changes_rows and commit.version > wanted.version]
    if not newer or (newer[0].note or {}).get(RESTORED) == wanted.version:
        return None
    note, run = _note(commits, wanted), _record(commits, wanted, started)
    _restore(spark, tables, wanted.version, {**note, "run": run.values()})
    now = commits_of(spark, tables.categorized)
    # This writes our own row; a run whose commit came between may have stopped before it wrote its row.
    recover(spark, tables, state_of(now).runs)
    _check_nothing_undone_unseen(tables, now, commits[0].version)
    return run


def _restored(commits: Sequence[Commit], wanted: Commit) -> TableState:
    return state_of([commit for commit in commits if commit.version <= wanted.version])


def _note(commits: Sequence[Commit], wanted: Commit) -> dict[str, Any]:
    """The commit's note, without the run. commits: newest first."""
    return {
        **(_restored(commits, wanted).last or {}),
        "read_version": commits[0].version,
        RESTORED: wanted.version,
        "sequence": sequence_of(commits) + 1,
    }


def _record(commits: Sequence[Commit], wanted: Commit, started: float) -> RunRecord:
    """The rollback's row for the ledger: the figures of the restored run, under its own run_id."""
    return replace(
        _restored(commits, wanted).last_run or EMPTY,
        run_id=run_id(started),
        started_at=iso(started),
        ended_at=iso(time.time()),
        status=ROLLED_BACK,
        mode="rollback",
        settings=f'{{"to": {wanted.version}}}',
    )


def _restore(spark: SparkSession, tables: Tables, version: int, note: Mapping[str, Any]) -> None:
    try:
        with noted(spark, note):
            delta_table(spark, tables.categorized).restoreToVersion(version)
    except Exception as error:
        if "Not all files from version" not in str(error):
            raise
        raise InputError(
            f"Expected the files of version {version} of {tables.categorized.given}, found some gone (vacuumed); choose a newer version "
            "with --to."
        ) from None


def _check_nothing_undone_unseen(tables: Tables, commits: Sequence[Commit], read_version: int) -> None:
    between = undone_unseen(commits, read_version)
    if between:
        raise CategorizerError(
            f"Expected {tables.categorized.given} to stay as it was read until it was restored, found version {between.version} "
            f"published meanwhile, which is undone too; rollback --to {between.version} restores that."
        )


def undone_unseen(commits: Sequence[Commit], read_version: int) -> Commit | None:
    """The newest commit between the version that a rollback had read and its own commit, which is the newest that restored."""
    newer = [commit for commit in commits if commit.changes_rows and commit.version > read_version]
    ours = next(i for i, commit in enumerate(newer) if "restored" in (commit.note or {}))
    return newer[ours + 1] if newer[ours + 1 :] else None


def _wanted(commits: list[Commit], to: str, where: str) -> Commit:
    by_version = {str(commit.version): commit for commit in commits}
    found = by_version.get(to) or commit_of_run(commits, to)
    if found is None:
        runs = ", ".join(f"{run.run_id} (version {c.version})" for c in commits if (run := c.run))[:500] or "no run"
        raise InputError(
            f"Expected the version or the run {to!r} in the history of {where}, found versions {commits[-1].version} to "
            f"{commits[0].version} and {runs}; correct --to."
        )
    return found
