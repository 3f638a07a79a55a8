"""The main job on real input: time, share per source and category, and the shipped model compared with TF-IDF + LinearSVC.

    CATALOG_DATA=folder .venv/bin/python benchmarks/main_job.py [--fresh-clone]

Needs the packages of requirements/test.lock (./run-tests.sh installs them) and a folder with ecommerce_text.parquet,
ecommerce_raw.parquet and catalog.parquet. --fresh-clone also times a clone of HEAD with empty caches to its first result.
Writes docs/benchmarks/main_job.json and main_job.md.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import deltalake  # noqa: E402
import pandas as pd  # noqa: E402
import pyarrow as pa  # noqa: E402
from sklearn.metrics import f1_score  # noqa: E402

from benchmarks.commands import timed_command  # noqa: E402
from benchmarks.data import data_folder, joined, labelled_texts  # noqa: E402
from lib.model.bundle import Bundle, load_bundle  # noqa: E402
from lib.model.engines import build_engine  # noqa: E402
from lib.model.text import joined_tokens, tokens_of  # noqa: E402
from training.baselines import WORDS, fitted_baselines  # noqa: E402
from training.near_duplicates import near_duplicates  # noqa: E402
from training.split import METHOD, split_by_group  # noqa: E402

MODEL = ROOT / "models" / "ecommerce"
PAGE = ROOT / "docs" / "benchmarks" / "main_job"


def timed_job(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> tuple[float, str]:
    seconds, said = timed_command([str(cwd / "spark-submit.sh"), *arguments], cwd, env)
    return round(seconds, 1), said


def categorize_twice(data: Path, target: Path) -> dict[str, Any]:
    job = (
        "categorize",
        "--source",
        str(data / "catalog.parquet"),
        "--target",
        str(target),
        "--model",
        str(MODEL),
        "--carry",
        "source",
    )
    first, _ = timed_job(*job, cwd=ROOT)
    second, said = timed_job(*job, cwd=ROOT)
    rows = deltalake.DeltaTable(str(target)).to_pandas(columns=["source", "category"])
    counts = pd.crosstab(rows["source"], rows["category"])
    return {
        "rows": len(rows),
        "seconds": first,
        "seconds_second_run": second,
        "second_run_had_nothing_to_do": "nothing to do" in said,
        "rows_by_source_and_category": {source: row.to_dict() for source, row in counts.iterrows()},
    }


def compared_with_linear_svc(data: Path, bundle: Bundle) -> dict[str, Any]:
    """Both on the test side of the bundle's own split, and on the book titles of another source."""
    labelled = labelled_texts(data, bundle.tokenizer.settings)
    if labelled.fingerprint != bundle.manifest["data"]["fingerprint"]:
        raise SystemExit("ecommerce_text.parquet is not the data that the shipped bundle was trained on")
    texts = labelled.texts.to_pylist()
    groups = near_duplicates(labelled.texts, bundle.tokenizer.settings)
    made = bundle.manifest["data"]["split"]
    if made["method"] != METHOD:
        raise SystemExit(
            "the shipped bundle was made with another split method: its test side cannot be reproduced; train it again"
        )
    shares = made["test_share"], made["validation_share"]
    split = split_by_group(groups, labelled.label_ids, texts, *shares, made["seed"])
    catalogue = pd.read_parquet(data / "catalog.parquet")
    books = joined(catalogue[catalogue["source"] == "goodbooks"])
    truth = labelled.label_ids[split.test]
    test_texts = [texts[i] for i in split.test]
    linear_svc = fitted_baselines(labelled, split, bundle.tokenizer.settings, [WORDS])[WORDS]
    engine = build_engine("onnx", bundle, threads=2)

    def lstm(several: list[str]) -> Any:
        return engine.probabilities(bundle.tokenizer.ids_of(pa.array(several))).argmax(axis=1)

    def svc(several: list[str]) -> Any:
        return linear_svc(joined_tokens(pa.array(several), bundle.tokenizer.settings).to_pylist())

    book = labelled.labels.index("Books")
    return {
        name: {
            "texts": len(test_texts),
            "f1_weighted_test_side": float(f1_score(truth, predict(test_texts), average="weighted")),
            "goodbooks_taken_for_books": float((predict(books) == book).mean()),
        }
        for name, predict in (("lstm", lstm), ("tfidf_linear_svc", svc))
    }


