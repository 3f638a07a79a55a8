"""The nightly run: from a pinned source and a verified bundle to one published commit, or to nothing at all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from lib.errors import BundleError, InputError
from lib.failpoints import reached
from lib.model.bundle import Bundle
from lib.scoring.attempt import Found, Run, Scored
from lib.scoring.audit import compared, count_scored, reconcile, record_of, tell_before, to_compare, yardsticks_for
from lib.scoring.candidate import candidate_of, look_for_gone
from lib.scoring.catalogue import RANK, IdCount, of_ids
from lib.scoring.crashes import WORKER_DIED, FatalTexts, fatal_texts
from lib.scoring.guardrails import limits_of
from lib.scoring.identity import identity_of
from lib.scoring.load import append_rejects, hold_back, load, still_held
from lib.scoring.plan import Inputs, Outcome, Plan
from lib.scoring.progress import Told
from lib.scoring.scratch import Scratch
from lib.scoring.selection import Selection
from lib.scoring.strategy import forecast_of, select
from lib.scoring.udf import Clock, with_scores
from lib.tables.commits import TableState, read_state
from lib.tables.ledger import mend_held, mend_ledger, recover
from lib.tables.locations import files_and_bytes, is_delta, rows_at
from lib.tables.publish import TableMoved, held_candidate, is_as_read, is_conflict, newest_held, rows_are_there
from lib.tables.sources import check_unchanged
from lib.tables.target import Tables, check_targets, create_tables, ids_twice, with_added_columns

# How often a run starts over because another one published meanwhile.
MOST_ATTEMPTS = 3


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
    selection = select(run, found, scratch)
    if run.plan.explain:
        return Outcome(None, dry_run=True, forecast=forecast_of(run, found, selection))
    found = _with_tables(run, found)
    reached("planned")
    scored = _score(run, found, selection, run.plan.fatal_texts - len(fatal), scratch)
    reached("scored")
    run.told.step("auditing")
    reconcile(scored.ids, selection, found.source)
    good = yardsticks_for(run, found)
    tell_before(run, found, good[0])
    gone = look_for_gone(run, found, selection, scratch)
    record, faults = compared(run, record_of(run, found, selection, scored, gone), good)
    candidate = candidate_of(run, found, selection, scored, gone, record, identity)
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
        groups, ids = count_scored(rows, bundle, len(plan.columns.text), plan.unfamiliar, to_compare(run, selection))
    except Exception as error:
        if WORKER_DIED in str(error):
            signals = fatal_texts(selection.rows, bundle, plan.engine, found.source.location.given, more_fatal)
            if signals:
                raise FatalTexts(signals) from None
        raise
    seconds = {"counting": selected - found.started, "scoring": time.time() - selected, **clock.seconds}
    return Scored(rows, groups, ids, seconds)
