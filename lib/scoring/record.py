"""A run's row for the ledger: what it was, what it counted, and which labels another model changed."""

from __future__ import annotations

import base64
import json
import time
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lib.model.bundle import Bundle
from lib.model.metrics import population_stability_index
from lib.model.renames import Renames
from lib.redaction import redacted
from lib.scoring.catalogue import Census
from lib.scoring.categories import with_category
from lib.scoring.counts import (
    Group,
    category_shares,
    estimated_precision,
    mean_confidence,
    out_of_vocabulary_share,
    review_share,
    rows_in,
    text_figures,
    unclassifiable_share,
)
from lib.scoring.guardrails import UNCLASSIFIABLE_SHARE, Yardstick
from lib.scoring.plan import Plan
from lib.tables.run_record import RELABELLED, RunRecord
from lib.tables.sources import Source
from lib.times import iso, run_id
from schemas.tables import NO_CATEGORY, PUBLISHED, REVIEW, UNCLASSIFIABLE

MOST_LABELS_NAMED = 5
# In a commit's metadata.
LABELS_WITHOUT_ROWS = "labels_without_rows"


def run_record(
    started: float,
    source: Source,
    bundle: Bundle,
    plan: Plan,
    census: Census,
    scored: Sequence[Group],
    unchanged: Sequence[Group],
) -> RunRecord:
    """The counts are of the scored rows; the shares are of all rows of the source, also of those that stay as they are."""
    groups = [*scored, *unchanged]
    relabelled = {RELABELLED: list(bundle.renames.steps)} if bundle.is_relabelled else {}
    return RunRecord(
        run_id=run_id(started),
        status=PUBLISHED,
        started_at=iso(started),
        ended_at=iso(time.time()),
        source=redacted(source.location.uri),
        source_version=source.version,
        model_version=bundle.model_version,
        mode=plan.mode,
        engine=plan.engine,
        rows_in=census.rows,
        rows_scored=rows_in(scored),
        rows_unchanged=rows_in(unchanged),
        rows_rejected=census.rows_rejected,
        rows_review=rows_in(scored, REVIEW),
        rows_unclassifiable=rows_in(scored, UNCLASSIFIABLE),
        category_shares=category_shares(groups),
        mean_confidence=mean_confidence(groups),
        out_of_vocabulary_share=out_of_vocabulary_share(scored),
        review_share=review_share(groups),
        estimated_precision=estimated_precision(groups),
        guarded={UNCLASSIFIABLE_SHARE: unclassifiable_share(groups), **text_figures(groups, plan.columns.text)},
        settings=json.dumps({**plan.settings, **relabelled}, ensure_ascii=False),
    )


def drift_of(record: RunRecord, good: Yardstick) -> float | None:
    """How far the shares of a run's categories are from a yardstick's; None where either has none."""
    before = good.category_shares
    return population_stability_index(before, good.shares_compared(record)) if before and record.category_shares else None


def renames_of(steps: Sequence[Mapping[str, Any]], runs: Sequence[RunRecord]) -> Renames:
    """How labels were renamed, according to a model, or to the newest run whose model was relabelled further: after a rollback only that run knows.

    Args:
        steps: those by which the model was relabelled, the oldest first. runs: newest first.
    """
    steps = list(steps)
    later = (run.relabelled for run in runs if len(run.relabelled) > len(steps) and run.relabelled[: len(steps)] == steps)
    return Renames(next(later, steps))


def retired_labels(runs: Sequence[RunRecord]) -> Collection[str]:
    """Names that labels had before the last relabelling that a run knows; a model that was trained or rolled back since may have them again.

    Args:
        runs: newest first.
    """
    return renames_of((), runs).retired


def labels_noted(bundle: Bundle, shares: Mapping[str, float] | None) -> str:
    """For a commit's metadata: the labels of a run's model that none of its rows has. shares: those of its categories, in the record next to it."""
    without = [label for label in bundle.labels if label not in (shares or {})]
    return base64.b64encode(zlib.compress(json.dumps(without).encode())).decode()


