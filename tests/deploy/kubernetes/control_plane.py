"""Kubernetes without nodes, in the tests' own processes: etcd, the API server and the controllers (control-plane/main.go), and a client."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import subprocess
import urllib.parse
import uuid
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.waiting import until

PROGRAM = ROOT / "build" / "kubernetes" / "control-plane"
CONTROLLERS = ("cronjob", "garbage-collector", "job", "namespace", "root-ca-certificate-publisher", "serviceaccount")
# Its bearer may do everything.
TOKEN = "of-the-tests"
SERVICE = "kubernetes.default.svc"
AUDIT = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}
MERGE = "application/merge-patch+json"


class Refused(Exception):
    """A request that the API server refused, with its status code and message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class ControlPlane:
    """Started by the constructor on its own addresses, 127.N.….…; `stop` ends it. Its files are in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.network = f"127.{16 + os.getpid() % 200}"
        self.address = f"{self.network}.0.1"
        self.ca = folder / "certificates" / "apiserver.crt"
        self.audit = folder / "audit.log"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._start("etcd", self._etcd())
        self._start("kube-apiserver", self._api_server())
        until(lambda: self._alive() and self._ready(), "the API server")
        kubeconfig = self.kubeconfig(TOKEN)
        controllers = ",".join(f"{name}-controller" for name in CONTROLLERS)
        options = {"kubeconfig": kubeconfig, "controllers": controllers, "leader-elect": "false", "root-ca-file": self.ca}
        self._start("kube-controller-manager", {**options, "bind-address": self.address})

    @property
    def url(self) -> str:
        return f"https://{self.address}:443"

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()

    def call(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
        """The API server's response.

        Raises:
            Refused: if the API server refused the request, with its reason.
        """
        connection = http.client.HTTPSConnection(
            self.address, 443, timeout=30, context=ssl.create_default_context(cafile=self.ca)
        )
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Authorization": f"Bearer {TOKEN}", "Content-Type": kind})
            answer = connection.getresponse()
            said = answer.read().decode()
        finally:
            connection.close()
        if answer.status >= 400:
            raise Refused(answer.status, json.loads(said)["message"] if said.startswith("{") else said)
        return json.loads(said) if said.startswith("{") else said

    def create(self, resource: dict[str, Any]) -> Any:
        """Create the object with every field checked: unknown ones are refused."""
        return self.call("POST", f"{_place(resource)}?fieldValidation=Strict", resource)

    def exists(self, path: str) -> bool:
        """False also while the API server prepares to store objects of a new kind, which it refuses with 429."""
        try:
            self.call("GET", path)
        except Refused as refused:
            if refused.code not in (404, 429):
                raise
            return False
        return True

    def patch(self, path: str, change: dict[str, Any]) -> Any:
        return self.call("PATCH", path, change, MERGE)

    def token(self, namespace: str, account: str) -> str:
        """A token with which a pod of this service account, or a person in its place, calls the API server."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        answer = self.call(
            "POST", path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
        )
        return str(answer["status"]["token"])

    def kubeconfig(self, token: str) -> Path:
        """A configuration file for kubectl and similar clients."""
        file = self.folder / f"kubeconfig-{uuid.uuid4().hex}"
        cluster = {"name": "tests", "cluster": {"server": self.url, "certificate-authority": str(self.ca)}}
        context = {"name": "tests", "context": {"cluster": "tests", "user": "tests"}}
        user = {"name": "tests", "user": {"token": token}}
        found = {"apiVersion": "v1", "kind": "Config", "current-context": "tests"}
        file.write_text(json.dumps({**found, "clusters": [cluster], "contexts": [context], "users": [user]}))
        return file

    def refused(self, account: str) -> set[tuple[str, str]]:
        """The requests that the role of a service account did not allow, as verb and resource."""
        found = set()
        for line in self.audit.read_text().splitlines():
            event = json.loads(line)
            if event["user"]["username"].endswith(f":{account}") and event.get("responseStatus", {}).get("code") == 403:
                found.add((event["verb"], event["objectRef"]["resource"]))
        return found

    def _start(self, name: str, options: dict[str, object]) -> None:
        command = [str(PROGRAM), name, *(f"--{option}={value}" for option, value in options.items())]
        with (self.folder / f"{name}.log").open("wb") as log:
            self._processes.append(subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT))

    def _etcd(self) -> dict[str, object]:
        clients, peers = f"http://{self.address}:2379", f"http://{self.address}:2380"
        options: dict[str, object] = {"data-dir": self.folder / "etcd", "unsafe-no-fsync": "true"}
        options |= {"listen-client-urls": clients, "advertise-client-urls": clients, "listen-peer-urls": peers}
        return {**options, "initial-advertise-peer-urls": peers, "initial-cluster": f"default={peers}"}

    def _api_server(self) -> dict[str, object]:
        key, tokens, policy = self.folder / "accounts.key", self.folder / "tokens.csv", self.folder / "audit.json"
        subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
        tokens.write_text(f"{TOKEN},tests,tests,system:masters\n")
        policy.write_text(json.dumps(AUDIT))
        options: dict[str, object] = {"etcd-servers": f"http://{self.address}:2379", "cert-dir": self.ca.parent}
        # The advertised address must not be a loopback address; nobody uses it.
        options |= {"bind-address": self.address, "secure-port": 443, "advertise-address": "192.0.2.1"}
        options |= {"endpoint-reconciler-type": "none", "service-cluster-ip-range": "10.96.0.0/24"}
        options |= {"authorization-mode": "RBAC", "token-auth-file": tokens, "service-account-issuer": f"https://{SERVICE}"}
        options |= {"service-account-signing-key-file": key, "service-account-key-file": key}
        return {**options, "audit-policy-file": policy, "audit-log-path": self.audit}

    def _alive(self) -> bool:
        for process in self._processes:
            assert process.poll() is None, f"{process.args} ended, see {self.folder}"
        return True

    def _ready(self) -> bool:
        try:
            return bool(self.ca.exists() and self.call("GET", "/readyz") == "ok")
        except (OSError, Refused, http.client.HTTPException):
            return False


def _place(resource: dict[str, Any]) -> str:
    """The path of the collection that an object belongs to."""
    version, kind = resource["apiVersion"], resource["kind"].lower()
    plural = f"{kind}s" if not kind.endswith("y") else f"{kind[:-1]}ies"
    namespace = resource["metadata"].get("namespace")
    within = f"namespaces/{urllib.parse.quote(namespace)}/" if namespace else ""
    return f"/{'apis' if '/' in version else 'api'}/{version}/{within}{plural}"
