"""The inputs of a training: the recipe that decides its result, and the place that its bundle is written to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lib.model.text import TextSettings
from training.few_texts import FEW_TEXTS
from training.fit import FitSettings, epochs_for_steps
from training.network import NetworkSettings


@dataclass(frozen=True)
class ReviewSettings:
    """Which rows go to review.

    Either fixed confidences, `below` and separate ones for some labels, or a precision that the rows above must have, for
    which confidences are picked: one for all labels, or one for each. precision_confidence: the confidence level at which
    that precision is promised.
    """

    below: float = 0.5
    below_by_label: Mapping[str, float] = field(default_factory=dict)
    target_precision: float | None = None
    by_label: bool = False
    precision_confidence: float = 0.95


# Few texts need more passes, or the fit ends before they are learned; beyond the greatest number it only takes longer.
BAG_STEPS, BAG_EPOCHS = 1_000, (12, 60)


@dataclass(frozen=True)
class BagSettings:
    """The bag of features next to the LSTM (training.bag), and how it is fitted.

    width: of the hidden layer, None for one that suits the number of labels; networks: how many share it, each fitted on
    its own, and are averaged. linear: whether there is a linear classifier (training.linear) next to them, of at most linear_width
    more columns; linear_subwords: whether it has subwords among its features; linear_c: how much an error counts compared with the size of its weights. pairs, subwords: those of the fit; scored_*: those
    that are kept for scoring, the most frequent. min_count_subword: None for 2 where texts are few, else 3. epochs: None for
    `epochs_factor` times as many as give BAG_STEPS steps.
    """

    width: int | None = None
    networks: int = 2
    linear: bool = True
    linear_subwords: bool = True
    linear_width: int = 512
    linear_c: float = 0.5
    pairs: int = 20_000
    min_texts_pair: int = 2
    subwords: int = 200_000
    min_count_subword: int | None = None
    scored_pairs: int = 20_000
    scored_subwords: int = 20_000
    epochs: int | None = None
    epochs_factor: float = 1.0
    batch: int = 64
    learning_rate: float = 2e-3
    # A word, a pair or a subword is left out with this probability, so that no single one decides.
    feature_dropout: float = 0.2
    dropout: float = 0.5
    label_smoothing: float = 0.05

    def epochs_for(self, texts: int) -> int:
        return self.epochs or max(round(self.epochs_factor * epochs_for_steps(BAG_STEPS, texts, self.batch, BAG_EPOCHS)), 1)

    def min_count_subword_for(self, texts: int) -> int:
        return self.min_count_subword or (2 if texts < FEW_TEXTS else 3)

    def width_for(self, labels: int) -> int:
        """For few labels, a width that together with the linear classifier's fills the columns that the engine sums at once."""
        if self.width:
            return self.width
        whole = 64 if labels <= 16 else 128 if labels <= 64 else 256
        linear = labels if self.linear and labels <= 64 else 0
        return (whole - linear) // self.networks * self.networks


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result of a training on given data."""

    text: TextSettings
    network: NetworkSettings
    fit: FitSettings
    vocabulary: int
    # None for 1 where texts are few, else 2.
    min_count: int | None
    # Whether the embeddings start from co-occurrence rather than at random.
    pretrain: bool
    test_share: float
    validation_share: float
    review: ReviewSettings = ReviewSettings()
    # The most words that get a row because word vectors have them, though training has not seen them often enough.
    vector_words: int = 20_000
    # None for the LSTM alone.
    bag: BagSettings | None = BagSettings()
    # Whether the parts are fitted again on the train and the validation side together, once they are calibrated.
    refit: bool = True
    # How much of a label's rarity is added to its logit, 0 for nothing: rare labels are named more often, and right less often.
    logit_adjustment: float = 0.5
    # Whether to learn also from unlabelled texts that a first model is sure of.
    self_training: bool = False
    # Minutes in which other settings are tried first (training.search); 0 for none.
    search_minutes: float = 0
    # Folds of a cross-validation in addition to the one split; 0 for none.
    folds: int = 0
    baselines: bool = True

    def min_count_for(self, texts: int) -> int:
        return self.min_count or (1 if texts < FEW_TEXTS else 2)


@dataclass(frozen=True)
class Place:
    """Where the bundle goes and when `current` follows. `wrong_labels`: a file for the labels that are probably wrong."""

    models: str
    name: str
    promote_margin: float
    data_note: str
    limits: tuple[str, ...]
    wrong_labels: str | None = None
