"""What MLflow is told of a bundle."""

from __future__ import annotations

from training.registration import figures


def test_figures_of_a_training_without_folds() -> None:
    assert figures({"f1_weighted": 0.5, "judged_on": "test side", "cross_validation": None}) == {"f1_weighted": 0.5}
