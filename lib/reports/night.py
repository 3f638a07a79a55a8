"""What a report shows of one run, gathered from the ledger, the table's history, and the rows as the run left them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lib.errors import InputError
from lib.identifiers import column
from lib.scoring.guardrails import SINCE_RELEASE, Measure, Yardstick, limits_of, measures, yardsticks
from lib.scoring.record import renames_of
from lib.tables.commits import Commit, commit_of_run, commits_of, state_of
from lib.tables.ledger import all_runs, mend_ledger
from lib.tables.locations import delta_table, files_are_gone, is_delta, rows_at
from lib.tables.publish import Candidate, changed_since, held_candidate
from lib.tables.run_record import RunRecord
from lib.tables.target import VANISHED, Tables, check_categorized
from schemas.tables import HELD, PUBLISHED, ROLLED_BACK

# Bins of a confidence, from 0 to 1.
BINS = 20
MOST_UNSURE = 20
MOST_EXAMPLES = 3
MOST_CARRIED = 2


@dataclass(frozen=True)
class Rejects:
    """Rows that were rejected for one reason. examples: a few of their ids."""

    reason: str
    rows: int
    examples: Sequence[str | None]


@dataclass(frozen=True)
class Rows:
    """What the rows show that the run has left, or would have left.

    confidences: by status, the rows in each of BINS equal steps of the confidence; unsure: the least sure rows, as the columns
    product_id, some that are carried along, category, confidence, runner_up, runner_up_confidence, status and reason.
    """

    confidences: Mapping[str, Sequence[int]]
    unsure: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Night:
    """A run and what it is compared with.

    good: what it was compared with; measures: that of each figure; rows: None where their files are gone; runs: all of the ledger,
    newest first; target: as the user named it; is_releasable: it is held, and --publish-anyway would publish it.
    """

    target: str
    run: RunRecord
    good: Yardstick
    measures: Sequence[Measure]
    rows: Rows | None
    rejects: Sequence[Rejects]
    runs: Sequence[RunRecord]
    is_releasable: bool


def night_of(spark: SparkSession, tables: Tables, run_id: str | None = None, reads_only: bool = False) -> Night:
    """A run of the ledger, by default the newest.

    Args:
        reads_only: a run that stopped before it wrote its row to the ledger stays without one.
    Raises:
        InputError: no table of categorized products, no ledger, or no such run in it.
    """
    check_categorized(spark, tables.categorized)
    mend_ledger(spark, tables, dry_run=reads_only)
    runs = all_runs(spark, tables)
    run = next((run for run in runs if run_id in (None, run.run_id)), None)
    if run is None:
        known = ", ".join(one.run_id for one in runs)[:500] or "none"
        raise InputError(
            f"Expected a run of the ledger {tables.runs.given}, found {run_id or 'none'} (there are: {known}); correct --run."
        )
    commits = commits_of(spark, tables.categorized)
    settings = run.options
    limits = limits_of(settings)
    held = _held(spark, tables, run)
    before = _good_before(run, held, runs, commits)
    good = _compared_with(run, yardsticks(before, limits, renames_of(run.relabelled, before)))
    measured = [] if run.status == ROLLED_BACK else measures(run, good, limits)
    told = _told(spark, tables, run, held, commits, settings.get("carry") or ())
    rejects = _rejects(spark, tables, run)
    # Where its rows are gone, nothing is told of them.
    is_releasable = held is not None and told is not None and not changed_since(commits, int(held.note["read_version"]))
    return Night(tables.categorized.given, run, good, measured, told, rejects, runs, is_releasable)


def _compared_with(run: RunRecord, good: Sequence[Yardstick]) -> Yardstick:
    since = bool((run.guarded or {}).get(SINCE_RELEASE))
    return next((one for one in good if one.is_since_release == since), good[0])


def _held(spark: SparkSession, tables: Tables, run: RunRecord) -> Candidate | None:
    """What was held of the run, if it is still next to the table."""
    held = held_candidate(spark, tables) if run.status == HELD else None
    return held if held and held.run.run_id == run.run_id else None


def _good_before(
    run: RunRecord, held: Candidate | None, runs: Sequence[RunRecord], commits: Sequence[Commit]
) -> Sequence[RunRecord]:
    """The good runs that it was compared with: those of the history that it had read, or, where that is gone, the ledger's earlier ones."""
    planned = held or commit_of_run(commits, run.run_id)
    note = planned.note if planned else None
    read = (note or {}).get("read_version")
    before = [commit for commit in commits if read is not None and commit.version <= int(read)]
    return state_of(before).good or [
        one for one in runs if one.status == PUBLISHED and one.rows_in and one.started_at < run.started_at
    ]


def _rows(
    spark: SparkSession, tables: Tables, run: RunRecord, held: Candidate | None, commits: Sequence[Commit]
) -> DataFrame | None:
    if held:
        return held.rows.filter(f"NOT {VANISHED}")
    commit = commit_of_run(commits, run.run_id)
    return rows_at(spark, tables.categorized, commit.version) if commit else None


def _told(
    spark: SparkSession,
    tables: Tables,
    run: RunRecord,
    held: Candidate | None,
    commits: Sequence[Commit],
    carried: Sequence[str],
) -> Rows | None:
    try:
        rows = _rows(spark, tables, run, held, commits)
        return None if rows is None else Rows(_confidences(rows), _unsure(rows, carried))
    except Exception as error:
        if files_are_gone(error):
            return None
        raise


def _confidences(rows: DataFrame) -> Mapping[str, Sequence[int]]:
    step = F.least(F.floor(F.col("confidence") * BINS), F.lit(BINS - 1)).cast("int")
    counted = rows.filter("confidence IS NOT NULL").groupBy("status", step.alias("step")).count().collect()
    found: dict[str, list[int]] = {}
    for row in sorted(counted, key=lambda row: row["status"]):
        found.setdefault(row["status"], [0] * BINS)[row["step"]] = row["count"]
    return found


def _unsure(rows: DataFrame, carried: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    there = {name.lower() for name in rows.columns}
    names = [name for name in carried if name.lower() in there][:MOST_CARRIED]
    told = ["category", "confidence", "runner_up", "runner_up_confidence", "status", "reason"]
    chosen = rows.select("product_id", *[column(name).cast("string").alias(name) for name in names], *told)
    least = chosen.filter("confidence IS NOT NULL").orderBy("confidence", "product_id").limit(MOST_UNSURE)
    return [row.asDict() for row in least.collect()]


def _rejects(spark: SparkSession, tables: Tables, run: RunRecord) -> Sequence[Rejects]:
    if not is_delta(spark, tables.rejected):
        return []
    rows = delta_table(spark, tables.rejected).toDF()
    examples = F.slice(F.array_sort(F.collect_set("product_id")), 1, MOST_EXAMPLES)
    counted = (
        rows.filter(F.col("run_id") == run.run_id).groupBy("reason").agg(F.count("*").alias("rows"), examples.alias("ids"))
    )
    return [Rejects(row["reason"], row["rows"], row["ids"]) for row in counted.orderBy(F.desc("rows"), "reason").collect()]
