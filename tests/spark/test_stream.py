"""`--mode stream`: run after run over a source that grows during the day."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from lib.scoring.stream import MOST_FAILED, stream
from lib.tables.commits import MOST_COMMITS, NOTE_KEY, NOTE_OPERATION, commits_of
from lib.tables.locations import locate
from tests.conftest import SHIPPED
from tests.faults.nights import FIRST, SECOND, at, hashes_in, ledger, run, titles_hash, write_source

pytestmark = pytest.mark.usefixtures("spark")
BOTH = {"4": FIRST["4"], **SECOND}


@pytest.fixture
def streamed(monkeypatch, tmp_path: Path) -> Callable[..., int]:
    """`streamed(source, options, between)` runs a stream and returns its exit code: each function of `between` runs where it would wait
    for its next round, and after the last one it is interrupted."""

    def start(source: object, *options: str, between: list[Callable[[], object]], model: object = SHIPPED) -> int:
        left = [*between]

        def wait(_: object, seconds: float) -> None:
            assert seconds == 5
            if not left:
                raise KeyboardInterrupt
            left.pop(0)()

        monkeypatch.setattr("jobs.categorize.stream", partial(stream, wait=wait))
        code = run(source, tmp_path / "lake", "--mode", "stream", "--every", "5", *options, model=model)
        assert not left, f"the stream ended {len(left)} rounds too soon"
        return code

    return start


def nothing() -> None:
    """Nothing happens between two rounds."""


def versions(spark, lake: Path) -> int:
    return len(commits_of(spark, locate(spark, str(lake))))


def test_a_delta_source_that_changes_over_the_day(spark, streamed, tmp_path) -> None:
    lake, source = tmp_path / "lake", f"delta.`{tmp_path / 'source'}`"
    spark.sql(f"CREATE TABLE {source} (product_id string, title string) USING delta")
    spark.sql(f"INSERT INTO {source} VALUES ('1', 'steel kettle'), ('2', 'garden chair')")
    seen = []

    def look() -> None:
        seen.append((hashes_in(spark, lake), versions(spark, lake)))

    def change(statement: str) -> Callable[[], None]:
        return lambda: (look(), spark.sql(statement.format(source)))

    between = [
        change("INSERT INTO {} VALUES ('3', 'usb cable')"),
        change("UPDATE {} SET title = 'yoga mat' WHERE product_id = '1'"),
        look,
        change("DELETE FROM {} WHERE product_id = '2'"),
        look,
    ]
    assert streamed(tmp_path / "source", "--missing", "delete", between=between) == 130
    rows = [
        {"1": "steel kettle", "2": "garden chair"},
        {"1": "steel kettle", "2": "garden chair", "3": "usb cable"},
        {"1": "yoga mat", "2": "garden chair", "3": "usb cable"},
        {"1": "yoga mat", "2": "garden chair", "3": "usb cable"},
        {"1": "yoga mat", "3": "usb cable"},
    ]
    assert [hashes for hashes, _ in seen] == list(map(titles_hash, rows))
    # A round in which nothing came leaves nothing.
    assert [count - seen[0][1] for _, count in seen] == [0, 1, 2, 2, 3]
    assert [status for _, status in ledger(spark, lake)] == ["published"] * 4


def test_files_that_come_in(spark, streamed, tmp_path) -> None:
    write_source(tmp_path / "in" / "a.parquet", {"1": "steel kettle"})
    between = [lambda: write_source(tmp_path / "in" / "b.parquet", {"2": "usb cable"}), nothing]
    assert streamed(tmp_path / "in", between=between) == 130
    assert hashes_in(spark, tmp_path / "lake") == titles_hash({"1": "steel kettle", "2": "usb cable"})
    assert len(ledger(spark, tmp_path / "lake")) == 2


def test_a_night_over_the_same_source_meanwhile(spark, streamed, lake, tmp_path) -> None:
    shutil.copy(tmp_path / "second.parquet", tmp_path / "in.parquet")
    between = [
        lambda: run(tmp_path / "in.parquet", lake),
        lambda: run(tmp_path / "in.parquet", lake, "--mode", "full"),
        nothing,
    ]
    assert streamed(tmp_path / "in.parquet", between=between) == 130
    assert hashes_in(spark, lake) == titles_hash(BOTH)
    runs = spark.read.format("delta").load(f"{lake}_runs").orderBy("started_at").collect()
    # The first run, the stream's round, and the full run, which leaves the stream nothing to do; the first run did not either.
    assert [(row["mode"], json.loads(row["settings"])["mode"]) for row in runs] == [
        ("incremental", "incremental"),
        ("incremental", "stream"),
        ("full", "full"),
    ]


def test_a_rollback_stays_until_something_comes(spark, streamed, lake, tmp_path) -> None:
    from jobs.rollback import RollbackSettings, main
    from lib.command import run_command

    source = tmp_path / "in.parquet"
    shutil.copy(tmp_path / "second.parquet", source)
    found = []

    def roll_back() -> None:
        first = ledger(spark, lake)[0][0]
        assert run_command(RollbackSettings, main, "rollback", ["--target", str(lake), "--to", first]) == 0

    def look() -> None:
        found.append(hashes_in(spark, lake))

    def deliver() -> None:
        look()
        write_source(source, {**SECOND, "8": "garden hose"})

    assert streamed(source, between=[roll_back, deliver, look]) == 130
    assert found == [titles_hash(FIRST), titles_hash({**BOTH, "8": "garden hose"})]


def test_a_rollback_stays_when_the_stream_is_started_again(spark, streamed, lake, tmp_path, capsys) -> None:
    from jobs.rollback import RollbackSettings, main
    from lib.command import run_command

    source = tmp_path / "in.parquet"
    shutil.copy(tmp_path / "second.parquet", source)
    assert streamed(source, between=[nothing]) == 130
    first = ledger(spark, lake)[0][0]
    assert run_command(RollbackSettings, main, "rollback", ["--target", str(lake), "--to", first]) == 0
    capsys.readouterr()
    assert streamed(source, between=[nothing]) == 130
    assert "was rolled back: nothing to do until one of them changes" in capsys.readouterr().out
    assert hashes_in(spark, lake) == titles_hash(FIRST)
    deliver = [lambda: write_source(source, {**SECOND, "8": "garden hose"}), nothing]
    assert streamed(source, between=deliver) == 130
    assert hashes_in(spark, lake) == titles_hash({**BOTH, "8": "garden hose"})


def test_a_new_model_is_taken_up(spark, streamed, tiny, tmp_path) -> None:
    models = tmp_path / "models"
    shutil.copytree(tiny, models)
    version = (models / "current").read_text().strip()
    older = models / "older"
    shutil.copytree(SHIPPED / (SHIPPED / "current").read_text().strip(), older)
    (models / "current").write_text("older\n")
    source = write_source(tmp_path / "in.parquet", FIRST)
    between = [lambda: (models / "current").write_text(f"{version}\n"), nothing]
    assert streamed(source, between=between, model=models) == 130
    rows = spark.read.format("delta").load(str(tmp_path / "lake")).select("model_version").distinct().collect()
    assert [row["model_version"] for row in rows] == [f"tiny/{version}"]
    assert len(ledger(spark, tmp_path / "lake")) == 2


def test_a_round_that_fails_is_tried_again(spark, streamed, lake, tmp_path, capsys) -> None:
    source = tmp_path / "in.parquet"
    shutil.copy(tmp_path / "first.parquet", source)
    # As while a file is being replaced.
    between = [lambda: source.write_bytes(b"half a file"), lambda: write_source(source, SECOND), nothing]
    assert streamed(source, between=between) == 130
    said = capsys.readouterr().out
    assert said.count("a round failed, the next one is in 5 s: Expected Parquet files") == 1, said
    assert hashes_in(spark, lake) == titles_hash(BOTH)


def test_rounds_that_fail_one_after_the_other_end_it(spark, streamed, lake, tmp_path, capsys) -> None:
    source = tmp_path / "in.parquet"
    shutil.copy(tmp_path / "first.parquet", source)
    assert streamed(source, between=[source.unlink, *[nothing] * (MOST_FAILED - 1)]) == 2
    said = capsys.readouterr()
    assert said.out.count("a round failed") == MOST_FAILED - 1
    assert said.err.startswith(f"error: Expected a file, folder or table at {source}, found nothing")
    assert hashes_in(spark, lake) == titles_hash(FIRST)


def test_a_first_round_that_fails_ends_it(streamed, tmp_path, capsys) -> None:
    assert streamed(tmp_path / "nowhere", between=[]) == 2
    assert "found nothing; correct the path" in capsys.readouterr().err


def test_a_round_held_back_ends_it(spark, streamed, lake, tmp_path, capsys) -> None:
    source = tmp_path / "in.parquet"
    shutil.copy(tmp_path / "first.parquet", source)
    between = [lambda: write_source(source, {"1": FIRST["1"]})]
    assert streamed(source, "--missing", "delete", "--guard-removed", "0.5", between=between) == 4
    assert "--publish-anyway" in capsys.readouterr().err
    assert hashes_in(spark, lake) == titles_hash(FIRST)


def test_a_source_made_anew_while_a_round_scores_it(spark, streamed, lake, tmp_path, capsys) -> None:
    source = tmp_path / "in.parquet"
    shutil.copy(tmp_path / "first.parquet", source)
    anew = [lambda: write_source(source, {"1": FIRST["1"], "7": "garden hose", "8": "cotton shirt"}), nothing]
    # The first round reads what is there.
    with at("planned", lambda: anew.pop()(), times=2):
        assert streamed(source, between=[lambda: write_source(source, SECOND), nothing]) == 130
    said = capsys.readouterr()
    assert "a round failed, the next one is in 5 s: Expected the source" in said.out, said
    assert "report this" not in said.out + said.err
    assert set(hashes_in(spark, lake)) >= {"7", "8"}


def test_the_rounds_of_a_day_do_not_hide_the_nights_before(streamed, tmp_path, capsys) -> None:
    source, lake, options = tmp_path / "in.parquet", tmp_path / "lake", ["--guard-from-rows", "1", "--missing", "mark"]
    smaller = lambda rows: lambda: write_source(source, {f"{i}": f"steel kettle {i}" for i in range(rows)})  # noqa: E731
    smaller(100)()
    for _ in range(4):
        assert run(source, lake, *options, "--mode", "full") == 0
    assert streamed(source, *options, between=[smaller(90)]) == 130
    _add_rounds(lake, MOST_COMMITS)
    capsys.readouterr()
    # Each is fine compared with the round before it.
    assert streamed(source, *options, between=[smaller(60), smaller(40)]) == 4
    assert "from 100 to 40 (limit 50%)" in capsys.readouterr().err


def _add_rounds(lake: Path, count: int) -> None:
    """As that many rounds without a row to score leave them in the table's log."""
    log = lake / "_delta_log"
    newest = max(int(file.stem) for file in log.glob("*.json"))
    told = json.loads((log / f"{newest:020d}.json").read_text().splitlines()[0])
    note = json.loads(told["commitInfo"]["userMetadata"])
    ours, run_id, sequence = note[NOTE_KEY], note[NOTE_KEY]["run"]["run_id"], note[NOTE_KEY]["sequence"]
    for i in range(1, count + 1):
        ours |= {"read_version": newest + i - 1, "sequence": sequence + i, "run": {**ours["run"], "run_id": f"{run_id}-{i}"}}
        told["commitInfo"] |= {"userMetadata": json.dumps(note), "operation": NOTE_OPERATION}
        (log / f"{newest + i:020d}.json").write_text(json.dumps(told) + "\n")


