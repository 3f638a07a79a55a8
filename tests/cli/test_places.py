"""Nothing leaks in from the place where the command is typed: its modules, its locale, its folder as a catalogue, its keys."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_spark_submit import submit
from tests.conftest import ROOT, SHIPPED

TRAPS = (
    "numpy.py",
    "pyarrow.py",
    "pyspark/__init__.py",
    "lib/__init__.py",
    "jobs/__init__.py",
    "jobs/predict.py",
    "encodings.py",
)


@pytest.fixture
def trapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with modules of the names that our code imports, which record in `seen` that they ran."""
    for name in TRAPS:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"open({str(tmp_path / 'seen')!r}, 'a').write({name!r})\nraise RuntimeError('another module ran')\n")
    return tmp_path


@pytest.mark.fault(
    "started in a folder with its own `numpy.py`, `jobs/` and `lib/`, under `LC_ALL=C` and with Java's locale set to Arabic digits, into a target with an accent",
    "only our code runs; the name stays whole",
    "only our code ran, name whole",
)
def test_only_our_code_runs_and_names_stay_whole_in_any_locale(trapped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Duser.language=ar -Duser.country=EG -XX:+UseSerialGC")
    (trapped / "né.csv").write_text("product_id,title\n1,café table\n2,日本の本\n", encoding="utf-8")
    options = ("--text-columns", "title", "--carry", "title", "--preview", "2")
    done = submit("categorize", "--source", "né.csv", "--target", "lake/café", "--model", SHIPPED, *options, cwd=trapped)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (trapped / "lake" / "café" / "_delta_log" / f"{0:020}.json").is_file()
    assert sorted(path.name for path in (trapped / "lake").iterdir()) == ["café", "café_rejected", "café_runs"]
    assert not (trapped / "seen").exists()


def test_variables_of_another_spark_choose_nothing(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("product_id,title\n1,lamp\n")
    set_elsewhere = {"PYSPARK_DRIVER_PYTHON": "/bin/false", "PYSPARK_PYTHON": "/bin/false"}
    set_elsewhere |= {"MASTER": "yarn", "DEPLOY_MODE": "cluster", "SPARK_REMOTE": "sc://127.0.0.1:9"}
    set_elsewhere |= {"SPARK_CONNECT_MODE": "1", "SPARK_CONNECT_MODE_ENABLED": "1", "SPARK_LOCAL_REMOTE": "1"}
    python = ("--conf", "spark.pyspark.python=/bin/false", "--conf", "spark.pyspark.driver.python=/bin/false")
    night = ("--source", "in.csv", "--target", "./out", "--model", SHIPPED, "--text-columns", "title")
    done = submit(*python, "categorize", *night, cwd=tmp_path, environment=set_elsewhere)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "in 1 = categorized 1" in done.stdout


def test_single_texts_run_our_code_alone(trapped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(trapped))
    done = submit("predict", "--text", "cotton shirt", cwd=trapped)
    assert json.loads(done.stdout)["category"] == "Clothing & Accessories", done.stderr
    assert submit("categorize", "--help", cwd=trapped).returncode == 0
    assert not (trapped / "seen").exists()


@pytest.mark.fault(
    "a Java that does not report its version; a working folder that was removed",
    "exit 2 and a sentence; nothing existing is overwritten",
    "exit 2 and a sentence",
)
def test_nothing_is_installed_over_a_java_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "java").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "apt-get").write_text(f"#!/bin/sh\ntouch {tmp_path}/installed\n")
    for name in ("java", "apt-get"):
        (tmp_path / name).chmod(0o755)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    done = submit(cwd=tmp_path)
    assert done.returncode == 2
    assert f"found {tmp_path}/java, which does not report its version" in done.stderr
    assert not (tmp_path / "installed").exists()
    script = f"mkdir {tmp_path}/gone && cd {tmp_path}/gone && rmdir {tmp_path}/gone && {ROOT}/spark-submit.sh"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.returncode == 2
    assert f"found {tmp_path}/gone removed" in done.stderr


