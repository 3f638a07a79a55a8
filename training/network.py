"""The network: Embedding, (Bi)LSTM, dense ReLU, softmax."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from lib.text import PAD_ID


@dataclass(frozen=True)
class NetworkSettings:
    """Sizes of the layers, and the dropout between them."""

    embedding: int = 48
    units: int = 32
    bidirectional: bool = True
    dense: int = 64
    # Whole embedding channels are dropped: single values of neighbouring words would make up for each other.
    embedding_dropout: float = 0.2
    dense_dropout: float = 0.5


def build_network(vocabulary_size: int, labels: int, settings: NetworkSettings) -> keras.Model:
    """Ids int32 [rows, time], padded behind with PAD_ID, to probabilities float32 [rows, labels].

    Layers are named: the export and the reference engine find them by these names.
    """
    ids = keras.Input((None,), dtype="int32", name="ids")
    # mask_zero: the states stop at a text's last word, so that padding never changes a probability.
    x = keras.layers.Embedding(vocabulary_size, settings.embedding, mask_zero=True, name="embedding")(ids)
    x = keras.layers.SpatialDropout1D(settings.embedding_dropout, name="embedding_dropout")(x)
    lstm = keras.layers.LSTM(settings.units, name="lstm")
    x = keras.layers.Bidirectional(lstm, name="bilstm")(x) if settings.bidirectional else lstm(x)
    x = keras.layers.Dense(settings.dense, activation="relu", name="dense")(x)
    x = keras.layers.Dropout(settings.dense_dropout, name="dense_dropout")(x)
    probabilities = keras.layers.Dense(labels, activation="softmax", name="probabilities")(x)
    return keras.Model(ids, probabilities, name="categorizer")


def round_embeddings(network: keras.Model) -> None:
    """Round the embeddings to float16 values, in place.

    They are most of a bundle's bytes; rounded, they are stored in half the space, and every engine computes with the
    same float32 values. The row of PAD_ID is never read; zero compresses.
    """
    layer = network.get_layer("embedding")
    weights = layer.get_weights()[0]
    weights[PAD_ID] = 0
    layer.set_weights([weights.astype(np.float16).astype(np.float32)])
