"""Spark's own metrics of a run, in the way that docs/operating.md shows."""

from __future__ import annotations

import re
import socket
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.faults.nights import FIRST, Night, arguments, write_source

SHOWN = re.search(
    r"--conf spark\.ui\.prometheus\.enabled=true.*?categorize", (ROOT / "docs" / "operating.md").read_text(), re.DOTALL
)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def metrics_of(address: str) -> dict[str, float]:
    with urllib.request.urlopen(address, timeout=30) as answer:
        lines = [line for line in answer.read().decode().splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


@pytest.mark.usefixtures("spark")
def test_prometheus_reads_a_night_at_work(tmp_path: Path) -> None:
    assert SHOWN
    settings = [word for word in SHOWN.group().split() if word.startswith("spark.")]
    port = free_port()
    source = write_source(tmp_path / "in.parquet", FIRST)
    conf = (*settings, "spark.ui.enabled=true", f"spark.ui.port={port}")
    night = Night(tmp_path / "night", "scored", arguments(source, tmp_path / "lake"), conf=conf)
    night.wait_for("scored")
    executors = metrics_of(f"http://127.0.0.1:{port}/metrics/executors/prometheus")
    driver = metrics_of(f"http://127.0.0.1:{port}/metrics/prometheus")
    night.go("scored")
    assert night.end() == 0, night.said()
    done = [value for name, value in executors.items() if name.startswith("metrics_executor_completedTasks_total{")]
    assert done
    assert min(done) > 0
    assert any("BlockManager_memory_memUsed_MB" in name for name in driver)
