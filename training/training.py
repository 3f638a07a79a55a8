"""Labelled texts to a published bundle: split, model, evaluation of the saved bundle compared with the baselines, promotion."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import numpy as np
import pyarrow as pa

from lib.errors import InputError
from lib.model.arrays import Int64s
from lib.model.bundle import Bundle, load_bundle
from lib.model.changes import plain
from lib.model.metrics import classification_metrics, confusion_matrix, metrics_table
from lib.model.seen_texts import SeenTexts
from lib.model.text import joined_tokens
from lib.model.tree import Tree
from lib.scoring.bundles import gap_said, move_current_at
from training.baselines import (
    BASELINES,
    MAJORITY,
    OUT_OF_FOLD,
    Predictor,
    characters_of,
    fitted_baselines,
    headline,
    out_of_fold_probabilities,
    reason_to_leave_out,
    too_long,
)
from training.calibration import Thresholds, review_thresholds
from training.card import LSTM, TEST_SIDE
from training.comparison import Compared, better_text, interval_text
from training.contents import Evidence, evaluation_files, manifest_of, model_files
from training.cross_validation import CrossValidation, cross_validate
from training.dataset import FEW_LONGER, Elsewhere, LabelledTexts, characters_read
from training.evaluation import evaluate_bundle, metrics_of, predicted_by
from training.labels import listed
from training.levels import with_levels
from training.linear import with_linear_that_fits
from training.model import Model, build_model
from training.near_duplicates import Groups
from training.progress import SECONDS, Outcome, step
from training.promise import dependence_text, promise_text
from training.promotion import FEWEST_TEXTS, Judged, promotion
from training.publication import current_bundle, write_bundle
from training.recipe import Place, Recipe
from training.search import Searched, search
from training.sides import groups_of, split_data
from training.split import Split, folds_by_group
from training.upload import staging_in
from training.vectors import WordVectors
from training.wrong_labels import WrongLabel, as_csv, in_several_folds, probably_wrong_labels

# Folds of the linear model that doubts labels, where the LSTM is not cross-validated itself.
FOLDS_FOR_LABELS = 5
SHOWN_WRONG_LABELS = 5
SHOWN_CHARACTERS = 100
# Of the probabilities of all texts, which folds keep whole; finding wrong labels among them takes three times as much again.
MOST_BYTES = 2_000_000_000


@dataclass(frozen=True)
class Trained:
    """A published bundle, its metrics, and whether `current` names it now. place: the version's folder, a path or an address."""

    place: str
    metrics: Mapping[str, Any]
    promoted: bool
    verdict: str

    @property
    def folder(self) -> Path:
        """Of a bundle on this machine's disk."""
        return Path(self.place)


@dataclass(frozen=True)
class Fitted:
    """A network and how it was fitted. recipe: that of the search, where there was one; baselines: names of those to compare with."""

    data: LabelledTexts
    groups: Groups
    split: Split
    recipe: Recipe
    model: Model
    thresholds: Thresholds
    baselines: Sequence[str]
    validated: CrossValidation | None
    searched: Searched | None


