"""The label of a labelled row, out of its columns."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F

from lib.identifiers import column

BLANKS_AROUND = r"(?U)^\s+|\s+$"


def label_of(columns: Sequence[str], separator: str | None) -> Column:
    """The label as text; null or empty for none.

    Args:
        columns: one, or with a separator several, the top level first: a label ends at its first empty level.
        separator: what separates the levels of a label that is a path, as lib.model.tree.path_of reads it; None for a flat list.
    """
    if separator is None:
        return F.trim(column(columns[0]))
    if len(columns) == 1:
        levels = F.split(column(columns[0]), re.escape(separator))
        return F.array_join(F.filter(F.transform(levels, _stripped), lambda level: level != ""), separator)
    levels = F.transform(F.array(*map(column, columns)), lambda level: F.coalesce(_stripped(level), F.lit("")))
    end = F.array_position(levels, "")
    return F.array_join(F.when(end > 0, F.slice(levels, F.lit(1), (end - 1).cast("int"))).otherwise(levels), separator)


def _stripped(text: Column) -> Column:
    return F.regexp_replace(text, BLANKS_AROUND, "")