@pytest.mark.fault(
    "a bare name as target, and no catalogue that could store it",
    "exit 2 and a sentence",
    "exit 2 and a sentence",
)
def test_a_bare_name_is_no_table_where_no_catalogue_holds_it(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("product_id,title\n1,lamp\n")
    done = submit(
        "categorize", "--source", "in.csv", "--target", "out", "--model", SHIPPED, "--text-columns", "title", cwd=tmp_path
    )
    assert done.returncode == 2
    assert "write ./out for a path" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv"]


@pytest.mark.fault(
    "keys in the address of a source",
    "redacted in all that is printed or stored",
    "redacted everywhere",
)
def test_keys_in_an_address_are_told_to_nobody(tmp_path: Path) -> None:
    source = "s3a://AKIAKEY:verysecret@bucket/catalogue"
    done = submit("categorize", "--source", source, "--target", "./out", "--model", SHIPPED, "--debug", cwd=tmp_path)
    assert done.returncode == 2
    assert "s3a://***@bucket/catalogue" in done.stdout
    assert "verysecret" not in done.stdout + done.stderr


def test_spark_without_a_scratch_folder_is_told(tmp_path: Path) -> None:
    command = f"SPARK_LOCAL_DIRS=/proc/nowhere {ROOT}/spark-submit.sh"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "in SPARK_LOCAL_DIRS, found /proc/nowhere" in done.stdout


def test_the_samples_are_files_of_this_machine_under_the_configuration_of_a_cluster(tmp_path: Path) -> None:
    """By which a path without a scheme is on HDFS. The run ends as in the test above, once it has shown its settings."""
    (tmp_path / "core-site.xml").write_text(
        "<configuration><property><name>fs.defaultFS</name><value>hdfs://127.0.0.1:9</value></property></configuration>"
    )
    done = submit(cwd=tmp_path, environment={"HADOOP_CONF_DIR": str(tmp_path), "SPARK_LOCAL_DIRS": "/proc/nowhere"})
    assert done.returncode == 2
    shown = [line.split() for line in done.stdout.splitlines()]
    assert ["source", f"file:{ROOT}/samples/catalog.csv"] in shown
    assert ["target", f"file:{tmp_path}/lake/categorized"] in shown


def test_answers_that_cannot_be_given_are_not_a_success(tmp_path: Path) -> None:
    def typed(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", "-c", f"{ROOT}/spark-submit.sh {command}"], cwd=tmp_path, capture_output=True, text=True)

    for job in ("predict", "explain"):
        done = typed(f"{job} --text kettle --model {SHIPPED} >&-")
        assert done.returncode == 2
        assert "Expected an open standard output for the answer" in done.stderr
        done = typed(f"{job} --text kettle --model {SHIPPED} >/dev/full")
        assert done.returncode == 1
        assert "found the disk full" in done.stderr
        assert "the table" not in done.stderr
    done = typed(f"predict --model {SHIPPED} <&-")
    assert done.returncode == 2
    assert "Expected texts in --text or on standard input, found it closed" in done.stderr


# Names another machine, for the command that follows; `unshare` needs a right to do so that some systems give to root alone, or to nobody.
UNDER_ANOTHER_NAME = ("unshare", "--user", "--map-root-user", "--uts")
NAME = "import os, socket, sys; socket.sethostname(sys.argv[1]); os.execvp(sys.argv[2], sys.argv[2:])"


@pytest.mark.parametrize("name", ["nobody-knows-it", "with_an_underscore"])
def test_spark_starts_whatever_the_machine_is_called(tmp_path: Path, name: str) -> None:
    renamed = [*UNDER_ANOTHER_NAME, sys.executable, "-c", NAME, name]
    if shutil.which("unshare") is None or subprocess.run([*renamed, "true"], capture_output=True).returncode:
        pytest.skip("no right to give this machine another name")
    command = [*renamed, str(ROOT / "spark-submit.sh"), "evaluate", "--labels", "nowhere.csv", "--model", str(SHIPPED)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "error: Expected" in done.stdout
    assert "found nothing" in done.stdout
