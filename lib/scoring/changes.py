"""A run from what came and went in its source since the previous one: of a Delta table by its change feed or its files, of files by
lib.scoring.fresh_files. Only these rows are read.

The counts of all other rows are known from the metadata of the previous run's commit (lib.scoring.whole); the ids that changed are looked up in the table.
Wherever that does not lead to one row for each id of the source, the run compares all rows instead (lib.scoring.comparison).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lib.scoring.catalogue import LENGTHS, CatalogueColumns, Census, IdCount, catalogue_columns, digest_of_ids, usable_id
from lib.scoring.comparison import content_of, stood_of
from lib.scoring.counts import Group, text_totals
from lib.scoring.scratch import Scratch
from lib.scoring.selection import Selection, Turnover, in_even_tasks
from lib.scoring.whole import Whole, added_up, by_column
from lib.tables.feeds import CAME, VERSION
from lib.tables.sources import Source
from lib.tables.transactions import MOST_IDS_TO_BROADCAST

# The share of the ids that may come and go before all of them are compared again: the guardrails' sketch is from the run that compared them all.
MOST_AGED = 0.1
TEXT_FORMATS = ("csv", "json")
# What became of an id: the table holds its row as it is; its row is to be scored; it is gone; it came and went in between; the feed
# does not lead from one row or none to one or none.
SAME, CHANGED, GONE, NOTHING, BROKEN = "same", "changed", "gone", "nothing", "broken"


def read_feed(changes: DataFrame, columns: CatalogueColumns, max_characters: int, scratch: Scratch) -> DataFrame | None:
    """The rows that came and went, read once and kept on disk; None where they are too many to spare much.

    Args:
        changes: as lib.tables.feeds.changed_rows returns them.
    """
    # From the files' footers: no text is read for this.
    if changes.count() > 2 * MOST_IDS_TO_BROADCAST:
        return None
    rows = scratch.keep(changes.select(*catalogue_columns(columns, max_characters, measured=True), VERSION, CAME))
    rows.count()
    return rows


def select_changes(
    source: Source,
    columns: CatalogueColumns,
    feed: DataFrame,
    before: Whole,
    present: DataFrame,
    may_stay: Column,
    scratch: Scratch,
) -> Selection | None:
    """The rows that came into the source since the previous run and that the table does not hold.

    None where the feed is not enough: some id has several rows or is unusable, or too many ids have come and gone in these runs.

    Args:
        feed: as `read_feed` returns it. before: what the previous run has left.
        present, may_stay, scratch: as in lib.scoring.comparison.compare.
    """
    ids = scratch.keep(_ids(_events(feed, columns), _held(present, feed, may_stay, columns)))
    parts = _counted(ids, len(columns.text))
    if any(part.kind == BROKEN for part in parts) or not _are_as_told(source, columns, ids, parts):
        return None
    return _selection(source, feed, ids, parts, before, before, present, may_stay)


def select_came(
    source: Source,
    columns: CatalogueColumns,
    came: DataFrame,
    gone: IdCount,
    before: Whole,
    left: Whole,
    present: DataFrame,
    may_stay: Column,
    scratch: Scratch,
) -> Selection | None:
    """The rows that came and that the table does not hold, where all that went is `gone` and every one of these ids came again.

    None where that does not hold, or some id came twice or is unusable.

    Args:
        came: as lib.scoring.catalogue.catalogue_columns has them, measured. before: what the previous run has left; left: the same without the measures
            of the texts that went.
        present, may_stay, scratch: as in lib.scoring.comparison.compare.
    """
    feed = came.withColumns({VERSION: F.lit(0), CAME: F.lit(True)})
    ids = scratch.keep(_ids(_events(feed, columns), _held(present, feed, may_stay, columns)))
    parts = _counted(ids, len(columns.text))
    # An id that the table holds has either come in the place of its row that went, or it is a copy of one that is still there.
    if any(part.kind == BROKEN for part in parts) or _sum([part for part in parts if part.doubtful]) != gone:
        return None
    parts = [replace(part, before=part.doubtful, doubtful=False) for part in parts]
    return _selection(source, feed, ids, parts, before, left, present, may_stay)


def _selection(
    source: Source,
    feed: DataFrame,
    ids: DataFrame,
    parts: Sequence[_Part],
    before: Whole,
    left: Whole,
    present: DataFrame,
    may_stay: Column,
) -> Selection | None:
    """None where the ids do not add up to the source's rows, or too many have come and gone. left: as in `select_came`."""
    stays, came, went = _what_stays(left, parts), _came(parts), _ids_in(parts, GONE)
    now = _less(before.ids, went) + came
    if stays.aged > MOST_AGED * now.ids or any(group.rows < 0 for group in stays.groups):
        return None
    # Delta counts the rows from its log, Parquet from the footers of its files; other files would be read for it.
    if source.format not in TEXT_FORMATS and source.frame.count() != now.ids:
        return None
    changed = ids.filter(F.col("kind") == CHANGED).select("product_id", F.col("last")[VERSION].alias(VERSION))
    rows = feed.filter(F.col(CAME)).join(changed.hint("broadcast"), ["product_id", VERSION], "left_semi").drop(VERSION, CAME)
    gone = present.join(ids.filter(F.col("kind") == GONE).select("product_id").hint("broadcast"), "product_id", "left_semi")
    return Selection(
        in_even_tasks(rows, now.ids - stays.ids.ids),
        Census(now.ids, 0, now.ids, 0, now.digest),
        stays.ids,
        stays.measured_groups,
        gone,
        went.ids,
        stood_of(present.filter(may_stay), now.ids + went.ids),
        Turnover(came.ids, went.ids, before.ids.ids, stays.aged),
    )


