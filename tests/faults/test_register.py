"""One bundle has one version in MLflow, and no run stays RUNNING, whoever registers at the same time and whatever dies; on a real store, a database file."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lib.failpoints import REGISTER_PHASES
from tests.conftest import ROOT, SHIPPED
from tests.faults.nights import Night

PYTHON = ROOT / "build" / "mlflow" / "bin" / "python"
pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason="MLflow is not in build/mlflow; ./run-tests.sh puts it there, from requirements/mlflow.lock"
)
# The versions of the registered model, each with its run, and the status of each run, by experiment.
SCRIPT = """
import json, sys
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
versions = {int(one.version): one.run_id for one in client.search_model_versions("name='ecommerce'")}
runs = {
    experiment.name: {run.info.run_id: run.info.status for run in client.search_runs([experiment.experiment_id])}
    for experiment in client.search_experiments()
}
models = len(client.search_logged_models([experiment.experiment_id for experiment in client.search_experiments()]))
json.dump({"versions": versions, "runs": runs["ecommerce"], "elsewhere": runs["Default"], "models": models}, sys.stdout)
"""
AGAIN = "is version 1 of ecommerce already; nothing to do"


def registering(folder: Path, name: str, stops: str = "") -> Night:
    job = ["--model", str(SHIPPED), "--mlflow", f"sqlite:///{folder}/mlflow.db"]
    return Night(folder / name, stops, job, name="register", python=str(PYTHON), working_folder=folder)


def registered(folder: Path, name: str = "again") -> str:
    """What an undisturbed job says."""
    job = registering(folder, name)
    assert job.end() == 0, job.said()
    return job.said()


def make_store(folder: Path) -> None:
    """MLflow's tables, which it does not make safely if two clients find none at once."""
    script = "import mlflow, sys; mlflow.MlflowClient(sys.argv[1]).search_experiments()"
    subprocess.run([PYTHON, "-c", script, f"sqlite:///{folder}/mlflow.db"], cwd=folder, check=True)


def in_mlflow(folder: Path) -> dict[str, Any]:
    """What SCRIPT finds; all runs are in the experiment that was asked for."""
    command = [PYTHON, "-c", SCRIPT, f"sqlite:///{folder}/mlflow.db"]
    done = subprocess.run(command, cwd=folder, env={**os.environ}, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["elsewhere"] == {}
    return found


def assert_one_version(folder: Path) -> None:
    found = in_mlflow(folder)
    (run,) = found["versions"].values()
    assert (found["runs"], found["models"]) == ({run: "FINISHED"}, 1)


@pytest.mark.fault(
    "two `register` of one bundle, released at the same moment before MLflow gives them a version",
    "the one with the smaller version keeps it; the other withdraws its version, run and model, and says that the bundle is registered; exit 0",
    "one version, its run FINISHED, the other withdrawn",
)
def test_two_register_at_once(tmp_path: Path) -> None:
    make_store(tmp_path)
    both = [registering(tmp_path, name, "logged") for name in ("one", "two")]
    for job in both:
        job.wait_for("logged")
    for job in both:
        job.go("logged")
    assert [job.end() for job in both] == [0, 0], both[0].said() + both[1].said()
    said = sorted(AGAIN in job.said() for job in both)
    assert said == [False, True]
    assert_one_version(tmp_path)
    assert AGAIN in registered(tmp_path)


@pytest.mark.fault(
    "`register` of one bundle while another one is at the phase `logged`",
    "the one that is first keeps its version; the run of the other, still open, is closed, and withdrawn by its job",
    "one version, its run FINISHED, the other withdrawn",
)
def test_register_overtaken(tmp_path: Path) -> None:
    slow = registering(tmp_path, "slow", "logged")
    slow.wait_for("logged")
    assert "is version 1 of ecommerce at" in registered(tmp_path)
    slow.go("logged")
    assert slow.end() == 0, slow.said()
    assert AGAIN in slow.said()
    assert_one_version(tmp_path)


@pytest.mark.fault(
    "SIGKILL of `register`, once the run is in MLflow and once the version is too",
    "the next one registers, or says that it is done; no run stays RUNNING",
    "registered once, the open run closed",
)
@pytest.mark.parametrize("phase", REGISTER_PHASES)
def test_register_killed(tmp_path: Path, phase: str) -> None:
    job = registering(tmp_path, "killed", phase)
    job.wait_for(phase)
    job.kill()
    ((left, status),) = in_mlflow(tmp_path)["runs"].items()
    assert status == "RUNNING"
    said = registered(tmp_path)
    found = in_mlflow(tmp_path)
    if phase == "registered":
        assert AGAIN in said
        assert (found["versions"], found["runs"]) == ({"1": left}, {left: "FINISHED"})
        return
    assert f"run {left} of ecommerce, of another register of this bundle, was still open; it is closed as KILLED" in said
    new = found["versions"]["1"]
    assert found["runs"] == {left: "KILLED", new: "FINISHED"}
    again = registered(tmp_path, "third")
    assert AGAIN in again
    assert "KILLED" not in again


@pytest.mark.fault(
    "SIGKILL of the later of two `register` of one bundle, before it withdraws its version",
    "both versions stay; the next one says which is the copy",
    "the copy named, its run closed",
)
def test_a_copy_that_stayed(tmp_path: Path) -> None:
    late = registering(tmp_path, "late", ",".join(REGISTER_PHASES))
    late.wait_for("logged")
    assert "is version 1 of ecommerce at" in registered(tmp_path)
    late.go("logged")
    late.wait_for("registered")
    late.kill()
    said = registered(tmp_path, "third")
    assert AGAIN in said
    assert "ecommerce has the same bundle again, registered at the same time, as version 2; delete that" in said
    found = in_mlflow(tmp_path)
    assert set(found["versions"]) == {"1", "2"}
    assert "RUNNING" not in found["runs"].values()


def test_what_another_job_withdraws_meanwhile_is_left_out(tmp_path: Path) -> None:
    """A version that was listed, and a run that was found open, are gone when this job turns to them."""
    make_store(tmp_path)
    script = """
import sys
import mlflow
from training import versions

client = mlflow.MlflowClient(sys.argv[1])
run = client.create_run("0", tags={"bundle_digest": "d"})
client.create_registered_model("ecommerce")
version = client.create_model_version("ecommerce", "file:/tmp", run.info.run_id)
assert versions._with_tags(client, version).version == version.version
client.delete_model_version("ecommerce", str(version.version))
assert versions._with_tags(client, version) is None
assert versions._ended(client, run.info.run_id, "KILLED")
client.delete_run(run.info.run_id)
assert not versions._ended(client, run.info.run_id, "KILLED")
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [PYTHON, "-c", script, f"sqlite:///{tmp_path}/mlflow.db"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
