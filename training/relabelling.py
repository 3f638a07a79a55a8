"""Labels of a bundle moved and merged: a new version of the model that predicts the categories of a new taxonomy, without a training."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from itertools import accumulate, takewhile
from typing import Any

import numpy as np

from lib.errors import InputError
from lib.model.arrays import Float32s, Int64s
from lib.model.bundle import (
    KERAS_MODEL,
    ONNX_MODEL,
    RELABELLED_VERSION,
    TOKENIZER,
    Bundle,
    digest_of_decisions,
    read_evidence,
    sha256_of,
)
from lib.model.changes import MOST_NAMED, Changes, Relabelling, applied, named, plain, starts_of
from lib.model.engines.relabelled import Merger
from lib.model.metrics import classification_metrics
from lib.model.tree import Path as Levels
from lib.model.tree import in_tree_order, path_of
from training.labels import cell, look_alikes
from training.taxonomy import nearest, slips, taxonomy_of

# Files that are copied in addition to those that scoring needs.
CURVES = "evaluation/learning_curves.json"
# As many texts as a label has that is there already, in comparison with a name that may be misspelt; how many is not known here.
MANY = 1_000


def relabelling(labels: Sequence[str], separator: str | None, changes: Changes, not_learned: Iterable[str] = ()) -> Relabelling:
    """What each label of a bundle becomes, as `lib.model.changes.applied` says.

    Args:
        not_learned: labels of the training texts that had too few of them to be categories. Old names that are at or above these are known
            all the same, so they are not among `unused`.
    Raises:
        InputError: nothing that changes, or fewer than two labels left.
    """
    made = applied(labels, separator, changes)
    known = {start for label in not_learned for start in starts_of(plain(label, separator), separator)}
    made = replace(made, unused=[old for old in made.unused if old not in known])
    if not made.moved:
        raise InputError(_nothing_moves(made, labels, separator))
    if len(set(made.labels.values())) < 2:
        raise InputError(f"Expected at least two labels to be left, found all merged into one by {changes.where}; correct it.")
    return made


def labels_not_learned(bundle: Bundle) -> list[str]:
    """Labels that the training texts had, and too few of them to be categories of the bundle."""
    data = bundle.manifest.get("data", {})
    return [*data.get("moved_up", {}), *data.get("rare_labels", {})]


def unused_remarks(made: Relabelling, bundle: Bundle) -> list[str]:
    """Which old names moved nothing, in one sentence: a taxonomy has more categories than a model, or a name is misspelt."""
    if not made.unused:
        return []
    meant = _meant(made.unused[:MOST_NAMED], bundle.labels, bundle.manifest.get("label_separator"))
    back = (
        f"; if one is misspelt, go back with rollback --to {bundle.manifest['version']}, correct the file and relabel again"
        if meant
        else ""
    )
    return [
        f"{len(made.unused):,} old labels of {made.changes.where} are those of no label of {bundle.model_version}, or each of their labels has a "
        f"line of its own: {named(made.unused, meant)}{back}"
    ]


def check_is_new(bundle: Bundle, changes: Changes) -> None:
    """Refuse changes that made this version: a second time they would move labels once more, as when a scheduler repeats a job.

    Raises:
        InputError: they did.
    """
    steps = bundle.renames.steps
    # Steps of older versions of this program have none.
    if steps and steps[-1].get("digest") == changes.digest(bundle.manifest.get("label_separator")):
        before = steps[-1]["from"]
        raise InputError(
            f"Expected changes that {bundle.model_version} does not have yet, found those in {changes.where} that made it from {before}; nothing is left "
            f"to do, or go back with rollback --to {before.rpartition('/')[2]}."
        )


def _meant(unknown: Sequence[str], labels: Sequence[str], separator: str | None) -> dict[str, str]:
    """What names that are not those of labels, or of nodes above them, are perhaps meant as; without those that are like none."""
    if not separator:
        alike = look_alikes({**dict.fromkeys(labels, MANY), **dict.fromkeys(unknown, 1)})
        return {name: label for name, label in alike if name in unknown}
    tree = taxonomy_of("", (path_of(label, separator) for label in labels))
    near = {name: nearest(path_of(name, separator), tree) for name in unknown}
    return {name: meant for name, path in near.items() if path and (meant := separator.join(path)) != name}


def look_alike_remarks(made: Relabelling, separator: str | None) -> list[str]:
    """Names that look like another from now on, one sentence each: perhaps a label was to be merged, and its new name is misspelt."""
    old, now = made.labels.keys(), set(made.labels.values())
    # Of two names the new one is the misspelt one.
    counts = [{name: MANY if name in old else 1 for name in names} for names in (old, now)]
    before, after = (list(slips(rows, separator)) if separator else look_alikes(rows) for rows in counts)
    known = {_last_levels(pair, separator) for pair in before}
    return [
        f"labels that may be meant as one: {one!r} and {other!r}; they are two"
        for one, other in after
        if _last_levels((one, other), separator) not in known
    ]


def _last_levels(names: Iterable[str], separator: str | None) -> frozenset[str]:
    """By which a pair is known again below another parent."""
    return frozenset(path_of(name, separator)[-1] if separator else name for name in names)


def _nothing_moves(made: Relabelling, labels: Sequence[str], separator: str | None) -> str:
    where = made.changes.where
    if made.unused:
        unknown = named(made.unused, _meant(made.unused[:MOST_NAMED], labels, separator))
        return (
            f"Expected labels of the bundle as old ones in {where}, found {unknown} that it does not have, or whose every label has a line "
            f"of its own; its labels are {', '.join(map(repr, labels[:MOST_NAMED]))}{' …' if len(labels) > MOST_NAMED else ''}; correct the file."
        )
    several = ", ".join(map(repr, [*made.split][:MOST_NAMED]))
    if not several:
        return f"Expected labels that change in {where}, found none of the model's; correct it."
    return (
        f"Expected labels that get another name in {where}, found only those that become several ({several}), which a training on the new "
        f"labels can tell apart; train a model on these."
    )


def relabelled_files(bundle: Bundle, place: str, made: Relabelling) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest, without the list of files, and the files of the new version. place: that of the bundle, as for `load_bundle`.

    Figures stay as they were where no labels were merged. For merged ones accuracy and F1 follow from the confusions; what depends on
    confidences, or compares with other models, does not, and is left out.
    """
    manifest, separator = dict(bundle.manifest), bundle.manifest.get("label_separator")
    kept = list(dict.fromkeys(made.labels.values()))
    labels = list(in_tree_order(kept, separator)) if separator else kept
    place_of = {label: i for i, label in enumerate(labels)}
    places = np.array([place_of[made.labels[label]] for label in bundle.labels])
    now = datetime.now(timezone.utc)
    files = {name: bundle.files[name] for name in (KERAS_MODEL, ONNX_MODEL, TOKENIZER)}
    manifest |= {
        "format_version": RELABELLED_VERSION,
        "created_at": now.isoformat(timespec="seconds"),
        "labels": labels,
        "outputs": [int(places[output]) for output in bundle.outputs],
        "thresholds": _thresholds(bundle, made, labels, separator),
        "golden": [_golden(row, places, len(labels)) for row in bundle.manifest["golden"]],
        "metrics": _metrics(bundle.manifest.get("metrics") or {}, bundle.labels, made, labels, places),
        "relabelled": [*bundle.manifest.get("relabelled", []), _step(bundle, made, separator)],
    }
    manifest |= _records(manifest, made, separator)
    digest = digest_of_decisions({name: sha256_of(content) for name, content in files.items()}, manifest)
    manifest["version"] = f"{now:%Y%m%d}-{digest[:8]}"
    curves = read_evidence(place, CURVES)
    files |= {CURVES: curves} if curves else {}
    files["evaluation/metrics.json"] = json.dumps(manifest["metrics"], ensure_ascii=False, indent=1).encode()
    files["README.md"] = _card(bundle, manifest, made, read_evidence(place, "README.md")).encode()
    return manifest, files


