"""The phases of a run, told to whoever listens: tests that kill, hold or fail a run just there. In production nobody does."""

from __future__ import annotations

from collections.abc import Callable

# In their order. `published` comes right behind the commit, before the job knows that it succeeded.
PHASES = ("planned", "scored", "rejected", "publishing", "published", "recording", "recorded")
# Of `publish`: the table is locked, the first rows are sent, all are, rows and state are changed, and both are committed.
WAREHOUSE_PHASES = ("locked", "copying", "staged", "merged", "loaded")
# Of `publish` to files: what changed is written, all rows are, the manifest stands, and files that none names are removed.
FILES_PHASES = ("writing", "written", "listed", "tidied")

observers: list[Callable[[str], None]] = []


def reached(phase: str) -> None:
    for observer in observers:
        observer(phase)
