"""Labelled texts to a published bundle: split, vocabulary, fit, export, evaluation as saved, promotion."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa

from lib.bundle import FORMAT_VERSION, KERAS_MODEL, ONNX_MODEL, TOKENIZER, Bundle, load_bundle, sha256_of
from lib.errors import InputError
from lib.metrics import metrics_table
from lib.text import TextSettings, Tokenizer
from training.card import model_card
from training.dataset import LabelledTexts
from training.evaluation import evaluate_bundle
from training.export import export_onnx
from training.fit import FitSettings, Fitted, build_vocabulary, fit_network
from training.network import NetworkSettings
from training.pictures import architecture_png, confusion_matrix_png, learning_curves_png, reliability_png
from training.publication import Staging, current_bundle, move_current, write_bundle
from training.split import SHINGLE_WORDS, SIMILARITY, Split, near_duplicate_groups, split_by_group

LIBRARIES = ("keras", "numpy", "onnx", "onnxruntime", "pyarrow", "tensorflow")
GOLDEN_ROWS = 16


@dataclass(frozen=True)
class Recipe:
    """All that decides what a training gives, for given data."""

    text: TextSettings
    network: NetworkSettings
    fit: FitSettings
    vocabulary: int
    min_count: int
    test_share: float
    validation_share: float
    review_below: float


@dataclass(frozen=True)
class Place:
    """Where the bundle goes and when `current` follows."""

    models: str
    name: str
    promote_margin: float
    data_note: str
    limits: tuple[str, ...]


@dataclass(frozen=True)
class Trained:
    """A published bundle, its metrics, and whether `current` names it now."""

    folder: Path
    metrics: Mapping[str, Any]
    promoted: bool
    verdict: str


def train(
    data: LabelledTexts, recipe: Recipe, place: Place, tensorboard: str | None = None, say: Callable[[str], None] = print
) -> Trained:
    """Train on `data` and publish the bundle.

    Raises:
        InputError: labels that cannot be split, a folder that cannot be written.
        CategorizerError: the fit failed; nothing was published.
    """
    groups = near_duplicate_groups(data.texts, recipe.text)
    split = split_by_group(
        groups, data.label_ids, data.texts.to_pylist(), recipe.test_share, recipe.validation_share, recipe.fit.seed
    )
    say(
        f"{len(data.texts):,} distinct texts in {groups.max() + 1:,} groups of near-duplicates: "
        f"train {len(split.train):,}, validation {len(split.validation):,}, test {len(split.test):,}"
    )
    words = build_vocabulary(data.texts.take(pa.array(split.train)), recipe.text, recipe.vocabulary, recipe.min_count)
    if not words:
        raise InputError(
            f"Expected words that occur at least {recipe.min_count} times in the training texts, found none; "
            "add texts, or lower --min-count."
        )
    tokenizer = Tokenizer(words, recipe.text)
    fitted = fit_network(
        tokenizer.ids_of(data.texts),
        data.label_ids,
        split.train,
        split.validation,
        tokenizer.vocabulary_size,
        data.labels,
        recipe.network,
        recipe.fit,
        tensorboard,
        say,
    )
    present = current_bundle(place.models, place.name)
    with Staging(place.models, place.name) as staging:
        metrics, version = _write(staging, data, split, tokenizer, fitted, recipe, place)
        folder = staging.publish(version)
    say(f"\n{metrics_table(metrics)}\n\nbundle {folder}")
    promoted, verdict = _promotion(present, data, split, metrics, place)
    if promoted:
        move_current(folder)
    say(verdict)
    return Trained(folder, metrics, promoted, verdict)


def _write(
    staging: Staging,
    data: LabelledTexts,
    split: Split,
    tokenizer: Tokenizer,
    fitted: Fitted,
    recipe: Recipe,
    place: Place,
) -> tuple[Mapping[str, Any], str]:
    """Write the bundle twice: once to be loaded and evaluated as saved, then again with what that evaluation gave."""
    model = {
        KERAS_MODEL: _saved(fitted.network),
        ONNX_MODEL: export_onnx(fitted.network),
        TOKENIZER: json.dumps({"words": tokenizer.words}, ensure_ascii=False, indent=0).encode(),
    }
    now = datetime.now(timezone.utc)
    version = f"{now:%Y%m%d}-{sha256_of(b''.join(model[name] for name in sorted(model)))[:8]}"
    manifest = {
        "format_version": FORMAT_VERSION,
        "name": place.name,
        "version": version,
        "created_at": now.isoformat(timespec="seconds"),
        "labels": list(data.labels),
        "text": asdict(recipe.text),
        "vocabulary_size": tokenizer.vocabulary_size,
        "thresholds": {"review_below": recipe.review_below},
        "training": {
            "network": asdict(recipe.network),
            "fit": asdict(recipe.fit),
            "vocabulary": recipe.vocabulary,
            "min_count": recipe.min_count,
            "best_epoch": fitted.best_epoch,
            "seconds": round(fitted.seconds, 1),
        },
        "libraries": {name: library_version(_distribution(name)) for name in LIBRARIES},
        "data": _data_record(data, split, recipe, place),
        "golden": _golden_rows(fitted.network, tokenizer, recipe.fit.seed),
    }
    write_bundle(staging.folder, manifest, model)
    metrics = evaluate_bundle(
        load_bundle(str(staging.folder)),
        data.texts.take(pa.array(split.test)),
        [data.labels[i] for i in data.label_ids[split.test]],
        threads=0,
    )
    manifest["metrics"] = metrics
    curves = {**fitted.curves, "best_epoch": fitted.best_epoch}
    pictures = {
        "evaluation/confusion_matrix.png": confusion_matrix_png(metrics),
        "evaluation/learning_curves.png": learning_curves_png(fitted.curves, fitted.best_epoch),
        "evaluation/reliability.png": reliability_png(metrics),
        "evaluation/architecture.png": architecture_png(fitted.network),
    }
    texts = {
        "evaluation/metrics.json": json.dumps(metrics, ensure_ascii=False, indent=1),
        "evaluation/learning_curves.json": json.dumps(curves, indent=1),
        "README.md": model_card(manifest),
    }
    write_bundle(staging.folder, manifest, {**model, **pictures, **{n: t.encode() for n, t in texts.items()}})
    return metrics, version


def _saved(network: keras.Model) -> bytes:
    """The .keras archive, deflated: Keras stores it plain, and half of every rounded embedding is zeros."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / KERAS_MODEL
        # A model of the same layers, never compiled: the optimizer's state would triple the file.
        keras.Model(network.inputs, network.outputs, name=network.name).save(path)
        packed = path.with_suffix(".packed")
        with zipfile.ZipFile(path) as plain, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as smaller:
            for entry in plain.infolist():
                # A fixed time, so that the same weights are the same bytes.
                info = zipfile.ZipInfo(entry.filename, (1980, 1, 1, 0, 0, 0))
                smaller.writestr(info, plain.read(entry), zipfile.ZIP_DEFLATED)
        return packed.read_bytes()


