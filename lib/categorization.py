"""The nightly run: from a pinned source and a verified bundle to one published commit, or to nothing at all."""

from __future__ import annotations

import base64
import hashlib
import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.types import AtomicType, StructField

from lib.bundle import Bundle
from lib.errors import BundleError, GuardrailError, InputError
from lib.guardrails import GONE_IDS, NEW_IDS, REMOVED, breaches, yardstick
from lib.history import SKETCH, TableState, read_state
from lib.isolation import WORKER_DIED, FatalTexts, fatal_texts
from lib.loading import append_rejects, hold_back, load, mend_ledger, recover
from lib.locations import check_place, file_count, rows_at, storage_uri
from lib.names import column
from lib.phases import reached
from lib.plan import Outcome, Plan
from lib.publication import VANISHED, Candidate, TableMoved, is_conflict
from lib.records import base_record, figures, label_changes
from lib.redaction import redacted
from lib.rows import LENGTHS, Census, IdCount, of_ids, shares_of_ids, take_census, usable_id
from lib.scoring import Clock, categorized_rows, is_unfamiliar, with_category, with_scores
from lib.scratch import Scratch
from lib.selection import MOST_IDS_TO_BROADCAST, Selection, select_all, select_changed
from lib.sources import (
    CARRIED_TYPES,
    ID_TYPES,
    UNVERSIONED,
    Source,
    changed_rows,
    check_unchanged,
    require_columns,
    require_text,
)
from lib.tables import Tables, check_targets, create_tables, with_added_columns
from lib.tally import Group, count_groups, rows_in
from schemas.tables import CATEGORIZED, UNFAMILIAR, categorized_schema

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
    fatal: dict[str, str] = {}
    once = partial(_attempt, spark, source, tables, bundle, plan, carried)
    for attempt in range(MOST_ATTEMPTS):
        try:
            check_targets(spark, tables, carried, replaces=plan.mode == "full")
            return _surviving(once, plan.engine, fatal)
        except Exception as error:
            if attempt == MOST_ATTEMPTS - 1 or not (isinstance(error, TableMoved) or is_conflict(error)):
                if isinstance(error, TableMoved):
                    # A commit of this run may stand, although others came between: the ledger shall know.
                    mend_ledger(spark, tables, plan.dry_run)
                raise
    raise AssertionError("the last attempt returns or raises")


def _surviving(once: Callable[[Scratch, Sequence[str]], Outcome], engine: str, fatal: dict[str, str]) -> Outcome:
    """One attempt, begun again without the texts at which the engine's compiled code dies. `fatal`: these, which is added to."""
    while True:
        try:
            with Scratch() as scratch:
                return once(scratch, tuple(fatal))
        except FatalTexts as found:
            named = ", ".join(f"{name!r} ({signal})" for name, signal in found.signals.items())
            print(f"the engine {engine} died at the product {named}: rejected, and the rest is scored again", flush=True)
            fatal |= found.signals


