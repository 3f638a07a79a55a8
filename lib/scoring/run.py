"""The nightly run: from a pinned source and a verified bundle to one published commit, or to nothing at all."""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.types import AtomicType, NumericType, StructField

from lib.errors import BundleError, GuardrailError, InputError
from lib.failpoints import reached
from lib.identifiers import column
from lib.model.bundle import Bundle
from lib.model.tree import Tree
from lib.pairs.offered import tried_cast
from lib.redaction import redacted
from lib.scoring.catalogue import KEY, LENGTHS, RANK, IdCount, hashes_of, of_ids, shares_of_ids, take_census, usable_id
from lib.scoring.changes import read_feed, select_changes
from lib.scoring.comparison import compare, compare_ids
from lib.scoring.counts import Group, count_groups, rows_in
from lib.scoring.crashes import WORKER_DIED, FatalTexts, fatal_texts
from lib.scoring.forecast import Forecast, forecast
from lib.scoring.fresh_files import select_fresh
from lib.scoring.guardrails import (
    GONE_IDS,
    MOVED,
    NEW_IDS,
    REMOVED,
    SINCE_RELEASE,
    Yardstick,
    breaches,
    fallen,
    limits_of,
    nights_of,
    yardsticks,
)
from lib.scoring.identity import basis_of, identity_of
from lib.scoring.input_checks import check_input, typed_as_in
from lib.scoring.known_files import FILES, can_tell_files, packed, unpacked
from lib.scoring.load import append_rejects, hold_back, load, still_held
from lib.scoring.plan import Inputs, Outcome, Plan
from lib.scoring.progress import Told
from lib.scoring.record import drift_of, label_changes, labels_text, renames_of, run_record
from lib.scoring.scores import scores_kept
from lib.scoring.scratch import Scratch
from lib.scoring.selection import Selection, Stood, select_all
from lib.scoring.udf import Clock, categorized_rows, has_scores, is_unfamiliar, with_category, with_scores
from lib.scoring.whole import Whole, whole_of
from lib.tables.commits import SKETCH, WHOLE, TableState, read_state
from lib.tables.feeds import changed_rows
from lib.tables.ledger import mend_held, mend_ledger, published_runs, recover, runs_published
from lib.tables.locations import files_and_bytes, is_delta, rows_at
from lib.tables.publish import Candidate, TableMoved, held_candidate, is_as_read, is_conflict, newest_held, rows_are_there
from lib.tables.run_record import RunRecord
from lib.tables.sources import Source, check_unchanged
from lib.tables.target import VANISHED, Tables, check_targets, create_tables, ids_twice, with_added_columns
from schemas.tables import UNFAMILIAR

# How often a run starts over because another one published meanwhile.
MOST_ATTEMPTS = 3
# In a commit's metadata: how many labels' probabilities the rows of the run's model keep.
SCORES_KEPT = "scores_kept"


@dataclass(frozen=True)
class Run:
    """What a run works on, the same in all of its attempts.

    carried: the fields of the columns that it carries along; told: receives the progress of the run. table: the version of the target
    before source and model were read; again: reads them once more, None where they are given.
    """

    spark: SparkSession
    source: Source
    tables: Tables
    bundle: Bundle
    plan: Plan
    carried: Sequence[StructField]
    told: Told
    table: str = ""
    again: Callable[[], Inputs] | None = None

    @classmethod
    def of(cls, spark: SparkSession, inputs: Inputs, told: Told, again: Callable[[], Inputs] | None) -> Run:
        tables, plan = inputs.tables, inputs.plan
        source = typed_as_in(spark, inputs.source, tables, plan)
        carried = check_input(spark, source, tables, plan)
        return cls(spark, source, tables, inputs.bundle, plan, carried, told, inputs.table, again)

    @property
    def scores_kept(self) -> int:
        """The number of labels whose probability a row keeps."""
        return scores_kept(self.plan.scores, len(self.bundle.labels))


@dataclass(frozen=True)
class Found:
    """What an attempt finds before it scores.

    state: the table's; present: its rows, None where it holds none; source: without the rows of `fatal`; fatal: those whose
    texts the engine does not survive, None for none.
    """

    started: float
    state: TableState
    present: DataFrame | None
    source: Source
    fatal: DataFrame | None


