from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.recipes import tiny_place
from training.promotion import Judged, promotion


def figures(f1: float, judged_on: str = "test side", mean: float | None = None) -> dict[str, Any]:
    validated = None if mean is None else {"models": {"LSTM": {"mean": mean}}}
    return {"f1_weighted": f1, "judged_on": judged_on, "cross_validation": validated}


def bundle(fingerprint: str, metrics: dict[str, Any]) -> Any:
    return SimpleNamespace(model_version="tiny/1", manifest={"data": {"fingerprint": fingerprint}, "metrics": metrics})


@pytest.mark.parametrize(
    ("present", "new", "judged", "moves", "because"),
    [
        (None, figures(0.1), None, True, "there was none before"),
        # On the new test side, whatever was recorded.
        (
            bundle("a", figures(0.99)),
            figures(0.8),
            Judged(0.8, 0.7, 100, 100),
            True,
            "0.8000 against 0.7000 of the present tiny/1 on this test side, margin",
        ),
        (
            bundle("b", figures(0.1, "5 folds")),
            figures(0.8),
            Judged(0.75, 0.9, 60, 100),
            False,
            "0.7500 against 0.9000 of the present tiny/1 on this test side, 60 texts of it that the present tiny/1 was not fitted on, margin",
        ),
        # The present one was fitted on these very texts, or there is no test side.
        (bundle("a", figures(0.9, "5 folds", 0.85)), figures(0.8), None, False, "0.8000 against 0.9000 recorded"),
        (
            bundle("a", figures(0.9, "5 folds", 0.7)),
            figures(0.8, "3 folds", 0.72),
            None,
            True,
            "0.7200 against 0.7000 recorded",
        ),
        (bundle("a", figures(0.9)), figures(0.8, "3 folds", 0.99), None, False, "0.8000 against 0.9000 recorded"),
        (
            bundle("b", figures(0.9)),
            figures(0.1, "3 folds", 0.1),
            None,
            True,
            "uncompared: there are not 50 texts to judge both on, and the present",
        ),
    ],
)
def test_what_a_new_bundle_is_compared_with(present, new, judged, moves, because) -> None:
    promoted, verdict = promotion(present, "a", new, tiny_place(Path("models")), lambda other: judged)
    assert promoted is moves
    assert because in verdict
