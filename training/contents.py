"""What goes into a bundle: the saved models, the manifest, the golden rows, the pictures and the card."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa

from lib.model.bag import EDGE, BagVocabulary
from lib.model.bundle import FORMAT_VERSION, KERAS_MODEL, ONNX_MODEL, PATHS_VERSION, TOKENIZER, digest_of_decisions, sha256_of
from lib.model.seen_texts import SeenTexts
from lib.model.text import FIRST_WORD_ID, Tokenizer, joined_tokens
from lib.model.unfamiliarity import fitted_unfamiliarity
from training.calibration import Thresholds, evidence_of, network_logits, network_probabilities
from training.card import model_card
from training.conflicts import Conflict
from training.dataset import LabelledTexts
from training.export import export_onnx
from training.model import Model
from training.near_duplicates import SHINGLE_WORDS, SIMILARITY
from training.pictures import architecture_png, confusion_matrix_png, learning_curves_png, reliability_png
from training.recipe import Place, Recipe
from training.sides import train_only
from training.split import Split
from training.wrong_labels import WrongLabel, as_csv

LIBRARIES = ("keras", "numpy", "onnx", "onnxruntime", "pyarrow", "tensorflow")
GOLDEN_ROWS = 16
# In every other row, at most: pairs of neighbours, and unknown words.
FEATURES_IN_GOLDEN_ROW = 12


@dataclass(frozen=True)
class Evidence:
    """What an evaluation holds in addition to the saved bundle's own metrics.

    comparison: model -> accuracy and F1 on the test side; cross_validation: CrossValidation.record(); elsewhere: rows of
    origin, label, rows and each model's recall; better_baselines: Compared.better_baselines().
    """

    comparison: Mapping[str, Mapping[str, float]]
    cross_validation: Mapping[str, Any] | None
    elsewhere: Sequence[Mapping[str, Any]]
    # None if nobody looked for them.
    wrong_labels: Sequence[WrongLabel] | None
    better_baselines: Sequence[Mapping[str, Any]]
    # Those of the data.
    conflicts: Sequence[Conflict] = ()
    # Compared.interval().
    interval: tuple[float, float] | None = None

    def record(self) -> dict[str, Any]:
        """For the manifest's metrics."""
        return {
            "comparison": self.comparison,
            "cross_validation": self.cross_validation,
            "elsewhere": self.elsewhere,
            "labels_probably_wrong": None if self.wrong_labels is None else len(self.wrong_labels),
            "better_baselines": self.better_baselines,
            "f1_weighted_interval": list(self.interval) if self.interval else None,
        }


def model_files(model: Model) -> dict[str, bytes]:
    """The files that scoring needs, by name."""
    return {
        KERAS_MODEL: _saved(model.network),
        ONNX_MODEL: export_onnx(model.network),
        TOKENIZER: _tokenizer(model.tokenizer),
    }


def _tokenizer(tokenizer: Tokenizer) -> bytes:
    content: dict[str, Any] = {"words": tokenizer.words}
    if tokenizer.bag:
        content["bag"] = tokenizer.bag.as_json()
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def manifest_of(
    files: Mapping[str, bytes],
    data: LabelledTexts,
    split: Split,
    model: Model,
    thresholds: Thresholds,
    recipe: Recipe,
    place: Place,
) -> dict[str, Any]:
    """The manifest without the metrics, which come from the saved bundle, and without the list of files."""
    now = datetime.now(timezone.utc)
    deciding = {
        "labels": list(data.labels),
        "text": asdict(recipe.text),
        "thresholds": asdict(thresholds),
        "unfamiliarity": fitted_unfamiliarity(model.held_out_evidence()).as_json(),
    }
    if data.separator:
        deciding["label_separator"] = data.separator
    digest = digest_of_decisions({name: sha256_of(content) for name, content in files.items()}, deciding)
    return {
        "format_version": PATHS_VERSION if data.separator else FORMAT_VERSION,
        "name": place.name,
        # A bundle that decides differently has another name, even where only a threshold differs.
        "version": f"{now:%Y%m%d}-{digest[:8]}",
        "created_at": now.isoformat(timespec="seconds"),
        **deciding,
        "vocabulary_size": model.tokenizer.vocabulary_size,
        "training": _training_record(model, recipe),
        "libraries": {name: _installed_version(name) for name in LIBRARIES},
        "data": _data_record(data, split, recipe, place),
        "golden": _golden_rows(model.network, model.tokenizer, recipe.fit.seed),
    }


def _training_record(model: Model, recipe: Recipe) -> dict[str, Any]:
    return {
        "network": asdict(recipe.network),
        "fit": asdict(recipe.fit),
        "vocabulary": recipe.vocabulary,
        "min_count": recipe.min_count,
        "pretrained_on_texts": model.pretrained_on,
        "self_trained_on_texts": model.guessed,
        "vectors": model.parts.vectors,
        "refit": recipe.refit,
        "logit_adjustment": recipe.logit_adjustment,
        "folds": recipe.folds,
        "seconds": round(model.fitted.seconds, 1),
        "bag": asdict(recipe.bag) if recipe.bag else None,
        "factors": {name.lower(): factor for name, factor in zip(model.parts.names, model.factors, strict=True)},
        "review": asdict(recipe.review),
    }


