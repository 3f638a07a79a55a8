"""The nightly run: from a pinned source and a verified bundle to one published commit, or to nothing at all."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import AtomicType, StructField

from lib.bundle import Bundle
from lib.errors import GuardrailError, InputError
from lib.locations import storage_uri
from lib.metrics import population_stability_index
from lib.names import column
from lib.rows import CatalogueColumns, Census, IdCount, digest_of_ids, rejected_rows, take_census
from lib.scoring import Clock, categorized_rows, with_category, with_scores
from lib.selection import Selection, select_all, select_changed
from lib.sources import ID_TYPES, Source, require_columns, require_text
from lib.tables import Tables, append, check_targets, create_tables, has_run, last_run, publish, write_ledger
from schemas.tables import CATEGORIZED, REJECTED, REVIEW, UNCLASSIFIABLE

MODES = ("incremental", "full")


@dataclass(frozen=True)
class Plan:
    """All that decides what a run does; the same plan on the same source version gives the same rows."""

    columns: CatalogueColumns
    mode: str
    engine: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What a run did. `record` is its row in the ledger; None if there was nothing to do."""

    record: Mapping[str, Any] | None
    recovered_run: str | None = None


def categorize(spark: SparkSession, source: Source, tables: Tables, bundle: Bundle, plan: Plan) -> Outcome:
    """Score what is new, publish it in one commit, and write the ledger last.

    Raises:
        InputError: the source or a target does not fit; nothing was written.
        GuardrailError: the rows do not add up; the table is as it was.
    """
    carried = check_input(spark, source, tables, plan)
    check_targets(spark, tables, carried, replaces=plan.mode == "full")
    identity = identity_of(source, bundle, plan)
    previous = last_run(spark, tables)
    if previous and previous.get("identity") == identity:
        return Outcome(None, _recovered(spark, tables, previous))
    started = time.time()
    census = take_census(source.frame, plan.columns)
    if census.rows == 0:
        raise InputError(f"Expected rows in {source.location.given}, found none; wait for the delivery, or correct --source.")
    create_tables(spark, tables, carried)
    present = spark.table(tables.categorized.sql)
    selection = _select(source, present, bundle, plan, census)
    selected = time.time()
    clock = Clock(spark.sparkContext)
    scored = with_scores(selection.rows, bundle, plan.engine, clock=clock).persist(StorageLevel.DISK_ONLY)
    try:
        counts, ids = count_scored(scored, bundle)
        counts["seconds"] = {"counting": selected - started, "scoring": time.time() - selected, **clock.seconds}
        counts["rows_per_second"] = counts["rows_scored"] / max(time.time() - started, 1e-9)
        _reconcile(ids, selection, census, source)
        record = _record(started, source, bundle, plan, census, counts, previous)
        _load(scored, source, tables, bundle, plan, census, record, identity)
    finally:
        scored.unpersist()
    return Outcome(record)


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
    parts = [source.location.uri, source.version, bundle.digest, repr(plan.columns)]
    if source.version == "unversioned":
        parts.append(uuid.uuid4().hex)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _select(source: Source, present: DataFrame, bundle: Bundle, plan: Plan, census: Census) -> Selection:
    most = bundle.tokenizer.settings.max_characters
    if plan.mode == "incremental":
        known = present.filter(F.col("model_version") == bundle.model_version)
        known = known.select("product_id", "text_hash", *[column(name) for name in plan.columns.carry])
        if not known.isEmpty():
            return select_changed(source, plan.columns, most, census, known)
    return select_all(source, plan.columns, most, census)


