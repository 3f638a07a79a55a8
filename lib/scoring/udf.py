"""Scoring: the broadcast bundle, and the UDF that applies it to Arrow batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark import Broadcast, SparkContext
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lib.identifiers import column
from lib.model.arrays import Float32s
from lib.model.bundle import TOKENIZER, Bundle
from lib.model.decisions import most_probable
from lib.model.engines import ENGINE_FILES, Engine, build_engine
from lib.model.tree import lists_of
from lib.pairs.offered import batches_udf
from lib.scoring.categories import NO_LABEL
from schemas.tables import SCORE

# Probabilities that an engine returns at a time, 4 MB: for thousands of labels a whole Arrow batch would take a hundred.
VALUES_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Payload:
    """What travels to the executors, once each: plain bytes and settings, verified on the driver."""

    manifest: Mapping[str, Any]
    digest: str
    files: Mapping[str, bytes]
    engine: str
    threads: int


def payload_of(bundle: Bundle, engine: str, threads: int) -> Payload:
    """Only the files that `engine` reads."""
    names = (TOKENIZER, ENGINE_FILES[engine])
    return Payload(dict(bundle.manifest), bundle.digest, {name: bundle.files[name] for name in names}, engine, threads)


# The model that was broadcast last: a process that makes many runs sends it once.
_broadcast: dict[tuple[str | None, str, str], Broadcast[Payload]] = {}


def broadcast_payload(spark: SparkSession, bundle: Bundle, engine: str) -> Broadcast[Payload]:
    """The payload for the executors, each engine with the cores of a task."""
    context = spark.sparkContext
    key = (context.applicationId, bundle.digest, engine)
    if key not in _broadcast:
        _broadcast.clear()
        threads = int(context.getConf().get("spark.task.cpus", "1"))
        _broadcast[key] = context.broadcast(payload_of(bundle, engine, threads))
    return _broadcast[key]


class Scorer:
    """A bundle with its engine, in one Python process."""

    def __init__(self, payload: Payload) -> None:
        self._bundle = Bundle(payload.manifest, payload.digest, payload.files)
        self._engine: Engine = build_engine(payload.engine, self._bundle, payload.threads)
        # Seconds since the process began; a task takes the difference.
        self.seconds = {"text": 0.0, "network": 0.0}

    def scores_of(self, texts: pa.Array, kept: int | None = None) -> pa.StructArray:
        """The columns of schemas.tables.SCORE for each text, in the order given.

        Args:
            kept: how many labels' probabilities are returned, the most probable ones; None for all.
        """
        labels = len(self._bundle.labels)
        step = max(VALUES_AT_ONCE // labels, 1)
        parts = [texts.slice(first, step) for first in range(0, max(len(texts), 1), step)]
        found = [self._scores_of(part, labels if kept is None else kept) for part in parts]
        return found[0] if len(found) == 1 else pa.concat_arrays(found)

    def _scores_of(self, texts: pa.Array, kept: int) -> pa.StructArray:
        found = self._engine.scores_of(self._bundle.tokenizer, texts)
        for part, seconds in found.seconds.items():
            self.seconds[part] += seconds
        probabilities, scored = found.probabilities, found.tokens > 0
        every = kept >= probabilities.shape[1]
        best = most_probable(probabilities, 2 if every else max(kept, 2)).astype(np.int32)
        greatest = np.take_along_axis(probabilities, best, axis=1)
        columns = {
            "label": np.where(scored, best[:, 0], NO_LABEL),
            "runner_up": np.where(scored, best[:, 1], NO_LABEL),
            "confidence": pa.array(greatest[:, 0], mask=~scored),
            "runner_up_confidence": pa.array(greatest[:, 1], mask=~scored),
            "scored": pa.nulls(len(texts), pa.list_(pa.int32())) if every else _lists(best[:, :kept], scored),
            "scores": _lists(probabilities if every else greatest[:, :kept], scored),
            "level_confidence": self._levels(probabilities, best[:, 0], scored),
            "tokens": found.tokens,
            "unknown_tokens": found.unknown_tokens,
            "unfamiliarity": self._unfamiliarity(found.evidence, scored),
        }
        return pa.StructArray.from_arrays([pa.array(column) for column in columns.values()], names=list(columns))

    def _levels(self, probabilities: Float32s, labels: Any, scored: Any) -> pa.Array:
        """Null for a text without words, and where labels are no paths."""
        tree = self._bundle.tree
        if tree is None:
            return pa.nulls(len(labels), pa.list_(pa.float32()))
        return lists_of(tree.confidences(probabilities, labels), tree.depths[labels], scored)

    def _unfamiliarity(self, evidence: Float32s, scored: Any) -> pa.Array:
        """Null for a text without words, and under a bundle that is older than the number."""
        known = self._bundle.unfamiliarity
        return pa.array(known.of(evidence), mask=~scored) if known else pa.nulls(len(evidence), pa.float32())


def _lists(values: Any, there: Any) -> pa.ListArray:
    """The rows of a matrix as lists; null where bool [rows] `there` is false."""
    ends = np.concatenate(([0], np.cumsum(there * values.shape[1]))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(values[there].ravel()), mask=pa.array(~there))


_scorers: dict[tuple[str, str, int], Scorer] = {}
# The key of every scorer this process has built.
_builds: list[tuple[str, str, int]] = []


def scorer_for(payload: Payload) -> Scorer:
    """The process's scorer for a payload: built at the first batch, reused by every later task."""
    key = (payload.digest, payload.engine, payload.threads)
    if key not in _scorers:
        # One model at a time: a worker that outlives a run must not collect the models of all of them.
        _scorers.clear()
        _scorers[key] = Scorer(payload)
        _builds.append(key)
    return _scorers[key]


