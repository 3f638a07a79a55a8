"""The nightly run: from a pinned source and a verified bundle to one published commit, or to nothing at all."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import AtomicType, StructField

from lib.bundle import Bundle
from lib.errors import GuardrailError, InputError
from lib.guardrails import Limits, breaches
from lib.history import TableState, commit_of_run, commits_of, read_state
from lib.isolation import WORKER_DIED, check_survival
from lib.locations import rows_at, storage_uri
from lib.maintenance import pack_if_scattered
from lib.metrics import population_stability_index
from lib.names import column
from lib.phases import reached
from lib.publication import VANISHED, Candidate, TableMoved, held_candidate, hold, is_conflict, publish
from lib.rows import CatalogueColumns, Census, IdCount, rejected_rows, take_census, usable_id
from lib.scoring import Clock, categorized_rows, with_category, with_scores
from lib.selection import Selection, select_all, select_changed
from lib.sources import ID_TYPES, Source, changed_rows, require_columns, require_text
from lib.tables import Tables, append, check_targets, create_tables, ledger_knows, write_ledger
from lib.tally import (
    Group,
    category_shares,
    count_groups,
    mean_confidence,
    out_of_vocabulary_share,
    review_share,
    rows_in,
)
from lib.times import iso, run_id
from schemas.tables import (
    CATEGORIZED,
    HELD,
    NO_CATEGORY,
    PUBLISHED,
    REJECTED,
    REVIEW,
    UNCLASSIFIABLE,
    categorized_schema,
)

MODES = ("incremental", "full")
MISSING = ("keep", "mark", "delete")
# How often a run starts over because another one published meanwhile.
MOST_ATTEMPTS = 3
# Versions of the table between two looks at how many files it has.
PACKED_EVERY = 16


@dataclass(frozen=True)
class Plan:
    """All that decides what a run does; the same plan on the same source version gives the same rows.

    missing: what happens to products that the source no longer holds. dry_run: write nothing.
    """

    columns: CatalogueColumns
    mode: str
    engine: str
    settings: Mapping[str, Any]
    missing: str = "keep"
    limits: Limits = Limits()
    change_data_feed: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a run did. `record` is its row in the ledger; None if there was nothing to do.

    breaches: what the guardrails found in a dry run.
    """

    record: Mapping[str, Any] | None
    recovered_run: str | None = None
    dry_run: bool = False
    breaches: Sequence[str] = ()


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
            return _attempt(spark, source, tables, bundle, plan, carried)
        except Exception as error:
            if attempt == MOST_ATTEMPTS - 1 or not (isinstance(error, TableMoved) or is_conflict(error)):
                raise
    raise AssertionError("the last attempt returns or raises")


def _attempt(
    spark: SparkSession, source: Source, tables: Tables, bundle: Bundle, plan: Plan, carried: Sequence[StructField]
) -> Outcome:
    identity = identity_of(source, bundle, plan)
    state = read_state(spark, tables.categorized)
    recovered = None if plan.dry_run else _recovered(spark, tables, state.last_good)
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
    has_rows = not present.isEmpty()
    selection = _select(source, present if has_rows else None, bundle, plan, census, state)
    selected = time.time()
    reached("planned")
    clock = Clock(spark.sparkContext)
    scored = with_scores(selection.rows, bundle, plan.engine, clock=clock).persist(StorageLevel.DISK_ONLY)
    try:
        try:
            groups, ids = count_scored(scored, bundle)
        except Exception as error:
            if WORKER_DIED in str(error):
                check_survival(selection.rows, bundle, plan.engine, source.location.given)
            raise
        seconds = {"counting": selected - started, "scoring": time.time() - selected, **clock.seconds}
        reached("scored")
        _reconcile(ids, selection, census, source)
        record = {
            **_record(started, source, bundle, plan, census, state),
            **_figures(groups, selection.groups, state.last_good),
            "label_changes": _label_changes(scored, present, bundle)
            if has_rows and not _is_last_model(bundle, state)
            else None,
            "rows_per_second": rows_in(groups) / max(time.time() - started, 1e-9),
            "seconds": seconds,
        }
        candidate = _candidate(scored, present if has_rows else None, source, bundle, plan, census, record, identity, state)
        found = breaches(record, state.last_good, plan.limits)
        if plan.dry_run:
            return Outcome(record, dry_run=True, breaches=found)
        _append_rejects(spark, source, tables, plan, census, record)
        if found:
            raise _held(candidate, tables, record, found)
        _load(candidate, tables, record)
    finally:
        scored.unpersist()
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
    parts = [source.location.uri, source.version, bundle.digest, repr(plan.columns), plan.missing]
    if source.version == "unversioned":
        parts.append(uuid.uuid4().hex)
    return _digest(parts)