def count_scored(scored: DataFrame, bundle: Bundle) -> tuple[dict[str, Any], IdCount]:
    """What the ledger tells of the scored rows, from the pass that scores them."""
    tokens = {"token_count": F.col("score.tokens"), "unknown_count": F.col("score.unknown_tokens")}
    groups = (
        with_category(scored.select("product_id", "text_hash", "score").withColumns(tokens), bundle, bundle.review_below)
        .groupBy("category", "status")
        .agg(
            F.count("*").alias("rows"),
            F.sum("confidence").alias("confidence"),
            F.sum("token_count").alias("tokens"),
            F.sum("unknown_count").alias("unknown"),
            digest_of_ids().alias("digest"),
        )
        .collect()
    )

    def total(name: str, status: str | None = None) -> float:
        return sum(row[name] or 0 for row in groups if status in (None, row["status"]))

    classified = total("rows") - total("rows", UNCLASSIFIABLE)
    shares: dict[str, float] = {}
    for row in groups:
        if row["category"] is not None:
            shares[row["category"]] = shares.get(row["category"], 0.0) + row["rows"] / classified
    ids = sum((IdCount(row["rows"], row["digest"]) for row in groups), IdCount(0, 0))
    counts = {
        "rows_scored": int(total("rows")),
        "rows_review": int(total("rows", REVIEW)),
        "rows_unclassifiable": int(total("rows", UNCLASSIFIABLE)),
        "category_shares": dict(sorted(shares.items())),
        "mean_confidence": total("confidence") / classified if classified else None,
        "out_of_vocabulary_share": total("unknown") / total("tokens") if total("tokens") else None,
    }
    return counts, ids


def _reconcile(scored: IdCount, selection: Selection, census: Census, source: Source) -> None:
    """Before the commit: every id of the source is scored now or stands in the table under this model, and none twice."""
    found = scored + selection.unchanged
    if found != census.all_ids:
        raise GuardrailError(
            f"Expected each of the {census.ids} ids of {source.location.given} once, found {scored.ids} scored and "
            f"{selection.unchanged.ids} unchanged that are not the same ids; nothing was published, run again or report this."
        )


def _record(
    started: float,
    source: Source,
    bundle: Bundle,
    plan: Plan,
    census: Census,
    counts: Mapping[str, Any],
    previous: Mapping[str, Any] | None,
) -> dict[str, Any]:
    before = (previous or {}).get("run", {}).get("category_shares")
    drift = population_stability_index(before, counts["category_shares"]) if before and counts["category_shares"] else None
    return {
        "run_id": f"{_iso(started)[:19].replace(':', '')}Z-{uuid.uuid4().hex[:8]}",
        "started_at": _iso(started),
        "ended_at": _iso(time.time()),
        "status": "published",
        "source": source.location.uri,
        "source_version": source.version,
        "model_version": bundle.model_version,
        "mode": plan.mode,
        "engine": plan.engine,
        "rows_in": census.rows,
        "rows_unchanged": census.ids - counts["rows_scored"],
        "rows_rejected": census.rows_rejected,
        "drift": drift,
        "settings": json.dumps(plan.settings, ensure_ascii=False),
        **counts,
    }


def _load(
    scored: DataFrame,
    source: Source,
    tables: Tables,
    bundle: Bundle,
    plan: Plan,
    census: Census,
    record: dict[str, Any],
    identity: str,
) -> None:
    """Rejects first, then the one commit that publishes, then the ledger: a reader who goes by the ledger sees whole runs."""
    spark = scored.sparkSession
    if census.rows_rejected:
        rejects = rejected_rows(source.frame, plan.columns, census)
        stamped = rejects.withColumns({"run_id": F.lit(record["run_id"]), "rejected_at": F.current_timestamp()})
        append(stamped.select(*REJECTED.names), tables.rejected)
    rows = categorized_rows(scored, bundle, record["run_id"], plan.columns.carry)
    mode = plan.mode if record["rows_scored"] or plan.mode == "full" else "note"
    if mode == "incremental" and spark.table(tables.categorized.sql).isEmpty():
        # Nothing to merge with. Unlike an append, an overwrite fails if another run has put rows there meanwhile.
        mode = "full"
    began = time.time()
    publish(rows, tables, mode, {"identity": identity, "run": record})
    record["ended_at"] = _iso(time.time())
    record["seconds"]["writing"] = time.time() - began
    write_ledger(spark, tables, record)


def _recovered(spark: SparkSession, tables: Tables, previous: Mapping[str, Any]) -> str | None:
    """Write the ledger row of a run that was published and stopped before it could; its commit carries the row."""
    run = previous.get("run")
    if not isinstance(run, dict) or has_run(spark, tables, str(run.get("run_id"))):
        return None
    write_ledger(spark, tables, run)
    return str(run["run_id"])


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat()
