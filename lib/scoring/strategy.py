"""Which rows of the source are read and scored: all of them, or what changed since the last run."""

from __future__ import annotations

from dataclasses import replace

from pyspark.sql import Column
from pyspark.sql import functions as F

from lib.errors import InputError
from lib.model.bundle import Bundle
from lib.redaction import redacted
from lib.scoring.attempt import SCORES_KEPT, Found, Run
from lib.scoring.catalogue import take_census
from lib.scoring.categories import has_scores, is_unfamiliar
from lib.scoring.changes import read_feed, select_changes
from lib.scoring.comparison import compare, compare_ids
from lib.scoring.forecast import Forecast, forecast
from lib.scoring.fresh_files import select_fresh
from lib.scoring.identity import basis_of
from lib.scoring.known_files import FILES, can_tell_files, unpacked
from lib.scoring.scratch import Scratch
from lib.scoring.selection import Selection, select_all
from lib.scoring.whole import Whole
from lib.tables.commits import WHOLE, TableState
from lib.tables.feeds import changed_rows
from lib.tables.ledger import published_runs
from lib.tables.locations import files_and_bytes
from lib.tables.run_record import RunRecord
from schemas.tables import UNFAMILIAR


def select(run: Run, found: Found, scratch: Scratch) -> Selection:
    """What is scored and what stays, and the census of all rows of the source.

    Raises:
        InputError: no rows, or copies of an id that cannot be ordered.
    """
    columns, most = run.plan.columns, run.bundle.tokenizer.settings.max_characters
    may_stay = _may_stay(run, found)
    if found.present is None:
        selection = select_all(found.source, columns, most, take_census(found.source.frame, columns))
    elif may_stay is None:
        ours = F.col("model_version") == run.bundle.model_version
        selection = compare_ids(found.source, columns, most, found.present, ours, scratch)
    else:
        changes = _changes(run, found, may_stay, scratch)
        selection = changes or compare(found.source, columns, most, found.present, may_stay, scratch, run.bundle.labels)
    if found.fatal is not None:
        census = selection.census
        selection = replace(selection, census=replace(census, rows=census.rows + found.fatal.count()))
    if selection.census.rows == 0:
        where = found.source.location.given
        raise InputError(f"Expected rows in {where}, found none; wait for the delivery, or correct --source.")
    return selection


def _may_stay(run: Run, found: Found) -> Column | None:
    """The rows of the table that need not be scored again if nothing in them has changed; None where all are scored."""
    plan = run.plan
    # Where the history does not show what decided the rows, such as that of a copy, the name of their model says nothing.
    if plan.mode != "incremental" or found.present is None or run.bundle.model_version not in found.state.decisions:
        return None
    # A product that comes back is written again: it is no longer missing.
    ours = (F.col("model_version") == run.bundle.model_version) & F.col("missing_since").isNull()
    # Rows that another share would send to review, or would no longer, are scored again.
    ours = ours & (is_unfamiliar(plan.unfamiliar) == F.col("reason").eqNullSafe(UNFAMILIAR))
    # So are those with the scores of other labels. Metadata that says all rows have them saves this check, which costs as much as everything else.
    if (found.state.last or {}).get(SCORES_KEPT) != run.scores_kept:
        ours = ours & has_scores(run.scores_kept)
    return ours if is_last_model(run.bundle, found.state) or not found.present.filter(ours).isEmpty() else None


def is_last_model(bundle: Bundle, state: TableState) -> bool:
    return state.last_run is not None and state.last_run.model_version == bundle.model_version


def _changes(run: Run, found: Found, may_stay: Column, scratch: Scratch) -> Selection | None:
    """What changed since the last run, where that is known and the table holds that run's rows; None where all are to be compared."""
    source, last = found.source, found.state.last or {}
    record, before = RunRecord.of(last.get("run")), Whole.of(last.get(WHOLE))
    if found.present is None or record is None or before is None or record.source != redacted(source.location.uri):
        return None
    if (
        found.fatal is not None
        or before.missing != run.plan.missing
        or last.get("basis") != basis_of(source, run.bundle, run.plan)
    ):
        return None
    if source.format == "delta":
        return _by_log(run, found, before, record.source_version, may_stay, scratch)
    return _by_files(run, found, before, may_stay, scratch)


def _by_log(run: Run, found: Found, before: Whole, since: str, may_stay: Column, scratch: Scratch) -> Selection | None:
    """since: the version of the Delta source that the last run has read."""
    source, columns = found.source, run.plan.columns
    changes = changed_rows(source, since)
    if found.present is None or changes is None:
        return None
    try:
        feed = read_feed(changes, columns, run.bundle.tokenizer.settings.max_characters, scratch)
    except Exception:
        # VACUUM removes the feed's files before those of the versions. The rows themselves are still there to be compared.
        run.told.say(
            f"what changed in {source.location.given} since the last run cannot be read (vacuumed): all rows are compared"
        )
        return None
    return None if feed is None else select_changes(source, columns, feed, before, found.present, may_stay, scratch)


def _by_files(run: Run, found: Found, before: Whole, may_stay: Column, scratch: Scratch) -> Selection | None:
    source, files = found.source, unpacked((found.state.last or {}).get(FILES))
    if found.present is None or not files or not run.plan.trust_files or not can_tell_files(source):
        return None
    most = run.bundle.tokenizer.settings.max_characters
    return select_fresh(source, run.plan.columns, most, files, before, found.present, may_stay, scratch)


def forecast_of(run: Run, found: Found, selection: Selection) -> Forecast:
    table = files_and_bytes(run.spark, run.tables.categorized) if found.state.version >= 0 else (0, 0)
    # Only the ledger knows how long writing took.
    runs = published_runs(run.spark, run.tables, run.plan.limits.runs)
    return forecast(found.source, _why(run, found, selection), selection, found.present, table, runs)


def _why(run: Run, found: Found, selection: Selection) -> str:
    """Which rows of the source are looked at, and why."""
    if found.present is None:
        return "all rows are scored: the table holds none"
    if run.plan.mode != "incremental":
        return f"all rows are scored: --mode {run.plan.mode}"
    if selection.turnover and selection.files is not None:
        return "only the files that are not as the last run has read them are read"
    if selection.turnover:
        return "only what came and went since the last run is read, as the source's log tells"
    if _may_stay(run, found) is None:
        return f"all rows are scored: the table's are of another model than {run.bundle.model_version}"
    return "all rows are compared with the table's"
