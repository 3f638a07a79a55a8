"""The default engine: ONNX Runtime on the graph that training exported from the Keras weights."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort

from lib.arrays import Float32s, Int32s
from lib.bundle import ONNX_MODEL, Bundle
from lib.engines.engine import score_in_micro_batches
from lib.errors import BundleError
from lib.text import TokenIds

# Larger micro-batches fall out of the cache: a third slower at 256.
MICRO_BATCH = 32


class OnnxEngine:
    """ONNX Runtime, float32. Graph inputs: ids int32 [time, rows], lengths int32 [rows]."""

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
        self._labels = len(bundle.labels)
        outputs = self._session.get_outputs()
        if [i.name for i in self._session.get_inputs()] != ["ids", "lengths"] or outputs[0].shape[-1] != self._labels:
            raise BundleError(
                f"Expected an ONNX model from ids and lengths to {self._labels} labels in {bundle.model_version}, "
                f"found inputs {[i.name for i in self._session.get_inputs()]} and output {outputs[0].shape}; retrain the bundle."
            )

    def probabilities(self, texts: TokenIds) -> Float32s:
        return score_in_micro_batches(texts, self._labels, MICRO_BATCH, self._score)

    def _score(self, ids: Int32s, lengths: Int32s) -> Float32s:
        result: Float32s = self._session.run(None, {"ids": np.ascontiguousarray(ids.T), "lengths": lengths})[0]
        return result
