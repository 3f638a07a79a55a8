"""What a person should look at first: rows whose correction would teach the model most."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lib.errors import InputError
from lib.identifiers import column
from lib.scoring.catalogue import CatalogueColumns, joined_text, usable_id
from lib.tables.corrections import BY, CORRECT, WHY, standing
from lib.tables.locations import Location, delta_table
from lib.tables.sources import Source
from schemas.tables import REVIEW

# Columns of the table that a person decides by.
SHOWN = ("category", "confidence", "runner_up", "runner_up_confidence", "reason")
SIMILAR = "similar_products"


def check_text_names(text_columns: Sequence[str]) -> None:
    """Refuse text columns that would stand under the name of a column of the queue.

    Raises:
        InputError: there are such.
    """
    taken = [name for name in text_columns if name in {"product_id", *SHOWN, SIMILAR, CORRECT, BY, WHY}]
    if taken:
        raise InputError(
            f"Expected text columns under names of their own, found {', '.join(taken)}; rename them in the source."
        )


def review_queue(spark: SparkSession, target: Location, source: Source, columns: CatalogueColumns, most: int) -> DataFrame:
    """Rows in review, one for all whose texts have the same words: those first by which most wrong rows are likely to be mended.

    Gives product_id, the texts, SHOWN, SIMILAR (how many rows the one stands for), and empty columns for the person to fill. A
    calibrated confidence is the probability of being right, so the rows to be mended are the sum of 1 - confidence.
    """
    there = delta_table(spark, target).toDF().filter((F.col("status") == REVIEW) & F.col("missing_since").isNull())
    corrected = standing(spark, target)
    if corrected is not None:
        there = there.join(corrected, "product_id", "left_anti")
    texts = source.frame.select(usable_id(columns).alias("product_id"), *map(column, columns.text))
    texts = texts.filter("product_id IS NOT NULL").withColumn("words", _words(columns.text)).dropDuplicates(["product_id"])
    rows = there.select("product_id", *SHOWN).join(texts, "product_id")
    least_sure = F.min_by(F.struct("product_id", *map(column, columns.text), *SHOWN), F.struct("confidence", "product_id"))
    groups = rows.groupBy("words").agg(
        least_sure.alias("row"), F.count("*").alias(SIMILAR), F.sum(1 - F.col("confidence")).alias("to_mend")
    )
    first = groups.orderBy(F.col("to_mend").desc(), "row.product_id").limit(most)
    empty = [F.lit(None).cast("string").alias(name) for name in (CORRECT, WHY, BY)]
    shown = [F.col("row").getField(name).alias(name) for name in ("product_id", *columns.text, *SHOWN)]
    return first.select(*shown, SIMILAR, *empty)


def _words(text_columns: Sequence[str]) -> Column:
    """The words of a text without digits, as a set: sizes, numbers and order make no other product of it."""
    text = F.lower(joined_text(text_columns, 10_000))
    words = F.split(F.regexp_replace(text, r"\p{Nd}+", ""), r"[^\p{L}\p{M}]+")
    return F.array_sort(F.array_distinct(words))