def _attempt(
    spark: SparkSession,
    source: Source,
    tables: Tables,
    bundle: Bundle,
    plan: Plan,
    carried: Sequence[StructField],
    scratch: Scratch,
    fatal: Sequence[str],
) -> Outcome:
    """One attempt. `scratch` lets go of what it keeps on disk meanwhile.

    fatal: ids whose texts the engine does not survive.
    """
    identity = identity_of(source, bundle, plan)
    state = read_state(spark, tables.categorized)
    _check_same_bundle(state, tables, bundle)
    recovered = None if plan.dry_run else recover(spark, tables, state.runs)
    if state.last and state.last.get("identity") == identity:
        return Outcome(None, recovered, plan.dry_run)
    started = time.time()
    whole, rows_of_fatal = source, None
    if fatal:
        others, rows_of_fatal = of_ids(source.frame, plan.columns, fatal)
        source = replace(source, frame=others)
    census = take_census(source.frame, plan.columns)
    if rows_of_fatal is not None:
        census = replace(census, rows=census.rows + rows_of_fatal.count())
    if census.rows == 0:
        raise InputError(f"Expected rows in {source.location.given}, found none; wait for the delivery, or correct --source.")
    if not plan.dry_run:
        create_tables(spark, tables, carried, plan.change_data_feed)
        if state.version < 0:
            state = read_state(spark, tables.categorized)
    present = _present(spark, tables, state, carried)
    # Of a table that has moved since, the number of files may be another's; then the run starts over anyway.
    has_rows = state.version >= 0 and file_count(spark, tables.categorized) > 0
    if has_rows and not (state.last or {}).get("ids_once"):
        present = _each_id_once(present, tables, plan)
    selection = _select(source, present if has_rows else None, bundle, plan, census, state, scratch)
    selected = time.time()
    reached("planned")
    clock = Clock(spark.sparkContext)
    scored = scratch.keep(with_scores(selection.rows, bundle, plan.engine, clock=clock))
    try:
        groups, ids = count_scored(scored, bundle, len(plan.columns.text), plan.unfamiliar)
    except Exception as error:
        if WORKER_DIED in str(error):
            most = plan.fatal_texts - len(fatal)
            signals = fatal_texts(selection.rows, bundle, plan.engine, source.location.given, most)
            if signals:
                raise FatalTexts(signals) from None
        raise
    seconds = {"counting": selected - started, "scoring": time.time() - selected, **clock.seconds}
    reached("scored")
    _reconcile(ids, selection, census, source)
    good = yardstick(state.good, plan.limits)
    record = {
        **base_record(started, source, bundle, plan, census),
        **figures(groups, selection.groups, good, plan.columns.text),
        "label_changes": label_changes(scored, present, bundle) if has_rows and not _is_last_model(bundle, state) else None,
        "rows_per_second": rows_in(groups) / max(time.time() - started, 1e-9),
        "seconds": seconds,
    }
    candidate = _candidate(
        scored, present if has_rows else None, whole, bundle, plan, record, identity, state, census.sketch, scratch
    )
    record["guarded"] |= _shares_of_ids(spark, census, state, plan)
    found = breaches(record, good, plan.limits)
    if not plan.dry_run:
        append_rejects(spark, source, tables, plan, census, record, rows_of_fatal)
    check_unchanged(source)
    if plan.dry_run:
        return Outcome(record, dry_run=True, breaches=found)
    if found:
        raise hold_back(candidate, tables, record, found, good.get("runs", 0))
    load(candidate, tables, record)
    return Outcome(record, recovered)


def check_input(spark: SparkSession, source: Source, tables: Tables, plan: Plan) -> list[StructField]:
    """Check columns and places, before any row is read; gives the carried columns' fields."""
    columns, frame, where = plan.columns, source.frame, source.location.given
    check_place(spark, tables.categorized)
    check_carried_names(columns.carry)
    require_columns(frame, where, id_column=([columns.id], ID_TYPES), carry=(columns.carry, CARRIED_TYPES))
    require_text(frame, where, columns.text)
    if columns.order_by:
        require_columns(frame, where, order_by=([columns.order_by], (AtomicType,)))
    ours = {storage_uri(spark, location) for location in (tables.categorized, tables.rejected, tables.runs)}
    if storage_uri(spark, source.location) in ours:
        raise InputError(f"Expected a target apart from the source, found {where} as both; choose another --target.")
    return [frame.schema[name] for name in columns.carry]


