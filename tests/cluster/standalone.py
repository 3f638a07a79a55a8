"""A standalone cluster of Spark: a master and workers, each in its own process and folder, on nodes without Python.

A worker sees a Spark as it is downloaded (without Delta), and the system's commands except every Python.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pyspark

from tests.conftest import ROOT
from tests.faults.nights import processes, workers_pythons
from tests.waiting import until

SPARK = Path(pyspark.__file__).parent
DELTA_JARS = {line.split()[1] for line in (ROOT / "requirements" / "jars.sha256").read_text().splitlines()}
DAEMON = ("-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED")


class Standalone:
    """Started by the constructor; `stop` ends it with all that runs on it. Its files are in `folder`."""

    def __init__(self, folder: Path, workers: int = 2, memory_mb: int = 640) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self._memory_mb = memory_mb
        self._home, self._commands = _plain_spark(folder / "spark"), _commands_without_python(folder / "bin")
        self._processes: list[subprocess.Popen[bytes]] = []
        self._workers: list[subprocess.Popen[bytes]] = []
        said = self._start("master", "master.Master", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0")
        self.master = self._found(r"Starting Spark master at (spark://\S+)", said)
        for _ in range(workers):
            self.add_worker()

    def add_worker(self) -> None:
        i = len(self._workers)
        size = ("--cores", "1", "--memory", f"{self._memory_mb}m")
        # Each a separate host: a copy of a task runs only on another host.
        place = ("--host", f"127.0.0.{i + 1}", "--webui-port", "0", "--work-dir", str(self.folder / f"work-{i}"))
        scratch = self.scratch(i)
        scratch.mkdir()
        said = self._start(f"worker-{i}", "worker.Worker", *place, *size, self.master, SPARK_LOCAL_DIRS=str(scratch))
        self._found("Successfully registered with master", said)
        self._workers.append(self._processes[-1])

    def scratch(self, worker: int) -> Path:
        """Where a worker's executors keep blocks and shuffle files."""
        return self.folder / f"scratch-{worker}"

    def worker_with_blocks(self) -> int | None:
        """The first worker with an executor that stores a block of what a run has persisted; None if there is none yet."""
        return next((i for i in range(len(self._workers)) if any(self.scratch(i).rglob("rdd_*"))), None)

    def kill_executors(self, worker: int) -> None:
        """SIGKILL, of all that the worker has started."""
        marks = ("CoarseGrainedExecutorBackend", str(self.folder))
        for pid in processes(lambda command, _: all(mark in command for mark in marks)):
            if Path(os.readlink(f"/proc/{pid}/cwd")).is_relative_to(self.folder / f"work-{worker}"):
                os.kill(pid, signal.SIGKILL)

    def kill_worker(self, worker: int) -> None:
        """SIGKILL, of its executors too, and all that they have stored is gone, as if the machine had failed."""
        self._workers[worker].kill()
        self._workers[worker].wait()
        self.kill_executors(worker)
        shutil.rmtree(self.scratch(worker), ignore_errors=True)

    def pythons(self) -> set[Path]:
        """The interpreters that run on the workers."""
        return workers_pythons(self.folder)

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        # An executor ends when its worker does.
        until(lambda: not processes(lambda command, _: str(self.folder) in command), "the end of the cluster's processes")

    def _start(self, name: str, kind: str, *arguments: str, **more: str) -> Path:
        said = self.folder / f"{name}.log"
        home = os.environ.get("JAVA_HOME")
        java = f"{home}/bin/java" if home else shutil.which("java") or "java"
        command = [java, *DAEMON, "-cp", f"{self._home}/jars/*", f"org.apache.spark.deploy.{kind}", *arguments]
        environment = {"PATH": str(self._commands), "SPARK_HOME": str(self._home), "SPARK_SCALA_VERSION": "2.13", **more}
        if home:
            environment["JAVA_HOME"] = home
        with said.open("wb") as file:
            self._processes.append(
                subprocess.Popen(command, cwd=self.folder, env=environment, stdout=file, stderr=subprocess.STDOUT)
            )
        return said

    def _found(self, pattern: str, said: Path) -> str:
        def found() -> re.Match[str] | None:
            assert self._processes[-1].poll() is None, said.read_text()
            return re.search(pattern, said.read_text())

        until(found, pattern)
        match = found()
        assert match
        return match[match.lastindex or 0]


def _plain_spark(home: Path) -> Path:
    (home / "jars").mkdir(parents=True)
    for jar in (SPARK / "jars").iterdir():
        if jar.name not in DELTA_JARS:
            (home / "jars" / jar.name).symlink_to(jar)
    for part in ("bin", "python", "sbin"):
        (home / part).symlink_to(SPARK / part)
    return home


def _commands_without_python(folder: Path) -> Path:
    folder.mkdir()
    for place in ("/usr/bin", "/bin"):
        for command in Path(place).iterdir():
            link = folder / command.name
            if "python" not in command.name and not link.is_symlink():
                link.symlink_to(command)
    return folder
