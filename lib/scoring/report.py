"""What a run prints at its end."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lib.identifiers import column
from lib.scoring.catalogue import CatalogueColumns
from lib.scoring.forecast import Forecast
from lib.scoring.plan import Outcome
from lib.scoring.record import moves_of
from lib.scoring.udf import Clock
from lib.tables.locations import delta_table
from lib.tables.target import Tables
from schemas.tables import CATEGORIZED_STATUS, REVIEW, UNCLASSIFIABLE

SHOWN_CHARACTERS = 58
MOST_LABELS_SHOWN = 8
MOST_MOVES_SHOWN = 12
MOST_SHARES_SHOWN = 20


def outcome_text(outcome: Outcome, tables: Tables) -> str:
    """The counts of a run, and that they add up."""
    if outcome.forecast:
        return forecast_text(outcome.forecast, tables)
    if outcome.record is None:
        recovered = f" (The ledger now knows {outcome.recovered}.)" if outcome.recovered else ""
        if outcome.published_in is not None:
            return f"nothing to do: the run was published before, in version {outcome.published_in} of {tables.categorized.given}.{recovered}"
        return f"nothing to do: {tables.categorized.given} already holds this input under this model.{recovered}"
    run = outcome.record
    categorized = run.rows_scored + run.rows_unchanged
    lines = [
        f"dry run: {tables.categorized.given} would get the following; nothing was written"
        if outcome.dry_run
        else f"run {run.run_id} published to {tables.categorized.given}",
        f"  in {run.rows_in:,} = categorized {categorized:,} + rejected {run.rows_rejected:,}",
        f"  scored {run.rows_scored:,} ({CATEGORIZED_STATUS} {run.rows_sure:,}, {REVIEW} {run.rows_review:,}, "
        f"{UNCLASSIFIABLE} {run.rows_unclassifiable:,}), unchanged {run.rows_unchanged:,}, "
        f"{run.rows_per_second or 0:,.0f} rows/s",
    ]
    if run.category_shares and run.mean_confidence is not None:
        lines.append(f"  shares: {_shares_text(run.category_shares)}")
        lines.append(_estimate_line(run.mean_confidence, run.estimated_precision))
        lines.append(
            f"  mean confidence {run.mean_confidence:.3f}"
            + (f", out of vocabulary {unknown:.1%}" if (unknown := run.out_of_vocabulary_share) is not None else "")
            + (f", drift {run.drift:.3f}" if run.drift is not None else "")
        )
    if run.rows_missing is not None:
        since = " since the last run" if run.counts_newly_missing else ""
        lines.append(f"  no longer in the source{since}: {run.rows_missing:,} products")
    if run.label_changes:
        lines += _changes_lines(run.label_changes)
    lines += [f"  would be held back: {breach}" for breach in outcome.breaches]
    lines.append(f"  seconds: {_seconds_text(run.seconds or {})}")
    if outcome.recovered:
        lines.append(f"  the ledger now knows {outcome.recovered}")
    if run.rows_rejected and not outcome.dry_run:
        lines.append(f"  rejected rows, with their reasons: {tables.rejected.given}")
    return "\n".join(lines)


def _shares_text(shares: Mapping[str, float]) -> str:
    """The share of each category, or only the largest of very many."""
    largest = sorted(shares, key=lambda name: -shares[name])[:MOST_SHARES_SHOWN]
    shown = list(shares) if len(shares) <= MOST_SHARES_SHOWN else largest
    more = f" and {len(shares) - len(shown):,} more" if len(shown) < len(shares) else ""
    return ", ".join(f"{printable(name)} {shares[name]:.1%}" for name in shown) + more


def forecast_text(found: Forecast, tables: Tables) -> str:
    """What a run would read, score and write."""
    lines = [
        f"dry run: {found.why}; nothing was scored or written",
        f"  source: {found.source_files:,} files, {_megabytes(found.source_bytes)}, {found.rows_in:,} rows, of which {found.rows_rejected:,} would be rejected",
        f"  to score {found.rows_to_score:,}, unchanged {found.rows_unchanged:,}, no longer in the source {found.rows_gone:,}",
        f"  table: {tables.categorized.given}, {found.files:,} files, {_megabytes(found.bytes)}, of which {found.files_with_changes:,} files hold "
        "rows to be replaced",
    ]
    if not found.seconds:
        return "\n".join([*lines, "  expected seconds: not known, since no run has been published yet"])
    phases = ", ".join(f"{name} {seconds:.0f}" for name, seconds in found.seconds.items())
    of_runs = f"{found.runs} published runs" if found.runs > 1 else "one published run"
    return "\n".join([*lines, f"  expected seconds: {sum(found.seconds.values()):.0f} ({phases}), by {of_runs}"])


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _estimate_line(all_rows: float, sure: float | None) -> str:
    """How much is right, estimated from the run's own confidences. A run of an older version that is released now lacks the second figure."""
    return f"  estimated accuracy {all_rows:.1%}" + (f"; of the rows not in review {sure:.1%}" if sure is not None else "")


