"""The page of a training, and that of all versions of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib.model.bundle import Bundle
from lib.model.metrics import worst_confusions
from lib.reports.html import Cell, bar, lines, number, page, reliability, table, terms, text, trend

# What the tables call our own model.
LSTM = "LSTM"
MOST_LABELS = 200
MOST_CONFUSIONS = 12
MOST_ELSEWHERE = 60
Numbers = Mapping[str, Any]


@dataclass(frozen=True)
class Training:
    """A bundle's manifest, and its learning curves: name -> a value for each epoch; none where the bundle has none."""

    manifest: Numbers
    curves: Mapping[str, Sequence[float]]

    @property
    def metrics(self) -> Numbers:
        return dict(self.manifest.get("metrics") or {})


def training_page(bundle: Bundle, curves: Mapping[str, Sequence[float]]) -> str:
    """What a model is based on, how good it is compared with others, and what it does badly. curves: as in Training."""
    training = Training(bundle.manifest, curves)
    parts = [
        *_head(training),
        *_comparison(training.metrics),
        *_levels(training),
        *_labels(training),
        *_confusions(training.metrics),
        *_calibration(training.metrics),
        *_kinds_of_texts(training.metrics),
        *_data(training.manifest),
        *_learning(training),
        *_settings(training.manifest),
    ]
    return page(f"Model {bundle.model_version}", parts)


def versions_page(name: str, manifests: Sequence[Numbers], current: str | None, there: Iterable[str]) -> str:
    """All versions of a model, newest first. current: the one in use; there: versions with a page next to this one, by their ids."""
    pages, oldest_first = set(there), manifests[::-1]
    drawn = [
        trend(said, [_metric(one, key) for one in oldest_first], form)
        for said, key, form in (
            ("weighted F1", "f1_weighted", ".4f"),
            ("macro F1", "f1_macro", ".4f"),
            ("calibration error", "expected_calibration_error", ".4f"),
        )
    ]
    header = ["version", "made", *[Cell(one, "number") for one in ("labels", "texts", "weighted F1", "macro F1")], "judged on"]
    rows = [_version_row(name, one, current, pages) for one in manifests]
    trends = f'<div class="trends">{"".join(drawn)}</div>' if len(manifests) > 1 else ""
    return page(
        f"Versions of {name}",
        [f"<h1>{text(name)}</h1>", trends, "<h2>Versions</h2>", table("Newest first", header, rows)],
    )


def _version_row(name: str, manifest: Numbers, current: str | None, pages: set[str]) -> list[object]:
    version = str(manifest["version"])
    file = f"{name}-{version}"
    linked = f'<a href="{text(file)}.html">{text(version)}</a>' if file in pages else text(version)
    in_use = ' <span class="status good">current</span>' if version == current else ""
    figures = [number(_metric(manifest, key), ".4f") for key in ("f1_weighted", "f1_macro")]
    counts = [number(len(manifest["labels"])), number((manifest.get("data") or {}).get("rows"))]
    judged_on = (manifest.get("metrics") or {}).get("judged_on", "")
    return [Cell(linked + in_use), str(manifest.get("created_at", ""))[:10], *counts, *figures, judged_on]


def _metric(manifest: Numbers, name: str) -> float | None:
    value = (manifest.get("metrics") or {}).get(name)
    return None if value is None else float(value)


def _head(training: Training) -> list[str]:
    manifest, metrics = training.manifest, training.metrics
    data, review = manifest.get("data") or {}, metrics.get("review") or {}
    steps = manifest.get("relabelled") or []
    pairs: list[tuple[str, object]] = [("made", str(manifest.get("created_at", "")).replace("T", " ")[:19] + " UTC")]
    pairs += [("relabelled from", f"{steps[-1]['from']}: {len(steps[-1]['labels']):,} labels moved")] if steps else []
    pairs += [("labels", f"{len(manifest['labels']):,}"), ("texts", f"{data.get('rows', 0):,}")]
    if "f1_weighted" in metrics:
        low_and_high = metrics.get("f1_weighted_interval")
        interval = f" ({low_and_high[0]:.4f} to {low_and_high[1]:.4f} at a confidence level of 95 %)" if low_and_high else ""
        figures = f"weighted F1 {metrics['f1_weighted']:.4f}{interval}, macro F1 {metrics['f1_macro']:.4f}, accuracy {metrics['accuracy']:.4f}"
        pairs += [(f"on {metrics.get('judged_on', 'its test side')}", f"{figures}, over {metrics.get('rows', 0):,} texts")]
    if "share_kept" in review:
        kept = f"{review['share_kept']:.1%} of the texts are sure enough, {review['precision_kept']:.1%} of them right"
        pairs += [(f"from {review['review_below']:.3f} on", kept)]
    name = str(manifest["name"])
    return [
        f"<h1>{text(name)} {text(manifest['version'])}</h1>",
        f"<p><a href='{text(name)}.html'>all versions of {text(name)}</a></p>",
        terms(pairs),
    ]


