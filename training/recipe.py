"""The inputs of a training: the recipe that decides its result, and the place that its bundle is written to. It needs no Keras."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from lib.model.text import TextSettings
from training.few_texts import FEW_TEXTS


@dataclass(frozen=True)
class NetworkSettings:
    """Sizes of the layers, and the dropout between them."""

    embedding: int = 48
    units: int = 16
    bidirectional: bool = True
    dense: int = 64
    # Whole embedding channels are dropped: single values of neighbouring words would make up for each other.
    embedding_dropout: float = 0.2
    dense_dropout: float = 0.5


# Few texts need more passes, or the fit ends before they are learned; beyond the greatest number it only takes longer.
STEPS, EPOCHS = 1_500, (10, 40)
# Above this many labels, each label needs as many steps.
LABELS_OF_STEPS = 16


def epochs_for_steps(steps: int, texts: int, batch: int, bounds: tuple[int, int]) -> int:
    """Passes over `texts` that make that many steps, within bounds."""
    return min(max(round(steps / math.ceil(texts / batch)), bounds[0]), bounds[1])


@dataclass(frozen=True)
class FitSettings:
    """How the network is fitted.

    epochs: None for `epochs_factor` times as many as give STEPS steps, and more for many labels.
    """

    epochs: int | None = None
    epochs_factor: float = 1.0
    batch: int = 64
    # It falls along a half cosine to a fiftieth over all epochs (Loshchilov and Hutter 2017, "SGDR", without restarts).
    learning_rate: float = 2e-3
    # A word is seen as unknown with this probability, so that no single word decides and unknown ones are nothing new.
    word_dropout: float = 0.3
    label_smoothing: float = 0.05
    # A text of several fields is seen with only one of them with this probability, so that a title, or a description,
    # is enough later on.
    field_dropout: float = 0.4
    seed: int = 7

    def epochs_for(self, texts: int, labels: int) -> int:
        steps = STEPS * max(1, labels / LABELS_OF_STEPS)
        return self.epochs or max(round(self.epochs_factor * epochs_for_steps(round(steps), texts, self.batch, EPOCHS)), 1)


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

    text: TextSettings = TextSettings()
    network: NetworkSettings = NetworkSettings()
    fit: FitSettings = FitSettings()
    vocabulary: int = 20_000
    # None for 1 where texts are few, else 2.
    min_count: int | None = None
    # Whether the embeddings start from co-occurrence rather than at random.
    pretrain: bool = True
    test_share: float = 0.15
    validation_share: float = 0.1
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
    search_minutes: float = 0.0
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
