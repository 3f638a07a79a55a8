"""The query of each view, in the parts of SQL that the engines share. Names and meanings are those of the package in dbt/."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from lib.warehouse.views.dialects import Dialect, Place
from schemas.tables import CATEGORIZED, COMMENTS, NO_CATEGORY, PUBLISHED, REVIEW, ROLLED_BACK

# Columns of `categorized` that the view `products` takes over, after its own.
TAKEN = (
    "confidence",
    "runner_up",
    "runner_up_confidence",
    "status",
    "reason",
    "model_version",
    "run_id",
    "scored_at",
    "missing_since",
    "unfamiliarity",
    "level_confidence",
)
# Columns that follow from a person's correction if there is one.
PATHS = ("category_path", "published_path")
# Columns of `products` that no table of the target has.
MADE = ("is_corrected", "model_category")


@dataclass(frozen=True)
class Tables:
    """The tables under the views.

    columns: of `categorized`, which may lack newer ones and has the carried ones; run_columns: of `runs`. corrections: None if nobody has corrected
    a product yet. separator: of the levels of a label; None if labels are not paths. since: the version of `categorized` since
    which moves are shown, and since_time when it was committed.
    """

    categorized: Place
    runs: Place
    corrections: Place | None
    columns: Sequence[str]
    run_columns: Sequence[str]
    separator: str | None
    since: int
    since_time: datetime

    @property
    def carried(self) -> list[str]:
        """Columns of --carry, without `left_out`."""
        ours = {*CATEGORIZED.names, *MADE}
        return [name for name in self.columns if name.lower() not in ours]

    @property
    def left_out(self) -> list[str]:
        """Carried columns that `products` cannot have, since it has its own column of that name."""
        return [name for name in self.columns if name.lower() in MADE]


@dataclass(frozen=True)
class View:
    """name: after the prefix. columns: in their order, with their comments; empty for those that are carried."""

    name: str
    comment: str
    columns: Mapping[str, str]
    query: str


def views(tables: Tables, d: Dialect, prefix: str) -> list[View]:
    """All views, each after those that it reads. prefix: of their names, with the schema before it."""
    products = d.named(f"{prefix}_products")
    return [
        _products(tables, d),
        _category_counts(tables, d),
        _confidence_bands(products),
        _moved_products(tables, d, products),
    ]


def _standing(t: Tables, d: Dialect, up_to: str = "") -> str:
    """A subquery for the newest correction of each product, null if it withdraws the earlier ones; without a table of them no rows."""
    if t.corrections is None:
        return f"(SELECT {d.null('string')} AS product_id, {d.null('string')} AS category WHERE 1 = 0)"
    return f"""(
  SELECT product_id, category
  FROM (
    SELECT product_id, category, row_number() OVER (PARTITION BY product_id ORDER BY corrected_at DESC) AS place
    FROM {d.table(t.corrections)}{up_to}
  ) AS ordered
  WHERE place = 1
)"""


def _products(t: Tables, d: Dialect) -> View:
    kinds = {field.name: field.dataType.simpleString() for field in CATEGORIZED}
    there = {name.lower() for name in t.columns}

    def stored(name: str) -> str:
        return f"p.{name}" if name in there else d.null(kinds[name])

    person = d.levels("c.category", t.separator) if t.separator else d.null("array<string>")
    chosen = {
        "product_id": "p.product_id",
        "category": "coalesce(c.category, p.category)",
        "is_corrected": "c.category IS NOT NULL",
        "model_category": "p.category",
        **{name: stored(name) for name in TAKEN},
        **{name: f"CASE WHEN c.category IS NULL THEN {stored(name)} ELSE {person} END" for name in PATHS},
        **{name: f"p.{d.quoted(name)}" for name in t.carried},
    }
    said = {
        **COMMENTS,
        "category": "the category that counts: the correction, or else the model's; null if there is neither",
        "is_corrected": "whether a person has set the category",
        "model_category": f"the model's category: {COMMENTS['category']}",
        "confidence": "probability of the model's category, 0 to 1",
        "status": "the row's status by the model: categorized, review or unclassifiable",
        "category_path": "levels of category, top first; null if the model's labels are not paths",
        "published_path": "levels of category that are sure enough; all of them if a person has corrected it",
        **dict.fromkeys(t.carried, ""),
    }
    listed = ",\n  ".join(f"{what} AS {d.quoted(name)}" for name, what in chosen.items())
    return View(
        "products",
        "The latest published category of each product, with a person's correction in place of the model's category if there is one.",
        {name: said[name] for name in chosen},
        f"\nSELECT\n  {listed}\nFROM {d.table(t.categorized)} AS p\nLEFT JOIN {_standing(t, d)} AS c ON c.product_id = p.product_id",
    )


def _category_counts(t: Tables, d: Dialect) -> View:
    """From the ledger, since the table's older versions are removed after a while."""
    runs = d.table(t.runs)
    none = d.value("guarded", "unclassifiable") if "guarded" in t.run_columns else d.null("float")
    there = "(rows_in - rows_rejected)"
    of_status = f"status IN ({d.text(PUBLISHED)}, {d.text(ROLLED_BACK)})"
    query = f"""
SELECT run_id, ended_at AS published_at, model_category, CAST(round(share * {there} * (1 - {none})) AS bigint) AS products, share
FROM {d.entries(runs, "category_shares", "model_category", "share")}
WHERE {of_status}
UNION ALL
SELECT run_id, ended_at, {d.text(NO_CATEGORY)}, CAST(round({there} * {none}) AS bigint), NULL
FROM {runs}
WHERE {of_status} AND {none} > 0"""
    columns = {
        "run_id": "the run, or the rollback, that led to these counts",
        "published_at": "when that was published, UTC",
        "model_category": "the model's category, or (none)",
        "products": "how many there are; null for runs of older releases, which counted less",
        "share": "of the products that have a category, 0 to 1; null for (none)",
    }
    return View(
        "category_counts",
        "Products by the model's category after each run that was published or rolled back, without those that are gone from the source.",
        columns,
        query,
    )


