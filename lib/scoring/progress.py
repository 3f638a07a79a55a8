"""What a run says while it is at work: one live line on a terminal, a line a step elsewhere, or a line of JSON each."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from lib.command import JSON, json_line

STEPS = {
    "starting": "starting Spark",
    "comparing": "comparing the source with the table",
    "scoring": "scoring",
    "auditing": "auditing",
    "publishing": "publishing",
    "recording": "writing the ledger",
}
LOOKS_A_SECOND = 2
# Between two lines about one step, where there is no terminal.
SECONDS_BETWEEN_LINES = 30


class Told(AbstractContextManager["Told"]):
    """Tells nobody; what a run has that nobody watches. Its end, as a context, is its close."""

    def step(self, name: str, rows: int = 0, done: Callable[[], int] = int) -> None:
        """The run has come to one of STEPS. rows: to be worked on, 0 for none that are counted; done: how many are."""

    def say(self, text: str) -> None:
        """What a person should know beside the steps."""
        print(text, flush=True)

    def close(self) -> None:
        """Nothing more is told; said twice it is as if said once."""

    def __exit__(self, *error: object) -> None:
        self.close()


class Watched(Told):
    """Asks the running step, from a thread of its own, how far it is, and tells it."""

    def __init__(self) -> None:
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._name, self._rows, self._began, self._silent = "", 0, time.monotonic(), False
        self._done: Callable[[], int] = int
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> Watched:
        self._thread.start()
        return self

    def step(self, name: str, rows: int = 0, done: Callable[[], int] = int) -> None:
        with self._lock:
            self._name, self._rows, self._done, self._began = name, rows, done, time.monotonic()
            self._safely(self._begun)

    def say(self, text: str) -> None:
        with self._lock:
            self._safely(lambda: self._note(text))

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(1 / LOOKS_A_SECOND):
            with self._lock:
                self._safely(self._look)

    def _safely(self, tell: Callable[[], None]) -> None:
        """Where the terminal or the stream is gone nobody wants to be told; the run goes on."""
        if not self._silent:
            try:
                tell()
            except (OSError, ValueError):
                self._silent = True

    def _figures(self) -> tuple[int, float, float | None]:
        """Rows done, rows a second, and the seconds left; None as long as nothing is done. A task that runs again counts again."""
        done, seconds = min(self._done(), self._rows), time.monotonic() - self._began
        rate = done / max(seconds, 1e-9)
        return done, rate, (self._rows - done) / rate if done else None

    def _begun(self) -> None:
        raise NotImplementedError

    def _look(self) -> None:
        raise NotImplementedError

    def _note(self, text: str) -> None:
        raise NotImplementedError


class LiveLine(Watched):
    """On a terminal: the step, and of scored rows how many there are, how fast they come, and how long it still takes."""

    def __init__(self, console: Console) -> None:
        super().__init__()
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

    def start(self) -> Watched:
        self._safely(self._line.start)
        return super().start()

    def close(self) -> None:
        super().close()
        self._safely(self._line.stop)

    def _begun(self) -> None:
        self._line.remove_task(self._task)
        self._task = self._line.add_task(STEPS[self._name], total=self._rows or None, said="")
        self._line.refresh()

    def _note(self, text: str) -> None:
        self._line.console.print(text, markup=False, highlight=False)

    def _look(self) -> None:
        if self._rows:
            done, rate, left = self._figures()
            self._line.update(self._task, completed=done, said=_said(done, self._rows, rate, left))
        self._line.refresh()


class Lines(Watched):
    """Elsewhere: a line when a step begins, and now and then one about how far it is."""

    def __init__(self, out: TextIO) -> None:
        super().__init__()
        self._out, self._last = out, time.monotonic()

    def _begun(self) -> None:
        self._last = time.monotonic()
        rows = f" {self._rows:,} rows" if self._rows else ""
        self._write(f"{STEPS[self._name]}{rows}", {"event": "step", "step": self._name, "rows": self._rows or None})

    def _look(self) -> None:
        if not self._rows or time.monotonic() - self._last < SECONDS_BETWEEN_LINES:
            return
        self._last = time.monotonic()
        done, rate, left = self._figures()
        figures = {"rows_done": done, "rows": self._rows, "rows_per_second": round(rate), "seconds_left": left and round(left)}
        text = f"{STEPS[self._name]} {_said(done, self._rows, rate, left)}"
        self._write(text, {"event": "progress", "step": self._name, **figures})

    def _note(self, text: str) -> None:
        self._write(text, {"event": "note", "text": text})

    def _write(self, text: str, event: dict[str, Any]) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=self._out, flush=True)


class JsonLines(Lines):
    """The same, each as an object on a line of its own."""

    def _write(self, text: str, event: dict[str, Any]) -> None:
        print(json_line(**event), file=self._out, flush=True)


def _said(done: int, rows: int, rate: float, left: float | None) -> str:
    more = f", {_duration(left)} left" if left is not None else ""
    return f"{done:,} of {rows:,} rows, {rate:,.0f} rows/s{more}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def watched(log_format: str) -> Told:
    """Who tells what a run does. Lines go to the standard output, as all that a run says; the other stream is for its error alone."""
    told = _watched(log_format)
    told.step("starting")
    return told


def _watched(log_format: str) -> Told:
    terminal = _terminal() if log_format != JSON else None
    if terminal and not terminal.is_dumb_terminal:
        return LiveLine(terminal).start()
    if not sys.stdout:
        return Told()
    return (JsonLines if log_format == JSON else Lines)(sys.stdout).start()


def _terminal() -> Console | None:
    """The terminal that somebody looks at, None where there is none.

    Under spark-submit this process speaks to the JVM, through pipes; spark-submit.sh says what it has found before.
    """
    if sys.stderr and sys.stderr.isatty():
        return Console(stderr=True)
    if os.environ.get("CATALOG_TERMINAL") != "yes":
        return None
    try:
        return Console(file=open("/dev/tty", "w", encoding="utf-8"), force_terminal=True)
    except OSError:
        return None