def test_a_view_cannot_be_streamed(spark, streamed, tmp_path, capsys) -> None:
    write_source(tmp_path / "in.parquet", FIRST)
    spark.sql(f"CREATE OR REPLACE VIEW streamed_view AS SELECT * FROM parquet.`{tmp_path / 'in.parquet'}`")
    try:
        assert streamed("streamed_view", between=[]) == 2
    finally:
        spark.sql("DROP VIEW streamed_view")
    assert "found the view streamed_view; give the table that it reads" in capsys.readouterr().err
    assert not (tmp_path / "lake").exists()


@pytest.mark.parametrize("option", [["--dry-run"], ["--verify"], ["--preview", "3"], ["--publish-anyway", "a-run"]])
def test_what_is_for_a_single_night_is_refused(tmp_path, capsys, option) -> None:
    assert run(tmp_path / "in", tmp_path / "lake", "--mode", "stream", *option) == 2
    assert f"Expected --mode stream without {option[0]}, which is for a single run" in capsys.readouterr().err


@pytest.mark.parametrize("every", ["1e10", "31536001", "inf", "0", "-5"])
def test_seconds_that_nobody_waits(tmp_path, capsys, every) -> None:
    assert run(tmp_path / "in", tmp_path / "lake", "--mode", "stream", "--every", every) == 2
    assert f"Expected --every above 0 and of at most 31536000 (a year), found {float(every)}" in capsys.readouterr().err
