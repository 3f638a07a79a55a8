"""The search for the network that ships: weighted F1 against the floating-point operations of a row.

    CATALOG_DATA=folder .venv/bin/python benchmarks/search.py [--only NAME ...] [--folds 3]

Each variant is fitted and judged on the same folds, which near-duplicates do not cross. They are not the folds
of benchmarks/accuracy.py, since choosing on folds makes their figures a little too good. Two variants run at a time, with a thread
each. Results are added to docs/benchmarks/search.json (a variant that is run again replaces its result); the page and the
picture next to it show all of them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402

from benchmarks.data import data_folder, labelled_texts, unlabelled_texts  # noqa: E402
from benchmarks.folds import in_processes, sides_of_fold  # noqa: E402
from jobs.train import TrainSettings, recipe_of  # noqa: E402

PAGE = ROOT / "docs" / "benchmarks" / "search"
SHIPS = "as shipped"
# Different from the seed of every training and of benchmarks/accuracy.py.
SEED = 101

# What each variant changes in BASE, given to the job `train`.
BASE_NAME, BASE = "base", {"units": 40, "epochs": 8}
CHANGES: dict[str, dict[str, Any]] = {
    BASE_NAME: {},
    "10 epochs": {"epochs": 10},
    "12 epochs": {"epochs": 12},
    "units 16": {"units": 16},
    "units 32": {"units": 32},
    "units 48": {"units": 48},
    "units 64 (the seed's size)": {"units": 64},
    "one direction, units 64": {"units": 64, "bidirectional": False},
    "100 tokens": {"max_tokens": 100},
    "50 tokens": {"max_tokens": 50},
    "embedding 64": {"embedding": 64},
    "vocabulary 10,000": {"vocabulary": 10_000},
    "random embeddings": {"pretrain": False},
    "no word dropout": {"word_dropout": 0.0},
    "label smoothing 0.1": {"label_smoothing": 0.1},
}
VARIANTS: dict[str, dict[str, Any]] = {SHIPS: {}, **{name: {**BASE, **change} for name, change in CHANGES.items()}}


def recurrent_macs(options: TrainSettings) -> int:
    """Multiply-adds per token of the recurrent half: four gates, units x units each, in each direction."""
    return (2 if options.bidirectional else 1) * 4 * options.units**2


def kflop_per_row(options: TrainSettings, tokens: float, labels: int) -> float:
    """Thousands of floating-point operations for a row of `tokens` tokens.

    The input half of the LSTM counts as nothing: embedding times kernel is a table that can be computed beforehand.
    """
    states = options.units * (2 if options.bidirectional else 1)
    dense = states * options.dense + options.dense * labels
    return 2 * (recurrent_macs(options) * tokens + dense) / 1000


def judge(name: str, fold: int, folds: int) -> dict[str, Any]:
    """One variant on one fold, in its own process."""
    from training.workers import tensorflow_with_one_thread

    tensorflow_with_one_thread()
    from training.baselines import summary
    from training.model import build_model

    began = time.monotonic()
    options = TrainSettings(labels="", **VARIANTS[name])
    folder = data_folder()
    recipe = replace(recipe_of(options), folds=folds)
    data = labelled_texts(folder, recipe.text)
    _, sides = sides_of_fold(data, recipe, fold, folds, SEED)
    model = build_model(data, sides, recipe, unlabelled_texts(folder), say=lambda line: None, processes=1)
    ids = model.tokenizer.ids_of(data.texts)
    predicted = np.nan_to_num(model.probabilities(data.texts.take(pa.array(sides.test)))).argmax(axis=1)
    return {
        "f1_weighted": summary(data.label_ids[sides.test], predicted, data.labels)["f1_weighted"],
        "tokens": float(ids.lengths.mean()),
        "labels": len(data.labels),
        "vocabulary": model.tokenizer.vocabulary_size,
        "seconds": round(time.monotonic() - began),
    }


def record(name: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    options = TrainSettings(labels="", **VARIANTS[name])
    values = [one["f1_weighted"] for one in found]
    return {
        "options": VARIANTS[name],
        "units": options.units,
        "embedding": options.embedding,
        "f1_weighted": values,
        "mean": float(np.mean(values)),
        "spread": float(np.std(values, ddof=1)),
        "recurrent_macs_per_token": recurrent_macs(options),
        "kflop_per_row": kflop_per_row(options, found[0]["tokens"], found[0]["labels"]),
        # float16, in the ONNX file; model.keras takes about as much again.
        "embedding_megabytes": found[0]["vocabulary"] * options.embedding * 2 / 1e6,
        "seconds_per_fit": float(np.mean([one["seconds"] for one in found])),
    }


def picture(results: dict[str, Any]) -> bytes:
    from matplotlib.figure import Figure

    from training.pictures import BLUE, GREY, ORANGE, png

    figure = Figure(figsize=(9, 5.5))
    axes = figure.subplots()
    ranked = sorted(results.items(), key=lambda item: item[1]["kflop_per_row"])
    best, frontier = 0.0, []
    for _, row in ranked:
        if row["mean"] > best:
            best = row["mean"]
            frontier.append((row["kflop_per_row"], best))
    axes.step(*zip(*frontier, strict=True), where="post", color=GREY, linewidth=1, label="frontier")
    base = results.get(BASE_NAME, {}).get("kflop_per_row")
    for name, row in ranked:
        # A dozen variants cost as much as the base; their names would overlap, and the table has them.
        alike = row["kflop_per_row"] == base and name != BASE_NAME
        colour = ORANGE if name == SHIPS else "#bbbbbb" if alike else BLUE
        axes.plot(row["kflop_per_row"], row["mean"], "o", color=colour, markersize=5 if alike else 7, zorder=1 if alike else 2)
        if not alike:
            place = (row["kflop_per_row"], row["mean"])
            up = name == SHIPS
            style = {"rotation": 35 if up else -35, "va": "bottom" if up else "top", "fontsize": 8}
            axes.annotate(name, place, xytext=(2, 8 if up else -8), textcoords="offset points", **style)
    axes.plot([], [], "o", color="#bbbbbb", label="variants of the base's cost")
    axes.set_xscale("log")
    axes.margins(y=0.18)
    axes.set_xlim(right=1.8 * ranked[-1][1]["kflop_per_row"])
    axes.set_xlabel("thousand floating-point operations a row (input half folded into a table)")
    axes.set_ylabel("weighted F1, mean of the folds")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    figure.tight_layout()
    return png(figure)


def page(results: dict[str, Any]) -> str:
    folds = len(next(iter(results.values()))["f1_weighted"])
    lines = [
        "# The search for the network",
        "",
        "    CATALOG_DATA=folder .venv/bin/python benchmarks/search.py",
        "",
        f"“{SHIPS}” has the defaults of `train`: 32 units, 10 epochs. “{BASE_NAME}” has 40 units and 8 epochs; all others differ "
        f"from it as their name says. {folds} folds that near-duplicates do not cross, one seed. "
        "The same variant fitted again differs by about 0.001 to 0.002, so smaller differences mean nothing. Since a choice was made on these "
        "folds, [accuracy](accuracy.md) is measured on others.",
        "",
        "![F1 against operations](search.png)",
        "",
        "| variant | weighted F1, mean ± spread | recurrent multiply-adds per token | kFLOP per row | embeddings, MB | s per fit, one thread |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in sorted(results.items(), key=lambda item: -item[1]["mean"]):
        lines.append(
            f"| {name} | {row['mean']:.4f} ± {row['spread']:.4f} | {row['recurrent_macs_per_token']:,} | {row['kflop_per_row']:,.0f} "
            f"| {row['embedding_megabytes']:.1f} | {row['seconds_per_fit']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--folds", type=int, default=3)
    arguments = parser.parse_args()
    data_folder()
    kept = PAGE.with_suffix(".json")
    results = json.loads(kept.read_text()) if kept.exists() else {}
    found: dict[str, dict[int, dict[str, Any]]] = {}
    calls = [(name, fold, arguments.folds) for name in arguments.only for fold in range(arguments.folds)]
    for (name, fold, _), result in in_processes(judge, calls):
        found.setdefault(name, {})[fold] = result
        if len(found[name]) == arguments.folds:
            results[name] = record(name, [found[name][i] for i in range(arguments.folds)])
            print(f"{name}: {results[name]['mean']:.4f} ± {results[name]['spread']:.4f}", flush=True)
            kept.write_text(json.dumps(results, indent=1) + "\n")
            PAGE.with_suffix(".md").write_text(page(results))
            PAGE.with_suffix(".png").write_bytes(picture(results))


if __name__ == "__main__":
    main()
