"""Change feeds: the target's for readers, the source's to compare only what changed."""

from __future__ import annotations

import shutil

import pytest

from lib.tables.locations import delta_table, locate
from tests.faults.nights import FIRST, hashes_in, run, titles_hash

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


@pytest.mark.fault(
    "the text column of a Delta source with a change feed is dropped and added again, empty, under its old name",
    "all rows are read anew, and have no text",
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
    "a Delta source is brought back from a copy, and counts the same versions anew with other rows",
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
