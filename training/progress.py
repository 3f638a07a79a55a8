"""What a training prints while it is at work: lines, some of which carry numbers for a progress display.

All of them go through one function that takes a line (`Say`), also from the processes that fit at the same time; to a function that only
prints them, they are lines like any other.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from lib.progress.told import Told

STEPS = {
    "starting": "starting TensorFlow",
    "reading": "reading the texts",
    "splitting": "splitting into sides",
    "searching": "trying other settings",
    "folds": "cross-validating",
    "fitting": "fitting",
    "doubting": "looking for wrong labels",
    "evaluating": "evaluating",
    "baselines": "fitting the baselines",
    "writing": "writing the bundle",
}
SECONDS = "seconds"


class Step(str):
    """A step begins. total, unit: what is counted in it; with SECONDS, those that it will take; fits: epochs of each part that is fitted."""

    name: str
    total: int
    unit: str
    fits: Mapping[str, int]
    processes: int

    def behind(self, prefix: str) -> Step:
        fits = {prefix + part: epochs for part, epochs in self.fits.items()}
        return step(self.name, self.total, self.unit, fits, self.processes)


class Counted(str):
    """One more epoch, or fold, is done. figures: its result, for programs."""

    part: str
    unit: str
    number: int
    of: int
    seconds: float
    figures: Mapping[str, Any]

    def behind(self, prefix: str) -> Counted:
        return counted(
            prefix + self, (prefix + self.part).strip(), self.unit, (self.number, self.of), self.seconds, self.figures
        )


class Outcome(str):
    """The final result."""


def step(name: str, total: int = 0, unit: str = "", fits: Mapping[str, int] | None = None, processes: int = 1) -> Step:
    line = Step(STEPS[name])
    line.name, line.total, line.unit, line.fits, line.processes = name, total, unit, dict(fits or {}), processes
    return line


def counted(
    text: str, part: str, unit: str, number_and_count: tuple[int, int], seconds: float, figures: Mapping[str, Any]
) -> Counted:
    line = Counted(text)
    line.number, line.of = number_and_count
    line.part, line.unit, line.seconds, line.figures = part, unit, seconds, dict(figures)
    return line


def _short(line: Counted) -> str:
    """What fits on a terminal's line: the loss of an epoch, and the accuracy on texts that it did not see, where there are any."""
    accuracy = "validation_accuracy" if "validation_accuracy" in line.figures else "accuracy"
    figures = [f"{name.replace('_', ' ')} {line.figures[name]:.3f}" for name in ("loss", accuracy) if name in line.figures]
    return " ".join(filter(None, [line.part, f"{line.number}/{line.of}", ", ".join(figures)])) if line.unit == "epoch" else ""


class Telling:
    """Receives the lines of a training and reports them. answers: whether its outcome is printed for people."""

    def __init__(self, told: Told, answers: bool = True) -> None:
        self._told, self._answers = told, answers
        self._begun = step("starting")
        self._done: dict[str, int] = {}
        self._seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def __call__(self, line: str) -> None:
        if isinstance(line, Step):
            self._begin(line)
        elif isinstance(line, Counted):
            self._count(line)
        elif not isinstance(line, Outcome):
            self._told.say(line)
        elif self._answers:
            self._told.close()
            print(line, flush=True)

    def _begin(self, begun: Step) -> None:
        self._begun, self._done, self._seconds, self._last = begun, {}, {}, time.monotonic()
        if begun.fits:
            self._told.step(begun.name, sum(begun.fits.values()), self._sum_done, "epochs", self._left_of_fits)
        elif begun.unit == SECONDS:
            self._told.step(begun.name, begun.total, self._elapsed, SECONDS, lambda: max(begun.total - self._elapsed(), 0))
        else:
            self._told.step(begun.name, begun.total, self._sum_done, begun.unit, self._left)

    def _count(self, line: Counted) -> None:
        self._done[line.part] = line.number
        self._seconds[line.part], self._last = line.seconds, time.monotonic()
        numbers = {line.unit: line.number, f"{line.unit}s": line.of}
        part = {"part": line.part} if line.part else {}
        event = {"event": line.unit, **part, **numbers, **line.figures, SECONDS: round(line.seconds, 2)}
        self._told.mark(line, event, _short(line))

    def _sum_done(self) -> int:
        return sum(self._done.values())

    def _elapsed(self) -> int:
        """Seconds of a step in which nothing is counted."""
        return int(time.monotonic() - self._last)

    def _left(self) -> float | None:
        """For a few long ones, as long as the last has taken for each; None before the first is done."""
        if not self._seconds:
            return None
        takes = sum(self._seconds.values()) / len(self._seconds)
        return max((self._begun.total - self._sum_done()) * takes - (time.monotonic() - self._last), 0.0)

    def _left_of_fits(self) -> float | None:
        """For each epoch that is not done, as long as the last of its part has taken; None before any is done."""
        takes = {part: self._takes(part) for part in self._begun.fits}
        if not any(takes.values()):
            return None
        left = sum((epochs - self._done.get(part, 0)) * (takes[part] or 0.0) for part, epochs in self._begun.fits.items())
        return left / self._begun.processes

    def _takes(self, part: str) -> float | None:
        """Seconds of an epoch: of this part, or of the same part in another fit, whose name has the same end."""
        if part in self._seconds:
            return self._seconds[part]
        alike = [seconds for other, seconds in self._seconds.items() if other.split(", ")[-1] == part.split(", ")[-1]]
        return alike[0] if alike else None