def check_carried_names(names: Sequence[str]) -> None:
    """Refuse carried columns that the table could not hold, or that would be taken for one of a run's own.

    Raises:
        InputError: names of ours in any case, a name twice, or a character that Delta does not take.
    """
    ours = {*CATEGORIZED.names, "text", "score", VANISHED, LENGTHS}
    lower = [name.lower() for name in names]
    taken = [name for name in names if name.lower() in ours]
    if taken:
        raise InputError(
            f"Expected carried columns under names of their own, found {', '.join(taken)}; rename them in the source."
        )
    twice = sorted({name for name in names if lower.count(name.lower()) > 1})
    if twice:
        raise InputError(f"Expected each column once in --carry, found {', '.join(twice)}; correct it.")
    odd = [name for name in names if set(name) & set(" ,;{}()\n\t=")]
    if odd:
        raise InputError(
            f"Expected carried columns with names that a Delta table takes, without blanks and , ; {{ }} ( ) =, found "
            f"{', '.join(map(repr, odd))}; rename them in the source."
        )


def identity_of(source: Source, bundle: Bundle, plan: Plan) -> str:
    """Digest of what decides the rows of a run. Neither engine nor mode is in it: they must not change the rows."""
    reading = [redacted(source.location.uri), source.version, source.reading]
    parts = [*reading, bundle.digest, repr(plan.columns), plan.missing, *_unfamiliar(plan)]
    if source.version == UNVERSIONED:
        parts.append(uuid.uuid4().hex)
    return _digest(parts)


def _basis(source: Source, bundle: Bundle, plan: Plan) -> str:
    """Digest of what decides a row beside the source's: with the same one, a row that did not change is the same."""
    return _digest([source.reading, bundle.digest, repr(plan.columns), *_unfamiliar(plan)])


def _unfamiliar(plan: Plan) -> list[str]:
    """For a digest; nothing where it is not asked for, so that tables of older versions stay known."""
    return [] if plan.unfamiliar is None else [f"unfamiliar {plan.unfamiliar!r}"]


def _check_same_bundle(state: TableState, tables: Tables, bundle: Bundle) -> None:
    """Refuse a bundle that decides otherwise than under the same name before: its rows could not be told apart.

    Raises:
        BundleError: other models, labels, text settings or thresholds than the table's runs have seen.
    """
    if state.decisions.get(bundle.model_version, bundle.decisions) != bundle.decisions:
        raise BundleError(
            f"Expected the bundle {bundle.model_version} as earlier runs of {tables.categorized.given} had it, found other models, labels, "
            f"text settings or thresholds under that name; restore it, or train a version with them."
        )


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _present(spark: SparkSession, tables: Tables, state: TableState, carried: Sequence[StructField]) -> DataFrame:
    """The table as the run has found it, in today's columns; without rows where there is no table yet."""
    if state.version < 0:
        return spark.createDataFrame([], categorized_schema(carried))
    return with_added_columns(rows_at(spark, tables.categorized, state.version))


def _each_id_once(present: DataFrame, tables: Tables, plan: Plan) -> DataFrame:
    """A table that another hand may have written to, with each id once; our own commits keep it so.

    Raises:
        InputError: an id stands there twice, and the run would leave it so.
    """
    twice = present.groupBy("product_id").count().filter("count > 1")
    found = twice.orderBy("product_id").head()
    if found is None:
        return present
    if plan.mode == "incremental":
        raise InputError(
            f"Expected each product_id once in {tables.categorized.given}, found {found['product_id']!r} {found['count']} times (of "
            f"{twice.count()} such ids), written by another hand; run the night with --mode full, which writes each of them once."
        )
    newest = Window.partitionBy("product_id").orderBy(F.col("scored_at").desc(), F.col("text_hash"), F.col("run_id"))
    return present.withColumn("copy_rank", F.row_number().over(newest)).filter("copy_rank = 1").drop("copy_rank")


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
    if last.get("basis") != _basis(source, bundle, plan) or run.get("source") != redacted(source.location.uri):
        return None
    changes = changed_rows(source, str(run["source_version"]))
    if changes is None:
        return None
    try:
        ids = scratch.keep(
            changes.select(usable_id(plan.columns).alias("changed_id")).filter("changed_id IS NOT NULL").distinct()
        )
        # Only a short list spares the source's texts a shuffle; behind a long one they are hashed in place.
        return ids.hint("broadcast") if ids.count() <= MOST_IDS_TO_BROADCAST else None
    except Exception:
        # Its files go with VACUUM before the versions that they lead between. The rows themselves are there to be compared.
        print(
            f"the change feed of {source.location.given} since the last run cannot be read (vacuumed): all rows are compared",
            flush=True,
        )
        return None


