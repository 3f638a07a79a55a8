"""The network: Embedding, (Bi)LSTM, dense ReLU, softmax; and next to the LSTM a bag of features."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from lib.model.arrays import Float32s
from lib.model.text import OOV_ID, PAD_ID
from training.recipe import NetworkSettings

BagWeights = tuple[Float32s, Float32s, Float32s, Float32s]

# Root mean square of a vector's projection at the start, as large as that of embeddings from co-occurrence (training.embeddings.SCALE).
VECTORS_SCALE = 0.1


def build_network(vocabulary_size: int, labels: int, settings: NetworkSettings) -> keras.Model:
    """Ids int32 [rows, time], padded at the end with PAD_ID, to probabilities float32 [rows, labels].

    Layers are named: the export and the reference engine find them by these names.
    """
    ids = keras.Input((None,), dtype="int32", name="ids")
    # mask_zero: the states stop at a text's last word, so that padding never changes a probability.
    embedded = keras.layers.Embedding(vocabulary_size, settings.embedding, mask_zero=True, name="embedding")(ids)
    return _behind(ids, embedded, labels, settings)


def _behind(ids: keras.KerasTensor, embedded: keras.KerasTensor, labels: int, settings: NetworkSettings) -> keras.Model:
    """The layers after a text's embeddings, [rows, time, embedding]."""
    x = keras.layers.SpatialDropout1D(settings.embedding_dropout, name="embedding_dropout")(embedded)
    lstm = keras.layers.LSTM(settings.units, name="lstm")
    x = keras.layers.Bidirectional(lstm, name="bilstm")(x) if settings.bidirectional else lstm(x)
    x = keras.layers.Dense(settings.dense, activation="relu", name="dense")(x)
    x = keras.layers.Dropout(settings.dense_dropout, name="dense_dropout")(x)
    probabilities = keras.layers.Dense(labels, activation="softmax", name="probabilities")(x)
    return keras.Model(ids, probabilities, name="categorizer")


def joined_network(lstm: keras.Model, factor: float, bag: BagWeights | None, adjustment: Float32s | None = None) -> keras.Model:
    """The fitted LSTM and the bag as one network: the LSTM's logits times its factor and the bag's, added, through one softmax.

    Its inputs are the LSTM's ids and, with a bag, `features` int32 and `weights` float32 [rows, features], filled up with 0.
    Without a bag it is the LSTM with its logits multiplied.

    Args:
        bag: table [features, width], output weights [width, labels], bias [labels] and slopes [width] of the hidden layer below zero.
        adjustment: what is added to each label's logit, float32 [labels], None for none.
    """
    ids = keras.Input((None,), dtype="int32", name="ids")
    x = ids
    for layer in lstm.layers[1:-1]:
        x = layer(x)
    kernel, bias = (weights * np.float32(factor) for weights in lstm.layers[-1].get_weights())
    if adjustment is not None:
        bias = bias + adjustment
    if bag is None:
        return _with_output(
            keras.Model(ids, keras.layers.Dense(len(bias), activation="softmax", name="probabilities")(x)), kernel, bias
        )
    table, output, bag_bias, slopes = bag
    features = keras.Input((None,), dtype="int32", name="features")
    weights = keras.Input((None,), dtype="float32", name="weights")
    rows = keras.layers.Embedding(*table.shape, name="bag")(features)
    summed = keras.layers.Dot(axes=1, name="bag_sum")([weights, rows])
    hidden = keras.layers.PReLU(name="bag_dense")(summed)
    both = keras.layers.Concatenate(name="both")([x, hidden])
    probabilities = keras.layers.Dense(len(bias), activation="softmax", name="probabilities")(both)
    network = keras.Model([ids, features, weights], probabilities, name="categorizer")
    network.get_layer("bag").set_weights([table])
    network.get_layer("bag_dense").set_weights([slopes])
    return _with_output(network, np.concatenate([kernel, output]), bias + bag_bias)


def _with_output(network: keras.Model, kernel: Float32s, bias: Float32s) -> keras.Model:
    network.get_layer("probabilities").set_weights([kernel, bias])
    return network


def round_embeddings(network: keras.Model) -> None:
    """Round the embeddings to float16 values, in place.

    They are most of a bundle's bytes; rounded, they are stored in half the space, and every engine computes with the
    same float32 values. The row of PAD_ID is never read; zero compresses.
    """
    layer = network.get_layer("embedding")
    weights = layer.get_weights()[0]
    weights[PAD_ID] = 0
    layer.set_weights([weights.astype(np.float16).astype(np.float32)])


class OwnIds(keras.layers.Layer):  # type: ignore[misc]
    """Ids; those of words without their own embedding, from `own` on, become the id of unknown words."""

    def __init__(self, own: int) -> None:
        super().__init__(name="own_ids")
        self._own = own

    def call(self, ids: Any) -> Any:
        return keras.ops.where(ids < self._own, ids, OOV_ID)


def network_with_vectors(vectors: Float32s, own: int, labels: int, settings: NetworkSettings, seed: int) -> keras.Model:
    """As `build_network`, where a word's embedding is its own (from the id `own` on that of unknown words) plus vector x matrix.

    It is only for fitting; `folded` makes the network that is kept.

    Args:
        vectors: float32 [vocabulary_size, width], word vectors that stay as they are.
    """
    ids = keras.Input((None,), dtype="int32", name="ids")
    own_ids = OwnIds(own)(ids)
    embedded = keras.layers.Embedding(own, settings.embedding, mask_zero=True, name="embedding")(own_ids)
    found = keras.layers.Embedding(*vectors.shape, mask_zero=True, trainable=False, name="vectors")(ids)
    spread = keras.initializers.RandomNormal(stddev=VECTORS_SCALE / math.sqrt(vectors.shape[1]), seed=seed)
    projected = keras.layers.Dense(settings.embedding, use_bias=False, kernel_initializer=spread, name="projection")(found)
    network = _behind(ids, keras.layers.Add(name="both")([embedded, projected]), labels, settings)
    network.get_layer("vectors").set_weights([vectors])
    return network


def folded(network: keras.Model, labels: int, settings: NetworkSettings) -> keras.Model:
    """A network with vectors as one of `build_network`: own + vectors x matrix, computed once, are its embeddings."""
    (own,), (vectors,), (matrix,) = (network.get_layer(name).get_weights() for name in ("embedding", "vectors", "projection"))
    embeddings = vectors @ matrix
    embeddings[: len(own)] += own
    embeddings[len(own) :] += own[OOV_ID]
    plain = build_network(len(vectors), labels, settings)
    plain.get_layer("embedding").set_weights([embeddings])
    for layer in plain.layers[2:]:
        layer.set_weights(network.get_layer(layer.name).get_weights())
    return plain