def _distribution(library: str) -> str:
    if library != "tensorflow":
        return library
    try:
        library_version("tensorflow-cpu")
    except ModuleNotFoundError:
        return "tensorflow"
    return "tensorflow-cpu"


def _data_record(data: LabelledTexts, split: Split, recipe: Recipe, place: Place) -> dict[str, Any]:
    return {
        "note": place.data_note,
        "limits": list(place.limits),
        "fingerprint": data.fingerprint,
        "rows_read": data.rows_read,
        "dropped": dict(data.dropped),
        "rows": len(data.texts),
        "split": {
            "method": "near-duplicate groups",
            "shingle_words": SHINGLE_WORDS,
            "similarity": SIMILARITY,
            "seed": recipe.fit.seed,
            "train": len(split.train),
            "validation": len(split.validation),
            "test": len(split.test),
        },
    }


def _golden_rows(network: keras.Model, tokenizer: Tokenizer, seed: int) -> list[dict[str, Any]]:
    """Texts of random words of the vocabulary, so that a bundle carries nobody's texts, with the reference's answer."""
    random = np.random.default_rng(seed)
    words = np.array(tokenizer.words, dtype=object)
    texts = []
    for row in range(GOLDEN_ROWS):
        length = int(random.integers(1, tokenizer.settings.max_tokens + 20)) if row else 1
        chosen = [str(word) for word in random.choice(words, length)]
        # The text code is checked too: case, punctuation, an unknown word.
        texts.append(", ".join(chosen).capitalize() + " zzyzx-golden!")
    ids = tokenizer.ids_of(pa.array(texts))
    probabilities = [network.predict_on_batch(ids.padded(np.array([i]), int(n)))[0] for i, n in enumerate(ids.lengths)]
    return [{"text": t, "probabilities": [float(p) for p in row]} for t, row in zip(texts, probabilities, strict=True)]


def _promotion(
    present: Bundle | None, data: LabelledTexts, split: Split, metrics: Mapping[str, Any], place: Place
) -> tuple[bool, str]:
    if present is None:
        return True, f"current of {place.models}/{place.name} names it: there was none before."
    truth = [data.labels[i] for i in data.label_ids[split.test]]
    before = evaluate_bundle(present, data.texts.take(pa.array(split.test)), truth, threads=0)["f1_weighted"]
    after = metrics["f1_weighted"]
    compared = (
        f"weighted F1 {after:.4f} against {before:.4f} of the present {present.model_version} on this test side, "
        f"margin {place.promote_margin:g}"
    )
    if after >= before - place.promote_margin:
        return True, f"current of {place.models}/{place.name} names it: {compared}."
    return False, f"current of {place.models}/{place.name} stays where it is: {compared}."
