"""`views`: created in a catalogue and read by Spark, read by DuckDB, and parsed as Trino's SQL."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import pandas as pd
import pytest
import sqlglot
import yaml
from pyspark.sql.types import StructType

from jobs.views import ViewsSettings
from jobs.views import main as views_main
from lib.command import run_command
from tests.conftest import ROOT
from tests.corrections import correct
from tests.faults.nights import FIRST, SECOND, at, ledger, run, write_source
from tests.spark.conftest import rollback

pytestmark = pytest.mark.usefixtures("spark")
VIEWS = ("products", "category_counts", "confidence_bands", "moved_products")
UNSURE = ("--unfamiliar", "0.9", "--carry", "title", "--guard-from-rows", "1000")


def views(*arguments: object) -> int:
    return run_command(ViewsSettings, views_main, "views", list(map(str, arguments)))


@pytest.fixture
def schema(spark, monkeypatch) -> str:
    """A schema of the session's own catalogue, treated as persistent (tests/cli/test_views.py has one that is)."""
    monkeypatch.setattr("lib.warehouse.views.catalogue.forgets", lambda spark: False)
    spark.sql("CREATE SCHEMA analytics")
    yield "analytics"
    spark.sql("DROP SCHEMA analytics CASCADE")


@pytest.fixture(scope="module")
def two_nights(spark, tmp_path_factory) -> Path:
    """A folder with the table lake/goods and those next to it; in its second run product 4 is gone."""
    folder = tmp_path_factory.mktemp("views")
    target = folder / "lake" / "goods"
    assert run(write_source(folder / "in.parquet", {**FIRST, "9": "?"}), target, *UNSURE) == 0
    assert run(write_source(folder / "in.parquet", {**SECOND, "9": "?"}), target, *UNSURE, "--missing", "mark") == 0
    return folder


@pytest.fixture
def target(two_nights, tmp_path) -> Path:
    """This test's own copy of it."""
    shutil.copytree(two_nights / "lake", tmp_path / "lake")
    return tmp_path / "lake" / "goods"


def rows(spark, view: str) -> list[dict[str, Any]]:
    return [row.asDict() for row in spark.table(f"analytics.goods_{view}").collect()]


def stored(spark, target: Path, version: int | None = None) -> dict[str, Any]:
    reader = spark.read.format("delta") if version is None else spark.read.format("delta").option("versionAsOf", version)
    return {row["product_id"]: row.asDict() for row in reader.load(str(target)).collect()}


def test_two_nights_and_a_correction(spark, schema, target, capsys) -> None:
    before, now = stored(spark, target, 1), stored(spark, target)
    correct(target, {"1": "Toys"})
    capsys.readouterr()
    assert views("--target", target, "--schema", schema) == 0
    said = capsys.readouterr().out
    assert all(f"analytics.goods_{view}" in said for view in VIEWS)
    products = {row["product_id"]: row for row in rows(spark, "products")}
    assert {name: (row["category"], row["is_corrected"], row["model_category"]) for name, row in products.items()} == {
        name: ("Toys" if name == "1" else row["category"], name == "1", row["category"]) for name, row in now.items()
    }
    for name, row in products.items():
        same = row.keys() & now[name].keys() - {"category", "category_path", "published_path"}
        assert {"title", "confidence", "missing_since"} <= same
        assert {column: row[column] for column in same} == {column: now[name][column] for column in same}
    check_counts(spark, target, [before, {name: row for name, row in now.items() if not row["missing_since"]}])
    check_bands(spark, list(now.values()))
    moved = {name for name in before if before[name]["category"] != now[name]["category"]} | {"1"}
    assert {row["product_id"]: (row["from_category"], row["to_category"]) for row in rows(spark, "moved_products")} == {
        name: (before[name]["category"], products[name]["category"]) for name in moved
    }
    # Every column of ours has a comment in the catalogue.
    for view in VIEWS:
        told = {field.name: field.metadata.get("comment") for field in spark.table(f"analytics.goods_{view}").schema}
        assert {name for name, comment in told.items() if not comment} == ({"title"} if view == "products" else set())


