"""The command line as users run it: spark-submit.sh, the real spark-submit, real processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cli.test_set_up import copy_project
from tests.conftest import ROOT, SAMPLES, SHIPPED
from tests.waiting import until


def submit(
    *arguments: object, cwd: Path, stdin: bytes | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYSPARK", "SPARK"))}
    done = subprocess.run(
        [str(ROOT / "spark-submit.sh"), *map(str, arguments)],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        env={**inherited, **(environment or {})},
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def test_the_first_run_and_the_second(tmp_path: Path) -> None:
    first = submit(cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "in 209 = categorized 205 + rejected 4" in first.stdout
    assert "Query it next" in first.stdout
    assert (tmp_path / "lake" / "categorized" / "_delta_log").is_dir()
    second = submit(cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    assert "nothing to do" in second.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["lake"]


def test_spark_options_stand_before_the_job(tmp_path: Path) -> None:
    options = ("--master", "local[1]", "--conf", "spark.app.name=nightly", "--name=other", "--driver-java-options=-XX:+UseG1GC")
    job = (
        "categorize",
        "--source",
        SAMPLES / "catalog.csv",
        "--target",
        tmp_path / "t",
        "--model",
        SHIPPED,
        "--text-columns",
        "titel",
    )
    done = submit(*options, *job, cwd=tmp_path)
    assert done.returncode == 2
    # spark-submit sends both streams of a Python driver to its standard output.
    assert "error: Expected the column titel in" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "t").exists()


def test_another_user_gets_the_jobs_exit_code(tmp_path: Path) -> None:
    done = submit("--proxy-user", "nightly", "maintain", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "error: Expected --target for the job maintain" in done.stdout


def test_code_that_the_user_sends_comes_with_the_jobs(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").touch()
    done = submit("--py-files", tmp_path / "theirs.py", "maintain", cwd=tmp_path)
    assert "error: Expected --target for the job maintain" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "because"),
    [
        (("categorise",), "Expected one of the jobs"),
        (("--master",), "Expected a value after the Spark option --master"),
        (("../lib/text",), "Expected one of the jobs"),
        (
            ("--master", "yarn", "--deploy-mode=cluster", "train", "--labels", "x"),
            "Expected the job train in --deploy-mode client",
        ),
    ],
)
def test_wrong_use_starts_nothing(tmp_path: Path, arguments: tuple[str, ...], because: str) -> None:
    done = submit(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert because in done.stderr


@pytest.mark.parametrize("job", ["categorize", "train", "evaluate", "predict", "explain", "maintain", "replay", "rollback"])
def test_help_of_every_job(tmp_path: Path, job: str) -> None:
    done = submit(job, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert f"usage: ./spark-submit.sh {job}" in done.stdout
    assert "--config" in done.stdout


def group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_ctrl_c_in_a_training_leaves_nothing(tmp_path: Path) -> None:
    command = [str(ROOT / "spark-submit.sh"), "train", "--labels", str(SAMPLES / "labels.csv"), "--epochs", "100000"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYSPARK", "SPARK"))}
    # A separate session, so that the signal reaches what a terminal's Ctrl-C would, and not the tests.
    running = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=inherited,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that starts the tests in the background makes them, and all their children, ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert running.stdout is not None
    said = []
    for line in running.stdout:
        said.append(line)
        if line[len("12:00:00 ") :].startswith("LSTM epoch 2/"):
            os.killpg(running.pid, signal.SIGINT)
    assert running.wait() == 130, "".join(said)
    # The JVM, which passes on Python's output, may end first; Python has ended when its process group has.
    until(lambda: not group_exists(running.pid), "the end of the training's processes")
    assert not [path for path in (tmp_path / "models").rglob("*") if path.is_file()]


def test_a_link_to_the_script_starts_it(tmp_path: Path) -> None:
    (tmp_path / "categorizer").symlink_to(ROOT / "spark-submit.sh")
    done = subprocess.run([str(tmp_path / "categorizer"), "predict", "--help"], capture_output=True, text=True)
    assert "usage: ./spark-submit.sh predict" in done.stdout, done.stderr


def test_a_model_goes_back_without_spark(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(SHIPPED, models)
    version = (models / "current").read_text().strip()
    (models / "current").write_text("a-newer-one\n")
    done = submit("rollback", "--model", models, "--to", version, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (models / "current").read_text() == f"{version}\n"


def test_predict_needs_no_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "no java here"))
    one = submit("predict", "--model", SHIPPED, "--text", "stainless steel kettle, 1.7 litres", cwd=tmp_path)
    answer = json.loads(one.stdout)
    assert answer["category"] == "Household"
    assert sum(answer["scores"].values()) == pytest.approx(1, abs=1e-4)
    lines = submit("predict", "--model", SHIPPED, cwd=tmp_path, stdin=b"detective novel,\rpaperback\r\n\n\xff\xfe usb cable\n")
    assert [json.loads(line)["category"] for line in lines.stdout.splitlines()] == ["Books", None, "Electronics"]


def test_predict_of_a_bundle_elsewhere(tmp_path: Path) -> None:
    done = submit("predict", "--model", "s3a://lake/models", "--text", "x", cwd=tmp_path)
    assert done.returncode == 2
    assert "Expected a bundle on this machine" in done.stderr


def test_predict_without_a_bundle(tmp_path: Path) -> None:
    done = submit("predict", "--model", "nowhere", "--text", "x", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr.startswith("error: Expected a bundle")


def test_the_shipped_bundle_is_the_default_of_predict_anywhere(tmp_path: Path) -> None:
    assert json.loads(submit("predict", "--text", "cotton shirt", cwd=tmp_path).stdout)["category"] == "Clothing & Accessories"


@pytest.mark.parametrize("version", ["11.0.2", "25"])
def test_a_java_that_spark_does_not_run_on_is_told(tmp_path: Path, version: str) -> None:
    java = tmp_path / "jdk" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2019-01-15' >&2\n")
    java.chmod(0o755)
    done = subprocess.run(
        [str(ROOT / "spark-submit.sh")],
        cwd=tmp_path,
        capture_output=True,
        env={**os.environ, "JAVA_HOME": str(tmp_path / "jdk")},
    )
    assert done.returncode == 2
    message = done.stderr.decode()
    assert "Expected Java 17 or 21 in JAVA_HOME" in message
    assert f"found {version.partition('.')[0]};" in message
    assert "sudo apt-get install openjdk-17-jre-headless" in message


def test_a_clone_elsewhere_finds_its_own_files(tmp_path: Path) -> None:
    """The jobs need no fixed path: a copy of the project, which need not be a repository of Git, runs with the same environment too."""
    clone = tmp_path / "a clone with blanks"
    copy_project(clone, "conf", "models/ecommerce", "spark-submit.sh")
    command = [str(clone / "spark-submit.sh"), "predict", "--text", "usb cable"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, env={**os.environ, "CXX": "no-compiler"})
    assert json.loads(done.stdout)["category"] == "Electronics", done.stderr.decode()
