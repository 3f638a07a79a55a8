"""How unlike the training texts a text is, as a share: the share of texts like the labelled ones that are less unlike them.

The evidence of an engine, ln Σ exp(logit), is high where something supports a label and low where nothing does. A softmax
hides it, since it divides by it. It becomes a share through the quantiles that training measured on texts that the network had not seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.errors import BundleError, InputError
from lib.model.arrays import Float32s

MOST_QUANTILES = 1001
# Beyond the most unlike text that training saw, the tail falls as fast as over this share of the texts before it.
TAIL = 0.05
# The share whose effect evaluations report.
UNFAMILIAR_SHARE = 0.01


@dataclass(frozen=True)
class Unfamiliarity:
    """quantiles: float32, ascending, of the negative evidence at even steps; texts: how many they are based on."""

    quantiles: Float32s
    texts: int

    def of(self, evidence: Float32s) -> Float32s:
        """The share for each text, float32 [rows] from 0 to 1; NaN where the evidence is NaN."""
        half = 0.5 / self.texts
        levels = np.linspace(half, 1 - half, len(self.quantiles))
        unlike = -evidence.astype(np.float64)
        last = float(self.quantiles[-1])
        # Half a text lies beyond the last. An exponential tail keeps the order of texts out there, and the sum of all at 1.
        tail = self.quantiles[levels > 1 - TAIL]
        scale = max(float(np.mean(last - tail)), 1e-6) if len(tail) else 1e-6
        beyond = 1 - half * np.exp(-np.maximum(unlike - last, 0) / scale)
        return np.where(unlike > last, beyond, np.interp(unlike, self.quantiles, levels)).astype(np.float32)

    def check_share(self, share: float) -> None:
        """Refuse a share too small for the texts that the number is based on.

        Raises:
            InputError: not between 0 and 1, or of less than one of these texts.
        """
        if not 1 / self.texts <= share < 1:
            raise InputError(
                f"Expected --unfamiliar from {1 / self.texts:.2g} to below 1, since this bundle's unfamiliarity is based on "
                f"{self.texts:,} texts, found {share:g}; give a larger share, or train on more texts."
            )

    def as_json(self) -> dict[str, Any]:
        return {"quantiles": [round(float(value), 5) for value in self.quantiles], "texts": self.texts}


def check_share(known: Unfamiliarity | None, share: float, model_version: str) -> None:
    """Refuse a share that a bundle cannot judge. known: the bundle's.

    Raises:
        InputError: it is of a format before 4, or is based on too few texts.
    """
    if known is None:
        raise InputError(
            f"Expected a bundle of format 4 for --unfamiliar, found {model_version} of an older one; train it again, or leave "
            "--unfamiliar out."
        )
    known.check_share(share)


def fitted_unfamiliarity(evidence: Float32s) -> Unfamiliarity:
    """From the evidence for texts that the network has not seen, float32 [rows]."""
    rows = len(evidence)
    levels = np.linspace(0.5 / rows, 1 - 0.5 / rows, min(rows, MOST_QUANTILES))
    return Unfamiliarity(np.quantile(-evidence.astype(np.float64), levels, method="hazen").astype(np.float32), rows)


def unfamiliarity_of(manifest: Mapping[str, Any]) -> Unfamiliarity | None:
    """As a manifest stores it; None in bundles of a format before 4.

    Raises:
        BundleError: it is something else.
    """
    content = manifest.get("unfamiliarity")
    if content is None:
        return None
    try:
        quantiles, texts = np.array(content["quantiles"], dtype=np.float32), int(content["texts"])
        fits = (
            quantiles.ndim == 1
            and 0 < len(quantiles) <= texts
            and np.isfinite(quantiles).all()
            and (np.diff(quantiles) >= 0).all()
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        fits = False
    if not fits:
        raise BundleError(
            "Expected ascending quantiles of the unfamiliarity in the manifest, found something else; retrain the bundle."
        )
    return Unfamiliarity(quantiles, texts)


def is_above(unfamiliarity: Float32s, share: float) -> Any:
    """Whether a text is among the `share` that is most unlike, bool [rows]; as the job decides it, in float32."""
    return unfamiliarity > np.float32(1 - share)
