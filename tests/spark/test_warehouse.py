"""The warehouse has the rows of the table: real PostgreSQL, real Delta."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.corrections import correct
from tests.faults.nights import FIRST, SECOND, ledger, run, titles_hash, vacuum_all, write_source
from tests.spark.conftest import rollback
from tests.spark.test_maintain import maintain
from tests.warehouse import TABLE, ask, hashes_there, publish, state

pytestmark = pytest.mark.usefixtures("spark")


def rows_of(spark, lake: Path) -> dict[str, tuple[Any, ...]]:
    """By id, the row as a reader of the lake sees it."""
    rows = spark.read.format("delta").load(str(lake)).collect()
    return {
        row["product_id"]: (row["text_hash"], row["confidence"], row["scores"], row["run_id"], row["status"]) for row in rows
    }


def rows_in(to: str) -> dict[str, tuple[Any, ...]]:
    rows = ask(to, f"SELECT product_id, text_hash, confidence, scores, run_id, status FROM {TABLE}")
    return {row[0]: (row[1], pytest.approx(row[2]), row[3] and pytest.approx(row[3], rel=1e-6), *row[4:]) for row in rows}


@pytest.mark.parametrize("feed", [(), ("--change-data-feed",)])
def test_what_changed_comes_behind_all_rows(spark, tmp_path, database, capsys, feed) -> None:
    lake = tmp_path / "lake"
    assert run(write_source(tmp_path / "in.parquet", FIRST), lake, *feed) == 0
    assert publish(lake, database) == 0
    assert "4 inserted, 0 updated, 0 deleted; all rows, for the first time" in capsys.readouterr().out
    assert rows_in(database) == rows_of(spark, lake)
    assert run(write_source(tmp_path / "in.parquet", SECOND), lake, "--missing", "delete", *feed) == 0
    assert publish(lake, database, "--verify") == 0
    said = capsys.readouterr().out
    assert "2 inserted, 1 updated, 1 deleted" in said
    assert ("its change feed" if feed else "a comparison of both versions") in said
    assert "verified: 5 rows are as in version" in said
    assert rows_in(database) == rows_of(spark, lake)
    assert state(database)[1:] == (ledger(spark, lake)[-1][0], 5, 2, 1, 1)
    published = ask(database, f"SELECT published_at FROM {TABLE}_published")
    assert publish(lake, database) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert ask(database, f"SELECT published_at FROM {TABLE}_published") == published
    # A rollback, and maintenance.
    assert rollback("--target", lake, "--to", ledger(spark, lake)[0][0]) == 0
    assert publish(lake, database, "--verify") == 0
    assert rows_in(database) == rows_of(spark, lake)
    assert rows_in(database).keys() == FIRST.keys()
    for i in range(2):
        assert run(write_source(tmp_path / "in.parquet", {**FIRST, f"n{i}": "desk lamp"}), lake) == 0
    assert publish(lake, database) == 0
    assert maintain("--target", lake) == 0
    capsys.readouterr()
    assert publish(lake, database, "--verify") == 0
    said = capsys.readouterr().out
    assert "0 inserted, 0 updated, 0 deleted; no row, since only maintenance" in said
    assert "verified: 6 rows" in said


def test_all_rows_come_anew_where_what_changed_cannot_be_told(spark, lake, tmp_path, database, capsys) -> None:
    assert publish(lake, database) == 0
    assert run(tmp_path / "second.parquet", lake, "--mode", "full", "--missing", "delete") == 0
    vacuum_all(spark, lake)
    assert publish(lake, database) == 0
    assert "can no longer be read (vacuumed)" in capsys.readouterr().out
    assert hashes_there(database) == titles_hash(SECOND)
    # Recreated, with another column.
    shutil.rmtree(lake)
    shutil.rmtree(f"{lake}_runs")
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
    assert run(tmp_path / "first.parquet", lake, "--mode", "full", "--carry", "title") == 0
    assert publish(lake, database, "--verify") == 0
    assert "1 inserted, 3 updated, 2 deleted; all rows, since the table was recreated" in capsys.readouterr().out
    assert dict(ask(database, f"SELECT product_id, title FROM {TABLE}")) == FIRST
    # A column that is no longer carried is dropped, unless something depends on it; columns that a user has added stay.
    ask(database, f"ALTER TABLE {TABLE} ADD COLUMN note text DEFAULT 'mine'")
    ask(database, f"CREATE VIEW catalog.titles AS SELECT title FROM {TABLE}")
    assert run(tmp_path / "first.parquet", lake, "--mode", "full") == 0
    capsys.readouterr()
    assert publish(lake, database) == 2
    assert "Expected nothing else to depend on a column of catalog.products" in capsys.readouterr().err
    ask(database, "DROP VIEW catalog.titles")
    assert publish(lake, database) == 0
    assert "since its columns have changed" in capsys.readouterr().out
    assert ask(database, f"SELECT DISTINCT to_jsonb(p) ? 'title', note FROM {TABLE} p") == [(False, "mine")]


def test_verify_finds_what_another_hand_has_changed(lake, tmp_path, database, capsys) -> None:
    assert publish(lake, database) == 0
    ask(database, f"UPDATE {TABLE} SET confidence = confidence / 2, category = 'Toys' WHERE product_id = '2'")
    ask(database, f"UPDATE {TABLE} SET product_id = '0' WHERE product_id = '4'")
    capsys.readouterr()
    assert publish(lake, database, "--verify") == 4
    said = capsys.readouterr().err
    assert "it also has 1 row (such as '0')" in said
    assert "it lacks 1 row (such as '4')" in said
    assert "it differs in 1 row (such as '2', in category, confidence)" in said
    assert publish(lake, database, "--verify", "--reload") == 0
    assert "1 inserted, 1 updated, 1 deleted; all rows, since --reload asks for it" in capsys.readouterr().out
    # The next run notices a missing row without an option.
    ask(database, f"DELETE FROM {TABLE} WHERE product_id = '4'")
    assert run(tmp_path / "second.parquet", lake) == 0
    assert publish(lake, database) == 0
    assert "came to 5 rows where version" in capsys.readouterr().out
    assert hashes_there(database) == titles_hash({"4": FIRST["4"], **SECOND})


@pytest.mark.parametrize("then", ["nothing", "maintenance"])
def test_rows_that_another_hand_has_removed_come_back_although_nothing_is_new(spark, lake, database, capsys, then) -> None:
    assert publish(lake, database) == 0
    ask(database, f"TRUNCATE {TABLE}")
    if then == "maintenance":
        spark.sql(f"OPTIMIZE delta.`{lake}` ZORDER BY (product_id)")
    capsys.readouterr()
    assert publish(lake, database) == 0
    assert "4 inserted, 0 updated, 0 deleted; all rows, since catalog.products has 0 where version" in capsys.readouterr().out
    assert hashes_there(database) == titles_hash(FIRST)
    assert publish(lake, database) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_what_postgresql_takes_for_equal_is_written_too(spark, lake, database, capsys) -> None:
    spark.sql(f"ALTER TABLE delta.`{lake}` ADD COLUMNS (price double, weight float, sizes array<decimal(10,2)>)")
    spark.sql(f"UPDATE delta.`{lake}` SET price = 0.0D, weight = float('-0.0'), sizes = array(1.00)")
    assert publish(lake, database, "--verify") == 0
    ask(database, f"UPDATE {TABLE} SET price = '-0' WHERE product_id = '1'")
    ask(database, f"UPDATE {TABLE} SET weight = 0, sizes = '[1.0]' WHERE product_id = '2'")
    capsys.readouterr()
    assert publish(lake, database, "--verify") == 4
    assert "it differs in 2 rows (such as '1', in price)" in capsys.readouterr().err
    assert publish(lake, database, "--verify", "--reload") == 0
    assert "0 inserted, 2 updated, 0 deleted" in capsys.readouterr().out
    # For an infinite time there is no number to compare.
    ask(database, f"UPDATE {TABLE} SET scored_at = 'infinity' WHERE product_id = '4'")
    assert publish(lake, database, "--verify") == 4
    assert "it differs in 1 row (such as '4', in scored_at)" in capsys.readouterr().err
    assert publish(lake, database, "--verify", "--reload") == 0
    # A change by another writer in the lake is published too.
    spark.sql(f"UPDATE delta.`{lake}` SET price = -0.0D WHERE product_id = '3'")
    assert publish(lake, database, "--verify") == 0
    assert "0 inserted, 1 updated, 0 deleted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("altered", "found"),
    [
        ("ALTER COLUMN confidence TYPE double precision", "function float4send(double precision) does not exist"),
        ("DROP CONSTRAINT products_pkey", "there is no unique or exclusion constraint"),
        ("DROP COLUMN reason", 'column "reason" '),
    ],
)
def test_a_table_that_another_hand_has_altered(lake, database, capsys, altered, found) -> None:
    assert publish(lake, database) == 0
    ask(database, f"ALTER TABLE {TABLE} {altered}")
    capsys.readouterr()
    assert publish(lake, database, "--reload", "--verify") == 2
    assert f"Expected catalog.products as publish created it, found it altered ({found}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("to", "more", "code", "because"),
    [
        (
            "host=there password=s3cret",
            (),
            2,
            "or a folder with a slash in it, found 'host=there password=***'",
        ),
        ("postgresql://me:s3cr%zzet@127.0.0.1/x", (), 2, "which cannot be read"),
        ("postgresql://me:s3cret@127.0.0.1:1/x", (), 1, "Expected a PostgreSQL server at postgresql://***@127.0.0.1:1/x"),
        ("DATABASE-nowhere", (), 2, "does not exist; correct --to"),
        ("DATABASE", ("--table", "a.b.c"), 2, "found 'a.b.c' of 3 parts"),
        ("DATABASE", ("--table", "a..c"), 2, "Expected SCHEMA.TABLE in --table, found 'a..c'"),
        ("DATABASE", ("--table", "nowhere.products"), 2, "create it (CREATE SCHEMA"),
        ("DATABASE", ("--table", "catalog." + "n" * 52), 2, "of at most 51 bytes"),
        ("DATABASE", ("--table", "pg_catalog.pg_tables"), 2, "found something else; choose another"),
    ],
)
def test_an_address_that_is_none(tmp_path, database, capsys, to, more, code, because) -> None:
    assert publish(tmp_path, to.replace("DATABASE", database), *more) == code
    captured = capsys.readouterr()
    assert because in captured.err
    assert "s3cr" not in captured.err + captured.out


def test_what_is_said_of_the_columns_has_to_be_so(lake, database, capsys) -> None:
    assert publish(lake, database) == 0
    for columns in ('{"a": 1}', "[]", '[["product_id"]]', '[["product_id", 1]]', '[["title", "text"]]', "7"):
        ask(database, f"UPDATE {TABLE}_published SET columns = '{columns}'")
        capsys.readouterr()
        assert publish(lake, database) == 2
        assert f"found {columns}; undo that, or drop both tables and run again" in capsys.readouterr().err


def test_what_is_not_overwritten(spark, lake, tmp_path, database, capsys) -> None:
    ask(database, "CREATE TABLE catalog.other (product_id text)")
    assert publish(lake, database, "--table", "catalog.other") == 2
    assert "found a table without catalog.other_published" in capsys.readouterr().err
    assert publish(lake, database) == 0
    assert run(tmp_path / "second.parquet", tmp_path / "other") == 0
    spark.sql(f"INSERT INTO delta.`{lake}` SELECT * FROM delta.`{lake}` WHERE product_id = '1'")
    for target, because in ((tmp_path / "other", "Expected the rows of file:"), (lake, "Expected each product_id once")):
        capsys.readouterr()
        assert publish(target, database) == 2
        assert because in capsys.readouterr().err
    assert hashes_there(database) == titles_hash(FIRST)
    assert publish(f"{lake}_runs", database) == 2


def test_a_column_of_ones_own_in_the_place_of_a_new_one_is_told(lake, tmp_path, database, capsys) -> None:
    assert publish(lake, database) == 0
    ask(database, "ALTER TABLE catalog.products ADD COLUMN title text")
    assert run(tmp_path / "first.parquet", lake, "--mode", "full", "--carry", "title") == 0
    capsys.readouterr()
    assert publish(lake, database) == 2
    assert 'found: column "title" of relation "products" already exists; rename or drop that' in capsys.readouterr().err


def test_what_people_say_is_published(spark, lake, tmp_path, database, capsys) -> None:
    def said() -> list[tuple[str, str, str]]:
        return ask(database, "SELECT product_id, category, corrected_by FROM catalog.products_corrections ORDER BY product_id")

    assert publish(lake, database) == 0
    assert said() == []
    correct(lake, {"1": "Books", "3": "Books"})
    assert publish(lake, database) == 0
    assert "no other row: catalog.products holds version" in (out := capsys.readouterr().out)
    assert "catalog.products_corrections holds the 2 corrections in force" in out
    assert said() == [("1", "Books", "ann"), ("3", "Books", "ann")]
    assert publish(lake, database) == 0
    assert "nothing to do: catalog.products holds" in capsys.readouterr().out
    # Withdrawn, along with a run that changes rows.
    correct(lake, {"3": None})
    assert run(tmp_path / "second.parquet", lake) == 0
    assert publish(lake, database) == 0
    assert said() == [("1", "Books", "ann")]


def test_corrections_that_another_hand_has_removed_come_back(lake, database, capsys) -> None:
    correct(lake, {"1": "Books", "3": "Books"})
    assert publish(lake, database) == 0
    ask(database, "DELETE FROM catalog.products_corrections WHERE product_id = '1'")
    capsys.readouterr()
    assert publish(lake, database, "--verify") == 0
    assert "catalog.products_corrections holds the 2 corrections in force" in capsys.readouterr().out
    assert publish(lake, database) == 0
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.fault(
    "`publish` after the table of people's corrections is gone, or cannot be read",
    "exit 2 and a sentence; what was published stays",
    "sentence, corrections still there",
)
def test_corrections_that_the_lake_has_lost_stay_published(lake, database, capsys) -> None:
    correct(lake, {"1": "Books", "3": "Books"})
    assert publish(lake, database) == 0
    place = lake.with_name(f"{lake.name}_corrections")
    place.rename(lake.with_name("elsewhere"))
    for options in ([], ["--verify"]):
        capsys.readouterr()
        assert publish(lake, database, *options) == 2
        assert (
            f"Expected the corrections at {place}, which were published before, found no table there" in capsys.readouterr().err
        )
        assert ask(database, "SELECT count(*) FROM catalog.products_corrections") == [(2,)]
    assert publish(lake, database, "--reload") == 0
    assert ask(database, "SELECT count(*) FROM catalog.products_corrections") == [(0,)]


def test_verify_looks_at_what_people_say(lake, database, capsys) -> None:
    correct(lake, {"1": "Books", "3": "Books"})
    assert publish(lake, database, "--verify") == 0
    assert "and 2 corrections as people gave them" in capsys.readouterr().out
    ask(database, "UPDATE catalog.products_corrections SET category = 'Toys', why = 'mine' WHERE product_id = '1'")
    ask(database, "DELETE FROM catalog.products_corrections WHERE product_id = '3'")
    ask(
        database,
        "INSERT INTO catalog.products_corrections (product_id, corrected_at, model_version) VALUES ('4', now(), 'x/1')",
    )
    assert publish(lake, database, "--verify") == 4
    said = capsys.readouterr().err
    assert "it differs in 1 correction (such as '1', in category, why)" in said
    assert "it lacks 1 correction (such as '3')" in said
    assert "it also has 1 correction (such as '4')" in said
    assert publish(lake, database, "--verify", "--reload") == 0
    assert "products_corrections holds the 2 corrections in force" in capsys.readouterr().out


def test_corrections_of_another_hand_are_left_alone(lake, database, capsys) -> None:
    ask(database, "CREATE TABLE catalog.products_corrections (product_id text)")
    ask(database, "INSERT INTO catalog.products_corrections VALUES ('1')")
    assert publish(lake, database) == 2
    assert (
        "under the name catalog.products_corrections, or the table that publish created, found another table"
        in capsys.readouterr().err
    )
    assert ask(database, "SELECT * FROM catalog.products_corrections") == [("1",)]
    assert ask(database, "SELECT to_regclass('catalog.products') IS NULL") == [(True,)]
