"""Publishes a version of the table to the warehouse, in one transaction: decide, stage, change the rows, count, record the state."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from psycopg import sql
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lib.errors import GuardrailError, InputError
from lib.failpoints import reached
from lib.tables.locations import Location, files_and_bytes, files_are_gone, newest_snapshot, pinned, rows_at, rows_counted
from lib.warehouse.changes import OPERATION, ORDER, all_rows, changes
from lib.warehouse.columns import ID, Column, columns_of
from lib.warehouse.copying import copy
from lib.warehouse.corrections import load_corrections
from lib.warehouse.ddl import alter_table, create_table
from lib.warehouse.lines import FEW, lines
from lib.warehouse.merge import create_staging, merge
from lib.warehouse.server import Connection, Name, alone, kind_of, rows_in
from lib.warehouse.state import Counts, State, read_state, write_state
from lib.warehouse.versions import check_ids_once, newest_run, only_maintenance, reason_for_all

Say = Callable[[str], None]
# Mean size of files (bytes) above which rows are repartitioned: the packed lines of one are about as large, and the driver keeps some of them.
LARGE_FILE = 64 << 20
# In Parquet; a table with more bytes than FEW such rows counts as large without a look.
MOST_BYTES_A_ROW = 400
NOTHING, NOTE_ONLY, FIRST, ALL, CHANGES = "nothing", "note only", "first", "all", "changes"


@dataclass(frozen=True)
class Loaded:
    """What was done. counts: None if the warehouse had that version already. how: where the rows came from. altered: rows sent with a U+FFFD for what PostgreSQL
    cannot store. corrections: how many are in force, if they have changed; None if they have not."""

    state: State
    counts: Counts | None
    how: str = ""
    altered: int = 0
    corrections: int | None = None


@dataclass(frozen=True)
class Load:
    """One publication: the table's newest version, to a table of the warehouse."""

    spark: SparkSession
    table: Location
    connection: Connection
    name: Name
    say: Say
    reload: bool = False


def load(one: Load) -> Loaded:
    """Bring the warehouse to the table's newest version.

    Raises:
        InputError: the table, or the content of the warehouse, is not as expected; nothing was written.
        GuardrailError: the rows do not add up; nothing was written.
    """
    with alone(one.connection, one.name, one.say):
        reached("locked")
        there = read_state(one.connection, one.name)
        wanted = _wanted(one)
        way, because = _way(one, there, wanted)
        corrections = load_corrections(one.spark, one.table, one.connection, one.name, one.reload)
        if way == NOTHING:
            assert there
            return Loaded(there, None, corrections=corrections)
        done = replace(_publish(one, there, wanted, way, because), corrections=corrections)
        reached("merged")
    reached("loaded")
    return done


def _publish(one: Load, there: State | None, wanted: State, way: str, because: str) -> Loaded:
    if way == NOTE_ONLY:
        assert there
        counts, how, altered, held = Counts(), because, 0, there.rows
    elif way == FIRST:
        counts, altered = _first(one, wanted)
        how, held = because, counts.inserted
    else:
        assert there
        counts, how, altered, held = _onto(one, there, wanted, way, because)
    expected = rows_counted(one.spark, one.table, wanted.version.number) if way != NOTE_ONLY else held
    if held != expected and way == CHANGES:
        found = f"{one.name} came to {held:,} rows where version {wanted.version.number} has {expected:,}"
        one.say(f"{found}, since another writer has changed it: publishing all rows")
        return _publish(one, there, wanted, ALL, f"all rows, since {found}")
    if held != expected:
        check_ids_once(one.spark, one.table, wanted.version.number)
        raise GuardrailError(
            f"Expected the {expected:,} rows of version {wanted.version.number} of {one.table.given} in {one.name}, found {held:,}; nothing was "
            "written; report this unless a trigger or a rule on the table has changed them."
        )
    state = replace(wanted, rows=held)
    write_state(one.connection, one.name, state, counts)
    return Loaded(state, counts, how, altered)


def _wanted(one: Load) -> State:
    """The state of the warehouse after the newest version is published."""
    snapshot = newest_snapshot(one.spark, one.table)
    version = pinned(one.spark, snapshot)
    schema = rows_at(one.spark, one.table, version.number).schema
    run = newest_run(one.spark, one.table, version.number)
    return State(one.table.uri, version, run, 0, columns_of(schema, one.table.given))


