"""An engine whose probabilities count for labels other than those that its network was trained with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from lib.model.arrays import Float32s, Int64s
from lib.model.bundle import Bundle
from lib.model.engines.engine import Engine, TextScores
from lib.model.text import TokenIds, Tokenizer


class Merger:
    """Adds up the probabilities that count for one label."""

    def __init__(self, outputs: Sequence[int] | Int64s, labels: int) -> None:
        """outputs: the label that each probability counts for; each of the `labels` has at least one."""
        places = np.asarray(outputs)
        # Those of one label next to each other.
        self._order = np.argsort(places, kind="stable")
        self._starts = np.searchsorted(places[self._order], np.arange(labels))

    def merged(self, probabilities: Float32s) -> Float32s:
        """float32 [rows, outputs] to float32 [rows, labels]."""
        found = np.add.reduceat(probabilities[:, self._order], self._starts, axis=1)
        # The rounding of sums could exceed 1.
        return np.minimum(found, np.float32(1))


class RelabelledEngine(Engine):
    """The probabilities of merged labels are added up; evidence, which is of all labels together, stays."""

    def __init__(self, engine: Engine, bundle: Bundle) -> None:
        self.name = engine.name
        self._engine = engine
        self._merger = Merger(bundle.outputs, len(bundle.labels))

    def probabilities_and_evidence(self, texts: TokenIds) -> tuple[Float32s, Float32s]:
        probabilities, evidence = self._engine.probabilities_and_evidence(texts)
        return self._merger.merged(probabilities), evidence

    def scores_of(self, tokenizer: Tokenizer, texts: pa.Array) -> TextScores:
        scores = self._engine.scores_of(tokenizer, texts)
        return replace(scores, probabilities=self._merger.merged(scores.probabilities))
