"""Runs on a real YARN, into tables on a real HDFS: `./run-tests.sh tests/faults --cluster`."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pyspark
import pytest

from jobs.categorize import CategorizeSettings, main
from lib.command import run_command
from lib.tables.remote import RemoteFolder
from tests.cluster.samples import assert_same, night
from tests.conftest import ROOT, SAMPLES, SHIPPED
from tests.fault_table import Fault
from tests.faults.models import OLD as OLD_MODEL
from tests.faults.models import chosen, new_version, relabel
from tests.faults.nights import (
    FIRST,
    SECOND,
    Night,
    arguments,
    at,
    commit_at_once,
    hashes_in,
    ledger,
    run,
    titles_hash,
    workers_pythons,
    write_source,
)
from tests.s3 import put
from tests.waiting import until

SPARK_JARS = Path(pyspark.__file__).parent / "jars"

if TYPE_CHECKING:
    from tests.faults.cluster import Cluster

Told = Callable[[str, str], Fault]
ON_YARN = ("--master", "yarn", "--deploy-mode", "cluster")
OLD = titles_hash(FIRST)
# Product 4 has vanished, and stays.
NEW = titles_hash({"4": FIRST["4"], **SECOND})


@pytest.fixture
def lake(spark, cluster: Cluster, tmp_path: Path) -> str:
    """A table on HDFS with one run; the sources of further runs are in the test's folder."""
    lake = f"{cluster.uri}/{tmp_path.name}/lake"
    assert run(write_source(tmp_path / "first.parquet", FIRST), lake) == 0
    write_source(tmp_path / "second.parquet", SECOND)
    return lake


def night_on_yarn(cluster: Cluster, folder: Path, stops: str, lake: str, fault: str = "") -> Night:
    # Without its scheme a path is one on HDFS there.
    job = arguments(f"file://{folder / 'second.parquet'}", lake)
    return Night(folder / "night", stops, job, "yarn", conf=cluster.spark_settings(fault), environment=cluster.environment())


def test_a_container_killed_on_yarn(spark, cluster: Cluster, lake: str, tmp_path: Path, fault: Told) -> None:
    told = fault(
        "YARN: SIGKILL of an executor's container while it scores", "YARN provides another one; the run is complete, exit 0"
    )
    night = night_on_yarn(cluster, tmp_path, "", lake, f"hold:{tmp_path / 'night'}")
    night.wait_for("scoring")
    killed = cluster.executors()
    assert killed
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    night.go("scoring")
    assert night.end() == 0, night.said()
    assert hashes_in(spark, lake) == NEW
    assert [status for _, status in ledger(spark, lake)] == ["published"] * 2
    told.saw("another container, run complete, exit 0")


@pytest.mark.parametrize(("phase", "committed"), [("publishing", False), ("published", True)])
def test_the_driver_killed_on_yarn(
    spark, cluster: Cluster, lake: str, tmp_path: Path, fault: Told, phase: str, committed: bool
) -> None:
    told = fault(
        f"YARN: SIGKILL of the driver at the phase `{phase}`",
        "YARN ends the application; the new rows are complete, the rerun adds the ledger's row"
        if committed
        else "YARN ends the application; the old rows stay, the rerun publishes the new ones",
    )
    night = night_on_yarn(cluster, tmp_path, phase, lake)
    night.wait_for(phase)
    night.kill()
    cluster.wait_until_idle()
    assert hashes_in(spark, lake) == (NEW if committed else OLD)
    assert len(ledger(spark, lake)) == 1
    assert run(tmp_path / "second.parquet", lake) == 0
    assert hashes_in(spark, lake) == NEW
    told.saw("application ended, new rows complete" if committed else "application ended, old rows untouched, rerun published")


def test_the_application_killed_on_yarn(spark, cluster: Cluster, lake: str, tmp_path: Path, fault: Told) -> None:
    told = fault("`yarn application -kill` while a run scores", "exit 1 and a sentence; the old rows stay")
    night = night_on_yarn(cluster, tmp_path, "", lake, f"hold:{tmp_path / 'night'}")
    night.wait_for("scoring")
    cluster.kill_applications()
    assert night.end() == 1
    assert "Expected Spark to run to the end" in night.said()
    night.go("scoring")
    cluster.wait_until_idle()
    assert hashes_in(spark, lake) == OLD
    assert run(tmp_path / "second.parquet", lake) == 0
    assert hashes_in(spark, lake) == NEW
    told.saw("exit 1 and a sentence, old rows untouched, rerun published")


