"""What makes two runs the same: whatever decides what is read, or how it is judged, makes a different run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lib.model.bundle import MANIFEST, SEAL, resolve_bundle
from tests.conftest import SHIPPED
from tests.faults.nights import FIRST, SECOND, hashes_in, ledger, run, titles_hash, write_source

pytestmark = pytest.mark.usefixtures("spark")


def write_delta(spark, path: Path, rows: dict[str, str], feed: bool = False) -> Path:
    properties = " TBLPROPERTIES (delta.enableChangeDataFeed = true)" if feed else ""
    spark.sql(f"CREATE TABLE delta.`{path}` (product_id string, title string) USING delta{properties}")
    frame = spark.createDataFrame(list(rows.items()), "product_id string, title string")
    frame.write.format("delta").mode("append").save(str(path))
    return path


def review_below(models: Path, threshold: float) -> None:
    """Edit the threshold by hand, as no training would."""
    path = resolve_bundle(str(models)) / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["thresholds"] = {"review_below": threshold}
    path.write_text(json.dumps(manifest))


def unseal(models: Path) -> None:
    (resolve_bundle(str(models)) / SEAL).unlink()


@pytest.mark.parametrize("feed", [False, True])
@pytest.mark.fault(
    "a Delta source removed and recreated, at version 0 again, with and without a change feed",
    "another table is another source: all rows are compared",
    "all rows compared",
)
def test_a_delta_source_made_anew_is_another_source(spark, tmp_path: Path, feed: bool) -> None:
    source, lake = tmp_path / "source", tmp_path / "lake"
    assert run(write_delta(spark, source, FIRST, feed), lake) == 0
    shutil.rmtree(source)
    write_delta(spark, source, SECOND, feed)
    if feed:
        spark.sql(f"INSERT INTO delta.`{source}` VALUES ('9', 'lamp')")
    assert run(source, lake) == 0
    assert hashes_in(spark, lake) == titles_hash({"4": FIRST["4"], **SECOND, **({"9": "lamp"} if feed else {})})


@pytest.mark.fault(
    "`--columns` corrected over the same file",
    "another run, read again",
    "read again, and nothing to do the second time",
)
def test_the_way_of_reading_belongs_to_the_night(spark, tmp_path: Path, capsys) -> None:
    source, lake = tmp_path / "in.csv", tmp_path / "lake"
    source.write_text("lamp,1,chair\n")
    assert run(source, lake, "--columns", "title,product_id,other") == 0
    assert hashes_in(spark, lake) == titles_hash({"1": "lamp"})
    assert run(source, lake, "--columns", "other,product_id,title") == 0
    assert hashes_in(spark, lake) == titles_hash({"1": "chair"})
    capsys.readouterr()
    assert run(source, lake, "--columns", "other,product_id,title") == 0
    assert "nothing to do" in capsys.readouterr().out
    assert run(source, lake, "--columns", "title,product_id,other") == 0
    assert hashes_in(spark, lake) == titles_hash({"1": "lamp"})


@pytest.mark.fault(
    "the source is a view that is replaced over the same files",
    "read again",
    "read again",
)
def test_a_view_that_is_replaced_is_read_anew(spark, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    write_source(tmp_path / "in.parquet", FIRST)
    select = f"SELECT product_id, {{}} AS title FROM parquet.`{tmp_path}/in.parquet`"
    spark.sql("CREATE OR REPLACE VIEW night_view AS " + select.format("title"))
    try:
        assert run("night_view", lake) == 0
        spark.sql("CREATE OR REPLACE VIEW night_view AS " + select.format("'wooden chair'"))
        assert run("night_view", lake) == 0
    finally:
        spark.sql("DROP VIEW night_view")
    assert hashes_in(spark, lake) == titles_hash(dict.fromkeys(FIRST, "wooden chair"))


@pytest.mark.fault(
    "a threshold edited in the manifest under the same version",
    "exit 3; the table as it was",
    "exit 3, table as it was",
)
def test_a_threshold_changed_under_the_same_name_is_refused(spark, tmp_path: Path, capsys) -> None:
    """Also where the bundle has no seal, like those of older versions."""
    models, lake = tmp_path / "models", tmp_path / "lake"
    shutil.copytree(SHIPPED, models)
    source = write_source(tmp_path / "in.parquet", FIRST)
    assert run(source, lake, model=models) == 0
    review_below(models, 0.1)
    assert run(source, lake, model=models) == 3
    assert "as training wrote it" in capsys.readouterr().err
    unseal(models)
    for mode in ("incremental", "full"):
        assert run(source, lake, "--mode", mode, model=models) == 3
        assert "thresholds under that name" in capsys.readouterr().err
    assert len(ledger(spark, lake)) == 1


@pytest.mark.fault(
    "the table is replaced by a copy, whose history contains no run, and the bundle by another of its name",
    "all rows are scored again, and guarded by the runs of the ledger",
    "all rows scored again, guarded by the ledger",
)
def test_a_table_without_its_history_is_scored_anew(spark, tmp_path: Path, capsys) -> None:
    models, lake = tmp_path / "models", tmp_path / "lake"
    shutil.copytree(SHIPPED, models)
    unseal(models)
    review_below(models, 0)
    source = write_source(tmp_path / "in.parquet", {f"p{i}": f"steel kettle {i}" for i in range(1200)})
    assert run(source, lake, model=models) == 0
    rows = spark.read.format("delta").load(str(lake))
    rows.write.format("delta").save(str(tmp_path / "copy"))
    shutil.rmtree(lake)
    shutil.move(tmp_path / "copy", lake)
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
    review_below(models, 1)
    assert run(source, lake, model=models) == 4
    assert "the share `review` rose from 0.000 to 1.000" in capsys.readouterr().err
    assert run(source, lake, "--guard-review", "1", model=models) == 0
    assert ledger(spark, lake)[-1][1] == "published"
    assert {row["status"] for row in spark.read.format("delta").load(str(lake)).collect()} == {"review"}


@pytest.mark.fault(
    "the source's change feed is vacuumed",
    "all rows are compared, and that is reported",
    "all rows compared, reported",
)
def test_a_change_feed_that_was_vacuumed_is_done_without(spark, tmp_path: Path, capsys) -> None:
    source, lake = write_delta(spark, tmp_path / "source", FIRST, feed=True), tmp_path / "lake"
    assert run(source, lake) == 0
    spark.sql(f"UPDATE delta.`{source}` SET title = 'garden chair' WHERE product_id = '3'")
    shutil.rmtree(source / "_change_data")
    capsys.readouterr()
    assert run(source, lake) == 0
    assert "all rows are compared" in capsys.readouterr().out
    assert hashes_in(spark, lake) == titles_hash({**FIRST, "3": "garden chair"})
