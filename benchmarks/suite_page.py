"""The page and the picture of benchmarks/suite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.datasets import DATA_SETS
from training.card import LSTM, mean_and_spread

# The size that means all texts to fit to, not a sample.
ALL = "all"
# The tables' titles and their figures; the last is only for labels that are paths.
HIERARCHICAL = "Hierarchical F1"
FLAT = {"Weighted F1": "f1_weighted", "Macro F1": "f1_macro"}
METRICS = {**FLAT, HIERARCHICAL: "f1_hierarchical"}
# For each data set, by size: a record for each fold (benchmarks/suite.py, judge).
Results = Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]


def values(folds: Sequence[Mapping[str, Any]], model: str, metric: str) -> list[float]:
    """Of each fold; empty if the model was not fitted on all of them."""
    found = [fold["models"][model][metric] for fold in folds if metric in fold["models"].get(model, {})]
    return found if len(found) == len(folds) else []


def spread(numbers: Sequence[float]) -> dict[str, float] | None:
    return {"mean": float(np.mean(numbers)), "spread": float(np.std(numbers, ddof=1))} if len(numbers) > 1 else None


def models_of(results: Results) -> list[str]:
    """The LSTM first, then the others in their order of appearance."""
    every = dict.fromkeys(m for sizes in results.values() for folds in sizes.values() for m in folds[0]["models"])
    return [LSTM, *(model for model in every if model != LSTM)]


def best_other(folds: Sequence[Mapping[str, Any]], metric: str) -> str:
    """The model other than the LSTM with the highest mean of the metric; empty if there is none."""
    others = [model for model in folds[0]["models"] if model != LSTM and values(folds, model, metric)]
    return max(others, key=lambda model: float(np.mean(values(folds, model, metric))), default="")


def ahead(folds: Sequence[Mapping[str, Any]], metric: str) -> dict[str, float] | None:
    """Mean and spread, over the folds, of the LSTM's lead over the best other model on the same fold."""
    best, ours = best_other(folds, metric), values(folds, LSTM, metric)
    return spread(np.subtract(ours, values(folds, best, metric)).tolist()) if best and ours else None


def behind(whole: Mapping[str, Any]) -> list[str]:
    """Where another model is better than the LSTM, a sentence; empty if it is nowhere."""
    found = [
        f"{name} ({title[0].lower()}{title[1:]}, by {-lead['mean']:.4f} ± {lead['spread']:.4f}: {best_other(folds, metric)})"
        for title, metric in METRICS.items()
        for name, folds in whole.items()
        if (lead := ahead(folds, metric)) and lead["mean"] < 0
    ]
    return [f"The LSTM is behind the best of the others on {', '.join(found)}.", ""] if found else []


def page(results: Results) -> str:
    whole = {name: sizes[ALL] for name, sizes in results.items() if ALL in sizes}
    models = models_of(results)
    lines = [
        "# The suite",
        "",
        "    CATALOG_DATA=folder benchmarks/suite [--only NAME ...] [--models NAME ...] [--sizes SIZE ...]",
        "",
        "Every model with its defaults, fitted to the same texts of the same folds, which near-duplicates do not cross; mean ± spread "
        "(standard deviation) over the folds. “LSTM ahead by” is the mean ± spread of the difference, fold by fold, between the LSTM and the "
        "best of the others on that data set by the table's figure, which is chosen on the same folds. An empty cell was not measured.",
        "",
        *behind(whole),
        *(line for title, metric in FLAT.items() for line in table(title, metric, whole, models)),
        *hierarchical_table(whole, models),
        *time_table(whole, models),
        *curve_tables(results, models),
        "![weighted F1 by data set, learning curves](suite.png)",
        "",
        *origins(results),
    ]
    return "\n".join(lines) + "\n"


def table(title: str, metric: str, whole: Mapping[str, Any], models: Sequence[str]) -> list[str]:
    lines = [
        f"## {title}",
        "",
        f"| data set | texts | labels | {' | '.join(models)} | LSTM ahead by |",
        "|---" * (4 + len(models)) + "|",
    ]
    for name, folds in whole.items():
        means = [spread(values(folds, model, metric)) for model in models]
        best = max((row["mean"] for row in means if row), default=0.0)
        cells = [f"**{mean_and_spread(row)}**" if row and row["mean"] == best else mean_and_spread(row) for row in means]
        one = folds[0]
        lines.append(
            f"| {name} | {one['texts']:,} | {one['labels']} | {' | '.join(cells)} | {mean_and_spread(ahead(folds, metric))} |"
        )
    return [*lines, ""]


def hierarchical_table(whole: Mapping[str, Any], models: Sequence[str]) -> list[str]:
    """Of the data sets whose labels are paths."""
    trees = {name: folds for name, folds in whole.items() if DATA_SETS[name].separator}
    note = "For labels that are paths: the F1 over the nodes that predicted and true paths share (Kosmopoulos et al. 2015)."
    title, *lines = table(HIERARCHICAL, METRICS[HIERARCHICAL], trees, models) if trees else [""]
    return [title, "", note, *lines] if trees else []


