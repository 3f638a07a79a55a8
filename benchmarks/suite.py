"""How good the recipe of `train` is on different data sets, compared with linear models and fastText.

    CATALOG_DATA=folder benchmarks/suite [--only NAME ...] [--models NAME ...] [--sizes SIZE ...] [--folds 3]

Every model is fitted with its defaults on the same rows of the same folds, which near-duplicates do not cross and which
differ from those of the other benchmarks. Two fits run at a time, with a thread each. Results are added to
docs/benchmarks/suite.json (a new run replaces the old result); the page and the picture next to it show all of them. A baseline
is fitted again only if the texts, the folds or BASELINES_VERSION changed; the LSTM always is.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402

from benchmarks.data import data_folder, write_page  # noqa: E402
from benchmarks.datasets import DATA_SETS, read_data_set  # noqa: E402
from benchmarks.folds import in_processes, sides_of_fold  # noqa: E402
from benchmarks.suite_page import ALL, page, picture  # noqa: E402
from jobs.train import TrainSettings, recipe_of  # noqa: E402
from lib.model.hierarchy import level_metrics  # noqa: E402
from lib.model.text import joined_tokens  # noqa: E402
from training.baselines import (  # noqa: E402
    BASELINES,
    CHARACTERS,
    WORDS,
    Predictor,
    fast_text,
    fitted_pipeline,
    logistic_regression,
    summary,
    tfidf_pipeline,
)
from training.card import LSTM  # noqa: E402
from training.dataset import LabelledTexts  # noqa: E402
from training.split import Split  # noqa: E402

PAGE = ROOT / "docs" / "benchmarks" / "suite"
# Different from the seeds of every training and of the other benchmarks.
SEED = 202
SIZES = ("500", "2000", "8000", ALL)
# Raise it when a baseline changes, so that the baselines stored in the results are fitted again.
BASELINES_VERSION = 2

Fit = Callable[[Sequence[str], Any], Predictor]


def naive_bayes(texts: Sequence[str], label_ids: Any) -> Predictor:
    from sklearn.naive_bayes import ComplementNB

    return fitted_pipeline(tfidf_pipeline(ComplementNB(), texts), texts, label_ids)


def logistic(texts: Sequence[str], label_ids: Any) -> Predictor:
    return fitted_pipeline(tfidf_pipeline(logistic_regression(), texts), texts, label_ids)


OTHERS: Mapping[str, Fit] = {
    WORDS: BASELINES[WORDS].fit,
    CHARACTERS: BASELINES[CHARACTERS].fit,
    "fastText": BASELINES["fastText"].fit,
    "fastText, hierarchical softmax": partial(fast_text, loss="hs"),
    "TF-IDF + logistic regression": logistic,
    "TF-IDF + complement naive Bayes": naive_bayes,
}
MODELS = (LSTM, *OTHERS)


def judge(name: str, size: int | None, fold: int, folds: int, models: Sequence[str], kept: dict[str, Any] | None) -> Any:
    """One fold of a data set, in its own process; None if the fold has fewer than `size` texts to fit to.

    Args:
        kept: the record of this fold from an earlier run, None if there is none.
    """
    from training.workers import tensorflow_with_one_thread

    tensorflow_with_one_thread()
    recipe = replace(recipe_of(TrainSettings(labels="", text_columns=DATA_SETS[name].text_columns)), folds=folds)
    data, separator = read_data_set(data_folder(), name, recipe.text), DATA_SETS[name].separator
    groups, sides = sides_of_fold(data, recipe, fold, folds, SEED)
    if size is not None:
        if size >= len(sides.train) + len(sides.validation):
            return None
        sides = smaller(sides, size)
    fitted_to, judged_on = np.concatenate([sides.train, sides.validation]), sides.test
    tokens = np.array(joined_tokens(data.texts, recipe.text).to_pylist(), dtype=object)
    fingerprint = fingerprint_of(tokens, data.label_ids, fitted_to, judged_on)
    known = kept["models"] if kept and kept["fingerprint"] == fingerprint else {}
    found = dict(known)
    for model in models:
        if model == LSTM:
            found[model] = lstm(data, sides, recipe, separator)
        elif model not in known:
            found[model] = other(OTHERS[model], tokens, data, fitted_to, judged_on, separator)
    return {
        "fingerprint": fingerprint,
        "texts": len(tokens),
        "groups": int(groups.numbers.max() + 1),
        "labels": len(data.labels),
        "median_tokens": float(np.median([len(one.split()) for one in tokens])),
        "fitted_to": len(fitted_to),
        "characters": sum(map(len, tokens[fitted_to])),
        "judged_on": len(judged_on),
        "models": found,
    }


def smaller(sides: Split, size: int) -> Split:
    """`size` of the texts to fit to, the same share of both sides; those of a smaller size are among those of a larger one."""
    share = size / (len(sides.train) + len(sides.validation))
    validation = round(share * len(sides.validation))
    random = np.random.default_rng(SEED)
    some = [
        np.sort(random.permutation(side)[:rows])
        for side, rows in ((sides.train, size - validation), (sides.validation, validation))
    ]
    return replace(sides, train=some[0], validation=some[1])


def fingerprint_of(tokens: Any, label_ids: Any, fitted_to: Any, judged_on: Any) -> str:
    """Of everything that a baseline's result depends on."""
    digest = hashlib.sha256(f"{BASELINES_VERSION}\n".encode())
    for rows in (fitted_to, judged_on):
        for row in rows:
            digest.update(f"{label_ids[row]} {tokens[row]}\n".encode())
        digest.update(b"\n")
    return digest.hexdigest()[:16]


