"""Runs on Kubernetes: its own API server and controllers, with a stand-in for the kubelet that starts the pods' containers."""

from __future__ import annotations

import copy
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.samples import assert_same, night
from tests.conftest import ROOT, SAMPLES
from tests.deploy.kubernetes.conftest import ACCOUNT, NAMESPACE, Kubernetes
from tests.deploy.kubernetes.control_plane import SERVICE, ControlPlane, Refused
from tests.deploy.kubernetes.kubelet import Container
from tests.deploy.kubernetes.manifests import HOME, driver_pod, read
from tests.waiting import until

IMAGE = driver_pod()["containers"][0]["image"]
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
CLAIM = "spark.kubernetes.executor.volumes.persistentVolumeClaim.lake"
# Two small executors that compile little, as in the tests on other clusters.
SMALL = {
    "spark.executor.instances": "2",
    "spark.executor.cores": "1",
    "spark.executor.memory": "600m",
    "spark.kubernetes.executor.request.cores": "100m",
    "spark.executor.extraJavaOptions": "-XX:TieredStopAtLevel=1",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
    "spark.driver.memory": "800m",
    "spark.ui.enabled": "false",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.scheduler.minRegisteredResourcesRatio": "1",
    f"{CLAIM}.options.claimName": "lake",
}


def options(settings: dict[str, str]) -> list[str]:
    return [f"--conf={name}={value}" for name, value in settings.items()]


def source_in(kubernetes: Kubernetes, name: str) -> Path:
    """A new folder for one run, which the containers see too, with the samples as the source."""
    folder = kubernetes.folder / name
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "catalog.csv").write_bytes((SAMPLES / "catalog.csv").read_bytes())
    return folder


class FromOutside:
    """`./spark-submit.sh --master k8s://…` on this machine, as a person with the driver's service account."""

    def __init__(self, kubernetes: Kubernetes, folder: Path, image: str = IMAGE, **more: str) -> None:
        self._mark = folder.name
        self._kubernetes = kubernetes
        mount = {f"{CLAIM}.mount.path": str(kubernetes.folder), "spark.driver.host": f"{kubernetes.cluster.network}.2.1"}
        where = {"spark.kubernetes.namespace": NAMESPACE, "spark.kubernetes.executor.podNamePrefix": folder.name}
        where |= {"spark.kubernetes.executor.podTemplateFile": str(ROOT / "deploy" / "kubernetes" / "executor.yaml")}
        where |= {"spark.kubernetes.container.image": image}
        settings = options({**SMALL, **mount, **where, **more})
        job = ["categorize", *night(folder / "table", folder / "catalog.csv")]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYSPARK", "SPARK"))}
        inherited["KUBECONFIG"] = str(kubernetes.cluster.kubeconfig(kubernetes.cluster.token(NAMESPACE, ACCOUNT)))
        command = [str(ROOT / "spark-submit.sh"), f"--master=k8s://{kubernetes.cluster.url}", *settings, *job]
        self.output = folder / "output"
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(command, cwd=folder, env=inherited, stdout=file, stderr=subprocess.STDOUT)

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def executors(self) -> list[Container]:
        return self._kubernetes.node.pods(lambda metadata: metadata["name"].startswith(f"{self._mark}-exec-"))

    def until(self, condition: Any, what: str) -> None:
        until(lambda: condition() or self.process.poll() is not None, what, 400)
        assert self.process.poll() is None or condition(), self.said()

    def end(self) -> int:
        return self.process.wait(timeout=500)


def test_an_api_server_checks_every_field(control_plane: ControlPlane) -> None:
    """So the manifests that it accepts below have no field that Kubernetes does not know."""
    wrong = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "wrong"}, "spec": {"finalisers": []}}
    with pytest.raises(Refused, match="unknown field"):
        control_plane.create(wrong)


