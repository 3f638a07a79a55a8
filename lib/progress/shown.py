"""How it is shown: one live line on a terminal, a line a step elsewhere, or a line of JSON each."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from lib.events import JSON, json_line
from lib.progress.told import Told, Watched

# Between two lines about one step, where there is no terminal.
SECONDS_BETWEEN_LINES = 30


class LiveLine(Watched):
    """On a terminal: the step, and of what is counted how much there is, how fast it comes, and how long it still takes."""

    def __init__(self, console: Console, steps: Mapping[str, str]) -> None:
        super().__init__(steps)
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"))
        # The standard output may lead elsewhere than to this terminal.
        self._line = Progress(
            *columns,
            TimeElapsedColumn(),
            console=console,
            redirect_stdout=False,
            redirect_stderr=False,
            auto_refresh=False,
            transient=True,
        )
        self._task = self._line.add_task("", total=None, said="")
        self._mark = ""

    def start(self) -> Watched:
        self._safely(self._line.start)
        return super().start()

    def close(self) -> None:
        super().close()
        self._safely(self._line.stop)

    def _begun(self) -> None:
        self._line.remove_task(self._task)
        self._mark = ""
        self._task = self._line.add_task(self._steps[self._step.name], total=self._step.rows or None, said="")
        self._line.refresh()

    def _marked(self, text: str, event: Mapping[str, Any], short: str) -> None:
        self._mark = short
        self._look()

    def _note(self, text: str) -> None:
        self._line.console.print(text, markup=False, highlight=False)

    def _look(self) -> None:
        far = self._step.said() if self._step.rows else ""
        said = "; ".join(filter(None, [far, self._mark])).replace("[", r"\[")
        if self._step.rows:
            self._line.update(self._task, completed=self._step.figures()[0], said=said)
        else:
            self._line.update(self._task, said=said)
        self._line.refresh()


class Lines(Watched):
    """Elsewhere: a line when a step begins, and now and then one about how far it is."""

    def __init__(self, out: TextIO, steps: Mapping[str, str]) -> None:
        super().__init__(steps)
        self._out, self._last = out, time.monotonic()

    def _begun(self) -> None:
        self._last = time.monotonic()
        step = self._step
        much = f" {step.rows:,} {step.unit}" if step.rows else ""
        self._write(f"{self._steps[step.name]}{much}", {"event": "step", "step": step.name, step.unit: step.rows or None})

    def _look(self) -> None:
        if not self._step.rows or time.monotonic() - self._last < SECONDS_BETWEEN_LINES:
            return
        self._last = time.monotonic()
        step, (done, rate, left) = self._step, self._step.figures()
        speed = round(rate) if rate >= 10 else round(rate, 3)
        figures = {f"{step.unit}_done": done, step.unit: step.rows, f"{step.unit}_per_second": speed}
        event = {"event": "progress", "step": step.name, **figures, "seconds_left": left and round(left)}
        self._write(f"{self._steps[step.name]} {step.said()}", event)

    def _marked(self, text: str, event: Mapping[str, Any], short: str) -> None:
        self._write(text, event)

    def _note(self, text: str) -> None:
        self._write(text, {"event": "note", "text": text})

    def _write(self, text: str, event: Mapping[str, Any]) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=self._out, flush=True)


class JsonLines(Lines):
    """The same, each as an object on its own line."""

    def _write(self, text: str, event: Mapping[str, Any]) -> None:
        print(json_line(**event), file=self._out, flush=True)


def watched(log_format: str, steps: Mapping[str, str]) -> Told:
    """The reporter of what a job does, started with its first step.

    Lines go to standard output, like everything that a job prints; standard error is only for its error.
    """
    told = _watched(log_format, steps)
    told.step(next(iter(steps)))
    return told


def _watched(log_format: str, steps: Mapping[str, str]) -> Told:
    terminal = _terminal() if log_format != JSON else None
    if terminal and not terminal.is_dumb_terminal:
        return LiveLine(terminal, steps).start()
    if not sys.stdout:
        return Told()
    return (JsonLines if log_format == JSON else Lines)(sys.stdout, steps).start()


def _terminal() -> Console | None:
    """The terminal that the user looks at; None if there is none.

    Under spark-submit the streams of this process are pipes to the JVM; spark-submit.sh has looked before, and passes on what it found.
    """
    if sys.stderr and sys.stderr.isatty():
        return Console(stderr=True)
    if os.environ.get("CATALOG_TERMINAL") != "yes":
        return None
    try:
        return Console(file=open("/dev/tty", "w", encoding="utf-8"), force_terminal=True)
    except OSError:
        return None
