"""Before anything is published: whether the rows add up, and how far the run differs from the last good ones."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from dataclasses import replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lib.errors import GuardrailError
from lib.model.bundle import Bundle
from lib.model.tree import Tree
from lib.scoring.attempt import Found, Gone, Run, Scored
from lib.scoring.catalogue import KEY, LENGTHS, IdCount, hashes_of, shares_of_ids
from lib.scoring.categories import with_category
from lib.scoring.counts import Group, count_groups, rows_in
from lib.scoring.guardrails import (
    GONE_IDS,
    MOVED,
    NEW_IDS,
    REMOVED,
    SINCE_RELEASE,
    Yardstick,
    breaches,
    fallen,
    nights_of,
    top_drift,
    yardsticks,
)
from lib.scoring.record import drift_of, label_changes, labels_before, labels_text, renames_of, run_record
from lib.scoring.selection import Selection, Stood
from lib.scoring.strategy import is_last_model
from lib.tables.ledger import published_runs, runs_published
from lib.tables.run_record import RunRecord
from lib.tables.sources import Source, check_unchanged


def record_of(run: Run, found: Found, selection: Selection, scored: Scored, gone: Gone) -> RunRecord:
    """The run's row for the ledger, without what it is compared with."""
    before = None if is_last_model(run.bundle, found.state) else found.present
    counted = run_record(found.started, found.source, run.bundle, run.plan, selection.census, scored.groups, selection.groups)
    guarded = {
        **(counted.guarded or {}),
        **({} if gone.removed is None else {REMOVED: gone.removed}),
        **_moved(selection, scored.groups),
        **_shares_of_ids(run, found, selection),
    }
    return replace(
        counted,
        guarded=guarded,
        rows_missing=gone.missing,
        label_changes=None if before is None else label_changes(scored.rows, before, run.bundle),
        rows_per_second=rows_in(scored.groups) / max(time.time() - found.started, 1e-9),
        seconds=dict(scored.seconds),
    )


def compared(run: Run, record: RunRecord, good: Sequence[Yardstick]) -> tuple[RunRecord, list[str]]:
    """The record compared with the first yardstick that it fits, and nothing; or with the first of all, and how it differs."""
    tried = []
    for one in good:
        since = {SINCE_RELEASE: 1.0} if one.is_since_release else {}
        guarded = {**(record.guarded or {}), **_by_category(run, record, one), **since}
        compared = replace(record, drift=drift_of(record, one), guarded=guarded)
        tried.append((compared, breaches(compared, one, run.plan.limits)))
    return next((pair for pair in tried if not pair[1]), tried[0])


def yardsticks_for(run: Run, found: Found) -> list[Yardstick]:
    """What the run is compared with: published runs of the history, and of the ledger where the history was cut off or copied away, where the
    table is gone, or where all that the history shows are rounds of a few days.

    The runs, and this one, are compared under the names that labels have after the last relabelling that one of them knows.
    """
    runs = found.state.good
    if not runs or (found.state.goes_on and len(list(nights_of(runs))) < run.plan.limits.runs):
        # The history first: only it shows that a run was rolled back.
        runs = [*runs, *published_runs(run.spark, run.tables, run.plan.limits.runs, runs[-1].started_at if runs else None)]
    return yardsticks(runs, run.plan.limits, renames_of(run.bundle.renames.steps, runs))


def tell_before(run: Run, found: Found, good: Yardstick) -> None:
    """Report, before the run publishes, a table that was there before and is made anew, and which categories come and go with another model."""
    if found.present is None and not found.state.runs and good.runs:
        # It may have been moved, or not be mounted.
        tables, count = run.tables, runs_published(run.spark, run.tables)
        run.told.say(
            f"found neither rows nor runs in {tables.categorized.given}, though its ledger {tables.runs.given} has {count:,} published "
            f"run{'s' if count > 1 else ''}: the table is made anew, and this run guarded by what the ledger has"
        )
    if good.category_shares and not is_last_model(run.bundle, found.state):
        told = labels_text(good, run.bundle, labels_before(found.state.last, good.renames))
        if told:
            run.told.say(told)