class Clock:
    """Where the tasks of a run spend their time, in seconds added up over all of them.

    reading: waiting for the JVM, which reads, joins and hashes texts and moves them; text: texts to ids; network: ids to
    probabilities; start: building the scorer, in the tasks that had to. A task that runs again counts again.
    """

    PARTS = ("start", "reading", "text", "network")

    def __init__(self, context: SparkContext) -> None:
        self._seconds = {part: context.accumulator(0.0) for part in self.PARTS}
        self._loads = context.accumulator(0)
        self._texts = context.accumulator(0)

    def add(self, seconds: Mapping[str, float], loads: int, texts: int) -> None:
        """On an executor, at the end of a task."""
        for part, value in seconds.items():
            self._seconds[part].add(value)
        self._loads.add(loads)
        self._texts.add(texts)

    @property
    def seconds(self) -> dict[str, float]:
        return {part: float(value.value) for part, value in self._seconds.items()}

    @property
    def loads(self) -> int:
        """How many scorers were built."""
        return int(self._loads.value)

    @property
    def texts(self) -> int:
        """How many texts were scored."""
        return int(self._texts.value)


def scored_batches(
    payload: Payload, batches: Iterator[pa.Array], clock: Clock | None, kept: int | None = None
) -> Iterator[pa.Array]:
    """The columns of schemas.tables.SCORE for each batch of a task's texts. kept: as in Scorer.scores_of."""
    began, loads = perf_counter(), len(_builds)
    scorer = scorer_for(payload)
    seconds = {"start": perf_counter() - began, "reading": 0.0}
    before = dict(scorer.seconds)
    scored, waiting = 0, perf_counter()
    for texts in batches:
        seconds["reading"] += perf_counter() - waiting
        scored += len(texts)
        yield scorer.scores_of(texts, kept)
        waiting = perf_counter()
    if clock:
        seconds |= {part: value - before[part] for part, value in scorer.seconds.items()}
        clock.add(seconds, len(_builds) - loads, scored)


def with_scores(
    rows: DataFrame, bundle: Bundle, engine: str, text: str = "text", clock: Clock | None = None, kept: int | None = None
) -> DataFrame:
    """`rows` with the struct column `score` (schemas.tables.SCORE) in place of the column `text`.

    Args:
        kept: how many labels' probabilities are returned, the most probable ones; None for all.
    """
    broadcast = broadcast_payload(rows.sparkSession, bundle, engine)

    def score(batches: Iterator[pa.Array]) -> Iterator[pa.Array]:
        # The rest is in the module: what a function defined here refers to would travel as a copy, one a task.
        return scored_batches(broadcast.value, batches, clock, kept)

    others = [column(name) for name in rows.columns if name != text]
    return rows.select(*others, batches_udf(score, SCORE)(F.col(text)).alias("score"))
