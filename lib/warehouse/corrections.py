"""People's corrections, next to the table in the warehouse: all are replaced whenever one has changed, since they are few."""

from __future__ import annotations

from psycopg import sql
from pyspark.sql import DataFrame, SparkSession

from lib.errors import InputError
from lib.tables.corrections import corrections_of, standing
from lib.tables.locations import Location, is_delta, newest_snapshot, pinned
from lib.tables.pinned import PinnedVersion
from lib.warehouse.columns import ID, columns_of
from lib.warehouse.copying import copy
from lib.warehouse.lines import lines
from lib.warehouse.server import Connection, Name, kind_of, rows_in
from schemas.tables import COMMENTS, PUBLISHED_CORRECTIONS

# The comments of its columns in the warehouse.
SAID = {**{name: COMMENTS[name] for name in PUBLISHED_CORRECTIONS.names}, "category": "the category that the person gave"}
# In the table's comment: which version of the lake's corrections it has, and how many there are. Stored, so they never change.
MARK, ROWS = "corrections of people that stand, as published from the lake; version ", "; rows "
NONE = "none"


def version_said(spark: SparkSession, table: Location) -> str:
    """The newest version of the lake's corrections, as the text of a PinnedVersion; NONE if nobody has corrected yet."""
    location = corrections_of(table)
    return str(pinned(spark, newest_snapshot(spark, location))) if is_delta(spark, location) else NONE


def check_not_lost(table: Location, held: str | None, wanted: str, again: bool) -> None:
    """Refuse to publish that there are no corrections where there were some: withdrawn ones are still stored, so their table is not found.

    Args:
        held: the version that was published before, None if there is none; wanted: that of the lake; again: whether all is to be published anew.
    Raises:
        InputError: names the table's place.
    """
    if wanted == NONE and held not in (None, NONE) and not again:
        raise InputError(
            f"Expected the corrections at {corrections_of(table).given}, which were published before, found no table there that this user can read; "
            "restore it, name the --target that it is next to, or give --reload to publish that there are none."
        )


def rows_said(spark: SparkSession, table: Location, version: str) -> DataFrame:
    """The corrections in force at a version, in the columns of PUBLISHED_CORRECTIONS."""
    rows = None if version == NONE else standing(spark, table, PinnedVersion.of(version).number)
    return spark.createDataFrame([], PUBLISHED_CORRECTIONS) if rows is None else rows.select(*PUBLISHED_CORRECTIONS.names)


def load_corrections(
    spark: SparkSession, table: Location, connection: Connection, name: Name, again: bool = False
) -> int | None:
    """Bring TABLE_corrections to the corrections in force in the lake, within the caller's transaction.

    Args:
        again: even if it reports that it has them, and has as many.
    Returns:
        How many there are; None if it has them already.
    Raises:
        InputError: a table of that name that publish did not create, or published corrections that the lake no longer has.
    """
    there, wanted = _comment(connection, name.corrections), version_said(spark, table)
    check_not_lost(table, _version_in(there), wanted, again)
    # An older release has not stored their number.
    if there is not None and not again and there == f"{wanted}{ROWS}{rows_in(connection, name.corrections)}":
        return None
    if there is None:
        _create(connection, name.corrections)
    else:
        connection.execute(sql.SQL("DELETE FROM {}").format(name.corrections.sql))
    columns = columns_of(PUBLISHED_CORRECTIONS, corrections_of(table).given)
    count = 0
    if wanted != NONE:
        count, _ = copy(connection, table, name.corrections.sql, lines(rows_said(spark, table, wanted), columns))
    comment = sql.SQL("COMMENT ON TABLE {} IS {}").format(name.corrections.sql, sql.Literal(f"{MARK}{wanted}{ROWS}{count}"))
    connection.execute(comment)
    return count


def published_version(connection: Connection, corrections: Name) -> str | None:
    """The version that the table has; None if there is no such table."""
    return _version_in(_comment(connection, corrections))


def _version_in(comment: str | None) -> str | None:
    return None if comment is None else comment.split(ROWS)[0]


def _comment(connection: Connection, corrections: Name) -> str | None:
    """What its comment tells after MARK; None if there is no such table."""
    if kind_of(connection, corrections) is None:
        return None
    row = connection.execute("SELECT obj_description(%s::regclass, 'pg_class')", (corrections.quoted(connection),)).fetchone()
    comment = str(row[0] or "") if row else ""
    if not comment.startswith(MARK):
        raise InputError(
            f"Expected nothing yet under the name {corrections}, or the table that publish created, found another table; rename it, or choose another --table."
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