def evaluation_files(manifest: Mapping[str, Any], model: Model, evidence: Evidence) -> dict[str, bytes]:
    """Pictures, figures and the model card; the manifest already has its metrics."""
    metrics = manifest["metrics"]
    texts = {
        "evaluation/metrics.json": json.dumps(metrics, ensure_ascii=False, indent=1),
        "evaluation/learning_curves.json": json.dumps(model.fitted.curves, indent=1),
        "README.md": model_card(manifest),
    }
    if evidence.wrong_labels is not None:
        texts["evaluation/wrong_labels.csv"] = as_csv(evidence.wrong_labels, conflicts=evidence.conflicts)
    return {
        "evaluation/confusion_matrix.png": confusion_matrix_png(metrics),
        "evaluation/learning_curves.png": learning_curves_png(model.fitted.curves),
        "evaluation/reliability.png": reliability_png(metrics),
        "evaluation/architecture.png": architecture_png(model.network),
        **{name: text.encode() for name, text in texts.items()},
    }


def _saved(network: keras.Model) -> bytes:
    """The .keras archive, deflated: Keras stores it uncompressed, and half of every rounded embedding is zeros."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / KERAS_MODEL
        # A model of the same layers, never compiled: the optimizer's state would triple the file.
        keras.Model(network.inputs, network.outputs, name=network.name).save(path)
        packed = path.with_suffix(".packed")
        with zipfile.ZipFile(path) as plain, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as smaller:
            for entry in plain.infolist():
                # A fixed time, so that the same weights give the same bytes.
                info = zipfile.ZipInfo(entry.filename, (1980, 1, 1, 0, 0, 0))
                smaller.writestr(info, plain.read(entry), zipfile.ZIP_DEFLATED)
        return packed.read_bytes()


def _installed_version(library: str) -> str:
    # On x86-64 Linux the package of TensorFlow has another name (setup.py).
    for name in (library, f"{library}-cpu"):
        try:
            return library_version(name)
        except PackageNotFoundError:
            continue
    return "unknown"


def _data_record(data: LabelledTexts, split: Split, recipe: Recipe, place: Place) -> dict[str, Any]:
    seen = data.texts.take(pa.array(np.concatenate([split.train, split.validation])))
    return {
        "note": place.data_note,
        "limits": list(place.limits),
        "fingerprint": data.fingerprint,
        "rows_read": data.rows_read,
        "dropped": dict(data.dropped),
        "rows": len(data.texts),
        "longer_than_read": data.longer,
        "conflicts": len(data.conflicts),
        "lost_labels": dict(data.lost_labels),
        "look_alikes": [list(pair) for pair in data.look_alikes],
        "rare_labels": dict(data.rare_labels),
        "moved_up": dict(data.moved_up),
        "renamed": data.renamed.record() if data.renamed else None,
        "split": {
            "method": split.method,
            "group_column": data.group_column,
            "shingle_words": SHINGLE_WORDS,
            "similarity": SIMILARITY,
            "seed": recipe.fit.seed,
            "test_share": recipe.test_share,
            "validation_share": recipe.validation_share,
            "train": len(split.train),
            "validation": len(split.validation),
            "test": len(split.test),
            "left_out": split.left_out,
            "train_only": train_only(split, data),
        },
        "seen": SeenTexts.of(joined_tokens(seen, recipe.text).to_pylist()).record(),
    }


def _rich_in_features(tokenizer: Tokenizer, bag: BagVocabulary, words: Sequence[str], random: np.random.Generator) -> list[str]:
    """Words of which the bag knows more than themselves: neighbours, in the text and at its edges, and unknown words by their parts.

    Random words alone have hardly any of these. An accent of its own and a script without blanks go through other code of the text.
    """
    pairs = random.permutation(bag.pairs)
    # So that the text's own end is not cut off.
    most = max(min(FEATURES_IN_GOLDEN_ROW, (tokenizer.settings.max_tokens - 5) // 4), 1)
    inside = pairs[(pairs != EDGE).all(axis=1)][:most].ravel()
    first, last = (pairs[pairs[:, side] == EDGE, 1 - side][:1] for side in (0, 1))
    known = [[str(tokenizer.words[i - FIRST_WORD_ID]) for i in ids] for ids in (first, inside, last)]
    few = list(words[:most])
    return [*known[0], *known[1], *few, *[f"{word}zz" for word in few], "cafe\u0301電気", *known[2]]


def _golden_rows(network: keras.Model, tokenizer: Tokenizer, seed: int) -> list[dict[str, Any]]:
    """Texts of random words of the vocabulary, so that a bundle carries nobody's texts, with the reference's answer."""
    random = np.random.default_rng(seed)
    words = np.array(tokenizer.words, dtype=object)
    texts = []
    for row in range(GOLDEN_ROWS):
        length = int(random.integers(1, tokenizer.settings.max_tokens + 20)) if row else 1
        chosen = [str(word) for word in random.choice(words, length)]
        # The text code is checked too: case, punctuation, an unknown word.
        if tokenizer.bag and row % 2:
            texts.append(", ".join(_rich_in_features(tokenizer, tokenizer.bag, chosen, random)).capitalize())
        else:
            texts.append(", ".join(chosen).capitalize() + " zzyzx-golden!")
    ids = tokenizer.ids_of(pa.array(texts))
    probabilities, evidence = network_probabilities(network, ids), evidence_of(network_logits(network, ids))
    return [
        {"text": text, "probabilities": [float(p) for p in row], "evidence": float(found)}
        for text, row, found in zip(texts, probabilities, evidence, strict=True)
    ]
