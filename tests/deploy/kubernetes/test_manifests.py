"""deploy/kubernetes compared with the project: what it names exists, its options and settings are known, and its files agree."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.categorize import CategorizeSettings
from lib.errors import BundleError, GuardrailError, InputError
from lib.settings import parse_settings
from tests.conftest import ROOT
from tests.deploy.kubernetes.manifests import (
    DOCKERFILE,
    ENTRYPOINT,
    FOLDER,
    HOME,
    USER,
    driver_pod,
    files_named,
    read,
    resources,
    submitted,
)

MADE_IN_THE_IMAGE = {ROOT / ".venv" / "bin" / "python", ROOT / "build" / "catalog_categorizer.zip", ROOT / "build" / "s3"}
CONFIGURATION = "/etc/catalog-categorizer"


def application() -> dict[str, Any]:
    (found,) = read("spark-application.yaml")
    spec: dict[str, Any] = found["spec"]
    return spec


def pods() -> dict[str, dict[str, Any]]:
    """The spec of each pod in deploy/kubernetes."""
    (executor,) = read("executor.yaml")
    operated = application()
    templates = {f"operator's {role}": operated[role]["template"]["spec"] for role in ("driver", "executor")}
    return {"driver": driver_pod(), "executor": executor["spec"], **templates}


def test_the_jobs_options_are_options_of_the_job() -> None:
    """Read by the job's own parser, from the file that both manifests name."""
    _, job = submitted(driver_pod()["containers"][0]["args"])
    assert job == ["categorize", f"--config={CONFIGURATION}/nightly.toml"]
    assert application()["arguments"] == job[1:]
    settings = parse_settings(CategorizeSettings, "categorize", "", ["--config", str(FOLDER / "nightly.toml")])
    assert (settings.source, settings.target) == ("s3a://lake/catalog", "s3a://lake/categorized")
    assert settings.text_columns == ("title", "description")
    assert (ROOT / settings.model.removeprefix(f"{HOME}/") / "current").is_file()


def test_the_files_that_are_named_are_files_of_the_project() -> None:
    named = {path for name in sorted(FOLDER.iterdir()) for path in files_named(name.read_text())}
    assert ROOT / "jobs" / "categorize.py" in named
    assert {path for path in named if not path.exists() and path not in MADE_IN_THE_IMAGE} == set()


def test_the_python_of_the_image_is_where_the_command_looks_for_it() -> None:
    (place,) = re.findall(r"^IMAGE_ROOT=(\S+)$", (ROOT / "scripts" / "cluster.sh").read_text(), re.MULTILINE)
    assert place == HOME
    assert application()["sparkConf"]["spark.pyspark.python"] == f"{HOME}/.venv/bin/python"


def test_drivers_and_executors_are_of_one_image() -> None:
    container = driver_pod()["containers"][0]
    environment = {one["name"]: one.get("value") for one in container["env"]}
    settings, _ = submitted(container["args"])
    assert settings["spark.kubernetes.container.image"] == "$(IMAGE)"
    assert environment["IMAGE"] == container["image"] == application()["image"]


def test_executors_run_as_the_service_account_of_the_driver() -> None:
    """By default they run as the namespace's own, which has no role in a cloud."""
    name = "spark.kubernetes.authenticate.executor.serviceAccountName"
    settings, _ = submitted(driver_pod()["containers"][0]["args"])
    there = [one["metadata"]["name"] for one in read("access.yaml") if one["kind"] == "ServiceAccount"]
    assert [settings[name]] == [driver_pod()["serviceAccountName"]] == there
    assert [application()["sparkConf"][name]] == [application()["driver"]["serviceAccount"]] == there


def test_every_variable_in_an_argument_is_set() -> None:
    container = driver_pod()["containers"][0]
    asked = set(re.findall(r"\$\((\w+)\)", " ".join(container["args"])))
    assert asked == {"IMAGE", "NAMESPACE", "POD_IP", "POD_NAME"}
    assert asked <= {one["name"] for one in container["env"]}


def test_wrong_input_is_not_tried_again() -> None:
    (cron,) = read("cronjob.yaml")
    job = cron["spec"]["jobTemplate"]["spec"]
    rule = job["podFailurePolicy"]["rules"][0]
    assert (rule["action"], rule["onExitCodes"]["operator"]) == ("FailJob", "In")
    assert rule["onExitCodes"]["values"] == [kind.exit_code for kind in (InputError, BundleError, GuardrailError)]
    assert rule["onExitCodes"]["containerName"] == job["template"]["spec"]["containers"][0]["name"]
    # Kubernetes accepts the policy only for pods whose containers are not restarted.
    assert job["template"]["spec"]["restartPolicy"] == "Never"


