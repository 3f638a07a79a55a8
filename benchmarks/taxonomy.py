"""What a run costs with many labels: rows a second, bytes of the table, memory of a worker.

    CATALOG_DATA=folder benchmarks/taxonomy [--rows N] [--labels N,…]

Each run is the real job through spark-submit.sh on the same real texts. The bundles are generated: the shipped LSTM and vocabulary, with a
bag and a last layer of random weights in the sizes that `train` would give them, over a tree of three levels. They cost as much as trained
ones; their predictions mean nothing. Writes docs/benchmarks/taxonomy.json, .md, .png.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import deltalake  # noqa: E402
import numpy as np  # noqa: E402
import onnx  # noqa: E402
import pyarrow as pa  # noqa: E402
from onnx import numpy_helper  # noqa: E402

from benchmarks.data import data_folder, distinct_texts, labelled_texts, write_distinct_texts, write_page  # noqa: E402
from benchmarks.scale import run_job  # noqa: E402
from lib.model.bundle import ONNX_MODEL, PATHS_VERSION, REQUIRED_FILES, Bundle, load_bundle  # noqa: E402
from lib.model.engines import build_engine  # noqa: E402
from lib.model.tree import SEPARATOR  # noqa: E402
from lib.scoring.scores import scores_kept  # noqa: E402
from lib.scoring.udf import Scorer, payload_of  # noqa: E402
from training.pictures import png  # noqa: E402
from training.publication import write_bundle  # noqa: E402
from training.recipe import BagSettings  # noqa: E402

PAGE = ROOT / "docs" / "benchmarks" / "taxonomy"
SHIPPED = load_bundle(str(ROOT / "models" / "ecommerce"))
CORES = 2
SEED = 7
# Children of an inner node of the generated trees.
BRANCHES = 20
# Spread of the random weights, chosen so that the mean confidence of 1,000 labels is about a half.
SPREAD = 0.5
ROUNDS, TEXTS_A_ROUND = 4, 5_000
CASES = ((4, "all"), (1_000, "all"), (1_000, "top:5"), (5_000, "top:5"))


def tree(labels: int) -> list[str]:
    """Paths of three levels, their names as long as those of Google's taxonomy."""
    inner = BRANCHES * BRANCHES
    return [
        f"Department {i // inner:02d} > Product group {i // BRANCHES:03d} > Category of goods {i:04d}" for i in range(labels)
    ]


def model_of(labels: int) -> bytes:
    """The shipped model with random weights after its LSTM, in the sizes that `train` uses for that many labels, without a linear classifier."""
    random = np.random.default_rng(SEED)
    model = onnx.load_from_string(SHIPPED.files[ONNX_MODEL])
    there = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    width = BagSettings(linear=False).width_for(labels)
    rows = there["bag_table"].shape[0]
    fresh = {
        "bag_table": random.integers(-127, 128, (rows, width), dtype=np.int8),
        "bag_slopes": np.zeros(width, np.float32),
        "output_weights": random.normal(0, SPREAD, (len(there["dense_bias"]) + width, labels)).astype(np.float32),
        "output_bias": np.zeros(labels, np.float32),
    }
    for tensor in model.graph.initializer:
        if tensor.name in fresh:
            tensor.CopyFrom(numpy_helper.from_array(fresh[tensor.name], tensor.name))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = labels
    return bytes(model.SerializeToString())


def write_generated(folder: Path, labels: int) -> None:
    """A bundle of that many labels, which verifies like any other."""
    files = {**{name: SHIPPED.files[name] for name in REQUIRED_FILES}, ONNX_MODEL: model_of(labels)}
    paths = {"format_version": PATHS_VERSION, "label_separator": SEPARATOR, "labels": tree(labels)}
    thresholds = {"review_below": 0.5, "by_label": {}, "by_level": [0.5, 0.5, 0.5]}
    manifest = {**SHIPPED.manifest, **paths, "name": "generated", "version": str(labels), "thresholds": thresholds}
    texts = [row.text for row in SHIPPED.golden]
    scored = build_engine("onnx", Bundle(manifest, "", files), 1).scores_of(SHIPPED.tokenizer, pa.array(texts))
    rows = zip(texts, scored.probabilities.tolist(), scored.evidence.tolist(), strict=True)
    manifest["golden"] = [{"text": text, "probabilities": found, "evidence": evidence} for text, found, evidence in rows]
    folder.mkdir(parents=True)
    write_bundle(folder, manifest, files)


