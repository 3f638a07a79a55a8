from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from lib.model.metrics import (
    MOST_LABELS_IN_A_MATRIX,
    classification_metrics,
    confusion_matrix,
    metrics_table,
    population_stability_index,
    worst_confusions,
)
from training.calibration import calibration_table

LABELS = ("a", "b", "c")


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=80))
def test_metrics_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = np.array(pairs).T
    metrics = classification_metrics(confusion_matrix(truth, predicted, 3), LABELS)
    assert metrics["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    present = sorted(set(truth))
    for average in ("weighted", "macro"):
        wanted = f1_score(truth, predicted, labels=present, average=average, zero_division=0)
        assert metrics[f"f1_{average}"] == pytest.approx(wanted)
    table = precision_recall_fscore_support(truth, predicted, labels=range(3), zero_division=0)
    for i, label in enumerate(LABELS):
        row = metrics["per_class"][label]
        assert [row["precision"], row["recall"], row["f1"], row["support"]] == pytest.approx([t[i] for t in table])


def test_a_row_without_category_is_a_miss() -> None:
    metrics = classification_metrics(confusion_matrix(np.array([0, 0]), np.array([0, 3]), 3), LABELS)
    assert metrics["rows"] == 2
    assert metrics["accuracy"] == 0.5
    assert metrics["per_class"]["a"]["precision"] == 1.0


def test_population_stability_index() -> None:
    assert population_stability_index({"a": 0.5, "b": 0.5}, {"a": 0.5, "b": 0.5}) == 0
    # (0.7 - 0.5) ln(0.7 / 0.5) + (0.3 - 0.5) ln(0.3 / 0.5), by hand
    assert population_stability_index({"a": 0.5, "b": 0.5}, {"a": 0.7, "b": 0.3}) == pytest.approx(0.16946, abs=1e-5)
    assert population_stability_index({"a": 1.0}, {"b": 1.0}) > 1


def test_calibration_bins_hold_every_row_once() -> None:
    confidence = np.array([0.05, 0.55, 0.56, 1.0], dtype=np.float32)
    table = calibration_table(confidence, np.array([False, True, False, True]))
    assert [row["rows"] for row in table] == [1, 2, 1]
    assert table[1]["accuracy"] == 0.5
    assert table[2]["confidence"] == 1.0


def test_of_many_classes_the_worst_are_shown() -> None:
    confusion = np.hstack([np.diag(np.arange(1, 101)), np.zeros((100, 1), int)])
    confusion[7, 8] = 50
    shown = metrics_table(classification_metrics(confusion, [f"class {i}" for i in range(100)])).splitlines()
    assert shown[5].startswith("class 7 ")
    assert len(shown) == 5 + 30 + 1
    assert shown[-1] == "… the 30 classes with the lowest F1 of 100"


@pytest.mark.parametrize("labels", [MOST_LABELS_IN_A_MATRIX, MOST_LABELS_IN_A_MATRIX + 1])
def test_of_many_labels_only_the_cells_with_rows_are_told(labels: int) -> None:
    truth, predicted = np.array([0, 0, 0, 1, 2, 2]), np.array([0, 1, 1, labels, 3, 2])
    names = [f"label {i}" for i in range(labels)]
    metrics = {**classification_metrics(confusion_matrix(truth, predicted, labels), names), "labels": names}
    assert worst_confusions(metrics, 5) == [("label 0", "label 1", 2), ("label 2", "label 3", 1)]
    assert worst_confusions(metrics, 1) == [("label 0", "label 1", 2)]
    assert (metrics["confusion_matrix"] is None) == (labels > MOST_LABELS_IN_A_MATRIX)
    if labels > MOST_LABELS_IN_A_MATRIX:
        assert metrics["confusions"] == [[0, 0, 1], [0, 1, 2], [1, labels, 1], [2, 2, 1], [2, 3, 1]]


def test_classes_without_a_row_are_not_shown_as_the_worst() -> None:
    confusion = confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 3)
    shown = metrics_table(classification_metrics(confusion, LABELS)).splitlines()
    assert [line.split()[0] for line in shown[5:]] == ["a", "b", "…"]
    assert shown[-1] == "… 1 classes without a row"
