"""Creates the table in the warehouse, and keeps its columns those of the lake."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from lib.warehouse.columns import Column
from lib.warehouse.server import Connection, Name


def create_table(connection: Connection, name: Name, columns: Sequence[Column]) -> None:
    """Create the table without its primary key, which is built faster after the rows."""
    definitions = sql.SQL(", ").join(column.definition for column in columns)
    connection.execute(sql.SQL("CREATE TABLE {} ({})").format(name.sql, definitions))
    _comment(connection, name, columns)
    about = f"products and their categories, as published from the lake; the table {name.state.table} records what is in it"
    connection.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(name.sql, sql.Literal(about)))


def alter_table(connection: Connection, name: Name, there: Sequence[Column], wanted: Sequence[Column]) -> None:
    """Drop and add columns; a column with another type is another column. Columns that a user has added stay."""
    known, kept = set(there), set(wanted)
    for column in there:
        if column not in kept:
            connection.execute(sql.SQL("ALTER TABLE {} DROP COLUMN {}").format(name.sql, column.identifier))
    added = [column for column in wanted if column not in known]
    for column in added:
        connection.execute(sql.SQL("ALTER TABLE {} ADD COLUMN {}").format(name.sql, column.definition))
    _comment(connection, name, added)


def _comment(connection: Connection, name: Name, columns: Sequence[Column]) -> None:
    for column in columns:
        if column.comment:
            connection.execute(
                sql.SQL("COMMENT ON COLUMN {}.{} IS {}").format(name.sql, column.identifier, sql.Literal(column.comment))
            )
