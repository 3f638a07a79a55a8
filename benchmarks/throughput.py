"""Rows a second of the usual ways to categorize texts in Spark and of each of our engines: same rows, same sink, one run.

    CATALOG_DATA=folder benchmarks/throughput [--rounds N] [--rows N]

Each peer runs in its own process (peers.py), in another order each round; the medians are recorded. Slow peers get a part
of the rows. Writes docs/benchmarks/throughput.json, .md and .png.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pyarrow as pa  # noqa: E402

from benchmarks.bare import bare_processes, compare, matrix_product_gflops, seed_size_bundle  # noqa: E402
from benchmarks.data import data_folder, distinct_texts, labelled_texts, write_distinct_texts, write_page  # noqa: E402
from benchmarks.peers import BUNDLE, PEERS  # noqa: E402
from training.pictures import png  # noqa: E402

PAGE = ROOT / "docs" / "benchmarks" / "throughput"
CORES = 2
PASSES = 2
# Slow peers get every n-th row: enough that a pass takes twenty seconds, compared with which Delta's commit is nothing.
STEPS = {"textbook": 100, "mlflow": 20, "predict_batch": 20, "keras": 20, "linear_svc_characters": 20, "spark_ml": 4, "onnx": 2}


def run_peer(name: str, texts: Path, step: int) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "benchmarks" / "peers.py"), name, str(texts), str(step), str(PASSES)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the peer {name} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def run_job(texts: Path) -> dict[str, float]:
    """The whole nightly job: ids counted, hashes, scores, checks, three tables, one commit. Its own clock excludes Spark's start."""
    import deltalake

    with tempfile.TemporaryDirectory() as folder:
        target = f"{folder}/categorized"
        job = [
            "categorize",
            "--source",
            str(texts),
            "--text-columns",
            "text",
            "--target",
            target,
            "--model",
            str(ROOT / "models/ecommerce"),
        ]
        began = time.monotonic()
        done = subprocess.run(
            [str(ROOT / "spark-submit.sh"), "--master", f"local[{CORES}]", *job], capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"categorize ended with {done.returncode}:\n{done.stdout}\n{done.stderr[-3000:]}")
        wall = time.monotonic() - began
        run = deltalake.DeltaTable(f"{target}_runs").to_pyarrow_table().to_pylist()[0]
    return {"rows": run["rows_scored"], "wall_seconds": wall, **dict(run["seconds"])}


def flops_per_row(texts: list[str]) -> float:
    """Of the recurrent product alone: two for each of 4 x units x units weights, per direction and token."""
    from lib.model.engines.onnx_weights import weights_of

    directions, columns, units = weights_of(BUNDLE.files["model.onnx"])["R"].shape
    return float(BUNDLE.tokenizer.ids_of(pa.array(texts)).lengths.mean()) * 2 * directions * columns * units


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    one = rounds[0]
    return {
        "rows": one["rows"],
        "rows_per_second": one["rows"] / median(s for r in rounds for s in r["seconds"]),
        "slowest_and_fastest": [one["rows"] / f(s for r in rounds for s in r["seconds"]) for f in (max, min)],
        "rows_per_core_second": one["rows"] / median(s for r in rounds for s in r["cpu_seconds"]),
        "first_pass_seconds": median(r["first_pass_seconds"] for r in rounds),
        "worker_peak_mb": max(r["worker_peak_mb"] for r in rounds),
        "model_loads": median(r["model_loads"] for r in rounds),
    }


def measure(rows: int, rounds: int) -> dict[str, Any]:
    labelled = labelled_texts(data_folder(), BUNDLE.tokenizer.settings).texts
    real = labelled.to_pylist()
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in PEERS}
    jobs, bare = [], []
    with tempfile.TemporaryDirectory() as folder:
        texts = Path(folder) / "texts.parquet"
        write_distinct_texts(texts, real, rows, files=2 * CORES)
        gflops = matrix_product_gflops()
        for turn in range(rounds):
            for name in list(PEERS)[:: 1 if turn % 2 == 0 else -1]:
                found[name].append(run_peer(name, texts, STEPS.get(name, 1)))
                print(
                    f"round {turn + 1}: {PEERS[name][0]}: {found[name][-1]['rows'] / median(found[name][-1]['seconds']):,.0f} rows/s",
                    flush=True,
                )
            bare.append(bare_processes(texts, rows, CORES))
            jobs.append(run_job(texts))
            print(f"round {turn + 1}: two bare processes {bare[-1]:,.0f} rows/s; job {jobs[-1]}", flush=True)
    return {
        "model_version": BUNDLE.model_version,
        "cores": CORES,
        "rounds": rounds,
        "mean_tokens": float(BUNDLE.tokenizer.ids_of(pa.array(distinct_texts(real, 20_000))).lengths.mean()),
        "matrix_product_gflops_one_core": gflops,
        "flops_per_row": flops_per_row(distinct_texts(real, 20_000)),
        "peers": {name: summary(results) for name, results in found.items()},
        "bare_rows_per_second": median(bare),
        "jobs": jobs,
        "engines_shipped": compare(BUNDLE, labelled),
        "engines_seed_size": compare(seed_size_bundle(BUNDLE), labelled),
    }


