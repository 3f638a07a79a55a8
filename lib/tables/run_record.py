"""The record of one run: its row in the ledger, which its commit carries too."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from lib.times import iso

# Among the settings of a run, although it is not an option of the job.
RELABELLED = "relabelled"


@dataclass(frozen=True)
class RunRecord:
    """A row of `runs` (docs/tables.md describes the columns), built once and copied with `replace`. Times are ISO 8601 texts.

    Fields that a record of an older release lacks have their default.
    """

    run_id: str
    status: str
    started_at: str = ""
    ended_at: str = ""
    source: str = ""
    source_version: str = ""
    model_version: str = ""
    mode: str = ""
    engine: str = ""
    rows_in: int = 0
    rows_scored: int = 0
    rows_unchanged: int = 0
    rows_rejected: int = 0
    rows_review: int = 0
    rows_unclassifiable: int = 0
    category_shares: Mapping[str, float] | None = None
    mean_confidence: float | None = None
    out_of_vocabulary_share: float | None = None
    drift: float | None = None
    rows_missing: int | None = None
    review_share: float | None = None
    label_changes: Mapping[str, Mapping[str, int]] | None = None
    held_because: Sequence[str] | None = None
    estimated_precision: float | None = None
    guarded: Mapping[str, float | None] | None = None
    rows_per_second: float | None = None
    seconds: Mapping[str, float] | None = None
    settings: str = "{}"

    @classmethod
    def of(cls, values: object) -> RunRecord | None:
        """A record from a commit's note or a row of the ledger; None if that describes no run."""
        if not isinstance(values, Mapping) or not values.get("run_id"):
            return None
        known = {field.name: values[field.name] for field in fields(cls) if values.get(field.name) is not None}
        # Times of the ledger, which Spark returns in the zone of this machine.
        known |= {name: iso(value.timestamp()) for name, value in known.items() if isinstance(value, datetime)}
        return cls(**{"status": "", **known})

    @property
    def rejected_share(self) -> float:
        return self.rows_rejected / self.rows_in if self.rows_in else 0.0

    @property
    def rows_sure(self) -> int:
        """Scored rows that need no review."""
        return self.rows_scored - self.rows_review - self.rows_unclassifiable

    @property
    def is_round(self) -> bool:
        """Whether it was one of a day's many rounds (`--mode stream`)."""
        return self.options.get("mode") == "stream"

    @property
    def counts_newly_missing(self) -> bool:
        """Whether `rows_missing` leaves out products that an earlier run has marked."""
        return self.options.get("missing") == "mark" and self.mode == "incremental"

    @property
    def relabelled(self) -> Sequence[Mapping[str, Any]]:
        """The steps by which its model was relabelled, oldest first; most models have none."""
        return self.options.get(RELABELLED, ())

    @property
    def options(self) -> dict[str, Any]:
        """The job's settings, and RELABELLED if there are such steps."""
        options: dict[str, Any] = json.loads(self.settings or "{}")
        return options

    def values(self) -> dict[str, Any]:
        """The values by column, ready for JSON."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
