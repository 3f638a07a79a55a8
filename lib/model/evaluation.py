"""A bundle against labels: from counts, however they were taken, to the figures that are reported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np

from lib.errors import InputError
from lib.model.bundle import Bundle
from lib.model.changes import named, plain
from lib.model.hierarchy import level_metrics, levels_shared
from lib.model.metrics import classification_metrics, metrics_table
from lib.model.tree import path_of
from lib.model.unfamiliarity import UNFAMILIAR_SHARE
from schemas.statuses import CATEGORIZED_STATUS

# More labels that neither a bundle nor its training texts know, on most of the rows, are those of another column, such as the titles.
MOST_UNKNOWN = 2_000
# The confusions are counted in a matrix of labels by labels, which then takes 800 MB.
MOST_LABELS = 10_000
# A share of texts that have the digest of another, 32 bits long.
SEEN_BY_CHANCE = 1e-4


@dataclass(frozen=True)
class LabelCount:
    """Rows of one label (null or blank: no label), category (None: no category) and status.

    confidence: the sum of their confidences; unfamiliar: how many are among the UNFAMILIAR_SHARE of texts that are most unlike the training texts;
    published: how many levels of their path are published, 0 where labels are not paths; asked: rows whose text would be in the bundle's record of the
    texts that it was fitted to; seen: those of which it is.
    """

    label: str | None
    category: str | None
    status: str
    rows: int
    confidence: float
    unfamiliar: int
    published: int = 0
    asked: int = 0
    seen: int = 0


def metrics_of(counts: Sequence[LabelCount], bundle: Bundle, where: str) -> dict[str, Any]:
    """Metrics over every row that has a label.

    A row whose text has no words counts as a miss, as does a label that the bundle does not know; such labels are
    listed. One that training learned as the label above it is judged as that one.

    Returns:
        lib.model.metrics.classification_metrics with model_version, labels, rows_without_label and unknown_labels; moved_up: rows by label
        of those that are judged as the label above theirs;
        estimated_accuracy of the rows that have a category, and estimated_precision of those that need no review: rows,
        estimated (as a nightly run does without labels) and measured. Both are None without such rows. unfamiliar: the share
        of the rows that --unfamiliar of UNFAMILIAR_SHARE would send to review; None for a bundle that is older than this number. hierarchy: for
        labels that are paths, lib.model.hierarchy.level_metrics, each level also with `threshold`, the bundle's, None below its levels, with
        `published`, the share of the rows that it is published for, and `precision`, how many of these are right; None for a flat list. fitted_to: how many of the rows have a text that the bundle was
        fitted to, an estimate where it has recorded only some of these; None where it has recorded none.
    Raises:
        InputError: no labelled row, or another column's values as labels.
    """
    counts = as_spelt(counts, bundle)
    labelled, moved = as_learned([count for count in counts if count.label], bundle)
    if not labelled:
        raise InputError(f"Expected rows with a label in {where}, found none; correct --labels or --label-column.")
    unknown = sorted({count.label for count in labelled if count.label} - set(bundle.labels))
    _check_unknown(unknown, labelled, bundle, where)
    labels = [*bundle.labels, *unknown]
    return {
        "model_version": bundle.model_version,
        **classification_metrics(_confusion(labelled, labels), labels),
        "labels": labels,
        "unknown_labels": unknown,
        "moved_up": moved,
        "rows_without_label": sum(count.rows for count in counts if not count.label),
        "estimated_accuracy": _estimate([count for count in labelled if count.category is not None]),
        "estimated_precision": _estimate([count for count in labelled if count.status == CATEGORIZED_STATUS]),
        "unfamiliar": _unfamiliar(labelled) if bundle.unfamiliarity else None,
        "fitted_to": _fitted_to(labelled),
        "hierarchy": _hierarchy(labelled, bundle.tree.separator, bundle.level_thresholds) if bundle.tree else None,
    }


def _check_unknown(unknown: Sequence[str], labelled: Sequence[LabelCount], bundle: Bundle, where: str) -> None:
    """Refuse another column's values. Labels that training had, and left out for lack of texts, are none."""
    left_out = bundle.manifest.get("data", {}).get("rare_labels", {})
    foreign = {label: 0 for label in unknown if label not in left_out}
    if len(foreign) <= MOST_UNKNOWN:
        return
    for count in labelled:
        if count.label in foreign:
            foreign[count.label] += count.rows
    rows, of = sum(foreign.values()), sum(count.rows for count in labelled)
    if 2 * rows > of or len(bundle.labels) + len(unknown) > MOST_LABELS:
        raise InputError(
            f"Expected labels such as those of {bundle.model_version} in {where}, found {len(foreign):,} that it does not know, such as "
            f"{named(list(foreign)[:1])}, on {rows:,} of {of:,} rows; correct --label-column, or the table."
        )


def as_spelt(counts: Sequence[LabelCount], bundle: Bundle) -> list[LabelCount]:
    """Rows under the bundle's spelling of their label, or the one of lib.model.changes.plain where the bundle does not know it."""
    separator = bundle.tree.separator if bundle.tree else None
    known = {plain(label, separator): label for label in (*bundle.moved_up, *bundle.labels)}
    exactly = {*bundle.moved_up, *bundle.labels}
    spelt = {
        label: label if label in exactly else known.get(plain(label, separator), plain(label, separator))
        for label in {count.label for count in counts if count.label}
    }
    return [replace(count, label=spelt.get(count.label or "", count.label)) for count in counts]


def as_learned(counts: Sequence[LabelCount], bundle: Bundle) -> tuple[list[LabelCount], dict[str, int]]:
    """Rows of labels that training learned as the one above them, for lack of texts, under that one, and how many have which of these."""
    above = {label: parent for label, parent in bundle.moved_up.items() if label not in bundle.labels}
    moved: Counter[str] = Counter()
    for count in counts:
        if count.label in above:
            moved[count.label] += count.rows
    return [replace(count, label=above.get(count.label or "", count.label)) for count in counts], dict(moved)


