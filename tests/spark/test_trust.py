"""What an operator holds a night with: dry runs, guardrails, rollback, upkeep, missing products, change feeds."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from jobs.maintain import MaintainSettings
from jobs.maintain import main as maintain_main
from jobs.rollback import RollbackSettings
from jobs.rollback import main as rollback_main
from lib.command import run_command
from lib.tables.locations import delta_table, locate
from tests.faults.nights import FIRST, SECOND, hashes_in, ledger, run, titles_hash, write_source

pytestmark = pytest.mark.usefixtures("spark")


@pytest.fixture
def lake(spark, tmp_path: Path) -> Path:
    """A table with a night in it; `second.parquet` beside it is the next night's source."""
    assert run(write_source(tmp_path / "first.parquet", FIRST), tmp_path / "lake") == 0
    write_source(tmp_path / "second.parquet", SECOND)
    return tmp_path / "lake"


def rollback(*arguments: object) -> int:
    return run_command(RollbackSettings, rollback_main, "rollback", list(map(str, arguments)))


def maintain(*arguments: object) -> int:
    return run_command(MaintainSettings, maintain_main, "maintain", list(map(str, arguments)))


def versions(spark, target: object) -> int:
    return delta_table(spark, locate(spark, str(target))).history().count()


# Missing products


@pytest.mark.parametrize("mode", ["incremental", "full"])
@pytest.mark.parametrize("missing", ["keep", "mark", "delete"])
def test_products_that_vanish(spark, lake, tmp_path, missing, mode) -> None:
    options = ("--missing", missing, "--mode", mode)
    assert run(tmp_path / "second.parquet", lake, *options) == 0
    rows = {row["product_id"]: row for row in spark.read.format("delta").load(str(lake)).collect()}
    assert rows.keys() == SECOND.keys() | (set() if missing == "delete" else {"4"})
    if missing != "delete":
        assert (rows["4"]["missing_since"] is not None) == (missing == "mark")
        assert rows["4"]["category"] == "Clothing & Accessories"
    since = rows["4"]["missing_since"] if missing == "mark" else None
    # A third night: the mark stays as it is, and goes when the product is back.
    assert run(write_source(tmp_path / "third.parquet", {**SECOND, "9": "lamp"}), lake, *options) == 0
    rows = {row["product_id"]: row for row in spark.read.format("delta").load(str(lake)).collect()}
    assert ("4" in rows) == (missing != "delete")
    assert since is None or rows["4"]["missing_since"] == since
    assert run(write_source(tmp_path / "fourth.parquet", {**SECOND, **FIRST}), lake, *options) == 0
    rows = {row["product_id"]: row for row in spark.read.format("delta").load(str(lake)).collect()}
    assert rows["4"]["missing_since"] is None
    assert rows["2"]["text_hash"] == titles_hash(FIRST)["2"]


def test_only_products_vanish(spark, lake, tmp_path, capsys) -> None:
    gone = write_source(tmp_path / "gone.parquet", {i: FIRST[i] for i in "12"})
    capsys.readouterr()
    assert run(gone, lake, "--missing", "delete") == 0
    assert "no longer in the source: 2 products" in capsys.readouterr().out
    assert hashes_in(spark, lake).keys() == {"1", "2"}
    assert spark.read.format("delta").load(f"{lake}_runs").orderBy("started_at").collect()[-1]["rows_missing"] == 2
    assert run(gone, lake, "--missing", "delete") == 0
    assert len(ledger(spark, lake)) == 2


def test_a_table_of_an_older_version_goes_on(spark, lake, tmp_path) -> None:
    older = spark.read.format("delta").load(str(lake)).drop("missing_since")
    older.write.format("delta").mode("overwrite").option("overwriteSchema", True).save(str(lake))
    assert run(tmp_path / "second.parquet", lake, "--missing", "mark") == 0
    rows = {row["product_id"]: row for row in spark.read.format("delta").load(str(lake)).collect()}
    assert {i for i in rows if rows[i]["missing_since"]} == {"4"}


# What a run says of its own accuracy


