"""Whose rows a table holds, as its commits alone show."""

from __future__ import annotations

import json
from dataclasses import fields

from lib.tables.commits import NOTE_KEY, Commit, commit_of_run, encoded, state_of
from lib.tables.run_record import RunRecord
from schemas.tables import RUNS


def ours(version: int, read: int, run: str, operation: str = "MERGE") -> Commit:
    note = {"identity": f"i-{run}", "read_version": read, "run": {"run_id": run}}
    return Commit.read(version, operation, encoded(note))


def other(version: int, operation: str) -> Commit:
    return Commit.read(version, operation, None)


def test_the_newest_run_is_the_last_one() -> None:
    state = state_of([ours(3, 2, "b"), ours(2, 1, "a"), other(0, "CREATE TABLE")])
    assert (state.version, state.last["identity"], state.last_run.run_id) == (3, "i-b", "b")
    assert state_of([]).version == -1


def test_upkeep_behind_a_run_leaves_it_the_last_one() -> None:
    commits = [other(5, "VACUUM END"), other(4, "OPTIMIZE"), ours(3, 1, "b"), other(2, "OPTIMIZE"), ours(1, 0, "a")]
    assert state_of(commits).last["identity"] == "i-b"


def test_a_change_by_another_hand_is_seen_behind_and_in_the_middle() -> None:
    behind = state_of([other(4, "DELETE"), ours(3, 2, "b")])
    middle = state_of([ours(4, 2, "b"), other(3, "DELETE"), ours(2, 1, "a")])
    for state, version in ((behind, 4), (middle, 4)):
        assert state.last is None
        assert state.last_run.run_id == "b"
        assert state.version == version


def test_a_run_without_changes_tells_by_a_property() -> None:
    assert state_of([ours(4, 3, "b", "SET TBLPROPERTIES"), ours(3, 2, "a")]).last["identity"] == "i-b"


def test_a_compaction_that_inherited_a_note_is_not_the_run() -> None:
    commits = [ours(4, 2, "b", "OPTIMIZE"), ours(3, 2, "b")]
    assert commit_of_run(commits, "b").version == 3
    assert state_of(commits).last["identity"] == "i-b"


def test_notes_of_others_and_of_older_versions() -> None:
    for text in ("", "not json", "[]", '"x"', json.dumps({NOTE_KEY: 5}), json.dumps({"other": {}})):
        assert Commit.read(1, "WRITE", text).note is None
    # Before `read_version` there was none to compare with.
    older = Commit.read(2, "WRITE", json.dumps({NOTE_KEY: {"identity": "i", "run": {"run_id": "a"}}}))
    assert state_of([older, other(1, "WRITE")]).last["identity"] == "i"


def test_a_record_is_a_row_of_the_ledger() -> None:
    assert {field.name for field in fields(RunRecord)} == set(RUNS.names)
    run = RunRecord("a", "published", rows_in=3, guarded={"unclassifiable": 0.5}, held_because=["x"])
    assert RunRecord.of(json.loads(json.dumps(run.values()))) == run
    # Records of older versions, and of newer ones.
    assert RunRecord.of({"run_id": "a", "status": "published", "rows_in": 3, "drift": None, "later": 1}) == RunRecord(
        "a", "published", rows_in=3
    )
    for none in (None, [], {}, {"status": "published"}):
        assert RunRecord.of(none) is None
