"""Warehouse and lake side by side: both give a digest a row, in the order of the ids, and no row is held longer than it is looked at."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from psycopg import sql
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lib.errors import InputError
from lib.identifiers import column
from lib.tables.locations import Location, files_are_gone, rows_at, stands
from lib.warehouse.columns import ID
from lib.warehouse.digests import IDS_AND_DIGESTS, PART, digests, parts_in_lake, parts_in_postgresql, parts_of_rows
from lib.warehouse.lines import holdable
from lib.warehouse.server import SETTINGS, Connection, Name, kind_of
from lib.warehouse.state import State, read_state

# Rows of one sorted partition: the driver holds two of them.
ROWS_A_PARTITION = 500_000
ROWS_A_FETCH = 10_000
NOT_THERE, NO_LONGER, OTHERWISE = "lacks", "holds beyond it", "has otherwise"


@dataclass
class Compared:
    """found: what is wrong -> how many rows, and the id of one. columns: of the first row that is otherwise, those in which it is."""

    state: State
    rows: int = 0
    found: dict[str, tuple[int, str]] = field(default_factory=dict)
    columns: Sequence[str] = ()

    def saw(self, what: str, product_id: str) -> None:
        count, first = self.found.get(what, (0, product_id))
        self.found[what] = (count + 1, first)

    def __str__(self) -> str:
        if not self.found:
            return f"verified: {self.rows:,} rows are as in version {self.state.number} (run {self.state.run_id})"
        texts = []
        for what, (count, one) in self.found.items():
            which = f", in {', '.join(self.columns)}" if what == OTHERWISE and self.columns else ""
            texts.append(f"it {what} {count:,} {'row' if count == 1 else 'rows'} (such as {one!r}{which})")
        return ", ".join(texts)


def compare(spark: SparkSession, table: Location, connection: Connection, name: Name) -> Compared:
    """Compare what stands in the warehouse with the version of the table that it says it holds.

    Raises:
        InputError: nothing was published there, or that version can no longer be read.
    """
    with connection.transaction():
        # State and rows of one moment, whatever is published meanwhile.
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for setting, value in SETTINGS.items():
            connection.execute("SELECT set_config(%s, %s, true)", (setting, value))
        state = read_state(connection, name) if kind_of(connection, name) else None
        if state is None or not stands(spark, table, state.version):
            raise InputError(
                f"Expected rows of {table.given} in {name}, found {'none' if state is None else 'those of another table'}; publish first."
            )
        return _compared(spark, table, connection, name, state)


def _compared(spark: SparkSession, table: Location, connection: Connection, name: Name, state: State) -> Compared:
    found = Compared(state)
    rows = rows_at(spark, table, state.number)
    try:
        for product_id, lake, warehouse in side_by_side(_in_lake(rows, state), _in_warehouse(connection, name, state)):
            found.rows += lake is not None
            if lake is None:
                found.saw(NO_LONGER, product_id)
            elif warehouse is None:
                found.saw(NOT_THERE, product_id)
            elif lake != warehouse:
                found.saw(OTHERWISE, product_id)
        if OTHERWISE in found.found:
            found.columns = _columns_otherwise(rows, connection, name, state, found.found[OTHERWISE][1])
    except Exception as error:
        if not files_are_gone(error):
            raise
        raise InputError(
            f"Expected the files of version {state.number} of {table.given}, found some gone (vacuumed); publish first, and verify then."
        ) from None
    return found


def side_by_side(
    left: Iterator[tuple[str, str]], right: Iterator[tuple[str, str]]
) -> Iterator[tuple[str, str | None, str | None]]:
    """Two sequences of (id, digest), both in the order of the ids, as (id, digest in the left, digest in the right)."""
    one, other = next(left, None), next(right, None)
    while one or other:
        if other is None or (one is not None and one[0] < other[0]):
            assert one
            yield one[0], one[1], None
            one = next(left, None)
        elif one is None or other[0] < one[0]:
            yield other[0], None, other[1]
            other = next(right, None)
        else:
            yield one[0], one[1], other[1]
            one, other = next(left, None), next(right, None)


def _in_warehouse(connection: Connection, name: Name, state: State) -> Iterator[tuple[str, str]]:
    query = sql.SQL('SELECT product_id, md5(concat_ws({}, {})) FROM {} ORDER BY product_id COLLATE "C"')
    with connection.cursor("compared") as cursor:
        cursor.itersize = ROWS_A_FETCH
        cursor.execute(query.format(sql.Literal(PART), parts_in_postgresql(state.columns), name.sql))
        yield from cursor


def _in_lake(rows: DataFrame, state: State) -> Iterator[tuple[str, str]]:
    told = rows.select(*parts_in_lake(rows, state.columns)).mapInArrow(partial(digests, kinds=_kinds(state)), IDS_AND_DIGESTS)
    partitions = max(1, math.ceil(state.rows / ROWS_A_PARTITION))
    ordered = told.repartitionByRange(partitions, ID).sortWithinPartitions(ID)
    for row in ordered.toLocalIterator(prefetchPartitions=True):
        yield row[0], row[1]


def _kinds(state: State) -> tuple[str, ...]:
    return tuple(one.kind for one in state.columns)


def _columns_otherwise(rows: DataFrame, connection: Connection, name: Name, state: State, product_id: str) -> list[str]:
    """Of one product, the columns whose values differ."""
    query = sql.SQL("SELECT ARRAY[{}] FROM {} WHERE product_id = {}").format(
        parts_in_postgresql(state.columns), name.sql, sql.Literal(product_id)
    )
    row = connection.execute(query).fetchone()
    chosen = rows.filter(holdable(column(ID)) == F.lit(product_id))
    told = (
        chosen.select(*parts_in_lake(rows, state.columns))
        .mapInArrow(partial(parts_of_rows, kinds=_kinds(state)), "parts array<string>")
        .head()
    )
    assert row
    assert told
    return [one.name for one, here, there in zip(state.columns, told["parts"], row[0], strict=True) if here != there]
