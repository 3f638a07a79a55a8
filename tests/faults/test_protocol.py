"""Two writers at one table in every order, with a death and a lost answer at every point (protocol.py)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import pytest

from schemas.tables import PUBLISHED
from tests.faults.protocol import (
    Choices,
    Table,
    Writer,
    another_hand,
    beginning,
    every_way,
    interleaved,
    maintain,
    note_of,
    release,
    rollback,
    run,
    to_its_end,
)

NIGHT, OTHER = {"1": "A", "3": "d", "4": "e"}, {"2": "C", "5": "g"}
HELD = {"6": "h"}


def held(table: Table) -> Writer:
    return release(table, note_of(table.state, "held", PUBLISHED), HELD)


WRITERS: Mapping[str, Callable[[Table], Writer]] = {
    "incremental night": lambda table: run(table, "n", NIGHT, "incremental"),
    "full night": lambda table: run(table, "f", NIGHT, "full"),
    "other incremental night": lambda table: run(table, "i", OTHER, "incremental"),
    "other full night": lambda table: run(table, "o", OTHER, "full"),
    "night without a change": lambda table: run(table, "u", {"1": "a", "2": "c"}, "incremental"),
    "release": held,
    "rollback": lambda table: rollback(table, 1),
    "upkeep": maintain,
    "another hand adds": lambda table: another_hand(table, "adds a row"),
    "another hand deletes": lambda table: another_hand(table, "deletes a row"),
}


@pytest.mark.fault(
    "two writers of ten kinds in every order, with a death and a lost answer at every point (a model, over our own decisions)",
    "nothing is replaced unseen; each run whose commit is in the table is in the ledger, once",
    "in all 41,553 ways",
)
@pytest.mark.parametrize(("one", "other"), itertools.combinations(WRITERS, 2))
def test_every_order_of_two_writers(one: str, other: str) -> None:
    def program(choices: Choices) -> None:
        table = beginning(choices)
        first = table.version
        codes = interleaved(table, {name: WRITERS[name](table) for name in (one, other)}, choices)
        table.answers_to_lose = 0
        check(table, first, codes)
        # The next run repairs what is left to repair, and reports it.
        assert to_its_end(run(table, "next", {"1": "z"}, "incremental")) == 0
        check(table, first, codes)
        check_ledger(table)

    assert every_way(program) > 10


def check(table: Table, first: int, codes: Mapping[str, int | None]) -> None:
    told = [(one.commit.operation, dict(one.rows), (one.commit.note or {}).get("run")) for one in table.stored], codes
    for version in range(first + 1, len(table.stored)):
        commit, rows, before = table.stored[version].commit, table.rows(version), table.rows(version - 1)
        if commit.note is None:
            continue
        read = table.rows(int(commit.note["read_version"]))
        changed = {one for one in rows.keys() | before.keys() if rows.get(one) != before.get(one)}
        unseen = [one for one in changed if before.get(one) != read.get(one)]
        # No commit after the version that was read is replaced or removed; a rollback, which cannot be prevented from it, reports it.
        assert not unseen or (commit.operation == "RESTORE" and codes.get("rollback") != 0), (unseen, told)
    by_run = [commit.run.run_id for commit in table.commits if commit.run]
    assert len(by_run) == len(set(by_run)), told


def check_ledger(table: Table) -> None:
    """Exactly the runs whose commits are in the table are in the ledger, once each."""
    stands = sorted((commit.run.run_id, commit.run.status) for commit in table.commits if commit.run)
    assert sorted(table.ledger) == stands, [(one.operation, one.note) for one in table.commits]
