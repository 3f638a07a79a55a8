"""What a container of the image runs, given the arguments and variables of Spark on Kubernetes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

ENTRYPOINT = ROOT / "deploy" / "kubernetes" / "entrypoint.sh"
EXECUTOR = {
    "SPARK_DRIVER_URL": "spark://CoarseGrainedScheduler@10.0.0.1:7078",
    "SPARK_EXECUTOR_ID": "3",
    "SPARK_EXECUTOR_CORES": "2",
    "SPARK_EXECUTOR_MEMORY": "2048m",
    "SPARK_EXECUTOR_POD_IP": "10.0.0.7",
    "SPARK_EXECUTOR_POD_NAME": "night-exec-3",
    "SPARK_APPLICATION_ID": "spark-1",
    "SPARK_RESOURCE_PROFILE_ID": "0",
    "SPARK_CONF_DIR": "/opt/spark/conf",
}


def spark_home() -> Path:
    (found,) = (ROOT / ".venv" / "lib").glob("python3*/site-packages/pyspark")
    return found


def started(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the entry point with a `java` that prints its arguments, one per line."""
    java = folder / "bin" / "java"
    java.parent.mkdir(exist_ok=True)
    java.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    java.chmod(0o755)
    given = {"PATH": os.environ["PATH"], "JAVA_HOME": str(folder), **environment}
    return subprocess.run([str(ENTRYPOINT), *words], env=given, cwd=folder, capture_output=True, text=True)


def test_an_executor_is_sparks_own(tmp_path: Path) -> None:
    # Options may contain spaces; there may be more than ten of them.
    options = {f"SPARK_JAVA_OPT_{i}": f"-Dnumber={i} of them" for i in range(11)}
    done = started(tmp_path, "executor", **EXECUTOR, **options, SPARK_CLASSPATH="/opt/catalog-categorizer/build/s3/*")
    assert done.returncode == 0, done.stderr
    class_path = f"/opt/spark/conf:/opt/catalog-categorizer/build/s3/*:{spark_home()}/jars/*"
    assert done.stdout.splitlines() == [
        *options.values(),
        *("-Xms2048m", "-Xmx2048m", "-cp", class_path),
        "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend",
        *("--driver-url", "spark://CoarseGrainedScheduler@10.0.0.1:7078", "--executor-id", "3", "--cores", "2"),
        *("--app-id", "spark-1", "--hostname", "10.0.0.7", "--resourceProfileId", "0", "--podName", "night-exec-3"),
    ]


@pytest.mark.parametrize("name", [name for name in EXECUTOR if name != "SPARK_CONF_DIR"])
def test_an_executor_without_what_spark_gives_it_is_told(tmp_path: Path, name: str) -> None:
    done = started(tmp_path, "executor", **{known: value for known, value in EXECUTOR.items() if known != name})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: Expected {name} in the environment")


def test_a_driver_of_cluster_mode_is_spark_submit_in_client_mode(tmp_path: Path) -> None:
    words = ["--properties-file", "/opt/spark/conf/spark.properties", "--class", "org.apache.spark.deploy.PythonRunner"]
    file = "local:///opt/catalog-categorizer/jobs/categorize.py"
    done = started(tmp_path, "driver", *words, file, "--config=nightly.toml", SPARK_DRIVER_BIND_ADDRESS="10.0.0.1")
    # The launcher is the first Java that spark-submit starts: it gets the arguments of the command.
    said = done.stdout.splitlines()
    assert said[said.index("org.apache.spark.deploy.SparkSubmit") + 1 :] == [
        *("--deploy-mode", "client", "--conf", "spark.driver.bindAddress=10.0.0.1"),
        *("--conf", "spark.executorEnv.SPARK_DRIVER_POD_IP=10.0.0.1", *words, file, "--config=nightly.toml"),
    ]


def test_a_driver_that_spark_did_not_start_is_told(tmp_path: Path) -> None:
    done = started(tmp_path, "driver")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: Expected SPARK_DRIVER_BIND_ADDRESS in the environment")


def test_anything_else_is_a_command_line(tmp_path: Path) -> None:
    done = started(tmp_path, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: ./spark-submit.sh")
    done = started(tmp_path, "categorise")
    assert done.returncode == 2
    assert "Expected one of the jobs" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="another user takes root")
def test_a_user_without_a_name_is_told() -> None:
    """As on a platform that gives each pod its own user id: Hadoop ends with a NullPointerException there."""
    # That user may have no access to the project's folder.
    command = ["bash", "-c", f"exec 3<'{ENTRYPOINT}'; exec setpriv --reuid 4711 --clear-groups bash /dev/fd/3 executor"]
    done = subprocess.run(command, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, cwd="/")
    assert done.returncode == 2
    assert done.stderr.startswith("error: Expected a user with an entry in /etc/passwd, found the number 4711 without one")
