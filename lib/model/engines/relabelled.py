"""An engine whose probabilities count for other labels than those that its network was trained with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from lib.model.arrays import Float32s
from lib.model.bundle import Bundle
from lib.model.engines.engine import Engine, TextScores
from lib.model.text import TokenIds, Tokenizer


class RelabelledEngine(Engine):
    """The probabilities of merged labels are added up; evidence, which is of all labels together, stays."""

    def __init__(self, engine: Engine, bundle: Bundle) -> None:
        self.name = engine.name
        self._engine = engine
        outputs = np.array(bundle.outputs)
        # Outputs of one label side by side.
        self._order = np.argsort(outputs, kind="stable")
        self._starts = np.searchsorted(outputs[self._order], np.arange(len(bundle.labels)))

    def probabilities_and_evidence(self, texts: TokenIds) -> tuple[Float32s, Float32s]:
        probabilities, evidence = self._engine.probabilities_and_evidence(texts)
        return self.merged(probabilities), evidence

    def scores_of(self, tokenizer: Tokenizer, texts: pa.Array) -> TextScores:
        scores = self._engine.scores_of(tokenizer, texts)
        return replace(scores, probabilities=self.merged(scores.probabilities))

    def merged(self, probabilities: Float32s) -> Float32s:
        """float32 [rows, outputs] to float32 [rows, labels]."""
        found = np.add.reduceat(probabilities[:, self._order], self._starts, axis=1)
        # What the rounding of sums could add.
        return np.minimum(found, np.float32(1))
