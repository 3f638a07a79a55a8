"""The source compared with the table in one pass: what the source holds, and which of its rows the table does not hold yet.

Every text is read once to be hashed; hashes of ids and contents are shuffled instead of ids and texts. The texts of the rows that
differ are read again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lib.identifiers import column
from lib.scoring.catalogue import (
    KEY,
    CatalogueColumns,
    catalogue_columns,
    hash_of,
    hashes_of,
    joined_text,
    lengths_of,
    newest_copies,
    order_type,
    ordered,
    usable_id,
)
from lib.scoring.counts import count_groups
from lib.scoring.kinds import CHANGED, COPIES, GONE, KindCounts, code, count_kinds, kind
from lib.scoring.known_files import FILE, Known, can_tell_files, count_files, file_hash, known
from lib.scoring.scratch import Scratch
from lib.scoring.selection import Selection, Stood, in_even_tasks, select_all
from lib.tables.sources import Source
from lib.tables.transactions import MOST_IDS_TO_BROADCAST

LENGTH = "length_"
# Used next to columns of the source, none of which has these names.
KNOWN, STAYS, FEW = "known content\n", "stays\n", "few\n"
# Products whose categories are compared with the earlier ones, where more than these are scored again: their share is then known to half
# a point.
ENOUGH_TO_TELL = 50_000


def compare(
    source: Source,
    columns: CatalogueColumns,
    max_characters: int,
    present: DataFrame,
    may_stay: Column,
    scratch: Scratch,
    labels: Sequence[str] = (),
) -> Selection:
    """The rows of the source whose id, text and carried values are not in the table, and the rows of the table whose products the source lacks.

    Args:
        present: product_id, text_hash, category, status, confidence and the carried columns of what the table holds, each id once.
        may_stay: the rows of these that need not be scored again if nothing in them has changed.
        scratch: when it ends, the comparison that is kept on disk is released; the rows must have been read by then.
        labels: those of the model; only for speed.
    Raises:
        InputError: copies of an id whose order column holds texts that are neither numbers nor times.
    """
    fields, texts = catalogue_columns(columns, max_characters, measured=True), len(columns.text)
    measured = {f"{LENGTH}{i}": length for i, length in enumerate(lengths_of(columns, max_characters))}
    content = content_in_source(columns, max_characters)
    stored = {
        "known": F.when(may_stay, content_of(F.col("text_hash"), columns.carry)),
        "code": code(),
        "sure": F.col("confidence"),
    }
    fresh = {"content": content, **measured, **({FILE: file_hash()} if can_tell_files(source) else {})}
    every = scratch.keep(_side_by_side(source.frame, columns, fresh, present, stored))
    counts = count_kinds(every, [*measured], labels)
    census, unchanged, count = counts.census, counts.unchanged, counts.rows(CHANGED)
    groups = counts.groups(present)
    changed = _rows_of(every.filter(F.col("kind") == CHANGED), count, source.frame, usable_id(columns)).select(*fields)
    if census.repeated_ids:
        copies = _rows_of(every.filter(F.col("kind") == COPIES), census.repeated_ids, source.frame, usable_id(columns))
        census = replace(census, order_type=order_type(copies, columns))
        newest = newest_copies(copies, columns, census.order_type).select(*fields)
        held = _rows_of(every.filter(F.col("kind") == COPIES), census.repeated_ids, present, F.col("product_id"))
        # Kept with their texts, so that the copies are ranked once.
        newest = scratch.keep(_compared(newest, held, may_stay, columns))
        more_groups, more_unchanged = count_groups(newest.filter(F.col(STAYS)), texts)
        groups, unchanged = groups + more_groups, unchanged + more_unchanged
        changed = changed.unionByName(newest.filter(~F.col(STAYS)).select(*map(column, changed.columns)))
        count = census.ids - unchanged.ids
    gone, stood = _gone(every, counts, present), stood_of(present.filter(may_stay), census.ids + counts.rows(GONE))
    files = _files(source, every, [*measured]) if FILE in fresh and not census.rows_rejected else None
    return Selection(in_even_tasks(changed, count), census, unchanged, groups, gone, counts.rows(GONE), stood, files=files)


def _files(source: Source, every: DataFrame, lengths: Sequence[str]) -> Sequence[Known]:
    return known(count_files(source, every.filter("copies > 0"), [F.col(name) for name in lengths]))


def compare_ids(
    source: Source, columns: CatalogueColumns, max_characters: int, present: DataFrame, ours: Column, scratch: Scratch
) -> Selection:
    """All rows of the source, and those of the table whose products it lacks.

    Args:
        present: product_id and category of what the table holds, each id once. ours: the rows of these that the current model has scored.
        scratch: as in `compare`.
    Raises:
        InputError: copies of an id whose order column holds texts that are neither numbers nor times.
    """
    nothing = F.lit(None).cast("bigint")
    known = {"known": nothing, "code": nothing, "sure": F.lit(None).cast("float")}
    every = scratch.keep(_side_by_side(source.frame, columns, {"content": nothing}, present, known))
    counts = count_kinds(every, [])
    selection = select_all(source, columns, max_characters, ordered(counts.census, source.frame, columns))
    gone, stood = _gone(every, counts, present), stood_of(present.filter(ours), counts.census.ids + counts.rows(GONE))
    return replace(selection, gone=gone, gone_ids=counts.rows(GONE), stood=stood)


def content_of(text_hash: Column, carry: Sequence[str]) -> Column:
    """What decides whether a row is scored again, as 64 bits: the probability that a change is missed is 1 in 10¹⁹."""
    carried = [column(name) for name in carry]
    # A null leaves such a hash as it is, so that (a, null) would be (null, a).
    return F.xxhash64(text_hash, *carried, *[value.isNull() for value in carried])


def content_in_source(columns: CatalogueColumns, max_characters: int) -> Column:
    """`content_of` a row of the source."""
    return content_of(hash_of(joined_text(columns.text, max_characters, columns.markers)), columns.carry)


def _side_by_side(
    source: DataFrame, columns: CatalogueColumns, fresh: Mapping[str, Column], present: DataFrame, known: Mapping[str, Column]
) -> DataFrame:
    """One row for each id of the source or of the table, and one for all rows without an id: its kind, how many copies, and numbers of both.

    Ids and numbers of both sides are brought together by grouping, which sorts neither. Of the copies of an id, one is used for all.
    """
    left = source.select(*hashes_of(usable_id(columns)), F.lit(1).alias("copies"), *_named(fresh))
    right = present.select(*hashes_of(F.col("product_id")), F.lit(0).alias("copies"), *_named(known))
    both = left.unionByName(right, allowMissingColumns=True)
    numbers = [F.max(name).alias(name) for name in [*fresh, *known]]
    return both.groupBy(*KEY).agg(F.sum("copies").alias("copies"), *numbers).withColumn("kind", kind())


def _named(values: Mapping[str, Column]) -> list[Column]:
    return [value.alias(name) for name, value in values.items()]


def _gone(every: DataFrame, counts: KindCounts, present: DataFrame) -> DataFrame:
    return _rows_of(every.filter(F.col("kind") == GONE), counts.rows(GONE), present, F.col("product_id"))


def stood_of(present: DataFrame, ids: int) -> Stood:
    """Every n-th by hash of rows with product_id and category: just enough to estimate the share that gets another category.

    ids: of source and table together, so that the sample is small whichever of them is large.
    """
    every = max(ids // ENOUGH_TO_TELL, 1)
    rows = present.select(*hashes_of(F.col("product_id")), "category")
    return Stood(rows.filter(F.pmod("more", F.lit(every)) == 0), every)


def _compared(newest: DataFrame, present: DataFrame, may_stay: Column, columns: CatalogueColumns) -> DataFrame:
    """The newest copies with the category, status and confidence that the table holds for their ids; STAYS where that row is to stay."""
    known = F.when(may_stay, content_of(F.col("text_hash"), columns.carry)).alias(KNOWN)
    there = present.select("product_id", known, "category", "status", "confidence")
    same = F.coalesce(content_of(F.col("text_hash"), columns.carry) == F.col(KNOWN), F.lit(False))
    return newest.join(there, "product_id", "left_outer").withColumn(STAYS, same)


def _rows_of(ids: DataFrame, count: int, rows: DataFrame, product_id: Column) -> DataFrame:
    """The rows of these ids, matched by their KEY. count: how many ids there are."""
    if not count:
        return rows.limit(0)
    few = ids.select(*[F.col(name).alias(f"{FEW}{name}") for name in KEY])
    if count <= MOST_IDS_TO_BROADCAST:
        few = few.hint("broadcast")
    same = [hashed == F.col(f"{FEW}{name}") for name, hashed in zip(KEY, hashes_of(product_id), strict=True)]
    return rows.join(few, same, "left_semi")