def _shares_of_ids(spark: SparkSession, census: Census, state: TableState, plan: Plan) -> dict[str, float]:
    """Which shares of the ids are new, and gone, since the last good run; none where the sets are small or one is not known."""
    if not census.sketch or not state.sketch or census.ids < plan.limits.from_rows:
        return {}
    new, gone = shares_of_ids(spark, census.sketch, base64.b64decode(state.sketch))
    return {NEW_IDS: new, GONE_IDS: gone}


def count_scored(
    scored: DataFrame, bundle: Bundle, texts: int = 0, unfamiliar: float | None = None
) -> tuple[list[Group], IdCount]:
    """What the ledger tells of the scored rows, from the pass that scores them."""
    tokens = {"token_count": F.col("score.tokens"), "unknown_count": F.col("score.unknown_tokens")}
    names = ["product_id", "text_hash", "score", *([LENGTHS] if texts else [])]
    rows = with_category(scored.select(*names).withColumns(tokens), bundle, bundle.review_below, unfamiliar)
    return count_groups(rows, texts, tokens=F.col("token_count"), unknown_tokens=F.col("unknown_count"))


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
    sketch: bytes | None,
    scratch: Scratch,
) -> Candidate:
    rows = categorized_rows(scored, bundle, record["run_id"], plan.columns.carry, plan.unfamiliar)
    rows = rows.withColumn(VANISHED, F.lit(False))
    mode = plan.mode
    if present is not None:
        vanished = _vanished(present, source, plan)
        if vanished is not None:
            # Kept, so that the commit writes what was counted, whatever becomes of the source.
            vanished = scratch.keep(vanished)
            record["rows_missing"] = vanished.count()
            if record["rows_missing"]:
                rows = rows.unionByName(vanished.withColumn(VANISHED, F.lit(True)), allowMissingColumns=True)
        if plan.missing == "delete":
            removed = _gone(present, source, plan).count() if vanished is None else record["rows_missing"]
            record["guarded"][REMOVED] = removed / max(present.count(), 1)
    elif mode == "incremental":
        # Nothing to merge with. Unlike an append, an overwrite fails if another run has put rows there meanwhile.
        mode = "full"
    if mode == "incremental" and not record["rows_scored"] and not record["rows_missing"]:
        mode = "note"
    note = {
        "identity": identity,
        "basis": _basis(source, bundle, plan),
        "read_version": state.version,
        "sequence": state.sequence + 1,
        "ids_once": True,
        "decisions": bundle.decisions,
        SKETCH: base64.b64encode(sketch).decode() if sketch else None,
        "run": record,
    }
    return Candidate(rows, mode, plan.missing, note)


def _vanished(present: DataFrame, source: Source, plan: Plan) -> DataFrame | None:
    """Rows of the table whose products the source no longer holds, as they shall stand there; None where they just stay, or go."""
    if (plan.mode, plan.missing) in (("incremental", "keep"), ("full", "delete")):
        return None
    rows = _gone(present, source, plan)
    if plan.mode == "incremental" and plan.missing == "mark":
        rows = rows.filter(F.col("missing_since").isNull())
    if plan.missing == "mark":
        rows = rows.withColumn("missing_since", F.coalesce("missing_since", F.current_timestamp()))
    return rows


def _gone(present: DataFrame, source: Source, plan: Plan) -> DataFrame:
    ids = source.frame.select(usable_id(plan.columns).alias("product_id"))
    return present.join(ids, "product_id", "left_anti")
