"""Metrics of a bundle on any labelled table, scored by the same code as the nightly run.

./spark-submit.sh evaluate --model models/ecommerce --labels labels.csv --output metrics.json
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from lib.command import run_command
from lib.model.changes import read_changes
from lib.model.engines import AUTO, ENGINE_CHOICES, checked_engine
from lib.model.evaluation import evaluation_text
from lib.model.fields import columns_and_markers
from lib.reports.files import check_writable, write_whole
from lib.scoring.bundles import bundle_at
from lib.scoring.evaluation import evaluate
from lib.scoring.preflight import check_executors
from lib.session import spark_session
from lib.settings import (
    BUNDLE,
    DELIMITER,
    ENCODING,
    ENGINE,
    FORMATS,
    HEADERLESS,
    LABELS_FORMAT,
    UTF_8,
    JobSettings,
    Names,
    option,
)
from lib.tables.formats import ReadOptions
from lib.tables.locations import locate
from lib.tables.sources import read_source


@dataclass(frozen=True)
class EvaluateSettings(JobSettings):
    model: str = option(BUNDLE)
    labels: str = option("labelled texts: path or table name (Delta, Parquet, CSV, JSON lines)")
    text_columns: Names = option(
        "text columns, joined in this order; FIELD=COLUMN for a bundle of several fields", default=("text",)
    )
    label_column: Names = option(
        "column with the label; several, the top level first, for a bundle whose labels are paths", default=("label",)
    )
    changes: str | None = option(
        "CSV file with the header old,new, as for the job relabel: rows with an old label are judged by the new one",
        default=None,
    )
    output: str | None = option("JSON file to write the metrics to, which is replaced", default=None)
    engine: str = option(ENGINE, default=AUTO, choices=ENGINE_CHOICES)
    format: str | None = option(LABELS_FORMAT, default=None, choices=FORMATS)
    columns: Names = option(HEADERLESS, default=())
    delimiter: str = option(DELIMITER, default=",")
    encoding: str = option(ENCODING, default=UTF_8)


def main(settings: EvaluateSettings) -> int:
    output = None if settings.output is None else check_writable(settings.output)
    changes = read_changes(settings.changes) if settings.changes else None
    bundle = bundle_at(settings.model)
    engine = checked_engine(settings.engine, bundle).name
    with spark_session("evaluate", settings.debug) as spark:
        check_executors(spark, engine)
        wanted = (*settings.label_column, *columns_and_markers(settings.text_columns, bundle.tokenizer.settings.fields)[0])
        reading = ReadOptions.of(settings, wanted)
        source = read_source(spark, locate(spark, settings.labels), reading)
        metrics = evaluate(source, bundle, settings.text_columns, settings.label_column, engine, changes)
    for line in metrics["renamed"]["remarks"] if changes else ():
        print(line)
    print(evaluation_text(metrics))
    if output:
        write_whole(output, json.dumps(metrics, ensure_ascii=False, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(EvaluateSettings, main, "evaluate"))
