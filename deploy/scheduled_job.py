"""A job of ./spark-submit.sh as a scheduler sees it: what it says, what it tells in JSON, and whether another try makes sense.

The DAG for Airflow and the asset for Dagster stand on it. It needs the standard library alone, since it runs in the scheduler's Python;
the job has an environment of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLONE = Path(__file__).resolve().parent.parent
# docs/operating.md#exit-codes. Wrong input, a refused bundle and a night held back stay as they are until somebody has done something;
# whatever else went wrong (1, or a signal) may go well the next time.
WRONG_INPUT, BUNDLE_REFUSED, HELD_BACK = 2, 3, 4
NEEDS_A_PERSON = (WRONG_INPUT, BUNDLE_REFUSED, HELD_BACK)
# What the sentence of a night held back says of its run.
PUBLISH_ANYWAY = re.compile(r"--publish-anyway ([\w-]+)")
# From SIGTERM to SIGKILL.
SECONDS_TO_END = 60


def night_options(source: str, target: str, model: str, more: Sequence[str] = ()) -> list[str]:
    """The options of `categorize` for one night, told in JSON."""
    return ["--source", source, "--target", target, "--model", model, *more, "--log-format", "json"]


def report_options(target: str, output: str) -> list[str]:
    """The options of `report` for the page of the newest run, and of all runs."""
    return ["--target", target, "--output", output]


@dataclass(frozen=True)
class Ended:
    """How a job ended. events: the last one of each kind that it told in JSON; error: its sentence, empty if it said none."""

    job: str
    exit_code: int
    events: Mapping[str, Mapping[str, Any]]
    error: str = ""

    @property
    def run(self) -> Mapping[str, Any] | None:
        """The ledger's row of the run that was published (docs/tables.md#runs), but for its settings; None if none was."""
        return self.events.get("run")

    @property
    def held_run(self) -> str | None:
        """The id of the run that the guardrails have held back; None if none was (rows that do not add up end with 4 as well)."""
        found = PUBLISH_ANYWAY.search(self.error) if self.exit_code == HELD_BACK else None
        return found and found[1]

    @property
    def may_be_retried(self) -> bool:
        return self.exit_code not in (0, *NEEDS_A_PERSON)

    def sentence(self, target: str) -> str:
        """What a person has to know of a job that failed. target: the table of the night."""
        if self.held_run:
            return f"A night was held back. {self.error} See `report --target {target} --run {self.held_run}`."
        return f"{self.job} ended with exit code {self.exit_code}: {self.error or 'it said no more; see its log'}"


class Job:
    """One call of ./spark-submit.sh, with all processes that it starts in a session of their own.

    Args:
        spark_options: what stands before the job's name, such as --master yarn.
    """

    def __init__(self, name: str, options: Sequence[str], spark_options: Sequence[str] = (), clone: Path = CLONE) -> None:
        self.name, self._clone = name, clone
        self.command = [str(clone / "spark-submit.sh"), *spark_options, name, *options]
        self._process: subprocess.Popen[str] | None = None

    def run(self, say: Callable[[str], object]) -> Ended:
        """Run to the end; relative paths are those of the clone. Whatever ends the wait, an interrupt too, ends the job.

        Args:
            say: takes each line that the job prints.
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
        # As a shell tells a signal.
        return Ended(self.name, code if code >= 0 else 128 - code, said.events, said.error)

    def terminate(self) -> None:
        """Ask all of the job's processes to end, and see that they do. Returns at once: it may be called by a signal's handler."""
        self._signal(signal.SIGTERM)
        killer = threading.Timer(SECONDS_TO_END, self._signal, (signal.SIGKILL,))
        killer.daemon = True
        killer.start()

    def _end_what_is_left(self, heard: threading.Event) -> None:
        """Once the job's first process has ended: another one that keeps its output open would keep the scheduler waiting."""
        process = self._process
        if process is not None:
            process.wait()
        if not heard.wait(SECONDS_TO_END):
            self._signal(signal.SIGKILL)

    def _end(self) -> None:
        """Nothing of the job lives behind this."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(SECONDS_TO_END)
        self._signal(signal.SIGKILL)
        process.wait()
        # Its number may soon be another's.
        self._process = None

    def _signal(self, number: signal.Signals) -> None:
        """To the whole group, which may outlive its first process."""
        process = self._process
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)


class _Said:
    """What a job has printed, as far as a scheduler needs it."""

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
        # Before a job knows its options it speaks to people.
        if line.startswith("error: "):
            self.error = line.removeprefix("error: ")
        elif event and event["event"] == "error":
            self.error = str(event["message"])


def _event(line: str) -> Mapping[str, Any] | None:
    """None for a line of another hand: Spark's and Java's stand in between."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("event"), str) else None
