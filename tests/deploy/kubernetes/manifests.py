"""deploy/kubernetes as a cluster gets it: the objects of its kustomization, and what the Dockerfile says about the image."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
# The project's folder in the image.
HOME = re.findall(r"^WORKDIR (/opt/\S+)$", DOCKERFILE, re.MULTILINE)[0]
USER = int(re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)[0])
ENTRYPOINT: list[str] = json.loads(re.findall(r"^ENTRYPOINT (\[.*\])$", DOCKERFILE, re.MULTILINE)[0])

Resource = dict[str, Any]


def read(name: str) -> list[Resource]:
    """The objects of a file."""
    return [found for found in yaml.safe_load_all((FOLDER / name).read_text()) if found]


def resources() -> list[Resource]:
    """What `kubectl apply -k` sends, for the features this kustomization uses: the files' objects, ConfigMaps of files, one namespace for all."""
    (kustomization,) = read("kustomization.yaml")
    found = [resource for name in kustomization["resources"] for resource in read(name)]
    for generated in kustomization["configMapGenerator"]:
        data = {name: (FOLDER / name).read_text() for name in generated["files"]}
        found.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generated["name"]}, "data": data})
    for resource in found:
        if resource["kind"] != "Namespace":
            resource["metadata"]["namespace"] = kustomization["namespace"]
        for subject in resource.get("subjects", ()):
            subject["namespace"] = kustomization["namespace"]
    return found


def driver_pod() -> Resource:
    """The driver's pod of a run, as the CronJob makes it."""
    (cron,) = read("cronjob.yaml")
    pod: Resource = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return pod


def submitted(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    """The parts of a command line of ./spark-submit.sh: Spark's settings by name, then the job and its options."""
    settings: dict[str, str] = {}
    for i, word in enumerate(arguments):
        if not word.startswith("--"):
            return settings, arguments[i:]
        flag, _, value = word.removeprefix("--").partition("=")
        name, value = value.split("=", 1) if flag == "conf" else (flag, value)
        settings[name] = value
    return settings, []


def files_named(text: str) -> list[Path]:
    """The project's files that a text names by their paths in the image."""
    return [ROOT / path.rstrip("/") for path in re.findall(rf"{HOME}/([\w./-]+)", text)]
