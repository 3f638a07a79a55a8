"""A night that the guardrails hold back, and its release."""

from __future__ import annotations

import pytest

from tests.faults.nights import FIRST, SECOND, hashes_in, ledger, run, titles_hash, write_source
from tests.spark.conftest import ALL_BOOKS, STRICT, versions

pytestmark = pytest.mark.usefixtures("spark")


def test_a_night_held_back_and_released(spark, lake, tmp_path, capsys) -> None:
    odd = write_source(tmp_path / "odd.parquet", ALL_BOOKS, (None, "no id"), (None, "no id either"))
    version = versions(spark, lake)
    capsys.readouterr()
    assert run(odd, lake, *STRICT, "--missing", "delete") == 4
    error = capsys.readouterr().err
    assert "the shares of the categories drifted by" in error
    assert "the share rejected rose from 0.000 to 0.286 (limit +0.05)" in error
    assert len(error.strip().splitlines()) == 1
    assert versions(spark, lake) == version
    assert hashes_in(spark, lake) == titles_hash(FIRST)
    (_, _), (held, status) = ledger(spark, lake)
    assert status == "held"
    assert held in error
    candidate = spark.read.format("delta").load(f"{lake}_held")
    assert {row["category"] for row in candidate.collect() if not row["vanished"]} == {"Books"}
    assert run("anything", lake, "--publish-anyway", "another-run") == 2
    assert f"found the run {held}" in capsys.readouterr().err
    assert run("anything", lake, "--publish-anyway", held) == 0
    assert hashes_in(spark, lake) == titles_hash(ALL_BOOKS)
    assert ledger(spark, lake)[1:] == [(held, "published")]
    # Released is as good as published: the input is known, twice does nothing.
    for again in ((odd, lake, *STRICT, "--missing", "delete"), ("anything", lake, "--publish-anyway", held)):
        capsys.readouterr()
        assert run(*again) == 0
        assert "nothing to do" in capsys.readouterr().out
    assert spark.read.format("delta").load(f"{lake}_rejected").filter(f"run_id = '{held}'").count() == 2


def test_a_held_night_that_the_table_has_left_behind(spark, lake, tmp_path, capsys) -> None:
    odd = write_source(tmp_path / "odd.parquet", ALL_BOOKS)
    assert run(odd, lake, *STRICT) == 4
    held = ledger(spark, lake)[1][0]
    assert run(tmp_path / "second.parquet", lake) == 0
    capsys.readouterr()
    assert run(odd, lake, "--publish-anyway", held) == 2
    assert "found later changes in it" in capsys.readouterr().err
    assert hashes_in(spark, lake) == titles_hash({"4": FIRST["4"], **SECOND})


def test_guardrails_look_at_the_whole_table(spark, lake, tmp_path) -> None:
    """One changed row of four is all Books; among the scored rows alone that would be a drift."""
    one = write_source(tmp_path / "one.parquet", {**FIRST, "1": "electric kettle"})
    assert run(one, lake, *STRICT) == 0
    assert spark.read.format("delta").load(f"{lake}_runs").orderBy("started_at").collect()[-1]["drift"] == pytest.approx(0)
