"""A stand-in for Kubernetes' kubelet: a node whose containers are processes of this machine.

Each container has its own mounts, process ids and host name (Linux namespaces). The pod's volumes are mounted on a read-only root: that of
an image, or this machine's with the project at its path in the image. A container has no network and no memory limits of its own.
The rest is as a kubelet does it: environment, arguments, tokens, states and exit codes.
"""

from __future__ import annotations

import base64
import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.deploy.kubernetes.control_plane import SERVICE, ControlPlane, Refused
from tests.deploy.kubernetes.manifests import ENTRYPOINT, HOME, USER
from tests.waiting import until

NODE = "here"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Mounts on a root that is assembled from a lower layer, which is not changed, and an upper one in memory.
ASSEMBLE = """set -e
mount -t tmpfs layers {folder}; mkdir {folder}/upper {folder}/work {folder}/root
mount -t overlay root -o lowerdir={lower},upperdir={folder}/upper,workdir={folder}/work {folder}/root
cd {folder}/root; mkdir -p proc dev sys
mount --rbind /dev dev; mount --rbind /sys sys; mount -t proc proc proc
{mounts}
mount -o remount,ro {folder}/root
hostname {name}; exec chroot {user} {folder}/root /usr/bin/env -i --chdir={cwd} {environment} {command}"""


@dataclass
class Container:
    """A pod's only container. ended: its exit code, once there is one."""

    pod: dict[str, Any]
    ip: str
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    ended: int | None = None
    told: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.pod["metadata"]["name"])

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{self.pod['metadata']['namespace']}/pods/{self.name}"

    @property
    def spec(self) -> dict[str, Any]:
        (container,) = self.pod["spec"]["containers"]
        found: dict[str, Any] = container
        return found

    def said(self) -> str:
        log = self.folder / "log"
        return log.read_text(errors="replace") if log.exists() else ""


