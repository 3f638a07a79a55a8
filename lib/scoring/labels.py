"""The label of a labelled row, out of its columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import reduce
from operator import or_

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lib.errors import InputError
from lib.identifiers import column

BLANKS_AROUND = r"(?U)^\s+|\s+$"


def label_of(columns: Sequence[str], separator: str | None) -> Column:
    """The label as text, without blanks of any kind around it; null or empty for none. lib.model.changes.plain gives it its one spelling, on the driver.

    Args:
        columns: of lib.tables.columns.LABEL_TYPES; one, or with a separator several, the top level first: a label ends at its first empty level.
        separator: what separates the levels of a label that is a path, as lib.model.tree.path_of reads it; None for a flat list.
    """
    if separator is None:
        return _stripped(_text(columns[0]))
    if len(columns) == 1:
        levels = F.split(_text(columns[0]), re.escape(separator))
        return F.array_join(F.filter(F.transform(levels, _stripped), lambda level: level != ""), separator)
    levels = F.transform(F.array(*map(_text, columns)), lambda level: F.coalesce(_stripped(level), F.lit("")))
    end = F.array_position(levels, "")
    return F.array_join(F.when(end > 0, F.slice(levels, F.lit(1), (end - 1).cast("int"))).otherwise(levels), separator)


def check_level_names(frame: DataFrame, where: str, columns: Sequence[str], separator: str | None) -> None:
    """Check levels that have their own columns: none may be read as two.

    Args:
        columns, separator: as in `label_of`. where: as the user named it.
    Raises:
        InputError: a level that contains the separator.
    """
    if separator is None or len(columns) < 2:
        return
    parted = reduce(or_, [F.contains(_text(name), F.lit(separator)) for name in columns])
    found = frame.filter(parted).select(*map(column, columns)).head()
    if found:
        raise InputError(
            f"Expected names of levels without {separator!r} in {', '.join(columns)} of {where}, found {found[:]!r:.200}; rename these levels, or "
            "train with another --label-separator."
        )


def _text(name: str) -> Column:
    """A column of lib.tables.columns.LABEL_TYPES as text: 3, true, 3.50 of a decimal with two places, 2026-01-31."""
    return column(name).cast("string")


def _stripped(text: Column) -> Column:
    return F.regexp_replace(text, BLANKS_AROUND, "")
