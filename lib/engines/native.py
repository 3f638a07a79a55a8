"""The default engine: the LSTM kernel of native/lstm.cpp on the weights of the ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np

from lib.arrays import Float32s, Int64s
from lib.bundle import ONNX_MODEL, Bundle
from lib.engines.onnx_weights import Array, weights_of
from lib.errors import BundleError
from lib.native import NativeNetwork
from lib.text import TokenIds

# Embedding x kernel + bias of every word, in float32: what a worker can hold beside all else in 400 MB.
MAX_INPUT_BYTES = 160 << 20


def input_bytes(bundle: Bundle) -> int:
    """What the words' rows take, multiplied out."""
    directions, columns, _ = _weights(bundle)["W"].shape
    return int(bundle.tokenizer.vocabulary_size * directions * columns * 4)


class NativeEngine:
    """Recurrent weights and states in int16, all else in float32: within 1e-4 of float32 on real texts, the same on every processor.

    A text's probabilities do not depend on its batch, not by a bit.
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
        if found != (bundle.tokenizer.vocabulary_size, len(bundle.labels)):
            raise BundleError(
                f"Expected a model from {bundle.tokenizer.vocabulary_size} ids to {len(bundle.labels)} labels in "
                f"{bundle.model_version}, found {found[0]} to {found[1]}; retrain the bundle."
            )
        self._threads = max(threads, 1)

    def probabilities(self, texts: TokenIds) -> Float32s:
        if self._threads == 1:
            return self._network.probabilities(texts.ids, texts.offsets)
        with ThreadPoolExecutor(self._threads) as pool:
            parts = pool.map(lambda offsets: self._network.probabilities(texts.ids, offsets), self._parts(texts.offsets))
            return np.concatenate(list(parts))

    def _parts(self, offsets: Int64s) -> list[Int64s]:
        """A part of the texts for each thread, of about as many tokens."""
        shares = np.linspace(offsets[0], offsets[-1], self._threads + 1)[1:-1]
        ends = np.concatenate(([0], np.searchsorted(offsets, shares), [len(offsets) - 1]))
        return [offsets[first : last + 1] for first, last in pairwise(ends)]


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
    dense, output = ((weights[f"{layer}_weights"], weights[f"{layer}_bias"]) for layer in ("dense", "output"))
    return NativeNetwork(inputs, recurrent, dense, output, instruction_set)


def _gates(columns: Any) -> Float32s:
    """Gate order of ONNX (i, o, f, c) to that of the kernel, which is that of Keras (i, f, c, o), along the last axis."""
    i, o, f, c = np.split(columns, 4, axis=-1)
    return np.concatenate([i, f, c, o], axis=-1)
