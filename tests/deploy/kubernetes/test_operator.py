"""A run under the released Spark operator, which starts the driver in cluster mode, from the image only."""

from __future__ import annotations

import copy
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyspark
import pytest
import yaml

from tests.cluster.samples import assert_same, night
from tests.deploy.kubernetes.conftest import NAMESPACE, Kubernetes
from tests.deploy.kubernetes.control_plane import PROGRAM, TOKEN, ControlPlane, Refused
from tests.deploy.kubernetes.manifests import HOME, read
from tests.deploy.kubernetes.test_nights import SMALL, source_in
from tests.waiting import until

OPERATOR = PROGRAM.parent / "operator"
APPLICATIONS = f"/apis/sparkoperator.k8s.io/v1beta2/namespaces/{NAMESPACE}/sparkapplications"
LAKE = {"name": "lake", "persistentVolumeClaim": {"claimName": "lake"}}


@dataclass
class Operator:
    process: subprocess.Popen[bytes]
    log: Path

    def is_at_work(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return True


@pytest.fixture(scope="module")
def definitions(control_plane: ControlPlane) -> None:
    found = [yaml.safe_load(file.read_text()) for file in PROGRAM.parent.glob("sparkoperator.k8s.io_*.yaml")]
    for definition in found:
        control_plane.create(definition)
    until(lambda: all(_is_known(control_plane, one["spec"]) for one in found), "the operator's objects")


def _is_known(control_plane: ControlPlane, definition: dict[str, Any]) -> bool:
    """Whether a client that asks for the kinds there are is told of this one, as the operator asks when it starts."""
    (version,) = definition["versions"]
    path = f"/apis/{definition['group']}/{version['name']}"
    if not control_plane.exists(path):
        return False
    return definition["names"]["plural"] in [one["name"] for one in control_plane.call("GET", path)["resources"]]


@pytest.fixture(scope="module")
def operator(definitions: None, kubernetes: Kubernetes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    cluster = kubernetes.cluster
    log = tmp_path_factory.mktemp("operator") / "log"
    environment = {"PATH": os.environ["PATH"], "HOME": str(log.parent), "KUBECONFIG": str(cluster.kubeconfig(TOKEN))}
    environment |= {"SPARK_HOME": str(Path(pyspark.__file__).parent)}
    environment |= {"KUBERNETES_SERVICE_HOST": cluster.address, "KUBERNETES_SERVICE_PORT": "443"}
    options = [f"--namespaces={NAMESPACE}", f"--health-probe-bind-address={cluster.address}:8081"]
    with log.open("wb") as file:
        started = subprocess.Popen(
            [OPERATOR, "controller", "start", *options], cwd=log.parent, env=environment, stdout=file, stderr=file
        )
    yield Operator(started, log)
    started.kill()
    started.wait()


def application(folder: Path, *more: str) -> dict[str, Any]:
    """The manifest's application, with the samples as the source and small executors."""
    (found,) = read("spark-application.yaml")
    found["metadata"] = {"name": folder.name, "namespace": NAMESPACE}
    spec = found["spec"]
    place = f"/lake/{folder.name}"
    spec["arguments"] += [*night(f"{place}/table", f"{place}/catalog.csv", f"{HOME}/models/ecommerce"), *more]
    # The operator takes other settings from its own fields.
    spec["sparkConf"] |= {
        name: value
        for name, value in SMALL.items()
        if not name.startswith(("spark.executor.", "spark.driver.", "spark.kubernetes."))
    }
    for role, memory in (("driver", "800m"), ("executor", "600m")):
        spec[role] |= {"cores": 1, "memory": memory, "javaOptions": "-XX:TieredStopAtLevel=1"}
        pod = spec[role]["template"]["spec"]
        pod["volumes"].append(copy.deepcopy(LAKE))
        pod["containers"][0]["volumeMounts"].append({"name": "lake", "mountPath": "/lake"})
    spec["executor"]["instances"] = 1
    return found


def ended(kubernetes: Kubernetes, folder: Path, operator: Operator) -> dict[str, Any]:
    """The state in which the application ended."""

    def state() -> dict[str, Any]:
        found: dict[str, Any] = kubernetes.cluster.call("GET", f"{APPLICATIONS}/{folder.name}").get("status", {})
        return found.get("applicationState", {})

    until(
        lambda: (
            operator.is_at_work() and state().get("state") in ("COMPLETED", "FAILED", "FAILED_SUBMISSION", "SUBMISSION_FAILED")
        ),
        f"the end of the application (see {operator.log})",
        500,
    )
    return state()


def said(kubernetes: Kubernetes, folder: Path) -> str:
    (driver,) = kubernetes.node.pods(lambda metadata: metadata["name"] == f"{folder.name}-driver")
    return driver.said()


def test_the_operators_own_definition_knows_every_field(
    definitions: None, control_plane: ControlPlane, kubernetes: Kubernetes
) -> None:
    (manifest,) = read("spark-application.yaml")
    manifest["metadata"]["namespace"] = NAMESPACE
    control_plane.call("POST", f"{APPLICATIONS}?fieldValidation=Strict&dryRun=All", manifest)
    manifest["spec"]["driver"]["memroy"] = "2g"
    with pytest.raises(Refused, match="unknown field"):
        control_plane.call("POST", f"{APPLICATIONS}?fieldValidation=Strict&dryRun=All", manifest)


@pytest.mark.parametrize("role", ["driver", "executor"])
def test_its_pods_are_pods_that_the_namespace_takes(control_plane: ControlPlane, kubernetes: Kubernetes, role: str) -> None:
    """The operator's definition accepts any field in a template, so Kubernetes itself checks the pods."""
    (manifest,) = read("spark-application.yaml")
    spec = manifest["spec"][role]["template"]["spec"]
    spec["containers"][0]["image"] = manifest["spec"]["image"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"a-{role}", "namespace": NAMESPACE}, "spec": spec}
    control_plane.call("POST", f"/api/v1/namespaces/{NAMESPACE}/pods?fieldValidation=Strict&dryRun=All", pod)


def test_a_night_under_the_operator_gives_the_same_table(
    spark, kubernetes: Kubernetes, operator: Operator, on_one_machine: Path
) -> None:
    folder = source_in(kubernetes, "operated")
    kubernetes.cluster.create(application(folder))
    told = ended(kubernetes, folder, operator)
    assert told["state"] == "COMPLETED", (told, said(kubernetes, folder))
    assert '"rows_in": 209' in said(kubernetes, folder)
    assert_same(spark, folder / "table", on_one_machine)


@pytest.mark.fault(
    "Kubernetes, under the Spark operator: a column that is not in the source",
    "the sentence in the driver's log; the application has failed, and is not tried again",
    "sentence, failed with exit code 2, one driver",
)
def test_wrong_input_fails_the_application(kubernetes: Kubernetes, operator: Operator) -> None:
    folder = source_in(kubernetes, "operated-wrongly")
    kubernetes.cluster.create(application(folder, "--text-columns", "titel"))
    told = ended(kubernetes, folder, operator)
    assert told["state"] == "FAILED"
    assert "ExitCode: 2" in told["errorMessage"]
    assert "Expected the column titel in" in said(kubernetes, folder)
    assert [path.name for path in folder.iterdir()] == ["catalog.csv"]