@pytest.mark.parametrize("name", pods())
def test_pods_may_do_as_little_as_they_can(name: str) -> None:
    pod = pods()[name]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsUser"] == USER
    assert container["securityContext"]["readOnlyRootFilesystem"]
    # The working folder is a volume, so that it is writable.
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    assert "emptyDir" in mounts[container["workingDir"]]
    assert (CONFIGURATION in mounts) == ("driver" in name)


def test_the_operators_executors_are_those_of_the_cronjob() -> None:
    own, operated = pods()["executor"], pods()["operator's executor"]
    assert [one.pop("name") for one in (own["containers"][0], operated["containers"][0])] == [
        "executor",
        "spark-kubernetes-executor",
    ]
    assert own == operated


def test_sparks_settings_are_settings_of_spark(spark) -> None:
    """Looked up in Spark's own registry. Settings that end in a name chosen by the user are found by their prefix."""
    jvm = spark._jvm
    # Settings are registered once these objects are loaded.
    jvm.java.lang.Class.forName("org.apache.spark.deploy.k8s.Config$").getField("MODULE$").get(None)
    jvm.java.lang.Class.forName("org.apache.spark.internal.config.package$").getField("MODULE$").get(None)
    entry = jvm.org.apache.spark.internal.config.ConfigEntry
    given = {**submitted(driver_pod()["containers"][0]["args"])[0], **application()["sparkConf"]}
    free = ("spark.executorEnv.", "spark.delta.logStore.")
    names = {name for name in given if name.startswith("spark.") and not name.startswith(free)}
    assert len(names) >= 10
    assert {name for name in names if entry.findEntry(name) is None} == set()


def test_the_operators_spark_is_the_projects() -> None:
    assert f"pyspark=={application()['sparkVersion']} " in (ROOT / "requirements" / "run.lock").read_text()


def test_the_image_has_the_java_and_the_python_that_the_set_up_asks_for() -> None:
    setup = (ROOT / "scripts" / "environment.sh").read_text()
    (java,) = re.findall(r"package=(openjdk-\d+-\S+)$", setup, re.MULTILINE)[:1]
    installed = re.findall(r"apt-get install -y --no-install-recommends ([^\\\n]+)", DOCKERFILE)
    assert {java, "python3", "python3-venv", "tini"} == set(installed[0].split())
    # Otherwise ONNX Runtime would score, at a third of the speed.
    assert "g++" in installed[1].split()


def test_what_the_image_is_made_of_is_there_and_is_let_in() -> None:
    let_in = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert [name for name in let_in if not (ROOT / name).exists()] == []
    copied = {word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()} - {
        "."
    }
    assert [name for name in copied if not any(name == one or name.startswith(f"{one}/") for one in let_in)] == []
    # The code that is shipped to executors, and what a job imports.
    assert {"jobs", "lib", "schemas", "training", "conf", "scripts", "spark-submit.sh"} <= set(let_in)
    assert ENTRYPOINT[-1].removeprefix(f"{HOME}/") in let_in


def test_the_shell_of_the_image_understands_the_dockerfiles_commands() -> None:
    for command in re.findall(r"bash -c '([^']+)'", DOCKERFILE):
        assert subprocess.run(["bash", "-n", "-c", command], capture_output=True).returncode == 0
        for name in re.findall(r"\b(prepare\w*)", command):
            assert re.search(rf"^{name}\(\) ", (ROOT / "scripts" / "environment.sh").read_text(), re.MULTILINE), name


@pytest.mark.skipif(not shutil.which("kubectl"), reason="there is no kubectl")
def test_kubectl_makes_the_same_of_the_kustomization(tmp_path: Path) -> None:
    done = subprocess.run(
        ["kubectl", "kustomize", str(FOLDER)],
        capture_output=True,
        text=True,
        check=True,
        env={"HOME": str(tmp_path), "PATH": "/usr/local/bin:/usr/bin:/bin"},
    )
    made = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(done.stdout)}
    ours = {(one["kind"], one["metadata"]["name"]): json.loads(json.dumps(one)) for one in resources()}
    assert made == ours
