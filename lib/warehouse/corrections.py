"""What people have said of the products, beside the table in the warehouse: replaced whole whenever it has changed, they are few."""

from __future__ import annotations

from psycopg import sql
from pyspark.sql import SparkSession

from lib.errors import InputError
from lib.tables.corrections import corrections_of, standing
from lib.tables.locations import Location, is_delta, newest_snapshot, pinned
from lib.warehouse.columns import ID, columns_of
from lib.warehouse.copying import copy
from lib.warehouse.lines import lines
from lib.warehouse.server import Connection, Name, kind_of
from schemas.tables import COMMENTS, PUBLISHED_CORRECTIONS

# What the warehouse says of its columns.
SAID = {**{name: COMMENTS[name] for name in PUBLISHED_CORRECTIONS.names}, "category": "what the person says"}
# In the table's comment: which version of the lake's corrections it holds.
MARK = "corrections of people that stand, as published from the lake; version "
NONE = "none"


def load_corrections(spark: SparkSession, table: Location, connection: Connection, name: Name) -> int | None:
    """Bring TABLE_corrections to the corrections that stand in the lake, within the transaction of whoever calls.

    Returns:
        How many they are; None where it holds them already.
    Raises:
        InputError: a table of that name that publish has not made.
    """
    there, wanted = _published(connection, name.corrections), _version(spark, table)
    if there == wanted:
        return None
    if there is None:
        _create(connection, name.corrections)
    else:
        connection.execute(sql.SQL("DELETE FROM {}").format(name.corrections.sql))
    rows = standing(spark, table)
    columns = columns_of(PUBLISHED_CORRECTIONS, corrections_of(table).given)
    count = (
        copy(connection, table, name.corrections.sql, lines(rows.select(*PUBLISHED_CORRECTIONS.names), columns))[0]
        if rows is not None
        else 0
    )
    comment = sql.SQL("COMMENT ON TABLE {} IS {}").format(name.corrections.sql, sql.Literal(f"{MARK}{wanted}"))
    connection.execute(comment)
    return count


def _version(spark: SparkSession, table: Location) -> str:
    location = corrections_of(table)
    return pinned(spark, newest_snapshot(spark, location)) if is_delta(spark, location) else NONE


def _published(connection: Connection, corrections: Name) -> str | None:
    """The version that it holds; None where there is no such table."""
    if kind_of(connection, corrections) is None:
        return None
    row = connection.execute("SELECT obj_description(%s::regclass, 'pg_class')", (corrections.quoted(connection),)).fetchone()
    comment = str(row[0] or "") if row else ""
    if not comment.startswith(MARK):
        raise InputError(
            f"Expected nothing yet under the name {corrections}, or what publish has made, found another table; rename it, or choose another --table."
        )
    return comment.removeprefix(MARK)


def _create(connection: Connection, corrections: Name) -> None:
    columns = columns_of(PUBLISHED_CORRECTIONS, "")
    definitions = sql.SQL(", ").join(column.definition for column in columns)
    key = sql.Identifier(ID)
    connection.execute(sql.SQL("CREATE TABLE {} ({}, PRIMARY KEY ({}))").format(corrections.sql, definitions, key))
    for column in columns:
        connection.execute(
            sql.SQL("COMMENT ON COLUMN {}.{} IS {}").format(corrections.sql, column.identifier, sql.Literal(SAID[column.name]))
        )