def _basis(bundle: Bundle, plan: Plan) -> str:
    """Digest of what decides a row beside the source's: with the same one, a row that did not change is the same."""
    return _digest([bundle.digest, repr(plan.columns)])


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _present(spark: SparkSession, tables: Tables, state: TableState, carried: Sequence[StructField]) -> DataFrame:
    """The table as the run has found it, in today's columns; without rows where there is no table yet."""
    if state.version < 0:
        return spark.createDataFrame([], categorized_schema(carried))
    present = rows_at(spark, tables.categorized, state.version)
    return present if "missing_since" in present.columns else present.withColumn("missing_since", F.lit(None).cast("timestamp"))


def _select(
    source: Source, present: DataFrame | None, bundle: Bundle, plan: Plan, census: Census, state: TableState
) -> Selection:
    most = bundle.tokenizer.settings.max_characters
    if plan.mode == "incremental" and present is not None:
        # A product that comes back is written anew: it is no longer missing.
        known = present.filter((F.col("model_version") == bundle.model_version) & F.col("missing_since").isNull())
        kept = ("product_id", "text_hash", "category", "status", "confidence", *plan.columns.carry)
        known = known.select(*[column(name) for name in kept])
        if _is_last_model(bundle, state) or not known.isEmpty():
            return select_changed(source, plan.columns, most, census, known, _feed(source, bundle, plan, state))
    return select_all(source, plan.columns, most, census)


def _is_last_model(bundle: Bundle, state: TableState) -> bool:
    return bool(state.last_good.get("model_version") == bundle.model_version)


def _feed(source: Source, bundle: Bundle, plan: Plan, state: TableState) -> DataFrame | None:
    """Ids that changed since the last run, where the source tells and the table holds that run's rows."""
    last = state.last or {}
    run = last.get("run", {})
    if last.get("basis") != _basis(bundle, plan) or run.get("source") != source.location.uri:
        return None
    changes = changed_rows(source, str(run["source_version"]))
    if changes is None:
        return None
    return changes.select(usable_id(plan.columns).alias("product_id")).filter("product_id IS NOT NULL").distinct()


def count_scored(scored: DataFrame, bundle: Bundle) -> tuple[list[Group], IdCount]:
    """What the ledger tells of the scored rows, from the pass that scores them."""
    tokens = {"token_count": F.col("score.tokens"), "unknown_count": F.col("score.unknown_tokens")}
    rows = with_category(scored.select("product_id", "text_hash", "score").withColumns(tokens), bundle, bundle.review_below)
    return count_groups(rows, tokens=F.col("token_count"), unknown_tokens=F.col("unknown_count"))


def _reconcile(scored: IdCount, selection: Selection, census: Census, source: Source) -> None:
    """Before the commit: every id of the source is scored now or stands in the table under this model, and none twice."""
    found = scored + selection.unchanged
    if found != census.all_ids:
        raise GuardrailError(
            f"Expected each of the {census.ids} ids of {source.location.given} once, found {scored.ids} scored and "
            f"{selection.unchanged.ids} unchanged that are not the same ids; nothing was published, run again or report this."
        )


def _label_changes(scored: DataFrame, present: DataFrame, bundle: Bundle) -> dict[str, dict[str, int]] | None:
    """Rows that another model had categorized, by its label and by the new one; None if there are none."""
    before = present.filter(F.col("model_version") != bundle.model_version)
    if before.isEmpty():
        return None
    after = with_category(scored.select("product_id", "text_hash", "score"), bundle, bundle.review_below)
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


def _record(started: float, source: Source, bundle: Bundle, plan: Plan, census: Census, state: TableState) -> dict[str, Any]:
    return {
        "run_id": run_id(started),
        "started_at": iso(started),
        "ended_at": iso(time.time()),
        "status": PUBLISHED,
        "source": source.location.uri,
        "source_version": source.version,
        "model_version": bundle.model_version,
        "mode": plan.mode,
        "engine": plan.engine,
        "rows_in": census.rows,
        "rows_rejected": census.rows_rejected,
        "rows_missing": None,
        "held_because": None,
        "settings": json.dumps(plan.settings, ensure_ascii=False),
    }


