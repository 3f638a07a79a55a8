"""Maintenance: small files compacted, old ones removed, readers left alone."""

from __future__ import annotations

import os
import shutil
import time

import pytest

from jobs.maintain import MaintainSettings
from jobs.maintain import main as maintain_main
from jobs.report import ReportSettings
from jobs.report import main as report_main
from lib.command import run_command
from lib.tables.locations import delta_table, locate
from tests.faults.nights import FIRST, hashes_in, ledger, run, titles_hash, write_source
from tests.spark.conftest import rollback, versions

pytestmark = pytest.mark.usefixtures("spark")


def maintain(*arguments: object) -> int:
    return run_command(MaintainSettings, maintain_main, "maintain", list(map(str, arguments)))


def test_upkeep_packs_files_and_changes_no_row(spark, lake, tmp_path, capsys) -> None:
    for i in range(3):
        assert run(write_source(tmp_path / "more.parquet", {**FIRST, f"n{i}": f"lamp {i}"}), lake) == 0
    before = hashes_in(spark, lake)
    capsys.readouterr()
    assert maintain("--target", lake, "--dry-run") == 0
    assert "VACUUM would remove 0 old ones" in capsys.readouterr().out
    assert maintain("--target", lake, "--cluster-by", "category,product_id") == 0
    assert "files, now 1;" in capsys.readouterr().out
    assert hashes_in(spark, lake) == before
    assert run(tmp_path / "more.parquet", lake) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_upkeep_removes_what_no_reader_needs_and_nothing_younger_than_a_week(spark, lake, tmp_path, capsys) -> None:
    assert run(tmp_path / "second.parquet", lake, "--mode", "full", "--missing", "delete") == 0
    data = set(lake.glob("*.parquet"))
    old, young = lake / "part-of-a-run-that-died.parquet", lake / "part-of-a-run-at-work.parquet"
    for path in (old, young):
        shutil.copy(next(iter(data)), path)
    week = time.time() - 8 * 24 * 3600
    os.utime(old, (week, week))
    capsys.readouterr()
    assert maintain("--target", lake) == 0
    assert "; 1 old ones removed" in capsys.readouterr().out
    # The first run's files are still there for a reader or a rollback.
    assert {*data, young} <= set(lake.glob("*.parquet"))
    assert not old.exists()
    assert rollback("--target", lake, "--to", ledger(spark, lake)[0][0]) == 0
    assert hashes_in(spark, lake) == titles_hash(FIRST)


@pytest.mark.parametrize(
    ("own", "given", "hours", "stays"),
    [(None, "720", 240, True), (None, "168", 240, False), ("1 hour", "168", 2, True), ("30 days", "168", 240, True)],
)
def test_files_stay_as_long_as_the_option_and_the_table_say(spark, lake, own, given, hours, stays) -> None:
    if own:
        spark.sql(f"ALTER TABLE delta.`{lake}` SET TBLPROPERTIES ('delta.deletedFileRetentionDuration' = 'interval {own}')")
    old = lake / "part-that-no-version-names.parquet"
    shutil.copy(next(lake.glob("*.parquet")), old)
    then = time.time() - hours * 3600
    os.utime(old, (then, then))
    assert maintain("--target", lake, "--retain-hours", given) == 0
    assert old.exists() is stays


def test_a_version_of_more_than_a_week_ago_is_read_and_restored(spark, lake, tmp_path) -> None:
    """A catalogue that is delivered once a month: its files are there, whatever the age of the commit."""
    assert run(tmp_path / "second.parquet", lake) == 0
    first, second = (run_id for run_id, _ in ledger(spark, lake))
    month = time.time() - 30 * 24 * 3600
    for path in lake.glob("_delta_log/*"):
        os.utime(path, (month, month))
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
    assert (
        run_command(
            ReportSettings, report_main, "report", ["--target", str(lake), "--run", first, "--output", str(tmp_path / "pages")]
        )
        == 0
    )
    assert rollback("--target", lake, "--to", first) == 0
    assert hashes_in(spark, lake) == titles_hash(FIRST)
    assert rollback("--target", lake, "--to", second) == 0


