"""The source beside the table in one pass: what stands in the source, and which of its rows the table does not hold yet.

Every text is read once to be hashed; through the shuffle go hashes of ids and contents instead of ids and texts. Of the rows that
differ the texts are read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lib.identifiers import column
from lib.scoring.catalogue import (
    KEY,
    LENGTHS,
    REPEATED,
    CatalogueColumns,
    catalogue_columns,
    copies_of_ids,
    count_copies,
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
from lib.scoring.scratch import Scratch
from lib.scoring.selection import MOST_IDS_TO_BROADCAST, Selection, Stood, in_even_tasks, select_all
from lib.tables.sources import Source

LENGTH = "length_"
# Products whose categories are compared with those before, where more than these are scored again: their share is then known to half
# a point.
ENOUGH_TO_TELL = 50_000
# Of what stands in the table.
COUNTED = ("category", "status", "confidence")


def compare(
    source: Source,
    columns: CatalogueColumns,
    max_characters: int,
    present: DataFrame,
    may_stay: Column,
    scratch: Scratch,
    feed: DataFrame | None = None,
) -> Selection:
    """The rows of the source whose id, text and carried values do not stand in the table, and those of the table that it lacks.

    Args:
        present: product_id, text_hash, category, status, confidence and the carried columns of what the table holds, each id once.
        may_stay: of these, the rows that need not be scored anew if nothing of theirs has changed.
        scratch: at its end what is kept of the comparison on disk goes; the rows must have been read by then.
        feed: ids (changed_id) that a change feed of the source names, since what may stay was read from it. Only their texts
            are hashed.
    Raises:
        InputError: copies of an id whose order column holds texts that are neither numbers nor times.
    """
    fields, texts = catalogue_columns(columns, max_characters, measured=True), len(columns.text)
    known = present.select(*hashes_of(F.col("product_id")), _known_content(may_stay, columns.carry), *COUNTED)
    every = scratch.keep(_beside(_hashed_ids(source.frame, columns, max_characters, feed), known))
    both = every.filter("copies IS NOT NULL")
    census = count_copies(both)
    groups, unchanged = count_groups(both.filter("same"), texts, F.col("hash"))
    count = census.ids - census.repeated_ids - unchanged.ids
    changed = both.filter("hash IS NOT NULL AND copies = 1 AND NOT same")
    rows = _rows_of(changed, count, source.frame, usable_id(columns)).select(*fields)
    if census.repeated_ids:
        repeated = both.filter(REPEATED)
        copies = _rows_of(repeated, census.repeated_ids, source.frame, usable_id(columns))
        census = replace(census, order_type=order_type(copies, columns))
        newest = newest_copies(copies, columns, census.order_type).select(*fields)
        # Kept with their texts, so that the copies are ranked once.
        newest = scratch.keep(_compared(newest, repeated, columns))
        more_groups, more_unchanged = count_groups(newest.filter("same"), texts)
        groups, unchanged = groups + more_groups, unchanged + more_unchanged
        rows, count = rows.unionByName(newest.filter("NOT same").select(*rows.columns)), census.ids - unchanged.ids
    gone = _rows_of(every.filter("copies IS NULL"), None, present, F.col("product_id"))
    stood = _stood(both.filter("known_content IS NOT NULL AND NOT same"), count)
    return Selection(in_even_tasks(rows, count), census, unchanged, groups, gone, stood)


def compare_ids(
    source: Source, columns: CatalogueColumns, max_characters: int, present: DataFrame, ours: Column, scratch: Scratch
) -> Selection:
    """All rows of the source, and those of the table whose products it lacks.

    Args:
        present: product_id and category of what the table holds, each id once. ours: of these the rows of the model that scores.
        scratch: as in `compare`.
    Raises:
        InputError: copies of an id whose order column holds texts that are neither numbers nor times.
    """
    known = present.select(*hashes_of(F.col("product_id")), "category", ours.alias("ours"))
    every = scratch.keep(copies_of_ids(source.frame, columns).join(known, [*KEY], "full_outer"))
    both = every.filter("copies IS NOT NULL")
    census = ordered(count_copies(both), source.frame, columns)
    gone = _rows_of(every.filter("copies IS NULL"), None, present, F.col("product_id"))
    selection = select_all(source, columns, max_characters, census)
    return replace(selection, gone=gone, stood=_stood(both.filter("ours"), census.ids))


def _stood(rows: DataFrame, count: int) -> Stood:
    """Of rows with KEY and category every n-th by hash: as few as tell the share that gets another category.

    count: about how many there are, at least.
    """
    every = max(count // ENOUGH_TO_TELL, 1)
    return Stood(rows.filter(F.pmod("more", F.lit(every)) == 0).select(*KEY, "category"), every)


def _hashed_ids(source: DataFrame, columns: CatalogueColumns, max_characters: int, feed: DataFrame | None) -> DataFrame:
    """A row an id of the source, and one of all rows without one: how many copies there are, and the content of one of them.

    The content is null where a feed says that it has not changed.
    """
    content = _content(hash_of(joined_text(columns.text, max_characters, columns.markers)), columns.carry)
    if feed is not None:
        source = source.join(feed, usable_id(columns) == F.col("changed_id"), "left_outer")
        content = F.when(F.col("changed_id").isNotNull(), content)
    lengths = {f"{LENGTH}{i}": length for i, length in enumerate(lengths_of(columns, max_characters))}
    hashed = {"content": content, **lengths}
    rows = source.select(*hashes_of(usable_id(columns)), *[value.alias(name) for name, value in hashed.items()])
    return rows.groupBy(*KEY).agg(F.count("*").alias("copies"), *[F.first(name).alias(name) for name in hashed])


def _content(text_hash: Column, carry: Sequence[str]) -> Column:
    """What decides whether a row is scored anew, as 64 bits: that a change is taken for none is as likely as 1 in 10¹⁹."""
    carried = [column(name) for name in carry]
    # A null leaves such a hash as it is, so that (a, null) would be (null, a).
    return F.xxhash64(text_hash, *carried, *[value.isNull() for value in carried])


def _known_content(may_stay: Column, carry: Sequence[str]) -> Column:
    return F.when(may_stay, _content(F.col("text_hash"), carry)).alias("known_content")


def _beside(fresh: DataFrame, known: DataFrame) -> DataFrame:
    """A row an id, with what stands of it; of one that the source lacks `copies` is null.

    Of ids with copies the newest is still to be found and compared.
    """
    unchanged = F.coalesce(F.col("content") == F.col("known_content"), F.col("known_content").isNotNull())
    same = (F.col("copies") == 1) & unchanged
    lengths = [name for name in fresh.columns if name.startswith(LENGTH)]
    names = ["copies", "known_content", *COUNTED]
    return fresh.join(known, [*KEY], "full_outer").select(*KEY, *names, same.alias("same"), F.array(*lengths).alias(LENGTHS))


def _compared(newest: DataFrame, known: DataFrame, columns: CatalogueColumns) -> DataFrame:
    """The newest copies with what stands of them."""
    hashed = newest.withColumns(dict(zip(KEY, hashes_of(F.col("product_id")), strict=True)))
    same = F.coalesce(_content(F.col("text_hash"), columns.carry) == F.col("known_content"), F.lit(False))
    return hashed.join(known.select(*KEY, "known_content", *COUNTED), [*KEY]).withColumn("same", same)


def _rows_of(ids: DataFrame, count: int | None, rows: DataFrame, product_id: Column) -> DataFrame:
    """The rows of these ids, told by their KEY. count: how many ids there are, if that is known."""
    few = ids.select(*[F.col(name).alias(f"of_{name}") for name in KEY])
    if count is not None and count <= MOST_IDS_TO_BROADCAST:
        few = few.hint("broadcast")
    same = [hashed == F.col(f"of_{name}") for name, hashed in zip(KEY, hashes_of(product_id), strict=True)]
    return rows.join(few, same, "left_semi")