def _figures(scored: Sequence[Group], unchanged: Sequence[Group], good: Mapping[str, Any]) -> dict[str, Any]:
    """Counts of the scored rows; shares of all rows of the source, also of those that stay as they are."""
    groups = [*scored, *unchanged]
    shares, before = category_shares(groups), good.get("category_shares")
    return {
        "rows_scored": rows_in(scored),
        "rows_unchanged": rows_in(unchanged),
        "rows_review": rows_in(scored, REVIEW),
        "rows_unclassifiable": rows_in(scored, UNCLASSIFIABLE),
        "category_shares": shares,
        "mean_confidence": mean_confidence(groups),
        "review_share": review_share(groups),
        "out_of_vocabulary_share": out_of_vocabulary_share(scored),
        "drift": population_stability_index(before, shares) if before and shares else None,
    }


def _candidate(
    scored: DataFrame,
    present: DataFrame | None,
    source: Source,
    bundle: Bundle,
    plan: Plan,
    census: Census,
    record: dict[str, Any],
    identity: str,
    state: TableState,
) -> Candidate:
    rows = categorized_rows(scored, bundle, record["run_id"], plan.columns.carry).withColumn(VANISHED, F.lit(False))
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


def _append_rejects(
    spark: SparkSession, source: Source, tables: Tables, plan: Plan, census: Census, record: Mapping[str, Any]
) -> None:
    """Before the commit: a reader who goes by the ledger sees whole runs."""
    if census.rows_rejected:
        rejects = rejected_rows(source.frame, plan.columns, census)
        stamped = rejects.withColumns({"run_id": F.lit(record["run_id"]), "rejected_at": F.current_timestamp()})
        append(stamped.select(*REJECTED.names), tables.rejected)
    reached("rejected")


def _held(candidate: Candidate, tables: Tables, record: dict[str, Any], found: Sequence[str]) -> GuardrailError:
    """Keep the candidate beside the table, tell the ledger, and give the error to end with."""
    record |= {"status": HELD, "held_because": list(found), "ended_at": iso(time.time())}
    hold(candidate, tables)
    write_ledger(candidate.rows.sparkSession, tables, record)
    return GuardrailError(
        f"Expected a night like the last good one, found that {'; '.join(found)}; {tables.categorized.given} is as it was and the "
        f"candidate stands in {tables.held.given}: correct the source or the model and run again, or give --publish-anyway {record['run_id']}."
    )


def _load(candidate: Candidate, tables: Tables, record: dict[str, Any], released: bool = False) -> None:
    """The one commit that publishes, then the ledger."""
    reached("publishing")
    began = time.time()
    publish(candidate, tables)
    record["ended_at"] = iso(time.time())
    record["seconds"] = {**record["seconds"], "writing": time.time() - began}
    reached("recording")
    spark = candidate.rows.sparkSession
    write_ledger(spark, tables, record, replace=released)
    reached("recorded")
    if candidate.note["read_version"] % PACKED_EVERY == 0:
        for table in (tables.categorized, tables.rejected, tables.runs):
            pack_if_scattered(spark, table)


def release(spark: SparkSession, tables: Tables, held_run: str) -> Outcome:
    """Publish a run that the guardrails held back, as it was scored then.

    Raises:
        InputError: another run or none is held, or the table has moved on since; nothing was written.
    """
    commits = commits_of(spark, tables.categorized)
    published = commit_of_run(commits, held_run)
    if published:
        return Outcome(None, _recovered(spark, tables, published.run))
    candidate = held_candidate(spark, tables)
    if candidate is None or candidate.run_id != held_run:
        found = f"the run {candidate.run_id}" if candidate else "none"
        raise InputError(
            f"Expected the held run {held_run} in {tables.held.given}, found {found}; give --publish-anyway the run that is held, or run the night again."
        )
    read = candidate.note["read_version"]
    if any(commit.changes_rows for commit in commits if commit.version > read):
        raise InputError(
            f"Expected {tables.categorized.given} as the held run {held_run} had read it (version {read}), found later changes in it; run the night again."
        )
    record = {**candidate.note["run"], "status": PUBLISHED}
    _load(Candidate(candidate.rows, candidate.mode, candidate.missing, {**candidate.note, "run": record}), tables, record, True)
    return Outcome(record)


def _recovered(spark: SparkSession, tables: Tables, run: Mapping[str, Any]) -> str | None:
    """Write the ledger row of a run that was published and stopped before it could; its commit carries the row."""
    if not run or ledger_knows(spark, tables, str(run["run_id"]), str(run["status"])):
        return None
    create_tables(spark, tables, ())
    write_ledger(spark, tables, run, replace=True)
    return str(run["run_id"])
