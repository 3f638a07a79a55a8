"""The nightly run: from a pinned source and a verified bundle to one published commit, or to nothing at all."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Sequence
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import AtomicType, StructField

from lib.bundle import Bundle
from lib.errors import GuardrailError, InputError
from lib.guardrails import breaches
from lib.history import TableState, read_state
from lib.isolation import WORKER_DIED, check_survival
from lib.loading import append_rejects, hold_back, load, recover
from lib.locations import file_count, rows_at, storage_uri
from lib.names import column
from lib.phases import reached
from lib.plan import Outcome, Plan
from lib.publication import VANISHED, Candidate, TableMoved, is_conflict
from lib.records import base_record, figures, label_changes
from lib.rows import Census, IdCount, take_census, usable_id
from lib.scoring import Clock, categorized_rows, is_unfamiliar, with_category, with_scores
from lib.scratch import Scratch
from lib.selection import MOST_IDS_TO_BROADCAST, Selection, select_all, select_changed
from lib.sources import ID_TYPES, Source, changed_rows, require_columns, require_text
from lib.tables import Tables, check_targets, create_tables
from lib.tally import Group, count_groups, rows_in
from schemas.tables import ADDED_TO_CATEGORIZED, CATEGORIZED, UNFAMILIAR, categorized_schema

# How often a run starts over because another one published meanwhile.
MOST_ATTEMPTS = 3


def categorize(spark: SparkSession, source: Source, tables: Tables, bundle: Bundle, plan: Plan) -> Outcome:
    """Score what is new, publish it in one commit, and write the ledger last.

    A run that finds another one's commit before its own starts over on the new table.

    Raises:
        InputError: the source or a target does not fit; nothing was written.
        GuardrailError: the rows do not add up, or differ too much from the last good run's; the table is as it was.
        TableMoved: others published before this run, again and again; nothing of it was published.
    """
    carried = check_input(spark, source, tables, plan)
    for attempt in range(MOST_ATTEMPTS):
        try:
            check_targets(spark, tables, carried, replaces=plan.mode == "full")
            with Scratch() as scratch:
                return _attempt(spark, source, tables, bundle, plan, carried, scratch)
        except Exception as error:
            if attempt == MOST_ATTEMPTS - 1 or not (isinstance(error, TableMoved) or is_conflict(error)):
                raise
    raise AssertionError("the last attempt returns or raises")


def _attempt(
    spark: SparkSession,
    source: Source,
    tables: Tables,
    bundle: Bundle,
    plan: Plan,
    carried: Sequence[StructField],
    scratch: Scratch,
) -> Outcome:
    """One attempt. `scratch` lets go of what it keeps on disk meanwhile."""
    identity = identity_of(source, bundle, plan)
    state = read_state(spark, tables.categorized)
    recovered = None if plan.dry_run else recover(spark, tables, state.last_good)
    if state.last and state.last.get("identity") == identity:
        return Outcome(None, recovered, plan.dry_run)
    started = time.time()
    census = take_census(source.frame, plan.columns)
    if census.rows == 0:
        raise InputError(f"Expected rows in {source.location.given}, found none; wait for the delivery, or correct --source.")
    if not plan.dry_run:
        create_tables(spark, tables, carried, plan.change_data_feed)
        if state.version < 0:
            state = read_state(spark, tables.categorized)
    present = _present(spark, tables, state, carried)
    # Of a table that has moved since, the number of files may be another's; then the run starts over anyway.
    has_rows = state.version >= 0 and file_count(spark, tables.categorized) > 0
    selection = _select(source, present if has_rows else None, bundle, plan, census, state, scratch)
    selected = time.time()
    reached("planned")
    clock = Clock(spark.sparkContext)
    scored = scratch.keep(with_scores(selection.rows, bundle, plan.engine, clock=clock))
    try:
        groups, ids = count_scored(scored, bundle, plan.unfamiliar)
    except Exception as error:
        if WORKER_DIED in str(error):
            check_survival(selection.rows, bundle, plan.engine, source.location.given)
        raise
    seconds = {"counting": selected - started, "scoring": time.time() - selected, **clock.seconds}
    reached("scored")
    _reconcile(ids, selection, census, source)
    record = {
        **base_record(started, source, bundle, plan, census),
        **figures(groups, selection.groups, state.last_good),
        "label_changes": label_changes(scored, present, bundle) if has_rows and not _is_last_model(bundle, state) else None,
        "rows_per_second": rows_in(groups) / max(time.time() - started, 1e-9),
        "seconds": seconds,
    }
    candidate = _candidate(scored, present if has_rows else None, source, bundle, plan, record, identity, state)
    found = breaches(record, state.last_good, plan.limits)
    if plan.dry_run:
        return Outcome(record, dry_run=True, breaches=found)
    append_rejects(spark, source, tables, plan, census, record)
    if found:
        raise hold_back(candidate, tables, record, found)
    load(candidate, tables, record)
    return Outcome(record, recovered)


def check_input(spark: SparkSession, source: Source, tables: Tables, plan: Plan) -> list[StructField]:
    """Check columns and places, before any row is read; gives the carried columns' fields."""
    columns, frame, where = plan.columns, source.frame, source.location.given
    taken = sorted(set(columns.carry) & set(CATEGORIZED.names))
    if taken:
        raise InputError(
            f"Expected carried columns under names of their own, found {', '.join(taken)}; rename them in the source."
        )
    require_columns(frame, where, id_column=([columns.id], ID_TYPES), carry=(columns.carry, (AtomicType,)))
    require_text(frame, where, columns.text)
    if columns.order_by:
        require_columns(frame, where, order_by=([columns.order_by], (AtomicType,)))
    ours = {storage_uri(spark, location) for location in (tables.categorized, tables.rejected, tables.runs)}
    if storage_uri(spark, source.location) in ours:
        raise InputError(f"Expected a target apart from the source, found {where} as both; choose another --target.")
    return [frame.schema[name] for name in columns.carry]


