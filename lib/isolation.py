"""Which texts an engine does not survive: looked for only behind a run whose Python workers died."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pyarrow as pa
from pyspark.sql import DataFrame

from lib.bundle import Bundle
from lib.errors import CategorizerError
from lib.scoring import broadcast_payload, scorer_for

# What Spark says of a worker that died instead of failing.
WORKER_DIED = "Python worker exited unexpectedly"
MOST_NAMED = 5

Score = Callable[[pa.Array], object]


class EngineDied(CategorizerError):
    """The engine's compiled code died on a text."""


def check_survival(rows: DataFrame, bundle: Bundle, engine: str, where: str) -> None:
    """Score every batch in a process of its own, and halve those that die until single texts are left.

    Args:
        rows: product_id and text.
    Raises:
        EngineDied: names the products. Without it the workers died of something else, such as want of memory.
    """
    broadcast = broadcast_payload(rows.sparkSession, bundle, engine)

    def fatal(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        # Before the first fork: a child inherits the engine.
        scorer = scorer_for(broadcast.value)
        for batch in batches:
            found = list(_fatal_rows(scorer.scores_of, batch))
            if found:
                yield pa.record_batch({"product_id": [i for i, _ in found], "signal": [s for _, s in found]})

    probed = rows.select("product_id", "text").mapInArrow(fatal, "product_id string, signal string")  # type: ignore[arg-type]
    found = probed.head(MOST_NAMED)
    if found:
        named = ", ".join(f"{row['product_id']!r} ({row['signal']})" for row in found)
        raise EngineDied(
            f"Expected the engine {engine} to survive every text of {where}, found it dying at the product {named}; nothing was "
            f"published: take the row out or give another --engine, and report it."
        )


def _fatal_rows(score: Score, batch: pa.RecordBatch) -> Iterator[tuple[str, str]]:
    died = _died(score, batch.column("text"))
    if died is None:
        return
    if batch.num_rows == 1:
        yield batch.column("product_id")[0].as_py(), died
        return
    half = batch.num_rows // 2
    yield from _fatal_rows(score, batch.slice(0, half))
    yield from _fatal_rows(score, batch.slice(half))


def _died(score: Score, texts: pa.Array) -> str | None:
    """The signal that ends a process which scores these texts; None if it lives."""
    child = os.fork()
    if child == 0:
        try:
            score(texts)
        finally:
            # Neither the worker's buffers nor its exit handlers are the child's to run.
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else None
