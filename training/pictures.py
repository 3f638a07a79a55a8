"""The pictures of an evaluation, as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import keras
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font

from lib.model.metrics import worst_confusions

matplotlib.use("Agg")
DPI = 90
# Inches; hundreds of labels are shown without their names.
LARGEST_SIDE = 20.0
CONFUSIONS_SHOWN, LONGEST_NAME = 20, 60
BLUE, ORANGE, GREY = "#1f5fa8", "#d9822b", "#666666"


def png(figure: Figure) -> bytes:
    """The figure as PNG, the same bytes for the same picture."""
    buffer = BytesIO()
    # Without the software's version in it, the same picture is the same bytes.
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight", metadata={"Software": None})
    return buffer.getvalue()


def confusion_matrix_png(metrics: Mapping[str, Any]) -> bytes:
    """Rows in each cell, coloured by the share of the true class; for more labels than a matrix can show, the most frequent confusions."""
    labels = metrics["labels"]
    if metrics["confusion_matrix"] is None:
        return _worst_confusions_png(metrics)
    counts = np.array(metrics["confusion_matrix"])[:, : len(labels)]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(max(4.5, 0.75 * len(labels)), LARGEST_SIDE)
    figure = Figure(figsize=(side + 1.5, side))
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    if 0.25 * len(labels) <= side:
        names = [_printable(label, i) for i, label in enumerate(labels)]
        axes.set_xticks(range(len(labels)), names, rotation=35, ha="right", parse_math=False)
        axes.set_yticks(range(len(labels)), names, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if 0.75 * len(labels) <= side:
        for (i, j), count in np.ndenumerate(counts):
            axes.text(j, i, str(count), ha="center", va="center", color="white" if shares[i, j] > 0.5 else "black")
    axes.set_title(f"{metrics['judged_on'].capitalize()}, {metrics['rows']:,} texts")
    return png(figure)


def _worst_confusions_png(metrics: Mapping[str, Any]) -> bytes:
    found = worst_confusions(metrics, CONFUSIONS_SHOWN)
    figure = Figure(figsize=(9, 1.2 + 0.5 * max(len(found), 1)))
    axes = figure.subplots()
    places = {label: i for i, label in enumerate(metrics["labels"])}
    names = [f"{_end_of(_printable(a, places[a]))}\ntaken for {_end_of(_printable(b, places[b]))}" for a, b, _ in found]
    bars = axes.barh(range(len(found)), [rows for _, _, rows in found], color=BLUE)
    axes.bar_label(bars, padding=3)
    axes.set_yticks(range(len(found)), names, fontsize=8, parse_math=False)
    axes.invert_yaxis()
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("texts")
    axes.set_title(f"Most frequent confusions, {metrics['judged_on']}, {metrics['rows']:,} texts")
    return png(figure)


def _end_of(label: str) -> str:
    """The end of a long label, such as a path, which distinguishes it from its neighbours."""
    return label if len(label) <= LONGEST_NAME else f"…{label[1 - LONGEST_NAME :]}"


def _printable(label: str, place: int) -> str:
    """The label, or its place among the labels where the font lacks one of its characters."""
    font = get_font(findfont("DejaVu Sans"))
    return label if all(font.get_char_index(ord(character)) for character in label) else f"label {place + 1}"


def learning_curves_png(curves: Mapping[str, Sequence[float]]) -> bytes:
    """Loss and accuracy of each epoch, on the train and the validation side."""
    figure = Figure(figsize=(9, 3.6))
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        epochs = range(1, len(curves[name]) + 1)
        axes.plot(epochs, curves[name], marker="o", color=BLUE, label="train (with dropout)")
        axes.plot(epochs, curves[f"val_{name}"], marker="o", color=ORANGE, label="validation")
        axes.set_xlabel("epoch")
        axes.set_ylabel(name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.tight_layout()
    return png(figure)


def reliability_png(metrics: Mapping[str, Any]) -> bytes:
    """Accuracy against confidence; on the diagonal a confidence is the accuracy."""
    table = metrics["calibration"]
    figure = Figure(figsize=(5, 4.5))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":")
    axes.plot([row["confidence"] for row in table], [row["accuracy"] for row in table], marker="o", color=BLUE)
    for row in table:
        axes.annotate(
            str(row["rows"]), (row["confidence"], row["accuracy"]), xytext=(6, -10), textcoords="offset points", fontsize=8
        )
    axes.set_xlabel("confidence")
    axes.set_ylabel("accuracy")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.grid(alpha=0.3)
    axes.set_title(f"Expected calibration error {metrics['expected_calibration_error']:.3f}; numbers are rows")
    return png(figure)


def architecture_png(network: keras.Model) -> bytes:
    """The layers from input to output, with shapes and weights: the LSTM's, next to them the bag's, and those that read both."""
    layers = [layer for layer in network.layers if "dropout" not in layer.name]
    joint = [layer for layer in layers if layer.name in ("both", "probabilities")]
    bag = [layer for layer in layers if layer.name.startswith("bag") or layer.name in ("features", "weights")]
    columns = [column for column in ([layer for layer in layers if layer not in bag + joint], bag) if column]
    rows = max(map(len, columns)) + len(joint)
    figure = Figure(figsize=(4.5 * len(columns) + 0.5, 0.95 * rows))
    axes = figure.subplots()
    axes.axis("off")
    axes.set_xlim(0, 10 * len(columns))
    axes.set_ylim(-rows, 0.3)
    middle = 5.0 * len(columns)
    places = [(layer, 10.0 * i + 5, float(-j)) for i, column in enumerate(columns) for j, layer in enumerate(column)]
    ends = [(10.0 * i + 5, float(1 - len(column))) for i, column in enumerate(columns)]
    for i, layer in enumerate(joint):
        row = float(len(joint) - rows - i)
        places.append((layer, middle, row))
        for x, y in ends if i == 0 else [(middle, row + 1)]:
            _arrow(axes, (x, y), (middle, row))
    for column, (x, _) in zip(columns, ends, strict=True):
        for j in range(1, len(column)):
            _arrow(axes, (x, 1.0 - j), (x, float(-j)))
    for layer, x, y in places:
        shape = " × ".join("?" if size is None else str(size) for size in layer.output.shape)
        text = f"{layer.name} ({type(layer).__name__})\noutput {shape}, {layer.count_params():,} weights"
        box = {"boxstyle": "round,pad=0.45", "facecolor": "#eaf1fa", "edgecolor": BLUE}
        axes.text(x, y - 0.3, text, ha="center", va="center", fontsize=9, bbox=box)
    return png(figure)


def _arrow(axes: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """From the box at `start` down to the one at `end`."""
    style = {"arrowstyle": "->", "color": GREY}
    axes.annotate("", xy=(end[0], end[1] + 0.02), xytext=(start[0], start[1] - 0.62), arrowprops=style)
