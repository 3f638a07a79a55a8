"""What a run would read, score and write, and how long that may take, judged by earlier runs; nothing is scored for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lib.scoring.selection import Selection
from lib.tables.locations import files_and_bytes
from lib.tables.run_record import RunRecord
from lib.tables.sources import Source

# What the time of each phase of a run depends on; the phases as the ledger's `seconds` names them.
PHASES: dict[str, Callable[[RunRecord], int]] = {
    "counting": lambda run: run.rows_in,
    "scoring": lambda run: run.rows_scored,
    "writing": lambda run: run.rows_scored + (run.rows_missing or 0),
}


@dataclass(frozen=True)
class Forecast:
    """A run before it scores.

    Attributes:
        why: which rows of the source are looked at, and why.
        source_files, source_bytes: those of the whole source, from its log or listing.
        rows_in, rows_rejected, rows_to_score, rows_unchanged, rows_gone: rows of the source, and products that it no longer holds.
        files, bytes: of the table; files_with_changes: those of them that hold a row to be replaced.
        seconds: phase -> expected, by a straight line through `runs` published runs; empty where there is none.
    """

    why: str
    source_files: int
    source_bytes: int
    rows_in: int
    rows_rejected: int
    rows_to_score: int
    rows_unchanged: int
    rows_gone: int
    files: int
    bytes: int
    files_with_changes: int
    seconds: dict[str, float]
    runs: int


def forecast(
    source: Source, why: str, selection: Selection, present: DataFrame | None, table: tuple[int, int], runs: Sequence[RunRecord]
) -> Forecast:
    """What a selection will take.

    Args:
        table: its files and bytes. runs: published ones, from the ledger.
    """
    census, to_score = selection.census, selection.census.ids - selection.unchanged.ids
    files, size = _size(source)
    told = [run for run in runs if run.seconds]
    expected = RunRecord("", "", rows_in=census.rows, rows_scored=to_score, rows_missing=selection.gone_ids)
    return Forecast(
        why,
        files,
        size,
        census.rows,
        census.rows_rejected,
        to_score,
        selection.unchanged.ids,
        selection.gone_ids,
        *table,
        _files_with(present, selection, table[0]) if present is not None and to_score else 0,
        {phase: _expected(phase, told, expected) for phase in PHASES} if told else {},
        len(told),
    )


def _size(source: Source) -> tuple[int, int]:
    if source.format == "delta":
        return files_and_bytes(source.frame.sparkSession, source.location)
    return len(source.files), sum(file.size for file in source.files)


def _files_with(present: DataFrame, selection: Selection, files: int) -> int:
    """How many files of the table hold a row of the products that are scored."""
    if not selection.unchanged.ids:
        return files
    held = present.select("product_id", F.input_file_name().alias("file"))
    scored = selection.rows.select("product_id")
    return held.join(scored, "product_id", "left_semi").select("file").distinct().count()


def _expected(phase: str, runs: Sequence[RunRecord], run: RunRecord) -> float:
    """Seconds of a phase, by least squares over those of other runs; neither its start nor a row may cost less than nothing."""
    rows_of = PHASES[phase]
    rows = np.array([rows_of(one) for one in runs], dtype=np.float64)
    seconds = np.array([(one.seconds or {}).get(phase, 0.0) for one in runs], dtype=np.float64)
    spread = rows - rows.mean()
    a_row = max(float(spread @ seconds / (spread @ spread)), 0.0) if spread.any() else 0.0
    start = float(seconds.mean() - a_row * rows.mean())
    if start < 0 or (rows.any() and not spread.any()):
        # Through the origin: also where all runs had as many rows.
        start, a_row = 0.0, float(rows @ seconds / (rows @ rows))
    return start + a_row * rows_of(run)
