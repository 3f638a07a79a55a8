"""Corrections that people make: a table next to `categorized` that overrides the model for readers, and teaches the next model.

The nightly run never looks at it, so a correction remains in force whatever is scored again, rolled back or trained.
"""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lib.errors import InputError
from lib.identifiers import column
from lib.tables.columns import ID_TYPES, require_columns, require_text
from lib.tables.locations import Location, delta_table, is_delta, rows_at
from lib.tables.maintenance import pack_if_scattered
from lib.tables.sources import Source
from lib.tables.target import append, create_table
from schemas.tables import CORRECTIONS

# The column that a person fills in.
CORRECT = "correct_category"
BY, WHY = "corrected_by", "why"
# People fill the file in, so one with more rows is a whole catalogue given by mistake.
MOST_CORRECTIONS = 1_000_000


@dataclass(frozen=True)
class Corrected:
    """The corrections after an addition. added: those that say something new; standing: those in force; agree: products to which
    the model gives the same category by now; gone: products that the table no longer has."""

    added: int
    standing: int
    agree: int
    gone: int


def user_here() -> str | None:
    """Who corrects, if no name is given; None if the machine does not report a user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def corrections_of(target: Location) -> Location:
    return target.sibling("_corrections")


def standing(spark: SparkSession, target: Location, version: int | None = None) -> DataFrame | None:
    """The newest correction of each product, in the columns of CORRECTIONS, without withdrawn ones; None if there is no table.

    Args:
        version: of the table of corrections; the newest if None.
    """
    return _without_taken_back(_newest(spark, target, version))


def of_no_product(spark: SparkSession, target: Location) -> dict[str, int]:
    """Corrections in force by category, those of categories that the model gives to no product: new ones, and names from before a relabelling."""
    rows = standing(spark, target)
    if rows is None:
        return {}
    given = delta_table(spark, target).toDF().select("category").distinct()
    counted = rows.join(given, "category", "left_anti").groupBy("category").count()
    return {row["category"]: row["count"] for row in counted.orderBy("category").collect()}


def _without_taken_back(newest: DataFrame | None) -> DataFrame | None:
    return None if newest is None else newest.filter("category IS NOT NULL")


def _newest(spark: SparkSession, target: Location, version: int | None = None) -> DataFrame | None:
    """The last statement about each product, including that a correction is withdrawn."""
    location = corrections_of(target)
    if not is_delta(spark, location):
        return None
    names = [name for name in CORRECTIONS.names if name != "product_id"]
    newest = F.max_by(F.struct(*names), "corrected_at").alias("newest")
    every = delta_table(spark, location).toDF() if version is None else rows_at(spark, location, version)
    return every.groupBy("product_id").agg(newest).select("product_id", "newest.*")


def read_corrections(source: Source, text_columns: Sequence[str], by: str | None, withdraw: bool) -> DataFrame:
    """product_id, category, corrected_by, why and texts of the rows that a person has filled in.

    Args:
        text_columns: those of the file that hold the product's texts, which training learns from. by: who corrects, where the
            file does not name anyone. withdraw: all products of the file get the model's category again.
    Raises:
        InputError: columns missing, none filled, too many, a product without an id, or with two categories.
    """
    frame, where = source.frame, source.location.given
    require_columns(frame, where, file=(["product_id"], ID_TYPES))
    if not withdraw:
        require_text(frame, where, [CORRECT], flag="file")
    if text_columns:
        require_text(frame, where, text_columns)
    # A person may have changed the case of the header.
    there = {name.lower() for name in frame.columns}
    texts = [part for name in text_columns for part in (F.lit(name), column(name).cast("string"))]
    rows = frame.select(
        column("product_id").cast("string").alias("product_id"),
        (F.lit(None).cast("string") if withdraw else _filled(CORRECT)).alias("category"),
        (F.coalesce(_filled(BY), F.lit(by)) if BY in there else F.lit(by)).alias(BY),
        (_filled(WHY) if WHY in there else F.lit(None)).cast("string").alias(WHY),
        (F.create_map(*texts) if texts else F.lit(None)).cast("map<string,string>").alias("texts"),
    )
    rows = rows if withdraw else rows.filter("category IS NOT NULL")
    _check(rows, where, withdraw)
    return rows.dropDuplicates(["product_id"])


def _filled(name: str) -> Column:
    text = F.trim(column(name).cast("string"))
    return F.when(text != "", text)


def _check(rows: DataFrame, where: str, withdraw: bool) -> None:
    counted = rows.agg(F.count("*").alias("rows"), F.count_if(F.col("product_id").isNull()).alias("without_id")).collect()[0]
    if not counted["rows"]:
        filled = "products" if withdraw else f"a category in the column {CORRECT} of some rows"
        raise InputError(f"Expected {filled} in {where}, found none; fill it in, and run again.")
    if counted["rows"] > MOST_CORRECTIONS:
        raise InputError(
            f"Expected at most {MOST_CORRECTIONS:,} corrections in {where}, found {counted['rows']:,}; correct --file."
        )
    if counted["without_id"]:
        raise InputError(
            f"Expected a product_id in each corrected row of {where}, found {counted['without_id']:,} without; correct them."
        )
    said = rows.groupBy("product_id").agg(F.array_sort(F.collect_set("category")).alias("said")).filter(F.size("said") > 1)
    found = said.orderBy("product_id").head()
    if found:
        raise InputError(
            f"Expected one category a product in {where}, found {' and '.join(map(repr, found['said'][:2]))} for {found['product_id']!r}; "
            "keep one of them."
        )


def add_corrections(spark: SparkSession, target: Location, rows: DataFrame, new_categories: bool) -> Corrected:
    """Add the rows that say something new, in one commit; adding the same again changes nothing. For a product that the table no
    longer has, a correction can be withdrawn, but no new one made.

    Args:
        rows: as `read_corrections` returns them. new_categories: accept categories that neither the table nor a correction has.
    Raises:
        InputError: an unknown product or category; nothing was written.
    """
    table = delta_table(spark, target).toDF()
    newest = _newest(spark, target)
    _check_products(rows, table, newest, target)
    before = _without_taken_back(newest)
    if not new_categories:
        _check_categories(rows, table, before, target)
    old = _said_before(newest, rows)
    # The same category with texts that were not known then is new too: a training learns from the texts.
    says_more = F.col("category").isNotNull() & F.col("texts").isNotNull() & ~_entries("texts").eqNullSafe(F.col("old_texts"))
    is_new = ~F.col("category").eqNullSafe(F.col("old")) | says_more
    fresh = rows.join(old, "product_id", "left_outer").filter(is_new).drop("old", "old_texts")
    model = _with_gone(table, before).select(
        "product_id",
        F.col("category").alias("model_category"),
        F.col("confidence").alias("model_confidence"),
        "model_version",
        "text_hash",
    )
    stamped = fresh.join(model, "product_id").withColumn("corrected_at", _later()).select(*CORRECTIONS.names)
    stamped = stamped.persist()
    try:
        added = stamped.count()
        if added:
            location = corrections_of(target)
            if not is_delta(spark, location):
                create_table(spark, location, CORRECTIONS)
            append(stamped, location)
            # The page commits a few at a time.
            pack_if_scattered(spark, location)
    finally:
        stamped.unpersist()
    return _counted(standing(spark, target), table, added)


def _said_before(newest: DataFrame | None, rows: DataFrame) -> DataFrame:
    """product_id, category and texts in force (`old`, null if it was withdrawn; `old_texts`), and when that was said (`said_at`)."""
    texts = _entries("texts").alias("old_texts")
    if newest is None:
        return rows.select("product_id", F.lit(None).alias("old"), texts, F.lit(None).cast("timestamp").alias("said_at")).limit(
            0
        )
    return newest.select("product_id", F.col("category").alias("old"), texts, F.col("corrected_at").alias("said_at"))


def _entries(texts: str) -> Column:
    """A map of texts by column, to be compared whatever the columns' order."""
    return F.array_sort(F.map_entries(texts))


