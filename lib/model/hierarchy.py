"""How good paths are: F1 of each level, and how much of a partly wrong path is right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from lib.model.tree import path_of

Count = tuple[str | None, str | None, int]


def level_metrics(counts: Iterable[Count], separator: str) -> dict[str, Any]:
    """
    Args:
        counts: the true label, the predicted one (None for no category) and how many rows have them.
    Returns:
        hierarchical_precision, hierarchical_recall and hierarchical_f1: the share of the predicted paths' nodes that are in the true ones,
        the share of the true paths' nodes that are in the predicted ones, over all rows, the root left out (Kosmopoulos, Partalas, Gaussier,
        Paliouras and Androutsopoulos 2015, "Evaluation measures for hierarchical classification", section 3.2.1, with all
        ancestors). levels: for each, the top first, `level` from 1 on, `rows` whose true path has it, `labels` that they have,
        `accuracy` of these rows, f1_weighted and f1_macro over these labels.
    """
    every = [(path_of(true or "", separator), path_of(said or "", separator), rows) for true, said, rows in counts]
    shared = sum(rows * levels_shared(true, said) for true, said, rows in every)
    precision = _share(shared, sum(rows * len(said) for _, said, rows in every))
    recall = _share(shared, sum(rows * len(true) for true, _, rows in every))
    return {
        "hierarchical_precision": precision,
        "hierarchical_recall": recall,
        "hierarchical_f1": _share(2 * precision * recall, precision + recall),
        "levels": [_level(every, level) for level in range(max((len(true) for true, _, _ in every), default=0))],
    }


def levels_shared(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """How many levels two paths have in common, from the top."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count


def _level(every: list[tuple[tuple[str, ...], tuple[str, ...], int]], level: int) -> dict[str, Any]:
    support: Counter[tuple[str, ...]] = Counter()
    given: Counter[tuple[str, ...]] = Counter()
    right: Counter[tuple[str, ...]] = Counter()
    for true, said, rows in every:
        # A path that ends above this level has no label here.
        node, guess = (path[: level + 1] if len(path) > level else () for path in (true, said))
        support[node] += rows
        given[guess] += rows
        right[node] += rows * (node == guess)
    # In a fixed order, so that sums of fractions do not depend on the order of the counts.
    nodes = sorted(node for node in support if node)
    rows = sum(support[node] for node in nodes)
    f1 = {node: _share(2 * right[node], support[node] + given[node]) for node in nodes}
    return {
        "level": level + 1,
        "rows": rows,
        "labels": len(nodes),
        "accuracy": _share(sum(right[node] for node in nodes), rows),
        "f1_weighted": _share(sum(f1[node] * support[node] for node in nodes), rows),
        "f1_macro": _share(sum(f1.values()), len(nodes)),
    }


def _share(part: float, of: float) -> float:
    return part / of if of else 0.0
