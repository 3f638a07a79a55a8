"""The state of the warehouse: one row in a table next to the products, written in the transaction that changes them."""

from __future__ import annotations

import json
from dataclasses import dataclass

from psycopg import sql

from lib.errors import InputError
from lib.tables.pinned import PinnedVersion
from lib.warehouse.columns import ID, Column
from lib.warehouse.server import Connection, Name, kind_of

COMMENTS = {
    "source": "where the Delta table is",
    "delta_table": "the Delta table's id",
    "delta_version": "the version of the Delta table whose rows these are",
    "delta_commit": "digest of the commit that made that version",
    "run_id": "the newest run in that version; key into its table of runs",
    "rows": "rows of that version",
    "rows_inserted": "rows that the newest publication added",
    "rows_updated": "rows that it changed",
    "rows_deleted": "rows that it removed",
    "published_at": "when it was published",
    "columns": "name and type of each column that publish maintains",
}
TYPES = ("text", "text", "bigint", "text", "text", "bigint", "bigint", "bigint", "bigint", "timestamptz", "jsonb")


@dataclass(frozen=True)
class Counts:
    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    @property
    def none(self) -> bool:
        return not (self.inserted or self.updated or self.deleted)


@dataclass(frozen=True)
class State:
    """source: the URI of the Delta table. rows: of that version of it."""

    source: str
    version: PinnedVersion
    run_id: str
    rows: int
    columns: tuple[Column, ...]


def read_state(connection: Connection, name: Name) -> State | None:
    """The state; None if nothing was published yet.

    Raises:
        InputError: another writer has changed its list of columns.
    """
    if kind_of(connection, name.state) is None:
        return None
    names = "source, delta_version, delta_table, delta_commit, run_id, rows, columns"
    row = connection.execute(sql.SQL("SELECT {} FROM {}").format(sql.SQL(names), name.state.sql)).fetchone()
    if row is None:
        return None
    source, version, table, commit, run_id, rows, columns = row
    return State(source, PinnedVersion(version, table, commit), run_id, rows, _columns(columns, name))


def _columns(found: object, name: Name) -> tuple[Column, ...]:
    columns = tuple(Column(*one) for one in found if _is_pair(one)) if isinstance(found, list) else ()
    if not isinstance(found, list) or len(columns) < len(found) or ID not in [column.name for column in columns]:
        raise InputError(
            f"Expected the name and type of each column of {name} in the column columns of {name.state}, as publish writes them, found "
            f"{json.dumps(found)[:200]}; undo that, or drop both tables and run again."
        )
    return columns


def _is_pair(found: object) -> bool:
    return isinstance(found, list) and len(found) == 2 and all(isinstance(one, str) for one in found)


def write_state(connection: Connection, name: Name, state: State, counts: Counts) -> None:
    """Replace the state."""
    if kind_of(connection, name.state) is None:
        _create(connection, name)
    connection.execute(sql.SQL("DELETE FROM {}").format(name.state.sql))
    columns = json.dumps([[column.name, column.kind] for column in state.columns])
    values = (
        state.source,
        state.version.table_id,
        state.version.number,
        state.version.commit,
        state.run_id,
        state.rows,
        counts.inserted,
        counts.updated,
        counts.deleted,
    )
    written = sql.SQL(", ").join(map(sql.Literal, values))
    query = sql.SQL("INSERT INTO {} VALUES ({}, clock_timestamp(), {})")
    connection.execute(query.format(name.state.sql, written, sql.Literal(columns)))


def _create(connection: Connection, name: Name) -> None:
    columns = ", ".join(f"{column} {kind} NOT NULL" for column, kind in zip(COMMENTS, TYPES, strict=True))
    connection.execute(sql.SQL("CREATE TABLE {} ({})").format(name.state.sql, sql.SQL(columns)))  # type: ignore[arg-type]
    for column, comment in COMMENTS.items():
        connection.execute(
            sql.SQL("COMMENT ON COLUMN {}.{} IS {}").format(name.state.sql, sql.Identifier(column), sql.Literal(comment))
        )
