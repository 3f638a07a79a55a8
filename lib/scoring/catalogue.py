"""Transform: source rows to catalogue rows, one a product id, and the rejects. All of it runs in the JVM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import or_

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, FloatType, StringType

from lib.errors import InputError
from lib.identifiers import column
from lib.model.markup import NO_WORD, SIGNS
from lib.pairs.offered import frame_of, in_utf8, is_utf8, tried_cast
from lib.tables.columns import ID_TYPES, require_columns, require_order, require_text
from lib.tables.sources import Source
from schemas.tables import ID_OF_BYTES, LONG_ID, NO_ID, OLDER_COPY

MAX_ID_CHARACTERS = 512
LENGTHS = "text_lengths"
# The rank of a copy among those of its id, for a while; no column of a source has this name.
RANK = "rank of the copy\n"
# Characters kept of each text column, in the JSON of a rejected row.
MAX_REJECTED_CHARACTERS = 4096
# Characters that show nothing: separators, controls, format characters, and the fillers that Unicode counts as letters or marks.
NOTHING_VISIBLE = r"^[\p{Z}\p{Cc}\p{Cf}\u034F\u115F\u1160\u17B4\u17B5\u180B-\u180F\u2800\u3164\uFE00-\uFE0F\uFFA0]*$"
# A sketch has two to this power registers: its error is about 3 %, its size a kilobyte.
SKETCH_SIZE = 10
# An id as it is shuffled (`hashes_of`).
KEY = ("hash", "more")
# For JSON that Spark writes, whatever a setting says: which of several equally new copies is kept depends on it.
_WITHOUT_NULLS = {"ignoreNullFields": "true"}
# A text order column is compared as the first of these that all of its values are.
ORDER_TYPES = {"numbers": "decimal(38,9)", "times": "timestamp"}
BEYOND_NINE_PLACES = r"^([+-]?\d*\.\d{9})\d+$"


@dataclass(frozen=True)
class CatalogueColumns:
    """Which columns of the source mean what. `markers`: the word in front of each text column; none joins them unmarked."""

    id: str
    text: tuple[str, ...]
    carry: tuple[str, ...] = ()
    order_by: str | None = None
    markers: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Every column that a run needs from the source."""
        return tuple(dict.fromkeys((self.id, *self.text, *self.carry, *([self.order_by] if self.order_by else []))))

    @property
    def carried(self) -> tuple[str, ...]:
        """The columns to carry without the id, which must not become another product's when it is made valid UTF-8."""
        return tuple(name for name in self.carry if name != self.id)


@dataclass(frozen=True)
class IdCount:
    """A set of ids, as far as counts can describe it: `digest` is the exclusive or of their 64-bit hashes.

    Two parts of a set have its count and its digest together; an id that is missing or repeated shows in one of them.
    """

    ids: int
    digest: int

    def __add__(self, other: IdCount) -> IdCount:
        return IdCount(self.ids + other.ids, self.digest ^ other.digest)


def count_of_ids(rows: DataFrame) -> IdCount:
    counted = rows.agg(F.count("*").alias("ids"), digest_of_ids().alias("digest")).collect()[0]
    return IdCount(counted["ids"], counted["digest"] or 0)


def digest_of_ids() -> Column:
    return F.bit_xor(F.xxhash64("product_id"))


def hashes_of(product_id: Column) -> list[Column]:
    """An id as twelve bytes, `hash` (null for none) and `more`, which go through a shuffle instead of the text.

    The probability that two of 100 million ids share them is 1 in 10¹³; it would end the run before it publishes, since then the
    scored ids are not those of the source.
    """
    return [F.when(product_id.isNotNull(), F.xxhash64(product_id)).alias("hash"), F.hash(product_id).alias("more")]


@dataclass(frozen=True)
class Census:
    """What the source holds, counted in one pass.

    sketch: of the set of the ids' hashes, to estimate the share that two sets have in common (HyperLogLog).
    order_type: Spark's type as which the texts of the order column are compared; None where it has its own type.
    """

    rows: int
    rows_without_usable_id: int
    ids: int
    repeated_ids: int
    ids_digest: int
    order_type: str | None = field(default=None, compare=False)
    sketch: bytes | None = field(default=None, compare=False)

    @property
    def all_ids(self) -> IdCount:
        return IdCount(self.ids, self.ids_digest)

    @property
    def rows_rejected(self) -> int:
        """Rows without a usable id, and all copies of an id but one."""
        return self.rows - self.ids


def usable_id(columns: CatalogueColumns) -> Column:
    """The id as text; null where it is missing, shows nothing, is too long to be an id or is not UTF-8."""
    return F.when(_id_fault(columns).isNull(), column(columns.id).cast("string"))