def train(
    data: LabelledTexts,
    recipe: Recipe,
    place: Place,
    unlabelled: pa.Array | None = None,
    elsewhere: Elsewhere | None = None,
    tensorboard: str | None = None,
    say: Callable[[str], None] = print,
    vectors: WordVectors | None = None,
) -> Trained:
    """Train on `data` and publish the bundle.

    Args:
        unlabelled: strings, texts to learn embeddings from in addition to those of the train side.
        elsewhere: labelled texts of another origin, for the evaluation only.
        vectors: pretrained word vectors to learn from as well.
    Raises:
        InputError: labels that cannot be split, a folder that cannot be written.
        BundleError: `current` names a bundle that does not verify.
        CategorizerError: the fit failed; nothing was published.
    """
    # Before an hour of fits: it is compared with the new bundle afterwards.
    current_bundle(place.models, place.name)
    fitted = _fit(data, recipe, unlabelled, vectors, tensorboard, say)
    wrong = _doubted_labels(fitted, place, say)
    present = current_bundle(place.models, place.name)
    made_at, bundle, metrics, evidence = _publish(fitted, place, elsewhere, wrong, say)
    comparison, confidence = _comparison_text(evidence), _confidence_text(metrics)
    say(Outcome(f"\n{metrics_table(metrics)}\n\n{comparison}{confidence}\n\nbundle {made_at}"))
    better = better_text(evidence.better_baselines)
    if better:
        say(Outcome(f"{better}; {_what_to_try(data, recipe, unlabelled, vectors)}."))
    promoted, verdict = promotion(
        present, data.fingerprint, metrics, place, partial(_judged, bundle, metrics, data, fitted.split)
    )
    if promoted:
        versions, _, version = made_at.rpartition("/")
        if gap := gap_said(versions):
            say(gap)
        move_current_at(versions, version)
    say(Outcome(verdict))
    return Trained(made_at, metrics, promoted, verdict)


def _fit(
    data: LabelledTexts,
    recipe: Recipe,
    unlabelled: pa.Array | None,
    vectors: WordVectors | None,
    tensorboard: str | None,
    say: Callable[[str], None],
) -> Fitted:
    """Search and folds, if they are asked for, then the network that is shipped and its thresholds."""
    recipe = _with_folds_that_fit(data, _with_parts_that_fit(data, recipe, say), say)
    say(step("splitting"))
    groups = groups_of(data, recipe, say)
    split = split_data(data, groups, recipe, say)
    searched = None
    if recipe.search_minutes:
        rows = np.sort(np.concatenate([split.train, split.validation]))
        say(step("searching", round(recipe.search_minutes * 60), SECONDS))
        searched = search(data, groups, rows, recipe, unlabelled, vectors, say)
        recipe = searched.recipe
    baselines = _baselines_asked_for(data, recipe, say)
    validated = cross_validate(data, groups, recipe, unlabelled, baselines, say, vectors) if recipe.folds else None
    model = build_model(data, split, recipe, unlabelled, tensorboard, say, vectors=vectors)
    if validated and {len(one) for one in validated.factors} == {len(model.factors)}:
        # One validation side is small; those of the folds together show better how sure this recipe makes a network.
        model = model.with_factors([geometric_mean(of_part) for of_part in zip(model.factors, *validated.factors, strict=True)])
    thresholds = _thresholds(data, split, model, validated, recipe)
    factors = ", ".join(f"{part} {factor:.3f}" for part, factor in zip(model.parts.names, model.factors, strict=True))
    say(f"factors of the logits: {factors}; {_thresholds_text(thresholds, len(data.labels))}")
    if thresholds.promises and (dependence := dependence_text(data.group_column)):
        say(f"  {dependence}")
    return Fitted(data, groups, split, recipe, model, thresholds, baselines, validated, searched)


def _with_parts_that_fit(data: LabelledTexts, recipe: Recipe, say: Callable[[str], None]) -> Recipe:
    """The recipe with less of a linear classifier, with a message, where it would take too much; for all fits alike, since their parts are compared."""
    labels, bag = len(data.labels), recipe.bag
    if bag is None or not bag.linear or with_linear_that_fits(characters_of(data), labels, bag, recipe.vocabulary) == bag:
        return recipe
    # Of long texts only the first tokens are read.
    characters = characters_read(data.texts, recipe.text)
    fits = with_linear_that_fits(characters, labels, bag, recipe.vocabulary)
    if fits == bag:
        return recipe
    what = "learns from words and pairs of words alone: with parts of words," if fits.linear else "is left out:"
    say(
        f"The linear classifier {what} for {characters / 1e6:,.1f} million characters of {labels:,} labels it would take too long, or "
        "too much memory."
    )
    return replace(recipe, bag=fits)


