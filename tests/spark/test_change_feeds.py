"""Change feeds: the target's for readers, the source's to compare only what changed."""

from __future__ import annotations

import math
import shutil
from random import Random

import pytest

from lib.scoring.changes import read_feed, select_changes
from lib.scoring.selection import Selection, Turnover
from lib.tables.commits import read_state
from lib.tables.locations import delta_table, locate
from tests.faults.nights import FIRST, hashes_in, run, titles_hash
from tests.spark.both_ways import are_equal


def ledger_row(spark, target) -> dict:
    return spark.read.format("delta").load(f"{target}_runs").orderBy("started_at", ascending=False).head().asDict()


pytestmark = pytest.mark.usefixtures("spark")


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


COLUMNS = "(product_id string, title string, price double) USING delta TBLPROPERTIES"
FED = f"{COLUMNS} (delta.enableChangeDataFeed = true)"
PLAIN = f"{COLUMNS} (delta.enableDeletionVectors = true)"
WORDS = ["steel kettle", "garden chair", "usb cable", "detective novel", "cotton shirt", "blue jeans", "yoga mat", ""]


@pytest.fixture
def selections(monkeypatch) -> list[Selection | None]:
    """What the change feed returned to each run that read it; None where it was not enough."""
    seen = []

    def watched(*arguments):
        seen.append(select_changes(*arguments))
        return seen[-1]

    monkeypatch.setattr("lib.scoring.strategy.select_changes", watched)
    return seen


def change(spark, source, random) -> None:
    """One commit on the source, of a kind that keeps one row per id, or seldom of one that does not."""
    every = [row["product_id"] for row in spark.read.format("delta").load(str(source)).select("product_id").collect()]
    ids = sorted({one for one in every if one and every.count(one) == 1})
    if len(ids) < len(every):
        spark.sql(f"DELETE FROM delta.`{source}` WHERE product_id IS NULL OR product_id NOT IN ({', '.join(map(repr, ids))})")
    some, text, price = random.sample(ids, min(3, len(ids))), random.choice(WORDS), random.choice(["1.5", "2", "NULL"])
    listed = ", ".join(f"'{one}'" for one in some)
    newest = delta_table(spark, locate(spark, str(source))).history(1).head()["version"]
    fresh = random.choice([f"n{random.randrange(20)}", f"p{random.randrange(40)}"])
    kinds = {
        "update": f"UPDATE delta.`{source}` SET title = '{text}' WHERE product_id IN ({listed})",
        "same": f"UPDATE delta.`{source}` SET title = title, price = price WHERE product_id IN ({listed})",
        "price": f"UPDATE delta.`{source}` SET price = {price} WHERE product_id IN ({listed})",
        "delete": f"DELETE FROM delta.`{source}` WHERE product_id IN ({listed})",
        "replace": f"INSERT INTO delta.`{source}` REPLACE WHERE product_id = '{some[0]}' VALUES ('{some[0]}', '{text}', {price})",
        "overwrite": f"INSERT OVERWRITE delta.`{source}` SELECT * FROM delta.`{source}`",
        "insert": f"INSERT INTO delta.`{source}` VALUES ('{fresh}', '{text}', {price})",
        "another id": f"UPDATE delta.`{source}` SET product_id = 'x{random.randrange(9999)}' WHERE product_id = '{some[0]}'",
        "optimize": f"OPTIMIZE delta.`{source}`",
        "restore": f"RESTORE TABLE delta.`{source}` TO VERSION AS OF {random.randint(1, newest)}",
        "vectors": f"ALTER TABLE delta.`{source}` SET TBLPROPERTIES (delta.enableDeletionVectors = {random.choice(['true', 'false'])})",
        "copy": f"INSERT INTO delta.`{source}` VALUES ('{some[0]}', '{text}', {price})",
        "no id": f"INSERT INTO delta.`{source}` VALUES (NULL, '{text}', {price})",
    }
    weights = [4, 2, 2, 2, 2, 1, 4, 1, 0.5, 0.5, 0.5, 0.5, 0.5]
    kind = random.choices(list(kinds), weights)[0]
    if kind == "insert" and fresh in every:
        kind = "update"
    spark.sql(kinds[kind])


