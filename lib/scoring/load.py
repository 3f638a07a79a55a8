"""From a candidate to the tables: rejects, the commit, the ledger; or the side table, if it is held back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lib.errors import GuardrailError, InputError
from lib.failpoints import HELD_BACK, reached
from lib.scoring.catalogue import Census, rejected_rows, rows_rejected_for
from lib.scoring.plan import Outcome, Plan
from lib.scoring.progress import Told
from lib.tables.commits import commit_of_run, commits_of, state_of, undone_versions
from lib.tables.ledger import mend_held, mend_ledger, recover, write_ledger
from lib.tables.maintenance import pack_if_scattered
from lib.tables.publish import Candidate, changed_since, held_candidate, hold, is_as_read, newest_held, publish, rows_are_there
from lib.tables.run_record import RunRecord
from lib.tables.sources import Source
from lib.tables.target import Tables, append, check_categorized, create_tables
from lib.times import iso
from schemas.tables import FATAL_TEXT, HELD, PUBLISHED, REJECTED

# Versions of the table between two looks at how many files it has.
PACKED_EVERY = 16


def append_rejects(
    source: Source,
    tables: Tables,
    plan: Plan,
    census: Census,
    run_id: str,
    fatal: DataFrame | None,
) -> None:
    """Before the commit: a reader who uses the ledger sees whole runs. fatal: rows of the source whose texts the engine does not survive."""
    if census.rows_rejected:
        rejects = rejected_rows(source.frame, plan.columns, census)
        if fatal is not None:
            rejects = rejects.unionByName(rows_rejected_for(fatal, plan.columns, FATAL_TEXT))
        stamped = rejects.withColumns({"run_id": F.lit(run_id), "rejected_at": F.current_timestamp()})
        append(stamped.select(*REJECTED.names), tables.rejected)
    reached("rejected")


class HeldBackError(GuardrailError):
    """The guardrails held a run back; its candidate is next to the table. run: its row of the ledger."""

    def __init__(self, message: str, run: RunRecord) -> None:
        super().__init__(message)
        self.run = run


def hold_back(candidate: Candidate, tables: Tables, found: Sequence[str], runs: int) -> HeldBackError:
    """Store the candidate next to the table, record the run in the ledger, and return the error to end with. runs: how many made the yardstick."""
    held = candidate.with_run(status=HELD, held_because=list(found), ended_at=iso(time.time()))
    spark = candidate.rows.sparkSession
    # What is held now is replaced, and with it the only record of a run that stopped before its row in the ledger.
    before = newest_held(spark, tables)
    if before:
        mend_held(spark, tables, before.run)
    hold(held, tables)
    reached(HELD_BACK)
    write_ledger(spark, tables, held.run)
    return _held_error(
        f"Expected a run like the last good ones (the median of {runs}), found that {'; '.join(found)}", held.run, tables
    )


def still_held(run: RunRecord, tables: Tables) -> HeldBackError:
    """The error of a run with the same source, model and limits as a run that is already held back. run: the latter's row of the ledger."""
    because = "; ".join(run.held_because or ())
    return _held_error(
        f"Expected another source, model or limit than those of the run {run.run_id}, which was held back since {because}",
        run,
        tables,
    )


def _held_error(because: str, run: RunRecord, tables: Tables) -> HeldBackError:
    return HeldBackError(
        f"{because}; {tables.categorized.given} is as it was and the candidate is in {tables.held.given}: correct the source or the model and run "
        f"again, or give --publish-anyway {run.run_id}.",
        run,
    )


def load(candidate: Candidate, tables: Tables, released: bool = False, told: Told | None = None) -> RunRecord:
    """The one commit that publishes, then the ledger, whose row it returns.

    released: the ledger has the run already, as held; told: receives the progress of the run.
    """
    told = told or Told()
    told.step("publishing")
    reached("publishing")
    began = time.time()
    publish(candidate, tables)
    seconds = {**(candidate.run.seconds or {}), "writing": time.time() - began}
    record = replace(candidate.run, ended_at=iso(time.time()), seconds=seconds)
    told.step("recording")
    reached("recording")
    spark = candidate.rows.sparkSession
    write_ledger(spark, tables, record, replace=released)
    reached("recorded")
    if (candidate.note["read_version"] + 1) % PACKED_EVERY == 0:
        for table in (tables.categorized, tables.rejected, tables.runs):
            pack_if_scattered(spark, table)
    return record


def release(spark: SparkSession, tables: Tables, held_run: str) -> Outcome:
    """Publish a run that the guardrails held back, as it was scored then.

    Raises:
        InputError: another run or none is held, or the table has moved on since; nothing was written.
    """
    check_categorized(spark, tables.categorized)
    commits = commits_of(spark, tables.categorized)
    published = commit_of_run(commits, held_run)
    if published and published.version in undone_versions(commits):
        raise InputError(
            f"Expected a run that is held back in --publish-anyway, found {held_run}, which was published and rolled back since; "
            f"`rollback --to {held_run}` brings it back."
        )
    if published and published.run:
        return Outcome(None, recover(spark, tables, state_of(commits).runs), published_in=published.version)
    mend_ledger(spark, tables)
    candidate = held_candidate(spark, tables)
    if candidate is None or candidate.run.run_id != held_run:
        found = f"the run {candidate.run.run_id}" if candidate else "none"
        raise InputError(
            f"Expected the held run {held_run} in {tables.held.given}, found {found}; give --publish-anyway the run that is held, or run the job again."
        )
    if not rows_are_there(candidate):
        raise InputError(
            f"Expected the rows of the held run {held_run} in {tables.held.given}, found some of their files gone; run the job again, which scores "
            f"them again."
        )
    read = candidate.note["read_version"]
    if changed_since(commits, read) or not is_as_read(spark, candidate.note, tables):
        raise InputError(
            f"Expected {tables.categorized.given} as the held run {held_run} had read it (version {read}), found later changes in it, or another table; run the job again."
        )
    # Before the commit: a missing table next to it would fail the run after the commit.
    create_tables(spark, tables, ())
    return Outcome(load(candidate.with_run(status=PUBLISHED), tables, released=True))
