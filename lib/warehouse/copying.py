"""Rows into a table of the warehouse, by COPY."""

from __future__ import annotations

from psycopg import sql
from pyspark.sql import DataFrame

from lib.errors import InputError
from lib.failpoints import reached
from lib.tables.locations import Location
from lib.warehouse.lines import Stream, refused_row
from lib.warehouse.server import Connection


def copy(
    connection: Connection, table: Location, into: sql.Composable, made: DataFrame, many: bool = False, option: str = ""
) -> tuple[int, int]:
    """The number of rows copied, and how many of them have a U+FFFD.

    Args:
        table: where the rows come from, for messages. made, many: as for lib.warehouse.lines.Stream. option: of COPY, with a comma.
    Raises:
        InputError: a row that PostgreSQL cannot store.
    """
    stream = Stream(made, many)
    query = sql.SQL("COPY {} FROM STDIN WITH ({} FORMAT csv)").format(into, sql.SQL(option))  # type: ignore[arg-type]
    try:
        with connection.cursor() as cursor:
            with cursor.copy(query) as sent:
                for number, piece in enumerate(stream.pieces()):
                    sent.write(piece)
                    if not number:
                        reached("copying")
            return cursor.rowcount, stream.altered
    except Exception as error:
        refused = refused_row(error)
        if refused is None:
            raise
        raise InputError(
            f"Expected dates from the year 1 to PostgreSQL's last in {table.given}, found another: the product {refused}; correct it in the source, "
            "or do not carry the column."
        ) from None
