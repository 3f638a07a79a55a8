"""Categorize the catalogue each night: an asset for Dagster with its checks and its schedule (docs/deploy.md#dagster).

dagster dev -f deploy/dagster/catalog_categorizer_assets.py
"""

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

CLONE = Path(os.environ.get("CATALOG_CATEGORIZER") or Path(__file__).resolve().parents[2])
sys.path.append(str(CLONE / "deploy"))

from scheduled_job import Ended, Job, night_options  # noqa: E402

ASSET = "categorized"
GUARDRAILS, ADDS_UP = "guardrails", "rows_add_up"
# From the ledger's row, unchanged.
FIGURES = (
    "rows_in",
    "rows_scored",
    "rows_unchanged",
    "rows_rejected",
    "rows_review",
    "rows_unclassifiable",
    "rows_missing",
    "review_share",
    "mean_confidence",
    "estimated_precision",
    "out_of_vocabulary_share",
    "drift",
    "rows_per_second",
)


class Catalogue(dg.ConfigurableResource):
    """The settings of a run. These defaults run the samples; relative paths are relative to the clone."""

    source: str = Field(default="samples/catalog.csv", description="the catalogue: path or table")
    target: str = Field(default="lake/categorized", description="the table to keep: path or name")
    model: str = Field(default="models/ecommerce", description="the bundle")
    options: list[str] = Field(
        default=["--carry", "title,price", "--order-by", "updated_at"],
        description="more options of categorize; once, for a night held back that is right: --publish-anyway RUN",
    )
    spark_options: list[str] = Field(default=[], description="options of spark-submit, such as --master yarn")


def figures(run: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a run, from its row in the ledger. Dagster plots the numbers over time."""
    shares = {f"share/{category}": share for category, share in run.get("category_shares", {}).items()}
    told = {name: run[name] for name in FIGURES if name in run}
    return {
        "run_id": run["run_id"],
        "model_version": run["model_version"],
        "source_version": run["source_version"],
        "rows_categorized": run["rows_in"] - run["rows_rejected"],
        **told,
        **shares,
        "seconds": dg.MetadataValue.json(run.get("seconds", {})),
    }


def checks(ended: Ended) -> Iterator[dg.AssetCheckResult]:
    """The checks of a run: only the guardrails if it was held back, both if it was published or had nothing to do, none if it failed."""
    if ended.held_run:
        told = {"run_id": ended.held_run, "held_because": ended.error}
        yield dg.AssetCheckResult(check_name=GUARDRAILS, passed=False, metadata=told)
    elif ended.exit_code == 0:
        run = ended.run or {}
        yield dg.AssetCheckResult(check_name=GUARDRAILS, passed=True)
        parts = {name: run.get(name, 0) for name in ("rows_scored", "rows_unchanged", "rows_rejected")}
        rows = {"rows_in": run.get("rows_in", 0), **parts}
        yield dg.AssetCheckResult(check_name=ADDS_UP, passed=rows["rows_in"] == sum(parts.values()), metadata=rows)


@dg.asset(
    name=ASSET,
    description="A category with a confidence for each product of the catalogue (docs/tables.md)",
    check_specs=[
        dg.AssetCheckSpec(GUARDRAILS, asset=ASSET, description="the night is like the last good ones"),
        dg.AssetCheckSpec(ADDS_UP, asset=ASSET, description="rows in = scored + unchanged + rejected"),
    ],
    retry_policy=dg.RetryPolicy(max_retries=2, delay=600),
    # Allows one run at a time if the instance limits it: concurrency.pools.default_limit: 1 in dagster.yaml.
    pool="catalog_categorizer",
)
def categorized(context: dg.AssetExecutionContext, catalogue: Catalogue) -> Iterator[Any]:
    options = night_options(catalogue.source, catalogue.target, catalogue.model, catalogue.options)
    ended = Job("categorize", options, catalogue.spark_options, CLONE).run(context.log.info)
    yield from checks(ended)
    if ended.exit_code != 0:
        raise dg.Failure(ended.sentence(catalogue.target), allow_retries=ended.may_be_retried)
    nothing = ended.events.get("nothing to do", {})
    yield dg.MaterializeResult(
        asset_key=ASSET, metadata=figures(ended.run) if ended.run else {"nothing to do": nothing["text"]}
    )


defs = dg.Definitions(
    assets=[categorized],
    schedules=[
        dg.ScheduleDefinition(name="nightly", target=[categorized], cron_schedule="0 3 * * *", execution_timezone="UTC")
    ],
    resources={"catalogue": Catalogue()},
)
