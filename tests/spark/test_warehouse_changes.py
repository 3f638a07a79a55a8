"""The changes between two versions, from the data files that only one of them has."""

from __future__ import annotations

from random import Random

import pytest

from lib.tables.feeds import rows_apart
from lib.tables.locations import locate, newest_snapshot, rows_at, rows_counted
from lib.warehouse.changes import OPERATION, compared

COLUMNS = "(product_id string, title string, scores map<string, float>) USING delta TBLPROPERTIES"


def put(spark, lake, ids) -> None:
    rows = ", ".join(f"('{i}', 'kettle {i}', map('a', float({len(i)})))" for i in ids)
    spark.sql(f"INSERT INTO delta.`{lake}` VALUES {rows}")


def as_set(rows) -> set[tuple[str, ...]]:
    found = [(row["product_id"], row[OPERATION], row["title"], str(row["scores"])) for row in rows.collect()]
    assert len(set(found)) == len(found)
    return set(found)


@pytest.mark.parametrize("vectors", ["true", "false"])
def test_it_is_what_all_rows_of_both_tell(spark, tmp_path, monkeypatch, vectors) -> None:
    lake, random = tmp_path / "lake", Random(vectors)
    spark.sql(f"CREATE TABLE delta.`{lake}` {COLUMNS} ('delta.enableDeletionVectors' = '{vectors}')")
    for start in (0, 10, 20):
        put(spark, lake, [str(i) for i in range(start, start + 10)])
    table = locate(spark, str(lake))
    for number in range(3):
        since = int(newest_snapshot(spark, table).version())
        gone, changed = random.sample(range(30), 2)
        spark.sql(f"DELETE FROM delta.`{lake}` WHERE product_id = '{gone}'")
        spark.sql(f"UPDATE delta.`{lake}` SET title = title, scores = map('b', float({number})) WHERE product_id = '{changed}'")
        spark.sql(f"UPDATE delta.`{lake}` SET title = title WHERE product_id IN ('1', '11')")
        put(spark, lake, [f"n{number}"])
        version = int(newest_snapshot(spark, table).version())
        with monkeypatch.context() as patch:
            # The newest version needs no query.
            patch.setattr("lib.tables.locations.rows_at", None)
            counted = rows_counted(spark, table, version)
        assert counted == rows_at(spark, table, version).count()
        assert rows_counted(spark, table, since) == rows_at(spark, table, since).count()
        found = as_set(compared(spark, table, since, version))
        with monkeypatch.context() as patch:
            patch.setattr("lib.warehouse.changes.rows_apart", lambda *_: None)
            assert found == as_set(compared(spark, table, since, version))
        assert f"n{number}" in {row[0] for row in found}


def test_files_that_both_have_are_not_read(spark, tmp_path) -> None:
    lake = tmp_path / "lake"
    spark.sql(f"CREATE TABLE delta.`{lake}` {COLUMNS} ('delta.enableDeletionVectors' = 'false')")
    put(spark, lake, ["1", "2"])
    put(spark, lake, ["3"])
    table = locate(spark, str(lake))
    went, came = rows_apart(spark, table, 1, 2)
    assert ([row[0] for row in went.collect()], [row[0] for row in came.collect()]) == ([], ["3"])
    spark.sql(f"UPDATE delta.`{lake}` SET title = 'another' WHERE product_id = '3'")
    went, came = rows_apart(spark, table, 2, 3)
    assert ([row[1] for row in went.collect()], [row[1] for row in came.collect()]) == (["kettle 3"], ["another"])


def test_a_column_added_again_holds_nothing_of_before(spark, tmp_path) -> None:
    lake = tmp_path / "lake"
    spark.sql(f"CREATE TABLE delta.`{lake}` {COLUMNS} ('delta.enableDeletionVectors' = 'false')")
    put(spark, lake, ["1", "2"])
    table = locate(spark, str(lake))
    spark.sql(f"ALTER TABLE delta.`{lake}` SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name')")
    assert rows_apart(spark, table, 1, 2) is not None
    spark.sql(f"ALTER TABLE delta.`{lake}` DROP COLUMN title")
    spark.sql(f"ALTER TABLE delta.`{lake}` ADD COLUMNS (title string)")
    assert {row[:3] for row in as_set(compared(spark, table, 2, 4))} == {("1", "put", None), ("2", "put", None)}


def test_a_column_of_any_name(spark, tmp_path) -> None:
    lake, names = tmp_path / "lake", ("_hash", "old_hash", "row", "id", "hash", "old_id", "newest")
    rows = [("1", *(name.upper() for name in names)), ("2", *names)]
    for changed in (rows, [rows[0], ("3", *names)]):
        spark.createDataFrame(changed, ["product_id", *names]).write.format("delta").mode("overwrite").save(str(lake))
    spark.sql(f"UPDATE delta.`{lake}` SET _hash = 'another' WHERE product_id = '1'")
    found = {row["product_id"]: row for row in compared(spark, locate(spark, str(lake)), 0, 2).collect()}
    assert {i: row[OPERATION] for i, row in found.items()} == {"1": "put", "2": "del", "3": "put"}
    assert [found["1"][name] for name in names] == ["another", *(name.upper() for name in names[1:])]
