"""What could be published: the scored rows, those of products that are gone, and what the commit tells the next run."""

from __future__ import annotations

import base64
import uuid
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import AtomicType, NumericType, StructField

from lib.identifiers import column
from lib.pairs.offered import tried_cast
from lib.scoring.attempt import SCORES_KEPT, Found, Gone, Run, Scored
from lib.scoring.catalogue import usable_id
from lib.scoring.categories import categorized_rows
from lib.scoring.identity import basis_of
from lib.scoring.known_files import FILES, packed
from lib.scoring.plan import Plan
from lib.scoring.record import LABELS_WITHOUT_ROWS, labels_noted
from lib.scoring.scratch import Scratch
from lib.scoring.selection import Selection
from lib.scoring.whole import whole_of
from lib.tables.commits import SKETCH, WHOLE
from lib.tables.publish import Candidate
from lib.tables.run_record import RunRecord
from lib.tables.target import VANISHED


def look_for_gone(run: Run, found: Found, selection: Selection, scratch: Scratch) -> Gone:
    plan, present = run.plan, found.present
    if present is None or selection.gone is None or (plan.mode, plan.missing) == ("incremental", "keep"):
        return Gone()
    rows = missing = removed = None
    if not selection.gone_ids:
        looked = (plan.mode, plan.missing) != ("full", "delete")
        return Gone(None, 0 if looked else None, 0.0 if plan.missing == "delete" else None)
    gone = _less_fatal(selection.gone, found, plan)
    if (plan.mode, plan.missing) != ("full", "delete"):
        # Kept on disk, so that the commit writes what was counted, whatever happens to the source.
        rows = scratch.keep(_vanished(gone, plan))
        missing = rows.count()
    if plan.missing == "delete":
        removed = (gone.count() if missing is None else missing) / max(present.count(), 1)
    return Gone(rows, missing, removed)


def candidate_of(
    run: Run, found: Found, selection: Selection, scored: Scored, gone: Gone, record: RunRecord, identity: str
) -> Candidate:
    """What could be published."""
    plan, mode = run.plan, run.plan.mode
    rows = categorized_rows(scored.rows, run.bundle, record.run_id, plan.columns.carry, plan.unfamiliar)
    rows = rows.withColumn(VANISHED, F.lit(False))
    if gone.rows is not None and gone.missing:
        rows = rows.unionByName(_in_columns_of(rows, gone.rows.withColumn(VANISHED, F.lit(True))))
    if mode == "full" and found.fatal is not None and found.present is not None:
        # Everything else is replaced; what the table holds under an id whose text could not be scored stays.
        stays = found.present.join(_ids_of(found.fatal, plan), "product_id", "left_semi")
        rows = rows.unionByName(_in_columns_of(rows, stays.withColumn(VANISHED, F.lit(True))))
    if mode == "incremental" and found.present is None:
        # Nothing to merge with. Unlike an append, an overwrite fails if another run has put rows there since the state was read.
        mode = "full"
    if mode == "incremental" and not record.rows_scored and not gone.missing:
        mode = "note"
    note = {
        # Another engine may survive the texts that this one does not, so that its run has something to do.
        "identity": identity if found.fatal is None else uuid.uuid4().hex,
        "basis": basis_of(run.source, run.bundle, plan),
        "read_version": found.state.version,
        "table": found.state.table,
        "sequence": found.state.sequence + 1,
        "ids_once": True,
        "decisions": run.bundle.decisions,
        LABELS_WITHOUT_ROWS: labels_noted(run.bundle, record.category_shares),
        SCORES_KEPT: run.scores_kept if _all_have_scores(run, found, selection) else None,
        **_for_the_next(found, selection, scored, plan),
    }
    return Candidate(rows, mode, plan.missing, note, record)


def _all_have_scores(run: Run, found: Found, selection: Selection) -> bool:
    """Whether every row of the table has the scores of that many labels after this run: rows of products that are gone are left as they were."""
    if found.present is None or (found.state.last or {}).get(SCORES_KEPT) == run.scores_kept:
        return True
    knows_gone = selection.gone is not None and selection.turnover is None
    # A marked row is written again when its product comes back.
    return knows_gone and (not selection.gone_ids or run.plan.missing != "keep")


def _for_the_next(found: Found, selection: Selection, scored: Scored, plan: Plan) -> dict[str, Any]:
    """What the commit's metadata tells the next run about all rows of the source."""
    census, turnover = selection.census, selection.turnover
    whole = whole_of(census, [*scored.groups, *selection.groups], plan.missing, turnover.aged if turnover else 0)
    sketch = base64.b64encode(census.sketch).decode() if census.sketch else None
    # Where only some ids were looked at, the sketch stays that of the run that looked at all of them.
    files = packed(selection.files) if whole and selection.files else None
    return {SKETCH: found.state.sketch if turnover else sketch, WHOLE: whole and whole.noted(), FILES: files}


def _vanished(gone: DataFrame, plan: Plan) -> DataFrame:
    """Rows of the table whose products the source no longer holds, as they are to be there."""
    if plan.missing != "mark":
        return gone
    if plan.mode == "incremental":
        gone = gone.filter(F.col("missing_since").isNull())
    return gone.withColumn("missing_since", F.coalesce("missing_since", F.current_timestamp()))


def _in_columns_of(rows: DataFrame, others: DataFrame) -> DataFrame:
    """Rows of the table in the columns of a run's rows; null where they have no value that fits its type."""
    there = {field.name.lower(): field for field in others.schema.fields}
    return others.select(*[_as_field(there.get(field.name.lower()), field).alias(field.name) for field in rows.schema.fields])


def _as_field(found: StructField | None, wanted: StructField) -> Column:
    if found and found.dataType.simpleString() == wanted.dataType.simpleString():
        return column(found.name)
    if not found or not isinstance(found.dataType, AtomicType) or not isinstance(wanted.dataType, AtomicType):
        return F.lit(None).cast(wanted.dataType)
    # Not every type can be cast to every other; all can be cast to text.
    numbers = isinstance(found.dataType, NumericType) and isinstance(wanted.dataType, NumericType)
    value = column(found.name) if numbers else column(found.name).cast("string")
    fresh = tried_cast(value, wanted.dataType)
    # 2.9 must not become 2.
    return F.when(tried_cast(fresh, found.dataType) == value, fresh) if numbers else fresh


def _less_fatal(gone: DataFrame, found: Found, plan: Plan) -> DataFrame:
    """A product whose text the engine does not survive is not gone."""
    if found.fatal is None:
        return gone
    return gone.join(_ids_of(found.fatal, plan), "product_id", "left_anti")


def _ids_of(fatal: DataFrame, plan: Plan) -> DataFrame:
    return fatal.select(usable_id(plan.columns).alias("product_id"))