@dataclass(frozen=True)
class Scored:
    """The scored rows, kept on disk, and their counts. seconds: where the time went."""

    rows: DataFrame
    groups: Sequence[Group]
    ids: IdCount
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Gone:
    """Products that the source no longer holds.

    rows: as they are to be in the table, kept on disk, None where they just stay or are removed; missing: how many, None where they are
    not looked for; removed: the share of the table's rows that is removed, None where none is.
    """

    rows: DataFrame | None = None
    missing: int | None = None
    removed: float | None = None


def categorize(
    spark: SparkSession, inputs: Inputs, told: Told | None = None, again: Callable[[], Inputs] | None = None
) -> Outcome:
    """Score what is new, publish it in one commit, and write the ledger last.

    A run that finds another one's commit before its own starts over on the new table, with source and model as they are then: the other may
    have read newer ones, which must not be replaced by older ones.

    Args:
        again: reads source and model once more; None where `inputs` are to be used whatever has become of them.
    Raises:
        InputError: the source or a target does not fit; no row of the table has changed.
        GuardrailError: the rows do not add up, or differ too much from the median of the last good runs; the table is as it was.
        TableMoved: others published before this run, again and again; nothing of it was published.
    """
    tables, plan = inputs.tables, inputs.plan
    run = Run.of(spark, inputs, told or Told(), again)
    for attempt in range(MOST_ATTEMPTS):
        try:
            check_targets(spark, tables, run.carried, replaces=plan.mode == "full")
            return _surviving(run)
        except Exception as error:
            if attempt == MOST_ATTEMPTS - 1 or not (isinstance(error, TableMoved) or is_conflict(error)):
                if isinstance(error, TableMoved):
                    # This run's commit may exist, although others came in between: the ledger must record it.
                    mend_ledger(spark, tables, plan.dry_run)
                raise
    raise AssertionError("the last attempt returns or raises")


def _surviving(run: Run) -> Outcome:
    """One attempt, begun again without the texts at which the engine's compiled code dies."""
    # Of this attempt alone: the next one may read a source in which the texts have changed.
    fatal: dict[str, str] = {}
    while True:
        try:
            with Scratch() as scratch:
                return _attempt(run, scratch, tuple(fatal))
        except FatalTexts as found:
            named = ", ".join(f"{name!r} ({signal})" for name, signal in found.signals.items())
            run.told.say(f"the engine {run.plan.engine} died at the product {named}: rejected, and the rest is scored again")
            fatal |= found.signals


def _attempt(run: Run, scratch: Scratch, fatal: Sequence[str]) -> Outcome:
    """Write, audit, publish: check, select, score, audit, publish, record, of which only the last two are seen by readers.

    Args:
        scratch: releases what the attempt keeps on disk. fatal: ids whose texts the engine does not survive.
    """
    run.told.step("comparing")
    run, state = _up_to_date(run)
    _check_same_bundle(state, run.tables, run.bundle)
    # Where the rejects are gone the run writes them again.
    has_rejects = is_delta(run.spark, run.tables.rejected)
    recovered = None if run.plan.dry_run else recover(run.spark, run.tables, state.runs)
    identity = identity_of(run.source, run.bundle, run.plan)
    if has_rejects and _is_done(run, state, identity):
        return Outcome(None, recovered, run.plan.dry_run)
    _check_not_held(run, state, identity)
    found = _look(run, state, fatal)
    selection = _select(run, found, scratch)
    if run.plan.explain:
        return Outcome(None, dry_run=True, forecast=_forecast(run, found, selection))
    found = _with_tables(run, found)
    reached("planned")
    scored = _score(run, found, selection, run.plan.fatal_texts - len(fatal), scratch)
    reached("scored")
    run.told.step("auditing")
    _reconcile(scored.ids, selection, found.source)
    good = _good(run, found)
    _tell_before(run, found, good[0])
    gone = _look_for_gone(run, found, selection, scratch)
    record, faults = _compared(run, _record(run, found, selection, scored, gone), good)
    candidate = _candidate(run, found, selection, scored, gone, record, identity)
    if not run.plan.dry_run:
        append_rejects(found.source, run.tables, run.plan, selection.census, record.run_id, found.fatal)
    check_unchanged(found.source)
    if run.plan.dry_run:
        return Outcome(record, dry_run=True, breaches=faults)
    if faults:
        raise hold_back(candidate, run.tables, faults, good[0].runs)
    return Outcome(load(candidate, run.tables, told=run.told), recovered)


