"""The nightly run, end to end, on real Delta tables, through the job's own main."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import deltalake
import pyarrow.parquet as parquet
import pytest

from jobs.categorize import CategorizeSettings, main
from lib.command import run_command
from lib.session import configure
from lib.tables.commits import read_state
from lib.tables.locations import delta_table, locate
from schemas.tables import CATEGORIZED, REJECTED, RUNS
from tests.conftest import SAMPLES, SHIPPED

pytestmark = pytest.mark.usefixtures("spark")


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


def write_csv(path: Path, rows: list[tuple[str, ...]], header: tuple[str, ...] = ("product_id", "title")) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def run(source: object, target: object, *more: str, model: object = SHIPPED, text: str = "title") -> int:
    arguments = ["--source", str(source), "--target", str(target), "--model", str(model), "--text-columns", text, *more]
    return run_command(CategorizeSettings, main, "categorize", arguments)


def rows_of(spark, target: object, table: str = "") -> dict[str, object]:
    frame = spark.read.format("delta").load(f"{target}{table}")
    return {row["product_id"]: row for row in frame.collect()}


def runs_of(spark, target: object) -> list[object]:
    return spark.read.format("delta").load(f"{target}_runs").orderBy("started_at").collect()


def commits(spark, target: object) -> int:
    return delta_table(spark, locate(spark, str(target))).history().count()


ROWS = [("1", "steel kettle"), ("2", "detective novel, paperback"), ("3", "usb cable for phones"), ("4", "cotton shirt")]


def test_the_samples_first_night(spark, lake) -> None:
    options = ("--carry", "title,price", "--order-by", "updated_at")
    assert run(SAMPLES / "catalog.csv", lake, *options, text="title,description") == 0
    table = spark.read.format("delta").load(str(lake))
    source = spark.read.csv(str(SAMPLES / "catalog.csv"), header=True, multiLine=True, escape='"').count()
    (ledger,) = runs_of(spark, lake)
    rejected = spark.read.format("delta").load(f"{lake}_rejected")
    assert ledger["rows_in"] == source == table.count() + rejected.count()
    assert table.select("product_id").distinct().count() == table.count() == ledger["rows_scored"]
    assert {row["reason"]: row["count"] for row in rejected.groupBy("reason").count().collect()} == {
        "no id": 2,
        "older copy of the id": 2,
    }
    rows = rows_of(spark, lake)
    assert rows["P-1001"]["title"] == "Copper Bottom Saucepan, 18 cm"
    assert {rows[i]["status"] for i in ("P-1911", "P-1912", "P-1913")} == {"unclassifiable"}
    assert {row["run_id"] for row in rows.values()} == {ledger["run_id"]}
    assert {row["model_version"] for row in rows.values()} == {ledger["model_version"]}
    assert ledger["rows_unclassifiable"] == 3
    assert sum(ledger["category_shares"].values()) == pytest.approx(1)
    assert json.loads(ledger["settings"])["order_by"] == "updated_at"


def test_the_tables_have_their_schema_and_constraints(spark, lake, tmp_path) -> None:
    assert run(write_csv(tmp_path / "in.csv", ROWS), lake) == 0
    for suffix, schema in (("", CATEGORIZED), ("_rejected", REJECTED), ("_runs", RUNS)):
        found = spark.read.format("delta").load(f"{lake}{suffix}").schema
        assert [(f.name, f.dataType) for f in found] == [(f.name, f.dataType) for f in schema]
    details = delta_table(spark, locate(spark, str(lake))).detail().collect()[0]
    assert details["minReaderVersion"] == 1
    assert {name.removeprefix("delta.constraints.") for name in details["properties"]} >= {
        "known_status",
        "category_or_reason",
        "confidence_is_a_probability",
    }
    for bad in (
        "'9', NULL, 0.5, 'categorized'",
        "'9', 'Books', 1.5, 'categorized'",
        "NULL, 'Books', 0.5, 'categorized'",
        "'9', 'Books', 0.5, 'fine'",
    ):
        with pytest.raises(Exception, match=r"CHECK constraint|NOT NULL"):
            spark.sql(
                f"INSERT INTO delta.`{lake}` (product_id, category, confidence, status, model_version, run_id, scored_at)"
                f" SELECT {bad}, 'm', 'r', current_timestamp()"
            )


def test_data_files_are_compressed_by_zstandard_unless_another_way_is_asked_for(spark, lake, tmp_path, monkeypatch) -> None:
    source, name = write_csv(tmp_path / "in.csv", ROWS), "spark.sql.parquet.compression.codec"

    def codecs() -> set[str]:
        return {parquet.ParquetFile(file).metadata.row_group(0).column(0).compression for file in lake.glob("*.parquet")}

    assert run(source, lake) == 0
    assert codecs() == {"ZSTD"}
    given = spark.sparkContext.getConf().set(name, "gzip")
    monkeypatch.setattr(spark.sparkContext, "getConf", lambda: given)
    assert run(source, lake, "--mode", "full") == 0
    assert codecs() == {"ZSTD", "GZIP"}
    monkeypatch.undo()
    configure(spark)
    assert spark.conf.get(name) == "zstd"


def test_the_same_night_again_adds_no_commit(spark, lake, tmp_path, capsys) -> None:
    source = write_csv(tmp_path / "in.csv", ROWS)
    assert run(source, lake) == 0
    before = [commits(spark, f"{lake}{suffix}") for suffix in ("", "_rejected", "_runs")]
    capsys.readouterr()
    assert run(source, lake) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert [commits(spark, f"{lake}{suffix}") for suffix in ("", "_rejected", "_runs")] == before


@pytest.mark.fault(
    "the same run again, after one whose table is unchanged, with `--mode full`, and with the table `_rejected` gone",
    "every row rewritten; the rejects written again",
    "rows and rejects written again",
)
def test_what_is_asked_for_or_gone_is_written_again(spark, lake, tmp_path, capsys) -> None:
    source = write_csv(tmp_path / "in.csv", [*ROWS, ("", "no id")])
    assert run(source, lake) == 0
    assert run(source, lake, "--mode", "full") == 0
    assert {row["run_id"] for row in rows_of(spark, lake).values()} == {runs_of(spark, lake)[-1]["run_id"]}
    shutil.rmtree(f"{lake}_rejected")
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
    assert run(source, lake) == 0
    assert [row["reason"] for row in spark.read.format("delta").load(f"{lake}_rejected").collect()] == ["no id"]
    capsys.readouterr()
    assert run(source, lake) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_the_next_night_scores_only_what_changed(spark, lake, tmp_path) -> None:
    assert run(write_csv(tmp_path / "in.csv", ROWS), lake) == 0
    before = rows_of(spark, lake)
    changed = [*ROWS[:2], ("3", "wooden chair"), *ROWS[3:], ("5", "yoga mat"), ("", "no id")]
    assert run(write_csv(tmp_path / "in.csv", changed), lake) == 0
    after, ledger = rows_of(spark, lake), runs_of(spark, lake)[-1]
    assert (ledger["rows_in"], ledger["rows_scored"], ledger["rows_unchanged"], ledger["rows_rejected"]) == (6, 2, 3, 1)
    assert {i for i in after if after[i]["run_id"] == ledger["run_id"]} == {"3", "5"}
    assert all(after[i] == before[i] for i in "124")
    assert after["3"]["category"] == "Household"


def test_a_night_without_changed_rows_writes_no_data_file_and_is_known_the_next_time(spark, lake, tmp_path, capsys) -> None:
    assert run(write_csv(tmp_path / "in.csv", ROWS), lake) == 0
    files = set(lake.glob("*.parquet"))
    # The same rows in another order: a new version of the source with nothing new in it.
    assert run(write_csv(tmp_path / "in.csv", ROWS[::-1]), lake) == 0
    assert set(lake.glob("*.parquet")) == files
    assert runs_of(spark, lake)[-1]["rows_unchanged"] == 4
    capsys.readouterr()
    assert run(tmp_path / "in.csv", lake) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_a_change_of_a_carried_column_reaches_the_table(spark, lake, tmp_path) -> None:
    header = ("product_id", "title", "price")
    assert run(write_csv(tmp_path / "in.csv", [("1", "lamp", "5"), ("2", "chair", "6")], header), lake, "--carry", "price") == 0
    assert run(write_csv(tmp_path / "in.csv", [("1", "lamp", "5"), ("2", "chair", "7")], header), lake, "--carry", "price") == 0
    assert {i: row["price"] for i, row in rows_of(spark, lake).items()} == {"1": "5", "2": "7"}
    assert runs_of(spark, lake)[-1]["rows_scored"] == 1


def test_scores_of_other_labels_score_all_rows_again_once(spark, lake, tmp_path, clocks) -> None:
    source = write_csv(tmp_path / "in.csv", ROWS)
    assert run(source, lake) == 0
    assert {len(row["scores"]) for row in rows_of(spark, lake).values()} == {4}
    assert run(source, lake, "--scores", "top:2") == 0
    best = {i: max(row["scores"].items(), key=lambda one: one[1]) for i, row in rows_of(spark, lake).items()}
    assert {len(row["scores"]) for row in rows_of(spark, lake).values()} == {2}
    assert best == {i: (row["category"], row["confidence"]) for i, row in rows_of(spark, lake).items()}
    assert commits(spark, lake) == 3
    assert run(source, lake, "--scores", "top:2", "--verify") == 0
    assert commits(spark, lake) == 3
    assert run(write_csv(tmp_path / "in.csv", [*ROWS, ("5", "wool scarf")]), lake, "--scores", "top:2") == 0
    assert [clock.texts for clock in clocks] == [4, 4, 1]
    assert run(source, lake, "--scores", "none", "--verify") == 0
    assert {row["scores"] for row in rows_of(spark, lake).values()} == {None}


def test_other_scores_are_found_where_no_note_tells_of_them(spark, lake, tmp_path, clocks) -> None:
    source = write_csv(tmp_path / "in.csv", ROWS)
    assert run(source, lake, "--scores", "top:2") == 0
    # After a change by another writer the last metadata says nothing about the rows.
    spark.sql(f"UPDATE delta.`{lake}` SET scores = map('Books', 1.0F) WHERE product_id = '2'")
    assert run(source, lake, "--scores", "top:2") == 0
    assert [clock.texts for clock in clocks] == [4, 1]
    assert {len(row["scores"]) for row in rows_of(spark, lake).values()} == {2}


@pytest.mark.parametrize("missing", ["keep", "mark"])
def test_a_product_that_comes_back_has_the_scores_of_the_others(spark, lake, tmp_path, clocks, missing) -> None:
    source, options = tmp_path / "in.csv", ("--missing", missing, "--guard-removed", "inf")
    assert run(write_csv(source, ROWS), lake, "--scores", "none", *options) == 0
    for scores in ("all", "top:2"):
        assert run(write_csv(source, ROWS[:-1]), lake, "--scores", scores, *options) == 0
        assert run(write_csv(source, ROWS), lake, "--scores", scores, *options) == 0
        assert {len(row["scores"]) for row in rows_of(spark, lake).values()} == {4 if scores == "all" else 2}
    assert [clock.texts for clock in clocks] == [4, 3, 1, 3, 1]
    state = read_state(spark, locate(spark, str(lake)))
    assert state.last["scores_kept"] == 2


def test_scores_that_are_none_of_the_kinds_are_refused(lake, tmp_path, capsys) -> None:
    assert run(write_csv(tmp_path / "in.csv", ROWS), lake, "--scores", "top:many") == 2
    assert "Expected --scores as all, none, or top:N with N from 1 on, found 'top:many'; correct it." in capsys.readouterr().err
    assert not lake.exists()


def test_another_model_scores_all_rows_again(spark, lake, tmp_path, tiny) -> None:
    source = write_csv(tmp_path / "in.csv", ROWS)
    assert run(source, lake) == 0
    assert run(source, lake, model=tiny) == 0
    assert runs_of(spark, lake)[-1]["rows_scored"] == 4
    assert {row["model_version"].split("/")[0] for row in rows_of(spark, lake).values()} == {"tiny"}


def test_full_replaces_all_rows_and_takes_new_carried_columns(spark, lake, tmp_path) -> None:
    assert run(write_csv(tmp_path / "in.csv", ROWS), lake) == 0
    source = write_csv(tmp_path / "in.csv", [("1", "steel kettle", "5")], ("product_id", "title", "price"))
    assert run(source, lake, "--carry", "price") == 2
    assert run(source, lake, "--carry", "price", "--mode", "full") == 0
    assert {i: row["price"] for i, row in rows_of(spark, lake).items()} == {"1": "5", "2": None, "3": None, "4": None}
    assert run(source, lake, "--carry", "price", "--mode", "full", "--missing", "delete") == 0
    rows = rows_of(spark, lake)
    assert set(rows) == {"1"}
    assert rows["1"]["price"] == "5"
    # The constraint outlives the change of columns.
    with pytest.raises(Exception, match="NOT NULL"):
        spark.sql(
            f"INSERT INTO delta.`{lake}` (product_id, category, status, model_version, run_id, scored_at)"
            " SELECT NULL, 'Books', 'categorized', 'm', 'r', current_timestamp()"
        )


def test_a_run_that_stopped_before_its_ledger_row_is_recovered(spark, lake, tmp_path, capsys) -> None:
    source = write_csv(tmp_path / "in.csv", ROWS)
    assert run(source, lake) == 0
    (before,) = runs_of(spark, lake)
    spark.sql(f"DELETE FROM delta.`{lake}_runs`")
    assert run(source, lake) == 0
    assert f"The ledger now knows the run {before['run_id']}" in capsys.readouterr().out
    (after,) = runs_of(spark, lake)
    assert after["run_id"] == before["run_id"]
    assert after["rows_in"] == 4


def test_a_change_by_another_hand_is_not_taken_for_done(spark, lake, tmp_path) -> None:
    source = write_csv(tmp_path / "in.csv", ROWS)
    assert run(source, lake) == 0
    spark.sql(f"DELETE FROM delta.`{lake}` WHERE product_id = '2'")
    assert run(source, lake) == 0
    assert set(rows_of(spark, lake)) == {"1", "2", "3", "4"}
    assert runs_of(spark, lake)[-1]["rows_scored"] == 1


def test_tables_by_name(spark, tmp_path) -> None:
    spark.sql("CREATE DATABASE IF NOT EXISTS nightly")
    spark.createDataFrame(ROWS, "product_id string, title string").write.format("delta").mode("overwrite").saveAsTable(
        "nightly.catalogue"
    )
    for suffix in ("", "_rejected", "_runs"):
        spark.sql(f"DROP TABLE IF EXISTS nightly.categorized{suffix}")
    assert run("nightly.catalogue", "nightly.categorized") == 0
    assert run("nightly.catalogue", "nightly.categorized") == 0
    assert spark.table("nightly.categorized").count() == 4
    kept = {"known_status", "category_or_reason", "confidence_is_a_probability"}
    # Both ways of writing leave the checks in place.
    for mode in ("incremental", "full", "incremental"):
        properties = spark.sql("DESCRIBE DETAIL nightly.categorized").collect()[0]["properties"]
        assert {name.removeprefix("delta.constraints.") for name in properties} >= kept
        spark.sql(f"INSERT INTO nightly.catalogue VALUES ('{mode}', 'yoga mat')")
        assert run("nightly.catalogue", "nightly.categorized", "--mode", mode) == 0
    assert spark.table("nightly.categorized_runs").orderBy("started_at").collect()[0]["source_version"].startswith("delta:0:")
    assert run("nightly.categorized", "nightly.categorized", "--carry", "title") == 2


def test_delta_rs_reads_the_tables(lake, tmp_path) -> None:
    assert run(write_csv(tmp_path / "in.csv", ROWS), lake) == 0
    frame = deltalake.DeltaTable(str(lake)).to_pandas()
    assert dict(zip(frame["product_id"], frame["category"], strict=True)) == {
        "1": "Household",
        "2": "Books",
        "3": "Electronics",
        "4": "Clothing & Accessories",
    }
    assert dict(frame["scores"][0]).keys() == {"Books", "Clothing & Accessories", "Electronics", "Household"}
    assert deltalake.DeltaTable(f"{lake}_runs").to_pandas()["rows_in"].tolist() == [4]


def test_texts_that_would_move_a_terminal_are_shown_escaped(lake, tmp_path, capsys) -> None:
    source = write_csv(tmp_path / "in.csv", [("1", "\x1b[31mred lamp\x07 \u202eevil")])
    assert run(source, lake, "--carry", "title", "--preview", "3") == 0
    shown = capsys.readouterr().out
    assert "\\x1b[31mred lamp" in shown
    assert not any(character in shown for character in "\x1b\x07\u202e")


def test_one_large_text_among_small_ones(spark, lake, tmp_path) -> None:
    source = write_csv(tmp_path / "in.csv", [*ROWS, ("5", "wooden chair " * 600_000)])
    assert run(source, lake) == 0
    assert rows_of(spark, lake)["5"]["category"] == "Household"


@pytest.mark.parametrize(
    ("change", "code", "because"),
    [
        ({"--source": "nowhere/at/all.csv"}, 2, "found nothing; correct the path"),
        ({"--text-columns": "name"}, 2, "Expected the column name in"),
        ({"--id-column": "sku"}, 2, "Expected the column sku in"),
        ({"--order-by": "changed"}, 2, "Expected the column changed in"),
        ({"--carry": "price"}, 2, "Expected the column price in"),
        ({"--model": "nowhere"}, 3, "Expected a bundle"),
        ({"--mode": "sometimes"}, 2, "invalid choice"),
        ({"--text-columns": ","}, 2, "Expected at least one text column"),
    ],
)
def test_wrong_use_writes_nothing(lake, tmp_path, capsys, change, code, because) -> None:
    settings = {
        "--source": write_csv(tmp_path / "in.csv", ROWS),
        "--target": str(lake),
        "--model": str(SHIPPED),
        "--text-columns": "title",
        **change,
    }
    assert run_command(CategorizeSettings, main, "categorize", [word for pair in settings.items() for word in pair]) == code
    error = capsys.readouterr().err
    assert because in error
    assert error.startswith("error: ")
    assert len(error.strip().splitlines()) == 1
    assert not list(tmp_path.glob("lake*"))


def refused(capsys, because: str, *arguments: object) -> None:
    assert run(*arguments) == 2
    assert because in capsys.readouterr().err


def test_an_empty_source(lake, tmp_path, capsys) -> None:
    refused(capsys, "Expected rows in", write_csv(tmp_path / "in.csv", []), lake)
    assert not list(tmp_path.glob("lake*"))


def test_an_order_column_without_an_order(spark, lake, tmp_path, capsys) -> None:
    # Also in a run without copies, which would not use it.
    spark.sql("SELECT '1' AS product_id, 'lamp' AS title, parse_json('1') AS at").write.parquet(str(tmp_path / "in"))
    refused(capsys, "Expected the column at to be string or numeric", tmp_path / "in", lake, "--order-by", "at")
    assert not list(tmp_path.glob("lake*"))


def test_source_and_target_alike(spark, lake, capsys) -> None:
    spark.createDataFrame(ROWS, "product_id string, title string").write.format("delta").save(str(lake))
    for target in (lake, f"{lake}/", f"{lake.parent}/../{lake.parent.name}/lake"):
        assert run(lake, target) == 2
    assert "target" in capsys.readouterr().err
    assert commits(spark, lake) == 1


def test_targets_that_are_not_ours(spark, lake, tmp_path, capsys) -> None:
    source = write_csv(tmp_path / "in.csv", ROWS)
    spark.createDataFrame(ROWS, "a string, b string").write.parquet(str(lake))
    refused(capsys, "Expected a Delta table, or nothing yet, at the target", source, lake)
    other = tmp_path / "other"
    spark.createDataFrame(ROWS, "a string, b string").write.format("delta").save(str(other))
    refused(capsys, "found no product_id string, category string", source, other)
    assert commits(spark, other) == 1
    file = tmp_path / "file"
    file.write_text("x")
    refused(capsys, "Expected a Delta table, or nothing yet, at the target", source, file)


@pytest.mark.parametrize("inside", ["categorized", "there", "a/b"])
def test_a_target_inside_of_another_table(spark, lake, capsys, inside: str) -> None:
    spark.createDataFrame(ROWS, "product_id string, title string").write.format("delta").save(str(lake))
    (lake / "there").mkdir()
    refused(capsys, "Expected a target outside of other Delta tables, found", lake, lake / inside)
    assert commits(spark, lake) == 1


def test_a_carried_column_under_one_of_our_names(lake, tmp_path, capsys) -> None:
    source = write_csv(tmp_path / "in.csv", [("1", "lamp", "x")], ("product_id", "title", "category"))
    refused(capsys, "names of their own, found category", source, lake, "--carry", "category")


def test_a_text_column_that_is_a_number(spark, lake, tmp_path, capsys) -> None:
    spark.createDataFrame([("1", 5)], "product_id string, title int").write.parquet(str(tmp_path / "in"))
    refused(capsys, "Expected the column title to be string", tmp_path / "in", lake)


def test_broken_quoting_writes_nothing(lake, tmp_path, capsys) -> None:
    source = tmp_path / "in.csv"
    source.write_text('product_id,title\n1,"lamp\n2,chair\n')
    refused(capsys, "still open at its end", source, lake)
    assert not list(tmp_path.glob("lake*"))


def test_where_the_time_went(spark, lake, tmp_path, capsys) -> None:
    assert run(write_csv(tmp_path / "in.csv", ROWS), lake) == 0
    seconds = runs_of(spark, lake)[0]["seconds"]
    assert set(seconds) == {"counting", "scoring", "writing", "start", "reading", "text", "network"}
    assert all(value >= 0 for value in seconds.values())
    assert 0 < seconds["text"] + seconds["network"] + seconds["start"] <= 2 * seconds["scoring"]
    assert "of the scoring tasks together: start" in capsys.readouterr().out


def test_a_ledger_of_an_older_version_goes_on(spark, lake, tmp_path) -> None:
    assert run(write_csv(tmp_path / "in.csv", ROWS), lake) == 0
    older = spark.read.format("delta").load(f"{lake}_runs").drop("seconds")
    older.write.format("delta").mode("overwrite").option("overwriteSchema", True).save(f"{lake}_runs")
    assert run(write_csv(tmp_path / "in.csv", [*ROWS, ("5", "yoga mat")]), lake) == 0
    assert [row["seconds"] is None for row in runs_of(spark, lake)] == [True, False]


@pytest.mark.parametrize("mode", ["incremental", "full"])
def test_each_row_is_scored_once(spark, lake, tmp_path, clocks, mode) -> None:
    """Counts, checks and the table all come from one evaluation of the UDF."""
    assert run(write_csv(tmp_path / "in.csv", [*ROWS, ("4", "a copy"), ("", "no id")]), lake, "--mode", mode) == 0
    assert clocks[0].texts == 4
    assert run(write_csv(tmp_path / "in.csv", [*ROWS[:3], ("4", "wooden chair")]), lake, "--mode", mode) == 0
    assert clocks[1].texts == (1 if mode == "incremental" else 4)
