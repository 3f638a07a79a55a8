"""Load: a run's rows into `categorized` in one commit, on the version of the table that the run has read, or not at all."""

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
from lib.tables.locations import Location, delta_table, rows_at, stands
from lib.tables.run_record import RunRecord
from lib.tables.target import Tables, save
from lib.tables.transactions import in_large_files, overwrite_version, replace_rows

MOST_TRIES = 5
VANISHED = "vanished"
CONFLICTS = (
    "DELTA_CONCURRENT",
    "DELTA_METADATA_CHANGED",
    "DELTA_PROTOCOL_CHANGED",
    "ConcurrentModificationException",
    "MetadataChangedException",
    "ProtocolChangedException",
)


class Step(Enum):
    """Behind an attempt to commit."""

    DONE = "published on what was read"
    AGAIN = "only upkeep came between: try again on the newest version"
    MOVED = "others have changed rows: plan anew"
    FAILED = "an error, and nothing of the run stands"


class TableMoved(CategorizerError):
    """Another run or another hand has changed the table since this run has read it; it has to be planned anew."""


@dataclass(frozen=True)
class Candidate:
    """A run that could be published.

    Attributes:
        rows: the columns of `categorized`, and VANISHED, true for a product that the source no longer holds: it goes, or stands
            as it is given here, by `missing`.
        mode: `full` replaces the table's rows, `incremental` updates and adds, `note` changes no row and only lets the
            commit tell of the run.
        missing: what happens to vanished products: keep, mark, delete.
        note: kept with the commit (lib.tables.commits), with `identity` and `read_version`.
        run: what the ledger will tell, as far as it is known before the commit.
    """

    rows: DataFrame
    mode: str
    missing: str
    note: Mapping[str, Any]
    run: RunRecord

    def with_run(self, **changes: Any) -> Candidate:
        return replace(self, run=replace(self.run, **changes))

    def noted(self, **more: Any) -> dict[str, Any]:
        """What the commit carries."""
        return {**self.note, **more, "run": self.run.values()}


def publish(candidate: Candidate, tables: Tables) -> None:
    """Commit a candidate, once, whatever else goes on.

    A commit that replaces the table's rows, or the files that hold some of them, is made on what was read, or not at all. Delta's own
    merge, for tables that need it, is begun only where nothing has changed since then; Delta lets it through if what comes behind its
    beginning does not overlap. So each commit carries a transaction of a sequence that all runs share: of two that were planned on one state Delta skips the later, whatever upkeep came between.

    Raises:
        TableMoved: the run has to be planned anew.
    """
    spark = candidate.rows.sparkSession
    read_version = int(candidate.note["read_version"])
    # A candidate that an older version has held is numbered as that did.
    number = int(candidate.note.get("sequence", read_version + 1))
    version = read_version
    conflict: Exception | None = None
    if not is_as_read(candidate, tables):
        raise _moved(tables, read_version, None)
    for _ in range(MOST_TRIES):
        conflict = None
        behind = version if candidate.mode == "full" else _behind_upkeep(spark, tables, read_version, version)
        if behind is None:
            break
        try:
            with noted(spark, candidate.noted(sequence=number), number):
                _write(spark, candidate, tables.categorized, behind, number)
            reached("published")
        except Exception as error:
            # The commit may stand, though the client was told otherwise: the history knows.
            conflict = error
        commits = commits_of(spark, tables.categorized, since=read_version)
        step = step_behind(commits, candidate.run.run_id, conflict) if is_as_read(candidate, tables) else Step.MOVED
        if step is Step.DONE:
            return
        if step is Step.FAILED:
            assert conflict
            raise conflict
        if step is Step.MOVED:
            break
        # Only upkeep came between: the rows are those that were read.
        version = commits[0].version if commits else behind
    commits = commits_of(spark, tables.categorized)
    raise _moved(tables, read_version, commit_of_run(commits, candidate.run.run_id)) from conflict


def _behind_upkeep(spark: SparkSession, tables: Tables, read: int, version: int) -> int | None:
    """The newest version, if the rows are still those of `version`; None if they are not.

    Delta's own merge begins on what stands then, seen or not; what comes behind its beginning Delta holds against it. And behind upkeep
    the same rows stand in other files; the old ones may be gone.
    """
    commits = commits_of(spark, tables.categorized, since=read)
    if changed_since(commits, version):
        return None
    return commits[0].version if commits else version


def is_as_read(candidate: Candidate, tables: Tables) -> bool:
    """Whether the version that a candidate was planned on is one of the table's: not where another table stands in its place."""
    # What an older version has held does not tell.
    table = candidate.note.get("table")
    return not table or stands(candidate.rows.sparkSession, tables.categorized, str(table))


def _moved(tables: Tables, read_version: int, stands: Commit | None) -> TableMoved:
    left = f"; the run's changes stand in its version {stands.version}, beside theirs" if stands else ""
    return TableMoved(
        f"Expected to publish on version {read_version} of {tables.categorized.given}, which was read, found another run or "
        f"another hand at work on it meanwhile{left}; run again."
    )


def changed_since(commits: Sequence[Commit], version: int) -> bool:
    """Whether rows have changed since a version. commits: newest first."""
    return any(commit.changes_rows for commit in commits if commit.version > version)


def step_behind(commits: Sequence[Commit], run_id: str, conflict: Exception | None) -> Step:
    """What to do behind an attempt to commit, by what stands in the history.

    Args:
        commits: since the version that was read, newest first.
        conflict: what the client was told, None for a success.
    """
    stands = commit_of_run(commits, run_id)
    others = [commit for commit in commits if commit.changes_rows and commit is not stands]
    if stands and not any(commit.version < stands.version for commit in others):
        return Step.DONE
    if conflict and not is_conflict(conflict):
        return Step.FAILED
    # Also where the commit stands: by another hand's change the rows that it left alone are not those it had read.
    return Step.MOVED if stands or others else Step.AGAIN


def is_conflict(error: Exception) -> bool:
    """Whether Delta refused a commit because of another one."""
    return type(error).__module__.startswith("delta.exceptions") or any(mark in str(error) for mark in CONFLICTS)


def hold(candidate: Candidate, tables: Tables) -> None:
    """Put a candidate into the side table, in place of the one before it."""
    note = candidate.noted(mode=candidate.mode, missing=candidate.missing)
    writer = candidate.rows.write.format("delta").mode("overwrite").option("overwriteSchema", True)
    save(writer.option("userMetadata", encoded(note)), tables.held)


def held_candidate(spark: SparkSession, tables: Tables) -> Candidate | None:
    """What stands in the side table; None if nothing of ours does."""
    newest = next((commit for commit in commits_of(spark, tables.held) if commit.changes_rows), None)
    if newest is None or newest.note is None or newest.run is None:
        return None
    note = {name: value for name, value in newest.note.items() if name != "run"}
    # As it was held, also if another night is held meanwhile.
    return Candidate(rows_at(spark, tables.held, newest.version), note.pop("mode"), note.pop("missing"), note, newest.run)


def _write(spark: SparkSession, candidate: Candidate, target: Location, version: int, number: int) -> None:
    if candidate.mode == "note":
        # Neither a merge nor an append of no rows will do: each writes a data file without rows.
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
