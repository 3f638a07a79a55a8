"""Two runs at work on one table: every interleaving is forced at a phase, none is left to chance."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lib.scoring.udf import Clock
from tests.fault_table import Fault
from tests.faults.nights import (
    FIRST,
    OTHER,
    SECOND,
    at,
    commit_at_once,
    hashes_in,
    ledger,
    run,
    titles_hash,
    write_source,
)

PHASES = ("planned", "scored", "rejected", "publishing")


@pytest.mark.parametrize("mode", ["incremental", "full"])
@pytest.mark.parametrize("phase", PHASES)
def test_a_run_inside_a_run(
    spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault], phase: str, mode: str
) -> None:
    told = fault(
        f"another run publishes while a run (`{mode}`) is at the phase `{phase}`",
        "the outer run starts over on the new table; each id once, both in the ledger",
    )
    with at(phase, lambda: run(tmp_path / "other.parquet", lake)):
        assert run(tmp_path / "second.parquet", lake, "--mode", mode) == 0
    assert hashes_in(spark, lake) == titles_hash({**OTHER, "4": FIRST["4"], **SECOND})
    assert [status for _, status in ledger(spark, lake)] == ["published"] * 3
    # The run knows what the table has: with the same input again there is nothing to do.
    assert run(tmp_path / "second.parquet", lake) == 0
    assert len(ledger(spark, lake)) == 3
    told.saw("started over, each id once, both in the ledger")


def test_the_same_night_twice_at_once(spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault]) -> None:
    told = fault("the same run started twice at the same time", "one publishes, the other has nothing to do")
    with at("publishing", lambda: run(tmp_path / "second.parquet", lake)):
        assert run(tmp_path / "second.parquet", lake) == 0
    assert hashes_in(spark, lake) == titles_hash({"4": FIRST["4"], **SECOND})
    assert len(ledger(spark, lake)) == 2
    told.saw("one published, the other had nothing to do")


def test_two_first_nights(spark, tmp_path: Path, fault: Callable[[str, str], Fault]) -> None:
    told = fault("two first runs at the same time, no table yet", "both publish, one after the other; each id once")
    first, other = write_source(tmp_path / "a.parquet", FIRST), write_source(tmp_path / "b.parquet", OTHER)
    with at("publishing", lambda: run(other, tmp_path / "lake")):
        assert run(first, tmp_path / "lake") == 0
    assert hashes_in(spark, tmp_path / "lake") == titles_hash({**OTHER, **FIRST})
    assert len(ledger(spark, tmp_path / "lake")) == 2
    told.saw("both published, each id once")


def test_two_processes_commit_at_once(spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault]) -> None:
    told = fault(
        "two processes released at the same moment before their commits", "both publish, one starts over; each id once"
    )
    commit_at_once(spark, lake, tmp_path)
    told.saw("both published, each id once")


def test_a_commit_that_the_client_takes_for_failed(
    spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault]
) -> None:
    told = fault(
        "the commit succeeds, and the client sees an error", "found in the history: exit 0, in the ledger, no second commit"
    )

    def lost() -> None:
        raise OSError("connection reset by peer")

    with at("published", lost):
        assert run(tmp_path / "second.parquet", lake) == 0
    assert hashes_in(spark, lake) == titles_hash({"4": FIRST["4"], **SECOND})
    assert len(ledger(spark, lake)) == 2
    assert run(tmp_path / "second.parquet", lake) == 0
    assert len(ledger(spark, lake)) == 2
    told.saw("exit 0, in the ledger once, one commit")


def test_another_hand_changes_the_table_meanwhile(
    spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault]
) -> None:
    told = fault("a row deleted by hand while a run is before its commit", "the run starts over and restores the row")
    with at("publishing", lambda: spark.sql(f"DELETE FROM delta.`{lake}` WHERE product_id = '1'")):
        assert run(tmp_path / "second.parquet", lake) == 0
    assert hashes_in(spark, lake) == titles_hash({"4": FIRST["4"], **SECOND})
    told.saw("started over, the row is back")


@pytest.mark.parametrize("phase", ["planned", "publishing"])
def test_upkeep_inside_a_run(
    spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault], phase: str, clocks: list[Clock]
) -> None:
    told = fault(
        f"`maintain` while a run is at the phase `{phase}`", "the run publishes what it has scored; nothing is scored twice"
    )
    from lib.tables.locations import locate
    from lib.tables.maintenance import maintain
    from lib.tables.target import tables_of

    # Two small files to compact: a run of changes after the first.
    assert run(tmp_path / "other.parquet", lake) == 0
    clocks.clear()
    with at(phase, lambda: maintain(spark, tables_of(locate(spark, str(lake))))):
        assert run(tmp_path / "second.parquet", lake) == 0
    assert [clock.texts for clock in clocks] == [4]
    assert hashes_in(spark, lake) == titles_hash({**OTHER, "4": FIRST["4"], **SECOND})
    assert run(tmp_path / "second.parquet", lake) == 0
    assert len(ledger(spark, lake)) == 3
    told.saw("published, nothing scored twice")


def test_a_reader_that_polls(spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault]) -> None:
    told = fault("a reader that polls at every phase of a run", "sees the old rows or the new ones, never a mix")
    old, new = titles_hash(FIRST), titles_hash({"4": FIRST["4"], **SECOND})
    seen = []

    def poll() -> None:
        seen.append(hashes_in(spark, lake))

    with (
        at("planned", poll),
        at("scored", poll),
        at("rejected", poll),
        at("publishing", poll),
        at("published", poll),
        at("recorded", poll),
    ):
        assert run(tmp_path / "second.parquet", lake) == 0
    assert seen == [old] * 4 + [new] * 2
    told.saw("old rows up to the commit, new rows from it on")


def test_a_table_that_never_rests(spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault], capsys) -> None:
    told = fault(
        "other runs publish before every attempt",
        "exit 1 after three attempts with one sentence; nothing of the run is in the table",
    )
    turns = iter(range(10))

    def publish_another() -> None:
        turn = next(turns)
        # The nested run reaches this phase as well.
        if turn % 2 == 0:
            run(write_source(tmp_path / f"{turn}.parquet", {**OTHER, "8": f"camping chair {turn}"}), lake)

    with at("publishing", publish_another, times=10):
        assert run(tmp_path / "second.parquet", lake) == 1
    assert "found another run or another writer at work" in capsys.readouterr().err
    assert titles_hash(SECOND)["5"] not in hashes_in(spark, lake).values()
    told.saw("exit 1 after three attempts, nothing of it in the table")


def test_current_moves_during_a_run(spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault], tiny: Path) -> None:
    told = fault(
        "`current` names another version in the middle of a run", "the run ends with the version it began with, on every row"
    )
    import shutil

    models = tmp_path / "models"
    shutil.copytree(tiny, models)
    version = (models / "current").read_text().strip()
    shutil.copytree(models / version, models / "other")
    with at("planned", lambda: (models / "current").write_text("other\n")):
        assert run(tmp_path / "second.parquet", lake, model=models) == 0
    rows = spark.read.format("delta").load(str(lake)).filter("product_id != '4'").select("model_version").distinct().collect()
    assert [row["model_version"] for row in rows] == [f"tiny/{version}"]
    told.saw("one version on every row")


@pytest.mark.fault(
    "another table of the same name takes the target's place while a run is at the phase `scored`",
    "the run starts over on that table; each product of the source is in it",
    "started over on the other table",
)
def test_another_table_in_the_target_s_place(spark, lake: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "lake"
    assert run(tmp_path / "other.parquet", other) == 0

    def swap() -> None:
        shutil.rmtree(lake)
        shutil.copytree(other, lake)

    with at("scored", swap):
        assert run(tmp_path / "second.parquet", lake) == 0
    assert hashes_in(spark, lake) == titles_hash({**OTHER, **SECOND})


def test_a_source_that_goes_on_while_it_is_scored(spark, tmp_path: Path, fault: Callable[[str, str], Fault]) -> None:
    told = fault(
        "the source gets a new version while a run scores the one before, and a second run publishes it",
        "the first run starts over on the new version; the table holds that",
    )
    lake, source = tmp_path / "lake", f"delta.`{tmp_path / 'source'}`"
    spark.sql(f"CREATE TABLE {source} (product_id string, title string) USING delta")
    spark.sql(f"INSERT INTO {source} VALUES ('1', 'steel kettle'), ('2', 'garden chair')")
    assert run(tmp_path / "source", lake) == 0
    newest = {"1": "yoga mat", "2": "garden chair", "3": "usb cable"}

    def overtake() -> None:
        spark.sql(f"UPDATE {source} SET title = 'yoga mat' WHERE product_id = '1'")
        spark.sql(f"INSERT INTO {source} VALUES ('3', 'usb cable')")
        assert run(tmp_path / "source", lake) == 0

    spark.sql(f"UPDATE {source} SET title = 'cotton shirt' WHERE product_id = '1'")
    for phase in ("read", "scored", "publishing"):
        spark.sql(f"DELETE FROM {source} WHERE product_id = '3'")
        spark.sql(f"UPDATE {source} SET title = 'cotton shirt' WHERE product_id = '1'")
        with at(phase, overtake):
            assert run(tmp_path / "source", lake, "--mode", "full", "--missing", "delete") == 0
        assert hashes_in(spark, lake) == titles_hash(newest), phase
    told.saw("the table of the newest version")


def test_a_new_file_while_the_older_ones_are_scored(spark, tmp_path: Path, fault: Callable[[str, str], Fault]) -> None:
    told = fault(
        "a file comes to the source while a run with --missing delete scores the others, and a second run publishes it",
        "the first run starts over with the new file; its products stay",
    )
    lake, folder = tmp_path / "lake", tmp_path / "in"
    folder.mkdir()
    write_source(folder / "a.parquet", FIRST)

    def overtake() -> None:
        write_source(folder / "b.parquet", OTHER)
        assert run(folder, lake) == 0

    with at("scored", overtake):
        assert run(folder, lake, "--missing", "delete") == 0
    assert hashes_in(spark, lake) == titles_hash({**FIRST, **OTHER})
    told.saw("the products of both files")


@pytest.mark.parametrize("mode", ["incremental", "full"])
def test_two_first_runs_of_which_one_is_slow(spark, tmp_path: Path, mode: str, fault: Callable[[str, str], Fault]) -> None:
    told = fault(
        f"no table yet; another first run publishes before this one, --mode {mode}, makes the tables",
        "this one starts over on the other's table",
    )
    first, other = write_source(tmp_path / "a.parquet", FIRST), write_source(tmp_path / "b.parquet", OTHER)
    with at("creating", lambda: run(other, tmp_path / "lake")):
        assert run(first, tmp_path / "lake", "--mode", mode) == 0
    assert hashes_in(spark, tmp_path / "lake") == titles_hash({**OTHER, **FIRST})
    assert [status for _, status in ledger(spark, tmp_path / "lake")] == ["published"] * 2
    told.saw("both published, each id once")