def check_counts(spark, target: Path, nights: list[dict[str, Any]]) -> None:
    counts = rows(spark, "category_counts")
    for (run_id, _), night in zip(ledger(spark, target), nights, strict=True):
        found = {row["model_category"]: row["products"] for row in counts if row["run_id"] == run_id}
        assert found == Counter(row["category"] or "(none)" for row in night.values())
        assert "(none)" in found


def check_bands(spark, stand: list[dict[str, Any]]) -> None:
    wanted, corrected = Counter(), {row["product_id"] for row in rows(spark, "products") if row["is_corrected"]}
    for row in stand:
        if row["category"] and not row["missing_since"]:
            waits = row["status"] == "review" and row["product_id"] not in corrected
            wanted[row["category"], min(int(round(row["confidence"], 6) * 10), 9) / 10, waits] += 1
    bands = rows(spark, "confidence_bands")
    assert all(float(row["to_confidence"] - row["from_confidence"]) == pytest.approx(0.1) for row in bands)
    found = {(row["category"], float(row["from_confidence"])): (row["products"], row["in_review"]) for row in bands}
    assert len(found) == len(bands)
    assert found == {
        (category, low): (wanted[category, low, True] + wanted[category, low, False], wanted[category, low, True])
        for category, low, _ in wanted
    }


def test_a_confidence_on_an_edge(spark, schema, target) -> None:
    """0.7 as a float is a little less."""
    spark.sql(f"UPDATE delta.`{target}` SET confidence = CAST(0.7 AS float) WHERE product_id = '1'")
    spark.sql(f"UPDATE delta.`{target}` SET confidence = 1 WHERE product_id = '3'")
    assert views("--target", target, "--schema", schema) == 0
    check_bands(spark, list(stored(spark, target).values()))
    assert {0.7, 0.9} <= {float(row["from_confidence"]) for row in rows(spark, "confidence_bands")}


def test_corrections_taken_back_and_moves_since_a_run(spark, schema, target, tmp_path, capsys) -> None:
    first = ledger(spark, target)[0][0]
    assert views("--target", target, "--schema", schema) == 0
    assert "create them again after the first `correct`" in capsys.readouterr().out
    assert not any(row["is_corrected"] for row in rows(spark, "products"))
    correct(target, {"1": "Toys", "3": "Toys"})
    correct(target, {"3": None})
    assert views("--target", target, "--schema", schema, "--since", first) == 0
    assert {row["product_id"] for row in rows(spark, "products") if row["is_corrected"]} == {"1"}
    moved = {row["product_id"]: row for row in rows(spark, "moved_products")}
    assert moved["1"]["is_corrected"]
    assert "3" not in moved
    assert {row["since_version"] for row in moved.values()} == {1}
    # Without another run, a product that was corrected before the compared version has not moved.
    source = write_source(tmp_path / "in.parquet", SECOND)
    for _ in range(2):
        assert run(source, target, *UNSURE, "--mode", "full") == 0
    assert views("--target", target, "--schema", schema) == 0
    assert rows(spark, "moved_products") == []


def by_id(found: list[dict[str, Any]]) -> list[str]:
    return sorted(map(repr, found))


def test_read_during_a_night_and_after_a_rollback(spark, schema, target, tmp_path) -> None:
    assert views("--target", target, "--schema", schema) == 0
    before, during = rows(spark, "products"), []
    source = write_source(tmp_path / "in.parquet", {"1": "detective novel, paperback", "8": "tent for two"})
    with at("publishing", lambda: during.append(rows(spark, "products"))):
        assert run(source, target, *UNSURE, "--missing", "delete", "--guard-removed", "inf") == 0
    assert [by_id(found) for found in during] == [by_id(before)]
    assert {row["product_id"] for row in rows(spark, "products")} == {"1", "8"}
    nights = ledger(spark, target)
    assert rollback("--target", target, "--to", nights[1][0]) == 0
    assert by_id(rows(spark, "products")) == by_id(before)
    counts = rows(spark, "category_counts")
    back = ledger(spark, target)[-1][0]
    second, restored = (
        {row["model_category"]: (row["products"], row["share"]) for row in counts if row["run_id"] == run_id}
        for run_id in (nights[1][0], back)
    )
    assert second == restored
    assert second
    # Created again, the views show what the rollback has moved.
    assert views("--target", target, "--schema", schema) == 0
    assert [row["product_id"] for row in rows(spark, "moved_products")] == ["1"]