@pytest.mark.parametrize(("missing", "kind"), [("keep", FED), ("mark", PLAIN), ("delete", FED)])
def test_a_night_from_what_changed_is_as_one_that_compares_all_rows(
    spark, tmp_path, monkeypatch, selections, missing, kind
) -> None:
    """Random changes of a source, two tables of it: one from what changed, one from all rows. Rows and what is recorded of them are equal."""
    random, source = Random(f"feed {missing}"), tmp_path / "catalogue"
    spark.sql(f"CREATE TABLE delta.`{source}` {kind}")
    first = [(f"p{i}", random.choice(WORDS), float(i)) for i in range(30)]
    spark.createDataFrame(first, "product_id string, title string, price double").write.format("delta").mode("append").save(
        str(source)
    )
    monkeypatch.setattr("lib.scoring.changes.MOST_AGED", math.inf)
    options = ("--missing", missing, "--carry", "price", "--guard-removed", "inf", "--guard-rows", "inf")
    for _ in range(4):
        for lake in ("fed", "plain"):
            with pytest.MonkeyPatch.context() as patch:
                if lake == "plain":
                    patch.setattr("lib.scoring.strategy._changes", lambda *_: None)
                assert run(source, tmp_path / lake, *options) == 0
        are_equal(spark, tmp_path / "fed", tmp_path / "plain")
        for _ in range(random.randrange(1, 5)):
            change(spark, source, random)
    assert sum(selection is not None for selection in selections) >= 2


def test_a_night_from_the_feed_reads_what_came_and_went(spark, tmp_path, selections, clocks) -> None:
    source, lake = tmp_path / "catalogue", tmp_path / "lake"
    spark.sql(f"CREATE TABLE delta.`{source}` {FED}")
    many = {f"p{i}": f"steel kettle {i}" for i in range(50)}
    spark.createDataFrame(list(many.items()), "product_id string, title string").selectExpr(
        "*", "CAST(1 AS double) AS price"
    ).write.format("delta").mode("append").save(str(source))
    assert run(source, lake) == 0
    spark.sql(f"UPDATE delta.`{source}` SET title = 'garden chair' WHERE product_id = 'p3'")
    spark.sql(f"INSERT INTO delta.`{source}` VALUES ('new', 'lamp', 2), ('brief', 'lamp', 2)")
    spark.sql(f"DELETE FROM delta.`{source}` WHERE product_id IN ('p4', 'brief')")
    assert run(source, lake, "--missing", "keep") == 0
    selection = selections[-1]
    assert (selection.census.rows, selection.unchanged.ids, clocks[-1].texts) == (50, 48, 2)
    assert selection.turnover == Turnover(came=1, gone=1, ids=50, aged=2)
    assert hashes_in(spark, lake) == titles_hash({**many, "p3": "garden chair", "new": "lamp"})
    # A product that comes back is not a copy; one that is still there is.
    spark.sql(f"INSERT INTO delta.`{source}` VALUES ('p4', 'steel kettle 4', 1)")
    assert run(source, lake) == 0
    assert (selections[-1].census.rows, selections[-1].unchanged.ids, clocks[-1].texts) == (51, 51, 0)
    spark.sql(f"INSERT INTO delta.`{source}` VALUES ('p5', 'a copy of p5', 1)")
    assert run(source, lake) == 0
    assert selections[-1] is None
    assert ledger_row(spark, lake)["rows_rejected"] == 1
    # An older version: the feed leads only forward, so all rows are compared.
    asked = len(selections)
    spark.sql(f"RESTORE TABLE delta.`{source}` TO VERSION AS OF 1")
    assert run(source, lake) == 0
    assert len(selections) == asked
    assert hashes_in(spark, lake) == titles_hash({**many, "new": "lamp"})


def test_of_a_source_without_a_feed_the_files_that_changed_are_read(spark, tmp_path, selections, monkeypatch, capsys) -> None:
    source, lake = tmp_path / "catalogue", tmp_path / "lake"
    spark.sql(f"CREATE TABLE delta.`{source}` {COLUMNS} (delta.enableChangeDataFeed = false)")
    for part in ("p", "q"):
        spark.sql(f"INSERT INTO delta.`{source}` SELECT concat('{part}', id), 'lamp', 1 FROM range(0, 40, 1, 1)")
    assert run(source, lake) == 0
    seen = []

    def watched(changes, *more):
        seen.append(changes.count())
        return read_feed(changes, *more)

    monkeypatch.setattr("lib.scoring.strategy.read_feed", watched)
    spark.sql(f"UPDATE delta.`{source}` SET title = 'garden chair' WHERE product_id = 'q7'")
    spark.sql(f"INSERT INTO delta.`{source}` VALUES ('new', 'usb cable', 1)")
    assert run(source, lake) == 0
    # The file of q as it was and as it is, and the new one.
    assert seen == [81]
    assert selections[-1].unchanged.ids == 79
    titles = {f"{part}{i}": "lamp" for part in "pq" for i in range(40)}
    titles |= {"q7": "garden chair", "new": "usb cable"}
    assert hashes_in(spark, lake) == titles_hash(titles)
    # The old file is gone: all rows are compared.
    spark.sql(f"UPDATE delta.`{source}` SET title = 'garden chair' WHERE product_id = 'p7'")
    living = {
        row["file"] for row in spark.read.format("delta").load(str(source)).selectExpr("input_file_name() AS file").collect()
    }
    for file in source.glob("*.parquet"):
        if not any(one.endswith(file.name) for one in living):
            file.unlink()
    assert run(source, lake) == 0
    assert "cannot be read (vacuumed): all rows are compared" in capsys.readouterr().out
    assert hashes_in(spark, lake) == titles_hash({**titles, "p7": "garden chair"})