def bundle_of(folder: Path, labels: int) -> Path:
    if labels == len(SHIPPED.labels):
        return ROOT / "models" / "ecommerce"
    path = folder / str(labels)
    if not path.exists():
        write_generated(path, labels)
    return path


def engine_microseconds(model: Path, texts: list[str]) -> float:
    """Of a core per text, from text to the columns of a score, without Spark: the best of several rounds."""
    bundle = load_bundle(str(model))
    scorer, rows, best = Scorer(payload_of(bundle, "native", 1)), pa.array(texts), float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        scorer.scores_of(rows, scores_kept(None, len(bundle.labels)))
        best = min(best, time.perf_counter() - began)
    return best / len(texts) * 1e6


def one_run(folder: Path, texts: Path, few: list[str], labels: int, scores: str) -> dict[str, Any]:
    model, target = bundle_of(folder, labels), folder / f"lake-{labels}-{scores.replace(':', '-')}"
    found = run_job(texts, target, CORES, "--scores", scores, model=model)
    confidence = deltalake.DeltaTable(str(target)).to_pyarrow_table(columns=["confidence"])["confidence"]
    return {
        **found,
        "labels": labels,
        "scores": scores,
        "rows_per_second": found["rows_scored"] / found["job_seconds"],
        "bytes_per_row": found["data_bytes_written"] / found["rows_scored"],
        "mean_confidence": float(np.mean(confidence.to_numpy())),
        "engine_microseconds": engine_microseconds(model, few),
    }


def page(result: dict[str, Any]) -> str:
    base = result["nights"][0]
    lines = [
        "# Taxonomy",
        "",
        "    CATALOG_DATA=folder benchmarks/taxonomy",
        "",
        f"The whole job `categorize` on {base['rows_scored']:,} distinct texts, `local[{CORES}]`, without Spark's start. The bundle of four labels is "
        "the shipped one; the others are generated, with the bag's network and the last layer in the sizes that `train` uses for that many labels, over a tree of "
        "three levels. They lack its linear classifier, which adds a column for each label, up to 512. Counting ids and starting tasks takes equally long with each. The engine alone goes from text to the columns of a score (of the "
        "five most probable labels above 50) without Spark. Timings vary from run to run, and these were measured while other work ran on the machine: "
        "compare within the table.",
        "",
        "![rows a second and bytes a row](taxonomy.png)",
        "",
        "| labels | --scores | rows/s | of four labels' | scoring, s | engine alone, core-µs per text | bytes of the table per row | × four labels' | worker peak, MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for run in result["nights"]:
        seconds = run["seconds"]
        lines.append(
            f"| {run['labels']:,} | {run['scores']} | {run['rows_per_second']:,.0f} | {run['rows_per_second'] / base['rows_per_second']:.0%} "
            f"| {seconds['scoring']:.1f} | {run['engine_microseconds']:.0f} | {run['bytes_per_row']:.0f} "
            f"| {run['bytes_per_row'] / base['bytes_per_row']:.2f} | {run['peak_mb']['worker']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def picture(result: dict[str, Any]) -> bytes:
    from matplotlib.figure import Figure

    names = [f"{run['labels']:,} labels, {run['scores']}" for run in result["nights"]]
    figure = Figure(figsize=(9, 3), layout="constrained")
    for axes, key, title in zip(
        figure.subplots(1, 2), ("rows_per_second", "bytes_per_row"), ("rows/s", "bytes a row"), strict=True
    ):
        bars = axes.barh(names, [run[key] for run in result["nights"]], color="#1f5fa8")
        axes.bar_label(bars, [f"{run[key]:,.0f}" for run in result["nights"]], padding=3)
        axes.set_title(title)
        axes.invert_yaxis()
        axes.margins(x=0.2)
        axes.spines[["top", "right"]].set_visible(False)
    return png(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--labels", help="only these, and no page, such as 1000,5000")
    options = parser.parse_args()
    only = options.labels and [int(labels) for labels in options.labels.split(",")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = labelled_texts(data_folder(), SHIPPED.tokenizer.settings).texts.to_pylist()
        write_distinct_texts(folder / "texts", texts, options.rows, files=2 * CORES)
        few = distinct_texts(texts, TEXTS_A_ROUND)
        nights = [one_run(folder, folder / "texts", few, *case) for case in CASES if not only or case[0] in only]
    result = {"cores": CORES, "nights": nights}
    print(page(result))
    if not only:
        write_page(PAGE, result, page(result), picture(result))


if __name__ == "__main__":
    main()