def _up_to_date(run: Run) -> tuple[Run, TableState]:
    """The run and the table's state; source and model are read again if the table has got a new version since they were read."""
    reached("read")
    state = read_state(run.spark, run.tables.categorized)
    if run.again is None or state.table == run.table:
        return run, state
    # After the state: whoever had published by then has read older ones, or the same.
    newer = Run.of(run.spark, replace(run.again(), table=state.table), run.told, run.again)
    check_targets(run.spark, run.tables, newer.carried, replaces=run.plan.mode == "full")
    return newer, state


def _is_done(run: Run, state: TableState, identity: str) -> bool:
    """Whether the table holds what this run would give it."""
    return _trusts_identity(run) and state.last is not None and state.last.get("identity") == identity


def _trusts_identity(run: Run) -> bool:
    """Whether inputs that look like those of an earlier run count as the same."""
    return run.plan.mode == "incremental" and (run.plan.trust_files or not run.source.files)


def _check_not_held(run: Run, state: TableState, identity: str) -> None:
    """A scheduler may try again: what was held back keeps its id, and is neither scored nor counted once more, as long as it can be released.

    Raises:
        HeldBackError: a run with these inputs and limits was held back on this version of the table.
    """
    if run.plan.dry_run or state.version < 0:
        return
    # Not its rows: what is left of another run must not matter.
    held = newest_held(run.spark, run.tables)
    if held is None or held.note.get("read_version") != state.version or not is_as_read(run.spark, held.note, run.tables):
        return
    mend_held(run.spark, run.tables, held.run)
    if not _trusts_identity(run) or held.note.get("identity") != identity:
        return
    if held.run.mode != run.plan.mode or limits_of(held.run.options) != run.plan.limits:
        return
    candidate = held_candidate(run.spark, run.tables)
    if candidate and rows_are_there(candidate):
        raise still_held(held.run, run.tables)
    run.told.say(f"the rows of the held run {held.run.run_id} are gone from {run.tables.held.given}: all is scored again")


def _look(run: Run, state: TableState, fatal: Sequence[str]) -> Found:
    """The table as it is, and the source without the texts that the engine does not survive.

    Raises:
        InputError: an id twice in the table.
    """
    started, source = time.time(), run.source
    rows_of_fatal = None
    if fatal:
        others, rows_of_fatal = of_ids(source.frame, run.plan.columns, fatal)
        source = replace(source, frame=others)
    return Found(started, state, _present(run, state), source, rows_of_fatal)


def _with_tables(run: Run, found: Found) -> Found:
    """Create the tables that do not exist yet.

    Raises:
        TableMoved: another first run has published meanwhile.
    """
    if run.plan.dry_run:
        return found
    reached("creating")
    create_tables(run.spark, run.tables, run.carried, run.plan.change_data_feed)
    if found.state.version >= 0:
        return found
    state = read_state(run.spark, run.tables.categorized)
    if state.runs or files_and_bytes(run.spark, run.tables.categorized)[0]:
        raise TableMoved(f"Expected a new table at {run.tables.categorized.given}, found rows of another run; run again.")
    return replace(found, state=state)


def _check_same_bundle(state: TableState, tables: Tables, bundle: Bundle) -> None:
    """Refuse a bundle that decides differently from an earlier one of the same name: their rows could not be told apart.

    Raises:
        BundleError: other models, labels, text settings or thresholds than the table's runs have used.
    """
    if state.decisions.get(bundle.model_version, bundle.decisions) != bundle.decisions:
        raise BundleError(
            f"Expected the bundle {bundle.model_version} as earlier runs of {tables.categorized.given} had it, found other models, labels, "
            f"text settings or thresholds under that name; restore it, or train a version with them."
        )


def _present(run: Run, state: TableState) -> DataFrame | None:
    """The table's rows as the run has found them, in today's columns and each id once; None where it holds none."""
    # If the table has moved since, the number of files may belong to a later version; then the run starts over anyway.
    if state.version < 0 or not files_and_bytes(run.spark, run.tables.categorized)[0]:
        return None
    present = with_added_columns(rows_at(run.spark, run.tables.categorized, state.version))
    return present if (state.last or {}).get("ids_once") else _each_id_once(present, run.tables, run.plan)


