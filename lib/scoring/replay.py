"""A row of the table derived again from what the ledger names: the source's version, the bundle, the settings of its run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from lib.errors import BundleError, InputError
from lib.model.bundle import Bundle
from lib.model.engines import PROBABILITY_TOLERANCE, checked_engine
from lib.model.fields import columns_and_markers
from lib.scoring.bundles import bundle_at, is_there
from lib.scoring.catalogue import CatalogueColumns, catalogue_rows, take_census, usable_id
from lib.scoring.categories import categorized_rows
from lib.scoring.scores import ALL, scores_kept
from lib.scoring.udf import with_scores
from lib.tables.commits import Commit, commit_of_run, commits_of
from lib.tables.formats import ReadOptions
from lib.tables.locations import delta_table, files_are_gone, is_delta, locate, newest_snapshot, rows_at
from lib.tables.run_record import RunRecord
from lib.tables.sources import Source, at_version, read_source
from lib.tables.target import Tables, check_categorized
from schemas.tables import CATEGORIZED, HELD, ROLLED_BACK

# Columns that say when a row was written, not what it is.
STAMPS = frozenset({"run_id", "scored_at", "missing_since"})
# An unfamiliarity is a rank, which moves further than a probability.
RANK_TOLERANCE = 10 * PROBABILITY_TOLERANCE


@dataclass(frozen=True)
class Replay:
    """What the table holds, and what results from the ledger's source, bundle and settings, by column; None where no row results.

    run: the ledger's record of the run that is replayed. source_changed: how it shows that the source is no longer what the run had read.
    """

    product_id: str
    run: RunRecord
    stands: Mapping[str, Any]
    derived: Mapping[str, Any] | None
    source_changed: str | None

    @property
    def differs(self) -> list[str]:
        """The columns in which the two differ."""
        if self.derived is None:
            return list(self.stands)
        return [name for name, value in self.stands.items() if not _same(name, value, self.derived[name])]

    def record(self) -> dict[str, Any]:
        """For JSON."""
        ran = {name: getattr(self.run, name) for name in ("run_id", "source", "source_version", "model_version", "engine")}
        return {
            "product_id": self.product_id,
            **ran,
            "source_changed": self.source_changed,
            "stands": dict(self.stands),
            "derived": self.derived and dict(self.derived),
            "differs": self.differs,
        }


def replay(
    spark: SparkSession,
    tables: Tables,
    product_id: str,
    run_id: str | None = None,
    source: str | None = None,
    model: str | None = None,
    engine: str = "auto",
) -> Replay:
    """Derive one row again.

    Args:
        run_id: the run whose row is derived, as it was when that run was published; by default today's row, and the
            run that has scored it.
        source, model: where these are now, if not where the run found them.
    Raises:
        InputError: no such row, run, source or bundle.
        BundleError: the bundle is damaged, or decides differently from that of the run.
    """
    check_categorized(spark, tables.categorized)
    commits = commits_of(spark, tables.categorized)
    stands = _row(spark, tables, product_id, commits, run_id)
    run, commit = _run(spark, tables, commits, run_id or str(stands["run_id"]))
    if run.status == ROLLED_BACK:
        raise InputError(
            f"Expected a published run in --run, found {run.run_id}, which is a rollback; give the run whose rows it brought back, or leave "
            "--run out."
        )
    settings = run.options
    bundle = _bundle(run, model or settings["model"], commit)
    columns = _columns(settings, bundle)
    read, changed = _source(spark, run, source, settings, columns)
    derived = _derived(read, columns, bundle, engine, product_id, settings)
    if derived is None and changed is None and str(stands["run_id"]) != run.run_id:
        raise InputError(
            f"Expected the id {product_id!r} in the source of the run {run.run_id}, found none: that run kept the row, which the run "
            f"{stands['run_id']} had written; give that one to --run, or leave --run out."
        )
    # The table keeps the spelling that a column had when it was first carried.
    carried = {name.lower(): name for name in columns.carry}
    names = [name for name in stands if name not in STAMPS and (name in CATEGORIZED.names or name.lower() in carried)]
    row = derived and {name: derived[name if name in CATEGORIZED.names else carried[name.lower()]] for name in names}
    return Replay(product_id, run, {name: stands[name] for name in names}, row, changed)


def replay_text(found: Replay) -> str:
    """A line for each column, and whether both are the same."""
    lines = [
        f"{found.product_id} under the run {found.run.run_id}: {found.run.source} ({found.run.source_version}), "
        f"{found.run.model_version}"
    ]
    if found.source_changed:
        lines.append(f"  {found.source_changed}: derived from what is there now")
    if found.derived is None:
        return "\n".join([*lines, "  the source holds no such id; the row of the table cannot be derived from it"])
    rows = [("", "in the table", "derived again")]
    rows += [(name, _shown(value), _shown(found.derived[name])) for name, value in found.stands.items() if name != "scores"]
    widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
    differs = set(found.differs)
    lines += [
        f"{'! ' if name in differs else '  '}{name:{widths[0]}}  {stands:{widths[1]}}  {derived}"
        for name, stands, derived in rows
    ]
    return "\n".join([*lines, f"they differ in {', '.join(found.differs)}" if differs else "both are the same"])


def _row(spark: SparkSession, tables: Tables, product_id: str, commits: list[Commit], run_id: str | None) -> dict[str, Any]:
    version = commits[0].version
    if run_id is not None:
        published = commit_of_run(commits, run_id)
        if published is None:
            raise InputError(
                f"Expected a run that was published to {tables.categorized.given}, found no {run_id!r} in its history; correct --run."
            )
        version = published.version
    rows = _rows_of_version(spark, tables, version, product_id)
    if len(rows) == 1:
        return dict(rows[0].asDict(recursive=True))
    found = f"{len(rows)} rows" if rows else f"none{_rejected(spark, tables, product_id)}"
    raise InputError(
        f"Expected one row of the id {product_id!r} in version {version} of {tables.categorized.given}, found {found}; correct --id."
    )


def _rows_of_version(spark: SparkSession, tables: Tables, version: int, product_id: str) -> list[Row]:
    try:
        return rows_at(spark, tables.categorized, version).filter(F.col("product_id") == product_id).collect()
    except Exception as error:
        # In today's version a missing file is damage; in older ones VACUUM has removed it.
        if not files_are_gone(error) or version == newest_snapshot(spark, tables.categorized).version():
            raise
        raise InputError(
            f"Expected the files of version {version} of {tables.categorized.given}, found some gone (vacuumed); give a younger --run, or "
            "leave it out for the row of today."
        ) from None


def _rejected(spark: SparkSession, tables: Tables, product_id: str) -> str:
    if not is_delta(spark, tables.rejected):
        return ""
    rows = delta_table(spark, tables.rejected).toDF().filter(F.col("product_id") == product_id)
    newest = rows.orderBy(F.col("rejected_at").desc()).head()
    return f" (rejected by the run {newest['run_id']}: {newest['reason']})" if newest else ""


def _run(spark: SparkSession, tables: Tables, commits: list[Commit], run_id: str) -> tuple[RunRecord, Commit | None]:
    """The run's row in the ledger, or, where that is lost, the one in its commit; and that commit, as far as the history goes back."""
    commit = commit_of_run(commits, run_id)
    if is_delta(spark, tables.runs):
        rows = delta_table(spark, tables.runs).toDF().filter((F.col("run_id") == run_id) & (F.col("status") != HELD))
        row = rows.head()
        found = row and RunRecord.of(row.asDict(recursive=True))
        if found:
            return found, commit
    if commit is None or commit.run is None:
        raise InputError(
            f"Expected the run {run_id} in the ledger {tables.runs.given}, found it neither there nor in the table's history; "
            "its row cannot be derived again."
        )
    return commit.run, commit


