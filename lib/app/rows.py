"""What the page shows of the tables: products by category and status, the queue for review, the texts of the source, the runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from lib.app.paths import nodes_of, separator_in, sure_only_of
from lib.errors import InputError
from lib.identifiers import column
from lib.model.fields import columns_and_markers, marker
from lib.reports.drifting import drifting_in
from lib.reports.night import night_of
from lib.reports.pages import night_page
from lib.reports.queue import check_text_names, review_queue
from lib.scoring.catalogue import CatalogueColumns, usable_id
from lib.scoring.record import retired_labels
from lib.settings import Names
from lib.tables.columns import ID_TYPES, require_columns, require_order, require_text
from lib.tables.corrections import BY, corrections_of, standing
from lib.tables.formats import ReadOptions
from lib.tables.ledger import all_runs, published_runs
from lib.tables.locations import Location, delta_table, is_delta, locate, newest_snapshot, rows_at
from lib.tables.run_record import RunRecord
from lib.tables.sources import Source, read_source
from lib.tables.target import Tables, check_categorized, with_added_columns
from schemas.tables import CATEGORIZED

ROWS_ON_A_PAGE = 50
MOST_IN_QUEUE = 200
# The most carried columns that are shown, and the most characters of a value.
MOST_CARRIED = 3
MOST_CHARACTERS = 300
# The status that the page shows for a row that a person has corrected.
CORRECTED = "corrected"
# Columns next to those of the table. No carried column has such a name, which comes from a line of text.
SAID, WHO, OF_MODEL, BY_WHOM = "said\n", "who\n", "model category\n", "corrected by\n"
# What a row's values are called on the page; carried columns of these names are not shown.
OURS = {OF_MODEL: "model_category", BY_WHOM: BY}
# Versions of the table that other sessions may still page through.
MOST_KEPT = 8


@dataclass(frozen=True)
class Shown:
    """Which rows are asked for. None: all of them. versions: of the table and of its corrections, as in the overview.

    separator: where categories are paths, that of their levels; `category` then stands for all below it too.
    """

    versions: tuple[int, int | None]
    category: str | None = None
    separator: str | None = None
    without_category: bool = False
    status: str | None = None
    id_holds: str = ""
    surest_first: bool = False
    first: int = 0


@dataclass(frozen=True)
class Overview:
    """counts: products by category, None for none, and status; those that the source no longer holds are left out.

    carried: columns that came along from the source; labels: all that a correction may name, as far as the newest rows show, without names
    from before a relabelling that only earlier corrections have; model: the bundle that scored last; separator: that of the levels of
    categories that are paths, None for a flat list.
    """

    versions: tuple[int, int | None]
    counts: Sequence[tuple[str | None, str, int]]
    carried: Names
    labels: Names
    model: str
    separator: str | None

    @property
    def by_category(self) -> Mapping[str | None, int]:
        """Products by category, None for none, in the order of `counts`; of paths, in the tree's order, those at and below each node."""
        counts: Counter[str | None] = Counter()
        for label, _, count in self.counts:
            for node in nodes_of(label, self.separator) if label is not None else [None]:
                counts[node] += count
        if self.separator is None:
            return counts
        return {name: counts[name] for name in sorted(counts, key=lambda name: (name or "").split(self.separator))}


class Browser:
    """Products as readers see them: people's corrections in place of the model's category."""

    def __init__(self) -> None:
        # Counts of millions of rows take seconds, and stay the same until somebody writes.
        self._kept: dict[tuple[str, tuple[int, int | None]], Overview] = {}

    def overview(self, spark: SparkSession, tables: Tables) -> Overview:
        """
        Raises:
            InputError: no table of categorized products.
        """
        check_categorized(spark, tables.categorized)
        corrections = corrections_of(tables.categorized)
        versions = (
            _version(spark, tables.categorized),
            _version(spark, corrections) if is_delta(spark, corrections) else None,
        )
        key = (str(newest_snapshot(spark, tables.categorized).metadata().id()), versions)
        if key not in self._kept:
            for old in list(self._kept)[: 1 - MOST_KEPT]:
                del self._kept[old]
            self._kept[key] = _overview(spark, tables, versions)
        return self._kept[key]


def _version(spark: SparkSession, location: Location) -> int:
    return int(newest_snapshot(spark, location).version())


