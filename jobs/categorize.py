"""Give every row of a catalogue a category, and store the result in a Delta table.

./spark-submit.sh categorize --source catalog.parquet --target lake/categorized --model models/ecommerce
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, fields
from typing import Any, NoReturn

from pyspark.sql import SparkSession

from lib.command import run_command, speaks_json
from lib.errors import GuardrailError, InputError
from lib.events import LOG_FORMATS, TEXT, json_line
from lib.model.bundle import Bundle
from lib.model.engines import AUTO, ENGINE_CHOICES, checked_engine
from lib.model.fields import columns_and_markers
from lib.model.unfamiliarity import check_share
from lib.scoring.bundles import bundle_at
from lib.scoring.catalogue import CatalogueColumns
from lib.scoring.crashes import MOST_FATAL
from lib.scoring.guardrails import Limits
from lib.scoring.load import HeldBackError, release
from lib.scoring.plan import MISSING, MODES, STREAM, Inputs, Outcome, Plan
from lib.scoring.preflight import check_executors
from lib.scoring.progress import Told, watched
from lib.scoring.report import outcome_text, preview_text
from lib.scoring.run import categorize
from lib.scoring.scores import DEFAULT, MOST_LABELS_OF_ALL, check_scores
from lib.scoring.stream import stream
from lib.scoring.verification import verify
from lib.session import spark_session
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
    Range,
    as_record,
    at_least,
    option,
)
from lib.tables.commits import table_now
from lib.tables.formats import ReadOptions
from lib.tables.locations import locate, locate_to_write
from lib.tables.run_record import RunRecord
from lib.tables.sources import Source, read_source
from lib.tables.target import Tables, tables_of

# Whether a longer wait works depends on the machine.
UP_TO_A_YEAR = Range("above 0 and of at most 31536000 (a year)", lambda value: 0 < value <= 31_536_000)


def guard(help: str, limit: float) -> Any:
    """An option for how far a run may differ from the last good ones."""
    return option(f"guardrail: {help}", default=limit, within=at_least(0))


@dataclass(frozen=True)
class CategorizeSettings(JobSettings):
    source: str = option("catalogue: path or table name (Delta, Parquet, CSV, JSON lines)")
    target: str = option("table to write: path or name; _rejected, _runs and _held are next to it")
    model: str = option(BUNDLE)
    id_column: str = option(ID_COLUMN, default="product_id")
    text_columns: Names = option(
        "text columns, joined in this order; FIELD=COLUMN for a bundle of several fields", default=("title", "description")
    )
    carry: Names = option("columns to carry over to the target", default=())
    order_by: str | None = option("column whose greatest value marks the newest copy of an id", default=None)
    mode: str = option(
        "score new and changed rows (incremental), or all rows (full); stream: new and changed rows, and then whatever arrives, until the job is ended",
        default="incremental",
        choices=(*MODES, STREAM),
    )
    every: float = option(
        "with --mode stream: seconds between two looks at the source, at most a year", default=60.0, within=UP_TO_A_YEAR
    )
    engine: str = option(ENGINE, default=AUTO, choices=ENGINE_CHOICES)
    missing: str = option(
        "products that are no longer in the source: keep them, mark them with missing_since, or delete them",
        default="keep",
        choices=MISSING,
    )
    unfamiliar: float | None = option(
        "send rows to review that are unlike the labelled texts: the share of such texts that may go there by mistake, such as 0.01 (default: none go)",
        default=None,
    )
    scores: str | None = option(
        "labels whose probabilities a row stores: all, none, or top:N for the N most probable "
        f"(default: all of up to {MOST_LABELS_OF_ALL} labels, {DEFAULT} of more)",
        default=None,
    )
    dry_run: bool = option(
        "score and report, including labels that would change and guardrails, but write nothing", default=False
    )
    explain: bool = option(
        "with --dry-run: report what would be read, scored and written, and how long that may take, without scoring a row",
        default=False,
    )
    verify: bool = option(
        "afterwards compare the whole table with the whole source, even if there was nothing to do; exit 4 if they differ",
        default=False,
    )
    publish_anyway: str | None = option(
        "publish the run of this id that the guardrails held back, and nothing else", default=None
    )
    guard_rows: float = guard("change of the source's rows since the last good runs, as a share (inf: none)", Limits.rows)
    guard_rejected: float = guard("rise of the share of rejected rows", Limits.rejected)
    guard_review: float = guard("rise of the share `review`", Limits.review)
    guard_drift: float = guard("population stability index of the categories' shares, and of the top level's", Limits.drift)
    guard_confidence: float = guard("fall of the mean confidence", Limits.confidence)
    guard_unknown: float = guard("rise of the share of tokens out of vocabulary", Limits.unknown)
    guard_unclassifiable: float = guard("rise of the share `unclassifiable`", Limits.unclassifiable)
    guard_empty: float = guard("rise of the share of empty texts in a text column", Limits.empty)
    guard_length: float = guard("change of the mean length of a text column's texts, as a share", Limits.length)
    guard_ids: float = guard("share of ids that are new, or gone, since the last good run", Limits.ids)
    guard_moved: float = guard(
        "share of the products still in the source whose category changes under the same model", Limits.moved
    )
    guard_category: float = guard(
        "fall of the rows of a category, or of a level above some, that had a hundredth of them or more, as a share",
        Limits.category,
    )
    guard_removed: float = guard("share of the table's rows that --missing delete removes", Limits.removed)
    guard_runs: int = option("good runs whose median the guardrails compare with", default=Limits.runs, within=at_least(1))
    guard_from_rows: int = option(
        "guardrails compare with good runs of at least this many rows", default=Limits.from_rows, within=at_least(0)
    )
    fatal_texts: int = option(
        "texts that crash the engine's compiled code: at most this many are rejected, more end the run",
        default=MOST_FATAL,
        within=at_least(0),
    )
    trust_files: bool = option(
        "do not read a file of the source again that has the path, size and time that it had in the last run", default=True
    )
    change_data_feed: bool = option("record row-level changes of the target (Delta's change data feed)", default=False)
    format: str | None = option(SOURCE_FORMAT, default=None, choices=FORMATS)
    columns: Names = option(HEADERLESS, default=())
    delimiter: str = option(DELIMITER, default=",")
    encoding: str = option(ENCODING, default=UTF_8)
    preview: int = option("rows to show at the end", default=0, within=at_least(0))
    log_format: str = option(
        "format of the output: text for people, or a line of JSON for each event", default=TEXT, choices=LOG_FORMATS
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_scores(self.scores)
        if self.publish_anyway is not None and not self.publish_anyway.strip():
            raise InputError(
                "Expected the id of a held run in --publish-anyway, found an empty text; give one, or leave it out."
            )
        if self.dry_run and self.publish_anyway:
            raise InputError("Expected one of --dry-run, which writes nothing, and --publish-anyway, found both; give one.")
        if self.explain and not self.dry_run:
            raise InputError("Expected --explain with --dry-run, found it alone; give both, or leave it out.")
        if self.verify and (self.dry_run or self.publish_anyway):
            raise InputError("Expected --verify with a run that publishes, found --dry-run or --publish-anyway; leave it out.")
        alone = {
            "--dry-run": self.dry_run,
            "--verify": self.verify,
            "--preview": self.preview,
            "--publish-anyway": self.publish_anyway,
        }
        if self.mode == STREAM and any(alone.values()):
            raise InputError(
                f"Expected --mode stream without {', '.join(name for name, given in alone.items() if given)}, which is for a single run; "
                f"leave one of them out."
            )


def main(settings: CategorizeSettings) -> int:
    try:
        return _run(settings)
    except HeldBackError as held:
        if speaks_json(settings):
            print(_run_line(held.run), flush=True)
        raise


def _run(settings: CategorizeSettings) -> int:
    if settings.publish_anyway is not None:
        with spark_session("categorize", settings.debug) as spark:
            tables = tables_of(locate_to_write(spark, settings.target))
            _tell(release(spark, tables, settings.publish_anyway), tables, settings)
        return 0
    # Before Spark is started: a model or an option may be wrong.
    bundle, plan = _model_and_plan(settings)
    with watched(settings.log_format) as told, spark_session("categorize", settings.debug) as spark:
        check_executors(spark, plan.engine, told.say)
        target = locate(spark, settings.target) if settings.dry_run else locate_to_write(spark, settings.target, told.say)
        tables = tables_of(target)
        if settings.mode == STREAM:
            return _stream(spark, settings, tables, told)
        used = [_inputs(spark, settings, tables, (bundle, plan))]

        def again() -> Inputs:
            used.append(_inputs(spark, settings, tables))
            return used[-1]

        outcome: Outcome = categorize(spark, used[0], told, again)
        told.close()
        _tell(outcome, tables, settings)
        if settings.preview and not settings.dry_run and not speaks_json(settings):
            print(preview_text(spark, tables, plan.columns, settings.preview))
        if settings.verify:
            last = used[-1]
            found = verify(spark, last.source, tables, last.bundle, last.plan, outcome)
            if found.faults:
                raise GuardrailError(
                    f"Expected {tables.categorized.given} to match the source and the bundle, found {found}; run again with --mode full, "
                    "and report this unless another writer has changed the table."
                )
            print(json_line("verified", text=str(found)) if speaks_json(settings) else found)
    return GuardrailError.exit_code if outcome.breaches else 0


def _model_and_plan(settings: CategorizeSettings) -> tuple[Bundle, Plan]:
    bundle = bundle_at(settings.model)
    text, markers = columns_and_markers(settings.text_columns, bundle.tokenizer.settings.fields)
    if settings.unfamiliar is not None:
        check_share(bundle.unfamiliarity, settings.unfamiliar, bundle.model_version)
    plan = Plan(
        CatalogueColumns(settings.id_column, text, settings.carry, settings.order_by, markers),
        "incremental" if settings.mode == STREAM else settings.mode,
        checked_engine(settings.engine, bundle).name,
        as_record(settings),
        settings.missing,
        Limits(**{f.name: getattr(settings, f"guard_{f.name}") for f in fields(Limits)}),
        settings.change_data_feed,
        settings.dry_run,
        settings.unfamiliar,
        settings.fatal_texts,
        settings.explain,
        settings.scores,
        settings.trust_files,
    )
    return bundle, plan


def _inputs(
    spark: SparkSession, settings: CategorizeSettings, tables: Tables, model: tuple[Bundle, Plan] | None = None
) -> Inputs:
    """Source and model as they are now: another model may be current than before. model: one that was read already."""
    # First, so that a run knows whether somebody has published since.
    table = table_now(spark, tables.categorized)
    bundle, plan = model or _model_and_plan(settings)
    return Inputs(_source(spark, settings, plan), tables, bundle, plan, table)


def _source(spark: SparkSession, settings: CategorizeSettings, plan: Plan) -> Source:
    columns = plan.columns
    reading = ReadOptions.of(settings, columns.all, columns.carried)
    return read_source(spark, locate(spark, settings.source), reading)


def _stream(spark: SparkSession, settings: CategorizeSettings, tables: Tables, told: Told) -> NoReturn:
    def tell(outcome: Outcome, tables: Tables) -> None:
        # The live line stays on the terminal, below the report.
        _tell(outcome, tables, settings) if speaks_json(settings) else told.say(outcome_text(outcome, tables))

    stream(spark, lambda: _inputs(spark, settings, tables), settings.every, tell, told)


def _tell(outcome: Outcome, tables: Tables, settings: CategorizeSettings) -> None:
    if not speaks_json(settings):
        print(outcome_text(outcome, tables))
    elif outcome.forecast:
        print(json_line("forecast", **asdict(outcome.forecast)), flush=True)
    elif outcome.record is None:
        print(json_line("nothing to do", text=outcome_text(outcome, tables)), flush=True)
    else:
        print(_run_line(outcome.record, dry_run=outcome.dry_run, breaches=list(outcome.breaches)), flush=True)


def _run_line(record: RunRecord, **more: Any) -> str:
    # The settings are in the first line already.
    values = {name: value for name, value in record.values().items() if name != "settings"}
    # The ledger has no row of a dry run.
    if more.get("dry_run"):
        values["status"] = "dry run"
    return json_line("run", **more, **values)


if __name__ == "__main__":
    sys.exit(run_command(CategorizeSettings, main, "categorize"))