def _bundle(run: RunRecord, model: str, commit: Commit | None) -> Bundle:
    version = run.model_version
    of_version = f"{model.rstrip('/')}/{version.rpartition('/')[2]}"
    bundle = bundle_at(of_version if is_there(of_version) else model)
    decisions = (commit.note or {}).get("decisions") if commit else None
    if bundle.model_version != version or (decisions or bundle.decisions) != bundle.decisions:
        found = bundle.model_version if bundle.model_version != version else "another of that name"
        raise BundleError(
            f"Expected the bundle {version} of the run {run.run_id} at {model}, found {found}; give its place with --model."
        )
    return bundle


def _columns(settings: Mapping[str, Any], bundle: Bundle) -> CatalogueColumns:
    text, markers = columns_and_markers(settings["text_columns"], bundle.tokenizer.settings.fields)
    return CatalogueColumns(settings["id_column"], text, tuple(settings["carry"]), settings["order_by"], markers)


def _source(
    spark: SparkSession, run: RunRecord, place: str | None, settings: Mapping[str, Any], columns: CatalogueColumns
) -> tuple[Source, str | None]:
    """The source as the run has read it; otherwise as it is now, and how that shows."""
    reading = ReadOptions.of(settings, columns.all, columns.carried)
    source = read_source(spark, locate(spark, place or run.source), reading)
    then = at_version(source, run.source_version)
    if then is not None:
        return then, None
    return source, f"the source was {run.source_version} then and is {source.version} now"


def _derived(
    source: Source, columns: CatalogueColumns, bundle: Bundle, engine: str, product_id: str, settings: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Score only this id, as `categorize` would."""
    rows = source.frame.filter(usable_id(columns) == product_id)
    most = bundle.tokenizer.settings.max_characters
    texts: DataFrame = catalogue_rows(rows, columns, most, take_census(rows, columns))
    # Before this setting existed, every row kept the scores of all labels.
    kept = scores_kept(settings.get("scores", ALL), len(bundle.labels))
    scored = with_scores(texts, bundle, checked_engine(engine, bundle).name, kept=kept)
    found = categorized_rows(scored, bundle, "", columns.carry, settings.get("unfamiliar")).collect()
    return dict(found[0].asDict(recursive=True)) if found else None


def _same(name: str, one: Any, other: Any) -> bool:
    tolerance = RANK_TOLERANCE if name == "unfamiliarity" else PROBABILITY_TOLERANCE
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(name, value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list) and name in CATEGORIZED.names:
        return len(one) == len(other) and all(_same(name, *pair) for pair in zip(one, other, strict=True))
    if isinstance(one, float) and isinstance(other, float) and name in CATEGORIZED.names:
        return math.isclose(one, other, rel_tol=0, abs_tol=tolerance)
    # A carried NaN is the same as another.
    return bool(one == other) or (one != one and other != other)


def _shown(value: Any) -> str:
    text = f"{value:.4f}" if isinstance(value, float) else "null" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