def labels_before(note: Mapping[str, Any] | None, renames: Renames) -> Collection[str] | None:
    """The labels of the model of an earlier run, under the names that `renames` gives them; None where its commit does not say them.

    Args:
        note: of the run's commit.
    """
    record, noted = RunRecord.of((note or {}).get("run")), (note or {}).get(LABELS_WITHOUT_ROWS)
    if record is None or noted is None:
        return None
    labels = [*(record.category_shares or {}), *json.loads(zlib.decompress(base64.b64decode(noted)))]
    return {renames.name_of(label, record.model_version) for label in labels}


def labels_text(good: Yardstick, bundle: Bundle, earlier: Collection[str] | None) -> str:
    """Which categories of the last runs a bundle does not know, and which of the bundle's are new; empty if there are none of either.

    Args:
        earlier: the labels of the last run's model, as `labels_before` returns them; where they are not known, nothing is called new: of
            thousands of labels many have no row.
    """
    before = good.category_shares or {}
    labels = list(dict.fromkeys(good.renames.name_of(label, bundle.model_version) for label in bundle.labels))
    known = set(labels)
    gone = sorted((label for label in before if label not in known), key=lambda label: -before[label])
    new = [] if earlier is None else [label for label in labels if label not in before and label not in earlier]
    parts = []
    if gone:
        share = sum(before[label] for label in gone)
        parts.append(f"does not know {_named(gone)} of the last runs, with {share:.1%} of the rows")
    if new:
        parts.append(f"knows {_named(new)} that the last run's did not")
    return f"the model {bundle.model_version} {'; it '.join(parts)}" if parts else ""


def _named(labels: Sequence[str]) -> str:
    more = ", …" if len(labels) > MOST_LABELS_NAMED else ""
    categories = "category" if len(labels) == 1 else "categories"
    return f"{len(labels):,} {categories} ({', '.join(map(repr, labels[:MOST_LABELS_NAMED]))}{more})"


def categories_of(scored: DataFrame, bundle: Bundle) -> DataFrame:
    """product_id and category of scored rows."""
    rows = with_category(scored.select("product_id", "text_hash", "score"), bundle, bundle.review_below)
    return rows.select("product_id", "category")


def label_changes(scored: DataFrame, present: DataFrame, bundle: Bundle) -> dict[str, dict[str, int]] | None:
    """Counts of rows that another model had categorized, by its label and by the new one; None if there are none."""
    before = present.filter(F.col("model_version") != bundle.model_version)
    if before.isEmpty():
        return None
    after = categories_of(scored, bundle)
    pairs = (
        before.select("product_id", F.coalesce("category", F.lit(NO_CATEGORY)).alias("old"))
        .join(after.select("product_id", F.coalesce("category", F.lit(NO_CATEGORY)).alias("new")), "product_id")
        .groupBy("old", "new")
        .count()
        .orderBy("old", "new")
        .collect()
    )
    changes: dict[str, dict[str, int]] = {}
    for row in pairs:
        changes.setdefault(row["old"], {})[row["new"]] = row["count"]
    return changes or None


@dataclass(frozen=True)
class Moves:
    """Which labels another model has changed. largest: rows, the label before and the new one, most rows first; labels: sorted."""

    rows: int
    moved: int
    largest: Sequence[tuple[int, str, str]]
    labels: Sequence[str]

    @property
    def share(self) -> float:
        return self.moved / self.rows if self.rows else 0.0


def moves_of(changes: Mapping[str, Mapping[str, int]]) -> Moves:
    """changes: as `label_changes` returns them."""
    moves = [(rows, old, new) for old, row in changes.items() for new, rows in row.items() if old != new]
    labels = {*changes, *(new for row in changes.values() for new in row)}
    return Moves(
        rows=sum(sum(row.values()) for row in changes.values()),
        moved=sum(rows for rows, _, _ in moves),
        largest=sorted(moves, key=lambda move: (-move[0], *move[1:])),
        labels=sorted(labels),
    )
