"""What a training is asked for: the recipe that decides its result, and the place its bundle goes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lib.text import TextSettings
from training.fit import FitSettings
from training.network import NetworkSettings


@dataclass(frozen=True)
class ReviewSettings:
    """Which rows go to review.

    Either fixed confidences, `below` and for some labels their own, or a precision that the rows above shall have, for
    which confidences are picked: one for all labels, or one for each. precision_confidence: the confidence level at which
    that precision is promised.
    """

    below: float = 0.5
    below_by_label: Mapping[str, float] = field(default_factory=dict)
    target_precision: float | None = None
    by_label: bool = False
    precision_confidence: float = 0.95


@dataclass(frozen=True)
class Recipe:
    """All that decides what a training gives, for given data."""

    text: TextSettings
    network: NetworkSettings
    fit: FitSettings
    vocabulary: int
    min_count: int
    # Whether the embeddings start from co-occurrence rather than at random.
    pretrain: bool
    test_share: float
    validation_share: float
    review: ReviewSettings = ReviewSettings()
    # Folds of a cross-validation beside the one split; 0 for none.
    folds: int = 0
    baselines: bool = True


@dataclass(frozen=True)
class Place:
    """Where the bundle goes and when `current` follows. `wrong_labels`: a file for the labels that are probably wrong."""

    models: str
    name: str
    promote_margin: float
    data_note: str
    limits: tuple[str, ...]
    wrong_labels: str | None = None