def _overview(spark: SparkSession, tables: Tables, versions: tuple[int, int | None]) -> Overview:
    rows = _as_corrected(spark, tables, versions)
    aggregates = [
        F.count("*").alias("count"),
        F.first("category_path", True).alias("path"),
        F.max(F.struct("scored_at", "model_version")).alias("last"),
    ]
    grouped = rows.groupBy("category", "status").agg(*aggregates)
    counted = grouped.orderBy(F.desc("count"), "category", "status").collect()
    # A person's category has the path of the model's.
    of_model = [row for row in counted if row["path"] and row["status"] != CORRECTED]
    separator = next(filter(None, (separator_in(row["category"], row["path"]) for row in of_model)), None)
    model = max((row["last"] for row in counted), default=("", ""))[1]
    counts = [(row["category"], row["status"], row["count"]) for row in counted]
    table = rows_at(spark, tables.categorized, versions[0])
    others = (name for name in table.columns if name not in CATEGORIZED.names and name.lower() not in OURS.values())
    carried = tuple(others)[:MOST_CARRIED]
    some = table.filter("scores IS NOT NULL").select(F.map_keys("scores").alias("labels")).limit(1000).distinct().collect()
    said = {row["category"] for row in counted if row["status"] == CORRECTED}
    if said:
        said.difference_update(retired_labels(all_runs(spark, tables)))
    given = {row["category"] for row in counted if row["category"] and row["status"] != CORRECTED}
    labels = said | given | {label for row in some for label in row["labels"]}
    return Overview(versions, counts, carried, tuple(sorted(labels)), model, separator)


def _as_corrected(spark: SparkSession, tables: Tables, versions: tuple[int, int | None]) -> DataFrame:
    """The products that exist, with the category that counts; OF_MODEL is the model's, BY_WHOM who corrected it, CORRECTED a status."""
    rows = with_added_columns(rows_at(spark, tables.categorized, versions[0])).filter("missing_since IS NULL")
    said = standing(spark, tables.categorized, versions[1]) if versions[1] is not None else None
    no_one = F.lit(None).cast("string")
    if said is None:
        return rows.withColumns({OF_MODEL: F.col("category"), BY_WHOM: no_one})
    people = said.select("product_id", F.col("category").alias(SAID), F.col(BY).alias(WHO))
    joined = rows.join(people, "product_id", "left_outer")
    return joined.withColumns(
        {
            OF_MODEL: F.col("category"),
            "category": F.coalesce(F.col(SAID), F.col("category")),
            "status": F.when(F.col(SAID).isNotNull(), CORRECTED).otherwise(F.col("status")),
            BY_WHOM: F.col(WHO),
        }
    ).drop(SAID, WHO)


def some_rows(asked: Shown, carried: Sequence[str], spark: SparkSession, tables: Tables) -> list[dict[str, Any]]:
    """ROWS_ON_A_PAGE products, the least confident first: product_id, the carried columns as text, and what was decided."""
    rows = _as_corrected(spark, tables, asked.versions)
    if asked.category is not None:
        rows = rows.filter(_is_or_is_below(asked.category, asked.separator))
    if asked.without_category:
        rows = rows.filter("category IS NULL")
    if asked.status is not None:
        rows = rows.filter(F.col("status") == asked.status)
    if asked.id_holds:
        rows = rows.filter(F.contains(F.lower("product_id"), F.lit(asked.id_holds.lower())))
    confidence = F.col("confidence")
    order = confidence.desc_nulls_last() if asked.surest_first else confidence.asc_nulls_first()
    decided = (
        "category",
        "confidence",
        "runner_up",
        "status",
        "reason",
        "category_path",
        "published_path",
    )
    ours = [*map(F.col, decided), *[F.col(name).alias(shown) for name, shown in OURS.items()]]
    page = rows.orderBy(order, "product_id").offset(asked.first).limit(ROWS_ON_A_PAGE)
    return [row.asDict() for row in page.select(F.col("product_id"), *map(_as_text, carried), *ours).collect()]


def _is_or_is_below(node: str, separator: str | None) -> Column:
    at = F.col("category") == node
    return at if separator is None else at | F.startswith("category", F.lit(f"{node}{separator}"))


def _as_text(name: str) -> Column:
    """A carried column as text, cut: bytes or an endless text must not fill the page."""
    return F.substring(column(name).cast("string"), 1, MOST_CHARACTERS).alias(name)


@dataclass(frozen=True)
class Catalogue:
    """The source of the newest run, and which of its columns mean what."""

    source: Source
    columns: CatalogueColumns