def same_tokens(data: Path, bundle: Bundle) -> dict[str, int]:
    """Raw texts and their lower-cased forms, as the data set's own lower-casing made them."""
    raw = pd.read_parquet(data / "ecommerce_raw.parquet")["text"].tolist()
    forms = set(pd.read_parquet(data / "ecommerce_text.parquet")["text"])
    lowered = [" ".join(re.sub(r"[^\w']+", " ", text.lower()).split()) for text in raw]
    pairs = [(a, b) for a, b in zip(raw, lowered, strict=True) if b in forms]
    left, right = (tokens_of(pa.array(side), bundle.tokenizer.settings).to_pylist() for side in zip(*pairs, strict=True))
    return {"pairs": len(pairs), "same": sum(a == b for a, b in zip(left, right, strict=True))}


def fresh_clone() -> dict[str, float]:
    """A clone of HEAD in an empty home, nothing cached, to its first result and its second."""
    kept = ("PATH", "PIP_CERT", "PIP_INDEX_URL", "SSL_CERT_FILE", "JAVA_HOME", "IVY_SETTINGS", "PYENV_ROOT")
    with tempfile.TemporaryDirectory() as folder:
        env = {name: os.environ[name] for name in kept if name in os.environ}
        env |= {"HOME": folder, "PIP_NO_CACHE_DIR": "1"}
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        first, _ = timed_job(cwd=clone, env=env)
        second, _ = timed_job(cwd=clone, env=env)
    return {"seconds_to_first_result": first, "seconds_second_run": second}


def page(result: dict[str, Any]) -> str:
    run, models, tokens = result["categorize"], result["models"], result["tokens"]
    table = run["rows_by_source_and_category"]
    labels = sorted({label for row in table.values() for label in row})
    lines = [
        "# The main job on real input",
        "",
        "    CATALOG_DATA=folder .venv/bin/python benchmarks/main_job.py --fresh-clone",
        "",
        f"Model {result['model_version']}, {result['cores']} cores. One run; timings vary from run to run.",
        "",
        f"- `categorize` of {run['rows']:,} rows, Spark's start included: {run['seconds']} s; again: {run['seconds_second_run']} s (nothing to do).",
        f"- Raw texts with the same tokens as their lower-cased forms: {tokens['same']} of {tokens['pairs']}.",
    ]
    if "fresh_clone" in result:
        fresh = result["fresh_clone"]
        lines.append(
            f"- A fresh clone with empty caches: first result after {fresh['seconds_to_first_result']} s, the second run {fresh['seconds_second_run']} s."
        )
    lines += [
        "",
        f"The test side has {result['models']['lstm']['texts']:,} texts, too few to distinguish models of this kind; [accuracy](accuracy.md) does that, over folds.",
    ]
    lines += ["", "| | weighted F1, leak-free test side | goodbooks classified as Books |", "|---|---|---|"]
    for name, row in models.items():
        lines.append(f"| {name} | {row['f1_weighted_test_side']:.4f} | {row['goodbooks_taken_for_books']:.1%} |")
    lines += [
        "",
        "Share per source and category:",
        "",
        f"| source | rows | {' | '.join(labels)} |",
        "|---" * (len(labels) + 2) + "|",
    ]
    for source, row in table.items():
        rows = sum(row.values())
        lines.append(f"| {source} | {rows:,} | " + " | ".join(f"{row.get(label, 0) / rows:.1%}" for label in labels) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    data = data_folder()
    bundle = load_bundle(str(MODEL))
    result: dict[str, Any] = {"model_version": bundle.model_version, "cores": os.cpu_count()}
    with tempfile.TemporaryDirectory() as folder:
        result["categorize"] = categorize_twice(data, Path(folder) / "categorized")
    result["models"] = compared_with_linear_svc(data, bundle)
    result["tokens"] = same_tokens(data, bundle)
    if "--fresh-clone" in sys.argv[1:]:
        if shutil.which("git") is None:
            raise SystemExit("--fresh-clone needs git")
        result["fresh_clone"] = fresh_clone()
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    PAGE.with_suffix(".md").write_text(page(result))
    print(page(result))


if __name__ == "__main__":
    main()
