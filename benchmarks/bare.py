"""Engines without Spark, on one thread, and the most that the machine could do.

python benchmarks/bare.py TEXTS.parquet FIRST ROWS     texts to scores by the engine native, for several processes at once
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from lib.model.bundle import ONNX_MODEL, TOKENIZER, Bundle, load_bundle  # noqa: E402
from lib.model.engines.engine import score_in_micro_batches  # noqa: E402
from lib.model.engines.native import NativeEngine  # noqa: E402
from lib.model.engines.onnx import MICRO_BATCH, OnnxEngine  # noqa: E402
from lib.model.native import instruction_sets  # noqa: E402
from lib.model.text import TokenIds  # noqa: E402
from lib.scoring.udf import Scorer, payload_of  # noqa: E402

ROUNDS = 5


def matrix_product_gflops() -> float:
    """One float32 matrix product of 2048 x 2048 on one thread, the best of several."""
    from threadpoolctl import threadpool_limits

    a, b = (np.random.default_rng(i).normal(size=(2048, 2048)).astype(np.float32) for i in (1, 2))
    best = np.inf
    with threadpool_limits(1):
        for _ in range(5):
            began = time.perf_counter()
            a @ b
            best = min(best, time.perf_counter() - began)
    return 2 * 2048**3 / best / 1e9


def seed_size_bundle(bundle: Bundle) -> Bundle:
    """An untrained network of 5,000 words, 64 units in each direction, at most 200 tokens."""
    import json

    import keras

    from training.export import export_onnx
    from training.network import build_network
    from training.recipe import NetworkSettings

    keras.utils.set_random_seed(3)
    network = build_network(5000, len(bundle.labels), NetworkSettings(embedding=64, units=64, dense=64))
    words = list(bundle.tokenizer.words[:4998])
    manifest = {**bundle.manifest, "vocabulary_size": 5000, "version": "seed-size"}
    return Bundle(manifest, "seed-size", {ONNX_MODEL: export_onnx(network), TOKENIZER: json.dumps({"words": words}).encode()})


def engines_of(bundle: Bundle) -> dict[str, Callable[[TokenIds], Any]]:
    found: dict[str, Callable[[TokenIds], Any]] = {
        f"native, {name}": NativeEngine(bundle, 1, name).probabilities for name in instruction_sets()
    }
    found["ONNX Runtime float32"] = OnnxEngine(bundle, 1).probabilities
    found["ONNX Runtime int8 (dynamic)"] = onnx_int8(bundle)
    for precision in ("f32", "bf16"):
        found[f"OpenVINO {precision}"] = openvino(bundle, precision)
    return found


def onnx_int8(bundle: Bundle) -> Callable[[TokenIds], Any]:
    import tempfile

    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / name) for name in ("float32.onnx", "int8.onnx")]
        Path(paths[0]).write_bytes(bundle.files[ONNX_MODEL])
        # Not the look-up of the embeddings, which are float16.
        quantize_dynamic(*paths, weight_type=QuantType.QInt8, op_types_to_quantize=["LSTM", "Gemm"])
        content = Path(paths[1]).read_bytes()
    return OnnxEngine(Bundle(bundle.manifest, "int8", {**bundle.files, ONNX_MODEL: content}), 1).probabilities


def openvino(bundle: Bundle, precision: str) -> Callable[[TokenIds], Any]:
    import openvino as ov

    core = ov.Core()
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": 1}
    model = core.compile_model(core.read_model(bundle.files[ONNX_MODEL]), "CPU", settings)
    request = model.create_infer_request()

    def score(inputs: Mapping[str, Any]) -> Any:
        return request.infer({**inputs, "ids": np.ascontiguousarray(inputs["ids"].T)})[model.output(0)]

    return lambda texts: score_in_micro_batches(texts, len(bundle.labels), MICRO_BATCH, score)


def compare(bundle: Bundle, texts: pa.Array) -> dict[str, dict[str, float]]:
    """Rows a second of each engine on the same ids, the median of several rounds in turn; and how far it is from float32."""
    ids = bundle.tokenizer.ids_of(texts)
    engines = engines_of(bundle)
    reference = engines["ONNX Runtime float32"](ids)
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    result: dict[str, dict[str, float]] = {}
    for _ in range(ROUNDS):
        for name, score in engines.items():
            began = time.perf_counter()
            found = score(ids)
            seconds[name].append(time.perf_counter() - began)
            result[name] = {
                "greatest_difference": float(np.abs(found - reference).max()),
                "labels_differ": int((found.argmax(axis=1) != reference.argmax(axis=1)).sum()),
            }
    for name, times in seconds.items():
        result[name]["rows_per_second"] = len(texts) / float(np.median(times))
    return result


def bare_processes(texts: Path, rows: int, processes: int) -> float:
    """Rows a second of text to scores in this many processes at once, each with its part of the rows, without Spark and without reading."""
    command, part = [sys.executable, str(ROOT / "benchmarks" / "bare.py"), str(texts)], rows // processes
    started = [subprocess.Popen([*command, str(i * part), str(part)], stdin=-1, stdout=-1, text=True) for i in range(processes)]
    for process in started:
        process.stdout.readline()  # type: ignore[union-attr]
    for process in started:
        process.stdin.write("\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
    return rows / max(float(process.stdout.readline()) for process in started)  # type: ignore[union-attr]


def main(texts: str, first: int, rows: int) -> None:
    bundle = load_bundle(str(ROOT / "models" / "ecommerce"))
    scorer = Scorer(payload_of(bundle, "native", 1))
    table = pq.read_table(texts, columns=["text"]).slice(first, rows)
    batches = [batch.column(0) for batch in table.to_batches(max_chunksize=4096)]
    scorer.scores_of(batches[0])
    # Both processes begin at the same time.
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    for batch in batches:
        scorer.scores_of(batch)
    print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
