"""The package dbt/, installed into a project and run by dbt over the tables that `publish` has written to PostgreSQL."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from lib.warehouse.corrections import SAID
from lib.warehouse.state import COMMENTS as COMMENTS_OF_STATE
from schemas.tables import CATEGORIZED, COMMENTS
from tests.conftest import ROOT
from tests.corrections import correct
from tests.faults.nights import FIRST, SECOND, ledger, run, write_source
from tests.warehouse import ask, publish

pytestmark = pytest.mark.usefixtures("spark")
DBT = ROOT / "build" / "dbt" / "bin" / "dbt"
MODELS = ("corrections", "products", "category_counts", "confidence_bands", "moved_products", "category_history")
PROFILE = """
shop:
  target: here
  outputs:
    here: {{type: postgres, host: {host}, port: {port}, user: {user}, password: none, dbname: {dbname}, schema: analytics, threads: 2}}
"""
PROJECT = """
name: shop
version: 1.0.0
profile: shop
vars:
  catalog_schema: catalog
  catalog_table: products
  carried_columns: [title]
"""


class Project:
    """A shop's dbt project that has installed the package."""

    def __init__(self, folder: Path, to: str) -> None:
        self.folder, self._to = folder, to
        folder.mkdir()
        (folder / "profiles.yml").write_text(PROFILE.format(**conninfo_to_dict(to)))
        (folder / "dbt_project.yml").write_text(PROJECT)
        (folder / "packages.yml").write_text(f"packages: [{{local: {ROOT / 'dbt'}}}]")
        installed = self.dbt("deps")
        assert installed.returncode == 0, installed.stdout

    def dbt(self, *words: str) -> subprocess.CompletedProcess[str]:
        settings = {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "DBT_USE_COLORS": "false", "DBT_PROFILES_DIR": str(self.folder)}
        environment = {**os.environ, **settings}
        environment.pop("PYTHONPATH", None)
        done = subprocess.run([DBT, *words], cwd=self.folder, env=environment, capture_output=True, text=True)
        assert "deprecat" not in done.stdout.lower(), done.stdout
        return done

    def build(self) -> None:
        done = self.dbt("build", "--warn-error")
        assert done.returncode == 0, done.stdout + done.stderr

    def rows(self, model: str, columns: str) -> list[tuple[Any, ...]]:
        return ask(self._to, f"SELECT {columns} FROM analytics.{model} ORDER BY 1, 2")

    def told(self) -> dict[str, Any]:
        return json.loads((self.folder / "target" / "manifest.json").read_text())


@pytest.fixture
def project(tmp_path: Path, database: str) -> Project:
    if not DBT.exists():
        pytest.skip("dbt is not in build/dbt; ./run-tests.sh puts it there, from requirements/dbt.lock")
    return Project(tmp_path / "shop", database)


def of_lake(spark, lake: Path) -> dict[str, Any]:
    return {row["product_id"]: row for row in spark.read.format("delta").load(str(lake)).collect()}


def test_two_nights_in_the_models(spark, project, database, tmp_path) -> None:
    lake = tmp_path / "lake"
    assert run(write_source(tmp_path / "in.parquet", FIRST), lake, "--carry", "title") == 0
    correct(lake, {"1": "Toys", "2": "Toys"})
    correct(lake, {"2": None})
    assert publish(lake, database) == 0
    project.build()
    first = of_lake(spark, lake)
    assert project.rows("products", "product_id, category, is_corrected, model_category, title") == [
        (name, "Toys" if name == "1" else row["category"], name == "1", row["category"], FIRST[name])
        for name, row in sorted(first.items())
    ]
    assert project.rows("moved_products", "product_id, to_category") == []
    # Another run, in which a product is gone, and two products that are corrected.
    assert run(write_source(tmp_path / "in.parquet", SECOND), lake, "--carry", "title", "--missing", "mark") == 0
    correct(lake, {"1": None, "3": "Toys"})
    assert publish(lake, database) == 0
    project.build()
    second = of_lake(spark, lake)
    now = {name: "Toys" if name == "3" else row["category"] for name, row in second.items()}
    before = {name: "Toys" if name == "1" else row["category"] for name, row in first.items()}
    moved = [(name, before[name], now[name], name == "3") for name in sorted(first) if before[name] != now[name]]
    assert {"1", "3"} <= {name for name, *_ in moved}
    assert project.rows("moved_products", "product_id, from_category, to_category, is_corrected") == moved
    _counts_and_bands(spark, project, lake, (before, now), second)


def _counts_and_bands(spark, project: Project, lake: Path, categories, second) -> None:
    counted = project.rows("category_counts", "run_id, category, products, corrected")
    # Product 4 is gone in the second run.
    for (run_id, _), there, gone in zip(ledger(spark, lake), categories, (set(), {"4"}), strict=True):
        sums: dict[str, int] = {}
        for one, category, products, _ in counted:
            if one == run_id:
                sums[category] = sums.get(category, 0) + products
        wanted = [category for name, category in there.items() if name not in gone]
        assert sums == {category: wanted.count(category) for category in wanted}
    assert sum(corrected for *_, corrected in counted) == 2
    bands = project.rows("confidence_bands", "category, from_confidence, to_confidence, products, in_review")
    for category, low, high, products, in_review in bands:
        held = {name: r for name, r in second.items() if r["category"] == category and not r["missing_since"]}
        inside = [name for name, r in held.items() if float(low) <= min(r["confidence"], 0.99999) < float(high)]
        assert products == len(inside)
        # A person has corrected product 3.
        assert in_review == sum(held[name]["status"] == "review" for name in inside if name != "3")
    assert sum(products for *_, products, _ in bands) == len(SECOND)


def test_a_fault_in_the_table_ends_the_build(project, database, lake, tmp_path) -> None:
    assert run(write_source(tmp_path / "in.parquet", FIRST), lake, "--mode", "full", "--carry", "title") == 0
    assert publish(lake, database) == 0
    project.build()
    ask(database, "DELETE FROM catalog.products WHERE product_id = '1'")
    ask(database, "UPDATE catalog.products SET status = 'odd' WHERE product_id = '2'")
    done = project.dbt("test")
    assert done.returncode == 1
    results = json.loads((project.folder / "target" / "run_results.json").read_text())["results"]
    failed = {one["unique_id"].split(".")[2] for one in results if one["status"] == "fail"}
    assert failed == {
        "as_many_products_as_published",
        "accepted_values_products_status__categorized__review__unclassifiable",
        "source_accepted_values_catalog_products_status__categorized__review__unclassifiable",
    }
    # The package's descriptions of columns, and the columns that exist.
    told = project.told()
    nodes = {node["name"]: node for node in told["nodes"].values() if node["package_name"] == "catalog_categorizer"}
    for model in MODELS:
        there = ask(database, f"SELECT attname FROM pg_attribute WHERE attrelid = 'analytics.{model}'::regclass AND attnum > 0")
        columns = nodes[model]["columns"]
        assert all(column["description"] for column in columns.values())
        assert columns.keys() == {name for (name,) in there} - {"title"}
    sources = {one["name"]: {c["name"]: c["description"] for c in one["columns"].values()} for one in told["sources"].values()}
    assert sources["products"] == {name: COMMENTS[name] for name in CATEGORIZED.names}
    assert sources["published"] == COMMENTS_OF_STATE
    assert sources["corrections"] == SAID
    assert {one["name"] for one in told["exposures"].values()} == {"storefront", "catalog_quality"}
