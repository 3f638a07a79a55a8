"""What a table's history tells: whose rows it holds, and what happened since a run has read it.

Every commit of ours carries a note in its `userMetadata`: the run's record for the ledger, the identity of what decides its
rows, and the version of the table that it had read.
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
from schemas.tables import PUBLISHED

NOTE_KEY = "catalog_categorizer"
# Operations of Delta that leave the rows as they are: a night is still the last one behind them.
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
# In a note. Earlier versions kept a sketch of the ids themselves, as ids_sketch: with one of hashes it has nothing in common.
SKETCH = "hashes_sketch"
# In a note: what all rows of the source count (lib.scoring.changes.Whole).
WHOLE = "whole"
# By which a run without a changed row leaves its note.
NOTE_OPERATION = "SET TBLPROPERTIES"
MOST_COMMITS = 1000
# So many commits are read one by one sooner than a query over the log is planned.
FEW_COMMITS = 16


@dataclass(frozen=True)
class Commit:
    version: int
    operation: str
    note: Mapping[str, Any] | None

    @property
    def changes_rows(self) -> bool:
        """Or tells of a run that had none to change."""
        return self.note is not None or self.operation not in MAINTENANCE

    @classmethod
    def read(cls, version: int, operation: str, metadata: str | None) -> Commit:
        # A compaction that follows a commit by itself inherits its metadata.
        carries = operation not in MAINTENANCE or operation == NOTE_OPERATION
        return cls(version, operation, _decoded(metadata) if carries else None)

    @property
    def run(self) -> RunRecord | None:
        """None for a commit of another hand."""
        return RunRecord.of((self.note or {}).get("run"))


@dataclass(frozen=True)
class TableState:
    """A table at one of its versions (-1: there is none).

    last: the note of the run whose rows these are, if nothing else has changed them.
    runs: the records of all runs in the history, newest first.
    good: the records of all published runs that no rollback has undone, newest first; of all of them where it has undone all.
    sketch: of the hashes of the ids that the newest of them has read (lib.scoring.catalogue.Census), in base 64.
    sequence: how many transactions our commits have counted; two that were planned on one state have the same next number.
    table: the version as lib.tables.locations.pinned tells it; empty where there is none.
    goes_on: whether the history has more commits than were looked at.
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
        """The newest run in the history, whatever happened behind it."""
        return self.runs[0] if self.runs else None


def encoded(note: Mapping[str, Any]) -> str:
    return json.dumps({NOTE_KEY: note}, ensure_ascii=False)


@contextmanager
def noted(spark: SparkSession, note: Mapping[str, Any], transaction: int | None = None) -> Iterator[None]:
    """The session's commits carry the note meanwhile, and the number of a transaction: for all ways of writing alike."""
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
    """As Delta's history tells them, by their files; None where the newest of them has none of its own.

    The history ends at the first whose file is gone.
    """
    log, found = snapshot.deltaLog(), []
    for version in versions:
        commit = commit_of(spark, log, version)
        if commit is None:
            break
        # Other writers may put it elsewhere.
        info = _info(commit[0], log, version)
        if info is None:
            return None
        found.append(Commit.read(version, info.get("operation", ""), info.get("userMetadata")))
    return found if found or not versions else None


def _info(line: str, log: Any, version: int) -> Any:
    """What a commit says of itself; None where its first line tells something else.

    Raises:
        CategorizerError: the line is none of a Delta log.
    """
    try:
        action = json.loads(line or "{}")
    except ValueError:
        action = None
    if not isinstance(action, dict):
        raise CategorizerError(
            f"Expected the Delta log in {redacted(log.logPath().toString())} whole, found its version {version} damaged; bring the "
            f"folder back from a copy, or give the next night another --target."
        )
    return action.get("commitInfo")


def state_of(commits: Sequence[Commit]) -> TableState:
    """The state behind the newest of these commits."""
    changes = [commit for commit in commits if commit.changes_rows]
    last = changes[0].note if changes else None
    # A change that came between what the run had read and its commit is in the table, but not in the run.
    if last and len(changes) > 1 and changes[1].version > last.get("read_version", changes[1].version):
        last = None
    every = [run for commit in changes if (run := commit.run)]
    # Oldest first, so that the newest is kept.
    known = [(run.model_version, (commit.note or {}).get("decisions")) for commit in reversed(changes) if (run := commit.run)]
    decisions = {model: str(digest) for model, digest in known if model and digest}
    standing = _not_undone(changes)
    sketch = next((commit.note.get(SKETCH) for commit in standing if commit.note), None)
    version, runs = commits[0].version if commits else -1, [run for commit in standing if (run := commit.run)]
    return TableState(version, last, decisions, runs, sketch, sequence_of(commits), every, goes_on=len(commits) >= MOST_COMMITS)


def sequence_of(commits: Sequence[Commit]) -> int:
    """The number of the newest transaction of ours, or one above it.

    Older versions counted by the table's versions, and noted none. Where our commits are older than the history that the table
    keeps, its version stands for them: each of ours raised both. Delta would pass over a transaction of a lower number.
    """
    newest = next((commit for commit in commits if commit.note is not None), None)
    if newest is None:
        return commits[0].version if commits else 0
    return int((newest.note or {}).get("sequence", newest.version))


def _not_undone(changes: Sequence[Commit]) -> list[Commit]:
    """The commits of published runs with rows, newest first, without those that a rollback has taken back."""
    published = [commit for commit in changes if (run := commit.run) and run.status == PUBLISHED and run.rows_in]
    undone = undone_versions(changes)
    # A table that is back at its beginning is still guarded by what it held.
    return [commit for commit in published if commit.version not in undone] or published


def undone_versions(commits: Sequence[Commit]) -> set[int]:
    """The versions that a rollback has taken back, and none has brought back. commits: newest first."""
    undone: set[int] = set()
    up_to = None
    for commit in commits:
        if up_to is not None and commit.version > up_to:
            undone.add(commit.version)
        elif (restored := (commit.note or {}).get("restored")) is not None:
            up_to = int(restored)
    return undone


def read_state(spark: SparkSession, location: Location) -> TableState:
    state = state_of(commits_of(spark, location))
    return state if state.version < 0 else replace(state, table=pinned(spark, newest_snapshot(spark, location), state.version))


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
