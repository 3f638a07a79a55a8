"""The steps of a run, for whoever watches it (lib.progress)."""

from __future__ import annotations

from lib.progress import shown
from lib.progress.told import Told as Told

STEPS = {
    "starting": "starting Spark",
    "comparing": "comparing the source with the table",
    "scoring": "scoring",
    "auditing": "auditing",
    "publishing": "publishing",
    "recording": "writing the ledger",
    "waiting": "waiting for changes",
}


def watched(log_format: str) -> Told:
    """The reporter of a run's progress."""
    return shown.watched(log_format, STEPS)