def test_all_ids_are_compared_again_when_many_have_come_and_gone(spark, tmp_path, selections) -> None:
    source, lake = tmp_path / "catalogue", tmp_path / "lake"
    spark.sql(f"CREATE TABLE delta.`{source}` {FED}")
    spark.sql(f"INSERT INTO delta.`{source}` SELECT concat('p', id), 'lamp', 1 FROM range(40)")
    assert run(source, lake) == 0
    sketch = read_state(spark, locate(spark, str(lake))).sketch
    aged = []
    for night in range(3):
        spark.sql(f"INSERT INTO delta.`{source}` VALUES ('a{night}', 'lamp', 1), ('b{night}', 'lamp', 1)")
        assert run(source, lake) == 0
        aged.append(selections[-1] and selections[-1].turnover.aged)
        assert (read_state(spark, locate(spark, str(lake))).sketch == sketch) is (night < 2)
    assert aged == [2, 4, None]


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


@pytest.mark.fault(
    "the text column of a Delta source with a change feed is dropped and added again, empty, under its old name",
    "all rows are read again, and have no text",
    "all rows without a text",
)
def test_a_column_that_is_dropped_and_added_again_is_another(spark, tmp_path) -> None:
    source, lake = tmp_path / "catalogue", tmp_path / "lake"
    properties = "(delta.enableChangeDataFeed = true, delta.columnMapping.mode = 'name')"
    spark.sql(f"CREATE TABLE delta.`{source}` (product_id string, title string) USING delta TBLPROPERTIES {properties}")
    spark.sql(f"INSERT INTO delta.`{source}` VALUES ('1', 'steel kettle'), ('2', 'detective novel')")
    assert run(source, lake) == 0
    spark.sql(f"ALTER TABLE delta.`{source}` DROP COLUMN title")
    spark.sql(f"ALTER TABLE delta.`{source}` ADD COLUMN title string")
    assert run(source, lake) == 0
    assert hashes_in(spark, lake) == titles_hash(dict.fromkeys("12"))


@pytest.mark.fault(
    "a Delta source is restored from a copy, and uses the same version numbers again with other rows",
    "the rows of today's version, with and without a change feed",
    "the rows of today's version",
)
@pytest.mark.parametrize("fed", ["true", "false"])
def test_a_source_brought_back_from_a_copy_counts_its_versions_anew(spark, tmp_path, fed) -> None:
    source, lake, copy = tmp_path / "catalogue", tmp_path / "lake", tmp_path / "copy"
    properties = f"(delta.enableChangeDataFeed = {fed})"
    spark.sql(f"CREATE TABLE delta.`{source}` (product_id string, title string) USING delta TBLPROPERTIES {properties}")
    spark.sql(f"INSERT INTO delta.`{source}` VALUES ('1', 'steel kettle'), ('2', 'detective novel')")
    shutil.copytree(source, copy)
    spark.sql(f"UPDATE delta.`{source}` SET title = 'wooden chair' WHERE product_id = '1'")
    assert run(source, lake) == 0
    shutil.rmtree(source)
    copy.rename(source)
    spark.sql("CLEAR CACHE")
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
    spark.sql(f"UPDATE delta.`{source}` SET title = 'usb cable' WHERE product_id = '1'")
    assert run(source, lake) == 0
    assert hashes_in(spark, lake) == titles_hash({"1": "usb cable", "2": "detective novel"})
    spark.sql(f"INSERT INTO delta.`{source}` VALUES ('3', 'lamp')")
    assert run(source, lake) == 0
    assert hashes_in(spark, lake) == titles_hash({"1": "usb cable", "2": "detective novel", "3": "lamp"})
