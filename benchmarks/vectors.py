"""What pretrained word vectors are worth (train --vectors), on the data sets of the suite.

    CATALOG_DATA=folder benchmarks/vectors.py --vectors glove.6B.100d.txt [--only NAME ...] [--sizes 500 2000 all] [--fold 0]

Each data set is fitted twice on the same rows of one fold of the suite, with and without the vectors, both parts fitted once
(without the refit, which would cost as much again). Prints each figure when it is measured and a table at the end, weighted / macro F1.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402

from benchmarks.data import data_folder  # noqa: E402
from benchmarks.datasets import DATA_SETS, read_data_set  # noqa: E402
from benchmarks.folds import in_processes, sides_of_fold  # noqa: E402
from benchmarks.suite import SEED, smaller  # noqa: E402
from jobs.train import TrainSettings, recipe_of  # noqa: E402
from training.baselines import summary  # noqa: E402

FOLDS = 3
ALL = "all"


def judge(name: str, size: str, fold: int, path: str | None) -> dict[str, Any]:
    """Figures of one fold, in its own process. path: of the vectors, None for a fit without them."""
    from training.workers import tensorflow_with_one_thread

    tensorflow_with_one_thread()
    from training.model import build_model
    from training.pretrained import coverage, vectors_for

    recipe = replace(recipe_of(TrainSettings(labels="", text_columns=DATA_SETS[name].text_columns)), refit=False)
    data = read_data_set(data_folder(), name, recipe.text)
    _, sides = sides_of_fold(data, recipe, fold, FOLDS, SEED)
    if size != ALL:
        sides = smaller(sides, int(size))
    vectors = vectors_for(path, [data.texts], recipe.text, recipe.vector_words) if path else None
    model = build_model(data, sides, recipe, say=lambda line: None, processes=1, vectors=vectors)
    texts, truth = data.texts.take(pa.array(sides.test)), data.label_ids[sides.test]
    predicted = np.nan_to_num(model.probabilities(texts)).argmax(axis=1)
    of_words = f"{coverage(vectors, data.texts, recipe.text).share_of_tokens:.0%}" if vectors else ""
    return {**summary(truth, predicted, data.labels), "covered": of_words}


def arguments_of_command() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", required=True)
    parser.add_argument("--only", nargs="+", choices=DATA_SETS, default=list(DATA_SETS), metavar="NAME")
    parser.add_argument("--sizes", nargs="+", default=[ALL], metavar="TEXTS", help=f"texts to fit to, or {ALL}")
    parser.add_argument("--fold", type=int, default=0, choices=range(FOLDS))
    return parser.parse_args()


def main() -> None:
    asked = arguments_of_command()
    data_folder()
    calls = [
        (name, size, asked.fold, path) for size in asked.sizes for name in asked.only for path in (None, str(asked.vectors))
    ]
    found: dict[tuple[str, str], dict[bool, dict[str, Any]]] = {}
    for (name, size, _, path), record in in_processes(judge, calls):
        found.setdefault((name, size), {})[path is not None] = record
        print(f"{name}, {size}, {'with' if path else 'without'}: {figures(record)}", flush=True)
    print("\n| data set | texts | covered | without | with | gained |\n|---|---|---|---|---|---|")
    for (name, size), both in found.items():
        gained = (f"{both[True][one] - both[False][one]:+.4f}" for one in ("f1_weighted", "f1_macro"))
        print(
            f"| {name} | {size} | {both[True]['covered']} | {figures(both[False])} | {figures(both[True])} | {' / '.join(gained)} |"
        )


def figures(record: dict[str, Any]) -> str:
    return f"{record['f1_weighted']:.4f} / {record['f1_macro']:.4f}"


if __name__ == "__main__":
    main()
