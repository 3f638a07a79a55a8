"""Fitting: batches of similar length, word dropout, a learning rate that falls to nearly nothing."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from lib.errors import CategorizerError
from lib.model.arrays import Float32s, Int32s, Int64s
from lib.model.text import OOV_ID, PAD_ID, TextSettings, TokenIds, tokens_of
from training.network import build_network, folded, network_with_vectors, round_embeddings
from training.progress import Counted, counted
from training.recipe import FitSettings, NetworkSettings

# Widths are rounded up to multiples of this, so that TensorFlow traces few shapes.
WIDTH_STEP = 25
# Rows are shuffled, then sorted by length within pools of this many batches: similar lengths, yet other batches each epoch.
POOL_BATCHES = 40
FINAL_RATE = 0.02


@dataclass
class Fitted:
    """A fitted network and how it was fitted; `curves`: metric name -> value of each epoch."""

    network: keras.Model
    curves: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class FittedWeights:
    """A fitted network's weights, in Keras' order, and how they were fitted: what one process sends to another."""

    weights: list[npt.NDArray[np.float32]]
    curves: dict[str, list[float]]
    seconds: float


def counted_words(texts: pa.Array, settings: TextSettings) -> Counter[str]:
    """The words of texts, as far as these are read, and how often each occurs."""
    tokens = pc.list_slice(tokens_of(texts, settings), 0, settings.max_tokens).flatten()
    return Counter(dict(zip(*(column.to_pylist() for column in pc.value_counts(tokens).flatten()), strict=True)))


def build_vocabulary(texts: pa.Array, settings: TextSettings, size: int, min_count: int) -> list[str]:
    """The most frequent words of the training texts, ties in alphabetical order."""
    ranked = sorted((-count, word) for word, count in counted_words(texts, settings).items() if count >= min_count)
    return [word for _, word in ranked[:size]]


class LengthSortedBatches:
    """Batches of (ids int32 [batch, width], one-hot labels float32 [batch, labels]), in another order each epoch."""

    def __init__(
        self,
        ids: TokenIds,
        label_ids: Int64s,
        rows: Int64s,
        labels: int,
        settings: FitSettings,
        training: bool,
        markers: Int32s,
    ) -> None:
        """`markers`: ids of the words that begin a field, int32; without any, a text is one field."""
        self._ids, self._label_ids, self._rows, self._labels = ids, label_ids, rows, labels
        self._settings, self._training = settings, training
        self._markers = markers
        self._random = np.random.default_rng(settings.seed)

    def __len__(self) -> int:
        pool = self._pool()
        full, rest = divmod(len(self._rows), pool)
        return full * math.ceil(pool / self._settings.batch) + math.ceil(rest / self._settings.batch)

    def as_dataset(self) -> tf.data.Dataset:
        """For Keras, with the width left open: inferred from the first batches, it would be fixed to theirs."""
        ids = tf.TensorSpec((None, None), tf.int32)
        one_hot = tf.TensorSpec((None, self._labels), tf.float32)
        batches = tf.data.Dataset.from_generator(self.__iter__, output_signature=(ids, one_hot))
        return batches.apply(tf.data.experimental.assert_cardinality(len(self)))

    def __iter__(self) -> Iterator[tuple[Int32s, npt.NDArray[np.float32]]]:
        return map(self._batch, self._plan())

    def _pool(self) -> int:
        return self._settings.batch * POOL_BATCHES if self._training else max(len(self._rows), 1)

    def _plan(self) -> list[Int64s]:
        rows = self._random.permutation(self._rows) if self._training else self._rows
        size = self._settings.batch
        pool = self._pool()
        batches: list[Int64s] = []
        for start in range(0, len(rows), pool):
            pooled = rows[start : start + pool]
            pooled = pooled[np.argsort(self._ids.lengths[pooled], kind="stable")]
            batches += [pooled[i : i + size] for i in range(0, len(pooled), size)]
        if self._training:
            batches = [batches[i] for i in self._random.permutation(len(batches))]
        return batches

    def _batch(self, rows: Int64s) -> tuple[Int32s, npt.NDArray[np.float32]]:
        width = math.ceil(self._ids.lengths[rows].max() / WIDTH_STEP) * WIDTH_STEP
        ids = self._ids.padded(rows, width)
        if self._training:
            if len(self._markers):
                ids = one_field_alone(ids, self._markers, self._settings.field_dropout, self._random)
            hidden = (self._random.random(ids.shape) < self._settings.word_dropout) & (ids != PAD_ID)
            ids = np.where(hidden, np.int32(OOV_ID), ids)
        one_hot = np.zeros((len(rows), self._labels), np.float32)
        one_hot[np.arange(len(rows)), self._label_ids[rows]] = 1
        return ids, one_hot


def one_field_alone(ids: Int32s, markers: Int32s, share: float, random: np.random.Generator) -> Int32s:
    """`ids` [rows, width] with a `share` of the rows cut down to one of their fields, each equally likely; the width stays."""
    field = np.cumsum(np.isin(ids, markers), axis=1)
    fields = field[:, -1]
    chosen = np.where(random.random(len(ids)) < share, random.integers(0, np.maximum(fields, 1)) + 1, 0)
    keep = ((field == chosen[:, None]) | (chosen == 0)[:, None] | (fields < 2)[:, None]) & (ids != PAD_ID)
    # The ids that are kept move to the front, in their order.
    moved = np.take_along_axis(ids, np.argsort(~keep, axis=1, kind="stable"), axis=1)
    return np.where(np.arange(ids.shape[1]) < keep.sum(axis=1)[:, None], moved, np.int32(PAD_ID))


class _Progress(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self, epochs: int, say: Callable[[str], None]) -> None:
        super().__init__()
        self._epochs, self._say, self._began = epochs, say, 0.0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self._began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self._say(epoch_line(epoch + 1, self._epochs, logs or {}, time.monotonic() - self._began))


def epoch_line(number: int, epochs: int, values: Mapping[str, float], seconds: float) -> Counted:
    """The result of an epoch: loss and accuracy, with those of the validation side where there is one."""
    shown = {name: float(values[name]) for name in ("loss", "accuracy", "val_loss", "val_accuracy") if name in values}
    text = "  ".join(f"{name.replace('val_', 'validation ')} {value:.4f}" for name, value in shown.items())
    figures = {name.replace("val_", "validation_"): round(value, 6) for name, value in shown.items()}
    return counted(f"epoch {number}/{epochs}  {text}  {seconds:.1f} s", "", "epoch", (number, epochs), seconds, figures)


@dataclass(frozen=True)
class FitData:
    """The data that a network is fitted to.

    ids: those of all texts; label_ids: int64 [rows]; train, validation: row numbers, int64; embeddings: float32
    [own_words, embedding] to start from, or None for random ones; markers: ids of the words that begin a field, int32;
    vectors: for each word id, float32 [vocabulary_size, width], None without pretrained word vectors; own_words: word ids
    from this one on have a vector and nothing that is learned only for them, None for none.
    """

    ids: TokenIds
    label_ids: Int64s
    labels: int
    train: Int64s
    validation: Int64s
    vocabulary_size: int
    embeddings: npt.NDArray[np.float32] | None
    markers: Int32s
    vectors: Float32s | None = None
    own_words: int | None = None

    @property
    def own(self) -> int:
        """How many word ids have their own, learned embedding."""
        return self.vocabulary_size if self.own_words is None else self.own_words

    def batches(self, settings: FitSettings, training: bool) -> LengthSortedBatches:
        """Batches of the train side, in another order each epoch and with words hidden, or of the validation side."""
        rows = self.train if training else self.validation
        return LengthSortedBatches(self.ids, self.label_ids, rows, self.labels, settings, training, self.markers)


def fit_network(
    data: FitData,
    network_settings: NetworkSettings,
    settings: FitSettings,
    tensorboard: str | None = None,
    say: Callable[[str], None] = print,
) -> Fitted:
    """Build and fit a network; the weights are those of the last epoch.

    Those of the epoch with the lowest validation loss classify worse: later the loss rises with an overconfidence that the factors
    (training.calibration) correct.

    Raises:
        CategorizerError: the loss is no longer a number.
    """
    epochs = settings.epochs_for(len(data.train), data.labels)
    network = _compiled(data, network_settings, settings, epochs)
    callbacks: list[Any] = [_Progress(epochs, say), keras.callbacks.TerminateOnNaN()]
    if tensorboard:
        callbacks.append(keras.callbacks.TensorBoard(tensorboard))
    began = time.monotonic()
    history = network.fit(
        data.batches(settings, training=True).as_dataset(),
        validation_data=data.batches(settings, training=False).as_dataset() if len(data.validation) else None,
        epochs=epochs,
        callbacks=callbacks,
        shuffle=False,
        verbose=0,
    )
    curves = {name: [float(value) for value in values] for name, values in history.history.items()}
    if not all(math.isfinite(value) for values in curves.values() for value in values) or not curves:
        raise CategorizerError(
            f"Expected a finite loss, found {curves.get('loss', ['none'])[-1]}; nothing was promoted, lower --learning-rate."
        )
    if data.vectors is not None:
        network = folded(network, data.labels, network_settings)
    round_embeddings(network)
    return Fitted(network, curves, time.monotonic() - began)


def _compiled(data: FitData, network_settings: NetworkSettings, settings: FitSettings, epochs: int) -> keras.Model:
    keras.utils.set_random_seed(settings.seed)
    tf.config.experimental.enable_op_determinism()
    if data.vectors is None:
        network = build_network(data.vocabulary_size, data.labels, network_settings)
    else:
        network = network_with_vectors(data.vectors, data.own, data.labels, network_settings, settings.seed)
    if data.embeddings is not None:
        network.get_layer("embedding").set_weights([data.embeddings])
    steps = epochs * len(data.batches(settings, training=True))
    decay = keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps, alpha=FINAL_RATE)
    network.compile(
        keras.optimizers.Adam(decay),
        keras.losses.CategoricalCrossentropy(label_smoothing=settings.label_smoothing),
        metrics=["accuracy"],
    )
    return network
