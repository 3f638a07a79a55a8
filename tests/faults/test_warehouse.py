"""The warehouse stays consistent, whatever dies: the publisher, its connection, or the server; and two publishers do not mix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from lib.failpoints import WAREHOUSE_PHASES
from tests.fault_table import Fault
from tests.faults.nights import FIRST, SECOND, Night, at, ledger, run, titles_hash, write_source
from tests.waiting import until
from tests.warehouse import arguments, ask, hashes_there, publish, state

BOTH = titles_hash({"4": FIRST["4"], **SECOND})
OTHERS = "FROM pg_stat_activity WHERE application_name = 'catalog-categorizer publish'"


@pytest.fixture
def second_night(spark, tmp_path: Path, database: str) -> Path:
    """A table of two runs, the first of which is published."""
    lake = tmp_path / "lake"
    assert run(write_source(tmp_path / "in.parquet", FIRST), lake) == 0
    assert publish(lake, database) == 0
    assert run(write_source(tmp_path / "in.parquet", SECOND), lake) == 0
    return lake


def is_whole(spark, lake: Path, database: str, published: bool) -> None:
    """Rows and state are those of one run, and the next publication reaches the newest."""
    assert hashes_there(database) == (BOTH if published else titles_hash(FIRST))
    assert state(database)[1:3] == (ledger(spark, lake)[published][0], 5 + published if published else 4)
    assert publish(lake, database) == 0
    assert hashes_there(database) == BOTH


@pytest.mark.parametrize("phase", ["copying", "loaded"])
def test_a_publisher_killed_at_a_phase(
    spark, second_night: Path, tmp_path: Path, database: str, fault: Callable[[str, str], Fault], phase: str
) -> None:
    committed = phase == "loaded"
    told = fault(
        f"SIGKILL of a publisher to PostgreSQL at the phase `{phase}`",
        "the new rows are complete; the rerun has nothing to do" if committed else "the old rows stay; the rerun publishes",
    )
    night = Night(tmp_path / "night", phase, arguments(second_night, database), name="publish")
    night.wait_for(phase)
    if not committed:
        # Its rows are on their way: the server has begun to write them.
        assert ask(database, f"SELECT count(*) {OTHERS} AND state = 'active'") == [(1,)]
    night.kill()
    until(lambda: ask(database, f"SELECT count(*) {OTHERS}") == [(0,)], "the end of its connection")
    is_whole(spark, second_night, database, committed)
    told.saw("new rows complete, nothing to do" if committed else "old rows untouched, rerun published")


@pytest.mark.fault(
    "the connection of a publisher to PostgreSQL is cut, phase by phase, or the server is killed with all its processes",
    "exit 1 and a sentence before the commit; the old rows stay, the rerun publishes",
    "a sentence at each phase, old rows untouched, rerun published",
)
@pytest.mark.parametrize("how", ["connection", "server"])
def test_the_connection_or_the_server_dies(spark, postgres, second_night, database, capsys, how) -> None:
    def cut() -> None:
        ask(database, f"SELECT pg_terminate_backend(pid) {OTHERS}")

    def crash() -> None:
        postgres.kill()
        postgres.start()

    phases = [phase for phase in WAREHOUSE_PHASES if phase != "loaded"] if how == "connection" else ["staged"]
    for phase in phases:
        capsys.readouterr()
        with at(phase, cut if how == "connection" else crash):
            assert publish(second_night, database) == 1
        assert "catalog.products holds the last complete one, run again" in capsys.readouterr().err
        assert hashes_there(database) == titles_hash(FIRST)
    is_whole(spark, second_night, database, published=False)


@pytest.mark.fault(
    "two publishers of one table at the same time, the second started while the first has staged its rows",
    "the second waits and reports it; it publishes what the first has not",
    "the second waited, both ended with 0, the newest run in the warehouse",
)
def test_two_publishers_at_once(spark, second_night, tmp_path, database, capsys) -> None:
    with psycopg.connect(database, autocommit=True) as settings:
        # Somebody's default, under which a transaction sees what there was before it waited.
        name = settings.info.dbname
        settings.execute(f'ALTER DATABASE "{name}" SET default_transaction_isolation TO serializable')
    first = Night(tmp_path / "first", "staged", arguments(second_night, database), name="publish")
    first.wait_for("staged")
    third = {**SECOND, "9": "table lamp"}
    assert run(write_source(tmp_path / "in.parquet", third), second_night) == 0
    # Released only once the other is waiting.
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with psycopg.connect(database, autocommit=True) as watching:
        import threading

        def let_go() -> None:
            until(lambda: watching.execute(waiting).fetchone() == (1,), "the second publisher's wait")
            first.go("staged")

        thread = threading.Thread(target=let_go)
        thread.start()
        assert publish(second_night, database) == 0
        thread.join()
    assert first.end() == 0, first.said()
    said = capsys.readouterr()
    assert "another run is publishing to catalog.products: waiting for its end" in said.err
    assert "1 inserted, 0 updated, 0 deleted" in said.out
    assert hashes_there(database) == titles_hash({"4": FIRST["4"], **third})
