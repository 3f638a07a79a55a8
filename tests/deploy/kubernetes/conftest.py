"""A Kubernetes for the test session. It takes minutes, needs Go once to compile it, and root for the containers' namespaces."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobs.categorize import CategorizeSettings, main
from lib.command import run_command
from tests.cluster.samples import night
from tests.deploy.kubernetes.control_plane import PROGRAM, ControlPlane
from tests.deploy.kubernetes.kubelet import Kubelet
from tests.deploy.kubernetes.manifests import driver_pod, resources
from tests.waiting import until

NAMESPACE = "catalog"
ACCOUNT = "catalog-categorizer"


@dataclass
class Kubernetes:
    """folder: the only one that the containers share with this machine, as the claim `lake` in the namespace."""

    cluster: ControlPlane
    node: Kubelet
    folder: Path


@pytest.fixture(scope="session")
def control_plane(takes_minutes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    if not PROGRAM.is_file():
        pytest.skip("Kubernetes is not compiled: scripts/kubernetes.sh does it where there is Go")
    started = ControlPlane(tmp_path_factory.mktemp("control-plane"))
    yield started
    started.stop()


@pytest.fixture(scope="session")
def kubernetes(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubernetes]:
    """With the resources of deploy/kubernetes applied, and a node."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"]).returncode != 0:
        pytest.skip("containers take root and Linux' namespaces")
    for resource in resources():
        control_plane.create(resource)
    folder = tmp_path_factory.mktemp("lake")
    _share(control_plane, folder)
    account = f"/api/v1/namespaces/{NAMESPACE}/configmaps/kube-root-ca.crt"
    until(lambda: control_plane.exists(account), "the certificate that pods trust")
    root = os.environ.get("CATALOG_IMAGE_ROOT")
    image = driver_pod()["containers"][0]["image"]
    node = Kubelet(control_plane, tmp_path_factory.mktemp("node"), {image}, Path(root) if root else None)
    yield Kubernetes(control_plane, node, folder)
    node.stop()


def _share(cluster: ControlPlane, folder: Path) -> None:
    folder.chmod(0o777)
    size, modes = {"storage": "1Gi"}, ["ReadWriteMany"]
    volume = {"capacity": size, "accessModes": modes, "hostPath": {"path": str(folder)}}
    cluster.create({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "lake"}, "spec": volume})
    claim = {"accessModes": modes, "resources": {"requests": size}, "volumeName": "lake", "storageClassName": ""}
    metadata = {"name": "lake", "namespace": NAMESPACE}
    cluster.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": claim})


@pytest.fixture(scope="session")
def on_one_machine(spark: object, takes_minutes: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table that a run over the samples makes on one machine."""
    table = tmp_path_factory.mktemp("local") / "table"
    assert run_command(CategorizeSettings, main, "categorize", night(table)) == 0
    return table
