"""The job `explain` on a row of a catalogue."""

from __future__ import annotations

import json

from jobs.explain import ExplainSettings, main
from lib.command import run_command


def run(*arguments: str) -> int:
    return run_command(ExplainSettings, main, "explain", list(arguments))


def test_a_row_is_explained_by_the_copy_that_a_run_keeps(spark, tmp_path, capsys) -> None:
    rows = [("7", "cotton shirt", None, 1), ("7", "steel kettle", "with lid", 2), ("8", "usb cable", "", 1)]
    spark.createDataFrame(rows, "product_id string, title string, description string, at int").write.parquet(
        str(tmp_path / "catalogue")
    )
    asked = ("--source", str(tmp_path / "catalogue"), "--order-by", "at", "--json", "--id")
    assert run(*asked, "7") == 0
    assert {one["word"] for one in json.loads(capsys.readouterr().out)["words"]} == {"steel", "kettle", "with", "lid"}
    assert run(*asked, "9") == 2
    assert "Expected the id '9' in the column product_id" in capsys.readouterr().err
