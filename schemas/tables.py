"""The output tables: `categorized`, `rejected`, `runs`, and `corrections`, which people fill. docs/tables.md describes them for readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

# Importable from this module too.
from schemas.statuses import CATEGORIZED_STATUS as CATEGORIZED_STATUS
from schemas.statuses import LOW_CONFIDENCE as LOW_CONFIDENCE
from schemas.statuses import NO_TEXT as NO_TEXT
from schemas.statuses import NO_WORDS as NO_WORDS
from schemas.statuses import OF_LEVELS as OF_LEVELS
from schemas.statuses import REVIEW as REVIEW
from schemas.statuses import UNCLASSIFIABLE as UNCLASSIFIABLE
from schemas.statuses import UNFAMILIAR as UNFAMILIAR

# In the matrix of changed labels, for rows without a category.
NO_CATEGORY = "(none)"

NO_ID = "no id"
LONG_ID = "id too long"
ID_OF_BYTES = "id not in UTF-8"
OLDER_COPY = "older copy of the id"
FATAL_TEXT = "the engine died on the text"

CATEGORIZED = StructType(
    [
        StructField("product_id", StringType(), nullable=False),
        StructField("category", StringType()),
        StructField("confidence", FloatType()),
        StructField("runner_up", StringType()),
        StructField("runner_up_confidence", FloatType()),
        StructField("scores", MapType(StringType(), FloatType())),
        StructField("status", StringType(), nullable=False),
        StructField("reason", StringType()),
        StructField("text_hash", StringType()),
        StructField("model_version", StringType(), nullable=False),
        StructField("run_id", StringType(), nullable=False),
        StructField("scored_at", TimestampType(), nullable=False),
        StructField("missing_since", TimestampType()),
        StructField("unfamiliarity", FloatType()),
        StructField("category_path", ArrayType(StringType())),
        StructField("level_confidence", ArrayType(FloatType())),
        StructField("published_path", ArrayType(StringType())),
    ]
)
# Columns that tables of older releases lack until their next run.
ADDED_TO_CATEGORIZED = frozenset({"missing_since", "unfamiliarity", *OF_LEVELS})


# The column comments of the tables, for DESCRIBE and catalogue browsers; docs/tables.md has more details.
COMMENTS: Mapping[str, str] = {
    "product_id": "id of the product in the source, as text",
    "category": "label with the highest probability; null if unclassifiable",
    "confidence": "probability of the category, 0 to 1",
    "runner_up": "label with the second highest probability",
    "runner_up_confidence": "probability of the runner-up, 0 to 1",
    "scores": "probability of every label, or of the most probable ones, 0 to 1",
    "status": "categorized, review or unclassifiable; of a run: published, held or rolled back",
    "reason": "why the row is not categorized, or was rejected",
    "text_hash": "SHA-256 of the text that was scored",
    "model_version": "NAME/VERSION of the bundle that scored",
    "run_id": "the run that wrote the row; key into the table of runs",
    "scored_at": "when the row was scored, UTC",
    "missing_since": "since when the product has been missing from the source, UTC; null while it is there",
    "unfamiliarity": "0 to 1: share of texts like the labelled ones that are less unlike the training texts",
    "category_path": "levels of the category, top first; null if the model's labels are not paths",
    "level_confidence": "probability of each level of the category, 0 to 1; never below that of the level under it",
    "published_path": "levels of the category down to the last one that is sure enough; empty if none is",
    "corrected_by": "who corrected the product",
    "corrected_at": "when the correction was added, UTC",
    "why": "the person's reason for the correction",
    "model_category": "the category that the model gave the product when it was corrected",
    "model_confidence": "the confidence of that category, 0 to 1",
    "texts": "the product's texts by column, as the person saw them",
    "row": "the rejected row of the source, as JSON",
    "rejected_at": "when the row was rejected, UTC",
    "started_at": "when the run began, UTC",
    "ended_at": "when the run ended, UTC",
    "source": "where the rows came from",
    "source_version": "version of the source that was read",
    "mode": "incremental, full or rollback",
    "engine": "engine that ran the model",
    "rows_in": "rows of the source = scored + unchanged + rejected",
    "rows_scored": "rows that the model scored in this run",
    "rows_unchanged": "rows that keep the result of an earlier run",
    "rows_rejected": "rows without a usable id, and older copies",
    "rows_review": "scored rows with the status review",
    "rows_unclassifiable": "scored rows with the status unclassifiable",
    "category_shares": "share of each category among the source's rows that have one, 0 to 1",
    "mean_confidence": "mean confidence of the source's rows that have a category: their estimated accuracy, 0 to 1",
    "out_of_vocabulary_share": "share of the scored tokens that the model does not know, 0 to 1",
    "drift": "population stability index of the categories' shares against the last good runs",
    "rows_missing": "products of the table that are no longer in the source; of incremental runs with --missing mark those that this run has marked",
    "review_share": "share of the source's rows with the status review, 0 to 1",
    "label_changes": "rows by the label of the model before and the new one",
    "held_because": "what the guardrails found, also where the run was released since",
    "estimated_precision": "mean confidence of the rows with the status categorized, 0 to 1",
    "guarded": "further figures that the guardrails compare",
    "rows_per_second": "rows scored a second, from the first count to the last score",
    "seconds": "seconds by phase; of scoring also by part, all tasks together",
    "settings": "settings of the job, as JSON",
}


def commented(schema: StructType) -> StructType:
    """The schema with the COMMENTS on our columns, in the form in which Delta stores them."""
    return StructType(
        [
            StructField(f.name, f.dataType, f.nullable, {"comment": COMMENTS[f.name]} if f.name in COMMENTS else {})
            for f in schema.fields
        ]
    )


def replacement_columns(rows: StructType, table: StructType) -> StructType | None:
    """The table's new columns if rows lack some, or have some with another type; None if they only add to them."""
    there = {field.name.lower(): field for field in table.fields}
    fields = []
    for field in commented(rows).fields:
        known = there.get(field.name.lower())
        same = known is not None and known.dataType.simpleString() == field.dataType.simpleString()
        fields.append(known if known and same else StructField(field.name, field.dataType, True, field.metadata))
    kept = sum(field is there.get(field.name.lower()) for field in fields)
    return StructType(fields) if kept < len(there) else None


