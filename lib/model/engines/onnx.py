"""ONNX Runtime on the graph that training exported from the Keras weights: it scores where there is no compiled library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from lib.errors import BundleError
from lib.model.arrays import Float32s
from lib.model.bundle import ONNX_MODEL, Bundle
from lib.model.engines.engine import Engine, parted, score_in_micro_batches
from lib.model.text import TokenIds

# Larger micro-batches do not fit the cache: a third slower at 256.
MICRO_BATCH = 32
# The names of the graph's inputs.
INPUTS, BAG_INPUTS = ["ids", "lengths"], ["features", "weights"]


class OnnxEngine(Engine):
    """ONNX Runtime, float32. Graph inputs: ids int32 [time, rows], lengths int32 [rows]; with a bag also features int32 and

    weights float32 [rows, features].
    """

    name = "onnx"

    def __init__(self, bundle: Bundle, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning threads would take the cores that other tasks of the executor were given.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(bundle.files[ONNX_MODEL], options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own exceptions share no public root
            raise BundleError(
                f"Expected an ONNX model in {bundle.model_version}, found one that does not load ({error}); retrain the bundle."
            ) from None
        self._labels = len(bundle.outputs)
        inputs, outputs = [one.name for one in self._session.get_inputs()], self._session.get_outputs()
        expected = INPUTS + BAG_INPUTS if bundle.tokenizer.bag else INPUTS
        if inputs != expected or outputs[0].shape[-1] != self._labels:
            raise BundleError(
                f"Expected an ONNX model from {', '.join(expected)} to {self._labels} labels in {bundle.model_version}, "
                f"found inputs {inputs} and output {outputs[0].shape}; retrain the bundle."
            )
        self._inputs = inputs
        # Models in bundles before format 4 return only probabilities.
        self._has_evidence = len(outputs) > 1

    def probabilities_and_evidence(self, texts: TokenIds) -> tuple[Float32s, Float32s]:
        return parted(score_in_micro_batches(texts, self._labels + 1, MICRO_BATCH, self._score))

    def _score(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Float32s:
        feed = {name: inputs[name] for name in self._inputs}
        feed["ids"] = np.ascontiguousarray(feed["ids"].T)
        found = self._session.run(None, feed)
        evidence = found[1] if self._has_evidence else np.full(len(found[0]), np.nan, np.float32)
        return np.column_stack([found[0], evidence])
