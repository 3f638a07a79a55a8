"""A run on a source of files, some of which are as the previous run has read them: only the others are read.

Their rows may take the place of rows in files that are gone. Which ids those had is known by their count and digest alone, so this works
where the ids that come and that the table already holds are just these. Wherever they are not, such as where a product is gone, the run compares all
rows instead (lib.scoring.comparison).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lib.identifiers import column
from lib.scoring.catalogue import (
    LENGTHS,
    CatalogueColumns,
    catalogue_columns,
    hashes_of,
    lengths_of,
    usable_id,
)
from lib.scoring.changes import select_came
from lib.scoring.comparison import content_in_source, content_of
from lib.scoring.known_files import FILE, FileCounts, Known, count_files, file_hash, ids_of, key_of, known, of_files, totals_of
from lib.scoring.scratch import Scratch
from lib.scoring.selection import Selection
from lib.scoring.whole import Whole
from lib.tables.listing import File
from lib.tables.sources import Source
from lib.tables.transactions import MOST_IDS_TO_BROADCAST

# Files of the sizes of files that are gone are likely to be these, written again: where they are at least this share of all that would be
# read, they are read once to find out.
LIKELY_THE_SAME = 0.9
# Where a greater share of the bytes is new, reading everything once is the cheaper way.
MOST_NEW = 0.5


@dataclass(frozen=True)
class Delivery:
    """The files of a source. still: those that the previous run has read, as it recorded them; fresh: all others; gone: what it has read besides."""

    still: Sequence[Known]
    fresh: Sequence[File]
    gone: Sequence[Known]

    def less(self, again: Mapping[File, Known]) -> Delivery:
        """Without fresh files that hold the same rows as some that are gone."""
        theirs = {file.key for file in again.values()}
        written = [Known(key_of(file), file.size, same.counts) for file, same in again.items()]
        return Delivery(
            [*self.still, *written],
            [file for file in self.fresh if file not in again],
            [file for file in self.gone if file.key not in theirs],
        )


def delivered(source: Source, before: Mapping[str, Known]) -> Delivery:
    """before: the files that the previous run recorded, by key."""
    there = {key_of(file): file for file in source.files}
    return Delivery(
        [file for key, file in before.items() if key in there],
        [file for key, file in there.items() if key not in before],
        [file for key, file in before.items() if key not in there],
    )


def select_fresh(
    source: Source,
    columns: CatalogueColumns,
    max_characters: int,
    files: Mapping[str, Known],
    before: Whole,
    present: DataFrame,
    may_stay: Column,
    scratch: Scratch,
) -> Selection | None:
    """The rows of the files that changed which the table does not hold; None where all rows have to be compared.

    Args:
        files, before: what the previous run has recorded about the source.
        present, may_stay, scratch: as in lib.scoring.comparison.compare.
    """
    if len(before.lengths) != len(columns.text):
        return None
    delivery = delivered(source, files)
    if _are_likely_the_same(delivery):
        delivery = delivery.less(_written_again(source, columns, max_characters, delivery))
    if sum(file.size for file in delivery.fresh) > MOST_NEW * sum(file.size for file in source.files):
        return None
    gone = totals_of(delivery.gone, len(columns.text))
    came = _read(source, columns, max_characters, delivery.fresh, scratch)
    if came is None:
        return None
    left = replace(before, lengths=_less(before.lengths, gone.lengths), empty=_less(before.empty, gone.empty))
    selection = select_came(source, columns, came.drop(FILE), ids_of(gone), before, left, present, may_stay, scratch)
    return selection and replace(selection, files=[*delivery.still, *known(_counted(source, columns, came))])


def _are_likely_the_same(delivery: Delivery) -> bool:
    sizes = {file.size for file in delivery.gone}
    same = sum(file.size for file in delivery.fresh if file.size in sizes)
    return same > 0 and same >= LIKELY_THE_SAME * sum(file.size for file in delivery.fresh)


def _written_again(source: Source, columns: CatalogueColumns, max_characters: int, delivery: Delivery) -> dict[File, Known]:
    """Of the fresh files those with the same rows as one that is gone, and that one."""
    content = content_in_source(columns, max_characters)
    lengths = {f"length {i}": length for i, length in enumerate(lengths_of(columns, max_characters))}
    # Without a usable id a row has no hash, and its file no counts that an earlier run could have recorded.
    rows = of_files(source, delivery.fresh).select(
        file_hash().alias(FILE),
        hashes_of(usable_id(columns))[0],
        content.alias("content"),
        *[length.alias(n) for n, length in lengths.items()],
    )
    counted = count_files(source, rows, [F.col(name) for name in lengths])
    gone: dict[FileCounts, list[Known]] = {}
    for file in delivery.gone:
        gone.setdefault(file.counts, []).append(file)
    return {file: gone[counts].pop() for file, counts in counted.items() if gone.get(counts)}


def _read(
    source: Source, columns: CatalogueColumns, max_characters: int, files: Sequence[File], scratch: Scratch
) -> DataFrame | None:
    """The rows of the files, kept on disk, with FILE; None where they are too many to be looked up."""
    rows = of_files(source, files).select(*catalogue_columns(columns, max_characters, measured=True), file_hash().alias(FILE))
    kept = scratch.keep(rows)
    return None if kept.count() > 2 * MOST_IDS_TO_BROADCAST else kept


def _counted(source: Source, columns: CatalogueColumns, came: DataFrame) -> dict[File, FileCounts]:
    hashed, _ = hashes_of(F.col("product_id"))
    rows = came.select(column(FILE), hashed, content_of(F.col("text_hash"), columns.carry).alias("content"), LENGTHS)
    return count_files(source, rows, [F.get(LENGTHS, F.lit(i)) for i in range(len(columns.text))])


def _less(totals: Sequence[int], others: Sequence[int]) -> tuple[int, ...]:
    return tuple(total - other for total, other in zip(totals, others, strict=True))
