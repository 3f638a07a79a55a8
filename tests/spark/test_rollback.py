"""Rollback: a table to an older run, a model to an older bundle."""

from __future__ import annotations

import shutil

import pytest

from tests.faults.nights import FIRST, SECOND, hashes_in, ledger, run, titles_hash, vacuum_all
from tests.spark.conftest import rollback, versions

pytestmark = pytest.mark.usefixtures("spark")


def test_back_to_a_run_and_forth_again(spark, lake, first_night, tmp_path, capsys) -> None:
    assert run(tmp_path / "second.parquet", lake) == 0
    (first, _), (second, _) = ledger(spark, lake)
    assert rollback("--target", lake, "--to", first) == 0
    assert hashes_in(spark, lake) == titles_hash(FIRST)
    assert [status for _, status in ledger(spark, lake)] == ["published", "published", "rolled back"]
    capsys.readouterr()
    # With the input of the restored rows there is nothing to do, with that of the other run there is.
    assert run(first_night / "first.parquet", lake) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert rollback("--target", lake, "--to", first) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert rollback("--target", lake, "--to", second) == 0
    assert hashes_in(spark, lake) == titles_hash({"4": FIRST["4"], **SECOND})
    assert run(tmp_path / "first.parquet", lake) == 0
    assert hashes_in(spark, lake) == titles_hash({**SECOND, **FIRST})


@pytest.mark.parametrize(
    ("arguments", "code", "because"),
    [
        (("--target", "LAKE", "--to", "99"), 2, "Expected the version or the run '99' in the history"),
        (("--target", "LAKE", "--to", "a-run"), 2, "Expected the version or the run 'a-run'"),
        (("--target", "nowhere/at/all", "--to", "1"), 2, "Expected a table at nowhere/at/all"),
        (("--to", "1"), 2, "Expected one of --target and --model"),
        (("--target", "LAKE", "--model", "m", "--to", "1"), 2, "Expected one of --target and --model"),
        (("--target", "LAKE"), 2, "Expected --to"),
        (("--model", "nowhere", "--to", "1"), 3, "Expected a version of nowhere"),
    ],
)
def test_a_rollback_that_cannot_be(spark, lake, capsys, arguments, code, because) -> None:
    before = versions(spark, lake)
    assert rollback(*(str(lake) if word == "LAKE" else word for word in arguments)) == code
    assert because in capsys.readouterr().err
    assert versions(spark, lake) == before


def test_a_rollback_to_files_that_are_gone(spark, lake, tmp_path, capsys) -> None:
    assert run(tmp_path / "second.parquet", lake, "--mode", "full") == 0
    vacuum_all(spark, lake)
    before = versions(spark, lake)
    assert rollback("--target", lake, "--to", ledger(spark, lake)[0][0]) == 2
    assert "found some gone (vacuumed)" in capsys.readouterr().err
    assert versions(spark, lake) == before


def test_current_goes_back(tiny, tmp_path, capsys) -> None:
    shutil.copytree(tiny, tmp_path / "models")
    version = (tmp_path / "models" / "current").read_text().strip()
    shutil.copytree(tmp_path / "models" / version, tmp_path / "models" / "newer")
    (tmp_path / "models" / "current").write_text("newer\n")
    assert rollback("--model", tmp_path / "models", "--to", version) == 0
    assert (tmp_path / "models" / "current").read_text() == f"{version}\n"
    assert f"current names {version} (before: newer)" in capsys.readouterr().out
    assert rollback("--model", tmp_path / "models", "--to", "gone") == 3