def _step(bundle: Bundle, made: Relabelling, separator: str | None) -> dict[str, Any]:
    digest = made.changes.digest(separator)
    return {"from": bundle.model_version, "labels": made.moved, "split": dict(made.split), "digest": digest}


def _records(manifest: Mapping[str, Any], made: Relabelling, separator: str | None) -> dict[str, Any]:
    """The parts of the manifest that say how the model came about, those that there are. manifest: with today's thresholds and metrics."""
    found: dict[str, Any] = {}
    if "data" in manifest:
        found["data"] = _data(manifest["data"], made, separator)
    if "training" in manifest:
        found["training"] = _training(manifest["training"], made)
    metrics = manifest["metrics"]
    if "review" in metrics:
        # It has the thresholds once more.
        now = {name: value for name, value in manifest["thresholds"].items() if name in metrics["review"]}
        found["metrics"] = {**metrics, "review": {**metrics["review"], **now}}
    return found


def _data(old: Mapping[str, Any], made: Relabelling, separator: str | None) -> dict[str, Any]:
    """What is known of the training data, with today's names of the labels too that had too few texts to be learned."""
    moved, rare = old.get("moved_up", {}), old.get("rare_labels", {})
    names = {**applied([*moved, *rare], separator, made.changes).labels, **made.labels}
    texts: Counter[str] = Counter()
    for label, count in rare.items():
        texts[names[label]] += count
    return {
        **old,
        "moved_up": {names[label]: names.get(above, above) for label, above in moved.items()},
        "rare_labels": dict(texts),
    }