def submit(cluster: Cluster, folder: Path, lake: str, *more: str, fault: str = "") -> subprocess.Popen[str]:
    """The real spark-submit in cluster mode: the bundle comes as an archive, the code from the zip."""
    bundles = shutil.make_archive(str(folder / "bundles"), "zip", SHIPPED.parent, SHIPPED.name)
    job = arguments(f"file://{folder / 'second.parquet'}", lake, *more, model=f"models/{SHIPPED.name}")
    settings = [word for setting in cluster.spark_settings(fault) for word in ("--conf", setting)]
    command = [ROOT / "spark-submit.sh", *ON_YARN, "--archives", f"{bundles}#models", *settings, "categorize", *job]
    return subprocess.Popen(
        command, env={**os.environ, **cluster.environment()}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_driver_that_yarn_starts_again(spark, cluster: Cluster, lake: str, tmp_path: Path, fault: Told) -> None:
    told = fault(
        "YARN in cluster mode: SIGKILL of the driver while it scores", "YARN starts it again; the run is complete, exit 0"
    )
    folder = tmp_path / "night"
    folder.mkdir()
    submitted = submit(cluster, tmp_path, lake, fault=f"hold:{folder}")
    until(lambda: (folder / "scoring").exists() or submitted.poll() is not None, "the phase scoring", 300)
    killed = cluster.drivers()
    assert killed
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    (folder / "scoring.go").touch()
    _, said = submitted.communicate(timeout=300)
    assert submitted.returncode == 0, said
    assert hashes_in(spark, lake) == NEW
    assert [status for _, status in ledger(spark, lake)] == ["published"] * 2
    told.saw("started again, run complete, exit 0")


def test_wrong_use_on_yarn(spark, cluster: Cluster, lake: str, tmp_path: Path, fault: Told) -> None:
    told = fault(
        "YARN in cluster mode: a column that is not in the source",
        "the sentence and exit 2 where it was submitted; the old rows stay",
    )
    submitted = submit(cluster, tmp_path, lake, "--text-columns", "nowhere")
    answered, said = submitted.communicate(timeout=300)
    assert submitted.returncode == 2, said
    # For `yarn application -status` while it waits in a queue.
    assert re.search(r"Submitted application application_\d+_\d+\n", said)
    assert "error: Expected the column nowhere in" in answered
    assert hashes_in(spark, lake) == OLD
    assert not cluster.files().listStatus(cluster.java.org.apache.hadoop.fs.Path(".catalog-categorizer"))
    told.saw("sentence and exit 2, old rows untouched")


@pytest.mark.fault(
    "YARN in cluster mode: a driver whose Python lacks the packages",
    "exit 2 and a sentence that names a package and what to do, where it was submitted",
    "exit 2, package named",
)
def test_a_driver_that_cannot_import_the_job(cluster: Cluster, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", str(bare)], check=True)
    settings = [word for setting in cluster.spark_settings() for word in ("--conf", setting)]
    done = subprocess.run(
        [ROOT / "spark-submit.sh", *ON_YARN, *settings, "maintain", "--target", "/nowhere"],
        env={**os.environ, **cluster.environment(), "PYSPARK_PYTHON": str(bare / "bin" / "python")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    there = re.escape(f"Expected Python in the driver's container ({bare}/bin/python) with what the job imports")
    assert re.search(there + r", found No module named '\w+'; leave out --no-pack", done.stdout)


def test_how_a_job_ended_is_asked_as_the_command_says(spark, cluster: Cluster, tmp_path: Path) -> None:
    """It is in the home of another user, on a file system that only an option names."""
    shutil.copytree(cluster.conf, tmp_path / "conf")
    for file in (tmp_path / "conf").iterdir():
        file.write_text(file.read_text().replace(f"<value>{cluster.uri}</value>", "<value>file:///</value>"))
    home = cluster.java.org.apache.hadoop.fs.Path("/user/somebody")
    cluster.files().mkdirs(home)
    cluster.files().setOwner(home, "somebody", "somebody")
    settings = (*cluster.spark_settings(), f"spark.hadoop.fs.defaultFS={cluster.uri}")
    options = [*ON_YARN, "--proxy-user", "somebody", *(word for setting in settings for word in ("--conf", setting))]
    done = subprocess.run(
        [ROOT / "spark-submit.sh", *options, "maintain", "--target", "/nowhere"],
        env={**os.environ, "HADOOP_CONF_DIR": str(tmp_path / "conf"), "YARN_CONF_DIR": str(tmp_path / "conf")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "error: Expected" in done.stdout
    assert "/nowhere" in done.stdout
    left = cluster.java.org.apache.hadoop.fs.Path(home, ".catalog-categorizer")
    assert not cluster.files().listStatus(left)


@pytest.mark.parametrize("mode", ["client", "cluster"])
def test_nothing_but_spark_on_the_nodes(spark, cluster: Cluster, tmp_path: Path, fault: Told, mode: str) -> None:
    told = fault(
        f"YARN in {mode} mode: no packages on the nodes; source, target and bundle on HDFS",
        "what is shipped runs; the same table as on one machine, the run's output and exit 0 where it was submitted",
    )
    place = f"{cluster.uri}/{tmp_path.name}"
    for name, local in (("catalog.csv", SAMPLES / "catalog.csv"), ("models", SHIPPED)):
        hadoop = cluster.java.org.apache.hadoop.fs.Path
        cluster.files().copyFromLocalFile(hadoop(f"file://{local}"), hadoop(f"{place}/{name}"))
    job = night(f"{place}/table", f"{place}/catalog.csv", f"{place}/models")
    settings = [f"spark.yarn.jars=local:{SPARK_JARS}/*", "spark.executor.instances=1", "spark.executor.memory=600m"]
    options = ["--master", "yarn", "--deploy-mode", mode, "--driver-memory", "700m"]
    options += [word for setting in settings for word in ("--conf", setting)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYSPARK", "SPARK"))}
    running = subprocess.Popen(
        [ROOT / "spark-submit.sh", *options, "categorize", *job],
        env={**environment, **cluster.environment()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    until(lambda: workers_pythons(cluster.folder) or running.poll() is not None, "a Python on a node", 300)
    pythons = workers_pythons(cluster.folder)
    said, _ = running.communicate(timeout=300)
    assert running.returncode == 0, said
    assert "in 209 = categorized 205 + rejected 4" in said
    assert "spark.executor.memoryOverhead is 634m in this job" in said
    assert "Submitted application application_" in said
    assert pythons
    assert all(python.is_relative_to(cluster.folder) for python in pythons), pythons
    assert run_command(CategorizeSettings, main, "categorize", night(tmp_path / "local")) == 0
    assert_same(spark, f"{place}/table", tmp_path / "local")
    told.saw("what was shipped ran, same table, exit 0")


def test_two_processes_commit_at_once_on_hdfs(spark, cluster: Cluster, lake: str, tmp_path: Path, fault: Told) -> None:
    told = fault("HDFS: two processes released at the same moment before their commits", "both publish, one starts over")
    commit_at_once(spark, lake, tmp_path)
    told.saw("both published, each id once")


def test_a_data_node_lost(spark, cluster: Cluster, lake: str, tmp_path: Path, fault: Told) -> None:
    told = fault("HDFS: a data node lost while a run is at the phase `scored`", "the other one serves; the run is complete")
    lost = []
    try:
        with at("scored", lambda: lost.append(cluster.hdfs.stopDataNode(0))):
            assert run(tmp_path / "second.parquet", lake) == 0
        assert hashes_in(spark, lake) == NEW
    finally:
        for node in lost:
            cluster.hdfs.restartDataNode(node)
    told.saw("run complete, exit 0")


@pytest.mark.parametrize("phase", ["planned", "publishing"])
def test_hdfs_in_safe_mode(spark, cluster: Cluster, lake: str, tmp_path: Path, fault: Told, capsys, phase: str) -> None:
    told = fault(f"HDFS goes into safe mode at the phase `{phase}`", "exit 1 and a sentence; nothing half written")
    actions = cluster.java.org.apache.hadoop.fs.SafeModeAction
    with at(phase, lambda: cluster.files().setSafeMode(actions.ENTER)):
        code = run(tmp_path / "second.parquet", lake)
    cluster.files().setSafeMode(actions.LEAVE)
    assert code == 1
    assert "found HDFS in safe mode" in capsys.readouterr().err
    assert hashes_in(spark, lake) == OLD
    assert run(tmp_path / "second.parquet", lake) == 0
    assert hashes_in(spark, lake) == NEW
    told.saw("exit 1 and a sentence, table as it was, rerun published")


def test_a_quota_on_hdfs(spark, cluster: Cluster, lake: str, tmp_path: Path, fault: Told, capsys) -> None:
    told = fault("HDFS: the target's quota is used up", "exit 1 and a sentence; nothing half written")
    folder = cluster.java.org.apache.hadoop.fs.Path(lake).getParent()
    unlimited = 2**63 - 1
    used = cluster.files().getContentSummary(folder).getSpaceConsumed()
    with at("publishing", lambda: cluster.files().setQuota(folder, unlimited, used + 1)):
        assert run(tmp_path / "second.parquet", lake) == 1
    assert "on HDFS used up" in capsys.readouterr().err
    assert hashes_in(spark, lake) == OLD
    cluster.files().setQuota(folder, -1, -1)
    assert run(tmp_path / "second.parquet", lake) == 0
    assert hashes_in(spark, lake) == NEW
    told.saw("exit 1 and a sentence, table as it was, rerun published")


@pytest.mark.fault(
    "a model on HDFS: the quota is used up while a new version is written",
    "exit 1 and a sentence; `current` as it was, and moved in one step once there is room",
    "exit 1 and a sentence, old version chosen, then the new one",
)
def test_a_model_on_hdfs(spark, cluster: Cluster, tmp_path: Path, capsys) -> None:
    models = RemoteFolder(put(spark, SHIPPED, f"{cluster.uri}/{tmp_path.name}/models/shop"))
    folder = cluster.java.org.apache.hadoop.fs.Path(models.place)
    used = cluster.files().getContentSummary(folder).getSpaceConsumed()
    with at("claimed", lambda: cluster.files().setQuota(folder, 2**63 - 1, used + 1)):
        assert relabel(models, tmp_path) == 1
    assert f"Expected a folder to write bundles into at {models.place}, found The DiskSpace quota" in capsys.readouterr().err
    assert chosen(models) == OLD_MODEL
    cluster.files().setQuota(folder, -1, -1)
    assert relabel(models, tmp_path) == 0
    assert chosen(models) == new_version(models)