@dataclass(frozen=True)
class _Part:
    """Ids of one kind, and their counts. before: whether the source had them; old, new: of their texts."""

    kind: str
    before: bool
    doubtful: bool
    group: Group
    digest: int
    old_lengths: Sequence[int]
    old_empty: Sequence[int]
    new_lengths: Sequence[int]
    new_empty: Sequence[int]

    @property
    def ids(self) -> IdCount:
        return IdCount(self.group.rows, self.digest)


def _events(rows: DataFrame, columns: CatalogueColumns) -> DataFrame:
    """One row for each id: its rows that came and went, oldest first; within one commit those that went come first."""
    event = F.struct(VERSION, CAME, content_of(F.col("text_hash"), columns.carry).alias("content"), LENGTHS)
    events = F.sort_array(F.collect_list(event))
    return rows.groupBy("product_id").agg(events.alias("events"))


def _held(present: DataFrame, rows: DataFrame, may_stay: Column, columns: CatalogueColumns) -> DataFrame:
    """What the table holds of these ids."""
    known = F.when(may_stay, content_of(F.col("text_hash"), columns.carry)).alias("known")
    ids = rows.select("product_id").distinct().hint("broadcast")
    held = present.join(ids, "product_id", "left_semi")
    is_marked = F.col("missing_since").isNotNull().alias("is_marked")
    return held.select("product_id", known, is_marked, F.struct("category", "status", "confidence").alias("row"))


def _ids(events: DataFrame, held: DataFrame) -> DataFrame:
    """What became of each id (`kind`), by its events and by what the table holds."""
    first, last = F.element_at("events", 1), F.element_at("events", -1)
    repeated = F.filter("events", lambda event, i: event[CAME] == F.get("events", i - 1)[CAME])
    both = events.join(held.hint("broadcast"), "product_id", "left_outer")
    both = both.withColumns({"first": first, "last": last, "before": ~first[CAME], "stands": last[CAME]})
    stood = F.col("row").isNotNull() & ~F.col("is_marked")
    is_broken = F.col("product_id").isNull() | (F.size(repeated) > 0) | (F.col("before") & ~F.coalesce(stood, F.lit(False)))
    kind = (
        F.when(is_broken, BROKEN)
        .when(~F.col("stands"), F.when(F.col("before"), GONE).otherwise(NOTHING))
        .when(F.col("last.content") == F.col("known"), SAME)
        .otherwise(CHANGED)
    )
    # Only the source shows whether it is a product that comes back or a copy of one that exists.
    doubtful = ~F.col("before") & F.coalesce(stood, F.lit(False))
    return both.select("product_id", "first", "last", "before", "stands", "row", kind.alias("kind"), doubtful.alias("doubtful"))


