"""Products that the source no longer holds: they stay, get missing_since, or are removed."""

from __future__ import annotations

import pytest

from tests.faults.nights import FIRST, SECOND, hashes_in, ledger, run, titles_hash, write_source

pytestmark = pytest.mark.usefixtures("spark")


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
    # A third run: the mark stays as it is, and is removed when the product is back.
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
