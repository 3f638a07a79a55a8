"""`categorize --verify`: the whole table against the whole source."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.model.bundle import load_bundle
from lib.scoring.catalogue import CatalogueColumns
from lib.scoring.plan import Outcome, Plan
from lib.scoring.verification import verify
from lib.tables.locations import locate
from lib.tables.sources import read_source
from lib.tables.target import tables_of
from schemas.tables import FATAL_TEXT
from tests.conftest import SHIPPED
from tests.faults.nights import FIRST, SECOND, ledger, run, write_source
from tests.spark.conftest import rollback

pytestmark = pytest.mark.usefixtures("spark")


@pytest.mark.fault(
    "rows changed, added and removed by another writer, then `--verify`",
    "each kind is reported, with the rows and an id",
    "each kind reported",
)
def test_a_table_that_another_hand_has_changed_is_found(spark, tmp_path: Path, capsys) -> None:
    source, lake = write_source(tmp_path / "in.parquet", FIRST, (None, "lamp"), ("1", "copy")), tmp_path / "lake"
    assert run(source, lake, "--verify") == 0
    assert "verified: 4 rows are as source and bundle give them, 4 of them scored again" in capsys.readouterr().out
    write_source(source, {**SECOND, "7": "", "8": "!!!"})
    assert run(source, lake, "--verify") == 0
    assert run(source, lake, "--verify") == 0
    said = capsys.readouterr().out
    assert "nothing to do" in said
    # The product that the source no longer holds stays.
    assert said.count("verified: 8 rows") == 2
    table = f"delta.`{lake}`"
    review = "CASE status WHEN 'review' THEN 'categorized' ELSE 'review' END"
    for change in (
        f"UPDATE {table} SET status = {review}, reason = CASE status WHEN 'review' THEN NULL ELSE 'x' END WHERE product_id = '1'",
        f"UPDATE {table} SET missing_since = scored_at, model_version = 'other/1' WHERE product_id = '2'",
        f"INSERT INTO {table} SELECT * FROM {table} WHERE product_id = '3'",
        f"UPDATE {table} SET scores = NULL, category = NULL, status = 'unclassifiable', reason = 'x' WHERE product_id = '5'",
        f"DELETE FROM {table} WHERE product_id = '6'",
        f"UPDATE {table} SET text_hash = 'x' WHERE product_id = '8'",
    ):
        spark.sql(change)
    # The run would repair what it sees; here nothing is written.
    plan = Plan(CatalogueColumns("product_id", ("title",)), "incremental", "native", {})
    tables, read = tables_of(locate(spark, str(lake))), read_source(spark, locate(spark, str(source)))
    assert verify(spark, read, tables, load_bundle(str(SHIPPED)), plan, Outcome(None)).faults == {
        "of the source are not in the table": (1, "6"),
        "have another text or other carried values than in the source": (1, "8"),
        "were scored by another model": (1, "2"),
        "are in the source and marked as missing": (1, "2"),
        "have a category, status or confidence that does not follow from their scores": (1, "1"),
        "are in the table more than once": (1, "3"),
        "get another category or confidence now": (1, "5"),
    }


def test_products_that_are_gone_are_as_missing_says(spark, tmp_path: Path, capsys) -> None:
    source, lake = write_source(tmp_path / "in.parquet", FIRST), tmp_path / "lake"
    assert run(source, lake) == 0
    write_source(source, SECOND)
    assert run(source, lake, "--verify", "--missing", "mark") == 0
    spark.sql(f"UPDATE delta.`{lake}` SET missing_since = NULL WHERE product_id = '4'")
    capsys.readouterr()
    # What has changed after the last run is repaired, or reported.
    assert run(source, lake, "--verify", "--missing", "mark") == 0
    assert run(source, lake, "--verify", "--missing", "delete") == 0
    assert "verified: 5 rows" in capsys.readouterr().out
    # A category is not compared with the source, so a run does not notice one that another writer has changed.
    spark.sql(f"UPDATE delta.`{lake}` SET category = 'Books' WHERE product_id = '1'")
    assert run(source, lake, "--verify", "--missing", "delete") == 4
    assert "1 rows have a category, status or confidence that does not follow from their scores" in capsys.readouterr().err


def test_what_stands_beside_the_table_is_verified_too(spark, tmp_path: Path, capsys) -> None:
    source, lake = write_source(tmp_path / "in.parquet", FIRST, (None, "lamp"), ("1", "copy")), tmp_path / "lake"
    assert run(source, lake, "--verify") == 0
    spark.sql(f"DELETE FROM delta.`{lake}_rejected` WHERE reason = 'no id'")
    assert run(source, lake, "--verify") == 4
    assert f"1 rows more are rejected than {lake}_rejected holds for the run" in capsys.readouterr().err
    assert run(source, lake, "--verify", "--mode", "full") == 0
    for file in Path(f"{lake}_runs").glob("part-*.parquet"):
        file.unlink()
    assert run(source, lake, "--verify") == 1
    assert "and of those next to it, whole and in place" in capsys.readouterr().err


def test_rows_that_a_rollback_brought_back_are_those_of_their_run(spark, tmp_path: Path, capsys) -> None:
    """Its rejects are under that run's id, a text that kills the engine among them."""
    source, lake = write_source(tmp_path / "in.parquet", {**FIRST, "bad": "older text"}), tmp_path / "lake"
    assert run(source, lake) == 0
    write_source(source, {**FIRST, "bad": "a text that kills"}, (None, "lamp"))
    assert run(source, lake) == 0
    made = ledger(spark, lake)[-1][0]
    rejects = f"delta.`{lake}_rejected`"
    spark.sql(f"INSERT INTO {rejects} VALUES ('bad', '{FATAL_TEXT}', '{{}}', '{made}', now())")
    assert run(write_source(tmp_path / "other.parquet", SECOND), lake) == 0
    assert rollback("--target", lake, "--to", made) == 0
    capsys.readouterr()
    assert run(source, lake, "--verify") == 0
    assert "nothing to do" in capsys.readouterr().out
    spark.sql(f"DELETE FROM {rejects} WHERE product_id IS NULL")
    assert run(source, lake, "--verify") == 4


def test_it_belongs_to_a_night(tmp_path: Path, capsys) -> None:
    source = write_source(tmp_path / "in.parquet", FIRST)
    for other in (("--dry-run",), ("--publish-anyway", "x")):
        assert run(source, tmp_path / "lake", "--verify", *other) == 2
        assert "Expected --verify with a run that publishes" in capsys.readouterr().err