def test_labels_that_are_paths(spark, schema, target) -> None:
    spark.sql(
        f"UPDATE delta.`{target}` SET category = 'Home > ' || category, category_path = array('Home', category), "
        "level_confidence = array(1, confidence), published_path = array('Home') WHERE category IS NOT NULL"
    )
    correct(target, {"1": "Leisure > Games > Cards"})
    assert views("--target", target, "--schema", schema) == 0
    found = {row["product_id"]: row for row in rows(spark, "products")}
    assert found["1"]["category_path"] == found["1"]["published_path"] == ["Leisure", "Games", "Cards"]
    assert found["3"]["category_path"] == found["3"]["category"].split(" > ")
    assert found["3"]["published_path"] == ["Home"]
    assert found["9"]["category_path"] is None


def test_tables_of_older_versions_and_names_of_ours(spark, schema, target, capsys) -> None:
    table = f"delta.`{target}`"
    spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name')")
    spark.sql(
        f"ALTER TABLE {table} DROP COLUMNS (category_path, level_confidence, published_path, unfamiliarity, missing_since)"
    )
    spark.sql(f"ALTER TABLE {table} ADD COLUMN (is_corrected string, `the price, net` double)")
    spark.sql(f"ALTER TABLE delta.`{target}_runs` SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name')")
    spark.sql(f"ALTER TABLE delta.`{target}_runs` DROP COLUMN guarded")
    assert views("--target", target, "--schema", schema) == 0
    assert "the carried column is_corrected is left out of products" in capsys.readouterr().out
    found = {row["product_id"]: row for row in rows(spark, "products")}
    assert found.keys() == stored(spark, target).keys()
    assert {(row["is_corrected"], row["missing_since"], row["the price, net"]) for row in found.values()} == {
        (False, None, None)
    }
    counts = rows(spark, "category_counts")
    assert {row["products"] for row in counts} == {None}
    assert sum(row["share"] for row in counts) == pytest.approx(2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--schema", "nowhere"), "Expected a schema nowhere in the catalogue, found none"),
        ((), "Expected --schema for the views of"),
        (("--schema", "analytics", "--since", "yesterday"), "found versions 0 to 2 and "),
        (("--output", "views.sql"), "Expected --output only with --dialect"),
        (("--known-as", "a.b"), "Expected --known-as only with --dialect"),
        (("--dialect", "trino"), "Expected --known-as for Trino"),
        (("--dialect", "oracle"), "invalid choice: 'oracle'"),
        (("--dialect", "spark", "--output", "-"), "Expected a file in --output, found '-'"),
        (("--dialect", "spark", "--output", "/"), "Expected a file or nothing yet at /, found a folder"),
        (("--dialect", "spark", "--output", "nowhere/views.sql"), "Expected a folder nowhere to write views.sql to"),
    ],
)
def test_wrong_use_is_one_sentence(spark, schema, target, capsys, arguments, said) -> None:
    assert views("--target", target, *arguments) == 2
    assert said in capsys.readouterr().err
    assert spark.sql("SHOW VIEWS IN analytics").count() == 0


