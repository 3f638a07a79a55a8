"""The model card, generated from the manifest: what the model is, what it is based on, and what it does badly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lib.model.changes import MOST_NAMED
from lib.model.metrics import worst_confusions
from training.comparison import better_text, interval_text
from training.conflicts import disputed_text
from training.dataset import FEW_LONGER
from training.labels import cell, listed
from training.promise import Promise, dependence_text, promise_text
from training.self_training import SURE
from training.split import OF_VARIANTS
from training.taxonomy import moved_text

WORST_CONFUSIONS = 5
WORST_ELSEWHERE = 3
# The name of our own model in the tables.
LSTM = "LSTM"
# The value of `judged_on` in the metrics, where it is not folds.
TEST_SIDE = "test side"


def model_card(manifest: Mapping[str, Any]) -> str:
    """Markdown."""
    metrics = manifest["metrics"]
    return "\n".join(
        [
            *_network(manifest),
            *_data(manifest),
            *_judged_on(metrics),
            *_figures(metrics),
            *_promises(manifest),
            *_unfamiliar(manifest),
            *_hierarchy(manifest),
            "| category | precision | recall | F1 | texts |",
            "|---|---|---|---|---|",
            *[_class_line(label, row) for label, row in metrics["per_class"].items()],
            "",
            *_comparison(metrics),
            *_elsewhere(metrics),
            *_wrong_labels(manifest),
            "![confusion matrix](evaluation/confusion_matrix.png)",
            "![reliability](evaluation/reliability.png)",
            "![learning curves](evaluation/learning_curves.png)",
            "![architecture](evaluation/architecture.png)",
            "",
            "## Limits",
            "",
            *_limits(manifest),
            "",
        ]
    )


def _network(manifest: Mapping[str, Any]) -> list[str]:
    network = manifest["training"]["network"]
    direction = "bidirectional LSTM" if network["bidirectional"] else "LSTM"
    return [
        f"# {manifest['name']} {manifest['version']}",
        "",
        f"A text classifier for product catalogues: embedding ({network['embedding']}) → {direction} ({network['units']} units) → "
        f"dense ReLU ({network['dense']}) → softmax over {len(manifest['labels'])} categories{_bag(manifest)}. "
        f"Vocabulary: {manifest['vocabulary_size']:,} ids; at most {manifest['text']['max_tokens']} tokens of a text are read{_longer(manifest['data'])}."
        f"{_search(manifest)}",
        "",
    ]


def _longer(data: Mapping[str, Any]) -> str:
    """How many texts are longer than that, where they are more than a few."""
    share = data["longer_than_read"] / data["rows"]
    return f"; {share:.1%} of the labelled ones are longer" if share > FEW_LONGER else ""


def _data(manifest: Mapping[str, Any]) -> list[str]:
    data = manifest["data"]
    dropped = ", ".join(f"{reason} {rows:,}" for reason, rows in data["dropped"].items())
    return [
        "## Data",
        "",
        data["note"] or "The training data's origin and licence were not given (`train --data-note`).",
        "",
        f"{data['rows_read']:,} labelled rows were read; dropped: {dropped}. {_split(data)} "
        f"{_fitted_to(manifest['training'])}{_self_training(manifest)}{_vectors(manifest)}"
        f"Fingerprint of the data: `{data['fingerprint'][:16]}`.",
        "",
    ]


def _fitted_to(training: Mapping[str, Any]) -> str:
    """Which sides the parts saw, and what the word embeddings were started from."""
    texts, refit = training["pretrained_on_texts"], training.get("refit", True)
    said = (
        "Thresholds, the factors of the parts and unfamiliarity are those of a fit to the train side; the parts themselves were then fitted again, to "
        "the train and the validation side together. "
        if refit
        else ""
    )
    if not texts:
        return said
    sides = "of the train and the validation side" if refit else "of the train side"
    return f"{said}Word embeddings were started from the words that occur near each other in {texts:,} texts, those {sides} and unlabelled ones. "


def _by_chance(metrics: Mapping[str, Any]) -> str:
    """A bundle of an earlier version does not say it."""
    most = metrics.get("calibration_error_by_chance")
    return "" if most is None else f" (up to {most:.3f} by chance alone)"


def _figures(metrics: Mapping[str, Any]) -> list[str]:
    coverage = "; ".join(
        f"{row['share']:.1%} of the rows at a precision of {row['precision']:.1%}" for row in metrics["coverage"]
    )
    interval = f" ({interval_text(metrics)})" if metrics.get("f1_weighted_interval") else ""
    return [
        f"accuracy {metrics['accuracy']:.4f}, weighted F1 {metrics['f1_weighted']:.4f}{interval}, macro F1 {metrics['f1_macro']:.4f}, "
        f"expected calibration error {metrics['expected_calibration_error']:.3f}{_by_chance(metrics)}, "
        f"unknown words {metrics['out_of_vocabulary_share']:.1%}",
        "",
        f"Rows with a confidence below {_thresholds(metrics['review'])} go to review: {metrics['review']['share_kept']:.1%} "
        f"of the texts that it is judged on stay, {metrics['review']['precision_kept']:.1%} of them right{_picked_on_them(metrics)}. Point estimates, with thresholds "
        f"chosen on these very texts (what is possible, not what is promised): {coverage}.",
        "",
    ]


def _picked_on_them(metrics: Mapping[str, Any]) -> str:
    """With folds, thresholds are picked on all texts, those of the test side among them."""
    return " (the threshold was picked over the folds, on these texts among others)" if metrics.get("cross_validation") else ""


def _split(data: Mapping[str, Any]) -> str:
    split = data["split"]
    by = f"by the column {split['group_column']}, and " if split["group_column"] else ""
    left_out = f"{split['left_out']:,} are on none, being near-duplicates of a text that is judged on. "
    apart = (
        f"with near-duplicates on one side only (word {split['shingle_words']}-shingles, Jaccard similarity from {split['similarity']})"
        if split["method"] != OF_VARIANTS
        else "text by text, since all are variants of a few: the figures are about variants of texts that were learned from"
    )
    return (
        f"The rest, {data['rows']:,} distinct texts, was split {by}{apart}: "
        f"train {split['train']:,}, validation {split['validation']:,}, test {split['test']:,}. "
        + left_out
        * bool(split["left_out"])
    ).strip()


def _self_training(manifest: Mapping[str, Any]) -> str:
    texts = manifest["training"].get("self_trained_on_texts")
    if not texts:
        return ""
    elsewhere = "; texts from elsewhere, below, may be among them" if manifest["metrics"]["elsewhere"] else ""
    return (
        f"{texts:,} of the unlabelled texts, which a first model was at least {SURE:.0%} sure of, were learned from under its labels; "
        f"none of them is on the validation or test side{elsewhere}. "
    )


def _vectors(manifest: Mapping[str, Any]) -> str:
    """Which pretrained word vectors were used, under what licence."""
    told = manifest["training"].get("vectors")
    if not told:
        return ""
    note = told["note"] or "Their origin and licence were not given (`train --vectors-note`)."
    return (
        f"Pretrained word vectors, projected, are part of the tables of both parts: {told['name']} (SHA-256 "
        f"`{told['sha256']}`), {told['rows']:,} rows of {told['width']:,} numbers; {told['words']:,} words of the vocabulary have "
        f"one, {told['words_of_vector_alone']:,} of them nothing learned besides. {note} "
    )


def _judged_on(metrics: Mapping[str, Any]) -> list[str]:
    judged_on = metrics["judged_on"]
    if judged_on == TEST_SIDE:
        return ["## Figures on the test side", ""]
    said = (
        f"Each text was judged by a network of the same recipe that was fitted without its fold, over {judged_on}. This bundle's "
        "network was then fitted on all but the validation side; there is no text left to judge it on."
    )
    return [f"## Figures over {judged_on}", "", said, ""]


def _class_line(label: str, row: Mapping[str, Any]) -> str:
    if not row["support"]:
        return f"| {cell(label)} | | | | 0 |"
    return f"| {cell(label)} | {row['precision']:.4f} | {row['recall']:.4f} | {row['f1']:.4f} | {row['support']} |"


def _bag(manifest: Mapping[str, Any]) -> str:
    bag, factors = manifest["training"].get("bag"), dict(manifest["training"].get("factors", {}))
    rarity = factors.pop("rarity", None)
    adjusted = f"; to each label's logit {rarity:.2f} × ln(texts / its texts) is added" if rarity else ""
    if not bag:
        return adjusted
    return (
        "; next to the LSTM a bag of its words, pairs of words and, for unknown words, character n-grams → dense ReLU"
        f"{' and a linear classifier' if 'linear' in factors else ''} → the same softmax (logits times "
        f"{', '.join(f'{factor:.2f} ({part})' for part, factor in factors.items())})"
        f"{adjusted}"
    )


def _search(manifest: Mapping[str, Any]) -> str:
    found = manifest["training"].get("search")
    if not found:
        return ""
    tried = f"{sum(found['trials'].values())} trials on folds of the train and the validation side"
    if not found["settings"]:
        return f" A search ({tried}) found no settings that are better by more than the spread."
    ahead = found["ahead_by"]
    return (
        f" A search ({tried}) chose {settings_text(found['settings'])}; on other folds of these sides that is ahead of what was asked for by "
        f"{ahead['mean']:.4f} ± {ahead['spread']:.4f} of weighted F1. Of figures over folds below, the search has seen the texts."
    )


def settings_text(by_part: Mapping[str, Mapping[str, float]]) -> str:
    """The settings that a search has found for some parts."""
    return "; ".join(f"{part}: {settings_of_part(settings)}" for part, settings in by_part.items())


def settings_of_part(settings: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in settings.items())


def _thresholds(review: Mapping[str, Any]) -> str:
    every = list(review["by_label"].items())
    own = "".join(f" ({label}: {below:.3f})" for label, below in every[:MOST_NAMED])
    own += f" (and {len(every) - MOST_NAMED:,} more labels have their own)" if len(every) > MOST_NAMED else ""
    return f"{review['review_below']:.3f}{own}"


def _promises(manifest: Mapping[str, Any]) -> list[str]:
    """The precision that is promised above the thresholds, where one was the target."""
    promises = [Promise(**row) for row in manifest["thresholds"].get("promises", ())]
    if not promises:
        return []
    said = (
        f"A precision of {promises[0].target:.1%} was asked for (`--target-precision`). A promise is a lower confidence bound "
        "(Clopper-Pearson, thresholds tested from the strictest down) and is valid for texts like those it is based on"
        + (f"; {dependence}:" if (dependence := dependence_text(manifest["data"]["split"]["group_column"])) else ":")
    )
    return [said, "", *[f"- {promise_text(promise, len(manifest['labels']))}" for promise in promises], ""]


def _hierarchy(manifest: Mapping[str, Any]) -> list[str]:
    """How good each level of labels that are paths is, and how much of it is published."""
    found, thresholds = manifest["metrics"].get("hierarchy"), manifest["thresholds"]
    if not found:
        return []
    promises = [Promise(**row) for row in thresholds.get("level_promises", ())]
    lines = [
        f"Labels are paths, separated by {manifest['label_separator']!r}: hierarchical precision {found['hierarchical_precision']:.4f}, recall "
        f"{found['hierarchical_recall']:.4f}, F1 {found['hierarchical_f1']:.4f} (nodes of the predicted and of the true paths, Kosmopoulos et al. "
        "2015). A level of a path is published from its threshold on; the last column is a point estimate, with a threshold chosen on "
        "these very texts.",
        "",
        *level_table(found, thresholds["by_level"]),
        "",
    ]
    return [
        *lines,
        *[f"- {promise.labels[0]}: {promise_text(promise, 1)}" for promise in promises],
        *([""] if promises else []),
    ]


def level_table(found: Mapping[str, Any], thresholds: Sequence[float]) -> list[str]:
    """Lines of Markdown: each level's figures, its threshold, and how much of it is published."""
    lines = [
        "| level | labels | texts | accuracy | weighted F1 | macro F1 | threshold | published | of it right | possible at 98 % |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row, threshold in zip(found["levels"], thresholds, strict=False):
        precision = "" if row["precision"] is None else f"{row['precision']:.1%}"
        lines.append(
            f"| {row['level']} | {row['labels']:,} | {row['rows']:,} | {row['accuracy']:.4f} | {row['f1_weighted']:.4f} | {row['f1_macro']:.4f} "
            f"| {threshold:.3f} | {row['published']:.1%} | {precision} | {row['covered']:.1%} |"
        )
    return lines


def _unfamiliar(manifest: Mapping[str, Any]) -> list[str]:
    """How many texts the unfamiliarity is based on, and what its threshold does on the test side."""
    texts, found = manifest["unfamiliarity"]["texts"], manifest["metrics"].get("unfamiliar")
    here = f" Of the {TEST_SIDE} {found['found']:.1%} are above {1 - found['asked']:g}." if found else ""
    return [
        f"`unfamiliarity` is the share of texts like these that are less unlike the training texts; it is based on {texts:,} texts of "
        f"the validation side.{here}",
        "",
    ]


def _comparison(metrics: Mapping[str, Any]) -> list[str]:
    """Compared with the baselines, on the test side and over folds."""
    validated = (metrics["cross_validation"] or {}).get("models", {})
    lines = [
        f"| model | weighted F1, {metrics['judged_on']} | macro F1 | weighted F1 over folds: mean ± spread | LSTM ahead by |",
        "|---|---|---|---|---|",
    ]
    for name, row in metrics["comparison"].items():
        folds, ahead = validated.get(name), validated.get(name, {}).get("lstm_ahead_by")
        lines.append(
            f"| {name} | {row['f1_weighted']:.4f} | {row['f1_macro']:.4f} | {mean_and_spread(folds)} | {mean_and_spread(ahead)} |"
        )
    better = better_text(metrics["better_baselines"])
    lines += ["", f"{better}."] if better else []
    if not validated:
        return [*lines, ""]
    error = metrics["cross_validation"]["expected_calibration_error"]
    note = f"{metrics['cross_validation']['folds']} folds that near-duplicates do not cross; expected calibration error {error:.4f} over all of them."
    return [*lines, "", note, ""]


def _wrong_labels(manifest: Mapping[str, Any]) -> list[str]:
    found, rows = manifest["metrics"]["labels_probably_wrong"], manifest["data"]["rows"]
    if found is None:
        return []
    conflicts = manifest["data"]["conflicts"]
    first = (
        f" The file begins with {conflicts:,} labels that copies of their text contradict, which are left out; their probabilities are shares of the copies."
        if conflicts
        else ""
    )
    return [
        f"{found:,} of the {rows:,} labels are probably wrong, according to a model that was fitted without them "
        f"(`evaluation/wrong_labels.csv`, by the hash of the text).{first}",
        "",
    ]


def mean_and_spread(row: Mapping[str, float] | None) -> str:
    return f"{row['mean']:.4f} ± {row['spread']:.4f}" if row else ""


def _elsewhere(metrics: Mapping[str, Any]) -> list[str]:
    """How texts from elsewhere are categorized; lines of the card."""
    if not metrics["elsewhere"]:
        return []
    said = "These are not from the shop that the training data come from. Share that gets the right category:"
    return ["## Texts from elsewhere", "", said, "", *elsewhere_table(metrics["elsewhere"]), ""]


def elsewhere_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of Markdown: each model's recall on each origin and category."""
    names = list(rows[0]["recall"])
    return [
        f"| origin | category | texts | {' | '.join(names)} |",
        "|---" * (3 + len(names)) + "|",
        *[
            f"| {cell(row['origin'])} | {cell(row['label'])} | {row['rows']:,} | "
            + " | ".join(f"{row['recall'][name]:.3f}" for name in names)
            + " |"
            for row in rows
        ],
    ]


def _limits(manifest: Mapping[str, Any]) -> list[str]:
    metrics = manifest["metrics"]
    lengths = "; ".join(f"{row['length']}: {row['f1_weighted']:.3f} ({row['rows']} texts)" for row in metrics["by_length"])
    lines = [
        "- It knows these categories and no other: a product of another kind gets one of them, often with high confidence; "
        "`categorize --unfamiliar` sends the least familiar to review.",
        "- It was fitted to the texts described above; on another shop's wording expect less, and measure it with the job `evaluate`.",
        f"- Weighted F1 by length of the text: {lengths}.",
    ]
    data = manifest["data"]
    if disputed := disputed_text(data["dropped"], data["rows_read"]):
        lines.append(f"- {disputed}.")
    confusions = _worst_confusions(metrics)
    if confusions:
        lines.append("- Most frequent confusions: " + "; ".join(confusions) + ".")
    if metrics["expected_calibration_error"] > max(0.02, metrics.get("calibration_error_by_chance", 0)):
        lines.append(
            f"- A confidence is off by {metrics['expected_calibration_error']:.3f} on average: "
            "read it as a ranking, not as a probability."
        )
    worst = sorted(metrics["elsewhere"], key=lambda row: row["recall"][LSTM])[:WORST_ELSEWHERE]
    if worst:
        listed = "; ".join(f"{row['origin']} as {row['label']} {row['recall'][LSTM]:.0%}" for row in worst)
        lines.append(f"- Of the texts from elsewhere it does worst on: {listed}.")
    lines += _labels(manifest["data"], metrics["judged_on"])
    lines += [f"- {line}" for line in manifest["data"]["limits"]]
    return lines


def _labels(data: Mapping[str, Any], judged_on: str) -> list[str]:
    """What was done with labels of few texts and with those that look like another."""
    lines = []
    if data["rare_labels"]:
        lines.append(
            f"- It does not know these labels, which have too few texts: {listed(data['rare_labels'], data['look_alikes'])}."
        )
    # Manifests of older versions do not have it.
    if renamed := data.get("renamed"):
        lines.append(
            f"- {renamed['rows']:,} of the texts were labelled before the taxonomy changed; they were learned under today's names of their "
            f"{len(renamed['labels']):,} labels."
        )
    if data["moved_up"]:
        lines.append(f"- {moved_text(data['moved_up'])}.")
    if data["split"]["train_only"]:
        few = listed(data["split"]["train_only"])
        lines.append(
            f"- It was not judged on these labels, which have too few groups of texts: {few}."
            if judged_on == TEST_SIDE
            else f"- These labels have too few groups of texts; where all texts of one are in one fold, its F1 over the folds is 0: {few}."
        )
    for rare, frequent in data["look_alikes"][:WORST_CONFUSIONS]:
        if rare not in data["rare_labels"]:
            lines.append(f"- The labels {rare!r} and {frequent!r} look as if they were meant as one; they were learned as two.")
    return lines


def _worst_confusions(metrics: Mapping[str, Any]) -> list[str]:
    found = worst_confusions(metrics, WORST_CONFUSIONS)
    return [f"{truth} taken for {predicted} ({rows})" for truth, predicted, rows in found]