def _with_folds_that_fit(data: LabelledTexts, recipe: Recipe, say: Callable[[str], None]) -> Recipe:
    """The recipe without folds, with a message, where these would take too much memory.

    Raises:
        InputError: without folds nothing judges the model.
    """
    if not recipe.folds or _bytes_of_all(data) <= MOST_BYTES:
        return recipe
    if not recipe.test_share:
        raise InputError(
            f"Expected a --test-share above 0 with more texts and labels than folds have room for, found {_too_large(data)}; give one, raise "
            "--min-rows-per-label, or take a sample."
        )
    say(
        f"The folds are left out: {_too_large(data)}; thresholds come from the validation side. Raise --min-rows-per-label, or take a sample, "
        "for folds."
    )
    return replace(recipe, folds=0)


def _bytes_of_all(data: LabelledTexts) -> int:
    """What the probabilities of all texts take."""
    return 4 * len(data.texts) * len(data.labels)


def _too_large(data: LabelledTexts) -> str:
    return (
        f"{len(data.texts):,} texts of {len(data.labels):,} labels, whose probabilities would take {_bytes_of_all(data) / 1e9:,.1f} GB, more than "
        f"the {MOST_BYTES / 1e9:,.1f} that are spent on them"
    )


def _doubted_labels(fitted: Fitted, place: Place, say: Callable[[str], None]) -> list[WrongLabel] | None:
    """Labels that are probably wrong, reported and, if asked for, written; None if none were looked for."""
    if not _wrong_labels_asked_for(fitted.data, fitted.validated, fitted.recipe, say):
        return None
    say(step("doubting"))
    wrong = _wrong_labels(fitted.data, fitted.groups, fitted.validated, fitted.recipe, say)
    _tell_wrong_labels(wrong, fitted.data, place, say)
    return wrong


def _publish(
    fitted: Fitted,
    place: Place,
    elsewhere: Elsewhere | None,
    wrong: list[WrongLabel] | None,
    say: Callable[[str], None],
) -> tuple[str, Bundle, Mapping[str, Any], Evidence]:
    """The place of the bundle, the bundle with its figures as saved, and what it was compared with."""
    with staging_in(place.models, place.name) as staging:
        files = model_files(fitted.model)
        manifest = manifest_of(files, fitted.data, fitted.split, fitted.model, fitted.thresholds, fitted.recipe, place)
        manifest["training"]["search"] = fitted.searched.record if fitted.searched else None
        # Written twice: first to be loaded and evaluated as saved, then again with the results of that evaluation.
        write_bundle(staging.folder, manifest, files)
        say(step("evaluating"))
        bundle = load_bundle(str(staging.folder))
        metrics = _metrics(bundle, fitted.data, fitted.split, fitted.validated)
        if fitted.baselines:
            say(step("baselines"))
        evidence = _evidence(bundle, fitted, metrics, elsewhere, wrong, say)
        say(step("writing"))
        manifest["metrics"] = {**metrics, **evidence.record()}
        write_bundle(staging.folder, manifest, {**files, **evaluation_files(manifest, fitted.model, evidence)})
        return staging.publish(manifest["version"]), bundle, manifest["metrics"], evidence


def _judged(new: Bundle, metrics: Mapping[str, Any], data: LabelledTexts, split: Split, present: Bundle) -> Judged | None:
    """Both bundles on what the present one was not fitted on of the test side; an older bundle does not say what that is.

    Args:
        metrics: those of the new bundle on the whole test side, where there is one.
    """
    rows, seen = split.test, SeenTexts.read(present.manifest["data"].get("seen"))
    if seen:
        rows = rows[seen.unseen(joined_tokens(data.texts.take(pa.array(rows)), present.tokenizer.settings).to_pylist())]
    elif present.manifest["metrics"].get("judged_on", TEST_SIDE) != TEST_SIDE:
        # It was fitted on all texts there were, which may be any of these.
        return None
    if len(rows) < min(FEWEST_TEXTS, len(split.test)) or not len(rows):
        return None
    after = metrics["f1_weighted"] if len(rows) == len(split.test) else _f1_weighted(new, data, rows)
    return Judged(after, _f1_weighted(present, data, rows), len(rows), len(split.test))


