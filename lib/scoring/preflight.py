"""Before any data is read: do the executors have what the job needs? One sentence says what is missing where.

On one machine the executors are the driver, so nothing is asked there.
"""

from __future__ import annotations

import importlib
import os
import platform
import re
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark import SparkContext
from pyspark.sql import SparkSession

from lib.errors import InputError
from lib.pairs.supported import PYSPARK, line_of
from lib.session import SECONDS_BETWEEN_LINES, WORKER_MB

# The oldest version of each module that setup.py asks for.
NEEDED = {"numpy": "1.26", "pandas": "2.2", "pyarrow": "18"}
# And those for an engine; without one, those with which `publish` writes rows as PostgreSQL does.
NEEDED_BY_ENGINE: Mapping[str | None, Mapping[str, str]] = {
    "native": {"google.protobuf": "5"},
    "onnx": {"onnxruntime": "1.20"},
    "keras": {"keras": "3.8"},
    None: {"psycopg": "3.2"},
}
REMEDY = "leave out --no-pack and PYSPARK_PYTHON, so that Python and the packages travel with the job, or install them there"
# There, only the code travels.
REMEDY_ON_KUBERNETES = (
    "build the executors' image with deploy/kubernetes/Dockerfile from the same version of the project, or leave out PYSPARK_PYTHON, "
    "which names a Python in it"
)
# Spark's message where a worker's Python does not start, and what to tell the user instead.
NO_PYTHON = (
    (r'Cannot run program "?([^"\s]+)', "Expected Python at {0} on every executor, found none; {remedy}."),
    (
        r"Python in worker has different version:? \(?'?([\d., ]+)'?\)? than that in driver:? ([\d.]+\d)",
        "Expected Python {1} on the executors, as on the driver, found {0}; {remedy}.",
    ),
    (
        r"version `(GLIBC_[\d.]+)' not found",
        "Expected nodes with {0} or newer, as the machine that packed Python, found older ones; give --no-pack and a PYSPARK_PYTHON of "
        "the nodes, or submit from a machine with an older system.",
    ),
    (
        r"Exec format error|cannot execute binary file",
        "Expected nodes of this machine's architecture (" + platform.machine() + "), found another; give --no-pack and a "
        "PYSPARK_PYTHON of the nodes, with --engine onnx.",
    ),
    (r"No module named '?([\w.]+)", "Expected the Python module {0} on the executors, found none; {remedy}."),
)


@dataclass(frozen=True)
class Facts:
    """What one task has found. pid: of its worker; packages: version by module, or why it cannot be imported; free_mb: None where it is unknown."""

    host: str
    pid: int
    python: str
    packages: Mapping[str, str]
    machine: str
    has_library: bool
    free_mb: int | None


def check_executors(spark: SparkSession, engine: str | None, say: Callable[[str], None] | None = None) -> None:
    """Ask every executor that is running, once there is one; on one machine ask nothing.

    Args:
        engine: the one that is to score, None for `publish`; say: receives a line while no executor starts.
    Raises:
        InputError: one lacks something.
    """
    context = spark.sparkContext
    master = str(context.master)
    if master.startswith("local") and not master.startswith("local-cluster"):
        return
    _wait_for_an_executor(context, say or _say)
    ask_executors(context, engine)


def ask_executors(context: SparkContext, engine: str | None) -> None:
    """Run as many tasks as the executors run at the same time.

    Raises:
        InputError: an executor lacks something.
    """
    remedy = REMEDY_ON_KUBERNETES if _on_kubernetes(context) else REMEDY
    slots = slots_of(context)
    try:
        found = context.parallelize(range(slots), slots).mapPartitions(lambda _: facts_here(engine)).collect()
    except Exception as error:
        sentence = unfit_sentence(str(error), remedy)
        if sentence is None:
            raise
        raise InputError(sentence) from None
    faults = faults_in(found, engine)
    if faults:
        able = f"score with the engine {engine}" if engine else "publish"
        raise InputError(f"Expected executors that can {able}, found {_listed(faults)}; {remedy}.")


def slots_of(context: Any) -> int:
    """How many tasks the executors run at the same time, whatever spark.default.parallelism is."""
    scala = context._jsc.sc()
    return max(1, int(scala.maxNumConcurrentTasks(scala.resourceProfileManager().defaultResourceProfile())))


def facts_here(engine: str | None) -> Iterator[Facts]:
    """On an executor: one Facts."""
    modules = {name: _version(name) for name in ("pyspark", *NEEDED, *NEEDED_BY_ENGINE[engine])}
    has_library = False
    if engine == "native" and not _missing(modules):
        from lib.model.native import library

        has_library = library() is not None
    yield Facts(
        socket.gethostname(), os.getpid(), platform.python_version(), modules, platform.machine(), has_library, free_memory_mb()
    )


