"""Compares warehouse and lake: both return a digest per row, in the order of the ids, and no row is kept after its comparison."""

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
from lib.tables.corrections import corrections_of
from lib.tables.locations import Location, files_are_gone, rows_at, stands
from lib.tables.pinned import PinnedVersion
from lib.warehouse.columns import ID, Column, columns_of
from lib.warehouse.corrections import NONE, published_version, rows_said
from lib.warehouse.digests import IDS_AND_DIGESTS, PART, digests, parts_in_lake, parts_in_postgresql, parts_of_rows
from lib.warehouse.lines import holdable
from lib.warehouse.server import SETTINGS, Connection, Name, kind_of
from lib.warehouse.state import State, read_state

# Rows of one sorted partition: the driver keeps two of these in memory.
ROWS_A_PARTITION = 500_000
ROWS_A_FETCH = 10_000
NOT_THERE, NO_LONGER, OTHERWISE = "lacks", "also has", "differs in"


@dataclass
class Sides:
    """found: what is wrong -> how many rows, and the id of one. columns: those in which the first row that differs does."""

    rows: int = 0
    found: dict[str, tuple[int, str]] = field(default_factory=dict)
    columns: Sequence[str] = ()

    def saw(self, what: str, product_id: str) -> None:
        count, first = self.found.get(what, (0, product_id))
        self.found[what] = (count + 1, first)

    def wrong(self, noun: str) -> list[str]:
        """One text for each kind of error."""
        texts = []
        for what, (count, one) in self.found.items():
            which = f", in {', '.join(self.columns)}" if what == OTHERWISE and self.columns else ""
            texts.append(f"it {what} {count:,} {noun if count == 1 else f'{noun}s'} (such as {one!r}{which})")
        return texts


@dataclass(frozen=True)
class Compared:
    """The products and their corrections, on both sides. state: of the warehouse."""

    state: State
    products: Sides
    corrections: Sides

    @property
    def wrong(self) -> list[str]:
        return [*self.products.wrong("row"), *self.corrections.wrong("correction")]

    def __str__(self) -> str:
        if self.wrong:
            return ", ".join(self.wrong)
        return (
            f"verified: {self.products.rows:,} rows are as in version {self.state.version.number} (run {self.state.run_id}), and "
            f"{self.corrections.rows:,} corrections as people gave them"
        )


@dataclass(frozen=True)
class Pair:
    """Rows of the lake, and the table of the warehouse that should have them. count: about how many there are."""

    connection: Connection
    rows: DataFrame
    table: sql.Composable
    columns: Sequence[Column]
    count: int

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(one.kind for one in self.columns)


def compare(spark: SparkSession, table: Location, connection: Connection, name: Name) -> Compared:
    """Compare the rows of the warehouse with the versions of the table, and of its corrections, that it reports to have.

    Raises:
        InputError: nothing was published there, or that version can no longer be read.
    """
    with connection.transaction():
        # State and rows from one snapshot, whatever is published meanwhile.
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for setting, value in SETTINGS.items():
            connection.execute("SELECT set_config(%s, %s, true)", (setting, value))
        state = read_state(connection, name) if kind_of(connection, name) else None
        if state is None or not stands(spark, table, state.version):
            raise _not_published(table, name, state is None)
        said = published_version(connection, name.corrections)
        if said is None or not (said == NONE or stands(spark, corrections_of(table), PinnedVersion.of(said))):
            raise _not_published(corrections_of(table), name.corrections, said is None)
        products = Pair(connection, rows_at(spark, table, state.version.number), name.sql, state.columns, state.rows)
        people = rows_said(spark, table, said)
        corrections = Pair(connection, people, name.corrections.sql, columns_of(people.schema, ""), ROWS_A_PARTITION)
        try:
            return Compared(state, _compared(products), _compared(corrections))
        except Exception as error:
            if not files_are_gone(error):
                raise
            raise InputError(
                f"Expected the files of version {state.version.number} of {table.given}, found some gone (vacuumed); publish first, then verify."
            ) from None


def _not_published(table: Location, name: Name, nothing: bool) -> InputError:
    return InputError(
        f"Expected rows of {table.given} in {name}, found {'none' if nothing else 'those of another table'}; publish first."
    )


def _compared(pair: Pair) -> Sides:
    found = Sides()
    for product_id, lake, warehouse in side_by_side(_in_lake(pair), _in_warehouse(pair)):
        found.rows += lake is not None
        if lake is None:
            found.saw(NO_LONGER, product_id)
        elif warehouse is None:
            found.saw(NOT_THERE, product_id)
        elif lake != warehouse:
            found.saw(OTHERWISE, product_id)
    if OTHERWISE in found.found:
        found.columns = _columns_otherwise(pair, found.found[OTHERWISE][1])
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


def _in_warehouse(pair: Pair) -> Iterator[tuple[str, str]]:
    query = sql.SQL('SELECT product_id, md5(concat_ws({}, {})) FROM {} ORDER BY product_id COLLATE "C"')
    with pair.connection.cursor("compared") as cursor:
        cursor.itersize = ROWS_A_FETCH
        cursor.execute(query.format(sql.Literal(PART), parts_in_postgresql(pair.columns), pair.table))
        yield from cursor


def _in_lake(pair: Pair) -> Iterator[tuple[str, str]]:
    told = pair.rows.select(*parts_in_lake(pair.columns))
    told = told.mapInArrow(partial(digests, kinds=pair.kinds), IDS_AND_DIGESTS)
    partitions = max(1, math.ceil(pair.count / ROWS_A_PARTITION))
    ordered = told.repartitionByRange(partitions, ID).sortWithinPartitions(ID)
    for row in ordered.toLocalIterator(prefetchPartitions=True):
        yield row[0], row[1]


def _columns_otherwise(pair: Pair, product_id: str) -> list[str]:
    """The columns whose values differ for one product."""
    query = sql.SQL("SELECT ARRAY[{}] FROM {} WHERE product_id = {}").format(
        parts_in_postgresql(pair.columns), pair.table, sql.Literal(product_id)
    )
    row = pair.connection.execute(query).fetchone()
    chosen = pair.rows.filter(holdable(column(ID)) == F.lit(product_id))
    told = (
        chosen.select(*parts_in_lake(pair.columns))
        .mapInArrow(partial(parts_of_rows, kinds=pair.kinds), "parts array<string>")
        .head()
    )
    assert row
    assert told
    return [one.name for one, here, there in zip(pair.columns, told["parts"], row[0], strict=True) if here != there]
