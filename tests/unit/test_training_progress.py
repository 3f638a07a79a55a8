"""What a training reports of its steps, epochs and folds, and when it will be done."""

from __future__ import annotations

import io
import json
import pickle

import pytest

from lib.progress.shown import JsonLines, Lines
from training import progress
from training.progress import STEPS, Counted, Outcome, Telling, counted, step
from training.workers import prefixed


def epoch(part: str, number: int, of: int, seconds: float = 1.0) -> Counted:
    return counted(f"{part} epoch {number}/{of}", part, "epoch", (number, of), seconds, {"loss": 0.5})


class Seen(Lines):
    """Records how far each step was whenever something was reported."""

    def __init__(self) -> None:
        super().__init__(io.StringIO(), STEPS)
        self.far: list[str] = []

    def _marked(self, text: str, event: object, short: str) -> None:
        self.far.append(self._step.said())
        self.short = short


def test_lines_that_count_are_lines_all_the_same() -> None:
    """Also where they come from another process, after the name of what they are about."""
    said: list[str] = []
    of_first = prefixed(said.append, "first model, ")
    of_first(pickle.loads(pickle.dumps(step("fitting", fits={"LSTM": 3}))))
    prefixed(of_first, "LSTM ")(pickle.loads(pickle.dumps(epoch("", 2, 3))))
    begun, fitted = said
    assert (begun, begun.fits) == ("fitting", {"first model, LSTM": 3})
    assert (fitted, fitted.part, fitted.number, fitted.of) == ("first model, LSTM  epoch 2/3", "first model, LSTM", 2, 3)


def test_how_far_the_fits_are_and_what_is_left() -> None:
    seen = Seen()
    say = Telling(seen)
    say(step("fitting", fits={"LSTM": 4, "bag": 10, "all texts, LSTM": 4, "linear classifier": 1}, processes=2))
    say(epoch("bag", 1, 10, seconds=0.5))
    say(epoch("LSTM", 1, 4, seconds=10))
    say(epoch("LSTM", 2, 4, seconds=12))
    say(epoch("linear classifier", 1, 1, seconds=3))
    assert seen.short == "linear classifier 1/1 loss 0.500"
    assert seen.far == [
        # Nothing is known about the LSTM yet: (10 - 1) x 0.5 on two processes.
        "1 of 19 epochs, 2 s left",
        # (3 + 4) x 10 more: an epoch of all texts takes about as long.
        "2 of 19 epochs, 37 s left",
        "3 of 19 epochs, 38 s left",
        "4 of 19 epochs, 38 s left",
    ]


def test_what_is_left_of_folds_falls_while_one_is_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    seen = Seen()
    say = Telling(seen)
    say(step("folds", 3, "folds"))
    assert seen._step.said() == "0 of 3 folds"
    say(counted("fold 1/3", "", "fold", (1, 3), 100.0, {}))
    now[0] = 40.0
    assert seen._step.said() == "1 of 3 folds, 2 min 40 s left"
    now[0] = 400.0
    assert seen._step.said() == "1 of 3 folds, 0 s left"


def test_a_search_is_counted_in_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    seen = Seen()
    Telling(seen)(step("searching", 600, "seconds"))
    now[0] = 150.0
    assert seen._step.said() == "150 of 600 seconds, 7 min 30 s left"


def test_lines_of_json() -> None:
    out = io.StringIO()
    with JsonLines(out, STEPS).start() as told:
        say = Telling(told, answers=False)
        say(step("folds", 2, "folds"))
        say(counted("fold 1/2", "", "fold", (1, 2), 3.0, {"f1_weighted": {"LSTM": 0.9}}))
        say(step("fitting", fits={"LSTM": 3}))
        say(epoch("LSTM", 1, 3))
        say("4 texts are the same")
        say(Outcome("bundle models/x"))
    folds, fold, fitting, fitted, note = [
        {name: value for name, value in json.loads(line).items() if name != "time"} for line in out.getvalue().splitlines()
    ]
    assert folds == {"event": "step", "step": "folds", "folds": 2}
    assert fold == {"event": "fold", "fold": 1, "folds": 2, "f1_weighted": {"LSTM": 0.9}, "seconds": 3.0}
    assert fitting == {"event": "step", "step": "fitting", "epochs": 3}
    assert fitted == {"event": "epoch", "part": "LSTM", "epoch": 1, "epochs": 3, "loss": 0.5, "seconds": 1.0}
    assert note == {"event": "note", "text": "4 texts are the same"}


def test_the_outcome_comes_behind_all_that_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    with Lines(out, STEPS).start() as told:
        say = Telling(told)
        say("split")
        say(Outcome("bundle models/x"))
    assert out.getvalue().endswith(" split\n")
    assert capsys.readouterr().out == "bundle models/x\n"
