"""Applies the staged changes to the table: rows to put and ids to remove."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from psycopg import sql

from lib.warehouse.changes import PUT, REMOVE
from lib.warehouse.columns import DOUBLE, ID, JSON, REAL, Column, listed
from lib.warehouse.server import Connection, Name, rows_in
from lib.warehouse.state import Counts

# Dropped with the transaction. Its columns have names that none of the table's can have.
STAGING = sql.SQL("pg_temp.staged")
# What PostgreSQL takes for equal, and a comparison of every row does not (lib.warehouse.digests): 0 and -0, and in JSON 1.0 and 1.00.
APART = {REAL: "float8send({0})", DOUBLE: "float8send({0})", JSON: "{0}::text"}


def create_staging(connection: Connection, columns: Sequence[Column]) -> sql.Composable:
    """A table of this transaction alone: the columns by their positions, the operation and its order."""
    connection.execute("DROP TABLE IF EXISTS pg_temp.staged")
    fields = [sql.SQL("{} {}").format(_at(columns, column), sql.SQL(column.kind)) for column in columns]  # type: ignore[arg-type]
    query = "CREATE TEMPORARY TABLE staged ({}, operation text, number bigint) ON COMMIT DROP"
    connection.execute(sql.SQL(query).format(sql.SQL(", ").join(fields)))
    return STAGING


def _at(columns: Sequence[Column], column: Column) -> sql.Identifier:
    return sql.Identifier(f"c{columns.index(column)}")


def merge(
    connection: Connection, name: Name, staged: sql.Composable, columns: Sequence[Column], complete: bool
) -> tuple[Counts, int]:
    """Change the table; returns how many rows changed, and how many it has now.

    Args:
        complete: the staged rows are all that the table should have.
    """
    identity = next(column for column in columns if column.name == ID)
    names = {
        "table": name.sql,
        "staged": staged,
        "id": _at(columns, identity),
        "put": sql.Literal(PUT),
        "remove": sql.Literal(REMOVE),
    }
    # Without its statistics PostgreSQL assumes a small table.
    connection.execute(sql.SQL("ANALYZE {staged}").format(**names))
    if not complete:
        # If a row changed more than once, the last change counts. If a version deletes a row and adds it again, it exists.
        superseded = "DELETE FROM {staged} one USING {staged} newer WHERE newer.{id} = one.{id} AND (newer.number, newer.operation) > (one.number, one.operation)"
        connection.execute(sql.SQL(superseded).format(**names))
    gone = "NOT EXISTS (SELECT FROM {staged} s WHERE s.{id} = t.product_id)"
    named = "EXISTS (SELECT FROM {staged} s WHERE s.{id} = t.product_id AND s.operation = {remove})"
    removed = connection.execute(
        sql.SQL(f"DELETE FROM {{table}} t WHERE {gone if complete else named}").format(**names)
    ).rowcount
    inserted, updated = _put(connection, columns, names)
    return Counts(inserted, updated, removed), rows_in(connection, name)


def _put(connection: Connection, columns: Sequence[Column], names: dict[str, sql.Composable]) -> tuple[int, int]:
    """Rows added and changed. A row that is in the table already is not written again."""
    places = sql.SQL(", ").join(_at(columns, column) for column in columns)
    others = [column for column in columns if column.name != ID]
    apart = [column for column in others if column.kind in APART]
    assignments = sql.SQL(", ").join(sql.SQL("{0} = EXCLUDED.{0}").format(column.identifier) for column in others)
    query = """
        WITH written AS (
            INSERT INTO {table} AS t ({columns}) SELECT {places} FROM {staged} WHERE operation = {put}
            ON CONFLICT (product_id) DO UPDATE SET {assignments}
            WHERE ROW({present}) IS DISTINCT FROM ROW({fresh}) OR ROW({told}) IS DISTINCT FROM ROW({told_fresh})
            RETURNING xmax = 0 AS inserted
        )
        SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted) FROM written
    """
    more = {
        "columns": listed(columns),
        "places": places,
        "assignments": assignments,
        "present": _values(others, "t", {}),
        "fresh": _values(others, "EXCLUDED", {}),
        "told": _values(apart, "t", APART),
        "told_fresh": _values(apart, "EXCLUDED", APART),
    }
    found = connection.execute(sql.SQL(query).format(**names, **more)).fetchone()  # type: ignore[arg-type]
    assert found
    return found[0], found[1]


def _values(columns: Sequence[Column], of: str, told: Mapping[str, str]) -> sql.Composable:
    """The columns of a row. told: for some kinds, the SQL that replaces the column."""
    names = (sql.SQL(f"{of}.{{}}").format(column.identifier) for column in columns)
    texts = (sql.SQL(told.get(column.kind, "{0}")) for column in columns)  # type: ignore[arg-type]
    return sql.SQL(", ").join(text.format(name) for text, name in zip(texts, names, strict=True))
