"""Runs for fault tests: small sources, the job in this process or in its own, and the expected content of the tables."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.categorize import CategorizeSettings, main
from lib import failpoints
from lib.command import run_command
from lib.session import setting
from tests.conftest import CONFIGURATION, FOR_FEW_ROWS, FOR_ONE_NIGHT, FROM_ARCHIVE, ON_ONE_MACHINE, ROOT, SHIPPED
from tests.waiting import until

FAULTS = Path(__file__).resolve().parent
FIRST = {"1": "steel kettle", "2": "detective novel, paperback", "3": "usb cable for phones", "4": "cotton shirt"}
SECOND = {"1": "steel kettle", "2": "wooden chair", "3": "usb cable for phones", "5": "yoga mat", "6": "blue jeans"}
# The source of another run, concurrent with the second.
OTHER = {**FIRST, "3": "garden hose", "7": "tent for two"}


def write_source(path: Path, rows: Mapping[str, str | None], *more: tuple[str | None, str | None]) -> Path:
    """A Parquet file with product_id and title; `more` are rows after them, such as copies."""
    pairs = [*rows.items(), *more]
    table = pa.table(
        {"product_id": pa.array([i for i, _ in pairs], pa.string()), "title": pa.array([t for _, t in pairs], pa.string())}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def copy_of_first_night(night: Path, folder: Path) -> Path:
    """A separate table in this folder, as a run over FIRST has left it; first.parquet next to it has the same rows.

    Args:
        night: the value of the fixture `first_night`. The run's own source stays there: at another path it would be another source.
    """
    for name in ("lake", "lake_runs", "lake_rejected"):
        shutil.copytree(night / name, folder / name)
    shutil.copy2(night / "first.parquet", folder / "first.parquet")
    return folder / "lake"


def vacuum_all(spark: object, table: object) -> None:
    """Remove the files of all versions of a Delta table except the newest."""
    with setting(spark, "spark.databricks.delta.retentionDurationCheck.enabled", "false"):
        spark.sql(f"VACUUM delta.`{table}` RETAIN 0 HOURS")


def arguments(source: object, target: object, *more: object, model: object = SHIPPED) -> list[str]:
    fixed = ["--source", source, "--target", target, "--model", model, "--text-columns", "title"]
    return list(map(str, [*fixed, *more]))


def run(source: object, target: object, *more: object, model: object = SHIPPED) -> int:
    return run_command(CategorizeSettings, main, "categorize", arguments(source, target, *more, model=model))


def commit_at_once(spark: object, lake: object, folder: Path) -> None:
    """The second run and another, each in its own process, released together before their commits; both must be in the table."""
    sources = {name: write_source(folder / f"{name}.parquet", rows) for name, rows in (("second", SECOND), ("other", OTHER))}
    nights = [Night(folder / name, "publishing", arguments(source, lake)) for name, source in sources.items()]
    for night in nights:
        night.wait_for("publishing")
    for night in nights:
        night.go("publishing")
    assert [night.end() for night in nights] == [0, 0], "\n".join(night.said() for night in nights)
    one, two = {**OTHER, "4": FIRST["4"], **SECOND}, {**SECOND, **OTHER}
    assert hashes_in(spark, lake) in (titles_hash(one), titles_hash(two))
    assert [status for _, status in ledger(spark, lake)] == ["published"] * 3


@contextmanager
def at(phase: str, action: Callable[[], object], times: int = 1) -> Iterator[None]:
    """Do something when a run in this process reaches a phase."""
    left = [times]

    def observer(reached: str) -> None:
        if reached == phase and left[0]:
            left[0] -= 1
            action()

    failpoints.observers.append(observer)
    try:
        yield
    finally:
        failpoints.observers.remove(observer)


def titles_hash(rows: Mapping[str, str | None]) -> dict[str, str]:
    import hashlib

    return {i: hashlib.sha256((text or "").encode()).hexdigest() for i, text in rows.items()}


def hashes_in(spark: object, target: object) -> dict[str, str]:
    """product_id -> text_hash; fails if an id is there twice."""
    rows = spark.read.format("delta").load(str(target)).select("product_id", "text_hash").collect()
    found = {row["product_id"]: row["text_hash"] for row in rows}
    assert len(found) == len(rows), "an id is in the table twice"
    return found


def ledger(spark: object, target: object) -> list[tuple[str, str]]:
    """(run id, status) of every row, oldest first."""
    rows = spark.read.format("delta").load(f"{target}_runs").orderBy("started_at").collect()
    assert len({row["run_id"] for row in rows}) == len(rows), "a run is in the ledger twice"
    return [(row["run_id"], row["status"]) for row in rows]


def of_a_cold_jvm(master: str = "local[2]", conf: tuple[str, ...] = ()) -> dict[str, str]:
    """The environment of a process that starts its own JVM."""
    settings = [
        "spark.ui.enabled=false",
        *(f"{name}={value}" for name, value in {**FOR_FEW_ROWS, **FOR_ONE_NIGHT}.items()),
        *conf,
    ]
    given = ["--master", master, *(word for setting in settings for word in ("--conf", setting))]
    here = ON_ONE_MACHINE if master.startswith("local") else {}
    return {**os.environ, **here, **FROM_ARCHIVE, "PYSPARK_SUBMIT_ARGS": shlex.join([*CONFIGURATION, *given, "pyspark-shell"])}


class Night:
    """The job in its own process: a Python driver and the JVM that it starts."""

    def __init__(
        self,
        folder: Path,
        stops: str,
        job: list[str],
        master: str = "local[2]",
        fault: str = "",
        conf: tuple[str, ...] = (),
        environment: Mapping[str, str] = MappingProxyType({}),
        name: str = "categorize",
        python: str = sys.executable,
        working_folder: Path | None = None,
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        environment = {
            **of_a_cold_jvm(master, conf),
            **environment,
            "PYTHONPATH": os.pathsep.join([str(FAULTS / "workers"), str(ROOT)]),
            "CATALOG_FAULT": fault,
        }
        self.output = folder / "output"
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                [python, str(FAULTS / "driver.py"), str(folder), stops, name, *job],
                env=environment,
                cwd=working_folder,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for(self, phase: str) -> None:
        marker = self.folder / phase
        until(lambda: marker.exists() or self.process.poll() is not None, f"the phase {phase}")
        assert marker.exists(), f"the run ended before the phase {phase}:\n{self.said()}"

    def go(self, phase: str, how: str = "") -> None:
        # A rename, so that the reader never sees a file that is still empty.
        fresh = self.folder / f"{phase}.new"
        fresh.write_text(how)
        fresh.rename(self.folder / f"{phase}.go")

    def end(self) -> int:
        return self.process.wait(timeout=300)

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def kill(self, *pids: int) -> None:
        """SIGKILL, and wait until no process of this run is alive."""
        for pid in pids or (self.process.pid,):
            os.kill(pid, signal.SIGKILL)
        self.process.wait(timeout=300)
        until(lambda: not self.processes(), "the end of all of the run's processes")

    def processes(self, mark: str = "") -> list[int]:
        """Processes of this run's session whose command line contains a text."""
        return processes(lambda command, session: session == self.process.pid and mark in command)


def processes(wanted: Callable[[str, int], bool]) -> list[int]:
    """Ids of live processes, chosen by command line and session."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if state[0] != "Z" and wanted(command, int(state[3])):
            found.append(int(entry.name))
    return found


def workers_pythons(folder: Path) -> set[Path]:
    """The interpreters of the Python workers that run below a folder, as a cluster's executors do."""

    def target(pid: int, link: str) -> Path:
        try:
            return Path(os.readlink(f"/proc/{pid}/{link}"))
        except OSError:  # it has ended
            return Path()

    daemons = processes(lambda command, _: "pyspark.daemon" in command)
    found = {target(pid, "exe") for pid in daemons if target(pid, "cwd").is_relative_to(folder)}
    # The shell that starts one has the same command line.
    return {path for path in found if path.name.startswith("python")}