def test_a_run_estimates_its_accuracy(spark, lake, tmp_path, capsys) -> None:
    """Of all rows of the source, scored now or unchanged; those of a product that is gone do not count, nor those without words."""
    source = write_source(tmp_path / "more.parquet", {**SECOND, "7": "thing for the thing", "8": "?!"})
    capsys.readouterr()
    assert run(source, lake) == 0
    table = spark.read.format("delta").load(str(lake)).filter("product_id != '4' AND category IS NOT NULL")
    rows = [(row["status"], row["confidence"]) for row in table.collect()]
    sure = [confidence for status, confidence in rows if status == "categorized"]
    assert 0 < len(sure) < len(rows) == 6
    told = spark.read.format("delta").load(f"{lake}_runs").orderBy("started_at").collect()[-1]
    assert told["mean_confidence"] == pytest.approx(sum(confidence for _, confidence in rows) / len(rows))
    assert told["estimated_precision"] == pytest.approx(sum(sure) / len(sure))
    expected = f"estimated accuracy {told['mean_confidence']:.1%}; of the rows not in review {told['estimated_precision']:.1%}"
    assert expected in capsys.readouterr().out


def test_a_run_without_a_sure_row_estimates_no_precision(spark, tmp_path, capsys) -> None:
    assert run(write_source(tmp_path / "one.parquet", {"1": "thing for the thing"}), tmp_path / "new") == 0
    (told,) = spark.read.format("delta").load(f"{tmp_path}/new_runs").collect()
    assert (told["estimated_precision"], told["rows_review"]) == (None, 1)
    assert f"estimated accuracy {told['mean_confidence']:.1%}\n" in capsys.readouterr().out


@pytest.mark.parametrize("lost", [False, True])
def test_a_ledger_of_an_older_version_gets_the_new_column(spark, lake, tmp_path, lost) -> None:
    """Also where the next run first writes the row of one that the ledger has lost."""
    ledger_at = f"{lake}_runs"
    older = spark.read.format("delta").load(ledger_at).drop("estimated_precision")
    older.write.format("delta").mode("overwrite").option("overwriteSchema", True).save(ledger_at)
    if lost:
        spark.sql(f"DELETE FROM delta.`{ledger_at}`")
    assert run(tmp_path / "second.parquet", lake) == 0
    before, now = spark.read.format("delta").load(ledger_at).orderBy("started_at").collect()
    assert (before["estimated_precision"] is None) == (not lost)
    assert now["estimated_precision"] > 0.5
    assert before["mean_confidence"] > 0.5


# Dry runs and labels that change


