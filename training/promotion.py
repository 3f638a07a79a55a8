"""Whether a new bundle replaces the present one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lib.model.bundle import Bundle
from training.card import LSTM, TEST_SIDE
from training.recipe import Place


def promotion(
    present: Bundle | None,
    fingerprint: str,
    metrics: Mapping[str, Any],
    place: Place,
    judged: Callable[[Bundle], Mapping[str, Any]] | None,
) -> tuple[bool, str]:
    """Whether `current` moves, and a sentence why.

    Both are judged on the new test side, where there is one and the present bundle was not fitted on it. Otherwise their
    recorded figures are compared, if both come from the same texts; figures of other texts cannot be compared.

    Args:
        fingerprint: that of the new bundle's data; metrics: those of the new bundle; judged: returns those of another on the test side,
            None if there is no test side.
    """
    pointer = f"current of {place.models}/{place.name}"
    if present is None:
        return True, f"{pointer} names it: there was none before."
    recorded, named = present.manifest["metrics"], f"the present {present.model_version}"
    same_texts = present.manifest["data"]["fingerprint"] == fingerprint
    fitted_on_all = recorded.get("judged_on", TEST_SIDE) != TEST_SIDE
    if judged and not (same_texts and fitted_on_all):
        after, before = metrics["f1_weighted"], judged(present)["f1_weighted"]
        what = f"of {named} on this test side"
    elif same_texts:
        after, before = _recorded(metrics, recorded)
        what = f"recorded for {named}, which was made from the same texts"
    else:
        return True, f"{pointer} names it, uncompared: there is no test side, and {named} was made from other texts."
    compared = f"weighted F1 {after:.4f} against {before:.4f} {what}, margin {place.promote_margin:g}"
    if after >= before - place.promote_margin:
        return True, f"{pointer} names it: {compared}."
    return False, f"{pointer} stays where it is: {compared}."


def _recorded(new: Mapping[str, Any], old: Mapping[str, Any]) -> tuple[float, float]:
    """Figures of both: their means over folds where both have them."""
    if new.get("cross_validation") and old.get("cross_validation"):
        return _mean(new), _mean(old)
    return new["f1_weighted"], old["f1_weighted"]


def _mean(metrics: Mapping[str, Any]) -> float:
    return float(metrics["cross_validation"]["models"][LSTM]["mean"])