def _each_id_once(present: DataFrame, tables: Tables, plan: Plan) -> DataFrame:
    """A table that another writer may have changed, with each id once; our own commits keep it so.

    Raises:
        InputError: an id is there twice, and the run would leave it so.
    """
    twice = ids_twice(present)
    found = twice.orderBy("product_id").head()
    if found is None:
        return present
    if plan.mode == "incremental":
        raise InputError(
            f"Expected each product_id once in {tables.categorized.given}, found {found['product_id']!r} {found['count']} times (of "
            f"{twice.count()} such ids), written by another writer; run with --mode full, which writes each of them once."
        )
    newest = Window.partitionBy("product_id").orderBy(F.col("scored_at").desc(), F.col("text_hash"), F.col("run_id"))
    return present.withColumn(RANK, F.row_number().over(newest)).filter(F.col(RANK) == 1).drop(RANK)


def _select(run: Run, found: Found, scratch: Scratch) -> Selection:
    """What is scored and what stays, and the census of all rows of the source.

    Raises:
        InputError: no rows, or copies of an id that cannot be ordered.
    """
    columns, most = run.plan.columns, run.bundle.tokenizer.settings.max_characters
    may_stay = _may_stay(run, found)
    if found.present is None:
        selection = select_all(found.source, columns, most, take_census(found.source.frame, columns))
    elif may_stay is None:
        ours = F.col("model_version") == run.bundle.model_version
        selection = compare_ids(found.source, columns, most, found.present, ours, scratch)
    else:
        changes = _changes(run, found, may_stay, scratch)
        selection = changes or compare(found.source, columns, most, found.present, may_stay, scratch, run.bundle.labels)
    if found.fatal is not None:
        census = selection.census
        selection = replace(selection, census=replace(census, rows=census.rows + found.fatal.count()))
    if selection.census.rows == 0:
        where = found.source.location.given
        raise InputError(f"Expected rows in {where}, found none; wait for the delivery, or correct --source.")
    return selection


def _may_stay(run: Run, found: Found) -> Column | None:
    """The rows of the table that need not be scored again if nothing in them has changed; None where all are scored."""
    plan = run.plan
    # Where the history does not show what decided the rows, such as that of a copy, the name of their model says nothing.
    if plan.mode != "incremental" or found.present is None or run.bundle.model_version not in found.state.decisions:
        return None
    # A product that comes back is written again: it is no longer missing.
    ours = (F.col("model_version") == run.bundle.model_version) & F.col("missing_since").isNull()
    # Rows that another share would send to review, or would no longer, are scored again.
    ours = ours & (is_unfamiliar(plan.unfamiliar) == F.col("reason").eqNullSafe(UNFAMILIAR))
    # So are those with the scores of other labels. Metadata that says all rows have them saves this check, which costs as much as everything else.
    if (found.state.last or {}).get(SCORES_KEPT) != run.scores_kept:
        ours = ours & has_scores(run.scores_kept)
    return ours if _is_last_model(run.bundle, found.state) or not found.present.filter(ours).isEmpty() else None


def _is_last_model(bundle: Bundle, state: TableState) -> bool:
    return state.last_run is not None and state.last_run.model_version == bundle.model_version


def _changes(run: Run, found: Found, may_stay: Column, scratch: Scratch) -> Selection | None:
    """What changed since the last run, where that is known and the table holds that run's rows; None where all are to be compared."""
    source, last = found.source, found.state.last or {}
    record, before = RunRecord.of(last.get("run")), Whole.of(last.get(WHOLE))
    if found.present is None or record is None or before is None or record.source != redacted(source.location.uri):
        return None
    if (
        found.fatal is not None
        or before.missing != run.plan.missing
        or last.get("basis") != basis_of(source, run.bundle, run.plan)
    ):
        return None
    if source.format == "delta":
        return _by_log(run, found, before, record.source_version, may_stay, scratch)
    return _by_files(run, found, before, may_stay, scratch)


