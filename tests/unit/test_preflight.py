"""The messages about executors that lack something; tests/cluster asks real ones."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyspark
import pytest

from lib.scoring import preflight
from lib.scoring.preflight import (
    NEEDED,
    NEEDED_BY_ENGINE,
    Facts,
    check_executors,
    facts_here,
    faults_in,
    free_memory_mb,
    unfit_sentence,
)
from tests.conftest import ROOT

PACKAGES = {
    "pyspark": pyspark.__version__,
    "numpy": "2.4.6",
    "pandas": "2.3.3",
    "pyarrow": "26.0.1",
    "google.protobuf": "7.36.2",
}


def facts(host: str = "node1", **more: object) -> Facts:
    usual = {"pid": 7, "python": platform.python_version(), "packages": PACKAGES, "machine": "x86_64", "has_library": True}
    return Facts(host, **{**usual, "free_mb": 4000, **more})  # type: ignore[arg-type]


def test_this_machine_has_what_it_needs() -> None:
    assert faults_in(list(facts_here("native")), "native") == {}
    assert faults_in(list(facts_here("onnx")), "onnx") == {}
    assert faults_in(list(facts_here(None)), None) == {}


def test_a_job_without_a_model_needs_its_own_package_and_no_room_for_one() -> None:
    there = facts("one", free_mb=120, packages={**PACKAGES, "psycopg": "3.3.9"})
    assert faults_in([there], None) == {}
    found = faults_in([facts("one", packages={**PACKAGES, "psycopg": "No module named 'psycopg'"})], None)
    assert found == {"no psycopg (No module named 'psycopg')": ["one"]}


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"python": "3.4.1"}, f"Python 3.4.1 instead of {platform.python_version()}"),
        ({"packages": {**PACKAGES, "pyspark": "3.4.1"}}, f"PySpark 3.4.1 instead of {pyspark.__version__}"),
        ({"packages": {**PACKAGES, "pyarrow": "9.0.0"}}, "pyarrow 9.0.0 instead of 18 or newer"),
        ({"packages": {**PACKAGES, "numpy": "No module named 'numpy'"}}, "no numpy (No module named 'numpy')"),
        ({"has_library": False, "machine": "aarch64"}, "no compiled library that loads on aarch64"),
        ({"free_mb": 120}, "120 MB of free memory for Python where 2 workers take 500"),
    ],
)
def test_what_is_missing_is_told_with_its_hosts(more: dict[str, object], fault: str) -> None:
    found = faults_in(
        [facts("good"), *[facts(host, pid=pid, **more) for host in ("one", "two") for pid in (7, 8, 8)]], "native"
    )
    assert [list(hosts) for hosts in found.values()] == [["one", "two"]]
    assert next(iter(found)).startswith(fault)


class Allocating:
    """A context on a cluster, as far as it is asked for executors here: the first one comes once it is requested, or alone."""

    master = "yarn"

    def __init__(self, settings: dict[str, str], alone: bool) -> None:
        self._settings, self._looks, self._alone, self.requested = settings, 0, alone, 0
        # Of the JVM.
        self._jsc = SimpleNamespace(sc=lambda: self)

    def getConf(self) -> dict[str, str]:
        return self._settings

    def requestExecutors(self, count: int) -> bool:
        self.requested += count
        return True

    def getExecutorMemoryStatus(self) -> Any:
        self._looks += 1
        assert self._looks < 20, "the job waits for an executor that nobody has requested"
        there = self.requested > 0 or (self._alone and self._looks > 1)
        return SimpleNamespace(size=lambda: 1 + there)


DYNAMIC = {"spark.dynamicAllocation.enabled": "true"}


@pytest.mark.parametrize(
    ("settings", "requested"),
    [
        (DYNAMIC, 1),
        ({**DYNAMIC, "spark.dynamicAllocation.minExecutors": "0", "spark.dynamicAllocation.maxExecutors": "8"}, 1),
        ({**DYNAMIC, "spark.dynamicAllocation.minExecutors": "1"}, 0),
        ({**DYNAMIC, "spark.dynamicAllocation.initialExecutors": "2"}, 0),
        ({**DYNAMIC, "spark.executor.instances": "2"}, 0),
        ({}, 0),
    ],
)
def test_an_executor_that_spark_starts_only_for_a_task_is_requested(
    settings: dict[str, str], requested: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "ask_executors", lambda context, engine: None)
    context: Any = Allocating(settings, alone=not requested)
    spark: Any = SimpleNamespace(sparkContext=context)
    check_executors(spark, "native")
    assert context.requested == requested


def test_what_a_container_caches_of_files_is_free(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(f"{1024 << 20}\n")
    (tmp_path / "memory.current").write_text(f"{900 << 20}\n")
    (tmp_path / "memory.stat").write_text(
        f"anon {200 << 20}\nfile {700 << 20}\ninactive_file {650 << 20}\nactive_file {50 << 20}\n"
    )
    assert free_memory_mb(tmp_path) == 1024 - 900 + 700


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            'java.io.IOException: Cannot run program "python3": error=2, No such file or directory',
            "Expected Python at python3 on",
        ),
        (
            "[PYTHON_VERSION_MISMATCH] Python in worker has different version: 3.9 than that in driver: 3.11, PySpark cannot",
            "Expected Python 3.11 on the executors, as on the driver, found 3.9;",
        ),
        (
            "python3.11: /lib/libc.so.6: version `GLIBC_2.35' not found (required by …)",
            "Expected nodes with GLIBC_2.35 or newer",
        ),
        ("/bin/sh: ./environment/bin/python3.11: Exec format error", "Expected nodes of this machine's architecture"),
        ("ModuleNotFoundError: No module named 'pyspark'", "Expected the Python module pyspark on the executors"),
    ],
)
def test_a_python_that_does_not_start_is_a_sentence(error: str, told: str) -> None:
    sentence = unfit_sentence(f"Job aborted due to stage failure: {error}\n\tat org.apache.spark")
    assert sentence is not None
    assert sentence.startswith(told)
    assert unfit_sentence("java.lang.OutOfMemoryError: Java heap space") is None


def test_the_oldest_versions_are_those_of_setup_py() -> None:
    asked = dict(re.findall(r'"([a-z]+)(?:\[\w+\])?>=([\d.]+)', (ROOT / "setup.py").read_text()))
    needed = {**NEEDED, **{name: least for of_engine in NEEDED_BY_ENGINE.values() for name, least in of_engine.items()}}
    assert {name.removeprefix("google."): least for name, least in needed.items()} == {
        name.removeprefix("google."): asked[name.removeprefix("google.")] for name in needed
    }