def job_rows_per_second(result: dict[str, Any]) -> float:
    return median(job["rows"] / (job["counting"] + job["scoring"] + job["writing"]) for job in result["jobs"])


def page(result: dict[str, Any]) -> str:
    peers = result["peers"]
    limit = result["cores"] * result["matrix_product_gflops_one_core"] * 1e9
    native = peers["native"]["rows_per_second"]
    linear = max(peers[name]["rows_per_second"] for name in ("linear_svc", "fasttext"))
    job, bare = job_rows_per_second(result), result["bare_rows_per_second"]
    lines = [
        "# Throughput",
        "",
        "    CATALOG_DATA=folder benchmarks/throughput",
        "",
        f"Model {result['model_version']}, `local[{result['cores']}]`, Parquet to Delta (product_id, category, confidence), distinct texts of "
        f"{result['mean_tokens']:.0f} tokens made from real ones, {result['rounds']} rounds of {PASSES} passes in changing order, medians. "
        "The first pass, with the workers' start and the model's load, is shown separately. Timings vary from run to run: compare within the table.",
        "",
        "![rows a second](throughput.png)",
        "",
        "| | rows per pass | rows/s | from – to | rows per core-second | first pass, s | worker peak, MB | model loads | share of the machine's limit |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in sorted(peers.items(), key=lambda item: item[1]["rows_per_second"]):
        low, high = row["slowest_and_fastest"]
        lstm = name in ("textbook", "mlflow", "predict_batch", "keras", "onnx", "native")
        share = f"{row['rows_per_second'] * result['flops_per_row'] / limit:.1%}" if lstm else ""
        lines.append(
            f"| {PEERS[name][0]} | {row['rows']:,} | {row['rows_per_second']:,.0f} | {low:,.0f} – {high:,.0f} | {row['rows_per_core_second']:,.0f} "
            f"| {row['first_pass_seconds']:.1f} | {row['worker_peak_mb']:.0f} | {row['model_loads']:.0f} | {share} |"
        )
    lines += [
        "",
        f"The limit is a bare float32 matrix product, {result['matrix_product_gflops_one_core']:.0f} GFLOP/s a core; only the recurrent product "
        f"of the LSTM counts, {result['flops_per_row'] / 1e6:.2f} MFLOP a row. MLflow's loads are not counted by this benchmark.",
        "",
        f"- native compared with the faster of fastText and LinearSVC: {native / linear:.2f} × (goal: 1.5); with predict_batch_udf and Keras: "
        f"{native / peers['predict_batch']['rows_per_second']:.1f} × (goal: 10); with the linear model that is nearest to it in F1, on "
        f"words and characters: {native / peers['linear_svc_characters']['rows_per_second']:.0f} ×.",
        f"- The whole job `categorize` (ids counted, texts hashed, scores of all labels, counts checked, three tables; without Spark's start): "
        f"{job:,.0f} rows/s. The same engine in {result['cores']} bare processes, texts to scores: {bare:,.0f} rows/s. "
        f"{1 - job / bare:.0%} of the time is spent outside the engine (goal: 25 %).",
        "",
        "## Engines alone, one thread, ids to probabilities",
        "",
        f"The {len(labelled_texts(data_folder(), BUNDLE.tokenizer.settings).texts):,} real labelled texts; differences from ONNX Runtime float32.",
    ]
    for title, key in (
        ("The shipped bundle", "engines_shipped"),
        ("The seed's size (64 units, untrained)", "engines_seed_size"),
    ):
        engines = result[key]
        base = engines["ONNX Runtime float32"]["rows_per_second"]
        lines += [
            "",
            f"| {title} | rows/s | × ONNX Runtime float32 | greatest difference in probability | other labels |",
            "|---|---|---|---|---|",
        ]
        for name, row in engines.items():
            speed = row["rows_per_second"]
            lines.append(
                f"| {name} | {speed:,.0f} | {speed / base:.2f} | {row['greatest_difference']:.1e} | {row['labels_differ']} |"
            )
    return "\n".join(lines) + "\n"


def picture(result: dict[str, Any]) -> bytes:
    from matplotlib.figure import Figure

    rows = sorted(result["peers"].items(), key=lambda item: item[1]["rows_per_second"])
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    speeds = [row["rows_per_second"] for _, row in rows]
    colours = ["#1f5fa8" if PEERS[name][0].startswith("ours") else "#b8b8b8" for name, _ in rows]
    bars = axes.barh([PEERS[name][0] for name, _ in rows], speeds, color=colours)
    axes.bar_label(bars, [f"{speed:,.0f}" for speed in speeds], padding=3)
    axes.set_xlabel(f"rows a second, Parquet to Delta, {result['cores']} cores")
    axes.set_xlim(0, max(speeds) * 1.15)
    axes.spines[["top", "right"]].set_visible(False)
    return png(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    result = measure(options.rows, options.rounds)
    write_page(PAGE, result, page(result), picture(result))
    print(page(result))


if __name__ == "__main__":
    main()