def faults_in(found: Sequence[Facts], engine: str | None) -> dict[str, list[str]]:
    """What is missing, and on which hosts."""
    # One worker may have run several tasks.
    workers: dict[str, set[int]] = {}
    for facts in found:
        workers.setdefault(facts.host, set()).add(facts.pid)
    faults: dict[str, list[str]] = {}
    for host, facts in {facts.host: facts for facts in found}.items():
        for fault in _faults(facts, engine, len(workers[host])):
            faults.setdefault(fault, []).append(host)
    return faults


def unfit_sentence(error: str, remedy: str = REMEDY) -> str | None:
    """A sentence for an error of Spark about the executors' Python; None if it is about something else."""
    for pattern, sentence in NO_PYTHON:
        match = re.search(pattern, error)
        if match:
            return sentence.format(*match.groups(), remedy=remedy)
    return None


def _faults(facts: Facts, engine: str | None, workers: int) -> Iterator[str]:
    if facts.python.split(".")[:2] != platform.python_version().split(".")[:2]:
        yield f"Python {facts.python} instead of {platform.python_version()}"
    # It comes with an executor's Spark.
    if line_of(facts.packages["pyspark"]) != line_of(PYSPARK):
        yield f"PySpark {facts.packages['pyspark']} instead of {PYSPARK}"
    for name, least in {**NEEDED, **NEEDED_BY_ENGINE[engine]}.items():
        version = facts.packages[name]
        if not version[:1].isdigit():
            yield f"no {name} ({version})"
        elif _numbers(version) < _numbers(least):
            yield f"{name} {version} instead of {least} or newer"
    if engine == "native" and not facts.has_library and not _missing(facts.packages):
        yield f"no compiled library that loads on {facts.machine} (submit from such a machine, or give --engine onnx)"
    # Without an engine a worker holds no model.
    if engine and facts.free_mb is not None and facts.free_mb < workers * WORKER_MB:
        yield f"{facts.free_mb} MB of free memory for Python where {workers} workers take {workers * WORKER_MB}"


def _missing(packages: Mapping[str, str]) -> bool:
    return any(not version[:1].isdigit() for version in packages.values())


def _version(module: str) -> str:
    """The module is really imported: a package may be installed and its shared libraries missing. What is imported stays loaded for the scoring."""
    try:
        return str(importlib.import_module(module).__version__)
    except Exception as error:
        return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def free_memory_mb(group: Path = Path("/sys/fs/cgroup")) -> int | None:
    """The free memory of the machine, or of the container if that is less.

    Args:
        group: the folder of the container's control group, version 2.
    """
    left = []
    # There may be no limit, or another system.
    with suppress(OSError, ValueError, IndexError):
        memory = Path("/proc/meminfo").read_text()
        left.append(int(re.findall(r"MemAvailable:\s+(\d+)", memory)[0]) >> 10)
    with suppress(OSError, ValueError):
        used = int((group / "memory.current").read_text())
        # Files that the kernel caches count as used, although it drops them when a process needs the memory.
        cached = re.findall(r"^(?:in)?active_file (\d+)$", (group / "memory.stat").read_text(), re.MULTILINE)
        left.append(int((group / "memory.max").read_text()) - used + sum(map(int, cached)) >> 20)
    return min(left, default=None)


def _listed(faults: Mapping[str, Iterable[str]]) -> str:
    """At most three problems, each with at most three hosts."""
    told = []
    for fault, hosts in list(faults.items())[:3]:
        names = sorted(hosts)
        told.append(f"{fault} on {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}")
    return "; ".join([*told, *([f"{len(faults) - 3} more"] if len(faults) > 3 else [])])


def _wait_for_an_executor(context: Any, say: Callable[[str], None]) -> None:
    """A queue may be long; the user should know what the job waits for."""
    if _has_none_until_asked(context.getConf()):
        context._jsc.sc().requestExecutors(1)
    began, told = time.monotonic(), SECONDS_BETWEEN_LINES
    while context._jsc.sc().getExecutorMemoryStatus().size() < 2:
        if (waited := time.monotonic() - began) >= told:
            say(
                f"no executor after {waited:.0f} s: the cluster {context.master} has no room for one of "
                f"{context.getConf().get('spark.executor.memory', '1g')}, or it does not start ({_where_to_look(context)})"
            )
            told += SECONDS_BETWEEN_LINES
        time.sleep(0.1)


def _has_none_until_asked(conf: Any) -> bool:
    """Whether Spark starts its first executor only for a task: under dynamic allocation it begins with the largest of these numbers."""
    at_first = ("spark.dynamicAllocation.minExecutors", "spark.dynamicAllocation.initialExecutors", "spark.executor.instances")
    dynamic = str(conf.get("spark.dynamicAllocation.enabled", "false")).lower() == "true"
    return dynamic and not any(int(conf.get(name, "0")) for name in at_first)


def _where_to_look(context: Any) -> str:
    if not _on_kubernetes(context):
        return "see the cluster's own pages"
    namespace = context.getConf().get("spark.kubernetes.namespace", "default")
    return f"see kubectl describe pods --namespace {namespace} --selector spark-app-selector={context.applicationId}"


def _on_kubernetes(context: Any) -> bool:
    return str(context.master).startswith("k8s://")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