class Kubelet:
    """Started by the constructor; `stop` ends it and all its containers.

    Args:
        images: names that it can pull; root: that of an unpacked image, or None for this machine with the project in it.
    """

    def __init__(self, cluster: ControlPlane, folder: Path, images: set[str], root: Path | None = None) -> None:
        self._cluster, self._folder, self._images, self._root = cluster, folder, images, root
        self.containers: dict[str, Container] = {}
        self._over = threading.Event()
        self._error: BaseException | None = None
        cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()
        for container in self.containers.values():
            if container.process and container.process.poll() is None:
                container.process.kill()
                container.process.wait()
        assert self._error is None, self._error

    def pods(self, wanted: Callable[[dict[str, Any]], bool]) -> list[Container]:
        """Present and past containers whose pod's metadata match, oldest first."""
        assert self._error is None, self._error
        return [container for container in list(self.containers.values()) if wanted(container.pod["metadata"])]

    def kill(self, container: Container) -> None:
        """Send SIGKILL to all its processes, as the kernel does for lack of memory."""
        assert container.process
        container.process.kill()
        until(lambda: container.ended is not None, f"the end of {container.name}")

    def _run(self) -> None:
        try:
            # Polling is necessary: a watch would report changes of pods, but not processes that end.
            while not self._over.wait(0.1):
                for pod in self._cluster.call("GET", "/api/v1/pods")["items"]:
                    self._look_at(pod)
        except BaseException as error:
            self._error = error

    def _look_at(self, pod: dict[str, Any]) -> None:
        uid = pod["metadata"]["uid"]
        if uid not in self.containers:
            if not pod["metadata"].get("deletionTimestamp"):
                self._take(pod)
            return
        container = self.containers[uid]
        process = container.process
        if process and container.ended is None and process.poll() is not None:
            container.ended = process.returncode if process.returncode >= 0 else 128 - process.returncode
            self._tell(container, "Succeeded" if container.ended == 0 else "Failed", self._terminated(container))
        if pod["metadata"].get("deletionTimestamp"):
            self._end(container)

    def _take(self, pod: dict[str, Any]) -> None:
        ip = f"{self._cluster.network}.1.{len(self.containers) + 1}"
        container = Container(pod, ip, self._folder / pod["metadata"]["uid"])
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": container.name}}
        try:
            if not pod["spec"].get("nodeName"):
                self._cluster.call("POST", f"{container.path}/binding", {**binding, "target": {"kind": "Node", "name": NODE}})
            self.containers[pod["metadata"]["uid"]] = container
            if container.spec["image"] not in self._images:
                self._tell(
                    container, "Pending", {"waiting": {"reason": "ImagePullBackOff", "message": "there is no such image"}}
                )
                return
            self._start(container)
        except Refused as refused:
            # The pod was removed, or a volume does not exist yet: a later look finds out.
            if refused.code not in (404, 409):
                raise
            self.containers.pop(pod["metadata"]["uid"], None)

    def _start(self, container: Container) -> None:
        (container.folder / "layers").mkdir(parents=True, exist_ok=True)
        script = self._script(container)
        with (container.folder / "log").open("wb") as log:
            container.process = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "bash", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._tell(container, "Running", {"running": {"startedAt": _now()}})

    def _end(self, container: Container) -> None:
        process = container.process
        if process and container.ended is None:
            # The container's first process is the only child of the one that made its namespaces.
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            if "SIGTERM" not in container.told and children:
                container.told.append("SIGTERM")
                os.kill(int(children[0]), signal.SIGTERM)
            return
        if "removed" not in container.told:
            container.told.append("removed")
            try:
                self._cluster.call("DELETE", f"{container.path}?gracePeriodSeconds=0")
            except Refused as refused:
                if refused.code != 404:
                    raise

    def _tell(self, container: Container, phase: str, state: dict[str, Any]) -> None:
        told = {"name": container.spec["name"], "image": container.spec["image"], "imageID": "", "restartCount": 0}
        told |= {"ready": phase == "Running", "started": phase == "Running", "state": state}
        ready = {"type": "Ready", "status": str(phase == "Running"), "lastTransitionTime": _now()}
        status = {"phase": phase, "conditions": [ready], "containerStatuses": [told], "startTime": _now()}
        status |= {"podIP": container.ip, "podIPs": [{"ip": container.ip}]}
        try:
            self._cluster.patch(f"{container.path}/status", {"status": status})
        except Refused as refused:
            if refused.code != 404:
                raise

    def _terminated(self, container: Container) -> dict[str, Any]:
        reason = "Completed" if container.ended == 0 else "Error"
        return {"terminated": {"exitCode": container.ended, "reason": reason, "startedAt": _now(), "finishedAt": _now()}}

    def _script(self, container: Container) -> str:
        spec, environment = container.spec, self._environment(container)
        mounts = self._mounts(container)
        image = self._root is not None
        # Without an image, this machine may lack the program that starts the entry point (tini).
        entry = ENTRYPOINT if image or Path(ENTRYPOINT[0]).exists() else ENTRYPOINT[ENTRYPOINT.index("--") + 1 :]
        words = [*spec.get("command", entry), *(_expanded(word, environment) for word in spec.get("args", ()))]
        return ASSEMBLE.format(
            folder=shlex.quote(str(container.folder / "layers")),
            lower=shlex.quote(str(self._root or "/")),
            # A mount may be inside another.
            mounts="\n".join(_mount(*mount) for mount in sorted(mounts, key=lambda mount: mount[1])),
            name=shlex.quote(container.name[:63]),
            # Without an image: other users may not be able to read this machine's Python.
            user=f"--userspec={USER}:{USER}" if image else "",
            cwd=shlex.quote(spec.get("workingDir", "/work" if image else "/tmp")),
            environment=shlex.join(f"{name}={value}" for name, value in environment.items()),
            command=shlex.join(words),
        )

    def _environment(self, container: Container) -> dict[str, str]:
        found = {"PATH": SYSTEM_PATH, "HOSTNAME": container.name, "LANG": "C.UTF-8", "HOME": "/"}
        found |= {"KUBERNETES_SERVICE_HOST": self._cluster.address, "KUBERNETES_SERVICE_PORT": "443"}
        for given in container.spec.get("envFrom", ()):
            found |= self._secret(container, given["secretRef"])
        told = {
            "status.podIP": container.ip,
            **{f"metadata.{name}": container.pod["metadata"][name] for name in ("name", "namespace")},
        }
        for variable in container.spec.get("env", ()):
            if "valueFrom" in variable:
                found[variable["name"]] = told[variable["valueFrom"]["fieldRef"]["fieldPath"]]
            else:
                found[variable["name"]] = _expanded(variable.get("value", ""), found)
        return found

    def _secret(self, container: Container, reference: dict[str, Any]) -> dict[str, str]:
        path = f"/api/v1/namespaces/{container.pod['metadata']['namespace']}/secrets/{reference['name']}"
        try:
            found = self._cluster.call("GET", path)
        except Refused as refused:
            if refused.code == 404 and reference.get("optional"):
                return {}
            raise
        return {name: base64.b64decode(value).decode() for name, value in found["data"].items()}

    def _mounts(self, container: Container) -> list[tuple[Path, str, bool]]:
        """Each mount's place on this machine, its path in the container, and whether it is writable."""
        hosts = container.folder / "hosts"
        hosts.write_text("\n".join(f"{address} {name}" for address, name in self._names(container)) + "\n")
        found = [(hosts, "/etc/hosts", True)]
        if self._root is None:
            found.append((ROOT, HOME, False))
        volumes = {volume["name"]: volume for volume in container.pod["spec"].get("volumes", ())}
        for mount in container.spec.get("volumeMounts", ()):
            place = self._volume(container, volumes[mount["name"]])
            found.append((place / mount.get("subPath", ""), mount["mountPath"], not mount.get("readOnly", False)))
        return found

    def _names(self, container: Container) -> Iterator[tuple[str, str]]:
        """What a cluster's DNS would answer, as far as it is needed here: headless services."""
        yield from (("127.0.0.1", "localhost"), (self._cluster.address, SERVICE), (container.ip, container.name[:63]))
        namespace = container.pod["metadata"]["namespace"]
        for service in self._cluster.call("GET", f"/api/v1/namespaces/{namespace}/services")["items"]:
            selector, name = service["spec"].get("selector") or {}, service["metadata"]["name"]
            for other in [container, *self.containers.values()]:
                if selector and selector.items() <= other.pod["metadata"].get("labels", {}).items():
                    yield other.ip, f"{name}.{namespace}.svc"

    def _volume(self, container: Container, volume: dict[str, Any]) -> Path:
        folder = container.folder / "volumes" / volume["name"]
        namespace = container.pod["metadata"]["namespace"]
        if "persistentVolumeClaim" in volume:
            claim = self._cluster.call(
                "GET", f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{volume['persistentVolumeClaim']['claimName']}"
            )
            return Path(
                self._cluster.call("GET", f"/api/v1/persistentvolumes/{claim['spec']['volumeName']}")["spec"]["hostPath"][
                    "path"
                ]
            )
        if not folder.exists():
            # Not at its place before it is full: what it is filled from may not exist yet.
            fresh = folder.with_name(f"{folder.name}.new")
            fresh.mkdir(parents=True, exist_ok=True)
            fresh.chmod(0o777)
            for source in volume.get("projected", {}).get("sources", [volume]):
                self._fill(container, fresh, source)
            fresh.rename(folder)
        return folder

    def _fill(self, container: Container, folder: Path, source: dict[str, Any]) -> None:
        metadata = container.pod["metadata"]
        if "configMap" in source:
            path = f"/api/v1/namespaces/{metadata['namespace']}/configmaps/{source['configMap']['name']}"
            data = self._cluster.call("GET", path).get("data", {})
            chosen = {item["key"]: item["path"] for item in source["configMap"].get("items", ())} or {
                name: name for name in data
            }
            for key, name in chosen.items():
                (folder / name).write_text(data[key])
        elif "serviceAccountToken" in source:
            account = container.pod["spec"]["serviceAccountName"]
            (folder / source["serviceAccountToken"]["path"]).write_text(self._cluster.token(metadata["namespace"], account))
        elif "downwardAPI" in source:
            (folder / "namespace").write_text(metadata["namespace"])


def _expanded(text: str, environment: dict[str, str]) -> str:
    """Replace $(NAME) as Kubernetes does: unknown names stay unchanged."""
    return re.sub(r"\$\((\w+)\)", lambda found: environment.get(found[1], found[0]), text)


def _mount(place: Path, target: str, writable: bool) -> str:
    # Follow links inside the container: an image's /var/run leads to its own /run.
    made = "touch" if place.is_file() else "mkdir -p"
    found = f"""there=.$(chroot . /bin/sh -c '{made} "$1"; readlink -f "$1"' - {shlex.quote(target)})"""
    bound = f'{found}; mount --rbind {shlex.quote(str(place))} "$there"'
    return bound if writable else f'{bound}; mount -o remount,bind,ro "$there"'


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
