"""Checks that a source's columns exist and have a type that can be used."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql.types import (
    BinaryType,
    BooleanType,
    DataType,
    DateType,
    DayTimeIntervalType,
    DecimalType,
    IntegralType,
    NumericType,
    StringType,
    TimestampType,
    YearMonthIntervalType,
)

from lib.errors import InputError

TEXT_TYPES: tuple[type[DataType], ...] = (StringType,)
# Types that any reader of Delta tables supports; others, such as variants, would shut out older readers.
CARRIED_TYPES: tuple[type[DataType], ...] = (
    StringType,
    NumericType,
    BooleanType,
    DateType,
    TimestampType,
    BinaryType,
)
# What copies of an id are compared by: a variant, for one, has no order.
ORDERED_TYPES: tuple[type[DataType], ...] = (*CARRIED_TYPES, DayTimeIntervalType, YearMonthIntervalType)
# What has one form as text. Floating-point numbers have not: pandas makes 3.0 of a 3 in a column where a value is missing.
LABEL_TYPES: tuple[type[DataType], ...] = (StringType, IntegralType, BooleanType, DecimalType, DateType)
ID_TYPES: tuple[type[DataType], ...] = (StringType, IntegralType)


def require_columns(frame: DataFrame, where: str, **wanted: tuple[Sequence[str], tuple[type[DataType], ...]]) -> None:
    """Check that columns exist with a usable type, before any row is read.

    Args:
        wanted: option name = (column names, accepted types).
    Raises:
        InputError: names the columns that are missing or of another type, and those that exist.
    """
    types = {field.name: field.dataType for field in frame.schema.fields}
    there = ", ".join(f"{name} {kind.simpleString()}" for name, kind in types.items())
    for flag, (names, kinds) in wanted.items():
        missing = [name for name in names if name not in types]
        if missing:
            raise InputError(
                f"Expected the column {', '.join(missing)} in {where}, found {there or 'no columns'}; correct --{flag.replace('_', '-')}.",
                see="no-column",
            )
        for name in names:
            if not isinstance(types[name], kinds):
                expected = " or ".join(kind.__name__.removesuffix("Type").lower() for kind in kinds)
                raise InputError(
                    f"Expected the column {name} to be {expected} in {where}, found {types[name].simpleString()} "
                    f"(all columns: {there}); correct --{flag.replace('_', '-')}, or cast it in the source."
                )


def require_text(frame: DataFrame, where: str, names: Sequence[str], flag: str = "text_columns") -> None:
    """Check that at least one text column is named, and that each is of type string.

    Raises:
        InputError: as `require_columns`, or if no column is named.
    """
    if not names:
        raise InputError(f"Expected at least one text column, found none; give --{flag.replace('_', '-')}.")
    require_columns(frame, where, **{flag: (names, TEXT_TYPES)})


def require_labels(frame: DataFrame, where: str, names: Sequence[str], flag: str) -> None:
    """Check that at least one column with labels is named, and that each is text or can be read as such.

    Raises:
        InputError: as `require_columns`, or if no column is named.
    """
    if not names:
        raise InputError(f"Expected at least one column with labels, found none; give --{flag.replace('_', '-')}.")
    require_columns(frame, where, **{flag: (names, LABEL_TYPES)})


def require_order(frame: DataFrame, where: str, name: str | None) -> None:
    """Check that the column that decides the newest copy of an id, if one is named, has values with an order.

    Raises:
        InputError: as `require_columns`.
    """
    if name:
        require_columns(frame, where, order_by=([name], ORDERED_TYPES))
