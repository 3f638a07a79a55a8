"""Which texts an engine does not survive: looked for only after a run whose Python workers died."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping

import pyarrow as pa
from pyspark.sql import DataFrame

from lib.errors import CategorizerError
from lib.model.bundle import Bundle
from lib.scoring.udf import broadcast_payload, scorer_for

# Spark's message about a worker that died instead of failing.
WORKER_DIED = "Python worker exited unexpectedly"
MOST_NAMED = 5
# The most texts of a run that are rejected because the engine died on them; with more, the engine is to blame, not the texts.
MOST_FATAL = 10

Score = Callable[[pa.Array], object]


class EngineDied(CategorizerError):
    """The engine's compiled code died on more texts than may be rejected because of it."""


class FatalTexts(Exception):
    """The engine's compiled code died on some texts. `signals`: product id -> the signal."""

    def __init__(self, signals: Mapping[str, str]) -> None:
        super().__init__(f"fatal texts: {', '.join(signals)}")
        self.signals = signals


def fatal_texts(rows: DataFrame, bundle: Bundle, engine: str, where: str, most: int) -> dict[str, str]:
    """Score every batch in its own process, and halve the batches that die until single texts are left.

    Args:
        rows: product_id and text.
        most: texts that may be found.
    Returns:
        Product id -> signal. Where there are none, the workers died of something else, such as lack of memory.
    Raises:
        EngineDied: more of them; names some.
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
    found = {row["product_id"]: row["signal"] for row in probed.head(most + 1)}
    if len(found) > most:
        named = ", ".join(f"{name!r} ({signal})" for name, signal in list(found.items())[:MOST_NAMED])
        raise EngineDied(
            f"Expected the engine {engine} to die on at most {most} texts of {where} (--fatal-texts), found more, among them the product "
            f"{named}; nothing was published: take the rows out or give another --engine, and report it."
        )
    return found


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
            # The child must not flush the worker's buffers or run its exit handlers.
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else None