def as_learned_text(rows: Mapping[str, int], where: str = "") -> str:
    """A sentence on rows of labels that are judged as the one above them. where: they are from, as the user named it."""
    return (
        f"{sum(rows.values()):,} rows of {len(rows):,} labels{f' of {where}' if where else ''} are judged as the label above theirs, which "
        f"training learned them as: {named(rows)}"
    )


def _hierarchy(counts: Sequence[LabelCount], separator: str, thresholds: Sequence[float]) -> dict[str, Any]:
    found = level_metrics([(count.label, count.category, count.rows) for count in counts], separator)
    rows = sum(count.rows for count in counts)
    shared = [levels_shared(*(path_of(name or "", separator) for name in (count.label, count.category))) for count in counts]
    # Labels that the bundle does not know may be deeper than its own.
    for level, threshold in zip_longest(found["levels"], thresholds[: len(found["levels"])]):
        kept = [(count, levels) for count, levels in zip(counts, shared, strict=True) if count.published >= level["level"]]
        right = sum(count.rows for count, levels in kept if levels >= level["level"])
        of = sum(count.rows for count, _ in kept)
        level |= {"threshold": threshold, "published": of / rows, "precision": right / of if of else None}
    return found


def _confusion(counts: Sequence[LabelCount], labels: Sequence[str]) -> Any:
    confusion = np.zeros((len(labels), len(labels) + 1), dtype=np.int64)
    places = {label: i for i, label in enumerate(labels)}
    for count in counts:
        predicted = len(labels) if count.category is None else places[count.category]
        confusion[places[count.label or ""], predicted] += count.rows
    return confusion


def _estimate(counts: Sequence[LabelCount]) -> dict[str, float] | None:
    rows = sum(count.rows for count in counts)
    if not rows:
        return None
    hits = sum(count.rows for count in counts if count.label == count.category)
    return {"rows": rows, "estimated": sum(count.confidence for count in counts) / rows, "measured": hits / rows}


def _unfamiliar(counts: Sequence[LabelCount]) -> dict[str, float]:
    found = sum(count.unfamiliar for count in counts) / sum(count.rows for count in counts)
    return {"asked": UNFAMILIAR_SHARE, "found": found}


def seen_of(bundle: Bundle) -> Mapping[str, Any] | None:
    """The bundle's record of the texts that it was fitted to (lib.model.seen_texts); None where it is older than this record."""
    found: Mapping[str, Any] | None = bundle.manifest.get("data", {}).get("seen")
    return found


def _fitted_to(counts: Sequence[LabelCount]) -> int | None:
    rows, asked, seen = (sum(getattr(count, name) for count in counts) for name in ("rows", "asked", "seen"))
    return round(rows * seen / asked) if asked else None


def fitted_to_text(metrics: Mapping[str, Any]) -> str:
    """A sentence on rows whose texts the bundle was fitted to; empty where these are none, or so few that their digests may be equal by chance."""
    found, rows = metrics.get("fitted_to") or 0, metrics["rows"]
    if not found or found < rows * SEEN_BY_CHANCE:
        return ""
    return f"{found:,} of these {rows:,} texts are ones that the bundle was fitted to, so the figures are too good"


def evaluation_text(metrics: Mapping[str, Any]) -> str:
    """All of it as lines of text."""
    head = f"{metrics['model_version']} on {metrics['rows']:,} labelled rows"
    left_out = f"left out: {metrics['rows_without_label']:,} rows without a label" if metrics["rows_without_label"] else None
    moved = as_learned_text(metrics["moved_up"]) if metrics["moved_up"] else None
    return "\n".join(
        filter(
            None,
            [
                head,
                metrics_table(metrics),
                levels_text(metrics),
                estimates_text(metrics),
                fitted_to_text(metrics),
                moved,
                left_out,
            ],
        )
    )


def levels_text(metrics: Mapping[str, Any]) -> str:
    """How good each level is where labels are paths; lines for a terminal, empty for a flat list."""
    found = metrics["hierarchy"]
    if not found:
        return ""
    names = ("precision", "recall", "f1")
    lines = ["hierarchical " + ", ".join(f"{name} {found[f'hierarchical_{name}']:.4f}" for name in names)]
    for row in found["levels"]:
        right = "" if row["precision"] is None else f", {row['precision']:.1%} of it right"
        since = "" if row["threshold"] is None else f" from {row['threshold']:.3f} on,"
        lines.append(
            f"level {row['level']}: accuracy {row['accuracy']:.4f}, weighted F1 {row['f1_weighted']:.4f}, macro F1 {row['f1_macro']:.4f} of "
            f"{row['labels']:,} labels; published{since} of {row['published']:.1%} of the rows{right}"
        )
    return "\n".join(lines)


def estimates_text(metrics: Mapping[str, Any]) -> str:
    """What a run would estimate without the labels, next to what they show; a line for a terminal."""
    parts = [
        f"of the {row['rows']:,} rows {which}: estimated {row['estimated']:.1%}, measured {row['measured']:.1%}"
        for which, row in (
            ("with a category", metrics["estimated_accuracy"]),
            ("not in review", metrics["estimated_precision"]),
        )
        if row
    ]
    accuracy = f"accuracy {'; '.join(parts)}" if parts else "accuracy: no row has a category"
    unfamiliar = metrics.get("unfamiliar")
    if unfamiliar is None:
        return accuracy
    return f"{accuracy}\n--unfamiliar {unfamiliar['asked']:g} would send {unfamiliar['found']:.1%} of the rows to review"