def _f1_weighted(bundle: Bundle, data: LabelledTexts, rows: Int64s) -> float:
    """Of a bundle on some of the texts; a label that it gives and the data have in another spelling, or have learned as one above it, counts as that one."""
    given = [data.moved_up.get(label, label) for label in (plain(label, data.separator) for label in bundle.labels)]
    labels = [*data.labels, *sorted(set(given) - set(data.labels))]
    place_of = {label: place for place, label in enumerate(labels)}
    # The last place, for texts without words, is that of no category.
    places = np.array([*(place_of[label] for label in given), len(labels)])
    predicted = places[predicted_by(bundle, data.texts.take(pa.array(rows)))]
    return float(classification_metrics(confusion_matrix(data.label_ids[rows], predicted, len(labels)), labels)["f1_weighted"])


def _evidence(
    bundle: Bundle,
    fitted: Fitted,
    metrics: Mapping[str, Any],
    elsewhere: Elsewhere | None,
    wrong: list[WrongLabel] | None,
    say: Callable[[str], None],
) -> Evidence:
    """The bundle compared with the baselines, which are fitted to the same texts."""
    data, split, validated = fitted.data, fitted.split, fitted.validated
    peers = fitted_baselines(data, split, fitted.recipe.text, fitted.baselines, say)
    over_folds = _over_folds(data, fitted.groups, validated) if validated else None
    compared = _on_test_side(bundle, data, split, fitted.groups, peers) if len(split.test) else over_folds
    # Folds have more texts to evaluate on than a test side.
    judges = over_folds or compared
    return Evidence(
        {LSTM: headline(metrics), **(compared.figures() if compared else {})},
        validated.record() if validated else None,
        _elsewhere(bundle, elsewhere, peers) if elsewhere else [],
        wrong,
        judges.better_baselines() if judges else [],
        data.conflicts,
        compared.interval() if compared else None,
    )


def _baselines_asked_for(data: LabelledTexts, recipe: Recipe, say: Callable[[str], None]) -> list[str]:
    """Names of the baselines to fit: without those that would take too much, with a message."""
    if not recipe.baselines:
        return []
    characters = characters_of(data)
    reasons = {name: reason_to_leave_out(name, characters, len(data.labels)) for name in BASELINES}
    for name, reason in reasons.items():
        if reason:
            say(f"{name} is left out of the comparison: {reason}.")
    return [name for name, reason in reasons.items() if not reason]


def _wrong_labels_asked_for(
    data: LabelledTexts, validated: CrossValidation | None, recipe: Recipe, say: Callable[[str], None]
) -> bool:
    """With folds there are doubted labels already; without them a linear model finds them, unless it would take too long, with a message."""
    if validated or not recipe.baselines:
        return validated is not None
    if _bytes_of_all(data) > MOST_BYTES:
        say(f"Labels that are probably wrong are not looked for: {_too_large(data)}.")
        return False
    characters, labels = characters_of(data), len(data.labels)
    reason = too_long(OUT_OF_FOLD.seconds(characters, labels) * (FOLDS_FOR_LABELS - 1), characters, labels)
    if reason:
        say(f"Labels that are probably wrong are not looked for: {reason}; --folds finds them too.")
    return not reason


def _thresholds(
    data: LabelledTexts, split: Split, model: Model, validated: CrossValidation | None, recipe: Recipe
) -> Thresholds:
    """Picked on the out-of-fold probabilities of all texts, where there are any: the validation side is small."""
    probabilities, label_ids = model.held_out_probabilities(), data.label_ids[split.validation]
    if validated:
        probabilities, label_ids = validated.probabilities, data.label_ids
    found = review_thresholds(probabilities, label_ids, data.labels, recipe.review)
    tree = Tree(data.labels, data.separator) if data.separator else None
    return with_levels(found, tree, probabilities, label_ids, recipe.review)


