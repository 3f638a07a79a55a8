"""How good paths are, by hand."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from lib.model.bundle import Bundle
from lib.model.evaluation import LabelCount, evaluation_text, metrics_of
from lib.model.hierarchy import level_metrics
from lib.model.tree import SEPARATOR, Tree
from training.calibration import Thresholds
from training.dataset import Elsewhere
from training.levels import levels_of, levels_record, with_levels
from training.recipe import ReviewSettings
from training.wrong_labels import _among

LABELS = ("A > x", "A > y", "B", "B > z")


def test_hierarchical_figures_are_those_of_sets_of_ancestors() -> None:
    counts = [("A > x", "A > x", 2), ("A > x", "A > y", 1), ("B > z", "B", 1), ("B > z", "A > x", 1), ("B", None, 1)]
    found = level_metrics(counts, SEPARATOR)
    # Nodes predicted: 4 + 2 + 1 + 2 + 0; true: 4 + 2 + 2 + 2 + 1; of both: 4 + 1 + 1 + 0 + 0.
    assert found["hierarchical_precision"] == pytest.approx(6 / 9)
    assert found["hierarchical_recall"] == pytest.approx(6 / 11)
    assert found["hierarchical_f1"] == pytest.approx(2 * 6 / 20)
    top, leaves = found["levels"]
    assert (top["rows"], top["labels"], top["accuracy"]) == (6, 2, pytest.approx(4 / 6))
    # A: 3 true, 4 given, 3 right; B: 3 true, 1 given, 1 right.
    assert top["f1_macro"] == pytest.approx((6 / 7 + 2 / 4) / 2)
    assert (leaves["rows"], leaves["labels"]) == (5, 3 - 1)
    # A > x: 3 true, 3 given, 2 right; B > z: 2 true, none given.
    assert leaves["f1_weighted"] == pytest.approx((4 / 6 * 3 + 0) / 5)


def test_a_label_that_was_learned_as_the_one_above_it_is_judged_as_that(shipped: Bundle) -> None:
    labels, moved = ("A", "A > x", "A > y", "B"), {"A > rare": "A", "A > rare > deep": "A"}
    thresholds = {**shipped.manifest["thresholds"], "by_level": [0.5, 0.5], "by_label": {}}
    manifest = {**shipped.manifest, "labels": labels, "label_separator": SEPARATOR, "thresholds": thresholds}
    bundle = replace(shipped, manifest={**manifest, "data": {"moved_up": moved}})
    counts = [
        LabelCount("A > rare", "A", "categorized", 3, 2.5, 0),
        LabelCount("A > rare", "B", "review", 1, 0.5, 0),
        LabelCount("A > rare > deep", "A", "categorized", 1, 1.0, 0),
        LabelCount("A > x", "A > x", "categorized", 4, 4.0, 0),
        LabelCount("C", "B", "review", 1, 0.5, 0),
        LabelCount(None, "B", "review", 1, 0.5, 0),
    ]
    found = metrics_of(counts, bundle, "labels.csv")
    assert found["accuracy"] == pytest.approx(8 / 10)
    assert (found["unknown_labels"], found["moved_up"]) == (["C"], {"A > rare": 4, "A > rare > deep": 1})
    assert (
        "5 rows of 2 labels are judged as the label above theirs, which training learned them as: 'A > rare', 'A > rare > deep'"
        in evaluation_text(found).splitlines()
    )
    # A label that it knows is that one, whatever was moved.
    known = replace(bundle, manifest={**bundle.manifest, "data": {"moved_up": {"A > x": "A"}}})
    assert metrics_of(counts[3:4], known, "labels.csv")["accuracy"] == 1
    flat = replace(bundle, manifest={**bundle.manifest, "label_separator": None})
    assert metrics_of(counts, flat, "labels.csv")["moved_up"] == {}


def test_each_level_is_told_with_its_accuracy_and_threshold(shipped: Bundle) -> None:
    labels = ("A > x", "A > y", "B")
    thresholds = {**shipped.manifest["thresholds"], "by_level": [0.25, 0.75], "by_label": {}}
    bundle = replace(
        shipped, manifest={**shipped.manifest, "labels": labels, "label_separator": SEPARATOR, "thresholds": thresholds}
    )
    counts = [
        LabelCount("A > x", "A > x", "categorized", 6, 5.5, 0, published=2),
        LabelCount("A > y", "A > x", "review", 2, 0.5, 0, published=1),
        LabelCount("B", "B", "categorized", 1, 0.5, 0, published=1),
        # Deeper than all that the bundle knows.
        LabelCount("B > z > new", "B", "categorized", 1, 0.5, 0, published=1),
    ]
    lines = evaluation_text(metrics_of(counts, bundle, "labels.csv")).splitlines()
    assert [line.partition(", weighted")[0] for line in lines if line.startswith("level ")] == [
        "level 1: accuracy 1.0000",
        "level 2: accuracy 0.6667",
        "level 3: accuracy 0.0000",
    ]
    assert [line.partition("; ")[2] for line in lines if line.startswith("level ")] == [
        "published from 0.250 on, of 100.0% of the rows, 100.0% of it right",
        "published from 0.750 on, of 60.0% of the rows, 100.0% of it right",
        "published of 0.0% of the rows",
    ]
    # Not all of its levels have rows here.
    assert [row["threshold"] for row in metrics_of(counts[2:3], bundle, "labels.csv")["hierarchy"]["levels"]] == [0.25]


def test_texts_from_elsewhere_are_judged_by_the_labels_that_were_learned() -> None:
    read = Elsewhere(pa.array(["a", "b", "c"]), ("A > rare", "A > x", "A > rare"), ("shop", "shop", "shop"))
    assert read.as_learned({}).remarks("other.csv") == []
    found = read.as_learned({"A > rare": "A", "B > rare": "B"})
    assert found.labels == ("A", "A > x", "A")
    assert found.remarks("other.csv") == [
        "2 rows of 1 labels of other.csv are judged as the label above theirs, which training learned them as: 'A > rare'"
    ]


def sure_rows(rows: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated probabilities, peaked at some rows, and labels drawn from them."""
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet([0.08] * len(LABELS), rows).astype(np.float32)
    truth = np.array([random.choice(len(LABELS), p=row / row.sum()) for row in probabilities.astype(np.float64)])
    return probabilities, truth