@pytest.mark.parametrize("first", [True, False])
def test_a_dry_run_writes_nothing(spark, tmp_path, capsys, first) -> None:
    source = write_source(tmp_path / "first.parquet", FIRST, (None, "no id"))
    if not first:
        assert run(source, tmp_path / "lake") == 0
        write_source(tmp_path / "first.parquet", SECOND, (None, "no id"))
    before = sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    assert run(source, tmp_path / "lake", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "nothing was written" in said
    assert f"scored {4 if first else 3}" in said
    assert sorted(tmp_path.rglob("*")) == before


def test_labels_that_another_model_changes(spark, lake, tmp_path, tiny, capsys) -> None:
    capsys.readouterr()
    assert run(tmp_path / "first.parquet", lake, "--dry-run", model=tiny) == 0
    assert "labels of the model before" in capsys.readouterr().out
    assert run(tmp_path / "first.parquet", lake, model=tiny) == 0
    said = capsys.readouterr().out
    assert "of 4 rows moved" in said
    assert "before \\ now" in said
    rows = spark.read.format("delta").load(f"{lake}_runs").orderBy("started_at").collect()
    assert rows[0]["label_changes"] is None
    changes = rows[1]["label_changes"]
    assert sum(sum(row.values()) for row in changes.values()) == 4
    now = {row["product_id"]: row["category"] for row in spark.read.format("delta").load(str(lake)).collect()}
    before = {"1": "Household", "2": "Books", "3": "Electronics", "4": "Clothing & Accessories"}
    expected: dict[str, dict[str, int]] = {}
    for i in before:
        new = now[i] or "(none)"
        expected.setdefault(before[i], {})[new] = expected.get(before[i], {}).get(new, 0) + 1
    assert changes == expected


# Guardrails

STRICT = ("--guard-from-rows", "1")
ALL_BOOKS = {str(i): "detective novel, paperback" for i in range(1, 6)}


def test_a_night_held_back_and_released(spark, lake, tmp_path, capsys) -> None:
    odd = write_source(tmp_path / "odd.parquet", ALL_BOOKS, (None, "no id"), (None, "no id either"))
    version = versions(spark, lake)
    capsys.readouterr()
    assert run(odd, lake, *STRICT, "--missing", "delete") == 4
    error = capsys.readouterr().err
    assert "the shares of the categories drifted by" in error
    assert "the share rejected rose from 0.000 to 0.286 (limit +0.05)" in error
    assert len(error.strip().splitlines()) == 1
    assert versions(spark, lake) == version
    assert hashes_in(spark, lake) == titles_hash(FIRST)
    (_, _), (held, status) = ledger(spark, lake)
    assert status == "held"
    assert held in error
    candidate = spark.read.format("delta").load(f"{lake}_held")
    assert {row["category"] for row in candidate.collect() if not row["vanished"]} == {"Books"}
    assert run("anything", lake, "--publish-anyway", "another-run") == 2
    assert f"found the run {held}" in capsys.readouterr().err
    assert run("anything", lake, "--publish-anyway", held) == 0
    assert hashes_in(spark, lake) == titles_hash(ALL_BOOKS)
    assert ledger(spark, lake)[1:] == [(held, "published")]
    # Released is as good as published: the input is known, twice does nothing.
    for again in ((odd, lake, *STRICT, "--missing", "delete"), ("anything", lake, "--publish-anyway", held)):
        capsys.readouterr()
        assert run(*again) == 0
        assert "nothing to do" in capsys.readouterr().out
    assert spark.read.format("delta").load(f"{lake}_rejected").filter(f"run_id = '{held}'").count() == 2


def test_a_held_night_that_the_table_has_left_behind(spark, lake, tmp_path, capsys) -> None:
    odd = write_source(tmp_path / "odd.parquet", ALL_BOOKS)
    assert run(odd, lake, *STRICT) == 4
    held = ledger(spark, lake)[1][0]
    assert run(tmp_path / "second.parquet", lake) == 0
    capsys.readouterr()
    assert run(odd, lake, "--publish-anyway", held) == 2
    assert "found later changes in it" in capsys.readouterr().err
    assert hashes_in(spark, lake) == titles_hash({"4": FIRST["4"], **SECOND})


def test_a_dry_run_tells_that_a_night_would_be_held(lake, tmp_path, capsys) -> None:
    odd = write_source(tmp_path / "odd.parquet", ALL_BOOKS)
    assert run(odd, lake, *STRICT, "--dry-run") == 4
    assert "would be held back: the shares of the categories drifted" in capsys.readouterr().out
    assert not Path(f"{lake}_held").exists()


def test_guardrails_look_at_the_whole_table(spark, lake, tmp_path) -> None:
    """One changed row of four is all Books; among the scored rows alone that would be a drift."""
    one = write_source(tmp_path / "one.parquet", {**FIRST, "1": "electric kettle"})
    assert run(one, lake, *STRICT) == 0
    assert spark.read.format("delta").load(f"{lake}_runs").orderBy("started_at").collect()[-1]["drift"] == pytest.approx(0)


# Rollback


def test_back_to_a_run_and_forth_again(spark, lake, tmp_path, capsys) -> None:
    assert run(tmp_path / "second.parquet", lake) == 0
    (first, _), (second, _) = ledger(spark, lake)
    assert rollback("--target", lake, "--to", first) == 0
    assert hashes_in(spark, lake) == titles_hash(FIRST)
    assert [status for _, status in ledger(spark, lake)] == ["published", "published", "rolled back"]
    capsys.readouterr()
    # The input of the restored rows has nothing to do, that of the other night has.
    assert run(tmp_path / "first.parquet", lake) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert rollback("--target", lake, "--to", first) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert rollback("--target", lake, "--to", second) == 0
    assert hashes_in(spark, lake) == titles_hash({"4": FIRST["4"], **SECOND})
    assert run(tmp_path / "first.parquet", lake) == 0
    assert hashes_in(spark, lake) == titles_hash({**SECOND, **FIRST})


@pytest.mark.parametrize(
    ("arguments", "code", "because"),
    [
        (("--target", "LAKE", "--to", "99"), 2, "Expected the version or the run '99' in the history"),
        (("--target", "LAKE", "--to", "a-run"), 2, "Expected the version or the run 'a-run'"),
        (("--target", "nowhere/at/all", "--to", "1"), 2, "Expected a table at nowhere/at/all"),
        (("--to", "1"), 2, "Expected one of --target and --model"),
        (("--target", "LAKE", "--model", "m", "--to", "1"), 2, "Expected one of --target and --model"),
        (("--target", "LAKE"), 2, "Expected --to"),
        (("--model", "nowhere", "--to", "1"), 3, "Expected a version of nowhere"),
    ],
)
def test_a_rollback_that_cannot_be(spark, lake, capsys, arguments, code, because) -> None:
    before = versions(spark, lake)
    assert rollback(*(str(lake) if word == "LAKE" else word for word in arguments)) == code
    assert because in capsys.readouterr().err
    assert versions(spark, lake) == before


def test_a_rollback_to_files_that_are_gone(spark, lake, tmp_path, capsys) -> None:
    assert run(tmp_path / "second.parquet", lake, "--mode", "full") == 0
    spark.conf.set("spark.databricks.delta.retentionDurationCheck.enabled", False)
    try:
        spark.sql(f"VACUUM delta.`{lake}` RETAIN 0 HOURS")
    finally:
        spark.conf.unset("spark.databricks.delta.retentionDurationCheck.enabled")
    before = versions(spark, lake)
    assert rollback("--target", lake, "--to", ledger(spark, lake)[0][0]) == 2
    assert "found some gone (vacuumed)" in capsys.readouterr().err
    assert versions(spark, lake) == before


def test_current_goes_back(tiny, tmp_path, capsys) -> None:
    shutil.copytree(tiny, tmp_path / "models")
    version = (tmp_path / "models" / "current").read_text().strip()
    shutil.copytree(tmp_path / "models" / version, tmp_path / "models" / "newer")
    (tmp_path / "models" / "current").write_text("newer\n")
    assert rollback("--model", tmp_path / "models", "--to", version) == 0
    assert (tmp_path / "models" / "current").read_text() == f"{version}\n"
    assert f"current says {version} (before: newer)" in capsys.readouterr().out
    assert rollback("--model", tmp_path / "models", "--to", "gone") == 3


# Upkeep


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
    # The first night's files are still there for a reader or a rollback.
    assert {*data, young} <= set(lake.glob("*.parquet"))
    assert not old.exists()
    assert rollback("--target", lake, "--to", ledger(spark, lake)[0][0]) == 0
    assert hashes_in(spark, lake) == titles_hash(FIRST)


@pytest.mark.parametrize(
    ("arguments", "because"),
    [
        (("--retain-hours", "1"), "Expected at least 168 hours"),
        (("--cluster-by", "colour"), "found colour"),
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
    """From so many small files on a run packs its tables; the nights behind it go on as before."""
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


# Change feeds


@pytest.mark.parametrize("from_the_start", [True, False])
def test_changes_of_the_target_can_be_read(spark, lake, tmp_path, from_the_start) -> None:
    target = tmp_path / "fed" if from_the_start else lake
    if from_the_start:
        assert run(tmp_path / "first.parquet", target, "--change-data-feed") == 0
    assert run(tmp_path / "second.parquet", target, "--change-data-feed") == 0
    version = delta_table(spark, locate(spark, str(target))).history(1).collect()[0]["version"]
    changes = spark.read.format("delta").options(readChangeFeed=True, startingVersion=version).load(str(target))
    assert {(row["product_id"], row["_change_type"]) for row in changes.collect()} == {
        ("2", "update_preimage"),
        ("2", "update_postimage"),
        ("5", "insert"),
        ("6", "insert"),
    }


def test_a_source_with_a_change_feed_is_read_from_the_last_version(spark, tmp_path, monkeypatch, clocks) -> None:
    source, lake = tmp_path / "catalogue", tmp_path / "lake"
    spark.sql(
        f"CREATE TABLE delta.`{source}` (product_id string, title string) USING delta TBLPROPERTIES (delta.enableChangeDataFeed = true)"
    )
    many = {f"p{i}": f"steel kettle {i}" for i in range(50)}
    spark.createDataFrame(list(many.items()), "product_id string, title string").write.format("delta").mode("append").save(
        str(source)
    )
    assert run(source, lake) == 0
    fed = []

    from lib.scoring.run import _feed as feed_of

    def watched_feed(*arguments):
        fed.append(feed_of(*arguments))
        return fed[-1]

    monkeypatch.setattr("lib.scoring.run._feed", watched_feed)
    spark.sql(f"UPDATE delta.`{source}` SET title = 'garden chair' WHERE product_id = 'p3'")
    spark.sql(f"INSERT INTO delta.`{source}` VALUES ('new', 'lamp'), ('p5', 'a copy of p5')")
    spark.sql(f"DELETE FROM delta.`{source}` WHERE product_id = 'p4'")
    assert run(source, lake, "--missing", "mark") == 0
    assert fed[-1] is not None
    assert {row["changed_id"] for row in fed[-1].collect()} == {"p3", "p4", "p5", "new"}
    # Of p5 either copy may be the one that is kept.
    assert clocks[-1].texts in (2, 3)
    rows = {row["product_id"]: row for row in spark.read.format("delta").load(str(lake)).collect()}
    assert rows["p3"]["text_hash"] == titles_hash({"p3": "garden chair"})["p3"]
    assert {i for i in rows if rows[i]["missing_since"]} == {"p4"}
    # An older night: the feed leads only forward, so the texts are compared.
    spark.sql(f"RESTORE TABLE delta.`{source}` TO VERSION AS OF 1")
    assert run(source, lake, "--missing", "mark") == 0
    rows = {row["product_id"]: row for row in spark.read.format("delta").load(str(lake)).collect()}
    assert rows["p3"]["text_hash"] == titles_hash(many)["p3"]
    assert {i for i in rows if rows[i]["missing_since"]} == {"new"}


def test_a_row_lost_from_the_table_comes_back_beside_a_change_feed(spark, tmp_path) -> None:
    source, lake = tmp_path / "catalogue", tmp_path / "lake"
    spark.sql(
        f"CREATE TABLE delta.`{source}` (product_id string, title string) USING delta TBLPROPERTIES (delta.enableChangeDataFeed = true)"
    )
    spark.createDataFrame(list(FIRST.items()), "product_id string, title string").write.format("delta").mode("append").save(
        str(source)
    )
    assert run(source, lake) == 0
    spark.sql(f"DELETE FROM delta.`{lake}` WHERE product_id = '2'")
    spark.sql(f"INSERT INTO delta.`{source}` VALUES ('new', 'lamp')")
    assert run(source, lake) == 0
    assert hashes_in(spark, lake) == titles_hash({**FIRST, "new": "lamp"})


def test_a_run_that_the_ledger_missed_is_told_by_the_next_night_too(spark, lake, tmp_path, capsys) -> None:
    (before,) = ledger(spark, lake)
    spark.sql(f"DELETE FROM delta.`{lake}_runs`")
    assert run(tmp_path / "second.parquet", lake) == 0
    assert f"the ledger now knows the run {before[0]} too" in capsys.readouterr().out
    assert ledger(spark, lake)[0] == before
    assert len(ledger(spark, lake)) == 2


# What a run leaves behind


@pytest.mark.parametrize("mode", ["incremental", "full"])
def test_a_run_keeps_nothing_in_its_session(spark, lake, tmp_path, mode) -> None:
    def kept() -> list[str]:
        frames = (entry.getValue() for entry in spark.sparkContext._jsc.getPersistentRDDs().entrySet())
        return [str(frame.name()) for frame in frames if not str(frame.name()).startswith("Delta Table State")]

    before = kept()
    assert run(tmp_path / "second.parquet", lake, "--mode", mode, "--missing", "mark") == 0
    assert kept() == before