def time_table(whole: Mapping[str, Any], models: Sequence[str]) -> list[str]:
    lines = [
        "## Calibration and time",
        "",
        "Expected calibration error of the LSTM, mean ± spread; seconds of one core that a fit takes; rows that the LSTM scores per second "
        "of one core in Keras (the nightly run's engine is faster: [throughput](throughput.md)).",
        "",
        f"| data set | texts fitted to | million characters | median words | LSTM's calibration error | LSTM's rows/core-second | {' | '.join(f'{m}, s' for m in models)} |",
        "|---" * (6 + len(models)) + "|",
    ]
    for name, folds in whole.items():
        error, rate = spread(values(folds, LSTM, "expected_calibration_error")), values(folds, LSTM, "rows_per_cpu_second")
        seconds = [values(folds, model, "cpu_seconds") for model in models]
        one = folds[0]
        lines.append(
            f"| {name} | {one['fitted_to']:,} | {one['characters'] / 1e6:.2f} | {one['median_tokens']:.0f} | {mean_and_spread(error)} "
            f"| {f'{np.mean(rate):,.0f}' if rate else ''} | {' | '.join(f'{np.mean(s):.1f}' if s else '' for s in seconds)} |"
        )
    return [*lines, ""]


def curves(results: Results) -> Iterator[tuple[str, list[tuple[int, Sequence[Mapping[str, Any]]]]]]:
    """Data sets with fits to fewer texts as well, with the folds of each size, the smallest first."""
    for name, sizes in results.items():
        if len(sizes) > 1:
            yield name, sorted(((folds[0]["fitted_to"], folds) for folds in sizes.values()), key=lambda one: one[0])


def curve_tables(results: Results, models: Sequence[str]) -> list[str]:
    lines = [f"| data set | texts fitted to | {' | '.join(models)} | LSTM ahead by |", "|---" * (3 + len(models)) + "|"]
    for name, sizes in curves(results):
        for size, folds in sizes:
            cells = [mean_and_spread(spread(values(folds, model, "f1_weighted"))) for model in models]
            lines.append(f"| {name} | {size:,} | {' | '.join(cells)} | {mean_and_spread(ahead(folds, 'f1_weighted'))} |")
    return ["## Learning curves: weighted F1 by texts fitted to", "", *lines, ""] if len(lines) > 2 else []


def origins(results: Results) -> list[str]:
    lines = [
        "## The data sets",
        "",
        "None of them is in the repository. This table says where to get the originals. The tables in `CATALOG_DATA` are made from them, without "
        "copies, and some of them without rows that are set aside for other evaluations.",
        "",
        "| data sets | what | the original | licence | citation |",
        "|---|---|---|---|---|",
    ]
    for origin in dict.fromkeys(of.origin for of in DATA_SETS.values()):
        names = [
            f"{name} ({of.sample:,} rows drawn)" if of.sample else name
            for name, of in DATA_SETS.items()
            if of.origin == origin and name in results
        ]
        if names:
            lines.append(f"| {', '.join(names)} | {origin.what} | `{origin.original}` | {origin.licence} | {origin.citation} |")
    return lines


def picture(results: Results) -> bytes:
    """Weighted F1 of every model on each data set; below it the learning curves, if there are any. As PNG."""
    from training.quiet import import_tensorflow

    import_tensorflow()
    from matplotlib.figure import Figure

    from training.pictures import png

    drawn = list(curves(results))
    rows = 1 + (len(drawn) + 2) // 3
    figure = Figure(figsize=(12, 1.5 + 0.38 * len(results) + 3.2 * (rows - 1)))
    grid = figure.add_gridspec(rows, 3, height_ratios=[1.5 + 0.38 * len(results), *[3.2] * (rows - 1)])
    models = models_of(results)
    _draw_data_sets(figure.add_subplot(grid[0, :]), results, models)
    for place, (name, sizes) in enumerate(drawn):
        _draw_curves(figure.add_subplot(grid[1 + place // 3, place % 3]), name, sizes, models)
    figure.tight_layout()
    return png(figure)


def _style(model: str, models: Sequence[str]) -> dict[str, Any]:
    from training.pictures import BLUE, GREY, ORANGE

    if model == LSTM:
        return {"color": BLUE, "marker": "D", "zorder": 3}
    others = [ORANGE, "#8c2d19", "#3a7d44", GREY, "#8e6bbf", "#2aa5a0"]
    return {"color": others[(list(models).index(model) - 1) % len(others)], "marker": "o"}


def _draw_data_sets(axes: Any, results: Results, models: Sequence[str]) -> None:
    whole = [(name, sizes[ALL]) for name, sizes in results.items() if ALL in sizes][::-1]
    for model in models:
        points = [(np.mean(found), y) for y, (_, folds) in enumerate(whole) if (found := values(folds, model, "f1_weighted"))]
        if points:
            axes.plot(*zip(*points, strict=True), linestyle="", label=model, alpha=0.85, **_style(model, models))
    axes.set_yticks(range(len(whole)), [f"{name} ({folds[0]['labels']} labels)" for name, folds in whole])
    axes.set_xlabel("weighted F1, mean over the folds")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3, frameon=False)


def _draw_curves(axes: Any, name: str, sizes: Sequence[tuple[int, Any]], models: Sequence[str]) -> None:
    for model in models:
        points = [(size, np.mean(found)) for size, folds in sizes if (found := values(folds, model, "f1_weighted"))]
        if points:
            axes.plot(*zip(*points, strict=True), markersize=4, **_style(model, models))
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xticks([size for size, _ in sizes], [f"{size:,}" for size, _ in sizes])
    axes.set_xlabel("texts fitted to")
    axes.set_ylabel("weighted F1")
    axes.set_title(name)
    axes.grid(alpha=0.3)