def catalogue_of(spark: SparkSession, tables: Tables, fields: Sequence[str] | None) -> Catalogue:
    """What the newest published run has read, according to its row in the ledger.

    Args:
        fields: those of the bundle that is to read the texts; None where they are only shown, whatever bundle the run had.
    Raises:
        InputError: no table, no run in the ledger, or the source no longer exists.
    """
    check_categorized(spark, tables.categorized)
    runs = published_runs(spark, tables, 1)
    if not runs:
        raise InputError(
            f"Expected a published run in the ledger {tables.runs.given}, which names the source of the texts, found none; run "
            "`categorize` first."
        )
    settings = runs[0].options
    if fields is None:
        text, markers = _columns_of_run(spark, runs[0]), Names()
    else:
        text, markers = columns_and_markers(settings["text_columns"], fields)
    columns = CatalogueColumns(settings["id_column"], text, order_by=settings.get("order_by"), markers=markers)
    reading = ReadOptions.of(settings, columns.all)
    source = read_source(spark, locate(spark, runs[0].source), reading)
    require_columns(source.frame, source.location.given, id_column=([columns.id], ID_TYPES))
    require_text(source.frame, source.location.given, columns.text)
    require_order(source.frame, source.location.given, columns.order_by)
    return Catalogue(source, columns)


def _columns_of_run(spark: SparkSession, run: RunRecord) -> Names:
    """The text columns of a run, without the fields of its bundle: FIELD=COLUMN is COLUMN unless a column has that very name."""
    given = tuple(run.options["text_columns"])
    if not any("=" in name for name in given):
        return given
    there = read_source(spark, locate(spark, run.source), ReadOptions.of(run.options, ())).frame.columns
    return tuple(name if name in there else name.rpartition("=")[2] for name in given)


@dataclass(frozen=True)
class Queue:
    """Rows for review, the most instructive first, as the job `review` writes them; text_columns: those with the product's texts."""

    rows: Sequence[Mapping[str, Any]]
    text_columns: Names


def queue_of(spark: SparkSession, tables: Tables) -> Queue:
    catalogue = catalogue_of(spark, tables, None)
    check_text_names(catalogue.columns.text)
    drifts = drifting_in(spark, tables)
    rows = review_queue(spark, tables.categorized, catalogue.source, catalogue.columns, MOST_IN_QUEUE, drifts)
    return Queue([row.asDict() for row in rows.collect()], catalogue.columns.text)


def sure_only(ids: Sequence[str], spark: SparkSession, tables: Tables) -> dict[str, str]:
    """How far down products are sure whose categories are paths, by id; those that are sure to the end are left out."""
    rows = with_added_columns(delta_table(spark, tables.categorized).toDF()).filter(F.col("product_id").isin(list(ids)))
    found = rows.select("product_id", "category", "category_path", "published_path").collect()
    return {row[0]: said for row in found if (said := sure_only_of(*row[1:])) is not None}


@dataclass(frozen=True)
class Texts:
    """The texts of some products: the columns that hold them, the bundle's field that each is, and each one's values.

    fields: not all that the bundle has, where the run named fewer; the columns' own names for a bundle of one text.
    """

    ids: Sequence[str]
    columns: Names
    fields: Names
    values: Sequence[Sequence[str | None]]


def texts_of(most: int, fields: Sequence[str], spark: SparkSession, tables: Tables) -> Texts:
    """Those of the source's first rows. most: the most rows; fields: those of the bundle."""
    catalogue = catalogue_of(spark, tables, fields)
    columns = catalogue.columns
    rows = catalogue.source.frame.select(usable_id(columns).alias("product_id"), *[column(name) for name in columns.text])
    found = rows.filter("product_id IS NOT NULL").limit(most).collect()
    named = tuple(field for i, field in enumerate(fields) if marker(i) in columns.markers)
    values = [[row[i] for row in found] for i in range(1 + len(columns.text))]
    return Texts(values[0], columns.text, named or columns.text, values[1:])


def runs_of(spark: SparkSession, tables: Tables) -> list[RunRecord]:
    """Every run of the ledger, newest first.

    Raises:
        InputError: no table of categorized products.
    """
    check_categorized(spark, tables.categorized)
    return all_runs(spark, tables)


def page_of_run(run_id: str, spark: SparkSession, tables: Tables) -> str:
    """The page that the job `report` writes."""
    return night_page(night_of(spark, tables, run_id, reads_only=True), alone=True)