def test_what_is_not_ours_stays(spark, schema, target, tmp_path, capsys) -> None:
    spark.sql("CREATE VIEW analytics.goods_moved_products AS SELECT 1 AS mine")
    assert views("--target", target, "--schema", schema) == 2
    assert "Expected nothing yet at analytics.goods_moved_products" in capsys.readouterr().err
    assert [row["viewName"] for row in spark.sql("SHOW VIEWS IN analytics").collect()] == ["goods_moved_products"]
    spark.sql("DROP VIEW analytics.goods_moved_products")
    assert views("--target", target, "--schema", schema) == 0
    other = tmp_path / "other" / "goods"
    assert run(write_source(tmp_path / "in.parquet", FIRST), other) == 0
    assert views("--target", other, "--schema", schema) == 2
    assert f"found a view of file:{target}" in capsys.readouterr().err
    for wrong, code in ((tmp_path / "nothing", "found none"), (f"{target}_runs", "found one without")):
        assert views("--target", wrong, "--schema", schema) == 2
        assert code in capsys.readouterr().err


def test_without_a_catalogue_that_lasts(target, capsys) -> None:
    assert views("--target", target, "--schema", "default") == 2
    assert "Expected a catalogue that stores views, found none that outlives the run" in capsys.readouterr().err


def test_printed_for_spark_they_are_the_same(spark, schema, target, tmp_path, capsys) -> None:
    correct(target, {"1": "Toys"})
    assert views("--target", target, "--schema", schema) == 0
    made = {view: sorted(map(repr, rows(spark, view))) for view in VIEWS}
    for view in VIEWS:
        spark.sql(f"DROP VIEW analytics.goods_{view}")
    capsys.readouterr()
    assert views("--target", target, "--schema", schema, "--dialect", "spark") == 0
    script = capsys.readouterr().out
    # Statements and comments, and nothing else, so that it can be sent on.
    assert script.startswith("-- Views over")
    for statement in statements(script):
        spark.sql(statement)
    assert {view: sorted(map(repr, rows(spark, view))) for view in VIEWS} == made
    # And recognized as ours.
    assert views("--target", target, "--schema", schema) == 0


def test_corrections_behind_a_version_are_told_from_a_copy_too(spark, schema, target, tmp_path) -> None:
    """Its files have the time at which they were copied."""
    correct(target, {"1": "Toys", "2": "Toys"})
    for suffix in ("", "_runs", "_corrections"):
        shutil.copytree(f"{target}{suffix}", tmp_path / "copy" / f"goods{suffix}", copy_function=shutil.copyfile)
    assert views("--target", tmp_path / "copy" / "goods", "--schema", schema) == 0
    moved = {row["product_id"]: row["to_category"] for row in rows(spark, "moved_products")}
    assert {"1": "Toys", "2": "Toys"}.items() <= moved.items()


def test_a_folder_whose_name_is_none_for_a_catalogue(spark, schema, target, tmp_path) -> None:
    odd = tmp_path / "odd" / "my-gö'ods 2.x"
    for suffix in ("", "_runs"):
        shutil.copytree(f"{target}{suffix}", f"{odd}{suffix}")
    correct(odd, {"1": "Toys"})
    names = [f"analytics.my_g__ods_2_x_{view}" for view in VIEWS]
    assert views("--target", odd, "--schema", schema) == 0
    made = {name: sorted(map(repr, spark.table(name).collect())) for name in names}
    assert "Toys" in str(made)
    for name in names:
        spark.sql(f"DROP VIEW {name}")
    file = tmp_path / "views.sql"
    assert views("--target", odd, "--schema", schema, "--dialect", "spark", "--output", file) == 0
    for statement in statements(file.read_text()):
        spark.sql(statement)
    assert {name: sorted(map(repr, spark.table(name).collect())) for name in names} == made


def statements(script: str) -> list[str]:
    return [part for part in script.split(";\n") if re.search(r"^(CREATE|COMMENT)", part, re.MULTILINE)]


