"""A table's history: which run wrote the rows of a version, and what happened since another run read it.

Each of our commits carries a note in its `userMetadata`: the run's record for the ledger, the identity of everything that
decides its rows, and the version of the table that the run had read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from pyspark.sql import SparkSession

from lib.errors import CategorizerError
from lib.redaction import redacted
from lib.tables.locations import Location, commit_of, delta_table, is_delta, newest_snapshot, pinned
from lib.tables.run_record import RunRecord
from lib.tables.target import check_root
from schemas.tables import PUBLISHED

NOTE_KEY = "catalog_categorizer"
# Operations of Delta that leave the rows as they are: after them, the last run is still the last one.
MAINTENANCE = frozenset(
    {
        "CREATE TABLE",
        "OPTIMIZE",
        "REORG",
        "VACUUM START",
        "VACUUM END",
        "SET TBLPROPERTIES",
        "UNSET TBLPROPERTIES",
        "ADD CONSTRAINT",
        "CLUSTER BY",
        "UPGRADE PROTOCOL",
        "ADD FEATURE",
    }
)
USER_METADATA = "spark.databricks.delta.commitInfo.userMetadata"
TRANSACTION = "spark.databricks.delta.write.txnAppId"
TRANSACTION_VERSION = "spark.databricks.delta.write.txnVersion"
# The one sequence of transactions that all runs of a table share.
APPLICATION = "catalog-categorizer"
# In a note. Earlier versions stored a sketch of the ids themselves, as ids_sketch, which cannot be compared with one of hashes.
SKETCH = "hashes_sketch"
# In a note: the counts over all rows of the source (lib.scoring.whole.Whole).
WHOLE = "whole"
# In the note of a rollback: the version that it has brought back.
RESTORED = "restored"
# The operation with which a run without a changed row commits its note.
NOTE_OPERATION = "SET TBLPROPERTIES"
MOST_COMMITS = 1000
# Up to this many commits, reading them one by one is faster than planning a query over the log.
FEW_COMMITS = 16


@dataclass(frozen=True)
class Commit:
    version: int
    operation: str
    note: Mapping[str, Any] | None

    @property
    def changes_rows(self) -> bool:
        """Whether it changes rows, or records a run that had none to change."""
        return self.note is not None or self.operation not in MAINTENANCE

    @classmethod
    def read(cls, version: int, operation: str, metadata: str | None) -> Commit:
        # An automatic compaction after a commit inherits its metadata.
        carries = operation not in MAINTENANCE or operation == NOTE_OPERATION
        return cls(version, operation, _decoded(metadata) if carries else None)

    @property
    def run(self) -> RunRecord | None:
        """None for a commit of another writer."""
        return RunRecord.of((self.note or {}).get("run"))


@dataclass(frozen=True)
class TableState:
    """A table at one of its versions (-1: there is no table).

    last: the note of the run that wrote these rows, if nothing else has changed them.
    runs: the records of all runs in the history, newest first.
    good: the records of all published runs that no rollback has undone, newest first; of all of them if all were undone.
    sketch: of the hashes of the ids that the newest of these runs has read (lib.scoring.catalogue.Census), in base 64.
    sequence: how many transactions our commits have counted; two that were planned on one state have the same next number.
    table: the lib.tables.pinned.PinnedVersion as a text; empty if there is no table.
    goes_on: whether the history has more commits than were read.
    decisions: by version of a model, lib.model.bundle.Bundle.decisions as the newest run with it had them.
    """

    version: int
    last: Mapping[str, Any] | None
    decisions: Mapping[str, str] = field(default_factory=dict)
    good: Sequence[RunRecord] = ()
    sketch: str | None = None
    sequence: int = 0
    runs: Sequence[RunRecord] = ()
    table: str = ""
    goes_on: bool = False

    @property
    def last_run(self) -> RunRecord | None:
        """The newest run in the history, whatever happened after it."""
        return self.runs[0] if self.runs else None


def encoded(note: Mapping[str, Any]) -> str:
    return json.dumps({NOTE_KEY: note}, ensure_ascii=False)


@contextmanager
def noted(spark: SparkSession, note: Mapping[str, Any], transaction: int | None = None) -> Iterator[None]:
    """Inside the block the session's commits carry the note, and a transaction number if given, for all ways of writing."""
    settings = {USER_METADATA: encoded(note)}
    if transaction is not None:
        settings |= {TRANSACTION: APPLICATION, TRANSACTION_VERSION: str(transaction)}
    for name, value in settings.items():
        spark.conf.set(name, value)
    try:
        yield
    finally:
        for name in settings:
            spark.conf.unset(name)