def _confidence_bands(products: str) -> View:
    query = f"""
SELECT
  model_category AS category,
  CAST(band * 0.1 AS decimal(2, 1)) AS from_confidence,
  CAST((band + 1) * 0.1 AS decimal(2, 1)) AS to_confidence,
  count(*) AS products,
  count(CASE WHEN status = '{REVIEW}' AND NOT is_corrected THEN 1 END) AS in_review
FROM (
  SELECT model_category, status, is_corrected, least(CAST(floor(CAST(confidence AS decimal(7, 6)) * 10) AS integer), 9) AS band
  FROM {products}
  WHERE confidence IS NOT NULL AND missing_since IS NULL
) AS banded
GROUP BY model_category, band"""
    columns = {
        "category": "the model's category",
        "from_confidence": "lower end of the band, included",
        "to_confidence": "upper end of the band, excluded; 1 is in the highest band",
        "products": "how many there are",
        "in_review": "how many of them wait for a person",
    }
    comment = "Products by the model's category and by confidence in steps of 0.1, without those that are marked as gone or are unclassifiable."
    return View("confidence_bands", comment, columns, query)


def _moved_products(t: Tables, d: Dialect, products: str) -> View:
    moment = d.time(t.since_time)
    query = f"""
SELECT
  p.product_id,
  coalesce(c.category, b.category) AS from_category,
  p.category AS to_category,
  p.is_corrected,
  p.model_version,
  p.run_id,
  {t.since} AS since_version,
  {moment} AS since
FROM {products} AS p
JOIN (SELECT product_id, category FROM {d.table(t.categorized, t.since)}) AS b ON b.product_id = p.product_id
LEFT JOIN {_standing(t, d, f" WHERE corrected_at <= {moment}")} AS c ON c.product_id = p.product_id
WHERE p.category IS DISTINCT FROM coalesce(c.category, b.category)"""
    columns = {
        "product_id": "id of the product",
        "from_category": "the category before; null if there was none",
        "to_category": "the category since; null if there is none",
        "is_corrected": "whether the new one is a person's correction",
        "model_version": COMMENTS["model_version"],
        "run_id": "the run that wrote the row",
        "since_version": "the older version of the table that this one is compared with",
        "since": "when that version was published, UTC",
    }
    comment = f"Products whose category differs from that in version {t.since} of the table, by a correction or by the model."
    return View("moved_products", comment, columns, query)
