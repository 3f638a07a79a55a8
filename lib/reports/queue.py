"""What a person should look at first: rows whose correction would teach the model most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lib.errors import InputError
from lib.identifiers import column
from lib.redaction import redacted
from lib.reports.drifting import Drift, weights
from lib.scoring.catalogue import CatalogueColumns, joined_text, one_of_each_id, usable_id
from lib.tables.corrections import BY, CORRECT, WHY, standing
from lib.tables.ledger import published_runs
from lib.tables.locations import Location, delta_table
from lib.tables.sources import Source
from lib.tables.target import Tables
from schemas.tables import REVIEW

# Columns of the table that a person decides by.
SHOWN = ("category", "confidence", "runner_up", "runner_up_confidence", "reason")
SIMILAR, BECAUSE = "similar_products", "asked_because"
# In one frame with text columns of any name.
DOUBT, WORDS = "doubt\n", "words\n"
# In one frame with the columns of a source, none of which is called so.
ASKED = "id in review\n"


def check_text_names(text_columns: Sequence[str]) -> None:
    """Refuse text columns that have the name of a column of the queue.

    Raises:
        InputError: there are some.
    """
    own = {"product_id", *SHOWN, SIMILAR, BECAUSE, CORRECT, BY, WHY}
    taken = [name for name in text_columns if name.lower() in own]
    if taken:
        raise InputError(
            f"Expected text columns under names of their own, found {', '.join(taken)}; rename them in the source."
        )


def review_queue(
    spark: SparkSession,
    target: Location,
    source: Source,
    columns: CatalogueColumns,
    most: int,
    drifts: Sequence[Drift] = (),
) -> DataFrame:
    """Rows in review, one for all whose texts have the same words: first those that are likely to correct the most wrong rows.

    Returns product_id, the texts, SHOWN, SIMILAR (how many rows the one represents), BECAUSE (why it has this place), and empty
    columns for the person to fill. A calibrated confidence is the probability of being right, so the expected number of wrong rows is the sum of
    1 - confidence; where categories drift, with the confidence that it would be if they were as frequent as before.

    Args:
        drifts: of the target (lib.reports.drifting).
    Raises:
        InputError: copies of an id whose order column holds texts that are neither numbers nor times.
    """
    there = delta_table(spark, target).toDF().filter((F.col("status") == REVIEW) & F.col("missing_since").isNull())
    corrected = standing(spark, target)
    if corrected is not None:
        there = there.join(corrected, "product_id", "left_anti")
    # Of several copies of an id only the one that the run has scored: another copy may be another product.
    asked = source.frame.join(there.select(F.col("product_id").alias(ASKED)), usable_id(columns) == F.col(ASKED), "left_semi")
    texts = one_of_each_id(asked, columns).select(usable_id(columns).alias("product_id"), *map(column, columns.text))
    texts = texts.withColumn(WORDS, _words(columns.text))
    rows = there.select("product_id", *SHOWN, _doubt(drifts).alias(DOUBT)).join(texts, "product_id")
    shown = ("product_id", *columns.text, *SHOWN)
    most_doubtful = F.min_by(F.struct(*map(column, shown), DOUBT), F.struct(-F.col(DOUBT), "confidence", "product_id"))
    groups = rows.groupBy(WORDS).agg(most_doubtful.alias("row"), F.count("*").alias(SIMILAR), F.sum(DOUBT).alias("to_fix"))
    first = groups.orderBy(F.col("to_fix").desc(), "row.product_id").limit(most)
    empty = [F.lit(None).cast("string").alias(name) for name in (CORRECT, WHY, BY)]
    told = [F.col("row").getField(name).alias(name) for name in shown]
    return first.select(*told, SIMILAR, _because(drifts).alias(BECAUSE), *empty)


def order_of_last_night(spark: SparkSession, tables: Tables, source: Location) -> str | None:
    """The column by which the newest run chose the newest copy of an id, if it has read this source; None if it used none."""
    runs = published_runs(spark, tables, 1)
    read_it = runs and runs[0].source == redacted(source.uri)
    return runs[0].options.get("order_by") if read_it else None


def _doubt(drifts: Sequence[Drift]) -> Column:
    """The probability that a row's category is wrong."""
    confidence, second = F.col("confidence"), F.coalesce("runner_up_confidence", F.lit(0.0))
    if not drifts:
        return 1 - confidence
    right = confidence * _looked_up(weights(drifts), "category", 1.0)
    other = second * _looked_up(weights(drifts), "runner_up", 1.0) + F.greatest(1 - confidence - second, F.lit(0.0))
    return 1 - right / (right + other)


def _because(drifts: Sequence[Drift]) -> Column:
    """For a person, about a group of rows: how likely the shown one is wrong, how many it represents, and which category drifts."""
    row, alike = F.col("row"), F.col(SIMILAR)
    parts = [
        F.format_string("%.0f%% likely wrong", 100 * row.getField(DOUBT)),
        F.when(alike > 1, F.format_string("stands for %d alike, %.1f of them likely wrong", alike, F.col("to_fix"))),
    ]
    # More rows than before suggest that some belong to other categories; fewer, that some of its own went to others.
    for name, rose in (("category", True), ("runner_up", False)):
        told = {one.category: str(one) for one in drifts if one.rose is rose}
        if told:
            parts.append(_looked_up(told, f"row.{name}", None))
    return F.concat_ws("; ", *parts)


def _looked_up(values: Mapping[str, float] | Mapping[str, str], name: str, default: float | None) -> Column:
    pairs = [F.lit(part) for pair in values.items() for part in pair]
    return F.coalesce(F.try_element_at(F.create_map(*pairs), F.col(name)), F.lit(default))


def _words(text_columns: Sequence[str]) -> Column:
    """The words of a text without digits, as a set: sizes, numbers and order do not make it another product."""
    text = F.lower(joined_text(text_columns, 10_000))
    words = F.split(F.regexp_replace(text, r"\p{Nd}+", ""), r"[^\p{L}\p{M}]+")
    # Where a number or a sign ends a text, splitting leaves an empty word.
    return F.array_sort(F.array_distinct(F.array_remove(words, "")))
