"""How well texts of no category are recognized: the unfamiliarity compared with the maximum softmax probability.

    CATALOG_DATA=folder benchmarks/unfamiliar [--only NAME ...] [--draws 1]

A draw leaves a fifth of the labels out of the training, with all their texts; these are the texts of no category, and those of the test
side are the others. With four labels each draw leaves one out. `intents` has its own texts of no intent. Every model is fitted
with the defaults of `train`, without --refit. Two fits run at a time, with a thread each. Results are added to
docs/benchmarks/unfamiliar.json (a new run replaces the old result); the page next to it shows all of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import pyarrow as pa  # noqa: E402

from benchmarks.data import data_folder  # noqa: E402
from benchmarks.datasets import DATA_SETS, INTENTS, read_data_set  # noqa: E402
from benchmarks.folds import in_processes  # noqa: E402
from jobs.train import TrainSettings, recipe_of  # noqa: E402
from lib.model.text import TextSettings  # noqa: E402
from lib.model.unfamiliarity import fitted_unfamiliarity, is_above  # noqa: E402
from training.dataset import LabelledTexts, clean  # noqa: E402

PAGE = ROOT / "docs" / "benchmarks" / "unfamiliar"
NAMES = (
    "ecommerce_text",
    "pricerunner",
    "webproducts level1",
    "supermarket category",
    "grocery department",
    "intents",
)
SEED = 1_000
LEFT_OUT = 0.2
TEST_SHARE = 0.2
MOST_OUTSIDE = 3_000
SHARES = (0.01, 0.05)


def judge(name: str, draw: int) -> dict[str, Any]:
    """One draw of a data set, in its own process."""
    from training.workers import tensorflow_with_one_thread

    tensorflow_with_one_thread()
    from sklearn.metrics import roc_auc_score

    from training.calibration import evidence_of, mixed, summed
    from training.model import build_model
    from training.near_duplicates import near_duplicates
    from training.split import deal, split_of

    recipe = replace(recipe_of(TrainSettings(labels="", text_columns=DATA_SETS[name].text_columns)), refit=False)
    data, outside = without_some(name, draw, recipe.text)
    groups, texts = near_duplicates(data.texts, recipe.text, data.groups), data.texts.to_pylist()
    sides = split_of(deal(groups, data.label_ids, texts, TEST_SHARE, recipe.validation_share, recipe.fit.seed), groups)
    model = build_model(data, sides, recipe, say=lambda line: None, processes=1)
    known = fitted_unfamiliarity(model.held_out_evidence())
    logits = [model.parts.logits(side) for side in (data.texts.take(pa.array(sides.test)), outside)]
    probability = [mixed(one, model.factors).max(axis=1) for one in logits]
    unlike = [known.of(evidence_of(summed(one, model.factors))) for one in logits]
    truth = np.repeat([0, 1], [len(one) for one in unlike])
    return {
        "labels": len(data.labels),
        "texts": len(sides.train),
        "inside": len(unlike[0]),
        "outside": len(unlike[1]),
        "softmax": float(roc_auc_score(truth, -np.concatenate(probability))),
        "unfamiliarity": float(roc_auc_score(truth, np.concatenate(unlike))),
        "above": {str(share): [float(is_above(one, share).mean()) for one in unlike] for share in SHARES},
    }


def without_some(name: str, draw: int, settings: TextSettings) -> tuple[LabelledTexts, pa.Array]:
    """The labelled texts of the remaining labels, and texts of none of them."""
    folder, random = data_folder(), np.random.default_rng(SEED + draw)
    data = read_data_set(folder, name, settings)
    if DATA_SETS[name].origin is INTENTS:
        rows = pd.read_parquet(folder / INTENTS.file)
        return data, pa.array(rows["text"][rows["intent"] == "oos"].tolist())
    labels = len(data.labels)
    left = random.permutation(labels)[: max(1, round(labels * LEFT_OUT))] if labels > 4 else np.array([draw % labels])
    out = np.isin(data.label_ids, left)
    outside = data.texts.filter(pa.array(out))
    some = np.sort(random.permutation(len(outside))[:MOST_OUTSIDE])
    stays = np.flatnonzero(~out)
    pairs = {"label": [data.labels[i] for i in data.label_ids[stays]], "text": data.texts.take(pa.array(stays)).to_pylist()}
    return clean(pd.DataFrame(pairs), settings, name), outside.take(pa.array(some))


def page(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: a line for each draw, and the mean over the data sets."""
    lines = [
        "# Texts of no category",
        "",
        "Whole labels are left out of the training, and the model has to tell their texts from those of the test side (`intents` has texts of",
        "no intent). AUROC: how often the text of no category is the more unfamiliar one in a pair of both kinds. Written by",
        "`CATALOG_DATA=folder benchmarks/unfamiliar`; `benchmarks/datasets.py` says where the data sets come from. Why we chose",
        "this number: [decision 19](../decisions/0019-texts-of-no-category.md).",
        "",
        "| data set, draw | labels kept | texts inside, outside | AUROC of 1 - maximum softmax probability | AUROC of unfamiliarity | "
        + " | ".join(f"to review at `--unfamiliar {share:g}`: inside, outside" for share in SHARES)
        + " |",
        "|---|---|---|---|---|" + "---|" * len(SHARES),
    ]
    means = []
    for name in (name for name in NAMES if name in results):
        draws = results[name]
        for draw, one in sorted(draws.items()):
            above = " | ".join(f"{one['above'][str(s)][0]:.1%}, {one['above'][str(s)][1]:.1%}" for s in SHARES)
            lines.append(
                f"| {name}, {int(draw) + 1} | {one['labels']} | {one['inside']:,}, {one['outside']:,} | {one['softmax']:.3f} | "
                f"{one['unfamiliarity']:.3f} | {above} |"
            )
        means.append([np.mean([one[kind] for one in draws.values()]) for kind in ("softmax", "unfamiliarity")])
    softmax, unfamiliarity = np.mean(means, axis=0)
    return "\n".join([*lines, f"| mean over data sets | | | {softmax:.3f} | {unfamiliarity:.3f} |" + " |" * len(SHARES), ""])


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--draws", type=int, default=1)
    options = parser.parse_args(arguments)
    data_folder()
    calls = [(name, draw) for draw in range(options.draws) for name in options.only if not (draw and name == "intents")]
    file = PAGE.with_suffix(".json")
    for (name, draw), found in in_processes(judge, calls):
        # Read again each time, so that finished results are never lost.
        results = json.loads(file.read_text()) if file.is_file() else {}
        results.setdefault(name, {})[str(draw)] = found
        file.write_text(json.dumps(results, indent=1) + "\n")
        PAGE.with_suffix(".md").write_text(page(results))
        print(
            f"{name}, draw {draw + 1}: softmax {found['softmax']:.3f}, unfamiliarity {found['unfamiliarity']:.3f}", flush=True
        )


if __name__ == "__main__":
    main(sys.argv[1:])