def commits_of(spark: SparkSession, location: Location, most: int = MOST_COMMITS, since: int = -1) -> list[Commit]:
    """The newest commits, newest first; none if there is no table.

    Args:
        most: no more than these. since: none up to this version.
    """
    if not is_delta(spark, location):
        return []
    snapshot = newest_snapshot(spark, location)
    newest = int(snapshot.version())
    wanted = range(newest, max(since, newest - most), -1)
    few = _read_one_by_one(spark, snapshot, wanted) if len(wanted) <= FEW_COMMITS else None
    if few is not None:
        return few
    rows = delta_table(spark, location).history(len(wanted)).select("version", "operation", "userMetadata").collect()
    found = [Commit.read(row["version"], row["operation"], row["userMetadata"]) for row in rows]
    return sorted((commit for commit in found if commit.version > since), key=lambda commit: -commit.version)


def _read_one_by_one(spark: SparkSession, snapshot: Any, versions: Sequence[int]) -> list[Commit] | None:
    """The same as Delta's history, read from the files of the commits; None if a commit's first line lacks it, or the newest file is gone.

    The history ends at the first commit whose file is gone.
    """
    log, found = snapshot.deltaLog(), []
    for version in versions:
        commit = commit_of(spark, log, version)
        if commit is None:
            break
        # Other writers may put it in another line.
        info = _info(commit[0], log, version)
        if info is None:
            return None
        found.append(Commit.read(version, info.get("operation", ""), info.get("userMetadata")))
    return found if found or not versions else None


def _info(line: str, log: Any, version: int) -> Any:
    """The `commitInfo` of a commit; None if its first line is another action.

    Raises:
        CategorizerError: the line does not belong to a Delta log.
    """
    try:
        action = json.loads(line or "{}")
    except ValueError:
        action = None
    if not isinstance(action, dict):
        raise CategorizerError(
            f"Expected the Delta log in {redacted(log.logPath().toString())} whole, found its version {version} damaged; restore the "
            f"folder from a copy, or give the next run another --target."
        )
    return action.get("commitInfo")


def state_of(commits: Sequence[Commit]) -> TableState:
    """The state after the newest of these commits."""
    changes = [commit for commit in commits if commit.changes_rows]
    last = changes[0].note if changes else None
    # A change committed between the version that the run had read and its own commit is in the table, but not in the run.
    if last and len(changes) > 1 and changes[1].version > last.get("read_version", changes[1].version):
        last = None
    every = [run for commit in changes if (run := commit.run)]
    # Oldest first, so that the newest wins.
    known = [(run.model_version, (commit.note or {}).get("decisions")) for commit in reversed(changes) if (run := commit.run)]
    decisions = {model: str(digest) for model, digest in known if model and digest}
    standing = _not_undone(changes)
    sketch = next((commit.note.get(SKETCH) for commit in standing if commit.note), None)
    version, runs = commits[0].version if commits else -1, [run for commit in standing if (run := commit.run)]
    return TableState(version, last, decisions, runs, sketch, sequence_of(commits), every, goes_on=len(commits) >= MOST_COMMITS)


def sequence_of(commits: Sequence[Commit]) -> int:
    """The number of our newest transaction, or one above it.

    Older releases counted by the table's versions, and noted no number. If our commits are older than the history that the table
    keeps, its version is used instead: each of our commits raised both. Delta would skip a transaction with a lower number.
    """
    newest = next((commit for commit in commits if commit.note is not None), None)
    if newest is None:
        return commits[0].version if commits else 0
    return int((newest.note or {}).get("sequence", newest.version))


def _not_undone(changes: Sequence[Commit]) -> list[Commit]:
    """The commits of published runs with rows, newest first, without those that a rollback has undone."""
    published = [commit for commit in changes if (run := commit.run) and run.status == PUBLISHED and run.rows_in]
    undone = undone_versions(changes)
    # A table that was rolled back to its beginning is still guarded by the runs that it had.
    return [commit for commit in published if commit.version not in undone] or published


def undone_versions(commits: Sequence[Commit]) -> set[int]:
    """The versions that a rollback has undone and no later one has restored. commits: newest first."""
    undone: set[int] = set()
    up_to = None
    for commit in commits:
        if up_to is not None and commit.version > up_to:
            undone.add(commit.version)
        elif (restored := (commit.note or {}).get(RESTORED)) is not None:
            up_to = int(restored)
    return undone


def read_state(spark: SparkSession, location: Location) -> TableState:
    state = state_of(commits_of(spark, location))
    if state.version < 0:
        return state
    return replace(state, table=str(pinned(spark, newest_snapshot(spark, location), state.version)))


def table_now(spark: SparkSession, location: Location) -> str:
    """The newest version as `TableState.table` names it; empty if there is no table.

    Raises:
        InputError: the place is inside of another table.
    """
    check_root(spark, location)
    return str(pinned(spark, newest_snapshot(spark, location))) if is_delta(spark, location) else ""


def commit_of_run(commits: Sequence[Commit], run_id: str) -> Commit | None:
    """The newest commit that published a run."""
    return next((commit for commit in commits if (run := commit.run) and run.run_id == run_id), None)


def _decoded(text: str | None) -> Mapping[str, Any] | None:
    try:
        content = json.loads(text or "")
    except ValueError:
        return None
    found = content.get(NOTE_KEY) if isinstance(content, dict) else None
    return found if isinstance(found, dict) else None
