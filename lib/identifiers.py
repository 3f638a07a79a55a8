"""Names taken literally: dots, blanks and backticks in the name of a column or table are part of it."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F


def quoted(name: str) -> str:
    """A name as SQL takes it literally."""
    return "`" + name.replace("`", "``") + "`"


def column(name: str, of: str | None = None) -> Column:
    """A column by its literal name, of the frame with the alias `of` if one is given."""
    return F.col(f"{of}.{quoted(name)}" if of else quoted(name))