def to_compare(run: Run, selection: Selection) -> Stood | None:
    """What the categories are compared with while they are counted; None where too few are scored to pass the limit."""
    limits, ids = run.plan.limits, selection.census.ids
    few = ids < limits.from_rows or ids - selection.unchanged.ids <= limits.moved * ids
    return None if few else selection.stood


def _moved(selection: Selection, groups: Sequence[Group]) -> dict[str, float]:
    """The share of the products that stay whose category changes; none where none was compared."""
    every = selection.stood.every if selection.stood else 1
    stood, moved = (every * sum(getattr(group, name) for group in groups) for name in ("stood", "moved"))
    return {MOVED: moved / (stood + selection.unchanged.ids)} if stood else {}


def _by_category(run: Run, record: RunRecord, good: Yardstick) -> dict[str, float]:
    """The category, or the level above some, that lost most of its rows since the last good runs, and how far the top level has drifted."""
    shares, shares_before = good.shares_compared(record), good.category_shares or {}
    if not shares:
        return {}
    now = {name: share * record.rows_in for name, share in shares.items()}
    before = {name: share * good.rows_in for name, share in shares_before.items()}
    tree = run.bundle.tree
    # From all names: the last runs may have had some that this bundle does not know.
    names = Tree((*now, *before), tree.separator).ancestors if tree else {}
    return {**fallen(now, before, names), **(top_drift(shares, shares_before, tree.separator) if tree else {})}


def _shares_of_ids(run: Run, found: Found, selection: Selection) -> dict[str, float]:
    """The shares of the ids that are new and gone since the last good run; none where the sets are small or one is not known."""
    census, turnover = selection.census, selection.turnover
    now, before = census.sketch, found.state.sketch
    if census.ids < run.plan.limits.from_rows:
        return {}
    if turnover:
        return {NEW_IDS: turnover.came / census.ids, GONE_IDS: turnover.gone / max(turnover.ids, 1)}
    if not now or not before:
        return {}
    new, gone = shares_of_ids(run.spark, now, base64.b64decode(before))
    return {NEW_IDS: new, GONE_IDS: gone}


def count_scored(
    scored: DataFrame, bundle: Bundle, texts: int = 0, unfamiliar: float | None = None, stood: Stood | None = None
) -> tuple[list[Group], IdCount]:
    """The counts of the scored rows for the ledger and the guardrails, from the pass that scores them."""
    tokens = {"token_count": F.col("score.tokens"), "unknown_count": F.col("score.unknown_tokens")}
    names = ["product_id", "text_hash", "score", *([LENGTHS] if texts else [])]
    rows = with_category(scored.select(*names).withColumns(tokens), bundle, bundle.review_below, unfamiliar)
    sums = {"tokens": F.col("token_count"), "unknown_tokens": F.col("unknown_count")}
    if stood:
        before = stood.rows.select(*KEY, F.struct("category").alias("before")).hint("broadcast")
        rows = rows.withColumns(dict(zip(KEY, hashes_of(F.col("product_id")), strict=True))).join(before, [*KEY], "left_outer")
        has_moved = F.col("before").isNotNull() & ~F.col("before.category").eqNullSafe(F.col("category"))
        sums |= {"stood": F.col("before").isNotNull().cast("int"), "moved": has_moved.cast("int")}
    return count_groups(rows, texts, **sums)


def reconcile(scored: IdCount, selection: Selection, source: Source) -> None:
    """Before the commit: every id of the source is scored now or is in the table under this model, and none twice.

    Raises:
        InputError: the source has changed since its ids were counted. GuardrailError: they do not add up for another reason.
    """
    found = scored + selection.unchanged
    if found != selection.census.all_ids:
        check_unchanged(source)
        raise GuardrailError(
            f"Expected each of the {selection.census.ids} ids of {source.location.given} once, found {scored.ids} scored and "
            f"{selection.unchanged.ids} unchanged that are not the same ids; nothing was published, run again or report this."
        )
