"""Rows as the lines that PostgreSQL's COPY reads: executors make them, and the driver passes them on piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pyarrow as pa
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lib.identifiers import column
from lib.pairs.offered import in_utf8
from lib.warehouse.columns import BOOLEAN, BYTES, DATE, ID, JSON, TEXT, TIME, ZONELESS, Column

# Before and after the reason why a row is refused, since Spark wraps it in a longer message.
REFUSED, END = "[not for PostgreSQL: ", " :not for PostgreSQL]"
# Days and microseconds since 1970: 1 January of the year 1, and the last day that PostgreSQL counts (5874897-12-31).
FIRST_DAY, LAST_DAY = -719_162, 2_145_042_905
FIRST_MICROSECOND = FIRST_DAY * 24 * 3600 * 1_000_000
NUL, REPLACEMENT = "\0", "\ufffd"
NUL_IN_JSON = "\\u0000"
# Up to this many rows come to the driver unpacked: starting a Python worker takes longer than sending them.
FEW = 50_000
# Lines between two looks at the connection.
LINES_A_WRITE = 1_000
CODEC = "zstd"
CHUNK = "chunk binary, size bigint, altered bigint"


def lines(rows: DataFrame, columns: Sequence[Column], *more: SparkColumn) -> DataFrame:
    """`line`, a row in COPY's CSV, and `spoilt`: whether its JSON had U+0000, now U+FFFD. Its texts may still have what PostgreSQL cannot store.

    Args:
        more: columns after those of the table, of whole numbers or plain texts.
    """
    # In columns of its own, so that it is written once, however often it is used.
    nested = {one.name: f"json {i}\n" for i, one in enumerate(columns) if one.kind == JSON}
    rows = rows.withColumns({told: json_as_written(name) for name, told in nested.items()})
    parts = [*(_field(one, nested) for one in columns), *(one.cast("string") for one in more)]
    separated = [part for one in parts for part in (F.lit(","), F.coalesce(one, F.lit("")))][1:]
    line = F.concat(*separated, F.lit("\n"))
    spoilt = [F.contains(F.col(told), F.lit(NUL_IN_JSON)) for told in nested.values()]
    return rows.select(line.alias("line"), _any(spoilt).alias("spoilt"))


def clean(made: DataFrame) -> DataFrame:
    """`line` as PostgreSQL can store it, and `altered`: whether a text had characters that it cannot, now U+FFFD. made: by `lines`."""
    made = made.withColumn("clean", holdable(F.col("line")))
    return made.select(F.col("clean").alias("line"), (F.col("spoilt") | (F.col("line") != F.col("clean"))).alias("altered"))


def holdable(text: SparkColumn) -> SparkColumn:
    """A text without U+0000, and in UTF-8."""
    return in_utf8(F.replace(text, F.lit(NUL), F.lit(REPLACEMENT)))


def json_of(name: str) -> SparkColumn:
    """A nested column as JSON that jsonb accepts."""
    return _without_nul(json_as_written(name))


def _without_nul(written: SparkColumn) -> SparkColumn:
    """JSON without U+0000. An escape sequence for it after a backslash is plain text."""
    replaced = F.regexp_replace(written, r"(?<!\\)((?:\\\\)*)\\u0000", r"$1\\ufffd")
    return F.when(F.contains(written, F.lit(NUL_IN_JSON)), replaced).otherwise(written)


def json_as_written(name: str) -> SparkColumn:
    """A nested column as JSON, with its nulls."""
    return F.to_json(column(name), {"ignoreNullFields": "false", "timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"})


def _any(conditions: Sequence[SparkColumn]) -> SparkColumn:
    found = F.lit(False)
    for condition in conditions:
        found = found | F.coalesce(condition, F.lit(False))
    return found


def _field(one: Column, nested: Mapping[str, str]) -> SparkColumn:
    """nested: the columns with the JSON of others."""
    value = column(one.name)
    if one.kind in (TEXT, JSON):
        text = _without_nul(F.col(nested[one.name])) if one.kind == JSON else value
        return F.concat(F.lit('"'), F.replace(text, F.lit('"'), F.lit('""')), F.lit('"'))
    if one.kind == BYTES:
        return F.concat(F.lit("\\x"), F.hex(value))
    if one.kind == DATE:
        return _dated(one.name, F.unix_date(value).between(FIRST_DAY, LAST_DAY), "")
    if one.kind in (TIME, ZONELESS):
        first = F.timestamp_micros(F.lit(FIRST_MICROSECOND))
        return _dated(
            one.name, value >= (first if one.kind == TIME else first.cast("timestamp_ntz")), "+00" * (one.kind == TIME)
        )
    return value.cast("string") if one.kind != BOOLEAN else F.when(value, "t").when(~value, "f")


def _dated(name: str, holds: SparkColumn, zone: str) -> SparkColumn:
    """A date or a time as text; a row whose year PostgreSQL does not write the same ends the query. Spark signs years of five digits."""
    text = column(name).cast("string")
    where = F.concat(F.lit(REFUSED), column(ID), F.lit(" has "), text, F.lit(f" in the column {name}{END}"))
    written = F.replace(text, F.lit("+"), F.lit(""))
    return F.when(column(name).isNull(), None).when(holds, F.concat(written, F.lit(zone))).otherwise(F.raise_error(where))


def refused_row(error: Exception) -> str | None:
    """The row, with the reason, for which `lines` ended a query; None for other errors."""
    text = str(error)
    return text.split(REFUSED, 1)[1].split(END, 1)[0] if REFUSED in text and END in text else None


class Stream:
    """Lines in pieces for COPY. altered: how many of the rows passed on had characters that PostgreSQL cannot store."""

    def __init__(self, made: DataFrame, many: bool) -> None:
        """made: by `lines`. many: there are certainly more than FEW."""
        self._lines, self._many = made, many
        self.altered = 0

    def pieces(self) -> Iterator[bytes]:
        few = [] if self._many else clean(self._lines).take(FEW + 1)
        if self._many or len(few) > FEW:
            few.clear()
            yield from self._all()
            return
        for start in range(0, len(few), LINES_A_WRITE):
            some = few[start : start + LINES_A_WRITE]
            self.altered += sum(row["altered"] for row in some)
            yield "".join(row["line"] for row in some).encode()

    def _all(self) -> Iterator[bytes]:
        # The driver gets one partition at a time, and fetches the next one meanwhile.
        for row in self._lines.mapInArrow(_packed, CHUNK).toLocalIterator(prefetchPartitions=True):
            self.altered += row["altered"]
            yield pa.decompress(bytes(row["chunk"]), row["size"], CODEC, asbytes=True)


def _packed(batches: Iterable[Any]) -> Iterator[Any]:
    """Each batch of lines as one row; the driver's JVM keeps a task's whole result in memory, so it is packed."""
    for batch in batches:
        # Spark sends texts with wider offsets where it is told to (useLargeVarTypes).
        text, spoilt = batch.column(0).cast(pa.string()), batch.column(1)
        ends = memoryview(text.buffers()[1]).cast("i")[text.offset : text.offset + len(text) + 1]
        told, altered = text.buffers()[2].slice(ends[0], ends[-1] - ends[0]).to_pybytes(), spoilt.true_count
        if not told:
            continue
        # All at once, a twentieth of what it takes Spark to look at each line.
        if not _is_holdable(told):
            written = [told[start - ends[0] : end - ends[0]] for start, end in pairwise(ends)]
            fresh = [_holdable(line) for line in written]
            altered = sum(bool(odd) or new != old for odd, new, old in zip(spoilt.to_pylist(), fresh, written, strict=True))
            told = b"".join(fresh)
        yield pa.record_batch(
            [pa.array([pa.compress(told, CODEC, asbytes=True)], pa.binary()), pa.array([len(told)]), pa.array([altered])],
            names=["chunk", "size", "altered"],
        )


def _is_holdable(told: bytes) -> bool:
    try:
        told.decode()
    except UnicodeDecodeError:
        return False
    return NUL.encode() not in told


def _holdable(line: bytes) -> bytes:
    """The same as `holdable`."""
    return line.decode(errors="replace").replace(NUL, REPLACEMENT).encode()