def _id_fault(columns: CatalogueColumns) -> Column:
    text = column(columns.id).cast("string")
    # Nearly every id begins with a visible character of ASCII, which needs no pattern to recognise.
    shows = (text >= "!") & (text < "\x7f")
    return (
        F.when(text.isNull() | (~shows & text.rlike(NOTHING_VISIBLE)), NO_ID)
        .when(F.length(text) > MAX_ID_CHARACTERS, LONG_ID)
        .when(~is_utf8(text), ID_OF_BYTES)
    )


def joined_text(names: Sequence[str], max_characters: int, markers: Sequence[str] = ()) -> Column:
    """The text columns joined by a blank, trimmed and cut, so that Python never sees a text of megabytes; never null.

    Args:
        markers: a word to put in front of each column (lib.model.fields), wherever it holds a letter or a digit at all,
            not only in markup: a marker alone must not make a text of nothing.
    """
    parts = [_cut(column(name), max_characters) for name in names]
    if markers:
        worded = [_without_markup(part).rlike(r"[\p{L}\p{N}]") for part in parts]
        parts = [
            F.when(has, F.concat_ws(" ", F.lit(word), part)) for has, word, part in zip(worded, markers, parts, strict=True)
        ]
    joined = F.concat_ws(" ", *parts) if len(parts) > 1 else F.coalesce(*parts, F.lit(""))
    return _cut(F.trim(joined), max_characters)


def _without_markup(text: Column) -> Column:
    marked = reduce(or_, (F.contains(text, F.lit(sign)) for sign in SIGNS))
    return F.when(marked, F.regexp_replace(text, NO_WORD, "")).otherwise(text)


def _cut(text: Column, max_characters: int) -> Column:
    """The first characters. A text has at most as many as bytes, and bytes need not be counted; most texts are short."""
    return F.when(F.octet_length(text) > max_characters, F.substring(text, 1, max_characters)).otherwise(text)


def take_census(source: DataFrame, columns: CatalogueColumns) -> Census:
    """Count what the source holds.

    Raises:
        InputError: copies of an id whose order column holds texts that are neither numbers nor times.
    """
    ids = source.select(*hashes_of(usable_id(columns))).groupBy(*KEY).agg(F.count("*").alias("copies"))
    return ordered(_count_copies(ids), source, columns)


def ordered(census: Census, source: DataFrame, columns: CatalogueColumns) -> Census:
    """The census with the type by which copies are ordered, where there are any.

    Raises:
        InputError: copies of an id whose order column holds texts that are neither numbers nor times.
    """
    if not census.repeated_ids:
        return census
    return replace(census, order_type=order_type(_copies(source, columns), columns))


def _count_copies(ids: DataFrame) -> Census:
    """The census of rows that hold each id's KEY and how many `copies` there are; its order type is not determined yet."""
    counted = ids.agg(
        F.sum("copies").alias("rows"),
        F.sum(F.when(F.col("hash").isNull(), F.col("copies"))).alias("without_usable_id"),
        F.count("hash").alias("ids"),
        F.count_if(F.col("hash").isNotNull() & (F.col("copies") > 1)).alias("repeated"),
        F.bit_xor("hash").alias("digest"),
        F.hll_sketch_agg("hash", SKETCH_SIZE).alias("sketch"),
    ).collect()[0]
    rows, without_usable_id, digest = (counted[name] or 0 for name in ("rows", "without_usable_id", "digest"))
    sketch = bytes(counted["sketch"] or b"") or None
    return Census(rows, without_usable_id, counted["ids"], counted["repeated"], digest, sketch=sketch)


def _order_texts(source: DataFrame, columns: CatalogueColumns) -> dict[str, Column]:
    """The value of an order column of texts, and this value as each of the types that it may be compared as."""
    if not columns.order_by or not isinstance(source.schema[columns.order_by].dataType, StringType):
        return {}
    value = _order_text(columns.order_by)
    return {"values": value, **{name: tried_cast(value, kind) for name, kind in ORDER_TYPES.items()}}


def _order_text(name: str) -> Column:
    """The text without blanks around it; null for a text that means "no value"."""
    text = F.trim(column(name))
    return F.when((text != "") & ~F.lower(text).isin("nan", "null", "none"), text)


