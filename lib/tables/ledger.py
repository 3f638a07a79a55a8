"""The ledger `runs`: reads and writes it, and adds the rows of runs that stopped before they could."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema

from lib.pairs.offered import frame_of
from lib.tables.commits import commits_of, noted, read_state
from lib.tables.locations import delta_table, files_and_bytes, is_delta
from lib.tables.run_record import RunRecord
from lib.tables.target import Tables, create_tables, save
from schemas.tables import HELD, PUBLISHED, RUNS

# This many commits nearly always include the last run; reading them costs less than a query over the ledger's files.
MOST_LEDGER_COMMITS = 8
# Where the ledger lacks this many of the newest runs, runs were not stopped: rows of it were lost, and all runs are looked up.
MOST_STOPPED = 8


@dataclass(frozen=True)
class Recovered:
    """Runs whose rows the ledger lacked, and has now: how many, and the id of the newest."""

    runs: int
    newest: str

    def __str__(self) -> str:
        if self.runs == 1:
            return f"the run {self.newest} too, whose row it lacked"
        return f"{self.runs:,} runs too, whose rows it lacked; the newest is {self.newest}"


def ledger_knows(spark: SparkSession, tables: Tables, run_id: str, *statuses: str) -> bool:
    """Whether the ledger has a run with one of these statuses: by the notes of its newest commits, which nearly always decide, else by its rows."""
    commits = commits_of(spark, tables.runs, MOST_LEDGER_COMMITS)
    if not commits:
        return False
    # After a change by another writer a row may be gone although the history records that it was written.
    ours = takewhile(bool, (commit.run for commit in commits if commit.changes_rows))
    if any(run and run.run_id == run_id and run.status in statuses for run in ours):
        return True
    rows = delta_table(spark, tables.runs).toDF().filter((F.col("run_id") == run_id) & F.col("status").isin(*statuses))
    return not rows.isEmpty()


def all_runs(spark: SparkSession, tables: Tables) -> list[RunRecord]:
    """Every run of the ledger, newest first; none if there is no ledger."""
    return _newest_first(delta_table(spark, tables.runs).toDF()) if is_delta(spark, tables.runs) else []


def published_runs(spark: SparkSession, tables: Tables, most: int, before: str | None = None) -> list[RunRecord]:
    """The newest runs that published rows, newest first; of a day's rounds of a stream only the newest, and those that a person has released.

    None if there is no ledger.

    Args:
        before: only runs that started before this time, as a record stores it.
    """
    # A first run has just made an empty one.
    if not is_delta(spark, tables.runs) or not files_and_bytes(spark, tables.runs)[0]:
        return []
    rows = _published(spark, tables)
    if before is not None:
        rows = rows.filter(F.col("started_at") < F.lit(datetime.fromisoformat(before)))
    # The same as RunRecord.is_round.
    is_round = F.coalesce(F.get_json_object("settings", "$.mode") == "stream", F.lit(False))
    # A ledger of an earlier version lacks the column.
    released = F.col("held_because").isNotNull() if "held_because" in rows.columns else F.lit(False)
    day = Window.partitionBy(F.to_date("started_at"), is_round).orderBy(F.col("started_at").desc())
    chosen = (
        rows.withColumn("place", F.row_number().over(day)).filter(~is_round | (F.col("place") == 1) | released).drop("place")
    )
    return _newest_first(chosen, most)


def runs_published(spark: SparkSession, tables: Tables) -> int:
    """How many runs of the ledger published rows."""
    return _published(spark, tables).count()


def _published(spark: SparkSession, tables: Tables) -> DataFrame:
    return delta_table(spark, tables.runs).toDF().filter((F.col("status") == PUBLISHED) & (F.col("rows_in") > 0))


def _newest_first(rows: DataFrame, most: int | None = None) -> list[RunRecord]:
    rows = rows.orderBy(F.col("started_at").desc())
    found = (rows if most is None else rows.limit(most)).collect()
    return [run for row in found if (run := RunRecord.of(row.asDict(recursive=True)))]


def write_ledger(spark: SparkSession, tables: Tables, run: RunRecord, replace: bool = False) -> None:
    """Put a run into `runs`.

    Args:
        replace: the ledger may have the run already; its row is then replaced.
    """
    row = _rows(spark, [run])
    with noted(spark, _note(run)):
        if replace:
            _replace(spark, tables, row)
        else:
            # A ledger of an older release gets the columns that it lacks.
            save(row.write.format("delta").mode("append").option("mergeSchema", True), tables.runs)


def _rows(spark: SparkSession, runs: Sequence[RunRecord]) -> DataFrame:
    values = [run.values() for run in runs]
    for one in values:
        one |= {name: datetime.fromisoformat(one[name]) for name in ("started_at", "ended_at")}
    # Through Arrow: for plain Python rows Spark starts Python workers, and a job.
    return frame_of(spark, pa.Table.from_pylist(values, to_arrow_schema(RUNS)), RUNS)


def _note(run: RunRecord) -> dict[str, object]:
    return {"run": {"run_id": run.run_id, "status": run.status}}


def _replace(spark: SparkSession, tables: Tables, rows: DataFrame) -> None:
    merge = delta_table(spark, tables.runs).alias("present").merge(rows.alias("run"), "present.run_id = run.run_id")
    merge.withSchemaEvolution().whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()


def recover(spark: SparkSession, tables: Tables, runs: Sequence[RunRecord]) -> Recovered | None:
    """Write the ledger rows of runs that published and stopped before they could write them; their commits carry the rows.

    Args:
        runs: all of the table's history, newest first. The search ends at the first run that the ledger has: whatever wrote that
            row has also written the missing rows before it. If it has none of MOST_STOPPED, all are looked up.
    """
    lost = list(takewhile(lambda run: not ledger_knows(spark, tables, run.run_id, run.status), runs[:MOST_STOPPED]))
    if not lost:
        return None
    create_tables(spark, tables, ())
    if len(lost) == MOST_STOPPED:
        rows = delta_table(spark, tables.runs).toDF().select("run_id", "status").collect()
        known = {(row["run_id"], row["status"]) for row in rows}
        lost = [run for run in runs if (run.run_id, run.status) not in known]
    # In one commit; of two that a run may have, the newer record counts.
    with noted(spark, _note(lost[0])):
        _replace(spark, tables, _rows(spark, [*{run.run_id: run for run in reversed(lost)}.values()]))
    return Recovered(len(lost), lost[0].run_id)


def mend_held(spark: SparkSession, tables: Tables, run: RunRecord) -> None:
    """Add the row of a run that was held back and stopped before it could."""
    if not ledger_knows(spark, tables, run.run_id, HELD, PUBLISHED):
        create_tables(spark, tables, ())
        write_ledger(spark, tables, run, replace=True)


def mend_ledger(spark: SparkSession, tables: Tables, dry_run: bool = False) -> None:
    """Add the rows of runs that stopped before they could, before a job adds to the table's history."""
    if not dry_run:
        recover(spark, tables, read_state(spark, tables.categorized).runs)