def _by_log(run: Run, found: Found, before: Whole, since: str, may_stay: Column, scratch: Scratch) -> Selection | None:
    """since: the version of the Delta source that the last run has read."""
    source, columns = found.source, run.plan.columns
    changes = changed_rows(source, since)
    if found.present is None or changes is None:
        return None
    try:
        feed = read_feed(changes, columns, run.bundle.tokenizer.settings.max_characters, scratch)
    except Exception:
        # VACUUM removes the feed's files before those of the versions. The rows themselves are still there to be compared.
        run.told.say(
            f"what changed in {source.location.given} since the last run cannot be read (vacuumed): all rows are compared"
        )
        return None
    return None if feed is None else select_changes(source, columns, feed, before, found.present, may_stay, scratch)


def _by_files(run: Run, found: Found, before: Whole, may_stay: Column, scratch: Scratch) -> Selection | None:
    source, files = found.source, unpacked((found.state.last or {}).get(FILES))
    if found.present is None or not files or not run.plan.trust_files or not can_tell_files(source):
        return None
    most = run.bundle.tokenizer.settings.max_characters
    return select_fresh(source, run.plan.columns, most, files, before, found.present, may_stay, scratch)


def _forecast(run: Run, found: Found, selection: Selection) -> Forecast:
    table = files_and_bytes(run.spark, run.tables.categorized) if found.state.version >= 0 else (0, 0)
    # Only the ledger knows how long writing took.
    runs = published_runs(run.spark, run.tables, run.plan.limits.runs)
    return forecast(found.source, _why(run, found, selection), selection, found.present, table, runs)


def _why(run: Run, found: Found, selection: Selection) -> str:
    """Which rows of the source are looked at, and why."""
    if found.present is None:
        return "all rows are scored: the table holds none"
    if run.plan.mode != "incremental":
        return f"all rows are scored: --mode {run.plan.mode}"
    if selection.turnover and selection.files is not None:
        return "only the files that are not as the last run has read them are read"
    if selection.turnover:
        return "only what came and went since the last run is read, as the source's log tells"
    if _may_stay(run, found) is None:
        return f"all rows are scored: the table's are of another model than {run.bundle.model_version}"
    return "all rows are compared with the table's"


def _score(run: Run, found: Found, selection: Selection, more_fatal: int, scratch: Scratch) -> Scored:
    """The selected rows with their scores, counted in the pass that scores them.

    Args:
        more_fatal: the most texts that may be named as fatal.
    Raises:
        FatalTexts: texts at which the engine's compiled code dies; their ids are named.
    """
    bundle, plan, selected = run.bundle, run.plan, time.time()
    clock = Clock(run.spark.sparkContext)
    rows = with_scores(selection.rows, bundle, plan.engine, clock=clock, kept=run.scores_kept)
    if selection.unchanged.ids == selection.census.ids:
        return Scored(rows, [], IdCount(0, 0), {"counting": selected - found.started, "scoring": 0.0, **clock.seconds})
    scratch.keep(rows)
    run.told.step("scoring", selection.census.ids - selection.unchanged.ids, lambda: clock.texts)
    try:
        groups, ids = count_scored(rows, bundle, len(plan.columns.text), plan.unfamiliar, _to_compare(run, selection))
    except Exception as error:
        if WORKER_DIED in str(error):
            signals = fatal_texts(selection.rows, bundle, plan.engine, found.source.location.given, more_fatal)
            if signals:
                raise FatalTexts(signals) from None
        raise
    seconds = {"counting": selected - found.started, "scoring": time.time() - selected, **clock.seconds}
    return Scored(rows, groups, ids, seconds)


def _record(run: Run, found: Found, selection: Selection, scored: Scored, gone: Gone) -> RunRecord:
    """The run's row for the ledger, without what it is compared with."""
    before = None if _is_last_model(run.bundle, found.state) else found.present
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


def _compared(run: Run, record: RunRecord, good: Sequence[Yardstick]) -> tuple[RunRecord, list[str]]:
    """The record compared with the first yardstick that it fits, and nothing; or with the first of all, and how it differs."""
    tried = []
    for one in good:
        since = {SINCE_RELEASE: 1.0} if one.is_since_release else {}
        guarded = {**(record.guarded or {}), **_fallen(run, record, one), **since}
        compared = replace(record, drift=drift_of(record, one), guarded=guarded)
        tried.append((compared, breaches(compared, one, run.plan.limits)))
    return next((pair for pair in tried if not pair[1]), tried[0])


