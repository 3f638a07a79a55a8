"""What a job says while a cluster keeps it waiting for Spark (lib.session)."""

from __future__ import annotations

import io
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from lib import session
from lib.errors import InputError


class Heard(io.StringIO):
    """A stream that has a line once `line` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.line = threading.Event()

    def write(self, text: str) -> int:
        written = super().write(text)
        if "\n" in text:
            self.line.set()
        return written


@pytest.mark.parametrize(
    ("master", "told"),
    [
        ("yarn", "s: YARN has not started the application yet, or its first executors (see yarn application -list)"),
        ("spark://host:7077", "has not answered yet, or not started the first executors (see the cluster's own pages)"),
        ("k8s://https://host:6443", "has not answered yet, or not started the first executors (see kubectl get pods)"),
    ],
)
def test_a_job_in_a_queue_says_so(monkeypatch: pytest.MonkeyPatch, master: str, told: str) -> None:
    heard = Heard()
    monkeypatch.setattr(session, "SECONDS_BETWEEN_LINES", 0.01)
    monkeypatch.setattr("sys.stderr", heard)

    def started_once_told() -> str:
        assert heard.line.wait(60), "nothing was said"
        return "a session"

    builder: Any = SimpleNamespace(getOrCreate=started_once_told)
    assert session._started(builder, master) == "a session"  # type: ignore[comparison-overlap]
    line = heard.getvalue().splitlines()[0]
    assert line.startswith("Spark has not started after 0 s: ")
    assert line.endswith(told)


def builder_that_says(error: str) -> Any:
    """In place of a builder of sessions: Spark's start fails for this reason."""

    def fails() -> None:
        raise RuntimeError(error)

    return SimpleNamespace(getOrCreate=fails)


def test_nodes_with_an_old_java_are_told() -> None:
    said = (
        "org.apache.spark.SparkException: Application application_1_0001 failed 2 times due to AM Container for appattempt_1_0001_000002 exited with"
        " exitCode: 1\nLast 4096 bytes of stderr :\nError: LinkageError occurred while loading main class"
        " org.apache.spark.deploy.yarn.ExecutorLauncher\n\tjava.lang.UnsupportedClassVersionError: org/apache/spark/deploy/yarn/ExecutorLauncher has"
        " been compiled by a more recent version of the Java Runtime (class file version 61.0)"
    )
    with pytest.raises(InputError, match=r"Expected Java 17 on the cluster's nodes, .*found an older one;"):
        session._started(builder_that_says(said), "yarn")


def test_a_file_that_the_settings_name_is_none_of_the_source() -> None:
    said = (
        "An error occurred while calling None.org.apache.spark.api.java.JavaSparkContext.\n: org.apache.spark.SparkException: Could not load pod from "
        "template file.\nCaused by: java.io.FileNotFoundException: /opt/spark/pod-template/pod-spec-template.yml (No such file or directory)\n\tat java"
    )
    with pytest.raises(InputError, match=r"found none at /opt/spark/pod-template/pod-spec-template\.yml; correct the setting"):
        session._started(builder_that_says(said), "k8s://https://there")


def test_on_one_machine_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.active_count()
    builder: Any = SimpleNamespace(getOrCreate=threading.active_count)
    assert session._started(builder, "local[2]") == before  # type: ignore[comparison-overlap]
