"""Reports what a job does, step by step. Here: the one for a job that nobody watches, and what all others have in common."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

LOOKS_A_SECOND = 2
ROWS = "rows"


@dataclass(frozen=True)
class Step:
    """The step that a job is at, as `Told.step` takes it."""

    name: str = ""
    rows: int = 0
    done: Callable[[], int] = int
    unit: str = ROWS
    left: Callable[[], float | None] | None = None
    began: float = field(default_factory=time.monotonic)

    def figures(self) -> tuple[int, float, float | None]:
        """Done, done per second, and the seconds left; None as long as they are unknown. A task that runs again counts again."""
        done, seconds = min(self.done(), self.rows), time.monotonic() - self.began
        rate = done / max(seconds, 1e-9)
        if self.left:
            return done, rate, self.left()
        return done, rate, (self.rows - done) / rate if done else None

    def said(self) -> str:
        """How far it is."""
        done, rate, left = self.figures()
        speed = f", {rate:,.0f} rows/s" if self.unit == ROWS else ""
        more = f", {duration(left)} left" if left is not None else ""
        return f"{done:,} of {self.rows:,} {self.unit}{speed}{more}"


class Told(AbstractContextManager["Told"]):
    """For a job that nobody watches: prints what a person should know, and no steps. As a context manager it closes at the end."""

    def step(
        self,
        name: str,
        rows: int = 0,
        done: Callable[[], int] = int,
        unit: str = ROWS,
        left: Callable[[], float | None] | None = None,
    ) -> None:
        """The job has come to one of its steps.

        Args:
            rows: to be worked on, or as many of another unit; 0 for none that are counted. done: how many are.
            left: the seconds that are left, where the job knows better than by the rows done so far; None as long as it does not.
        """
        self.begin(Step(name, rows, done, unit, left))

    def begin(self, step: Step) -> None:
        """As `step`."""

    def mark(self, text: str, event: Mapping[str, Any], short: str = "") -> None:
        """Something that the step has come to: for people as a text, short where there is little room, for programs as an event."""

    def say(self, text: str) -> None:
        """What a person should know in addition to the steps."""
        print(text, flush=True)

    def close(self) -> None:
        """Report nothing more; a second call changes nothing."""

    def __exit__(self, *error: object) -> None:
        self.close()


class Watched(Told):
    """Asks the running step, from a separate thread, how far it is, and reports it. steps: name -> text."""

    def __init__(self, steps: Mapping[str, str]) -> None:
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._steps, self._step, self._silent = steps, Step(), False
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> Watched:
        self._thread.start()
        return self

    def begin(self, step: Step) -> None:
        with self._lock:
            self._step = step
            self._safely(self._begun)

    def mark(self, text: str, event: Mapping[str, Any], short: str = "") -> None:
        with self._lock:
            self._safely(lambda: self._marked(text, event, short or text))

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
        """Once the terminal or the stream is gone, nothing more is reported; the run goes on."""
        if not self._silent:
            try:
                tell()
            except (OSError, ValueError):
                self._silent = True

    def _begun(self) -> None:
        raise NotImplementedError

    def _look(self) -> None:
        raise NotImplementedError

    def _marked(self, text: str, event: Mapping[str, Any], short: str) -> None:
        raise NotImplementedError

    def _note(self, text: str) -> None:
        raise NotImplementedError


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