def _good(run: Run, found: Found) -> list[Yardstick]:
    """What the run is compared with: published runs of the history, and of the ledger where the history was cut off or copied away, where the
    table is gone, or where all that the history shows are rounds of a few days.

    The runs, and this one, are compared under the names that labels have after the last relabelling that one of them knows.
    """
    runs = found.state.good
    if not runs or (found.state.goes_on and len(list(nights_of(runs))) < run.plan.limits.runs):
        # The history first: only it shows that a run was rolled back.
        runs = [*runs, *published_runs(run.spark, run.tables, run.plan.limits.runs, runs[-1].started_at if runs else None)]
    return yardsticks(runs, run.plan.limits, renames_of(run.bundle.renames.steps, runs))


def _tell_before(run: Run, found: Found, good: Yardstick) -> None:
    """Report, before the run publishes, a table that was there before and is made anew, and which categories come and go with another model."""
    if found.present is None and not found.state.runs and good.runs:
        # It may have been moved, or not be mounted.
        tables, count = run.tables, runs_published(run.spark, run.tables)
        run.told.say(
            f"found neither rows nor runs in {tables.categorized.given}, though its ledger {tables.runs.given} has {count:,} published "
            f"run{'s' if count > 1 else ''}: the table is made anew, and this run guarded by what the ledger has"
        )
    if good.category_shares and not _is_last_model(run.bundle, found.state):
        told = labels_text(good, run.bundle)
        if told:
            run.told.say(told)


def _to_compare(run: Run, selection: Selection) -> Stood | None:
    """What the categories are compared with while they are counted; None where too few are scored to pass the limit."""
    limits, ids = run.plan.limits, selection.census.ids
    few = ids < limits.from_rows or ids - selection.unchanged.ids <= limits.moved * ids
    return None if few else selection.stood


def _moved(selection: Selection, groups: Sequence[Group]) -> dict[str, float]:
    """The share of the products that stay whose category changes; none where none was compared."""
    every = selection.stood.every if selection.stood else 1
    stood, moved = (every * sum(getattr(group, name) for group in groups) for name in ("stood", "moved"))
    return {MOVED: moved / (stood + selection.unchanged.ids)} if stood else {}


def _fallen(run: Run, record: RunRecord, good: Yardstick) -> dict[str, float]:
    """The category, or the level above some, that lost most of its rows since the last good runs."""
    now = {name: share * record.rows_in for name, share in good.shares_compared(record).items()}
    before = {name: share * good.rows_in for name, share in (good.category_shares or {}).items()}
    # From all names: the last runs may have had some that this bundle does not know.
    names = Tree((*now, *before), run.bundle.tree.separator).ancestors if run.bundle.tree else {}
    return fallen(now, before, names) if now else {}


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


def _reconcile(scored: IdCount, selection: Selection, source: Source) -> None:
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


def _look_for_gone(run: Run, found: Found, selection: Selection, scratch: Scratch) -> Gone:
    plan, present = run.plan, found.present
    if present is None or selection.gone is None or (plan.mode, plan.missing) == ("incremental", "keep"):
        return Gone()
    rows = missing = removed = None
    if not selection.gone_ids:
        looked = (plan.mode, plan.missing) != ("full", "delete")
        return Gone(None, 0 if looked else None, 0.0 if plan.missing == "delete" else None)
    gone = _less_fatal(selection.gone, found, plan)
    if (plan.mode, plan.missing) != ("full", "delete"):
        # Kept on disk, so that the commit writes what was counted, whatever happens to the source.
        rows = scratch.keep(_vanished(gone, plan))
        missing = rows.count()
    if plan.missing == "delete":
        removed = (gone.count() if missing is None else missing) / max(present.count(), 1)
    return Gone(rows, missing, removed)