@pytest.mark.parametrize("corrected", [True, False])
def test_duckdb_answers_as_spark_does(spark, schema, target, tmp_path, corrected) -> None:
    spark.sql(f"UPDATE delta.`{target}` SET category_path = array('Home', category) WHERE category IS NOT NULL")
    spark.sql(f"UPDATE delta.`{target}` SET category = 'Home > ' || category WHERE category IS NOT NULL")
    if corrected:
        correct(target, {"1": "Home > Toys", "3": "Toys"})
        correct(target, {"3": None})
    assert views("--target", target, "--schema", schema, "--since", "1") == 0
    file = tmp_path / "views.sql"
    assert views("--target", target, "--dialect", "duckdb", "--since", "1", "--output", file) == 0
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for statement in statements(over_arrow(connection, file.read_text())):
            connection.execute(statement)
        for view in VIEWS:
            answer = connection.sql(f"SELECT * FROM goods_{view}").to_arrow_table().to_pylist()
            assert sorted(map(plain, answer)) == sorted(map(plain, rows(spark, view)))
            assert answer, view
        told = connection.execute("SELECT count(*) FROM duckdb_columns() WHERE comment <> '' AND table_name LIKE 'goods%'")
        assert told.fetchone()[0] > 30


def over_arrow(connection: duckdb.DuckDBPyConnection, script: str) -> str:
    """The script over what delta-rs reads: DuckDB's own extension for Delta comes from the network."""
    found = re.findall(r"(delta_scan\('([^']+)'(?:, version => (\d+))?\))", script)
    assert len({uri for _, uri, _ in found}) in (2, 3)
    for i, (call, uri, version) in enumerate(dict.fromkeys(found)):
        table = deltalake.DeltaTable(uri, version=int(version) if version else None)
        connection.register(f"source_{i}", table.to_pyarrow_dataset())
        script = script.replace(call, f"source_{i}")
    return script


def plain(row: dict[str, Any]) -> str:
    """Times as UTC, fractions to six digits."""

    def told(value: Any) -> Any:
        if hasattr(value, "timestamp"):
            return pd.Timestamp(value, tz=None if value.tzinfo else "UTC").tz_convert("UTC").isoformat()
        if isinstance(value, list):
            return [told(one) for one in value]
        return f"{float(value):.6f}" if hasattr(value, "as_integer_ratio") and not isinstance(value, bool) else value

    return repr({name: told(value) for name, value in sorted(row.items())})


def test_trino_reads_the_statements(target, tmp_path) -> None:
    correct(target, {"1": "Toys"})
    file = tmp_path / "views.sql"
    more = ("--known-as", "hive.shop.goods", "--schema", "hive.analytics", "--output", file)
    assert views("--target", target, "--dialect", "trino", *more) == 0
    found = [one for one in sqlglot.parse(file.read_text(), read="trino", error_level=sqlglot.ErrorLevel.RAISE) if one]
    assert [(one.kind, one.this.name) for one in found] == [("VIEW", f"goods_{view}") for view in VIEWS]
    tables = {".".join(part.name for part in table.parts) for one in found for table in one.find_all(sqlglot.exp.Table)}
    assert {"hive.shop.goods", "hive.shop.goods_runs", "hive.shop.goods_corrections", "hive.analytics.goods_products"} <= tables
    assert "FOR VERSION AS OF 1" in file.read_text()
    for one in found:
        # Unknown syntax becomes a command, unknown functions anonymous ones.
        assert not list(one.find_all(sqlglot.exp.Command))
        assert {call.name for call in one.find_all(sqlglot.exp.Anonymous)} == set()


def test_the_package_of_dbt_says_the_same_of_them(spark, schema, target) -> None:
    assert views("--target", target, "--schema", schema) == 0
    told = {one["name"]: one for one in yaml.safe_load((ROOT / "dbt" / "models" / "models.yml").read_text())["models"]}
    for view in ("products", "confidence_bands"):
        there: StructType = spark.table(f"analytics.goods_{view}").schema
        columns = {column["name"]: column["description"] for column in told[view]["columns"]}
        assert columns == {f.name: f.metadata["comment"] for f in there if f.name in columns}
