"""The default engine where there is a C++ compiler: the kernel of native/lstm.cpp on the weights of the ONNX file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from lib.errors import BundleError
from lib.model.arrays import Float32s, Int64s
from lib.model.bag import Bag
from lib.model.bundle import ONNX_MODEL, Bundle
from lib.model.engines.engine import Engine, TextScores, check_bag
from lib.model.engines.onnx_weights import Array, weights_of
from lib.model.native import BagLayer, NativeNetwork
from lib.model.text import TokenIds, Tokenizer, plain_strings

# Embedding x kernel + bias of every word, in float32: what a worker of 400 MB has room for besides everything else.
MAX_INPUT_BYTES = 160 << 20


def input_bytes(bundle: Bundle) -> int:
    """The size of the words' rows after the multiplication."""
    directions, columns, _ = _weights(bundle)["W"].shape
    return int(bundle.tokenizer.vocabulary_size * directions * columns * 4)


class NativeEngine(Engine):
    """Recurrent weights and states in int16, the bag's table in int8 as it was trained, all else in float32.

    The results are within 1e-4 of float32 on real texts. The recurrent product is the same on every processor.

    A text's probabilities do not depend on its batch, not even in one bit.
    """

    name = "native"

    def __init__(self, bundle: Bundle, threads: int, instruction_set: str | None = None) -> None:
        weights = _weights(bundle)
        try:
            self._network = _network(weights, instruction_set)
        except (KeyError, ValueError) as error:
            raise BundleError(
                f"Expected the weights of an LSTM in {ONNX_MODEL} of {bundle.model_version}, found {error}; retrain the bundle."
            ) from None
        found = weights["embeddings"].shape[0], weights["output_bias"].shape[0]
        if found != (bundle.tokenizer.vocabulary_size, len(bundle.outputs)):
            raise BundleError(
                f"Expected a model from {bundle.tokenizer.vocabulary_size} ids to {len(bundle.outputs)} labels in "
                f"{bundle.model_version}, found {found[0]} to {found[1]}; retrain the bundle."
            )
        check_bag(bundle, weights["bag_table"].shape[0] if "bag_table" in weights else 0)
        self._threads = max(threads, 1)

    def probabilities_and_evidence(self, texts: TokenIds) -> tuple[Float32s, Float32s]:
        if self._threads == 1:
            return self._network.probabilities_and_evidence(texts.ids, texts.offsets, texts.bag)
        with ThreadPoolExecutor(self._threads) as pool:
            parts = list(pool.map(lambda rows: self._part(texts, *rows), self._parts(texts.offsets)))
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def scores_of(self, tokenizer: Tokenizer, texts: pa.Array) -> TextScores:
        """A few texts at a time, on each of the threads; texts with a foreign character are scored as in every other engine."""
        compiled = tokenizer.compiled
        if compiled is None:
            return super().scores_of(tokenizer, texts)
        texts = plain_strings(texts)
        bounds = np.linspace(0, len(texts), self._threads + 1).astype(int).tolist()
        parts = [texts.slice(first, end - first) for first, end in pairwise(bounds)]
        if self._threads == 1:
            found = [self._network.scores_of(compiled, texts)]
        else:
            with ThreadPoolExecutor(self._threads) as pool:
                found = list(pool.map(lambda part: self._network.scores_of(compiled, part), parts))
        text, network = np.sum([part.seconds for part in found], axis=0).tolist()
        scores = TextScores(
            np.concatenate([part.probabilities for part in found]),
            np.concatenate([part.evidence for part in found]),
            np.concatenate([part.tokens for part in found]),
            np.concatenate([part.unknown_tokens for part in found]),
            {"text": text, "network": network},
        )
        foreign = np.flatnonzero(scores.tokens < 0)
        return self._with_foreign(scores, foreign, tokenizer, texts) if len(foreign) else scores

    def _with_foreign(self, scores: TextScores, rows: Int64s, tokenizer: Tokenizer, texts: pa.Array) -> TextScores:
        """`scores`, with those of `rows`, which the compiled tokenizer could not read, inserted."""
        theirs = super().scores_of(tokenizer, texts.take(pa.array(rows)))
        for name in ("probabilities", "evidence", "tokens", "unknown_tokens"):
            getattr(scores, name)[rows] = getattr(theirs, name)
        return replace(scores, seconds={part: value + theirs.seconds[part] for part, value in scores.seconds.items()})

    def _parts(self, offsets: Int64s) -> Iterator[tuple[int, int]]:
        """The first text and the end of a part for each thread, of about as many tokens."""
        shares = np.linspace(offsets[0], offsets[-1], self._threads + 1)[1:-1]
        return pairwise([0, *map(int, np.searchsorted(offsets, shares)), len(offsets) - 1])

    def _part(self, texts: TokenIds, first: int, end: int) -> tuple[Float32s, Float32s]:
        rows = slice(first, end + 1)
        bag = texts.bag and Bag(texts.bag.features, texts.bag.weights, texts.bag.offsets[rows])
        return self._network.probabilities_and_evidence(texts.ids, texts.offsets[rows], bag)


def _weights(bundle: Bundle) -> Mapping[str, Array]:
    return weights_of(bundle.files[ONNX_MODEL])


def _network(weights: Mapping[str, Array], instruction_set: str | None) -> NativeNetwork:
    embeddings = weights["embeddings"].astype(np.float32)
    inputs, recurrent = [], []
    for kernel, recurrence, bias in zip(weights["W"], weights["R"], weights["B"], strict=True):
        rows = embeddings @ kernel.T
        rows += bias.reshape(2, -1).sum(axis=0)
        inputs.append(_gates(rows))
        recurrent.append(_gates(recurrence.T))
    dense = weights["dense_weights"], weights["dense_bias"]
    # The last layer reads the dense layer, then the bag.
    from_dense, from_bag = np.split(weights["output_weights"], [len(dense[1])])
    bag = (
        BagLayer(weights["bag_table"], weights["bag_scales"], weights["bag_slopes"], from_bag)
        if "bag_table" in weights
        else None
    )
    return NativeNetwork(inputs, recurrent, dense, (from_dense, weights["output_bias"]), instruction_set, bag)


def _gates(columns: Any) -> Float32s:
    """Gate order of ONNX (i, o, f, g; it calls g c) to that of the kernel, which is that of Keras (i, f, g, o), along the last axis."""
    i, o, f, g = np.split(columns, 4, axis=-1)
    return np.concatenate([i, f, g, o], axis=-1)
