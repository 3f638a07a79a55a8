"""Why a text, or a row of the catalogue, gets its category: the words that moved the decision.

./spark-submit.sh explain --text "stainless steel kettle, 1.7 litres"
./spark-submit.sh explain --source catalog.parquet --id B0042

The number shown with a word is how far the log-odds of the category fall without it; below 0 the word speaks against the category.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from lib.command import run_command
from lib.errors import InputError
from lib.model.bundle import Bundle, load_bundle
from lib.model.engines import AUTO, ENGINE_CHOICES, checked_engine
from lib.model.explanation import explain, explanation_text
from lib.model.fields import columns_and_markers, marked_text
from lib.model.text import TextSettings, without_halves
from lib.settings import (
    BUNDLE,
    DELIMITER,
    ENCODING,
    ENGINE,
    FORMATS,
    HEADERLESS,
    ID_COLUMN,
    SOURCE_FORMAT,
    UTF_8,
    JobSettings,
    Names,
    at_least,
    option,
)

# Relative to this file: under spark-submit every other module comes from the zip.
DEFAULT_MODEL = str(Path(__file__).resolve().parent.parent / "models" / "ecommerce")


@dataclass(frozen=True)
class ExplainSettings(JobSettings):
    model: str = option(BUNDLE, default=DEFAULT_MODEL)
    text: str | None = option("the text", default=None)
    field: str | None = option("the field the text is, for a bundle of several fields (default: the first)", default=None)
    source: str | None = option("catalogue with the row: path or table name", default=None)
    id: str | None = option("the row's product id", default=None)
    id_column: str = option(ID_COLUMN, default="product_id")
    text_columns: Names = option("text columns, as given to categorize", default=("title", "description"))
    order_by: str | None = option("column whose greatest value marks the newest copy of an id", default=None)
    format: str | None = option(SOURCE_FORMAT, default=None, choices=FORMATS)
    columns: Names = option(HEADERLESS, default=())
    delimiter: str = option(DELIMITER, default=",")
    encoding: str = option(ENCODING, default=UTF_8)
    category: str | None = option("explain this category rather than the one it gets", default=None)
    top: int = option("words to show", default=15, within=at_least(1))
    json: bool = option("print everything as JSON", default=False)
    engine: str = option(ENGINE, default=AUTO, choices=ENGINE_CHOICES)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.text is None) == (self.id is None) or (self.id is None) != (self.source is None):
            raise InputError("Expected either --text, or --source and --id, found neither or a mixture; see --help.")


def main(settings: ExplainSettings) -> int:
    bundle = _bundle_at(settings.model)
    engine = checked_engine(settings.engine, bundle)
    text_settings = bundle.tokenizer.settings
    if settings.text is not None:
        text = marked_text(without_halves(settings.text), text_settings.fields, settings.field)
    else:
        text = _text_of_row(settings, text_settings)
    found = explain(text, bundle, engine, settings.category)
    print(json.dumps(asdict(found), ensure_ascii=False) if settings.json else explanation_text(found, settings.top))
    return 0


def _bundle_at(place: str) -> Bundle:
    if "://" not in place:
        return load_bundle(place)
    # Imported here, so that a text is explained without Spark.
    from lib.scoring.bundles import bundle_at

    return bundle_at(place)


def _text_of_row(settings: ExplainSettings, text_settings: TextSettings) -> str:
    """The text that `categorize` would score for this id."""
    # Imported here, as above.
    from lib.scoring.catalogue import CatalogueColumns, text_of_id
    from lib.session import spark_session
    from lib.tables.formats import ReadOptions
    from lib.tables.locations import locate
    from lib.tables.sources import read_source

    assert settings.source is not None
    assert settings.id is not None
    text, markers = columns_and_markers(settings.text_columns, text_settings.fields)
    columns = CatalogueColumns(settings.id_column, text, (), settings.order_by, markers)
    with spark_session("explain", settings.debug) as spark:
        reading = ReadOptions.of(settings, columns.all)
        source = read_source(spark, locate(spark, settings.source), reading)
        return text_of_id(source, columns, settings.id, text_settings.max_characters)


if __name__ == "__main__":
    sys.exit(run_command(ExplainSettings, main, "explain"))
