"""The model card says what the manifest holds."""

from __future__ import annotations

from typing import Any

from training.card import model_card


def card(shipped: Any, metrics: Any = None, **data: object) -> str:
    """That of the shipped bundle with other figures; it is older than some."""
    since = {"moved_up": {}, "longer_than_read": 0, "conflicts": 0}
    return model_card(
        {
            **shipped.manifest,
            "metrics": metrics or shipped.manifest["metrics"],
            "data": {**since, **shipped.manifest["data"], **data},
        }
    )


def test_it_says_how_many_texts_are_longer_than_what_is_read(shipped) -> None:
    rows, tokens = shipped.manifest["data"]["rows"], shipped.manifest["text"]["max_tokens"]
    assert f"at most {tokens} tokens of a text are read; 25.0% of the labelled ones are longer." in card(
        shipped, longer_than_read=rows / 4
    )
    for few in (card(shipped, longer_than_read=rows // 200), card(shipped)):
        assert f"at most {tokens} tokens of a text are read." in few


def test_it_counts_labels_that_copies_contradict(shipped) -> None:
    assert "The file begins with 7 labels that copies of their text contradict" in card(shipped, conflicts=7)
    assert "copies of their text" not in card(shipped, conflicts=0)
    assert "dropped: outvoted label 3." in card(shipped, dropped={"outvoted label": 3})
    sentence = "rows (30.0%) are left out, since copies of their text have other labels; the figures are about the rest"
    assert sentence in card(shipped, dropped={"outvoted label": 1_000, "conflicting labels": 2_000}, rows_read=10_000)
    assert "copies of their text have other labels" not in card(shipped, dropped={"outvoted label": 100}, rows_read=10_000)


def test_it_says_what_the_weighted_f1_owes_to_the_texts(shipped) -> None:
    metrics = {**shipped.manifest["metrics"], "f1_weighted": 0.9, "f1_weighted_interval": [0.88, 0.92]}
    assert "weighted F1 0.9000 (0.8800 to 0.9200 at a confidence level of 95%, by a bootstrap over" in card(
        shipped, metrics=metrics
    )
    assert "by a bootstrap over" not in card(shipped)


def test_a_calibration_error_that_chance_explains_is_not_held_against_it(shipped) -> None:
    metrics = {**shipped.manifest["metrics"], "expected_calibration_error": 0.045}
    verdict = "A confidence is off by 0.045 on average"
    assert verdict in card(shipped, metrics={**metrics, "calibration_error_by_chance": 0.03})
    by_chance = card(shipped, metrics={**metrics, "calibration_error_by_chance": 0.05})
    assert "expected calibration error 0.045 (up to 0.050 by chance alone)" in by_chance
    assert verdict not in by_chance