def _candidate(
    run: Run, found: Found, selection: Selection, scored: Scored, gone: Gone, record: RunRecord, identity: str
) -> Candidate:
    """What could be published."""
    plan, mode = run.plan, run.plan.mode
    rows = categorized_rows(scored.rows, run.bundle, record.run_id, plan.columns.carry, plan.unfamiliar)
    rows = rows.withColumn(VANISHED, F.lit(False))
    if gone.rows is not None and gone.missing:
        rows = rows.unionByName(_in_columns_of(rows, gone.rows.withColumn(VANISHED, F.lit(True))))
    if mode == "full" and found.fatal is not None and found.present is not None:
        # Everything else is replaced; what the table holds under an id whose text could not be scored stays.
        stays = found.present.join(_ids_of(found.fatal, plan), "product_id", "left_semi")
        rows = rows.unionByName(_in_columns_of(rows, stays.withColumn(VANISHED, F.lit(True))))
    if mode == "incremental" and found.present is None:
        # Nothing to merge with. Unlike an append, an overwrite fails if another run has put rows there since the state was read.
        mode = "full"
    if mode == "incremental" and not record.rows_scored and not gone.missing:
        mode = "note"
    note = {
        # Another engine may survive the texts that this one does not, so that its run has something to do.
        "identity": identity if found.fatal is None else uuid.uuid4().hex,
        "basis": basis_of(run.source, run.bundle, plan),
        "read_version": found.state.version,
        "table": found.state.table,
        "sequence": found.state.sequence + 1,
        "ids_once": True,
        "decisions": run.bundle.decisions,
        SCORES_KEPT: run.scores_kept if _all_have_scores(run, found, selection) else None,
        **_for_the_next(found, selection, scored, plan),
    }
    return Candidate(rows, mode, plan.missing, note, record)


def _all_have_scores(run: Run, found: Found, selection: Selection) -> bool:
    """Whether every row of the table has the scores of that many labels after this run: rows of products that are gone are left as they were."""
    if found.present is None or (found.state.last or {}).get(SCORES_KEPT) == run.scores_kept:
        return True
    knows_gone = selection.gone is not None and selection.turnover is None
    # A marked row is written again when its product comes back.
    return knows_gone and (not selection.gone_ids or run.plan.missing != "keep")


def _for_the_next(found: Found, selection: Selection, scored: Scored, plan: Plan) -> dict[str, Any]:
    """What the commit's metadata tells the next run about all rows of the source."""
    census, turnover = selection.census, selection.turnover
    whole = whole_of(census, [*scored.groups, *selection.groups], plan.missing, turnover.aged if turnover else 0)
    sketch = base64.b64encode(census.sketch).decode() if census.sketch else None
    # Where only some ids were looked at, the sketch stays that of the run that looked at all of them.
    files = packed(selection.files) if whole and selection.files else None
    return {SKETCH: found.state.sketch if turnover else sketch, WHOLE: whole and whole.noted(), FILES: files}


def _vanished(gone: DataFrame, plan: Plan) -> DataFrame:
    """Rows of the table whose products the source no longer holds, as they are to be there."""
    if plan.missing != "mark":
        return gone
    if plan.mode == "incremental":
        gone = gone.filter(F.col("missing_since").isNull())
    return gone.withColumn("missing_since", F.coalesce("missing_since", F.current_timestamp()))


def _in_columns_of(rows: DataFrame, others: DataFrame) -> DataFrame:
    """Rows of the table in the columns of a run's rows; null where they have no value that fits its type."""
    there = {field.name.lower(): field for field in others.schema.fields}
    return others.select(*[_as_field(there.get(field.name.lower()), field).alias(field.name) for field in rows.schema.fields])


def _as_field(found: StructField | None, wanted: StructField) -> Column:
    if found and found.dataType.simpleString() == wanted.dataType.simpleString():
        return column(found.name)
    if not found or not isinstance(found.dataType, AtomicType) or not isinstance(wanted.dataType, AtomicType):
        return F.lit(None).cast(wanted.dataType)
    # Not every type can be cast to every other; all can be cast to text.
    numbers = isinstance(found.dataType, NumericType) and isinstance(wanted.dataType, NumericType)
    value = column(found.name) if numbers else column(found.name).cast("string")
    fresh = tried_cast(value, wanted.dataType)
    # 2.9 must not become 2.
    return F.when(tried_cast(fresh, found.dataType) == value, fresh) if numbers else fresh


def _less_fatal(gone: DataFrame, found: Found, plan: Plan) -> DataFrame:
    """A product whose text the engine does not survive is not gone."""
    if found.fatal is None:
        return gone
    return gone.join(_ids_of(found.fatal, plan), "product_id", "left_anti")


def _ids_of(fatal: DataFrame, plan: Plan) -> DataFrame:
    return fatal.select(usable_id(plan.columns).alias("product_id"))