def categorized_schema(carried: Sequence[StructField]) -> StructType:
    """`categorized` with the carried columns after its own."""
    return StructType([*CATEGORIZED.fields, *[StructField(field.name, field.dataType) for field in carried]])


# Every Delta writer checks these, not only ours. They raise the writer version to 3; readers are not affected.
CATEGORIZED_CONSTRAINTS: Mapping[str, str] = {
    "known_status": f"status IN ('{CATEGORIZED_STATUS}', '{REVIEW}', '{UNCLASSIFIABLE}')",
    "category_or_reason": f"(status = '{UNCLASSIFIABLE}') = (category IS NULL) AND (status = '{CATEGORIZED_STATUS}') = (reason IS NULL)",
    "confidence_is_a_probability": "confidence IS NULL OR (confidence >= 0 AND confidence <= 1)",
}

REJECTED = StructType(
    [
        StructField("product_id", StringType()),
        StructField("reason", StringType(), nullable=False),
        StructField("row", StringType()),
        StructField("run_id", StringType(), nullable=False),
        StructField("rejected_at", TimestampType(), nullable=False),
    ]
)

# People's corrections of products; the newest of a product counts. `category` is null where it withdraws the earlier ones.
CORRECTIONS = StructType(
    [
        StructField("product_id", StringType(), nullable=False),
        StructField("category", StringType()),
        StructField("corrected_by", StringType()),
        StructField("corrected_at", TimestampType(), nullable=False),
        StructField("why", StringType()),
        StructField("model_category", StringType()),
        StructField("model_confidence", FloatType()),
        StructField("model_version", StringType(), nullable=False),
        StructField("text_hash", StringType()),
        StructField("texts", MapType(StringType(), StringType())),
    ]
)

# The columns that a warehouse gets; the texts of a product are only for training.
PUBLISHED_CORRECTIONS = StructType([field for field in CORRECTIONS if field.name != "texts"])

RUNS = StructType(
    [
        StructField("run_id", StringType(), nullable=False),
        StructField("started_at", TimestampType(), nullable=False),
        StructField("ended_at", TimestampType(), nullable=False),
        StructField("status", StringType(), nullable=False),
        StructField("source", StringType(), nullable=False),
        StructField("source_version", StringType(), nullable=False),
        StructField("model_version", StringType(), nullable=False),
        StructField("mode", StringType(), nullable=False),
        StructField("engine", StringType(), nullable=False),
        StructField("rows_in", LongType(), nullable=False),
        StructField("rows_scored", LongType(), nullable=False),
        StructField("rows_unchanged", LongType(), nullable=False),
        StructField("rows_rejected", LongType(), nullable=False),
        StructField("rows_review", LongType(), nullable=False),
        StructField("rows_unclassifiable", LongType(), nullable=False),
        StructField("category_shares", MapType(StringType(), DoubleType())),
        StructField("mean_confidence", DoubleType()),
        StructField("out_of_vocabulary_share", DoubleType()),
        StructField("drift", DoubleType()),
        StructField("rows_missing", LongType()),
        StructField("review_share", DoubleType()),
        StructField("label_changes", MapType(StringType(), MapType(StringType(), LongType()))),
        StructField("held_because", ArrayType(StringType())),
        StructField("estimated_precision", DoubleType()),
        StructField("guarded", MapType(StringType(), DoubleType())),
        StructField("rows_per_second", DoubleType()),
        StructField("seconds", MapType(StringType(), DoubleType())),
        StructField("settings", StringType(), nullable=False),
    ]
)

ADDED_TO_RUNS = frozenset(
    {"seconds", "rows_missing", "review_share", "label_changes", "held_because", "estimated_precision", "guarded"}
)

# Values of `runs.status`.
PUBLISHED = "published"
HELD = "held"
ROLLED_BACK = "rolled back"

# The scoring UDF's result for a text. If the text has no words, `label` is -1 and all but the tokens are null. scores: of the
# labels in `scored`; of all labels, in their order, if that is null. level_confidence: also null if labels are not paths.
SCORE = StructType(
    [
        StructField("label", IntegerType(), nullable=False),
        StructField("runner_up", IntegerType(), nullable=False),
        StructField("confidence", FloatType()),
        StructField("runner_up_confidence", FloatType()),
        StructField("scored", ArrayType(IntegerType(), containsNull=False)),
        StructField("scores", ArrayType(FloatType(), containsNull=False)),
        StructField("level_confidence", ArrayType(FloatType(), containsNull=False)),
        StructField("tokens", IntegerType(), nullable=False),
        StructField("unknown_tokens", IntegerType(), nullable=False),
        StructField("unfamiliarity", FloatType()),
    ]
)


# Whether a text would be in the record of the texts that a bundle was fitted to, and whether it is.
SEEN = StructType([StructField("asked", BooleanType(), nullable=False), StructField("there", BooleanType(), nullable=False)])


def text_schema(names: Sequence[str]) -> StructType:
    """The columns of a file that does not name them itself, all text."""
    return StructType([StructField(name, StringType()) for name in names])