def order_type(copies: DataFrame, columns: CatalogueColumns) -> str | None:
    """What the copies of an id are ordered as, where the order column holds texts.

    Raises:
        InputError: the texts are neither numbers nor times.
    """
    texts = _order_texts(copies, columns)
    if not texts:
        return None
    # Only here, since casting a text that does not fit costs more than the rest of the census.
    counted = copies.agg(*[F.count(value).alias(name) for name, value in texts.items()]).collect()[0]
    for name, kind in ORDER_TYPES.items():
        if counted[name] == counted["values"]:
            return kind
    # Name one example of each kind where there are two.
    examples = [
        copies.filter(texts["values"].isNotNull() & texts[name].isNull()).select(texts["values"]).head() for name in ORDER_TYPES
    ]
    found = " and ".join(dict.fromkeys(repr(row[0])[:100] for row in examples if row))
    raise InputError(
        f"Expected numbers or times throughout in the column {columns.order_by}, which decides the newest copy of an id, found {found}; "
        f"correct --order-by, or cast the column in the source."
    )


def shares_of_ids(spark: SparkSession, now: bytes, before: bytes) -> tuple[float, float]:
    """The share of the ids of the first sketch that the second lacks, and of those of the second that the first lacks."""
    rows = frame_of(spark, pa.table({"now": [now], "before": [before]}))
    union = F.hll_sketch_estimate(F.hll_union("now", "before"))
    both, one, other = rows.select(union, F.hll_sketch_estimate("now"), F.hll_sketch_estimate("before")).collect()[0]
    return max(both - other, 0) / max(one, 1), max(both - one, 0) / max(other, 1)


def catalogue_rows(
    source: DataFrame, columns: CatalogueColumns, max_characters: int, census: Census, measured: bool = False
) -> DataFrame:
    """One row a usable id: product_id, text, text_hash and the carried columns.

    Args:
        measured: also LENGTHS, an array of `lengths_of` the text columns.

    Only rows of repeated ids are shuffled and ranked; most of a catalogue goes straight through.
    """
    usable = source.filter(usable_id(columns).isNotNull())
    if census.repeated_ids:
        ids = _repeated_ids(source, columns)
        once = usable.join(ids, usable_id(columns) == ids["repeated_id"], "left_anti")
        usable = once.unionByName(newest_copies(_copies(source, columns), columns, census.order_type))
    return usable.select(*catalogue_columns(columns, max_characters, measured))


def catalogue_columns(columns: CatalogueColumns, max_characters: int, measured: bool = False) -> list[Column]:
    """From rows of the source: product_id, text, text_hash, the carried columns and, if `measured`, LENGTHS."""
    text = joined_text(columns.text, max_characters, columns.markers)
    return [
        usable_id(columns).alias("product_id"),
        text.alias("text"),
        hash_of(text).alias("text_hash"),
        *[column(name) for name in columns.carry],
        *([F.array(*lengths_of(columns, max_characters)).alias(LENGTHS)] if measured else []),
    ]


def hash_of(text: Column) -> Column:
    return F.sha2(text, 256)


def lengths_of(columns: CatalogueColumns, max_characters: int) -> list[Column]:
    """The bytes of each text column, as far as they are read; 0 for one without a text."""
    return [_length(name, max_characters) for name in columns.text]


def _length(name: str, max_characters: int) -> Column:
    return F.least(F.coalesce(F.octet_length(F.trim(_cut(column(name), max_characters))), F.lit(0)), F.lit(max_characters))


def text_of_id(source: Source, columns: CatalogueColumns, product_id: str, max_characters: int) -> str:
    """The text of one product, of the copy that a run would keep.

    Raises:
        InputError: columns missing, or no such id.
    """
    where = source.location.given
    require_columns(source.frame, where, id_column=([columns.id], ID_TYPES))
    require_text(source.frame, where, columns.text)
    require_order(source.frame, where, columns.order_by)
    rows = source.frame.filter(usable_id(columns) == product_id)
    found = catalogue_rows(rows, columns, max_characters, take_census(rows, columns)).select("text").collect()
    if not found:
        raise InputError(
            f"Expected the id {product_id!r} in the column {columns.id} of {where}, found no such row; correct --id."
        )
    return str(found[0]["text"])


def of_ids(source: DataFrame, columns: CatalogueColumns, ids: Sequence[str]) -> tuple[DataFrame, DataFrame]:
    """The rows of all other ids and those without an id, and the rows of these few ids."""
    theirs = F.coalesce(usable_id(columns).isin(list(ids)), F.lit(False))
    return source.filter(~theirs), source.filter(theirs)


def rows_rejected_for(source: DataFrame, columns: CatalogueColumns, reason: str) -> DataFrame:
    """All of these rows, which have usable ids, in the columns of `rejected_rows`."""
    return source.select(usable_id(columns).alias("product_id"), F.lit(reason).alias("reason"), _as_json(source).alias("row"))


