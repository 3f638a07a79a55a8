"""Whether a new bundle replaces the present one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lib.model.bundle import Bundle
from training.card import LSTM
from training.recipe import Place

# From fewer texts than this, no difference can be told.
FEWEST_TEXTS = 50


@dataclass(frozen=True)
class Judged:
    """Weighted F1 of the new and the present bundle on texts of the new test side that the present one was not fitted on.

    texts: how many these are; of: how many the test side has.
    """

    new: float
    present: float
    texts: int
    of: int


def promotion(
    present: Bundle | None,
    fingerprint: str,
    metrics: Mapping[str, Any],
    place: Place,
    judged: Callable[[Bundle], Judged | None],
) -> tuple[bool, str]:
    """Whether `current` moves, and a sentence why.

    Both are judged on those texts of the new test side that the present bundle was not fitted on. If these are too few, their
    recorded figures are compared, if both come from the same texts; figures of other texts cannot be compared.

    Args:
        fingerprint: that of the new bundle's data; metrics: those of the new bundle; judged: compares it with another, None if there are
            fewer than FEWEST_TEXTS texts for it, or no test side.
    """
    pointer = f"current of {place.models}/{place.name}"
    if present is None:
        return True, f"{pointer} names it: there was none before."
    recorded, named = present.manifest["metrics"], f"the present {present.model_version}"
    same_texts = present.manifest["data"]["fingerprint"] == fingerprint
    fair = judged(present)
    if fair:
        after, before = fair.new, fair.present
        part = "" if fair.texts == fair.of else f", {fair.texts:,} texts of it that {named} was not fitted on"
        what = f"of {named} on this test side{part}"
    elif same_texts:
        after, before = _recorded(metrics, recorded)
        what = f"recorded for {named}, which was made from the same texts"
    else:
        return (
            True,
            f"{pointer} names it, uncompared: there are not {FEWEST_TEXTS} texts to judge both on, and {named} was made from other texts.",
        )
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