def _comparison(metrics: Numbers) -> list[str]:
    """Our model and the baselines, the best first."""
    found: Numbers = metrics.get("comparison") or {}
    if not found:
        return []
    folds = (metrics.get("cross_validation") or {}).get("models", {})
    rows = []
    for name, row in sorted(found.items(), key=lambda item: -item[1]["f1_weighted"]):
        over = folds.get(name)
        spread = f"{over['mean']:.4f} ± {over['spread']:.4f}" if over else ""
        drawn = bar(row["f1_weighted"], "" if name == LSTM else "second")
        rows.append([name, number(row["f1_weighted"], ".4f"), drawn, number(row["f1_macro"], ".4f"), Cell(spread, "number")])
    header = ["model", Cell("weighted F1", "number"), "", Cell("macro F1", "number"), Cell("over folds", "number")]
    behind = metrics.get("better_baselines") or []
    told = "".join(
        f"<li>{text(one['model'])}: weighted F1 {one['f1_weighted']:.4f} against {one['lstm_f1_weighted']:.4f}, ahead by {one['low']:.4f} to "
        f"{one['high']:.4f} in 95 % of the draws of a paired bootstrap</li>"
        for one in behind
    )
    warned = (
        f'<div class="panel"><p><strong class="bad">Worse than a simpler model</strong></p><ul>{told}</ul></div>'
        if told
        else ""
    )
    caption = f"On {metrics.get('judged_on', 'the test side')}, the same texts for all"
    return ["<h2>Compared with simpler models</h2>", warned, table(caption, header, rows)]


def _levels(training: Training) -> list[str]:
    found, thresholds = training.metrics.get("hierarchy"), training.manifest["thresholds"].get("by_level") or ()
    if not found:
        return []
    rows = []
    for row, threshold in zip(found["levels"], thresholds, strict=False):
        figures = [number(row[key], ".4f") for key in ("accuracy", "f1_weighted", "f1_macro")]
        published = [
            number(threshold, ".3f"),
            number(row["published"], ".1%"),
            bar(row["published"]),
            number(row["precision"], ".1%"),
        ]
        rows.append([str(row["level"]), number(row["labels"]), *figures, *published])
    names = ("labels", "accuracy", "weighted F1", "macro F1", "published from", "published")
    header = ["level", *[Cell(name, "number") for name in names], "", Cell("of it right", "number")]
    caption = (
        f"Hierarchical precision {found['hierarchical_precision']:.4f}, recall {found['hierarchical_recall']:.4f}, "
        f"F1 {found['hierarchical_f1']:.4f}"
    )
    return ["<h2>Levels</h2>", table(caption, header, rows)]


def _labels(training: Training) -> list[str]:
    """The weakest first: they need work."""
    judged = {label: row for label, row in (training.metrics.get("per_class") or {}).items() if row["support"]}
    if not judged:
        return []
    below = training.manifest["thresholds"].get("by_label") or {}
    rows = []
    for label, row in sorted(judged.items(), key=lambda item: (item[1]["f1"], item[0]))[:MOST_LABELS]:
        figures = [number(row["f1"], ".3f"), bar(row["f1"]), number(row["precision"], ".3f"), number(row["recall"], ".3f")]
        own = [number(below.get(label), ".3f")] if below else []
        rows.append([label, *figures, number(row["support"]), *own])
    header = ["label", Cell("F1", "number"), "", *[Cell(name, "number") for name in ("precision", "recall", "texts")]]
    header += [Cell("review below", "number")] if below else []
    every = f"The {MOST_LABELS} weakest of {len(judged):,}" if len(judged) > MOST_LABELS else "The weakest first"
    unjudged = len(training.manifest["labels"]) - len(judged)
    more = f"<p>{unjudged:,} more labels have no text to be judged on.</p>" if unjudged > 0 else ""
    return ["<h2>Labels</h2>", table(every, header, rows), more]


def _confusions(metrics: Numbers) -> list[str]:
    if "confusion_matrix" not in metrics or "labels" not in metrics:
        return []
    rows = [[truth, predicted, number(count)] for truth, predicted, count in worst_confusions(metrics, MOST_CONFUSIONS)]
    header = ["is", "was taken for", Cell("texts", "number")]
    return ["<h2>Confusions</h2>", table("The most frequent ones", header, rows)] if rows else []