def figures(truth: Any, predicted: Any, labels: Sequence[str], separator: str | None) -> dict[str, float]:
    """separator: of the levels of labels that are paths, which are also judged by level."""
    found = summary(truth, predicted, labels)
    if separator is None:
        return found
    names = [*labels, None]
    levels = level_metrics(((names[true], names[said], 1) for true, said in zip(truth, predicted, strict=True)), separator)
    return {**found, "f1_hierarchical": levels["hierarchical_f1"]}


def other(
    fit: Fit, tokens: Any, data: LabelledTexts, fitted_to: Any, judged_on: Any, separator: str | None
) -> dict[str, float]:
    # Processor time, not elapsed time: the machine may be doing other work.
    began = time.process_time()
    predict = fit(tokens[fitted_to].tolist(), data.label_ids[fitted_to])
    seconds = time.process_time() - began
    found = figures(data.label_ids[judged_on], predict(tokens[judged_on].tolist()), data.labels, separator)
    return {**found, "cpu_seconds": round(seconds, 1)}


def lstm(data: LabelledTexts, sides: Split, recipe: Any, separator: str | None) -> dict[str, float]:
    from training.calibration import expected_calibration_error
    from training.model import build_model

    began = time.process_time()
    model = build_model(data, sides, recipe, say=lambda line: None, processes=1)
    seconds = time.process_time() - began
    texts, truth = data.texts.take(pa.array(sides.test)), data.label_ids[sides.test]
    probabilities = np.nan_to_num(model.probabilities(texts))
    # Once more for the time, now that Keras has compiled everything.
    began = time.process_time()
    model.probabilities(texts)
    scoring = time.process_time() - began
    predicted = probabilities.argmax(axis=1)
    return {
        **figures(truth, predicted, data.labels, separator),
        "cpu_seconds": round(seconds, 1),
        "expected_calibration_error": expected_calibration_error(probabilities.max(axis=1), predicted == truth),
        "rows_per_cpu_second": round(len(truth) / scoring),
    }


def arguments_of_command() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=DATA_SETS, default=list(DATA_SETS), metavar="NAME")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="NAME")
    parser.add_argument(
        "--sizes", nargs="+", choices=SIZES, default=[ALL], metavar="SIZE", help=f"texts to fit to: {', '.join(SIZES)}"
    )
    parser.add_argument("--folds", type=int, default=3)
    return parser.parse_args()


def main() -> None:
    asked = arguments_of_command()
    data_folder()
    kept = PAGE.with_suffix(".json")
    results: dict[str, dict[str, list[Any]]] = json.loads(kept.read_text()) if kept.exists() else {}
    found: dict[tuple[str, str], dict[int, Any]] = {}
    sizes = [None if size == ALL else int(size) for size in asked.sizes]

    def known(name: str, size: int | None, fold: int) -> dict[str, Any] | None:
        before = results.get(name, {}).get(str(size or ALL), [])
        return before[fold] if len(before) == asked.folds else None

    calls = [
        (name, size, fold, asked.folds, asked.models, known(name, size, fold))
        for name in asked.only
        for size in sizes
        for fold in range(asked.folds)
    ]
    for (name, size, fold, *_), record in in_processes(judge, calls):
        key = name, str(size or ALL)
        found.setdefault(key, {})[fold] = record
        if len(found[key]) == asked.folds and record:
            results.setdefault(name, {})[key[1]] = [found[key][one] for one in range(asked.folds)]
            results = {one: results[one] for one in DATA_SETS if one in results}
            write_page(PAGE, results, page(results), picture(results))
            print(
                f"{name}, {size or ALL}: " + ", ".join(f"{m} {r['f1_weighted']:.4f}" for m, r in record["models"].items()),
                flush=True,
            )


if __name__ == "__main__":
    main()