def identity_of(source: Source, bundle: Bundle, plan: Plan) -> str:
    """Digest of what decides the rows of a run. Neither engine nor mode is in it: they must not change the rows."""
    parts = [source.location.uri, source.version, bundle.digest, repr(plan.columns), plan.missing, *_unfamiliar(plan)]
    if source.version == "unversioned":
        parts.append(uuid.uuid4().hex)
    return _digest(parts)


def _basis(bundle: Bundle, plan: Plan) -> str:
    """Digest of what decides a row beside the source's: with the same one, a row that did not change is the same."""
    return _digest([bundle.digest, repr(plan.columns), *_unfamiliar(plan)])


def _unfamiliar(plan: Plan) -> list[str]:
    """For a digest; nothing where it is not asked for, so that tables of older versions stay known."""
    return [] if plan.unfamiliar is None else [f"unfamiliar {plan.unfamiliar!r}"]


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _present(spark: SparkSession, tables: Tables, state: TableState, carried: Sequence[StructField]) -> DataFrame:
    """The table as the run has found it, in today's columns; without rows where there is no table yet."""
    if state.version < 0:
        return spark.createDataFrame([], categorized_schema(carried))
    present = rows_at(spark, tables.categorized, state.version)
    lacking = [field for field in CATEGORIZED if field.name in ADDED_TO_CATEGORIZED and field.name not in present.columns]
    return present.withColumns({field.name: F.lit(None).cast(field.dataType) for field in lacking}) if lacking else present


def _select(
    source: Source,
    present: DataFrame | None,
    bundle: Bundle,
    plan: Plan,
    census: Census,
    state: TableState,
    scratch: Scratch,
) -> Selection:
    most = bundle.tokenizer.settings.max_characters
    if plan.mode == "incremental" and present is not None:
        # A product that comes back is written anew: it is no longer missing.
        known = present.filter((F.col("model_version") == bundle.model_version) & F.col("missing_since").isNull())
        # Rows that another share would send to review, or would not, are scored again.
        known = known.filter(is_unfamiliar(plan.unfamiliar) == F.col("reason").eqNullSafe(UNFAMILIAR))
        kept = ("product_id", "text_hash", "category", "status", "confidence", *plan.columns.carry)
        known = known.select(*[column(name) for name in kept])
        if _is_last_model(bundle, state) or not known.isEmpty():
            feed = _feed(source, bundle, plan, state, scratch)
            return select_changed(source, plan.columns, most, census, known, scratch, feed)
    return select_all(source, plan.columns, most, census)