def _calibration(metrics: Numbers) -> list[str]:
    points = metrics.get("calibration")
    if not points:
        return []
    error = metrics.get("expected_calibration_error", 0.0)
    said = f"Accuracy by confidence: a confidence is off by {error:.3f} on average (expected calibration error)"
    rows = [[f"{row['confidence']:.3f}", number(row["accuracy"], ".3f"), number(row["rows"])] for row in points]
    header = ["mean confidence", Cell("accuracy", "number"), Cell("texts", "number")]
    coverage = [
        [f"{row['target_precision']:.0%}", number(row["share"], ".1%"), bar(row["share"]), number(row["confidence"], ".3f")]
        for row in metrics.get("coverage") or ()
    ]
    possible = table(
        "What is possible, with thresholds chosen on these very texts",
        ["at a precision of", Cell("of the texts", "number"), "", Cell("from a confidence of", "number")],
        coverage,
    )
    drawn = reliability([(row["confidence"], row["accuracy"], row["rows"]) for row in points], said)
    return [
        "<h2>Confidence</h2>",
        f"<figure>{drawn}<figcaption>{text(said)}</figcaption></figure>",
        f"<details><summary>The numbers</summary>{table('Accuracy by confidence', header, rows)}</details>",
        possible if coverage else "",
    ]


def _kinds_of_texts(metrics: Numbers) -> list[str]:
    parts = []
    lengths = metrics.get("by_length") or ()
    if lengths:
        rows = [
            [row["length"], number(row["f1_weighted"], ".3f"), bar(row["f1_weighted"]), number(row["rows"])] for row in lengths
        ]
        header = ["length", Cell("weighted F1", "number"), "", Cell("texts", "number")]
        parts += ["<h2>Short and long texts</h2>", table("By length of the text", header, rows)]
    elsewhere = sorted(metrics.get("elsewhere") or (), key=lambda row: row["recall"].get(LSTM, 0.0))[:MOST_ELSEWHERE]
    if elsewhere:
        names = list(elsewhere[0]["recall"])
        rows = [
            [row["origin"], row["label"], number(row["rows"]), *[number(row["recall"][name], ".3f") for name in names]]
            for row in elsewhere
        ]
        header = ["origin", "label", Cell("texts", "number"), *[Cell(text(name), "number") for name in names]]
        parts += ["<h2>Texts from elsewhere</h2>", table("Share that gets the right label, the worst first", header, rows)]
    return parts


def _data(manifest: Numbers) -> list[str]:
    data: Numbers = manifest.get("data") or {}
    if not data:
        return []
    split = data.get("split") or {}
    rows = [["rows that were read", number(data.get("rows_read"))]]
    rows += [[f"dropped: {reason}", number(count)] for reason, count in (data.get("dropped") or {}).items() if count]
    rows += [[f"{side} side", number(split[side])] for side in ("train", "validation", "test") if side in split]
    if split.get("left_out"):
        rows.append(["on no side, being near-duplicates of a text that is judged on", number(split["left_out"])])
    wrong = (manifest.get("metrics") or {}).get("labels_probably_wrong")
    if wrong is not None:
        rows.append(["labels that are probably wrong (evaluation/wrong_labels.csv)", number(wrong)])
    rare = [[f"label of too few texts: {label}", number(count)] for label, count in (data.get("rare_labels") or {}).items()]
    limits = "".join(f"<li>{text(limit)}</li>" for limit in data.get("limits") or ())
    return [
        "<h2>Data</h2>",
        f"<p>{text(data['note'])}</p>" if data.get("note") else "",
        table("Labelled texts", ["", Cell("texts", "number")], [*rows, *rare]),
        f"<h2>Limits</h2><ul>{limits}</ul>" if limits else "",
    ]


def _learning(training: Training) -> list[str]:
    parts = []
    for name, said in (("loss", "Loss"), ("accuracy", "Accuracy")):
        curves = {
            side: training.curves[key]
            for side, key in (("train", name), ("validation", f"val_{name}"))
            if training.curves.get(key)
        }
        if curves:
            ends = "; ".join(f"{side} {values[-1]:.4f}" for side, values in curves.items())
            told = f"{said} of the LSTM over {len(next(iter(curves.values())))} epochs, at the end: {ends}"
            parts.append(f"<figure>{lines(curves, told)}<figcaption>{text(told)}</figcaption></figure>")
    return ["<h2>Learning</h2>", *parts] if parts else []


def _settings(manifest: Numbers) -> list[str]:
    pairs = [(name, value) for part in ("training", "text", "libraries") for name, value in _flat(part, manifest.get(part))]
    return [f"<h2>Settings and versions</h2><details><summary>All {len(pairs)}</summary>{terms(pairs)}</details>"]


def _flat(name: str, value: object) -> list[tuple[str, object]]:
    """Nested settings as a list, each under its path."""
    if isinstance(value, Mapping):
        return [pair for key, inner in value.items() for pair in _flat(f"{name} {str(key).replace('_', ' ')}", inner)]
    shown = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
    return [] if value is None else [(name, str(shown)[:300])]