def test_a_night_from_outside_gives_the_same_table(spark, kubernetes: Kubernetes, on_one_machine: Path) -> None:
    folder = source_in(kubernetes, "outside")
    running = FromOutside(kubernetes, folder)
    assert running.end() == 0, running.said()
    assert "in 209 = categorized 205 + rejected 4" in running.said()
    assert "spark.executor.memoryOverhead is 634m in this job" in running.said()
    assert len(running.executors()) == 2
    assert_same(spark, folder / "table", on_one_machine)
    until(lambda: not kubernetes.cluster.call("GET", PODS)["items"], "the end of the executors' pods")
    assert kubernetes.cluster.refused(ACCOUNT) == set()


@pytest.mark.fault(
    "Kubernetes: SIGKILL of an executor's pod that has begun to work",
    "another pod takes its place; exit 0, the table of one machine",
    "another pod, exit 0, the same table",
)
def test_a_killed_executor_costs_nothing(spark, kubernetes: Kubernetes, on_one_machine: Path) -> None:
    folder = source_in(kubernetes, "killed")
    # With another executor, so short a run may be over before the new one comes.
    running = FromOutside(kubernetes, folder, **{"spark.executor.instances": "1"})
    running.until(lambda: any(_has_python(one) for one in running.executors()), "a Python in an executor")
    kubernetes.node.kill(next(one for one in running.executors() if _has_python(one)))
    assert running.end() == 0, running.said()
    assert running.executors()[0].ended == 137
    assert len(running.executors()) == 2
    assert_same(spark, folder / "table", on_one_machine)


@pytest.mark.fault(
    "Kubernetes: an image for the executors that is not there",
    "a line each half minute says that no executor comes, and where to look; nothing is written",
    "the line with the command that tells why, nothing written",
)
def test_an_image_that_is_not_there_is_told(kubernetes: Kubernetes) -> None:
    folder = source_in(kubernetes, "no-image")
    running = FromOutside(kubernetes, folder, image="registry.example.com/nothing:1")
    running.until(lambda: "no executor after 30 s" in running.said(), "a word of it")
    assert "see kubectl describe pods --namespace catalog --selector spark-app-selector=spark-" in running.said()
    states = [one["status"]["containerStatuses"][0]["state"] for one in kubernetes.cluster.call("GET", PODS)["items"]]
    assert {state["waiting"]["reason"] for state in states} == {"ImagePullBackOff"}
    running.process.terminate()
    assert running.end() == 143
    assert sorted(path.name for path in folder.iterdir()) == ["catalog.csv", "output"]
    until(lambda: not kubernetes.cluster.call("GET", PODS)["items"], "the end of the executors' pods")


def job_of(kubernetes: Kubernetes, folder: Path, *more: str) -> dict[str, Any]:
    """A Job as `kubectl create job --from=cronjob/catalog-categorizer` makes it, with the samples as source and small executors."""
    (cron,) = read("cronjob.yaml")
    spec = copy.deepcopy(cron["spec"]["jobTemplate"]["spec"])
    (container,) = spec["template"]["spec"]["containers"]
    place = f"/lake/{folder.name}"
    job = container["args"].index("categorize")
    small = {**SMALL, f"{CLAIM}.mount.path": "/lake"}
    wanted = night(f"{place}/table", f"{place}/catalog.csv", f"{HOME}/models/ecommerce")
    container["args"] = [*container["args"][:job], *options(small), *container["args"][job:], *wanted, *more]
    container["volumeMounts"].append({"name": "lake", "mountPath": "/lake"})
    spec["template"]["spec"]["volumes"].append({"name": "lake", "persistentVolumeClaim": {"claimName": "lake"}})
    metadata = {"name": folder.name, "namespace": NAMESPACE}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


@contextmanager
def running_job(kubernetes: Kubernetes, folder: Path, *more: str) -> Iterator[str]:
    """The Job's path; the Job is deleted afterwards."""
    kubernetes.cluster.create(job_of(kubernetes, folder, *more))
    path = f"{JOBS}/{folder.name}"
    yield path
    kubernetes.cluster.call("DELETE", f"{path}?propagationPolicy=Foreground")
    until(lambda: not kubernetes.cluster.exists(path), "the end of the job")


