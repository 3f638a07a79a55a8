"""What is refused before any row is read: columns that are missing or of another type, and places that cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pyspark.sql import SparkSession
from pyspark.sql.types import NullType, StringType, StructField

from lib.errors import InputError
from lib.identifiers import column
from lib.scoring.catalogue import LENGTHS
from lib.scoring.plan import Plan
from lib.tables.columns import CARRIED_TYPES, ID_TYPES, require_columns, require_order, require_text
from lib.tables.locations import check_place, delta_table, is_delta, storage_uri
from lib.tables.sources import Source
from lib.tables.target import VANISHED, Tables
from schemas.tables import CATEGORIZED


def typed_as_in(spark: SparkSession, source: Source, tables: Tables, plan: Plan) -> Source:
    """The source, whose carried columns without a value, and so without a type, have that of the table; text where it has none either."""
    untyped = [field.name for field in source.frame.schema.fields if isinstance(field.dataType, NullType)]
    if not untyped:
        return source
    there = delta_table(spark, tables.categorized).toDF().schema.fields if is_delta(spark, tables.categorized) else []
    kinds = {field.name.lower(): field.dataType for field in there}
    texts = dict.fromkeys((name.lower() for name in plan.columns.text), StringType())
    values = {name: column(name).cast({**kinds, **texts}.get(name.lower(), StringType())) for name in untyped}
    return replace(source, frame=source.frame.withColumns(values))


def check_input(spark: SparkSession, source: Source, tables: Tables, plan: Plan) -> list[StructField]:
    """Check columns and places, before any row is read; returns the carried columns' fields."""
    columns, frame, where = plan.columns, source.frame, source.location.given
    check_place(spark, tables.categorized)
    check_carried_names(columns.carry)
    require_columns(frame, where, id_column=([columns.id], ID_TYPES), carry=(columns.carry, CARRIED_TYPES))
    require_text(frame, where, columns.text)
    require_order(frame, where, columns.order_by)
    ours = {storage_uri(spark, location) for location in (tables.categorized, tables.rejected, tables.runs)}
    if storage_uri(spark, source.location) in ours:
        raise InputError(f"Expected a target apart from the source, found {where} as both; choose another --target.")
    return [frame.schema[name] for name in columns.carry]


def check_carried_names(names: Sequence[str]) -> None:
    """Refuse carried columns that the table could not hold, or that would be mistaken for the run's own columns.

    Raises:
        InputError: names of ours in any case, a name twice, or a character that Delta does not take.
    """
    ours = {*CATEGORIZED.names, "text", "score", VANISHED, LENGTHS}
    lower = [name.lower() for name in names]
    taken = [name for name in names if name.lower() in ours]
    if taken:
        raise InputError(
            f"Expected carried columns under names of their own, found {', '.join(taken)}; rename them in the source."
        )
    twice = sorted({name for name in names if lower.count(name.lower()) > 1})
    if twice:
        raise InputError(f"Expected each column once in --carry, found {', '.join(twice)}; correct it.")
    odd = [name for name in names if set(name) & set(" ,;{}()\n\t=")]
    if odd:
        raise InputError(
            f"Expected carried columns with names that a Delta table takes, without blanks and , ; {{ }} ( ) =, found "
            f"{', '.join(map(repr, odd))}; rename them in the source."
        )