def test_each_level_gets_a_threshold_whose_promise_holds() -> None:
    tree = Tree(LABELS, SEPARATOR)
    probabilities, truth = sure_rows(4_000)
    review = ReviewSettings(target_precision=0.95)
    found = with_levels(Thresholds(0.5, {}), tree, probabilities, truth, review)
    assert [promise.is_kept for promise in found.level_promises] == [True, True]
    assert list(found.by_level) == sorted(found.by_level)
    others, labels = sure_rows(4_000, seed=2)
    record = levels_record(tree, others, labels, found.by_level, list(LABELS))
    for level in record["levels"]:
        assert level["precision"] > 0.94
        assert 0.2 < level["published"] < 1
    assert record["levels"][0]["published"] >= record["levels"][1]["published"]
    assert record["levels"][0]["covered"] >= record["levels"][1]["covered"] > 0


def test_without_a_target_all_levels_share_the_threshold_for_review() -> None:
    found = with_levels(Thresholds(0.4, {}), Tree(LABELS, SEPARATOR), *sure_rows(5), ReviewSettings())
    assert found.by_level == (0.4, 0.4)
    assert with_levels(found, None, *sure_rows(5), ReviewSettings()) is found


def test_a_level_is_right_where_all_above_it_is() -> None:
    probabilities = np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 3]]
    top, leaves = levels_of(Tree(LABELS, SEPARATOR), probabilities, np.array([1, 1, 3, 2, 4]))
    assert top.right.tolist() == [True, True, True, True, False]
    assert leaves.rows.tolist() == [0, 1, 3, 4]
    assert leaves.right.tolist() == [False, True, False, False]


def peak_of(work: Callable[[], object]) -> int:
    """The most bytes that it has at a time."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_no_copies_of_the_probabilities_of_all_texts_are_made() -> None:
    """Of thousands of labels one is gigabytes."""
    random = np.random.default_rng(1)
    labels = tuple(sorted(f"Department {i % 3} > Shelf {i:03}" for i in range(300)))
    tree, truth = Tree(labels, SEPARATOR), random.integers(0, 300, 10_000)
    probabilities = random.dirichlet([0.1] * 300, 10_000).astype(np.float32)
    assert peak_of(lambda: list(levels_of(tree, probabilities, truth))) < 0.5 * probabilities.nbytes
    rows, some = np.arange(1, 10_000), np.arange(1, 300)
    assert peak_of(lambda: _among(probabilities, rows, some)) < 1.2 * probabilities.nbytes
    found = _among(probabilities, rows, some)
    kept = probabilities[1:, 1:].astype(np.float64) + 1e-6
    np.testing.assert_allclose(found, kept / kept.sum(axis=1, keepdims=True), rtol=1e-4)


def test_blocks_of_rows_make_no_difference_to_the_levels() -> None:
    random = np.random.default_rng(2)
    tree, predicted = Tree(LABELS, SEPARATOR), random.integers(0, 4, 2_500)
    probabilities = random.dirichlet([0.5] * 4, 2_500).astype(np.float32)
    together = tree.confidences(probabilities, predicted)
    one_by_one = [tree.confidences(probabilities[i : i + 1], predicted[i : i + 1])[0] for i in range(2_500)]
    np.testing.assert_array_equal(together, one_by_one)
    assert tree.confidences(probabilities[:0], predicted[:0]).shape == (0, 2)
