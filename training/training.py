"""Labelled texts to a published bundle: split, vocabulary, fit, export, evaluation as saved, promotion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lib.bundle import Bundle, load_bundle
from lib.errors import InputError
from lib.metrics import metrics_table
from lib.text import Tokenizer
from training.calibration import calibrate
from training.contents import Place, Recipe, evaluation_files, manifest_of, model_files
from training.dataset import LabelledTexts, joined_tokens
from training.embeddings import cooccurrence_embeddings
from training.evaluation import evaluate_bundle
from training.fit import build_vocabulary, fit_network
from training.publication import Staging, current_bundle, move_current, write_bundle
from training.split import Split, near_duplicate_groups, split_by_group


@dataclass(frozen=True)
class Trained:
    """A published bundle, its metrics, and whether `current` names it now."""

    folder: Path
    metrics: Mapping[str, Any]
    promoted: bool
    verdict: str


def train(
    data: LabelledTexts,
    recipe: Recipe,
    place: Place,
    unlabelled: pa.Array | None = None,
    tensorboard: str | None = None,
    say: Callable[[str], None] = print,
) -> Trained:
    """Train on `data` and publish the bundle.

    Args:
        unlabelled: strings, texts to learn embeddings from beside those of the train side.
    Raises:
        InputError: labels that cannot be split, a folder that cannot be written.
        CategorizerError: the fit failed; nothing was published.
    """
    split = _split(data, recipe, say)
    tokenizer = _tokenizer(data, split, recipe)
    ids = tokenizer.ids_of(data.texts)
    embeddings, pretrained_on = _embeddings(data, split, tokenizer, unlabelled, recipe)
    fitted = fit_network(
        ids,
        data.label_ids,
        split.train,
        split.validation,
        tokenizer.vocabulary_size,
        data.labels,
        recipe.network,
        recipe.fit,
        embeddings,
        tensorboard,
        say,
    )
    validation = tokenizer.ids_of(data.texts.take(pa.array(split.validation)))
    calibrated = calibrate(
        fitted.network, validation, data.label_ids[split.validation], recipe.review_below, recipe.target_precision
    )
    say(f"temperature {calibrated.temperature:.3f}, review below a confidence of {calibrated.review_below:.3f}")
    present = current_bundle(place.models, place.name)
    with Staging(place.models, place.name) as staging:
        files = model_files(fitted.network, tokenizer)
        manifest = manifest_of(files, data, split, tokenizer, fitted, calibrated, pretrained_on, recipe, place)
        # Written twice: to be loaded and evaluated as saved, then again with what that evaluation gave.
        write_bundle(staging.folder, manifest, files)
        manifest["metrics"] = metrics = _metrics(load_bundle(str(staging.folder)), data, split)
        write_bundle(staging.folder, manifest, {**files, **evaluation_files(manifest, fitted)})
        folder = staging.publish(manifest["version"])
    say(f"\n{metrics_table(metrics)}\n\n{_confidence_text(metrics)}\n\nbundle {folder}")
    promoted, verdict = _promotion(present, data, split, metrics, place)
    if promoted:
        move_current(folder)
    say(verdict)
    return Trained(folder, metrics, promoted, verdict)


def _split(data: LabelledTexts, recipe: Recipe, say: Callable[[str], None]) -> Split:
    groups = near_duplicate_groups(data.texts, recipe.text)
    split = split_by_group(
        groups, data.label_ids, data.texts.to_pylist(), recipe.test_share, recipe.validation_share, recipe.fit.seed
    )
    say(
        f"{len(data.texts):,} distinct texts in {groups.max() + 1:,} groups of near-duplicates: "
        f"train {len(split.train):,}, validation {len(split.validation):,}, test {len(split.test):,}"
    )
    return split


def _embeddings(
    data: LabelledTexts, split: Split, tokenizer: Tokenizer, unlabelled: pa.Array | None, recipe: Recipe
) -> tuple[npt.NDArray[np.float32] | None, int]:
    """Embeddings to start from, and the number of texts they were learned from."""
    if not recipe.pretrain:
        return None, 0
    texts = joined_tokens(data.texts.take(pa.array(split.train)), recipe.text)
    if unlabelled is not None:
        held_out = data.texts.take(pa.array(np.concatenate([split.validation, split.test])))
        found = pc.unique(joined_tokens(unlabelled, recipe.text))
        # A catalogue may hold the very texts the model is judged on; even without a label they are not looked at.
        found = found.filter(pc.invert(pc.is_in(found, value_set=joined_tokens(held_out, recipe.text))))
        texts = pc.unique(pa.concat_arrays([texts, found]))
    size = recipe.network.embedding
    return cooccurrence_embeddings(tokenizer.ids_of(texts), tokenizer.vocabulary_size, size, recipe.fit.seed), len(texts)


def _confidence_text(metrics: Mapping[str, Any]) -> str:
    review = metrics["review"]
    return (
        f"expected calibration error {metrics['expected_calibration_error']:.4f}; "
        f"{review['share_kept']:.1%} of the test side is above the threshold for review, "
        f"{review['precision_kept']:.1%} of it right"
    )


def _tokenizer(data: LabelledTexts, split: Split, recipe: Recipe) -> Tokenizer:
    words = build_vocabulary(data.texts.take(pa.array(split.train)), recipe.text, recipe.vocabulary, recipe.min_count)
    if not words:
        raise InputError(
            f"Expected words that occur at least {recipe.min_count} times in the training texts, found none; "
            "add texts, or lower --min-count."
        )
    return Tokenizer(words, recipe.text)


def _metrics(bundle: Bundle, data: LabelledTexts, split: Split) -> Mapping[str, Any]:
    """Of a bundle, this one or another, on the test side."""
    truth = [data.labels[i] for i in data.label_ids[split.test]]
    return evaluate_bundle(bundle, data.texts.take(pa.array(split.test)), truth, threads=0)


def _promotion(
    present: Bundle | None, data: LabelledTexts, split: Split, metrics: Mapping[str, Any], place: Place
) -> tuple[bool, str]:
    if present is None:
        return True, f"current of {place.models}/{place.name} names it: there was none before."
    before = _metrics(present, data, split)["f1_weighted"]
    after = metrics["f1_weighted"]
    compared = (
        f"weighted F1 {after:.4f} against {before:.4f} of the present {present.model_version} on this test side, "
        f"margin {place.promote_margin:g}"
    )
    if after >= before - place.promote_margin:
        return True, f"current of {place.models}/{place.name} names it: {compared}."
    return False, f"current of {place.models}/{place.name} stays where it is: {compared}."
