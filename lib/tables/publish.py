"""Load: a run's rows into `categorized` in one commit, on the version of the table that the run read, or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from lib.errors import CategorizerError
from lib.failpoints import reached
from lib.identifiers import column, quoted
from lib.tables.commits import NOTE_KEY, Commit, commit_of_run, commits_of, encoded, noted
from lib.tables.locations import Location, delta_table, file_system, rows_at, stands
from lib.tables.pinned import PinnedVersion
from lib.tables.run_record import RunRecord
from lib.tables.target import VANISHED, Tables, save
from lib.tables.transactions import in_large_files, overwrite_version, replace_rows

MOST_TRIES = 5
CONFLICTS = (
    "DELTA_CONCURRENT",
    "DELTA_METADATA_CHANGED",
    "DELTA_PROTOCOL_CHANGED",
    "ConcurrentModificationException",
    "MetadataChangedException",
    "ProtocolChangedException",
)


class Step(Enum):
    """What an attempt to commit led to."""

    DONE = "published on what was read"
    AGAIN = "only maintenance came between: try again on the newest version"
    MOVED = "others have changed rows: plan again"
    FAILED = "an error, and nothing of the run is in the table"


class TableMoved(CategorizerError):
    """Another run or another writer has changed the table since this run read it; the run has to be planned again."""


@dataclass(frozen=True)
class Candidate:
    """A run that could be published.

    Attributes:
        rows: the columns of `categorized`, and VANISHED, true for a product that the source no longer has: it is deleted, or
            stored as it is given here, depending on `missing`.
        mode: `full` replaces the table's rows, `incremental` updates and adds, `note` changes no row and only records the
            run in a commit.
        missing: what happens to vanished products: keep, mark, delete.
        note: stored with the commit (lib.tables.commits), with `identity` and `read_version`.
        run: the run's row for the ledger, as far as it is known before the commit.
    """

    rows: DataFrame
    mode: str
    missing: str
    note: Mapping[str, Any]
    run: RunRecord

    def with_run(self, **changes: Any) -> Candidate:
        return replace(self, run=replace(self.run, **changes))

    def noted(self, **more: Any) -> dict[str, Any]:
        """The note that the commit carries."""
        return {**self.note, **more, "run": self.run.values()}


def publish(candidate: Candidate, tables: Tables) -> None:
    """Commit a candidate, once, whatever else goes on.

    A commit that replaces the table's rows, or the files with some of them, is made on what was read, or not at all. Delta's own
    merge, for tables that need it, is started only if nothing has changed since then; Delta accepts it if later commits do not
    overlap with it. So each commit carries a transaction number of a sequence that all runs share: of two commits that were planned
    on one state Delta skips the later, whatever maintenance came between.

    Raises:
        TableMoved: the run has to be planned again.
    """
    spark = candidate.rows.sparkSession
    read_version = int(candidate.note["read_version"])
    # A candidate that an older release held back is numbered as that release did.
    number = int(candidate.note.get("sequence", read_version + 1))
    version = read_version
    conflict: Exception | None = None
    if not is_as_read(spark, candidate.note, tables):
        raise _moved(tables, read_version, None)
    for _ in range(MOST_TRIES):
        conflict = None
        base = version if candidate.mode == "full" else _after_maintenance(spark, tables, read_version, version)
        if base is None:
            break
        try:
            with noted(spark, candidate.noted(sequence=number), number):
                _write(spark, candidate, tables.categorized, base, number)
            reached("published")
        except Exception as error:
            # The commit may have succeeded although the client got an error: the history decides.
            conflict = error
        commits = commits_of(spark, tables.categorized, since=read_version)
        step = step_behind(commits, candidate.run.run_id, conflict) if is_as_read(spark, candidate.note, tables) else Step.MOVED
        if step is Step.DONE:
            return
        if step is Step.FAILED:
            assert conflict
            raise conflict
        if step is Step.MOVED:
            break
        # Only maintenance came between: the rows are those that were read.
        version = commits[0].version if commits else base
    commits = commits_of(spark, tables.categorized)
    raise _moved(tables, read_version, commit_of_run(commits, candidate.run.run_id)) from conflict


def _after_maintenance(spark: SparkSession, tables: Tables, read: int, version: int) -> int | None:
    """The newest version, if the rows are still those of `version`; None if they are not.

    Delta's own merge starts on the newest version, whether the run has read it or not; Delta checks only commits after that start.
    And after maintenance the same rows are in other files; the old ones may be gone.
    """
    commits = commits_of(spark, tables.categorized, since=read)
    if changed_since(commits, version):
        return None
    return commits[0].version if commits else version


def is_as_read(spark: SparkSession, note: Mapping[str, Any], tables: Tables) -> bool:
    """Whether the version that a candidate was planned on is one of the table's: false if another table has taken its place.

    Args:
        note: the candidate's.
    """
    # A candidate that an older release held back does not name it.
    table = note.get("table")
    return not table or stands(spark, tables.categorized, PinnedVersion.of(str(table)))


def _moved(tables: Tables, read_version: int, ours: Commit | None) -> TableMoved:
    left = f"; the run's changes are in its version {ours.version}, along with theirs" if ours else ""
    return TableMoved(
        f"Expected to publish on version {read_version} of {tables.categorized.given}, which was read, found another run or "
        f"another writer at work on it meanwhile{left}; run again."
    )


def changed_since(commits: Sequence[Commit], version: int) -> bool:
    """Whether rows have changed since a version. commits: newest first."""
    return any(commit.changes_rows for commit in commits if commit.version > version)


def step_behind(commits: Sequence[Commit], run_id: str, conflict: Exception | None) -> Step:
    """What to do after an attempt to commit, given the commits in the history.

    Args:
        commits: since the version that was read, newest first.
        conflict: the error that the client got, None for a success.
    """
    ours = commit_of_run(commits, run_id)
    others = [commit for commit in commits if commit.changes_rows and commit is not ours]
    if ours and not any(commit.version < ours.version for commit in others):
        return Step.DONE
    if conflict and not is_conflict(conflict):
        return Step.FAILED
    # Also if our commit succeeded: after another writer's change the rows that it left alone are not those that the run had read.
    return Step.MOVED if ours or others else Step.AGAIN


def is_conflict(error: Exception) -> bool:
    """Whether Delta refused a commit because of another one."""
    return type(error).__module__.startswith("delta.exceptions") or any(mark in str(error) for mark in CONFLICTS)


def hold(candidate: Candidate, tables: Tables) -> None:
    """Put a candidate into the side table, in place of the previous one."""
    note = candidate.noted(mode=candidate.mode, missing=candidate.missing)
    writer = candidate.rows.write.format("delta").mode("overwrite").option("overwriteSchema", True)
    save(writer.option("userMetadata", encoded(note)), tables.held)


@dataclass(frozen=True)
class Held:
    """A candidate in the side table without its rows, which may be gone: its note, its run, and the newest version that has its rows."""

    note: Mapping[str, Any]
    run: RunRecord
    version: int


def newest_held(spark: SparkSession, tables: Tables) -> Held | None:
    """What is held; None if there is nothing of ours."""
    commits = commits_of(spark, tables.held)
    last = next((commit for commit in commits if commit.changes_rows), None)
    if last is None or last.note is None or last.run is None:
        return None
    # Maintenance since then leaves the rows as they are, and may have removed the files in which they were.
    return Held(last.note, last.run, commits[0].version)


def rows_are_there(candidate: Candidate) -> bool:
    """Whether the files with the rows of a held candidate still exist."""
    found = (file_system(candidate.rows.sparkSession, file) for file in candidate.rows.inputFiles())
    return all(system.exists(path) for system, path in found)


def held_candidate(spark: SparkSession, tables: Tables) -> Candidate | None:
    """The candidate in the side table; None if there is none of ours."""
    held = newest_held(spark, tables)
    if held is None:
        return None
    note = {name: value for name, value in held.note.items() if name != "run"}
    # At the version that was read, even if another run is held back meanwhile.
    return Candidate(rows_at(spark, tables.held, held.version), note.pop("mode"), note.pop("missing"), note, held.run)


def _write(spark: SparkSession, candidate: Candidate, target: Location, version: int, number: int) -> None:
    if candidate.mode == "note":
        # Neither a merge nor an append of no rows works here: each writes a data file without rows.
        run_id = candidate.run.run_id.replace("'", "")
        spark.sql(f"ALTER TABLE {target.sql} SET TBLPROPERTIES ('{NOTE_KEY}.last_run' = '{run_id}')")
        return
    if candidate.mode == "full":
        rows = candidate.rows.drop(VANISHED)
        rows = in_large_files(rows, candidate.run.rows_in)
        overwrite_version(rows, target, version, number)
        return
    count = candidate.run.rows_scored + (candidate.run.rows_missing or 0)
    if replace_rows(candidate.rows, count, VANISHED, candidate.missing == "mark", target, version, number):
        return
    names = [name for name in candidate.rows.columns if name != VANISHED]
    values = {quoted(name): column(name, of="scored") for name in names}
    merge = (
        delta_table(spark, target)
        .alias("present")
        .merge(candidate.rows.alias("scored"), "present.product_id = scored.product_id")
    )
    merge = merge.withSchemaEvolution()
    if candidate.missing == "delete":
        merge = merge.whenMatchedDelete(f"scored.{VANISHED}")
    if candidate.missing == "mark":
        merge = merge.whenMatchedUpdate(f"scored.{VANISHED}", {"missing_since": "scored.missing_since"})
    merge = merge.whenMatchedUpdate(f"NOT scored.{VANISHED}", values)
    merge.whenNotMatchedInsert(f"NOT scored.{VANISHED}", values).execute()
