"""A bundle against a labelled table, through the scoring of the nightly run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lib.errors import InputError
from lib.model.bundle import Bundle
from lib.model.changes import Changes, Renaming, plain, renaming
from lib.model.evaluation import LabelCount, metrics_of, seen_of
from lib.model.fields import columns_and_markers
from lib.model.seen_texts import seen_batches
from lib.model.unfamiliarity import UNFAMILIAR_SHARE
from lib.pairs.offered import batches_udf
from lib.scoring.catalogue import joined_text
from lib.scoring.categories import is_unfamiliar, with_category
from lib.scoring.labels import check_level_names, label_of
from lib.scoring.udf import with_scores
from lib.tables.columns import require_labels, require_text
from lib.tables.sources import Source, check_unchanged
from schemas.tables import SEEN


def evaluate(
    source: Source,
    bundle: Bundle,
    text_columns: tuple[str, ...],
    label_columns: tuple[str, ...],
    engine: str,
    changes: Changes | None = None,
) -> dict[str, Any]:
    """The metrics of a source's labelled rows, as lib.model.evaluation.metrics_of returns them.

    Args:
        changes: renames the rows' labels; those whose label became several are left out. The metrics then have `renamed`, Renaming.record().
    Raises:
        InputError: columns missing, no labelled row, no row that the changes rename, or the source has changed meanwhile.
    """
    where = source.location.given
    counts = label_counts(source.frame, where, bundle, text_columns, label_columns, engine)
    check_unchanged(source)
    if not changes:
        return metrics_of(counts, bundle, where)
    counts, renamed = with_new_labels(counts, changes, bundle.tree.separator if bundle.tree else None)
    renamed.check()
    return {**metrics_of(counts, bundle, where), "renamed": {**renamed.record(), "remarks": renamed.lines()}}


def with_new_labels(counts: Sequence[LabelCount], changes: Changes, separator: str | None) -> tuple[list[LabelCount], Renaming]:
    """Rows under the new names of their labels, without those whose label became several.

    Args:
        separator: of the levels of labels that are paths; None for a flat list.
    """
    counts = [replace(count, label=plain(count.label, separator)) if count.label else count for count in counts]
    rows: Counter[str] = Counter()
    for count in counts:
        if count.label:
            rows[count.label] += count.rows
    found = renaming(rows, separator, changes)
    kept = [count for count in counts if count.label not in found.left_out]
    return [replace(count, label=found.names.get(count.label or "", count.label)) for count in kept], found


def label_counts(
    frame: DataFrame, where: str, bundle: Bundle, text_columns: Sequence[str], label_columns: Sequence[str], engine: str
) -> list[LabelCount]:
    """The rows of a frame by label, category, status and published levels.

    Args:
        label_columns: one, or several of a bundle whose labels are paths, the top level first.
    Raises:
        InputError: columns missing, or a level in a column of its own that contains the separator.
    """
    separator = bundle.tree.separator if bundle.tree else None
    if len(label_columns) > 1 and separator is None:
        raise InputError(
            f"Expected one --label-column for {bundle.model_version}, whose labels are no paths, found {', '.join(label_columns)}; give one."
        )
    require_labels(frame, where, label_columns, flag="label_column")
    check_level_names(frame, where, label_columns, separator)
    settings = bundle.tokenizer.settings
    text_columns, markers = columns_and_markers(text_columns, settings.fields)
    require_text(frame, where, text_columns)
    text = joined_text(text_columns, settings.max_characters, markers)
    rows = frame.select(label_of(label_columns, separator).alias("label"), text.alias("text"))
    parallelism = rows.sparkSession.sparkContext.defaultParallelism
    rows = rows.repartition(2 * parallelism).withColumn("seen", _seen(bundle))
    return _counts(with_scores(rows, bundle, engine, kept=0), bundle)


def _seen(bundle: Bundle) -> Column:
    """Of the column `text`, as in schemas.tables.SEEN; false where the bundle is older than its record."""
    record, settings = seen_of(bundle), bundle.tokenizer.settings
    if record is None:
        return F.struct(F.lit(False).alias("asked"), F.lit(False).alias("there"))

    def found(batches: Iterator[pa.Array]) -> Iterator[pa.Array]:
        return seen_batches(record, settings, batches)

    return batches_udf(found, SEEN)(F.col("text"))


def _counts(scored: DataFrame, bundle: Bundle) -> list[LabelCount]:
    # A row whose text is empty has no words either; the hash would only distinguish the reasons.
    judged = with_category(scored.withColumn("text_hash", F.lit(None)), bundle, bundle.review_below)
    strange = F.count_if(is_unfamiliar(UNFAMILIAR_SHARE))
    sums = (
        F.count("*").alias("rows"),
        F.coalesce(F.sum("confidence"), F.lit(0.0)).alias("confidence"),
        strange.alias("unfamiliar"),
        F.count_if("seen.asked").alias("asked"),
        F.count_if("seen.there").alias("seen"),
    )
    levels = F.when(F.col("published_path").isNull(), 0).otherwise(F.size("published_path")).alias("published")
    groups = judged.groupBy("label", "category", "status", levels).agg(*sums)
    return [LabelCount(**row.asDict()) for row in groups.collect()]
