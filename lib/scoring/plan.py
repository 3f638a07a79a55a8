"""What a run is asked to do, and what it reports at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib.model.bundle import Bundle
from lib.scoring.catalogue import CatalogueColumns
from lib.scoring.crashes import MOST_FATAL
from lib.scoring.forecast import Forecast
from lib.scoring.guardrails import Limits
from lib.tables.ledger import Recovered
from lib.tables.run_record import RunRecord
from lib.tables.sources import Source
from lib.tables.target import Tables

MODES = ("incremental", "full")
# A mode of the job, not of a run: incremental runs without end.
STREAM = "stream"
MISSING = ("keep", "mark", "delete")


@dataclass(frozen=True)
class Plan:
    """All that decides what a run does; the same plan, with the same bundle, on the same source version gives the same rows.

    missing: what happens to products that the source no longer holds. dry_run: write nothing. explain: score nothing either, but report
    what would be read and scored. unfamiliar: share of the texts
    that go to review for being the most unlike the training texts; None for none. fatal_texts: how many texts at which the engine's
    compiled code dies are rejected; more of them end the run. scores: the labels whose probabilities a row keeps
    (lib.scoring.scores). trust_files: whether a file of the source with the path, size and time of one that an earlier run has read is that file.
    """

    columns: CatalogueColumns
    mode: str
    engine: str
    settings: Mapping[str, Any]
    missing: str = "keep"
    limits: Limits = Limits()
    change_data_feed: bool = False
    dry_run: bool = False
    unfamiliar: float | None = None
    fatal_texts: int = MOST_FATAL
    explain: bool = False
    scores: str | None = None
    trust_files: bool = True


@dataclass(frozen=True)
class Inputs:
    """What a run works on. table: the version of the target before the others were read, as lib.tables.commits.table_now returns it."""

    source: Source
    tables: Tables
    bundle: Bundle
    plan: Plan
    table: str

    @property
    def state(self) -> tuple[str, str, str]:
        """While this is the same and nobody else changes the table, a run has nothing to do."""
        return self.source.version, self.source.reading, self.bundle.digest


@dataclass(frozen=True)
class Outcome:
    """What a run did. `record` is its row in the ledger; None if there was nothing to do, or only a `forecast` was asked for.

    recovered: the runs that the ledger lacked. breaches: what the guardrails found in a dry run. published_in: the version in which the run had been published before.
    """

    record: RunRecord | None
    recovered: Recovered | None = None
    dry_run: bool = False
    breaches: Sequence[str] = ()
    published_in: int | None = None
    forecast: Forecast | None = None