def _wrong_labels(
    data: LabelledTexts, groups: Groups, validated: CrossValidation | None, recipe: Recipe, say: Callable[[str], None]
) -> list[WrongLabel]:
    count = validated.folds if validated else min(FOLDS_FOR_LABELS, int(groups.numbers.max()) + 1)
    # With a cross-validation the same folds as there.
    folds = folds_by_group(groups, data.label_ids, data.texts.to_pylist(), count, recipe.fit.seed)
    examined = in_several_folds(data.label_ids, folds, len(data.labels))
    if not examined.all():
        alone = {label: int((data.label_ids == i).sum()) for i, label in enumerate(data.labels) if not examined[i]}
        say(
            f"{len(alone):,} labels are not examined for wrong ones, since their texts are all alike or too few: {listed(alone)}"
        )
    if validated:
        probabilities = validated.probabilities
    else:
        tokens = joined_tokens(data.texts, recipe.text).to_pylist()
        probabilities = out_of_fold_probabilities(tokens, data.label_ids, folds, len(data.labels))
    return probably_wrong_labels(data.texts, data.label_ids, data.labels, probabilities, examined)


def _tell_wrong_labels(wrong: list[WrongLabel], data: LabelledTexts, place: Place, say: Callable[[str], None]) -> None:
    say(f"{len(wrong):,} labels are probably wrong" + (", first of all:" if wrong else ""))
    for one in wrong[:SHOWN_WRONG_LABELS]:
        say(f"  {one.label} rather {one.suggested}? {data.texts[one.row].as_py()[:SHOWN_CHARACTERS]}")
    if place.wrong_labels:
        try:
            Path(place.wrong_labels).write_text(as_csv(wrong, data.texts, data.conflicts), encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"Expected a file to write at {place.wrong_labels}, found none ({error.strerror}); correct --wrong-labels."
            ) from None
        first = f", after {len(data.conflicts):,} that copies of their text contradict" if data.conflicts else ""
        say(f"all of them, with their texts{first}: {place.wrong_labels}")


def _metrics(bundle: Bundle, data: LabelledTexts, split: Split, validated: CrossValidation | None = None) -> dict[str, Any]:
    """The metrics of a bundle, this one or another, on the test side; without one, those of its recipe over the folds."""
    if validated and not len(split.test):
        lengths = bundle.tokenizer.ids_of(data.texts).lengths
        scores, unknown = validated.probabilities, validated.unknown_words
        found = metrics_of(bundle, data.labels, data.label_ids, lengths, scores, unknown)
        return {**found, "judged_on": f"{validated.folds} folds"}
    truth = [data.labels[i] for i in data.label_ids[split.test]]
    return {**evaluate_bundle(bundle, data.texts.take(pa.array(split.test)), truth, threads=0), "judged_on": TEST_SIDE}


def _on_test_side(
    bundle: Bundle, data: LabelledTexts, split: Split, groups: Groups, peers: Mapping[str, Predictor]
) -> Compared:
    texts = data.texts.take(pa.array(split.test))
    tokens = joined_tokens(texts, bundle.tokenizer.settings).to_pylist()
    others = {name: predict(tokens) for name, predict in peers.items()}
    truth, of_rows = data.label_ids[split.test], groups.numbers[split.test]
    return Compared(truth, of_rows, data.labels, predicted_by(bundle, texts), others, TEST_SIDE)


def _over_folds(data: LabelledTexts, groups: Groups, validated: CrossValidation) -> Compared:
    others = {name: predicted for name, predicted in validated.predicted.items() if name != LSTM}
    folds = f"{validated.folds} folds"
    return Compared(data.label_ids, groups.numbers, data.labels, validated.predicted[LSTM], others, folds)


