"""What is reported of a run while it is at work."""

from __future__ import annotations

import io
import json
from typing import TextIO

import pytest
from rich.console import Console

from lib.progress import shown
from lib.progress import told as looking
from lib.progress.shown import JsonLines, Lines, LiveLine
from lib.progress.told import Watched
from lib.scoring.progress import STEPS
from tests.waiting import until


@pytest.fixture
def soon(monkeypatch) -> None:
    """Looks often, and reports each time what it sees."""
    monkeypatch.setattr(shown, "SECONDS_BETWEEN_LINES", 0)
    monkeypatch.setattr(looking, "LOOKS_A_SECOND", 100)


def test_a_line_a_step_and_how_far_it_is(soon) -> None:
    out = io.StringIO()
    with Lines(out, STEPS).start() as told:
        told.step("comparing")
        told.step("scoring", 4_000, lambda: 1_000)
        until(lambda: "1,000 of 4,000 rows" in out.getvalue(), "a line about the rows")
    lines = [line[len("12:00:00 ") :] for line in out.getvalue().splitlines()]
    assert lines[:2] == ["comparing the source with the table", "scoring 4,000 rows"]
    assert all(line.startswith("scoring 1,000 of 4,000 rows, ") and line.endswith(" s left") for line in lines[2:])


def test_lines_of_json(soon) -> None:
    out = io.StringIO()
    with JsonLines(out, STEPS).start() as told:
        told.step("scoring", 4_000, lambda: 5_000)
        until(lambda: "progress" in out.getvalue(), "a line about the rows")
    step, at_work, *_ = map(json.loads, out.getvalue().splitlines())
    assert (step["event"], step["step"], step["rows"]) == ("step", "scoring", 4_000)
    # A task that ran twice has counted twice: no more rows are shown as done than there are.
    assert (at_work["event"], at_work["rows_done"], at_work["seconds_left"]) == ("progress", 4_000, 0)


def test_the_live_line_of_a_terminal(soon) -> None:
    out = io.StringIO()
    terminal = Console(file=out, force_terminal=True, width=120)
    with LiveLine(terminal, STEPS).start() as told:
        told.step("scoring", 2_000, lambda: 500)
        until(lambda: "500 of 2,000 rows" in out.getvalue(), "the rows on the line")
        told.step("publishing")
        assert "publishing" in out.getvalue()
    # The line is removed at the end, and the cursor is shown again.
    assert out.getvalue().rstrip().endswith("\x1b[2K")
    assert "\x1b[?25h" in out.getvalue()


def in_every_way(out: TextIO, objects: TextIO, terminal: TextIO) -> tuple[Watched, ...]:
    live = LiveLine(Console(file=terminal, force_terminal=True, width=120), STEPS)
    return Lines(out, STEPS), JsonLines(objects, STEPS), live


def test_a_note_beside_the_steps(soon) -> None:
    out, objects, terminal = io.StringIO(), io.StringIO(), io.StringIO()
    for told in in_every_way(out, objects, terminal):
        with told.start():
            told.step("comparing")
            told.say("[the feed] is gone")
    assert out.getvalue().endswith(" [the feed] is gone\n")
    assert json.loads(objects.getvalue().splitlines()[-1])["text"] == "[the feed] is gone"
    assert "[the feed] is gone" in terminal.getvalue()


class Gone(io.StringIO):
    """A terminal whose other end is closed."""

    def write(self, text: str) -> int:
        raise OSError("Input/output error")


def test_a_terminal_that_goes_ends_the_telling_and_nothing_else() -> None:
    with LiveLine(Console(file=Gone(), force_terminal=True), STEPS).start() as told:
        told.step("publishing")
        told.step("recording")
        told.say("anything")


def test_a_closed_stream_ends_the_telling_and_nothing_else() -> None:
    out = io.StringIO()
    with Lines(out, STEPS).start() as told:
        out.close()
        told.step("comparing")
        told.step("scoring", 10, lambda: 1)


def test_what_a_step_has_come_to(soon) -> None:
    out, objects, terminal = io.StringIO(), io.StringIO(), io.StringIO()
    for watching in in_every_way(out, objects, terminal):
        with watching.start():
            watching.step("scoring", 4, lambda: 1, "epochs", lambda: 75)
            watching.mark("epoch 1/4  loss 0.5 [x]", {"event": "epoch", "loss": 0.5}, "1/4 [x]")
    assert " epoch 1/4  loss 0.5 [x]\n" in out.getvalue()
    assert " scoring 4 epochs\n" in out.getvalue()
    assert json.loads(objects.getvalue().splitlines()[0])["epochs"] == 4
    assert any(json.loads(line).get("loss") == 0.5 for line in objects.getvalue().splitlines())
    assert "1 of 4 epochs, 1 min 15 s left; 1/4 [x]" in terminal.getvalue()