def _is_last_model(bundle: Bundle, state: TableState) -> bool:
    return bool(state.last_good.get("model_version") == bundle.model_version)


def _feed(source: Source, bundle: Bundle, plan: Plan, state: TableState, scratch: Scratch) -> DataFrame | None:
    """Ids that changed since the last run, where the source tells and the table holds that run's rows."""
    last = state.last or {}
    run = last.get("run", {})
    if last.get("basis") != _basis(bundle, plan) or run.get("source") != source.location.uri:
        return None
    changes = changed_rows(source, str(run["source_version"]))
    if changes is None:
        return None
    ids = scratch.keep(changes.select(usable_id(plan.columns).alias("changed_id")).filter("changed_id IS NOT NULL").distinct())
    # Only a short list spares the source's texts a shuffle; behind a long one they are hashed in place.
    return ids.hint("broadcast") if ids.count() <= MOST_IDS_TO_BROADCAST else None


def count_scored(scored: DataFrame, bundle: Bundle, unfamiliar: float | None = None) -> tuple[list[Group], IdCount]:
    """What the ledger tells of the scored rows, from the pass that scores them."""
    tokens = {"token_count": F.col("score.tokens"), "unknown_count": F.col("score.unknown_tokens")}
    columns = scored.select("product_id", "text_hash", "score").withColumns(tokens)
    rows = with_category(columns, bundle, bundle.review_below, unfamiliar)
    return count_groups(rows, tokens=F.col("token_count"), unknown_tokens=F.col("unknown_count"))


def _reconcile(scored: IdCount, selection: Selection, census: Census, source: Source) -> None:
    """Before the commit: every id of the source is scored now or stands in the table under this model, and none twice."""
    found = scored + selection.unchanged
    if found != census.all_ids:
        raise GuardrailError(
            f"Expected each of the {census.ids} ids of {source.location.given} once, found {scored.ids} scored and "
            f"{selection.unchanged.ids} unchanged that are not the same ids; nothing was published, run again or report this."
        )


def _candidate(
    scored: DataFrame,
    present: DataFrame | None,
    source: Source,
    bundle: Bundle,
    plan: Plan,
    record: dict[str, Any],
    identity: str,
    state: TableState,
) -> Candidate:
    rows = categorized_rows(scored, bundle, record["run_id"], plan.columns.carry, plan.unfamiliar)
    rows = rows.withColumn(VANISHED, F.lit(False))
    mode = plan.mode
    if present is not None:
        vanished = _vanished(present, source, plan)
        if vanished is not None:
            record["rows_missing"] = vanished.count()
            if record["rows_missing"]:
                rows = rows.unionByName(vanished.withColumn(VANISHED, F.lit(True)), allowMissingColumns=True)
    elif mode == "incremental":
        # Nothing to merge with. Unlike an append, an overwrite fails if another run has put rows there meanwhile.
        mode = "full"
    if mode == "incremental" and not record["rows_scored"] and not record["rows_missing"]:
        mode = "note"
    note = {"identity": identity, "basis": _basis(bundle, plan), "read_version": state.version, "run": record}
    return Candidate(rows, mode, plan.missing, note)


def _vanished(present: DataFrame, source: Source, plan: Plan) -> DataFrame | None:
    """Rows of the table whose products the source no longer holds, as they shall stand there; None where they just stay, or go."""
    if (plan.mode, plan.missing) in (("incremental", "keep"), ("full", "delete")):
        return None
    ids = source.frame.select(usable_id(plan.columns).alias("product_id"))
    rows = present.join(ids, "product_id", "left_anti")
    if plan.mode == "incremental" and plan.missing == "mark":
        rows = rows.filter(F.col("missing_since").isNull())
    if plan.missing == "mark":
        rows = rows.withColumn("missing_since", F.coalesce("missing_since", F.current_timestamp()))
    return rows
