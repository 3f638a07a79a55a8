"""The whole table against the whole source, however it came to be: what a run in the mode `full` would write differently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lib.identifiers import column
from lib.model.bundle import Bundle
from lib.model.engines import PROBABILITY_TOLERANCE
from lib.scoring.catalogue import catalogue_rows, of_ids, take_census
from lib.scoring.categories import NO_LABEL, constants, has_scores, is_unfamiliar, levels, with_category
from lib.scoring.plan import Outcome, Plan
from lib.scoring.scores import scores_kept
from lib.scoring.udf import with_scores
from lib.tables.commits import RESTORED, Commit, commit_of_run, commits_of
from lib.tables.locations import delta_table, rows_at
from lib.tables.run_record import RunRecord
from lib.tables.sources import Source
from lib.tables.target import Tables, ids_twice, with_added_columns
from schemas.tables import CATEGORIZED_STATUS, FATAL_TEXT, OF_LEVELS, REVIEW, UNCLASSIFIABLE

# Rows that are scored again. All rows are checked to follow from their own scores.
SCORED_AGAIN = 1000


@dataclass(frozen=True)
class Verified:
    """faults: what is wrong -> rows, and the id of one of them; empty where all rows are what source and bundle give."""

    rows: int
    scored_anew: int
    faults: Mapping[str, tuple[int, str]]

    def __str__(self) -> str:
        if not self.faults:
            return f"verified: {self.rows:,} rows are as source and bundle give them, {self.scored_anew:,} of them scored again"
        found = (f"{rows:,} rows {what} (such as {one!r})" for what, (rows, one) in self.faults.items())
        return ", ".join(found)


def verify(spark: SparkSession, source: Source, tables: Tables, bundle: Bundle, plan: Plan, outcome: Outcome) -> Verified:
    """Compare every row that the run has left in the table with what the source holds and what the bundle decides.

    Nothing of the run's own planning is used: neither what it considered unchanged, nor what it recorded.
    """
    commits = commits_of(spark, tables.categorized)
    published = commit_of_run(commits, outcome.record.run_id) if outcome.record else None
    version = published.version if published else commits[0].version
    table = with_added_columns(rows_at(spark, tables.categorized, version))
    run = _whose_rows(commits, version)
    unscored = _fatal(spark, tables, run.run_id if run else "")
    rows, fatal = of_ids(source.frame, plan.columns, unscored)
    most, census = bundle.tokenizer.settings.max_characters, take_census(rows, plan.columns)
    fresh = catalogue_rows(rows, plan.columns, most, census)
    # What the table holds under the ids of such texts is of an earlier run, whatever the source has.
    both = _side_by_side(fresh.drop("text"), table.filter(~F.col("product_id").isin(unscored)))
    faults = _counted(both, _faults_of_rows(bundle, plan))
    faults |= _counted(ids_twice(table), {"are in the table more than once": F.lit(True)})
    chosen = table.filter(F.col("model_version") == bundle.model_version).orderBy(F.xxhash64("product_id", "run_id"))
    chosen = chosen.limit(SCORED_AGAIN).select("product_id", "text_hash")
    faults |= _counted(
        _scored_again(fresh, chosen, table, bundle, plan), {"get another category or confidence now": _otherwise()}
    )
    if run:
        faults |= _in_other_tables(spark, tables, run.run_id, census.rows_rejected + fatal.count())
    return Verified(table.count(), chosen.count(), faults)


def _whose_rows(commits: Sequence[Commit], version: int) -> RunRecord | None:
    """The run that has written the rows of a version: not a rollback, which brings back those of another run. commits: newest first."""
    for commit in commits:
        if commit.version <= version and commit.run:
            restored = (commit.note or {}).get(RESTORED)
            if restored is None:
                return commit.run
            version = int(restored)
    return None


def _fatal(spark: SparkSession, tables: Tables, run: str) -> list[str]:
    """Ids that the run has rejected because the engine did not survive their texts: the table's rows for them are of an older text."""
    rejected = delta_table(spark, tables.rejected).toDF().filter((F.col("reason") == FATAL_TEXT) & (F.col("run_id") == run))
    return [row["product_id"] for row in rejected.select("product_id").distinct().collect()]


def _in_other_tables(spark: SparkSession, tables: Tables, run_id: str, rejected: int) -> dict[str, tuple[int, str]]:
    """What the other tables lack of the run. rejected: how many rows of the source cannot be in the table."""
    of_run = F.col("run_id") == run_id
    found = {}
    lacking = rejected - delta_table(spark, tables.rejected).toDF().filter(of_run).count()
    if lacking:
        more = "more" if lacking > 0 else "fewer"
        found[f"{more} are rejected than {tables.rejected.given} holds for the run"] = (abs(lacking), run_id)
    if delta_table(spark, tables.runs).toDF().filter(of_run).isEmpty():
        found[f"of runs are not in the ledger {tables.runs.given}"] = (1, run_id)
    return found


