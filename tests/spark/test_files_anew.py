"""Changed rows put into a table by rewriting the files that contain them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.tables import transactions
from lib.tables.locations import Location, delta_table, locate
from lib.tables.publish import is_conflict
from lib.tables.transactions import replace_rows

SCHEMA = "product_id string, category string, vanished boolean"
CHANGES = [("3", "Books", False), ("new", "Books", False), ("5", "None", True)]


@pytest.fixture
def target(spark, tmp_path: Path) -> Location:
    """Twenty products in four files, in a folder whose name is not a plain URI."""
    folder = str(tmp_path / "a lake, 100 %")
    rows = spark.range(20).selectExpr("CAST(id AS string) product_id", "'Household' category")
    rows.repartitionByRange(4, "product_id").write.format("delta").save(folder)
    return locate(spark, folder)


def replaced(spark, target: Location, keep_vanished: bool = False, version: int = 0) -> bool:
    return replace_rows(
        spark.createDataFrame(CHANGES, SCHEMA), len(CHANGES), "vanished", keep_vanished, target, version, version + 1
    )


def rows_in(spark, target: Location) -> dict[str, str]:
    rows = delta_table(spark, target).toDF().select("product_id", "category").collect()
    assert len({row[0] for row in rows}) == len(rows)
    return dict(map(tuple, rows))


def data_files(target: Location) -> set[str]:
    return {file.name for file in Path(target.given).glob("**/*.parquet")}


def files_of(spark, target: Location) -> set[str]:
    return {Path(file).name for file in delta_table(spark, target).toDF().inputFiles()}


def operations(spark, target: Location) -> list[str]:
    return [row["operation"] for row in delta_table(spark, target).history().collect()]


BEFORE = {str(number): "Household" for number in range(20)}
BEHIND = {**{name: category for name, category in BEFORE.items() if name != "5"}, "3": "Books", "new": "Books"}


def test_rows_are_exchanged_added_and_removed(spark, target) -> None:
    assert replaced(spark, target)
    assert rows_in(spark, target) == BEHIND
    assert operations(spark, target) == ["MERGE", "WRITE"]


def test_rows_that_stand_as_they_are_given(spark, target) -> None:
    assert replaced(spark, target, keep_vanished=True)
    assert rows_in(spark, target) == {**BEHIND, "5": "None"}


def test_only_files_that_hold_such_a_row_are_written(spark, target) -> None:
    before = data_files(target)
    assert replaced(spark, target)
    # 3 and 5 are in two of the four; few rows make one file.
    standing = files_of(spark, target)
    assert (len(standing & before), len(standing - before)) == (2, 1)


def test_many_rows_are_written_in_many_tasks(spark, target, monkeypatch) -> None:
    """Their number is that of the files' rows, not of the changed ones."""
    before = data_files(target)
    monkeypatch.setattr(transactions, "ROWS_PER_TASK", 4)
    assert replaced(spark, target)
    assert len(files_of(spark, target) - before) == 2
    assert rows_in(spark, target) == BEHIND


def test_a_table_with_partitions_keeps_them(spark, tmp_path) -> None:
    folder = str(tmp_path / "parted")
    rows = spark.range(20).selectExpr("CAST(id AS string) product_id", "IF(id % 2 = 0, 'Household', 'a/b=c d') category")
    rows.write.format("delta").partitionBy("category").save(folder)
    target = locate(spark, folder)
    assert replaced(spark, target)
    found = rows_in(spark, target)
    assert (found["3"], found["new"], found["7"], found["8"]) == ("Books", "Books", "a/b=c d", "Household")
    assert len(found) == 20
    assert delta_table(spark, target).detail().head()["partitionColumns"] == ["category"]


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE {} SET TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true')",
        "ALTER TABLE {} SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')",
        "ALTER TABLE {} ADD COLUMN note string",
    ],
    ids=["change feed", "deletion vectors", "a column of another hand"],
)
def test_a_table_that_holds_more_is_left_to_the_merge(spark, target, statement: str) -> None:
    spark.sql(statement.format(target.sql))
    before = data_files(target), operations(spark, target)
    assert not replaced(spark, target, version=1)
    assert (data_files(target), operations(spark, target)) == before


def test_too_many_ids_are_left_to_the_merge(spark, target, monkeypatch) -> None:
    monkeypatch.setattr(transactions, "MOST_IDS_TO_BROADCAST", 2)
    assert not replaced(spark, target)


@pytest.mark.parametrize(
    "between",
    ["INSERT INTO {} VALUES ('other', 'Toys')", "DELETE FROM {} WHERE product_id = '12'", "UPDATE {} SET category = 'Toys'"],
)
def test_nothing_is_written_behind_another_s_change(spark, target, between: str) -> None:
    spark.sql(between.format(target.sql))
    before = rows_in(spark, target)
    with pytest.raises(Exception, match=r"DELTA_CONCURRENT|ConcurrentModification") as refused:
        replaced(spark, target)
    assert is_conflict(refused.value)
    assert rows_in(spark, target) == before