def _counted(ids: DataFrame, texts: int) -> list[_Part]:
    old, new = (
        text_totals([F.when(F.col(which), F.get(F.col(event)[LENGTHS], F.lit(i))) for i in range(texts)])
        for which, event in (("before", "first"), ("stands", "last"))
    )
    measures = {
        f"{when}_{name}": values[name] for when, values in (("old", old), ("new", new)) for name in ("lengths", "empty")
    }
    counted = ids.groupBy("kind", "before", "doubtful", "row.category", "row.status").agg(
        F.count("*").alias("rows"),
        F.coalesce(F.sum("row.confidence"), F.lit(0.0)).alias("confidence"),
        digest_of_ids().alias("digest"),
        *[value.alias(name) for name, value in measures.items()],
    )
    return [
        _Part(
            row["kind"],
            row["before"],
            row["doubtful"],
            Group(row["category"], row["status"], row["rows"], row["confidence"]),
            row["digest"],
            *[row[name] for name in measures],
        )
        for row in counted.collect()
    ]


def _are_as_told(source: Source, columns: CatalogueColumns, ids: DataFrame, parts: Sequence[_Part]) -> bool:
    """Whether the source holds the doubtful ids once, or not at all where the feed says that they have gone again."""
    if not any(part.doubtful for part in parts):
        return True
    doubtful = ids.filter("doubtful").select("product_id", "stands").hint("broadcast")
    there = source.frame.select(usable_id(columns).alias("product_id")).groupBy("product_id").count()
    rows = doubtful.join(there, "product_id", "left_outer")
    return rows.filter(F.coalesce("count", F.lit(0)) != F.col("stands").cast("int")).isEmpty()


def _what_stays(before: Whole, parts: Sequence[_Part]) -> Whole:
    """What of the source stays in the table as it is."""
    left = [part for part in parts if part.before and part.kind in (CHANGED, GONE)]
    joined = [part for part in parts if not part.before and part.kind == SAME]
    groups = [*before.groups, *(part.group for part in joined)]
    groups += [replace(part.group, rows=-part.group.rows, confidence=-part.group.confidence) for part in left]
    ids = _less(before.ids, _sum(left)) + _sum(joined)
    lengths, empty = (_of_texts(before, parts, name) for name in ("lengths", "empty"))
    aged = before.aged + _came(parts).ids + _ids_in(parts, GONE).ids
    return Whole(ids, added_up(groups), lengths, empty, before.missing, aged)


def _of_texts(before: Whole, parts: Sequence[_Part], name: str) -> tuple[int, ...]:
    """The totals of the texts that stay. A text that is the same may be divided differently among its columns."""
    old = ([-value for value in getattr(part, f"old_{name}")] for part in parts)
    new = (getattr(part, f"new_{name}") for part in parts if part.kind == SAME)
    return by_column([getattr(before, name), *old, *new])


def _came(parts: Sequence[_Part]) -> IdCount:
    """Ids that the source did not have before."""
    return _sum([part for part in parts if not part.before and part.kind in (SAME, CHANGED)])


def _ids_in(parts: Sequence[_Part], kind: str) -> IdCount:
    return _sum([part for part in parts if part.kind == kind])


def _sum(parts: Iterable[_Part]) -> IdCount:
    return sum((part.ids for part in parts), IdCount(0, 0))


def _less(ids: IdCount, others: IdCount) -> IdCount:
    return IdCount(ids.ids - others.ids, ids.digest ^ others.digest)