def _changes_lines(changes: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Rows by the label of the model before and the new one: the share that moved, and the matrix or its largest moves."""
    moves = moves_of(changes)
    lines = [f"  labels of the model before: {moves.moved:,} of {moves.rows:,} rows moved ({moves.share:.1%})"]
    if len(moves.labels) <= MOST_LABELS_SHOWN:
        rows = [(old, *(changes.get(old, {}).get(new, 0) for new in moves.labels)) for old in moves.labels]
        return lines + ["    " + line for line in _table(["before \\ now", *moves.labels], rows).splitlines()]
    return lines + [f"    {rows:,} {printable(old)} → {printable(new)}" for rows, old, new in moves.largest[:MOST_MOVES_SHOWN]]


def _seconds_text(seconds: Mapping[str, float]) -> str:
    """The run's own phases by the clock, and what the scoring tasks did meanwhile, added up."""
    phases = ", ".join(f"{name} {seconds[name]:.1f}" for name in ("counting", "scoring", "writing") if name in seconds)
    tasks = ", ".join(f"{name} {seconds[name]:.1f}" for name in Clock.PARTS if name in seconds)
    return f"{phases}; of the scoring tasks together: {tasks}"


def preview_text(spark: SparkSession, tables: Tables, columns: CatalogueColumns, rows: int) -> str:
    """Counts per category, a few rows, and how to query further."""
    frame = delta_table(spark, tables.categorized).toDF()
    counts = (
        frame.groupBy("category", "status")
        .agg(F.count("*").alias("products"), F.avg("confidence").alias("mean confidence"))
        .orderBy(F.col("category").isNull(), "category", "status")
    )
    shown = [F.substring(column(name).cast("string"), 1, SHOWN_CHARACTERS).alias(name) for name in columns.carry]
    # Spread over the table by hash, so that the rows shown are not all of one kind.
    few = frame.orderBy(F.xxhash64("product_id")).limit(rows)
    selected = few.select("product_id", *shown, "category", "confidence", "status")
    return "\n".join(
        [
            "",
            _table(counts.columns, [tuple(row) for row in counts.collect()]),
            "",
            _table(selected.columns, [tuple(row) for row in selected.collect()]),
            "",
            "Query it next:",
            f'  PATH=.venv/bin:$PATH SPARK_CONF_DIR=conf spark-sql -e "SELECT category, count(*) FROM {_for_shell(tables)} GROUP BY category"',
        ]
    )


def _for_shell(tables: Tables) -> str:
    target = tables.categorized
    return (f"delta.`{target.given}`" if target.is_path else target.given).replace("`", r"\`")


def _table(header: list[str], rows: list[tuple[object, ...]]) -> str:
    cells = [[printable(name) for name in header]] + [[_shown(value) for value in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else printable(str(value))


def printable(text: str) -> str:
    """Control characters escaped: a product's title must not move the cursor of the terminal."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
