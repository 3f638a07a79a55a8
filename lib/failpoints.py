"""The phases of a job, reported to observers: tests that kill, pause or fail it at that point. In production there are none."""

from __future__ import annotations

from collections.abc import Callable

# Of a run before it has written anything: source and model are read, and the tables are about to be created.
EARLY_PHASES = ("read", "creating")
# In their order. `published` comes right after the commit, before the job knows that it succeeded.
PHASES = ("planned", "scored", "rejected", "publishing", "published", "recording", "recorded")
# Of a run that the guardrails hold back: its rows are next to the table, and the ledger does not have it yet.
HELD_BACK = "held"
# Of `publish`: the table is locked, the first rows are sent, all are, rows and state are changed, and both are committed.
WAREHOUSE_PHASES = ("locked", "copying", "staged", "merged", "loaded")
# Of `publish` to files: the changes are written, all rows are, the manifest exists, and files that no manifest names are removed.
FILES_PHASES = ("writing", "written", "listed", "tidied")
# Between the first two of these: files are there, and not yet counted.
FILES_UNCOUNTED = "uncounted"
# Of a bundle that is written elsewhere than to this machine's disk: its place is claimed, all files but the manifest are there, and it is whole.
BUNDLE_PHASES = ("claimed", "uploaded", "completed")
# Of `register`: the run and the model are in MLflow, and so is the version.
REGISTER_PHASES = ("logged", "registered")

observers: list[Callable[[str], None]] = []


def reached(phase: str) -> None:
    for observer in observers:
        observer(phase)
