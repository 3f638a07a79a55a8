"""Engines: what turns token ids into probabilities. Our own kernel is the default, ONNX Runtime the substitute, Keras the reference."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import numpy as np
import pyarrow as pa

from lib.errors import BundleError, InputError
from lib.model.bundle import KERAS_MODEL, ONNX_MODEL, Bundle
from lib.model.engines.engine import Engine, usable_cores
from lib.model.engines.relabelled import RelabelledEngine
from lib.model.native import library, library_name, why_there_is_none

ENGINE_FILES = {"native": ONNX_MODEL, "onnx": ONNX_MODEL, "keras": KERAS_MODEL}
ENGINES = tuple(ENGINE_FILES)
AUTO = "auto"
ENGINE_CHOICES = (AUTO, *ENGINES)
# Differences of probabilities. The kernel rounds recurrent weights and states to int16.
GOLDEN_TOLERANCE = {"native": 1e-3, "onnx": 1e-4, "keras": 1e-4}
# Evidence, which spans several units, may differ by this many times as much.
EVIDENCE_TOLERANCE = 10
# How closely two engines agree on a probability.
PROBABILITY_TOLERANCE = max(GOLDEN_TOLERANCE.values())

__all__ = [
    "AUTO",
    "ENGINES",
    "ENGINE_CHOICES",
    "ENGINE_FILES",
    "GOLDEN_TOLERANCE",
    "PROBABILITY_TOLERANCE",
    "Engine",
    "build_engine",
    "check_golden_rows",
    "checked_engine",
    "usable_cores",
    "usable_engines",
]


def build_engine(name: str, bundle: Bundle, threads: int) -> Engine:
    """The engine `name` with the bundle's model, using `threads` threads.

    Raises:
        BundleError: the model does not fit the manifest's labels and vocabulary.
        InputError: there is no such engine, or what it needs is not installed.
    """
    engine = _engine_of_outputs(name, bundle, threads)
    return RelabelledEngine(engine, bundle) if bundle.is_relabelled else engine


def _engine_of_outputs(name: str, bundle: Bundle, threads: int) -> Engine:
    # Imported only when asked for: TensorFlow is absent where it does not score.
    if name == "native":
        from lib.model.engines.native import NativeEngine

        return NativeEngine(bundle, threads)
    if name == "onnx":
        from lib.model.engines.onnx import OnnxEngine

        return OnnxEngine(bundle, threads)
    if name == "keras":
        from lib.model.engines.keras import KerasEngine

        return KerasEngine(bundle, threads)
    raise InputError(f"Expected an engine of {', '.join(ENGINES)}, found {name!r}; correct --engine.")


def usable_engines() -> tuple[str, ...]:
    """ENGINES without `native` where its library is missing, and without `keras` where only scoring is installed."""
    missing = [] if library() else ["native"]
    if not (find_spec("tensorflow") and find_spec("keras")):
        missing.append("keras")
    return tuple(name for name in ENGINES if name not in missing)


def checked_engine(name: str, bundle: Bundle, threads: int = 1) -> Engine:
    """The engine that a run asks for, with the bundle's model, once it has reproduced the golden rows.

    AUTO is `native` where it can run, else `onnx`, with a message. The driver chooses here for the whole run.

    Raises:
        BundleError: the model is not what the manifest describes, or does not reproduce the golden rows.
    """
    try:
        if name == AUTO:
            obstacle = _obstacle_to_native(bundle)
            name = "onnx" if obstacle else "native"
            if obstacle:
                print(f"engine onnx: {obstacle}.", file=sys.stderr)
        engine = build_engine(name, bundle, threads)
        check_golden_rows(engine, bundle)
    # Files that were verified, and contain something that this code does not expect.
    except (TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise BundleError(
            f"Expected the model and the golden rows of {bundle.model_version} to be of one kind, found {type(error).__name__}: {str(error)[:200]}; "
            "retrain the bundle."
        ) from None
    return engine


def _obstacle_to_native(bundle: Bundle) -> str | None:
    if library() is None:
        found = why_there_is_none()
        if found != "none":
            return f"no compiled library {library_name()} that works, but {found}; it would score several times as fast"
        return f"no compiled library {library_name()}; with a C++ compiler the next run, or pip install, builds it, and scores several times as fast"
    from lib.model.engines.native import MAX_INPUT_BYTES, input_bytes

    needed = input_bytes(bundle)
    if needed > MAX_INPUT_BYTES:
        return f"the vocabulary's {needed >> 20} MB in the engine native would be more than {MAX_INPUT_BYTES >> 20} MB a worker"
    return None


def check_golden_rows(engine: Engine, bundle: Bundle) -> None:
    """Score the bundle's golden rows and compare: a wrong library, a damaged model or changed text code shows here.

    Raises:
        BundleError: a probability, or the evidence, differs by more than the engine's tolerance, or is not a number.
    """
    golden = bundle.golden
    texts = pa.array([row.text for row in golden], pa.string())
    # Both ways of scoring: a run goes from texts to scores in one call.
    scores = engine.scores_of(bundle.tokenizer, texts)
    probabilities, evidence = engine.probabilities_and_evidence(bundle.tokenizer.ids_of(texts))
    expected = np.array([row.probabilities for row in golden], dtype=np.float32)
    difference = float(np.abs(np.stack([probabilities, scores.probabilities]) - expected).max())
    if bundle.unfamiliarity:
        expected_evidence = np.array([row.evidence for row in golden], dtype=np.float32)
        # np.maximum keeps a NaN.
        of_evidence = np.abs(np.stack([evidence, scores.evidence]) - expected_evidence).max()
        difference = float(np.maximum(difference, of_evidence / EVIDENCE_TOLERANCE))
    tolerance = GOLDEN_TOLERANCE[engine.name]
    if not difference <= tolerance:
        raise BundleError(
            f"Expected the bundle {bundle.model_version} to reproduce its golden rows' probabilities within {tolerance:g}, "
            f"found a difference of {difference:.3g} with the engine {engine.name}; retrain the bundle with the installed libraries."
        )