def _side_by_side(fresh: DataFrame, table: DataFrame) -> DataFrame:
    """Source and table by id, each as one column: `fresh` and `row`, null where one of them has no such id."""
    fresh = fresh.select("product_id", F.struct(*map(column, fresh.columns)).alias("fresh"))
    return fresh.join(
        table.select("product_id", F.struct(*map(column, table.columns)).alias("row")), "product_id", "full_outer"
    )


def _faults_of_rows(bundle: Bundle, plan: Plan) -> dict[str, Column]:
    there, known = F.col("fresh").isNotNull(), F.col("row").isNotNull()
    same = F.col("fresh.text_hash").eqNullSafe(F.col("row.text_hash"))
    for name in plan.columns.carry:
        same = same & column(name, of="fresh").eqNullSafe(column(name, of="row"))
    gone = {
        "keep": F.lit(False),
        "mark": F.col("row.missing_since").isNull(),
        "delete": F.lit(True),
    }[plan.missing]
    ours = there & known & (F.col("row.model_version") == bundle.model_version)
    return {
        "of the source are not in the table": there & ~known,
        "have another text or other carried values than in the source": there & known & ~same,
        "were scored by another model": there & known & (F.col("row.model_version") != bundle.model_version),
        "are in the source and marked as missing": there & F.col("row.missing_since").isNotNull(),
        "are no longer in the source": known & ~there & gone,
        "have a category, status or confidence that does not follow from their scores": ours & ~_follows(bundle, plan),
    }


def _follows(bundle: Bundle, plan: Plan) -> Column:
    """Whether category, confidence and status are those of the row's own scores, under the bundle's thresholds.

    A row that keeps no scores cannot contradict them; that it keeps as many as the plan asks for is checked too.
    """
    scores, confidence, known = F.col("row.scores"), F.col("row.confidence"), F.col("row.category").isNotNull()
    best = F.array_max(F.map_values(scores))
    labels, thresholds = constants(bundle.labels), constants(bundle.review_below, "double")
    unsure = confidence < F.get(thresholds, F.array_position(labels, F.col("row.category")) - 1).cast("float")
    review = unsure | is_unfamiliar(plan.unfamiliar, "row.unfamiliarity")
    status = F.when(~known, UNCLASSIFIABLE).when(review, REVIEW).otherwise(CATEGORIZED_STATUS)
    decided = scores.isNull() | ((confidence == best) & (F.element_at(scores, F.col("row.category")) == best))
    kept = has_scores(scores_kept(plan.scores, len(bundle.labels)), "row.scores", "row.category")
    place = F.coalesce(F.array_position(labels, F.col("row.category")) - 1, F.lit(NO_LABEL)).cast("int")
    paths = levels(bundle, place, F.col("row.level_confidence"))
    same = reduce(and_, [paths[name].eqNullSafe(F.col(f"row.{name}")) for name in OF_LEVELS])
    return F.coalesce(decided & kept & same & (scores.isNull() | known) & (status == F.col("row.status")), F.lit(False))


def _scored_again(fresh: DataFrame, chosen: DataFrame, table: DataFrame, bundle: Bundle, plan: Plan) -> DataFrame:
    """The chosen rows as `fresh`, scored now, and `row`, as the table holds them; without those whose text has changed since."""
    texts = fresh.join(chosen.hint("broadcast"), ["product_id", "text_hash"], "left_semi").select(
        "product_id", "text", "text_hash"
    )
    again = with_category(with_scores(texts, bundle, plan.engine, kept=0), bundle, bundle.review_below, plan.unfamiliar)
    stored = table.join(chosen.hint("broadcast"), "product_id", "left_semi")
    names = ("category", "confidence", "runner_up_confidence")
    return again.select("product_id", F.struct(*names).alias("fresh")).join(
        stored.select("product_id", F.struct(*names).alias("row")), "product_id"
    )


def _otherwise() -> Column:
    """Whether a row gets another category or confidence; near a tie another engine may choose the other label."""
    moved = F.abs(F.col("fresh.confidence") - F.col("row.confidence")) > PROBABILITY_TOLERANCE
    tie = F.col("row.confidence") - F.col("row.runner_up_confidence") < PROBABILITY_TOLERANCE
    other = ~F.col("fresh.category").eqNullSafe(F.col("row.category")) & ~F.coalesce(tie, F.lit(False))
    return F.coalesce(moved, F.lit(False)) | other


def _counted(rows: DataFrame, faults: Mapping[str, Column]) -> dict[str, tuple[int, str]]:
    """For each fault, how many rows have it and the least id among them; without those that no row has."""
    counts = [
        one
        for fault in faults.values()
        for one in (F.count_if(F.coalesce(fault, F.lit(False))), F.min(F.when(fault, F.col("product_id"))))
    ]
    found = rows.agg(*counts).collect()[0]
    return {what: (found[2 * i], str(found[2 * i + 1])) for i, what in enumerate(faults) if found[2 * i]}
