"""The bag of features next to the LSTM (lib/model/bag.py): its vocabulary, its fit, and its export.

A small feed-forward network over sums of rows: features x table → ReLU → softmax, as fastText with a hidden layer (Joulin et
al. 2017, "Bag of Tricks for Efficient Text Classification"; subwords as Bojanowski et al. 2017). While it is fitted, a known
word has its own row and those of its subwords; for scoring both are added up to one row per word.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
from scipy.sparse import csr_matrix

from lib.errors import CategorizerError
from lib.model.arrays import Float32s, Int8s, Int32s, Int64s
from lib.model.bag import Bag, BagVocabulary, marked, neighbours, subwords_of
from lib.model.text import FIRST_WORD_ID, OOV_ID, TokenIds, Tokenizer, tokens_of
from training.fit import FitData, epoch_line
from training.recipe import BagSettings

# Adam (Kingma and Ba 2015), with the authors' constants.
FIRST_MOMENT, SECOND_MOMENT, EPSILON = 0.9, 0.999, 1e-7
FINAL_RATE = 0.02
INITIAL_SPREAD = 0.05
# Root mean square of a word vector's values. The larger it is, the sooner their matrix is learned next to the table: with 0.3 small
# data sets of short texts gain more, and others lose (decision 18).
VECTORS_SCALE = 0.1


@dataclass(frozen=True)
class FittedBag:
    """A network over a bag as it scores, the subwords of known words added up into their rows.

    table: float32 [features, width]; output: float32 [width, labels]; bias: float32 [labels]; slopes: float32 [width], by which
    a hidden value below zero is multiplied: 0 is ReLU, 1 a linear layer.
    """

    vocabulary: BagVocabulary
    table: Float32s
    output: Float32s
    bias: Float32s
    slopes: Float32s

    def logits(self, bag: Bag) -> Float32s:
        """float32 [rows, labels]."""
        features = matrix_of(bag, len(self.table))
        hidden = features @ self.table
        hidden = np.where(hidden > 0, hidden, self.slopes * hidden)
        return (hidden @ self.output + self.bias).astype(np.float32)

    def for_scoring(self, pairs: int, subwords: int) -> FittedBag:
        """The same bag with at most this many pairs and, for unknown words, subwords: the most frequent."""
        whole = self.vocabulary
        kept = BagVocabulary(whole.idf, whole.unknown_idf, whole.pairs[:pairs], whole.subwords[:subwords])
        parts = (0, len(kept.idf)), (whole.first_pair, len(kept.pairs)), (whole.first_subword, len(kept.subwords))
        table = np.concatenate([self.table[first : first + count] for first, count in parts])
        return replace(self, vocabulary=kept, table=table)


def beside(bags: Sequence[FittedBag], factors: Sequence[float]) -> FittedBag:
    """Bags of one vocabulary merged into one, next to each other in its hidden layer; the logits are the sum of theirs times their factors.

    The table is rounded as `quantized` does. A row has one scale for all bags, so their tables are brought to the same size first.
    """
    sizes = [float(np.sqrt((bag.table**2).mean())) or 1.0 for bag in bags]
    together = np.concatenate([bag.table / np.float32(size) for bag, size in zip(bags, sizes, strict=True)], axis=1)
    integers, scales = quantized(together)
    outputs = [bag.output * np.float32(size * factor) for bag, size, factor in zip(bags, sizes, factors, strict=True)]
    return FittedBag(
        bags[0].vocabulary,
        integers * scales[:, None],
        np.concatenate(outputs),
        np.sum([bag.bias * np.float32(factor) for bag, factor in zip(bags, factors, strict=True)], axis=0),
        np.concatenate([bag.slopes for bag in bags]),
    )


def quantized(table: Float32s) -> tuple[Int8s, Float32s]:
    """The rows as int8 [rows, width] times a power of two each, float32 [rows].

    A power of two leaves the lower bits of the product zero, so the same numbers as float32 compress to little more.
    """
    greatest = np.abs(table).max(axis=1)
    scales = np.exp2(np.ceil(np.log2(np.maximum(greatest, 1e-30) / 127))).astype(np.float32)
    return np.rint(table / scales[:, None]).astype(np.int8), scales


def build_bag_vocabulary(
    texts: TokenIds, tokens: pa.ListArray, words: tuple[str, ...], settings: BagSettings
) -> tuple[BagVocabulary, Float32s]:
    """The features of the training texts, and the idf of each pair: pairs of known words and subwords that enough texts have.

    Args:
        texts: ids of the training texts; tokens: their words; words: the vocabulary.
    """
    rows, size = len(texts.lengths), len(words) + FIRST_WORD_ID
    row = np.repeat(np.arange(rows), texts.lengths)
    once = np.unique(row * size + texts.ids)
    frequency = np.bincount(once % size, minlength=size)
    idf = (np.log((1 + rows) / (1 + frequency)) + 1).astype(np.float32)
    pairs, counts = _frequent_pairs(texts, size, settings)
    subwords = _frequent_subwords(tokens, settings.subwords, settings.min_count_subword_for(rows))
    vocabulary = BagVocabulary(idf, math.log(1 + rows) + 1, pairs, subwords)
    return vocabulary, (np.log((1 + rows) / (1 + counts)) + 1).astype(np.float32)


def _frequent_pairs(texts: TokenIds, size: int, settings: BagSettings) -> tuple[Int32s, Int64s]:
    """The pairs that most texts have, and in how many each is."""
    row, first, second = neighbours(texts.ids, texts.offsets)
    inside = (first != OOV_ID) & (second != OOV_ID)
    keys, row = first[inside].astype(np.int64) * size + second[inside], row[inside]
    # Each text counts once.
    order = np.lexsort((keys, row))
    keys, row = keys[order], row[order]
    once = np.r_[True, (keys[1:] != keys[:-1]) | (row[1:] != row[:-1])] if len(keys) else np.empty(0, bool)
    found, counts = np.unique(keys[once], return_counts=True)
    most = min(settings.pairs, int((counts >= settings.min_texts_pair).sum()))
    kept = np.lexsort((found, -counts))[:most]
    return np.stack([found[kept] // size, found[kept] % size], axis=1).astype(np.int32), counts[kept]


def _frequent_subwords(tokens: pa.ListArray, most: int, min_count: int) -> tuple[str, ...]:
    words = tokens.flatten().value_counts()
    counts: Counter[str] = Counter()
    for word, count in zip(words.field(0).to_pylist(), words.field(1).to_pylist(), strict=True):
        for subword in set(subwords_of(marked(word))):
            counts[subword] += count
    frequent = sorted((-count, subword) for subword, count in counts.items() if count >= min_count)
    return tuple(subword for _, subword in frequent[:most])


def expansion(vocabulary: BagVocabulary, words: tuple[str, ...], pair_idf: Float32s, own: int) -> csr_matrix:
    """From the features of a text to those that the fit has rows for: float32 [features, features].

    A word becomes itself and its n subwords, times its idf and, for each of these, 1 / √n; a pair becomes itself times its
    idf; subwords stay. A word whose id is not below `own` has only the subwords.
    """
    parts = [np.empty(0, np.int32)] * FIRST_WORD_ID + [vocabulary.subword_features(marked(word)) for word in words]
    counts = np.array([len(one) for one in parts])
    idf = vocabulary.idf
    rows = np.concatenate([np.arange(len(idf)), np.repeat(np.arange(len(idf)), counts), np.arange(len(idf), vocabulary.size)])
    columns = np.concatenate([np.arange(len(idf)), *parts, np.arange(len(idf), vocabulary.size)])
    of_parts = np.repeat(idf / np.sqrt(np.maximum(counts, 1)), counts)
    of_words = np.where(np.arange(len(idf)) < own, idf, 0)
    values = np.concatenate([of_words, of_parts, pair_idf, np.ones(len(vocabulary.subwords))])
    return csr_matrix((values.astype(np.float32), (rows, columns)), shape=(vocabulary.size,) * 2)


@dataclass(frozen=True)
class BagData:
    """The data that a bag is fitted to.

    expand: from `expansion`; train, validation: the texts of each side; *_labels: int64 [texts], positions among `labels`;
    vectors: for each word id, float32 [word ids, width], times its idf, None without pretrained word vectors.
    """

    vocabulary: BagVocabulary
    expand: csr_matrix
    train: Bag
    train_labels: Int64s
    validation: Bag
    validation_labels: Int64s
    labels: int
    vectors: Float32s | None = None


def bag_data(texts: pa.Array, data: FitData, tokenizer: Tokenizer, settings: BagSettings) -> BagData:
    """The features of the texts that the LSTM is fitted to.

    Args:
        texts: strings [rows], whose sides are in `data`; tokenizer: without a bag.
    """
    train, validation = (texts.take(pa.array(rows)) for rows in (data.train, data.validation))
    tokens = pc.list_slice(tokens_of(train, tokenizer.settings), 0, tokenizer.settings.max_tokens)
    vocabulary, pair_idf = build_bag_vocabulary(data.ids.rows(data.train), tokens, tokenizer.words, settings)
    with_bag = Tokenizer(tokenizer.words, tokenizer.settings, vocabulary)
    bags = [with_bag.ids_of(side).bag for side in (train, validation)]
    assert bags[0] is not None
    assert bags[1] is not None
    return BagData(
        vocabulary,
        expansion(vocabulary, tokenizer.words, pair_idf, data.own),
        bags[0],
        data.label_ids[data.train],
        bags[1],
        data.label_ids[data.validation],
        data.labels,
        None if data.vectors is None else VECTORS_SCALE * vocabulary.idf[:, None] * data.vectors,
    )


def fit_bag(data: BagData, settings: BagSettings, seed: int, say: Callable[[str], None]) -> FittedBag:
    """Fit to the train side; the validation side, if there is one, is evaluated after each epoch.

    Raises:
        CategorizerError: the loss is no longer a number.
    """
    rows, size = len(data.train_labels), data.vocabulary.size
    epochs = settings.epochs_for(rows)
    width = None if data.vectors is None else data.vectors.shape[1]
    network = _Network(size, data.labels, settings, seed, math.ceil(rows / settings.batch), epochs, width)
    every, random = matrix_of(data.train, size), np.random.default_rng(seed)
    vectors = None if data.vectors is None else every[:, : len(data.vectors)] @ data.vectors
    for epoch in range(epochs):
        started, order = time.monotonic(), random.permutation(rows)
        found = [
            network.step(
                *_batch(every[some] @ data.expand, settings.feature_dropout, random),
                data.train_labels[some],
                None if vectors is None else vectors[some],
            )
            for some in np.array_split(order, network.steps)
        ]
        loss, accuracy = (float(value) for value in np.mean(found, axis=0))
        if not math.isfinite(loss):
            raise CategorizerError(
                f"Expected a finite loss of the bag, found {loss}; nothing was promoted, lower --bag-learning-rate."
            )
        now = {"loss": loss, "accuracy": accuracy, **_judged(network, data)}
        say(epoch_line(epoch + 1, epochs, now, time.monotonic() - started))
    return network.fitted(data)


def _judged(network: _Network, data: BagData) -> dict[str, float]:
    """Loss and accuracy on the validation side; empty without one."""
    if not len(data.validation_labels):
        return {}
    logits = network.fitted(data).logits(data.validation).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    rows = np.arange(len(logits))
    loss = np.log(np.exp(logits).sum(axis=1)) - logits[rows, data.validation_labels]
    return {"val_loss": float(loss.mean()), "val_accuracy": float((logits.argmax(axis=1) == data.validation_labels).mean())}


def matrix_of(bag: Bag, features: int) -> csr_matrix:
    """A row for each text, float32 [texts, features]."""
    return csr_matrix((bag.weights, bag.features, bag.offsets), shape=(len(bag.offsets) - 1, features))


def _batch(texts: csr_matrix, dropout: float, random: np.random.Generator) -> tuple[Int32s, Int64s, Float32s]:
    """The features of a batch, each once; the place of each weight as (text, number of its feature); the weights.

    A share `dropout` of the weights is left out, and the others grow accordingly.
    """
    row, kept = np.repeat(np.arange(texts.shape[0]), np.diff(texts.indptr)), random.random(texts.nnz) >= dropout
    features, number = np.unique(texts.indices[kept], return_inverse=True)
    weights = texts.data[kept] / np.float32(1 - dropout)
    return features.astype(np.int32), np.stack([row[kept], number], axis=1).astype(np.int64), weights


class _Network:
    """The network while it is fitted, and its steps.

    Adam's moments of the table are updated only for the rows of a batch: the others have no gradient, and the whole table
    would cost a hundred times as much.
    """

    def __init__(
        self, features: int, labels: int, settings: BagSettings, seed: int, steps: int, epochs: int, vectors: int | None = None
    ) -> None:
        """`vectors`: width of the word vectors that are projected next to the table, None for none."""
        keras.utils.set_random_seed(seed)
        tf.config.experimental.enable_op_determinism()
        self.steps, self._settings, self._labels = steps, settings, labels
        width, heads = settings.width_for(labels), settings.networks
        self.table = tf.Variable(tf.random.normal((features, width), stddev=INITIAL_SPREAD))
        self._moments = [tf.Variable(tf.zeros((features, width))) for _ in range(2)]
        spread = 1 / math.sqrt(width // heads)
        self._output = tf.Variable(tf.random.normal((heads, width // heads, labels), stddev=spread))
        self._bias = tf.Variable(tf.zeros((heads, 1, labels)))
        self._step = tf.Variable(0.0)
        self._rate = keras.optimizers.schedules.CosineDecay(settings.learning_rate, epochs * steps, alpha=FINAL_RATE)
        self._optimizer = keras.optimizers.Adam(self._rate)
        # From zero: at first only the table learns, as without vectors.
        self.projection: Any = None if vectors is None else tf.Variable(tf.zeros((vectors, width)))
        self._learned = [self._output, self._bias, *([] if vectors is None else [self.projection])]
        self._optimizer.build(self._learned)
        ids, places = tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None, 2), tf.int64)
        weights, classes = tf.TensorSpec((None,), tf.float32), tf.TensorSpec((None,), tf.int64)
        dense = [] if vectors is None else [tf.TensorSpec((None, vectors), tf.float32)]
        self._run = tf.function(self._updated, input_signature=[ids, places, weights, classes, *dense])

    def step(
        self, features: Int32s, places: Int64s, weights: Float32s, label_ids: Int64s, vectors: Float32s | None = None
    ) -> tuple[float, float]:
        """Loss and accuracy of a batch, before it is learned from; `vectors`: each text's sum of them, if there are any."""
        dense = [] if vectors is None else [vectors]
        loss, accuracy = self._run(features, places, weights, label_ids, *dense)
        return float(loss), float(accuracy)

    def fitted(self, data: BagData) -> FittedBag:
        """The average of the networks' logits; subwords of known words, and projected vectors, added up into one row per feature."""
        table, heads = data.expand @ self.table.numpy(), self._settings.networks
        if data.vectors is not None:
            table[: len(data.vectors)] += data.vectors @ self.projection.numpy()
        output = self._output.numpy().reshape(-1, self._labels) / heads
        return FittedBag(
            data.vocabulary, table, output, self._bias.numpy().mean(axis=(0, 1)), np.zeros(table.shape[1], np.float32)
        )

    def _updated(self, features: Any, places: Any, weights: Any, label_ids: Any, vectors: Any = None) -> tuple[Any, Any]:
        rows = tf.gather(self.table, features)
        with tf.GradientTape() as tape:
            tape.watch(rows)
            shape = tf.cast(tf.stack([tf.shape(label_ids)[0], tf.shape(features)[0]]), tf.int64)
            summed = tf.sparse.sparse_dense_matmul(tf.SparseTensor(places, weights, shape), rows)
            if vectors is not None:
                summed += tf.matmul(vectors, self.projection)
            hidden = tf.nn.relu(summed)
            logits = self._logits(tf.nn.dropout(hidden, self._settings.dropout))
            loss = self._loss(logits, label_ids)
        slope, *slopes = tape.gradient(loss, [rows, *self._learned])
        self._optimizer.apply_gradients(zip(slopes, self._learned, strict=True))
        self._move_rows(features, slope)
        right = tf.argmax(tf.reduce_mean(logits, axis=0), axis=1) == label_ids
        return loss, tf.reduce_mean(tf.cast(right, tf.float32))

    def _logits(self, hidden: Any) -> Any:
        """[networks, rows, labels]: each network uses its part of the width."""
        heads = self._settings.networks
        parts = tf.reshape(hidden, (-1, heads, hidden.shape[1] // heads))
        return tf.matmul(tf.transpose(parts, (1, 0, 2)), self._output) + self._bias

    def _loss(self, logits: Any, label_ids: Any) -> Any:
        smoothing = self._settings.label_smoothing
        target = tf.one_hot(
            label_ids, self._labels, on_value=1 - smoothing + smoothing / self._labels, off_value=smoothing / self._labels
        )
        target = tf.broadcast_to(target, tf.shape(logits))
        return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(target, logits))

    def _move_rows(self, features: Any, slope: Any) -> None:
        rate = self._rate(self._step)
        self._step.assign_add(1.0)
        first, second = (tf.gather(moment, features) for moment in self._moments)
        first = FIRST_MOMENT * first + (1 - FIRST_MOMENT) * slope
        second = SECOND_MOMENT * second + (1 - SECOND_MOMENT) * slope**2
        for moment, value in zip(self._moments, (first, second), strict=True):
            moment.scatter_update(tf.IndexedSlices(value, features))
        unbiased = first / (1 - FIRST_MOMENT**self._step), second / (1 - SECOND_MOMENT**self._step)
        self.table.scatter_sub(tf.IndexedSlices(rate * unbiased[0] / (tf.sqrt(unbiased[1]) + EPSILON), features))
