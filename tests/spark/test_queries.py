"""Each query of docs/queries.md, run unchanged on a table of two runs."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pandas
import pytest

from tests.conftest import ROOT
from tests.faults.nights import FIRST, SECOND, run, write_source

PAGE = (ROOT / "docs" / "queries.md").read_text()
SQL = re.findall(r"```sql\n(.+?)```", PAGE, re.DOTALL)
PYTHON = re.findall(r"```python\n(.+?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def folder(spark, tmp_path_factory) -> Path:
    """A folder in which lake/categorized has two runs, the second with rejects and a product that is gone."""
    folder = tmp_path_factory.mktemp("queries")
    lake = folder / "lake" / "categorized"
    assert run(write_source(folder / "in.parquet", FIRST), lake) == 0
    second = write_source(folder / "in.parquet", SECOND, ("5", "a copy"), (None, "no id"))
    assert run(second, lake, "--missing", "mark") == 0
    return folder


def answer(spark, folder: Path, query: str) -> list[dict[str, object]]:
    return [row.asDict() for row in spark.sql(query.replace("`lake/", f"`{folder}/lake/")).collect()]


def by_category(spark, folder: Path) -> Counter:
    rows = spark.read.format("delta").load(str(folder / "lake" / "categorized")).select("category").collect()
    return Counter(row["category"] for row in rows)


def test_the_page_has_queries() -> None:
    # test_corrections.py runs the two over corrections.
    assert len(SQL) == 9
    assert len(PYTHON) == 3


def test_products_by_category(spark, folder) -> None:
    found = answer(spark, folder, SQL[0])
    # Product 4 is gone.
    assert sum(row["products"] for row in found) == len(SECOND)


def test_what_to_review_first(spark, folder) -> None:
    found = answer(spark, folder, SQL[1])
    assert [row["confidence"] for row in found] == sorted(row["confidence"] for row in found)
    assert all(row["reason"] for row in found)


def test_moved_products(spark, folder) -> None:
    now = {row["product_id"]: row["category"] for row in spark.table(f"delta.`{folder}/lake/categorized`").collect()}
    moved = {row["product_id"]: row["to_category"] for row in answer(spark, folder, SQL[2])}
    first = spark.read.format("delta").option("versionAsOf", 1).load(f"{folder}/lake/categorized")
    before = {row["product_id"]: row["category"] for row in first.collect()}
    assert set(before) == set(FIRST)
    assert moved == {name: now[name] for name in before if now[name] != before[name]}


def test_the_trend_and_the_shares(spark, folder) -> None:
    trend, shares = answer(spark, folder, SQL[3]), answer(spark, folder, SQL[4])
    assert [row["rows_in"] for row in trend] == [len(FIRST), len(SECOND) + 2]
    for night in trend:
        assert sum(row["share"] for row in shares if row["started_at"] == night["started_at"]) == pytest.approx(1)


def test_rejects_and_models(spark, folder) -> None:
    rejected = answer(spark, folder, SQL[5])
    assert {row["reason"]: row["products"] for row in rejected} == {"no id": 1, "older copy of the id": 1}
    models = answer(spark, folder, SQL[6])
    assert [row["products"] for row in models] == [len({*FIRST, *SECOND})]


@pytest.mark.parametrize("block", PYTHON, ids=["pandas", "DuckDB", "Polars"])
def test_other_readers_count_as_spark_does(spark, folder, monkeypatch, block: str) -> None:
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    exec(block, names)
    found = as_counts(names["counts"])
    # pandas has NaN for a missing category.
    assert {name if isinstance(name, str) else None: count for name, count in found.items()} == by_category(spark, folder)


def as_counts(found: object) -> dict[object, int]:
    """The counts of a Series, or of a frame with the columns category and products."""
    if isinstance(found, pandas.Series):
        return found.to_dict()
    return dict(zip(found["category"], found["products"], strict=True))