def _elsewhere(bundle: Bundle, elsewhere: Elsewhere, peers: Mapping[str, Predictor]) -> list[dict[str, Any]]:
    """For each origin and label the share of the texts to which every model gives this label."""
    places = {label: place for place, label in enumerate(bundle.labels)}
    truth = np.array([places.get(label, -2) for label in elsewhere.labels])
    right = {LSTM: predicted_by(bundle, elsewhere.texts) == truth}
    tokens = joined_tokens(elsewhere.texts, bundle.tokenizer.settings).to_pylist()
    # The majority class is right for one label and wrong for all others, which says nothing.
    right |= {name: predict(tokens) == truth for name, predict in peers.items() if name != MAJORITY}
    rows_of: dict[tuple[str, str], list[int]] = {}
    for row, pair in enumerate(zip(elsewhere.origins, elsewhere.labels, strict=True)):
        rows_of.setdefault(pair, []).append(row)
    table = []
    for (origin, label), rows in sorted(rows_of.items()):
        recall = {name: float(hits[rows].mean()) for name, hits in right.items()}
        table.append({"origin": origin, "label": label, "rows": len(rows), "recall": recall})
    return table


def _thresholds_text(thresholds: Thresholds, labels: int) -> str:
    own = "".join(f", {label} {below:.3f}" for label, below in thresholds.by_label.items())
    promises = "".join(f"\n  {promise_text(promise, labels)}" for promise in thresholds.promises)
    levels = ", ".join(f"{below:.3f}" for below in thresholds.by_level)
    published = f"; levels are published from {levels} on, the top first" if levels else ""
    published += "".join(f"\n  {promise.labels[0]}: {promise_text(promise, 1)}" for promise in thresholds.level_promises)
    return f"review below a confidence of {thresholds.review_below:.3f}{own}{promises}{published}"


def _comparison_text(evidence: Evidence) -> str:
    width = max((len(name) for name in evidence.comparison), default=0)
    lines = [f"{name:{width}}  weighted F1 {row['f1_weighted']:.4f}" for name, row in evidence.comparison.items()]
    if evidence.cross_validation:
        lines.append(f"over {evidence.cross_validation['folds']} folds, mean and spread:")
        for name, row in evidence.cross_validation["models"].items():
            lines.append(f"{name:{width}}  weighted F1 {row['mean']:.4f} ± {row['spread']:.4f}")
    return "\n".join([*lines, ""]) + "\n" if lines else ""


def _what_to_try(data: LabelledTexts, recipe: Recipe, unlabelled: pa.Array | None, vectors: WordVectors | None) -> str:
    search = "" if recipe.search_minutes else ", other settings (--search 60)"
    more_words = "" if unlabelled is not None else ", the catalogue to learn words from (--unlabelled)"
    more_words += "" if vectors is not None else ", word vectors of the texts' language (--vectors)"
    # The baselines read them to their last word.
    whole = ", to read all of the longer ones (--max-tokens)" if data.longer > FEW_LONGER * len(data.texts) else ""
    return f"try more labelled texts{whole}{search}, more passes over them (--epochs){more_words} or a larger network (--units, --embedding)"


def _confidence_text(metrics: Mapping[str, Any]) -> str:
    review = metrics["review"]
    unfamiliar = metrics.get("unfamiliar")
    interval = f"the model's weighted F1 is {interval_text(metrics)}\n" if metrics["f1_weighted_interval"] else ""
    return (
        f"{interval}expected calibration error {metrics['expected_calibration_error']:.4f}, "
        f"up to {metrics['calibration_error_by_chance']:.4f} of it by chance alone; "
        f"{review['share_kept']:.1%} of the {'test side' if metrics['judged_on'] == TEST_SIDE else 'texts'} is above the threshold for review, "
        f"{review['precision_kept']:.1%} of it right"
        + (f"; --unfamiliar {unfamiliar['asked']:g} sends {unfamiliar['found']:.1%} of it to review" if unfamiliar else "")
    )
