"""Score a table into another by the functions for notebooks, where the nightly job cannot run (docs/deploy.md#databricks).

    categorize_table.py --source main.shop.products --target main.shop.products_categorized --model /Volumes/main/shop/models/ecommerce

Each run scores all rows and writes the whole target, in one commit if it is a Delta table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

import catalog_categorizer as cc


def main(arguments: Sequence[str]) -> None:
    given = _given(arguments)
    if given.source.strip("`").lower() == given.target.strip("`").lower():
        raise cc.InputError(
            f"Expected two tables in --source and --target, found {given.source} in both, where a night would write over what the next one reads; "
            "choose another target."
        )
    model = cc.load_bundle(given.model)
    spark = SparkSession.builder.getOrCreate()
    rows = cc.categorize(spark.read.table(given.source), model, given.text_columns, unfamiliar=given.unfamiliar)
    stamped = rows.withColumns({"model_version": F.lit(model.version), "scored_at": F.current_timestamp()})
    # The source's columns may change.
    stamped.write.mode("overwrite").option("overwriteSchema", "true").saveAsTable(given.target)
    print(f"{given.target}: {spark.read.table(given.target).count():,} rows of {given.source} under {model.version}")


def _given(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--source", required=True, help="table of the catalogue")
    parser.add_argument("--target", required=True, help="table that is written anew")
    parser.add_argument("--model", required=True, help="the folder of a bundle, or of versions with a `current`")
    parser.add_argument(
        "--text-columns",
        default=["title", "description"],
        type=lambda text: [name.strip() for name in text.split(",")],
        help="text columns, joined in this order; FIELD=COLUMN for a bundle of several fields (default: title,description)",
    )
    parser.add_argument(
        "--unfamiliar", type=float, help="share of texts that go to review as the most unlike the labelled ones"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    # It ends with an exception or normally: on Databricks calling sys.exit, even with 0, counts as a failure.
    main(sys.argv[1:])
