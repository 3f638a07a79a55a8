"""A row's values as texts that PostgreSQL and Python produce identically, each in its own way: the input of a comparison's digests."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from lib.identifiers import column
from lib.warehouse.columns import BYTES, DATE, DOUBLE, ID, JSON, REAL, TEXT, TIME, ZONELESS, Column
from lib.warehouse.lines import holdable, json_of

# The separator of a row's parts; a part that is a user's text has its length in front.
PART, NULL = "\x1f", "-"
IDS_AND_DIGESTS = "product_id string, digest string"
# Another writer may have stored an infinite time, for which there is no number.
_TIME_IN_POSTGRESQL = "CASE WHEN isfinite({0}) THEN (extract(epoch FROM {0}) * 1000000)::bigint::text ELSE {0}::text END"
# How PostgreSQL writes a value: as a number where the texts of the two sides would differ.
IN_POSTGRESQL = {
    TEXT: "octet_length({0}) || ':' || {0}",
    JSON: "{0}::text",
    REAL: "('x' || encode(float4send({0}), 'hex'))::bit(32)::int::text",
    DOUBLE: "('x' || encode(float8send({0}), 'hex'))::bit(64)::bigint::text",
    TIME: _TIME_IN_POSTGRESQL,
    ZONELESS: _TIME_IN_POSTGRESQL,
    DATE: "CASE WHEN isfinite({0}) THEN ({0} - DATE '1970-01-01')::text ELSE {0}::text END",
    BYTES: "encode({0}, 'hex')",
}


def parts_in_postgresql(columns: Sequence[Column]) -> sql.Composable:
    told = (sql.SQL(IN_POSTGRESQL.get(one.kind, "{0}::text")).format(one.identifier) for one in columns)  # type: ignore[arg-type]
    return sql.SQL(", ").join(sql.SQL("coalesce({}, {})").format(one, sql.Literal(NULL)) for one in told)


def parts_in_lake(columns: Sequence[Column]) -> list[Any]:
    """The id and the columns, as far as PostgreSQL can store them; JSON as text. In the columns' order."""
    told = {
        JSON: lambda name: holdable(json_of(name)),
        TEXT: lambda name: holdable(column(name)),
    }
    values = [told.get(one.kind, column)(one.name).alias(f"c{i}") for i, one in enumerate(columns)]
    return [holdable(column(ID)).alias(ID), *values]


def digests(batches: Iterable[Any], kinds: Sequence[str]) -> Iterator[Any]:
    for batch in batches:
        parts = [_part(batch.column(i + 1), kind) for i, kind in enumerate(kinds)]
        texts = pc.binary_join_element_wise(*parts, PART).to_pylist()
        digests = pa.array([hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() for text in texts], pa.string())
        yield pa.record_batch([batch.column(0).cast(pa.string()), digests], names=["product_id", "digest"])


def _part(values: Any, kind: str) -> Any:
    """An Arrow array as the texts of IN_POSTGRESQL."""
    if kind == TEXT:
        texts = values.cast(pa.string())
        told = pc.binary_join_element_wise(pc.binary_length(texts).cast(pa.string()), texts, ":")
    elif kind == JSON:
        told = _each(values, _as_jsonb)
    elif kind == BYTES:
        told = _each(values, bytes.hex)
    elif kind.startswith("numeric"):
        told = _each(values, lambda value: f"{value:f}")
    else:
        told = _number(values, kind).cast(pa.string())
    return pc.fill_null(told, NULL)


def _number(values: Any, kind: str) -> Any:
    if kind in (REAL, DOUBLE):
        whole = pa.float32() if kind == REAL else pa.float64()
        # There are many NaNs; PostgreSQL stores only this one.
        numbers = pc.if_else(pc.is_nan(values), pa.scalar(math.nan, whole), values)
        return numbers.view(pa.int32() if kind == REAL else pa.int64())
    if kind in (TIME, ZONELESS):
        return values.cast(pa.timestamp("us", values.type.tz)).view(pa.int64())
    return values.view(pa.int32()) if kind == DATE else values


def _each(values: Any, told: Any) -> Any:
    return pa.array([None if value is None else told(value) for value in values.to_pylist()], pa.string())


def _as_jsonb(text: str) -> str:
    """JSON as PostgreSQL prints its jsonb: keys by length, then by bytes; numbers without an exponent."""
    return _jsonb(json.loads(text, parse_float=Decimal, parse_int=Decimal))


def _jsonb(value: Any) -> str:
    if isinstance(value, Mapping):
        keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
        return "{" + ", ".join(f"{json.dumps(key, ensure_ascii=False)}: {_jsonb(value[key])}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_jsonb, value)) + "]"
    # It has no negative zero.
    return f"{value or abs(value):f}" if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False)


def parts_of_rows(batches: Iterable[Any], kinds: Sequence[str]) -> Iterator[Any]:
    for batch in batches:
        parts = [_part(batch.column(i + 1), kind).to_pylist() for i, kind in enumerate(kinds)]
        if batch.num_rows:
            yield pa.record_batch([pa.array([list(row) for row in zip(*parts, strict=True)])], names=["parts"])