def _training(old: Mapping[str, Any], made: Relabelling) -> dict[str, Any]:
    """How it was trained, with the confidences that were given for some labels under today's names; the strictest for merged ones."""
    below: dict[str, float] = {}
    for label, confidence in old.get("review", {}).get("below_by_label", {}).items():
        new = made.labels.get(label, label)
        below[new] = max(below.get(new, 0.0), confidence)
    return {**old, "review": {**old["review"], "below_by_label": below}} if below else dict(old)


def _golden(row: Mapping[str, Any], places: Int64s, labels: int) -> dict[str, Any]:
    return {**row, "probabilities": added_up(np.array([row["probabilities"]], np.float32), places, labels)[0].tolist()}


def added_up(probabilities: Float32s, places: Int64s, labels: int) -> Float32s:
    """Probabilities of labels to those of the labels that they become, float32 [rows, labels]. places: the new position of each."""
    return Merger(places, labels).merged(probabilities)


def _thresholds(bundle: Bundle, made: Relabelling, labels: Sequence[str], separator: str | None) -> dict[str, Any]:
    """Merged labels get their strictest threshold. A promised precision is valid for the labels as they were."""
    old = bundle.manifest["thresholds"]
    by_label: dict[str, float] = {}
    for label, below in old.get("by_label", {}).items():
        new = made.labels[label]
        by_label[new] = max(by_label.get(new, 0.0), below)
    # A merged label some of whose parts had their own threshold, and others the common one.
    for new, olds in made.merged.items():
        if new in by_label and any(label not in old.get("by_label", {}) for label in olds):
            by_label[new] = max(by_label[new], old["review_below"])
    found = {**old, "by_label": by_label}
    found["promises"] = [] if made.merged else [_renamed(promise, made) for promise in old.get("promises", [])]
    if separator:
        found |= {"by_level": _by_level(old["by_level"], made, separator), "level_promises": []}
    return found


