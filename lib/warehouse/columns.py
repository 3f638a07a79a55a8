"""The table's columns in PostgreSQL: their types, and checks for what it cannot store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    ByteType,
    DataType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    MapType,
    ShortType,
    StringType,
    StructType,
    TimestampNTZType,
    TimestampType,
)

from lib.errors import InputError
from lib.warehouse.server import MOST_NAME_BYTES
from schemas.tables import COMMENTS

ID = "product_id"
TEXT, JSON, REAL, DOUBLE = "text", "jsonb", "real", "double precision"
BOOLEAN, DATE, TIME, ZONELESS, BYTES = "boolean", "date", "timestamptz", "timestamp", "bytea"
TYPES: Mapping[type[DataType], str] = {
    StringType: TEXT,
    BooleanType: BOOLEAN,
    ByteType: "smallint",
    ShortType: "smallint",
    IntegerType: "integer",
    LongType: "bigint",
    FloatType: REAL,
    DoubleType: DOUBLE,
    DateType: DATE,
    TimestampType: TIME,
    TimestampNTZType: ZONELESS,
    BinaryType: BYTES,
    ArrayType: JSON,
    MapType: JSON,
    StructType: JSON,
}
# Every PostgreSQL table has these.
SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
# PostgreSQL's limit for a table.
MOST_COLUMNS = 1600


@dataclass(frozen=True)
class Column:
    """name: as in the table. kind: PostgreSQL's type."""

    name: str
    kind: str

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.name)

    @property
    def definition(self) -> sql.Composable:
        """The column for CREATE TABLE. Ids are ordered by their bytes, as Spark orders them, whatever the database's language."""
        collation = sql.SQL(' COLLATE "C" NOT NULL' if self.name == ID else "")
        return sql.SQL("{} {}{}").format(self.identifier, sql.SQL(self.kind), collation)  # type: ignore[arg-type]

    @property
    def comment(self) -> str | None:
        return COMMENTS.get(self.name)


def columns_of(schema: StructType, where: str) -> tuple[Column, ...]:
    """The PostgreSQL columns for a table's schema.

    Raises:
        InputError: a name or a type that it does not support.
    """
    for field in schema.fields:
        _check_name(field.name, where)
    if len(schema.fields) > MOST_COLUMNS:
        raise InputError(
            f"Expected at most {MOST_COLUMNS} columns in {where}, PostgreSQL's limit, found {len(schema.fields)}; carry fewer."
        )
    return tuple(Column(field.name, _kind(field.name, field.dataType, where)) for field in schema.fields)


def _check_name(name: str, where: str) -> None:
    size = len(name.encode())
    if size > MOST_NAME_BYTES:
        raise InputError(
            f"Expected names of at most {MOST_NAME_BYTES} bytes, PostgreSQL's limit, found the column {name!r} of {size} in {where}; rename "
            "it in the source."
        )
    if name in SYSTEM_COLUMNS or "\0" in name:
        raise InputError(
            f"Expected names that PostgreSQL does not reserve, found the column {name!r} in {where}; rename it in the source."
        )


def _kind(name: str, kind: DataType, where: str) -> str:
    if isinstance(kind, DecimalType):
        return f"numeric({kind.precision},{kind.scale})"
    known = TYPES.get(type(kind)) or next((TYPES[t] for t in TYPES if isinstance(kind, t)), None)
    if known is None:
        raise InputError(
            f"Expected columns of types that PostgreSQL has, found {name} {kind.simpleString()} in {where}; cast it in the source, or do "
            "not carry it."
        )
    return known


def listed(columns: Sequence[Column]) -> sql.Composable:
    return sql.SQL(", ").join(column.identifier for column in columns)