def test_a_clustered_table_has_its_order_already(spark, lake, capsys) -> None:
    spark.sql(f"ALTER TABLE delta.`{lake}` CLUSTER BY (category)")
    assert maintain("--target", lake, "--cluster-by", "product_id") == 2
    assert "clustered by category; leave the option out" in capsys.readouterr().err
    assert maintain("--target", lake) == 0


@pytest.mark.parametrize(
    ("arguments", "because"),
    [
        (("--retain-hours", "1"), "Expected at least 168 hours"),
        (("--cluster-by", "colour"), "found colour"),
        (("--cluster-by", "product_id,scores"), "found scores"),
        (("--retain-hours", "many"), "invalid int value"),
    ],
)
def test_upkeep_that_is_refused(spark, lake, capsys, arguments, because) -> None:
    before = versions(spark, lake)
    assert maintain("--target", lake, *arguments) == 2
    assert because in capsys.readouterr().err
    assert versions(spark, lake) == before


def test_upkeep_of_nothing(tmp_path, capsys) -> None:
    assert maintain("--target", tmp_path / "nothing") == 2
    assert "Expected a table at" in capsys.readouterr().err


def test_small_files_are_bounded(spark, lake, tmp_path, monkeypatch) -> None:
    """From that many small files on, a run compacts its tables; the runs after it go on as before."""
    monkeypatch.setattr("lib.tables.maintenance.MOST_SMALL_FILES", 3)
    monkeypatch.setattr("lib.scoring.load.PACKED_EVERY", 1)
    for i in range(4):
        assert run(write_source(tmp_path / "more.parquet", {**FIRST, f"n{i}": f"lamp {i}"}), lake) == 0
        for suffix in ("", "_runs"):
            assert delta_table(spark, locate(spark, f"{lake}{suffix}")).detail().collect()[0]["numFiles"] <= 3
    operations = {row["operation"] for row in delta_table(spark, locate(spark, str(lake))).history().collect()}
    assert "OPTIMIZE" in operations
    assert run(tmp_path / "more.parquet", lake) == 0
    assert len(ledger(spark, lake)) == 5


@pytest.mark.parametrize("mode", ["incremental", "full"])
def test_a_run_keeps_nothing_in_its_session(spark, lake, tmp_path, mode) -> None:
    def kept() -> list[str]:
        frames = (entry.getValue() for entry in spark.sparkContext._jsc.getPersistentRDDs().entrySet())
        return [str(frame.name()) for frame in frames if not str(frame.name()).startswith("Delta Table State")]

    before = kept()
    assert run(tmp_path / "second.parquet", lake, "--mode", mode, "--missing", "mark") == 0
    assert kept() == before


def test_a_table_beside_the_target_is_none(lake, tmp_path, capsys) -> None:
    capsys.readouterr()
    for job, more in ((maintain, ()), (rollback, ("--to", "0"))):
        assert job("--target", f"{lake}_runs", *more) == 2
        assert "found one without product_id" in capsys.readouterr().err
    assert sorted(folder.name for folder in tmp_path.iterdir() if folder.is_dir()) == ["lake", "lake_rejected", "lake_runs"]


@pytest.mark.fault(
    "a data file of the target is removed by another writer, or overwritten",
    "exit 1 and a sentence that names the table's file, not the source",
    "exit 1 and the table's file named",
)
def test_damage_to_the_target_is_not_laid_to_the_source(lake, tmp_path, capsys) -> None:
    file = next(lake.glob("part-*.parquet"))
    for damage in (lambda: file.write_bytes(b"x" * 100), file.unlink):
        damage()
        (lake / f".{file.name}.crc").unlink(missing_ok=True)
        capsys.readouterr()
        assert run(tmp_path / "second.parquet", lake) == 1
        error = capsys.readouterr().err
        assert "Expected the files of the table" in error
        assert file.name in error