def _by_level(known: Sequence[float], made: Relabelling, separator: str) -> list[float]:
    """Thresholds of the levels, none lower than the one above it: for each the greatest that any node that is there now had.

    A new node counts like the parts that it is made of: it is as sure as they are, and no better founded.
    """
    paths = {old: (path_of(old, separator), path_of(new, separator)) for old, new in made.labels.items()}
    levels = max(len(after) for _, after in paths.values())
    found = [*known, *[known[-1]] * levels][:levels]
    together: dict[Levels, Levels] = {}
    for before, after in paths.values():
        for end in range(1, len(before) + 1):
            node = before[:end]
            together[node] = _in_common(together.get(node, after), after)
    stayed = {after[:end] for before, after in paths.values() for end in range(1, len(_in_common(before, after)) + 1)}
    for label in made.moved:
        before, after = paths[label]
        start = made.starts[label]
        there = start + len(after) - len(before)
        for level in range(len(after)):
            if level >= there - 1:
                found[level] = max(found[level], known[level - there + start])
            elif after[: level + 1] not in stayed:
                # The largest part that was moved as a whole.
                ends = (end for end in range(1, len(before)) if together[before[:end]][: level + 1] == after[: level + 1])
                found[level] = max(found[level], known[next(ends, len(before)) - 1])
    return list(accumulate(found, max))


def _in_common(one: Levels, other: Levels) -> Levels:
    """The levels that two paths have in common at the start."""
    return tuple(level for level, _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _renamed(promise: Mapping[str, Any], made: Relabelling) -> dict[str, Any]:
    return {**promise, "labels": [made.labels.get(label, label) for label in promise["labels"]]}


def _metrics(
    old: Mapping[str, Any], old_labels: Sequence[str], made: Relabelling, labels: Sequence[str], places: Int64s
) -> dict[str, Any]:
    if not old:
        return {}
    # The figures of levels follow neither from the labels' names nor from their confusions.
    kept = {name: value for name, value in old.items() if name != "hierarchy"}
    counted = classification_metrics(_confusions(old, old_labels, places, len(labels)), labels)
    if made.merged:
        told = ("judged_on", "out_of_vocabulary_share", "unfamiliar", "labels_probably_wrong")
        kept = {name: old[name] for name in told if name in old} | {
            "elsewhere": [],
            "better_baselines": [],
            "cross_validation": None,
        }
    else:
        kept["elsewhere"] = [{**row, "label": made.labels.get(row["label"], row["label"])} for row in old.get("elsewhere", [])]
    return {**kept, **counted, "labels": list(labels)}


def _confusions(metrics: Mapping[str, Any], old_labels: Sequence[str], places: Int64s, labels: int) -> Int64s:
    """int64 [labels, labels + 1] of the judged texts; labels that only the evidence had are left out."""
    found = np.zeros((labels, labels + 1), np.int64)
    matrix = metrics.get("confusion_matrix")
    cells = (
        metrics.get("confusions", [])
        if matrix is None
        else [(i, j, rows) for i, row in enumerate(matrix) for j, rows in enumerate(row)]
    )
    for truth, predicted, rows in cells:
        if truth < len(old_labels):
            found[places[truth], places[predicted] if predicted < len(old_labels) else labels] += rows
    return found


def _card(bundle: Bundle, manifest: Mapping[str, Any], made: Relabelling, before: bytes | None) -> str:
    moves = [f"| {cell(old)} | {cell(new)} |" for old, new in made.moved.items()]
    merged = "Figures that depend on confidences or on other models were left out, since labels were merged: measure them with the job `evaluate`. "
    lines = [
        f"# {manifest['name']} {manifest['version']}",
        "",
        f"Relabelled from {bundle.model_version}, whose network it has: no text was learned. {merged if made.merged else ''}"
        "After the table comes that version's own card, with its labels.",
        "",
        "| label before | label now |",
        "|---|---|",
        *moves,
        "",
        *[
            f"- {label!r} becomes several ({', '.join(map(repr, news))}): it stays until a model is trained that knows them."
            for label, news in made.split.items()
        ],
        "",
    ]
    # Its pictures stayed with the old version.
    card = re.sub(r"^!\[.*\]\(.*\)\n?", "", (before or b"").decode(errors="replace"), flags=re.MULTILINE)
    return "\n".join([*lines, card.replace("# ", "## ", 1) if card.startswith("# ") else card])
