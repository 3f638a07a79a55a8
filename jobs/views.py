"""Views for analysts over a target's tables: the category that counts, its counts over time, bands of confidence, and products that moved.

./spark-submit.sh views --target shop.categorized
./spark-submit.sh views --target lake/categorized --dialect duckdb --output views.sql
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

from pyspark.sql import SparkSession

from lib.command import run_command
from lib.errors import InputError
from lib.reports.files import check_writable, write_whole
from lib.session import spark_session
from lib.settings import TARGET, JobSettings, option
from lib.tables.locations import Location, locate
from lib.warehouse.views.catalogue import create, schema_for
from lib.warehouse.views.definitions import Tables, views
from lib.warehouse.views.dialects import DIALECTS
from lib.warehouse.views.rest import tables_for


@dataclass(frozen=True)
class ViewsSettings(JobSettings):
    target: str = option(f"{TARGET}; _runs and _corrections are next to it")
    schema: str | None = option("schema of the views (default: that of the target; a path has none)", default=None)
    since: str | None = option(
        "run or version since which moves are shown (default: the version before the newest run)", default=None
    )
    dialect: str | None = option(
        "print the statements for this engine, instead of creating the views in Spark's catalogue",
        default=None,
        choices=tuple(DIALECTS),
    )
    known_as: str | None = option("with --dialect: what that engine calls the table, if not as Spark does", default=None)
    output: str | None = option("with --dialect: file to write them to, instead of the screen", default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        lone = [name for name, value in (("--output", self.output), ("--known-as", self.known_as)) if value is not None]
        if lone and self.dialect is None:
            raise InputError(f"Expected {lone[0]} only with --dialect, found it without; give --dialect, or leave it out.")

    @property
    def answers_only(self) -> bool:
        """Whether the screen shows only the statements."""
        return self.dialect is not None and self.output is None


def main(settings: ViewsSettings) -> int:
    s = settings
    output = None if s.output is None else check_writable(s.output)
    with spark_session("views", s.debug) as spark:
        target = locate(spark, s.target)
        if s.dialect is None:
            _make(spark, target, s)
            return 0
        if s.dialect == "trino" and target.is_path and s.known_as is None:
            raise InputError(
                f"Expected --known-as for Trino, which reads tables by name, found the path {target.given} alone; give the name that it has there."
            )
        script = _script(tables_for(spark, target, s.since, s.known_as), s.dialect, _prefix(target, s.schema), target)
    if output:
        write_whole(output, script)
        print(f"{s.output}: views over {target.given} for {s.dialect}")
    else:
        print(script, end="")
    return 0


def _make(spark: SparkSession, target: Location, s: ViewsSettings) -> None:
    schema = schema_for(spark, target, s.schema)
    tables = tables_for(spark, target, s.since, None)
    prefix = _prefix(target, schema)
    print("\n".join(create(spark, target, prefix, views(tables, DIALECTS["spark"], prefix))))
    for note in _notes(tables):
        print(f"  {note}")


def _notes(tables: Tables) -> list[str]:
    notes = [f"moves are shown since version {tables.since}, so create the views again after each run"]
    if tables.corrections is None:
        notes.append("nobody has corrected a product yet: create them again after the first `correct`")
    notes += [f"the carried column {name} is left out of products, which has one of that name" for name in tables.left_out]
    return notes


def _prefix(target: Location, schema: str | None) -> str:
    """The part before `_products`: the table's own name, in the schema if there is one. Spark's catalogue accepts only letters, digits
    and underscores, so other characters of a folder's name become underscores, for all engines."""
    name = target.uri.rstrip("/").rpartition("/")[2] if target.is_path else target.uri.rpartition(".")[2]
    return ".".join(filter(None, [schema, re.sub(r"[^A-Za-z0-9_]", "_", name)]))


def _script(tables: Tables, dialect: str, prefix: str, target: Location) -> str:
    d = DIALECTS[dialect]
    head = [f"Views over {' '.join(target.given.split())} for {dialect}, by ./spark-submit.sh views", *_notes(tables)]
    made = [d.view(f"{prefix}_{one.name}", one.comment, one.columns, one.query, target.uri) for one in views(tables, d, prefix)]
    return "\n\n".join(["\n".join(f"-- {line}" for line in head), *(f"{statement};" for statement in made), ""])


if __name__ == "__main__":
    sys.exit(run_command(ViewsSettings, main, "views"))
