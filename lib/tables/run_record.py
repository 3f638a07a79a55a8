"""What is told of one run: its row in the ledger, which its commit carries too."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from lib.times import iso

# Among the settings of a run, though no option of the job.
RELABELLED = "relabelled"


@dataclass(frozen=True)
class RunRecord:
    """A row of `runs` (docs/tables.md tells the columns), built once and copied with `replace`. Times are ISO 8601 texts.

    What a record of an older version lacks is as it is by default.
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
        """A record as a commit's note or a row of the ledger has it; None where that tells of no run."""
        if not isinstance(values, Mapping) or not values.get("run_id"):
            return None
        told = {field.name: values[field.name] for field in fields(cls) if values.get(field.name) is not None}
        # The ledger's own, which Spark gives in the time of this machine.
        told |= {name: iso(value.timestamp()) for name, value in told.items() if isinstance(value, datetime)}
        return cls(**{"status": "", **told})

    @property
    def rejected_share(self) -> float:
        return self.rows_rejected / self.rows_in if self.rows_in else 0.0

    @property
    def rows_sure(self) -> int:
        """Scored rows that need no review."""
        return self.rows_scored - self.rows_review - self.rows_unclassifiable

    @property
    def is_round(self) -> bool:
        """Whether it was one of many of a day (`--mode stream`)."""
        return self.options.get("mode") == "stream"

    @property
    def relabelled(self) -> Sequence[Mapping[str, Any]]:
        """The steps by which its model was relabelled, the oldest first; none of most."""
        return self.options.get(RELABELLED, ())

    @property
    def options(self) -> dict[str, Any]:
        """The job's settings, and RELABELLED where there are such steps."""
        options: dict[str, Any] = json.loads(self.settings or "{}")
        return options

    def values(self) -> dict[str, Any]:
        """By column, fit for JSON."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