def _way(one: Load, there: State | None, wanted: State) -> tuple[str, str]:
    """How to bring the warehouse from its state to the wanted one, and the text that reports it.

    Raises:
        InputError: the existing table is not ours, or another table's.
    """
    exists = kind_of(one.connection, one.name) is not None
    if there is None and exists:
        raise InputError(
            f"Expected nothing yet under the name {one.name}, or the table that publish created, found a table without {one.name.state} next to it; "
            "choose another --table, or drop it."
        )
    if there is None or not exists:
        return FIRST, "all rows, for the first time" if there is None else f"all rows, since {one.name} was gone"
    if there.version.table_id != wanted.version.table_id and there.source != wanted.source and not one.reload:
        raise InputError(
            f"Expected the rows of {wanted.source} in {one.name}, found those of {there.source}; give another --table, or --reload to "
            "replace them."
        )
    reason = _reason_for_all(one, there, wanted)
    if reason:
        return ALL, f"all rows, since {reason}"
    is_same = there.version == wanted.version
    if not is_same and not only_maintenance(one.spark, one.table, there.version.number, wanted.version.number):
        return CHANGES, ""
    # No row is sent that would show what another writer has done.
    held = rows_in(one.connection, one.name)
    if held != there.rows:
        return ALL, f"all rows, since {one.name} has {held:,} where version {there.version.number} has {there.rows:,}"
    return (NOTHING, "") if is_same else (NOTE_ONLY, "no row, since only maintenance has changed the table")


def _reason_for_all(one: Load, there: State, wanted: State) -> str | None:
    reason = reason_for_all(one.spark, one.table, there.version, wanted.version, one.reload)
    if reason is None and {c.name: c.kind for c in there.columns} != {c.name: c.kind for c in wanted.columns}:
        return "its columns have changed"
    return reason


def _first(one: Load, wanted: State) -> tuple[Counts, int]:
    """Create the table and fill it."""
    create_table(one.connection, one.name, wanted.columns)
    rows, many = _all_rows(one, wanted.version.number)
    # Nobody else sees rows of a table that this transaction has created, so they can be frozen at once.
    copied, altered = copy(one.connection, one.table, one.name.sql, lines(rows, wanted.columns), many, " FREEZE,")
    one.connection.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY (product_id)").format(one.name.sql))
    reached("staged")
    return Counts(inserted=copied), altered


def _onto(one: Load, there: State, wanted: State, way: str, because: str) -> tuple[Counts, str, int, int]:
    """Stage the changes and apply them. Returns the counts, the origin, the rows with a U+FFFD, and the rows that the table has now."""
    alter_table(one.connection, one.name, there.columns, wanted.columns)
    staged = create_staging(one.connection, wanted.columns)
    how, altered = because, 0
    if way == CHANGES:
        try:
            how, altered = _stage_changes(one, staged, there, wanted)
        except Exception as error:
            if not files_are_gone(error):
                raise
            way, how = ALL, f"all rows, since version {there.version.number} can no longer be read (vacuumed)"
            one.say(f"version {there.version.number} of {one.table.given} can no longer be read: publishing all rows")
    if way == ALL:
        rows, many = _all_rows(one, wanted.version.number)
        altered = _stage(one, staged, rows, wanted.columns, many)
    reached("staged")
    counts, held = merge(one.connection, one.name, staged, wanted.columns, complete=way == ALL)
    return counts, how, altered, held


def _stage_changes(one: Load, staged: sql.Composable, there: State, wanted: State) -> tuple[str, int]:
    found, of = changes(one.spark, one.table, there.version.number, wanted.version.number)
    # If files turn out to be gone, what was staged until then is rolled back.
    with one.connection.transaction():
        altered = _stage(one, staged, found, wanted.columns)
    return f"what changed since version {there.version.number}, by {of}", altered


def _all_rows(one: Load, version: int) -> tuple[DataFrame, bool]:
    """All rows of the newest version, in partitions small enough that the driver's JVM can keep several, and whether there are many rows."""
    rows, (files, size) = all_rows(one.spark, one.table, version), files_and_bytes(one.spark, one.table)
    many = size > FEW * MOST_BYTES_A_ROW
    return (rows if size <= files * LARGE_FILE else rows.repartition(math.ceil(size / LARGE_FILE), ID)), many


def _stage(one: Load, staged: sql.Composable, rows: DataFrame, columns: Sequence[Column], many: bool = False) -> int:
    _, altered = copy(one.connection, one.table, staged, lines(rows, columns, F.col(OPERATION), F.col(ORDER)), many)
    return altered
