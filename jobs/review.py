"""Write the rows whose correction would teach most to a file for a person to fill in; `correct` reads it.

./spark-submit.sh review --target lake/categorized --source catalog.parquet --output review.csv
"""

from __future__ import annotations

import csv
import sys
from dataclasses import dataclass

from lib.command import run_command
from lib.reports.drifting import drifting_in
from lib.reports.files import check_writable, write_whole
from lib.reports.queue import SIMILAR, check_text_names, order_of_last_night, review_queue
from lib.scoring.catalogue import CatalogueColumns
from lib.session import spark_session
from lib.settings import (
    DELIMITER,
    ENCODING,
    FORMATS,
    HEADERLESS,
    ID_COLUMN,
    SOURCE_FORMAT,
    TARGET,
    UTF_8,
    JobSettings,
    Names,
    at_least,
    option,
)
from lib.tables.columns import ID_TYPES, require_columns, require_order, require_text
from lib.tables.corrections import CORRECT
from lib.tables.formats import ReadOptions
from lib.tables.locations import locate
from lib.tables.sources import check_unchanged, read_source
from lib.tables.target import check_categorized, tables_of


@dataclass(frozen=True)
class ReviewSettings(JobSettings):
    target: str = option(TARGET)
    source: str = option("the catalogue, for the texts: path or table name")
    id_column: str = option(ID_COLUMN, default="product_id")
    text_columns: Names = option("text columns, to be shown next to the category", default=("title", "description"))
    order_by: str | None = option(
        "column whose greatest value marks the newest copy of an id (default: the one that the last run used, if it read this source)",
        default=None,
    )
    rows: int = option("rows at most", default=200, within=at_least(1))
    output: str = option("CSV file to write, which is replaced", default="review.csv")
    format: str | None = option(SOURCE_FORMAT, default=None, choices=FORMATS)
    columns: Names = option(HEADERLESS, default=())
    delimiter: str = option(DELIMITER, default=",")
    encoding: str = option(ENCODING, default=UTF_8)


def main(settings: ReviewSettings) -> int:
    s = settings
    check_text_names(s.text_columns)
    output = check_writable(s.output)
    with spark_session("review", s.debug) as spark:
        target = locate(spark, s.target)
        check_categorized(spark, target)
        place = locate(spark, s.source)
        order_by = s.order_by or order_of_last_night(spark, tables_of(target), place)
        columns = CatalogueColumns(s.id_column, s.text_columns, order_by=order_by)
        source = read_source(spark, place, ReadOptions.of(s, columns.all))
        require_columns(source.frame, source.location.given, id_column=([columns.id], ID_TYPES))
        require_order(source.frame, source.location.given, order_by)
        require_text(source.frame, source.location.given, columns.text)
        drifts = drifting_in(spark, tables_of(target))
        rows = review_queue(spark, target, source, columns, s.rows, drifts).toPandas()
        check_unchanged(source)
    if rows.empty:
        print(
            f"nothing to review: {target.given} has no row in review that is not corrected, with a text in {source.location.given}"
        )
        return 0
    # pandas would leave a text with a lone carriage return unquoted, and most readers end a line there.
    write_whole(output, rows.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC))
    if drifts:
        print(f"drifting since the last good runs: {', '.join(map(str, drifts))}")
    represented = int(rows[SIMILAR].sum())
    print(
        f"{len(rows):,} rows written to {s.output}, which represent {represented:,} in review; fill in the column {CORRECT}, then"
    )
    print(f"  ./spark-submit.sh correct --target {s.target} --file {s.output} --text-columns {','.join(columns.text)}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(ReviewSettings, main, "review"))
