"""Engines: what turns token ids into probabilities. ONNX Runtime is the default, Keras the reference."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from lib.bundle import KERAS_MODEL, ONNX_MODEL, Bundle
from lib.engines.engine import Engine, Float32s
from lib.errors import BundleError, InputError

ENGINE_FILES = {"onnx": ONNX_MODEL, "keras": KERAS_MODEL}
ENGINES = tuple(ENGINE_FILES)
GOLDEN_TOLERANCE = 1e-4

__all__ = ["ENGINES", "ENGINE_FILES", "GOLDEN_TOLERANCE", "Engine", "Float32s", "build_engine", "check_golden_rows"]


def build_engine(name: str, bundle: Bundle, threads: int) -> Engine:
    """The engine `name` with the bundle's model, using `threads` threads.

    Raises:
        BundleError: the model does not fit the manifest's labels and vocabulary.
        InputError: there is no such engine, or what it needs is not installed.
    """
    # Imported only when asked for: TensorFlow is absent where only ONNX Runtime scores.
    if name == "onnx":
        from lib.engines.onnx import OnnxEngine

        return OnnxEngine(bundle, threads)
    if name == "keras":
        from lib.engines.keras import KerasEngine

        return KerasEngine(bundle, threads)
    raise InputError(f"Expected an engine of {', '.join(ENGINES)}, found {name!r}; correct --engine.")


def check_golden_rows(engine: Engine, bundle: Bundle) -> None:
    """Score the bundle's golden rows and compare: a wrong library, a damaged model or changed text code shows here.

    Raises:
        BundleError: a probability differs by more than GOLDEN_TOLERANCE, or is not a number.
    """
    golden = bundle.golden
    found = engine.probabilities(bundle.tokenizer.ids_of(pa.array([row.text for row in golden], pa.string())))
    expected = np.array([row.probabilities for row in golden], dtype=np.float32)
    difference = float(np.abs(found - expected).max())
    if not difference <= GOLDEN_TOLERANCE:
        raise BundleError(
            f"Expected the bundle {bundle.model_version} to give its golden rows' probabilities to {GOLDEN_TOLERANCE:g}, "
            f"found a difference of {difference:.3g} with the engine {engine.name}; retrain the bundle with the installed libraries."
        )
