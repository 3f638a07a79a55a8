"""Spark's own message where a worker's Python does not start, as a sentence; tests/cluster asks a real cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.errors import InputError
from lib.scoring.preflight import ask_executors, check_executors, slots_of

STARTS = {
    "": "Expected Python at {python} on every executor, found none",
    'echo "python3: libc.so.6: version \\`GLIBC_2.99\' not found" >&2; exit 1': "Expected nodes with GLIBC_2.99 or newer",
    "echo 'exec: python3: Exec format error' >&2; exit 126": "Expected nodes of this machine's architecture",
    "echo \"No module named 'pyspark'\" >&2; exit 1": "Expected the Python module pyspark on the executors, found none",
}


@pytest.mark.parametrize("start", STARTS)
def test_a_python_that_does_not_start_is_a_sentence(spark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str) -> None:
    python = tmp_path / "python"
    if start:
        python.write_text(f"#!/bin/sh\n{start}\n")
        python.chmod(0o755)
    monkeypatch.setattr(spark.sparkContext, "pythonExec", str(python))
    with pytest.raises(InputError) as told:
        ask_executors(spark.sparkContext, "native")
    assert str(told.value).startswith(STARTS[start].format(python=python))


def test_as_many_tasks_ask_as_run_at_once(spark, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever spark.default.parallelism is."""
    monkeypatch.setattr(type(spark.sparkContext), "defaultParallelism", 400)
    assert slots_of(spark.sparkContext) == 2


def test_one_machine_is_not_asked(spark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask_executors(spark.sparkContext, "native")
    monkeypatch.setattr(spark.sparkContext, "pythonExec", str(tmp_path / "none"))
    check_executors(spark, "native")
