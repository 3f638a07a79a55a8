"""The reference engine: the Keras model as training saved it. Slow, and the yardstick for every other engine."""

from __future__ import annotations

import os
import platform
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lib.errors import BundleError, InputError
from lib.model.arrays import Float32s
from lib.model.bundle import KERAS_MODEL, Bundle
from lib.model.engines.engine import Engine, check_bag, parted, score_in_micro_batches
from lib.model.text import TokenIds

MICRO_BATCH = 256
# So that TensorFlow traces few shapes.
WIDTH_STEP = 32


def before_tensorflow(processors: Path = Path("/proc/cpuinfo")) -> None:
    """What has to precede the first import of TensorFlow and Keras: Keras takes no settings from the user's home or variables.

    Args:
        processors: what Linux says about them.
    Raises:
        InputError: the processor lacks AVX. TensorFlow's import would end the process, without an exception.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # A folder that cannot exist: there is no keras.json in it, and none is written.
    os.environ.update(KERAS_BACKEND="tensorflow", KERAS_HOME=os.devnull)
    for name in ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH"):
        os.environ.pop(name, None)
    if platform.machine() != "x86_64" or not processors.is_file():
        return
    flags = re.search(r"^flags\s*:(.*)$", processors.read_text(), re.MULTILINE)
    if flags and "avx" not in flags[1].split():
        raise InputError(
            "Expected a processor with AVX, which TensorFlow needs, found one without; train on another machine (scoring needs no TensorFlow)."
        )


class KerasEngine(Engine):
    """Keras on TensorFlow, float32."""

    name = "keras"

    def __init__(self, bundle: Bundle, threads: int) -> None:
        before_tensorflow()
        try:
            import keras
            import tensorflow as tf
        except ImportError:
            raise InputError(
                "Expected TensorFlow for --engine keras, found none; install requirements/training.lock, or use --engine onnx."
            ) from None
        _set_threads(tf, threads)
        try:
            self._model = _loaded(keras, bundle.files[KERAS_MODEL])
        except Exception as error:  # Keras raises many types for a damaged file
            raise BundleError(
                f"Expected a Keras model in {bundle.model_version}, found one that does not load ({str(error)[:200]}); retrain the bundle."
            ) from None
        self._labels = len(bundle.outputs)
        self._inputs = [tensor.name for tensor in self._model.inputs]
        embedded = self._model.get_layer("embedding").input_dim
        if self._model.output_shape[-1] != self._labels or embedded != bundle.tokenizer.vocabulary_size:
            raise BundleError(
                f"Expected a Keras model from {bundle.tokenizer.vocabulary_size} ids to {self._labels} labels in "
                f"{bundle.model_version}, found {embedded} to {self._model.output_shape[-1]}; retrain the bundle."
            )
        check_bag(bundle, self._model.get_layer("bag").input_dim if "weights" in self._inputs else 0)
        last = self._model.get_layer("probabilities")
        self._kernel, self._bias = last.get_weights()
        self._with_hidden = keras.Model(self._model.inputs, [last.output, last.input])

    def probabilities_and_evidence(self, texts: TokenIds) -> tuple[Float32s, Float32s]:
        return parted(score_in_micro_batches(texts, self._labels + 1, MICRO_BATCH, self._score, WIDTH_STEP))

    def _score(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Float32s:
        # Padding is masked by id, so the filled-up rows (length 1, nothing but padding) are never looked at.
        # A network with one input takes the array, not a dictionary.
        feed = {name: inputs[name] for name in self._inputs} if len(self._inputs) > 1 else inputs["ids"]
        probabilities, hidden = self._with_hidden.predict_on_batch(feed)
        # Keras has the softmax inside the layer, so the logits are computed separately.
        logits = hidden @ self._kernel + self._bias
        return np.column_stack([probabilities, np.logaddexp.reduce(logits, axis=1)])


def _set_threads(tf: Any, threads: int) -> None:
    threading = tf.config.threading
    try:
        threading.set_intra_op_parallelism_threads(threads)
        threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        # TensorFlow has started in this process already (training does both); its threads stay as they are.
        return


def _loaded(keras: Any, content: bytes) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / KERAS_MODEL
        path.write_bytes(content)
        # safe_mode refuses anything that would run code while loading (Lambda layers).
        return keras.saving.load_model(path, compile=False, safe_mode=True)