def _later() -> Column:
    """Now; or, if another machine's clock was ahead, just after the earlier correction, since the newest counts."""
    return F.greatest(F.current_timestamp(), F.col("said_at") + F.expr("INTERVAL 1 MICROSECOND"))


def _with_gone(table: DataFrame, before: DataFrame | None) -> DataFrame:
    """The model's answer for each product; for those that are gone, its answer when they were corrected."""
    names = ("product_id", "category", "confidence", "model_version", "text_hash")
    there = table.select(*names)
    if before is None:
        return there
    model = before.select("product_id", "model_category", "model_confidence", "model_version", "text_hash").toDF(*names)
    return there.unionByName(model.join(there, "product_id", "left_anti"))


def _check_products(rows: DataFrame, table: DataFrame, newest: DataFrame | None, target: Location) -> None:
    unknown = rows.join(table, "product_id", "left_anti").select("product_id", "category")
    if newest is not None:
        ever = newest.select("product_id", F.lit(True).alias("said"))
        unknown = unknown.join(ever, "product_id", "left_outer").filter("category IS NOT NULL OR said IS NULL")
    found = unknown.orderBy("product_id").head()
    if found:
        raise InputError(
            f"Expected products of {target.given} in the corrections, found {found['product_id']!r} (one of {unknown.count():,} unknown ones); "
            "correct the ids, or leave these rows out."
        )


def _check_categories(rows: DataFrame, table: DataFrame, before: DataFrame | None, target: Location) -> None:
    """Check the categories, also against the labels in the table's scores: no product may have a label yet."""
    known = table.select("category").union(table.select("runner_up")).union(table.select(F.explode(F.map_keys("scores"))))
    known = known.union(before.select("category")) if before else known
    unknown = rows.filter("category IS NOT NULL").join(known.distinct(), "category", "left_anti")
    found = unknown.groupBy("category").count().orderBy("category").head()
    if found:
        raise InputError(
            f"Expected categories of {target.given} in the corrections, found {found['category']!r} ({found['count']:,} rows); correct the "
            "spelling, or give --new-categories."
        )


def _counted(rows: DataFrame | None, table: DataFrame, added: int) -> Corrected:
    if rows is None:
        return Corrected(added, 0, 0, 0)
    joined = rows.select("product_id", F.col("category").alias("said")).join(
        table.select("product_id", "category", F.lit(True).alias("there")), "product_id", "left_outer"
    )
    counts = joined.agg(
        F.count("*").alias("standing"),
        F.count_if(F.col("said") == F.col("category")).alias("agree"),
        F.count_if(F.col("there").isNull()).alias("gone"),
    ).collect()[0]
    return Corrected(added, *counts)