def ended(kubernetes: Kubernetes, path: str) -> dict[str, Any]:
    """How a Job ended: its last condition."""

    def last() -> dict[str, Any]:
        conditions = kubernetes.cluster.call("GET", path)["status"].get("conditions", [])
        return next((one for one in conditions if one["type"] in ("Complete", "Failed")), {})

    until(last, f"the end of {path}", 500)
    return last()


def drivers(kubernetes: Kubernetes, folder: Path) -> list[Container]:
    return kubernetes.node.pods(lambda metadata: metadata.get("labels", {}).get("batch.kubernetes.io/job-name") == folder.name)


def executors_of(kubernetes: Kubernetes, driver: Container) -> list[Container]:
    """The executors that Kubernetes removes with the driver."""
    owner = driver.pod["metadata"]["uid"]
    return kubernetes.node.pods(lambda metadata: any(one["uid"] == owner for one in metadata.get("ownerReferences", ())))


def test_a_night_in_a_pod_gives_the_same_table(spark, kubernetes: Kubernetes, on_one_machine: Path) -> None:
    folder = source_in(kubernetes, "in-a-pod")
    with running_job(kubernetes, folder) as path:
        told = ended(kubernetes, path)
        (driver,) = drivers(kubernetes, folder)
        assert told["type"] == "Complete", driver.said()
    # The file in the ConfigMap sets log_format to json.
    assert '"event": "run"' in driver.said()
    assert '"rows_in": 209' in driver.said()
    assert_same(spark, folder / "table", on_one_machine)
    assert kubernetes.cluster.refused(ACCOUNT) == set()


@pytest.mark.fault(
    "Kubernetes: a column that is not in the source",
    "the sentence in the driver's log; its pod ends with 2, and the Job does not try again",
    "sentence, exit 2, one pod, nothing written",
)
def test_wrong_input_ends_the_job_at_once(kubernetes: Kubernetes) -> None:
    folder = source_in(kubernetes, "wrong-input")
    with running_job(kubernetes, folder, "--text-columns", "titel") as path:
        told = ended(kubernetes, path)
        (driver,) = drivers(kubernetes, folder)
        assert driver.ended == 2, driver.said()
    assert (told["type"], told["reason"]) == ("Failed", "PodFailurePolicy")
    assert "Expected the column titel in" in driver.said()
    assert [path.name for path in folder.iterdir()] == ["catalog.csv"]


@pytest.mark.fault(
    "Kubernetes: SIGKILL of the driver's pod once its executors are at work",
    "the Job starts another driver, and Kubernetes removes the old one's executors; the night is whole",
    "second driver, executors of the first one removed, the same table",
)
def test_a_killed_driver_is_started_again(spark, kubernetes: Kubernetes, on_one_machine: Path) -> None:
    folder = source_in(kubernetes, "killed-driver")
    with running_job(kubernetes, folder) as path:
        until(lambda: drivers(kubernetes, folder), "a driver")
        (first,) = drivers(kubernetes, folder)
        until(
            lambda: any(map(_has_python, executors_of(kubernetes, first))) or first.ended is not None,
            "a Python in an executor",
            400,
        )
        kubernetes.node.kill(first)
        told = ended(kubernetes, path)
        _, second = drivers(kubernetes, folder)
        assert told["type"] == "Complete", second.said()
    assert (first.ended, second.ended) == (137, 0)
    assert_same(spark, folder / "table", on_one_machine)


def _has_python(container: Container) -> bool:
    """Whether a Python worker runs in it: its processes descend from the one that made its namespaces."""
    if container.process is None or container.ended is not None:
        return False
    return any("pyspark.daemon" in command for command in _commands_below(container.process.pid))


def _commands_below(pid: int) -> Iterator[str]:
    try:
        yield Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        # A process counts as the child of the thread that started it, and Java does so in any of its threads.
        children = [child for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()]
    except OSError:  # it has ended
        return
    for child in children:
        yield from _commands_below(int(child))


def test_the_name_of_the_api_server_is_the_one_in_the_manifest() -> None:
    assert f"--master=k8s://https://{SERVICE}" in driver_pod()["containers"][0]["args"]
