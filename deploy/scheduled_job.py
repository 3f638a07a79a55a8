"""A job of ./spark-submit.sh as a scheduler sees it: what it prints, what it reports in JSON, and whether a retry makes sense.

The DAG for Airflow and the asset for Dagster use it. It needs only the standard library, since it runs in the scheduler's Python;
the job has its own environment.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLONE = Path(__file__).resolve().parent.parent
# docs/operating.md#exit-codes. Wrong input, a refused bundle and a run that was held back need a person to do something first;
# anything else that went wrong (1, or a signal) may work the next time.
WRONG_INPUT, BUNDLE_REFUSED, HELD_BACK = 2, 3, 4
NEEDS_A_PERSON = (WRONG_INPUT, BUNDLE_REFUSED, HELD_BACK)
# The status in the ledger of a run that was held back, and what stands in its place for one with --dry-run.
HELD, DRY_RUN = "held", "dry run"
# Jobs whose file has to reach this machine: in cluster mode the driver is a container, which goes with all that it has written.
ONLY_IN_CLIENT_MODE = ("report",)
# From SIGTERM to SIGKILL.
SECONDS_TO_END = 60


def night_options(source: str, target: str, model: str, more: Sequence[str] = ()) -> list[str]:
    """The options of `categorize` for one run that reports in JSON."""
    return ["--source", source, "--target", target, "--model", model, *more, "--log-format", "json"]


def report_options(target: str, output: str) -> list[str]:
    """The options of `report` for the page of the newest run, and of all runs."""
    return ["--target", target, "--output", output]


@dataclass(frozen=True)
class Ended:
    """How a job ended. events: the last one of each kind that it reported in JSON; error: its sentence, empty if it printed none."""

    job: str
    exit_code: int
    events: Mapping[str, Mapping[str, Any]]
    error: str = ""

    @property
    def run(self) -> Mapping[str, Any] | None:
        """The ledger's row of the run that was published (docs/tables.md#runs), without its settings; None if none was."""
        run = self.events.get("run")
        return run if run and run["status"] not in (HELD, DRY_RUN) else None

    @property
    def held_run(self) -> str | None:
        """The id of the run that the guardrails held back; None if none was (rows that do not add up also end with 4)."""
        run = self.events.get("run")
        return run["run_id"] if run and run["status"] == HELD else None

    @property
    def may_be_retried(self) -> bool:
        return self.exit_code not in (0, *NEEDS_A_PERSON)

    def sentence(self, target: str) -> str:
        """What a person has to know about a job that failed. target: the table of the run."""
        if self.held_run:
            return f"A night was held back. {self.error} See `report --target {target} --run {self.held_run}`."
        return f"{self.job} ended with exit code {self.exit_code}: {self.error or 'it said no more; see its log'}"


class Job:
    """One call of ./spark-submit.sh, with all processes that it starts in their own session.

    Args:
        spark_options: what comes before the job's name, such as --master yarn.
    """

    def __init__(self, name: str, options: Sequence[str], spark_options: Sequence[str] = (), clone: Path = CLONE) -> None:
        self.name, self._clone = name, clone
        # The last one counts, and before any setting. On one machine there is no such mode.
        mode = ("--deploy-mode", "client") if spark_options and name in ONLY_IN_CLIENT_MODE else ()
        self.command = [str(clone / "spark-submit.sh"), *spark_options, *mode, name, *options]
        self._process: subprocess.Popen[str] | None = None

    def run(self, say: Callable[[str], object]) -> Ended:
        """Run to the end; relative paths are relative to the clone. Whatever ends the wait, even an interrupt, ends the job.

        Args:
            say: is called with each line that the job prints.
        """
        said = _Said(say)
        self._process = subprocess.Popen(
            self.command,
            cwd=self._clone,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        heard = threading.Event()
        threading.Thread(target=self._end_what_is_left, args=(heard,), daemon=True).start()
        try:
            said.listen(self._process.stdout)
            heard.set()
            code = self._process.wait()
        finally:
            self._end()
        # A signal as a shell reports it.
        return Ended(self.name, code if code >= 0 else 128 - code, said.events, said.error)

    def terminate(self) -> None:
        """Ask all of the job's processes to end, and make sure that they do. Returns at once: a signal handler may call it."""
        self._signal(signal.SIGTERM)
        killer = threading.Timer(SECONDS_TO_END, self._signal, (signal.SIGKILL,))
        killer.daemon = True
        killer.start()

    def _end_what_is_left(self, heard: threading.Event) -> None:
        """After the job's first process has ended, kill the others: one that keeps the output open would keep the scheduler waiting."""
        process = self._process
        if process is not None:
            process.wait()
        if not heard.wait(SECONDS_TO_END):
            self._signal(signal.SIGKILL)

    def _end(self) -> None:
        """End all processes of the job; none is alive afterwards."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(SECONDS_TO_END)
        self._signal(signal.SIGKILL)
        process.wait()
        # Its process id may soon be reused.
        self._process = None

    def _signal(self, number: signal.Signals) -> None:
        """Signal the whole group, which may outlive its first process."""
        process = self._process
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)


class _Said:
    """What a job has printed that a scheduler needs."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say = say
        self.events: dict[str, Mapping[str, Any]] = {}
        self.error = ""

    def listen(self, lines: Any) -> None:
        for line in lines:
            self._heard(line.rstrip("\n"))
            self._say(line.rstrip("\n"))

    def _heard(self, line: str) -> None:
        event = _event(line)
        if event:
            self.events[event["event"]] = event
        # Before a job has read its options, it prints plain text.
        if line.startswith("error: "):
            self.error = line.removeprefix("error: ")
        elif event and event["event"] == "error":
            self.error = str(event["message"])


def _event(line: str) -> Mapping[str, Any] | None:
    """None for a line from something else: Spark and Java print in between."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("event"), str) else None
