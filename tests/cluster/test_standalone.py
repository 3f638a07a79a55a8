"""The same command on a standalone cluster whose nodes have no Python, and the messages if something is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.categorize import CategorizeSettings, main
from lib.command import run_command
from tests.cluster.samples import assert_same, night
from tests.cluster.standalone import Standalone
from tests.conftest import ROOT
from tests.waiting import until


def on(cluster: Standalone) -> list[str]:
    settings = {"spark.executor.memory": "600m", "spark.ui.enabled": "false", "spark.sql.codegen.wholeStage": "false"}
    # Both workers are there when the first task is assigned.
    settings |= {"spark.scheduler.minRegisteredResourcesRatio": "1", "spark.databricks.delta.snapshotPartitions": "1"}
    settings |= {"spark.executor.extraJavaOptions": "-XX:TieredStopAtLevel=1", "spark.sql.shuffle.partitions": "2"}
    quick = ["--driver-java-options", "-XX:TieredStopAtLevel=1", "--driver-memory", "800m"]
    return ["--master", cluster.master, *quick, *(w for pair in settings.items() for w in ("--conf", "=".join(pair)))]


def started(cluster: Standalone, *arguments: str, cwd: Path) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYSPARK", "SPARK"))}
    command = [str(ROOT / "spark-submit.sh"), *on(cluster), *arguments]
    return subprocess.Popen(command, cwd=cwd, env=inherited, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_nodes_without_python_give_the_same_table(spark, standalone: Standalone, tmp_path: Path) -> None:
    running = started(standalone, "categorize", *night(tmp_path / "cluster"), cwd=tmp_path)
    until(lambda: standalone.pythons() or running.poll() is not None, "a Python on a worker", 300)
    pythons = standalone.pythons()
    said, _ = running.communicate()
    assert running.returncode == 0, said
    assert "in 209 = categorized 205 + rejected 4" in said
    assert pythons
    assert all("environment" in python.parts and python.is_relative_to(standalone.folder) for python in pythons), pythons
    assert run_command(CategorizeSettings, main, "categorize", night(tmp_path / "local")) == 0
    assert_same(spark, tmp_path / "cluster", tmp_path / "local")


@pytest.mark.fault(
    "a cluster's node whose Python lacks the packages",
    "exit 2 and a sentence that names node and packages, before anything is read or written",
    "exit 2, node and packages named, nothing written",
)
def test_a_node_without_the_packages_is_told_before_anything_is_read(standalone: Standalone, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", str(bare)], check=True)
    job = ["categorize", *night(tmp_path / "cluster")]
    job[job.index("--source") + 1] = str(tmp_path / "nowhere.csv")
    running = started(standalone, "--conf", f"spark.pyspark.python={bare}/bin/python", *job, cwd=tmp_path)
    said, _ = running.communicate()
    assert running.returncode == 2, said
    error = next(line for line in said.splitlines() if line.startswith("error: "))
    assert "no numpy (No module named 'numpy') on " in error
    assert "no pyarrow" in error
    assert "leave out --no-pack" in error
    assert [path.name for path in tmp_path.iterdir()] == ["bare"]