def rejected_rows(source: DataFrame, columns: CatalogueColumns, census: Census) -> DataFrame:
    """Rows without a usable id and older copies: product_id, reason, row (as JSON, its texts cut)."""
    rejects = source.filter(_id_fault(columns).isNotNull()).select(
        in_utf8(F.substring(column(columns.id).cast("string"), 1, MAX_ID_CHARACTERS)).alias("product_id"),
        _id_fault(columns).alias("reason"),
        _as_json(source).alias("row"),
    )
    if not census.repeated_ids:
        return rejects
    older = _ranked(_copies(source, columns), columns, census.order_type, F.col(RANK) > 1)
    return rejects.unionByName(
        older.select(usable_id(columns).alias("product_id"), F.lit(OLDER_COPY).alias("reason"), _as_json(source).alias("row"))
    )


def _repeated_ids(source: DataFrame, columns: CatalogueColumns) -> DataFrame:
    ids = source.select(usable_id(columns).alias("repeated_id")).filter("repeated_id IS NOT NULL")
    return ids.groupBy("repeated_id").agg(F.count("*").alias("copies")).filter("copies > 1").select("repeated_id")


def _copies(source: DataFrame, columns: CatalogueColumns) -> DataFrame:
    """The rows of repeated ids."""
    ids = _repeated_ids(source, columns)
    return source.join(ids, usable_id(columns) == ids["repeated_id"], "left_semi")


def newest_copies(copies: DataFrame, columns: CatalogueColumns, compared_as: str | None) -> DataFrame:
    """The newest of the rows of each repeated id. compared_as: their `order_type`."""
    return _ranked(copies, columns, compared_as, F.col(RANK) == 1)


def one_of_each_id(rows: DataFrame, columns: CatalogueColumns) -> DataFrame:
    """The rows that a run would keep of rows with usable ids: one per id.

    Raises:
        InputError: copies of an id whose order column holds texts that are neither numbers nor times.
    """
    return newest_copies(rows, columns, order_type(_copies(rows, columns), columns))


def _ranked(copies: DataFrame, columns: CatalogueColumns, compared_as: str | None, kept: Column) -> DataFrame:
    """The rows of repeated ids whose rank passes `kept`: rank 1 is the newest of its id.

    Ties are broken by the rows' content, so that every run keeps the same one: by the texts, which are all that some jobs read, then by
    whatever else the run needs, so that another column, such as the time of the export, moves no product to another copy.
    """
    newest = _newest_first(copies, columns.order_by, compared_as) if columns.order_by else []
    content = [_content(names) for names in (columns.text, columns.all, copies.columns)]
    order = Window.partitionBy(usable_id(columns)).orderBy(*newest, *content)
    return copies.withColumn(RANK, F.row_number().over(order)).filter(kept).drop(RANK)


def _content(names: Sequence[str]) -> Column:
    """A digest of these columns in full, with times to the microsecond: copies that differ anywhere must not be a tie."""
    whole = F.to_json(F.struct(*map(column, names)), {**_WITHOUT_NULLS, "timestampFormat": "yyyy-MM-dd HH:mm:ss.SSSSSS"})
    return F.sha2(whole, 256)


def _newest_first(copies: DataFrame, name: str, compared_as: str | None) -> list[Column]:
    value = _order_value(copies, name, compared_as)
    if not isinstance(copies.schema[name].dataType, StringType):
        return [value.desc_nulls_last()]
    # The type holds no part of a time below the microsecond, and no digit of a number after its ninth place.
    finer = F.regexp_extract(column(name), r"\.(\d+)", 1)
    below_zero = _order_text(name).startswith("-") if compared_as == ORDER_TYPES["numbers"] else F.lit(False)
    return [value.desc_nulls_last(), F.when(~below_zero, finer).desc_nulls_last(), F.when(below_zero, finer).asc_nulls_last()]


def _order_value(source: DataFrame, name: str, compared_as: str | None) -> Column:
    """The value that copies are compared by; null, which comes last, for a missing value."""
    kind = source.schema[name].dataType
    if isinstance(kind, StringType):
        text = _order_text(name)
        if compared_as == ORDER_TYPES["numbers"]:
            # The cast would round: 1.9999999999 is no 2.
            text = F.regexp_replace(text, BEYOND_NINE_PLACES, "$1")
        return tried_cast(text, compared_as or "string")
    return F.when(~F.isnan(column(name)), column(name)) if isinstance(kind, (FloatType, DoubleType)) else column(name)


def _as_json(source: DataFrame) -> Column:
    fields = [
        F.substring(column(field.name), 1, MAX_REJECTED_CHARACTERS).alias(field.name)
        if isinstance(field.dataType, StringType)
        else column(field.name)
        for field in source.schema.fields
    ]
    return F.to_json(F.struct(*fields), _WITHOUT_NULLS)
