"""Texts of a train and a validation side to a fitted, calibrated network with its vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import keras
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lib.arrays import Float32s, Int64s
from lib.errors import InputError
from lib.fields import markers_of
from lib.text import FIRST_WORD_ID, Tokenizer
from training.calibration import apply_temperature, fit_temperature, network_probabilities
from training.dataset import LabelledTexts, joined_tokens
from training.embeddings import cooccurrence_embeddings
from training.fit import FitData, Fitted, build_vocabulary, fit_network
from training.recipe import Recipe
from training.split import Split


@dataclass(frozen=True)
class Model:
    """A fitted network, calibrated, with its vocabulary. `pretrained_on`: texts its embeddings started from."""

    fitted: Fitted
    tokenizer: Tokenizer
    temperature: float
    pretrained_on: int

    @property
    def network(self) -> keras.Model:
        return self.fitted.network

    def with_temperature(self, temperature: float) -> Model:
        """The same network with this temperature instead; it is changed in place."""
        apply_temperature(self.network, temperature / self.temperature)
        return replace(self, temperature=temperature)

    def probabilities(self, texts: pa.Array) -> Float32s:
        """float32 [rows, labels], calibrated; NaN for a text without words."""
        return network_probabilities(self.network, self.tokenizer.ids_of(texts))


def build_model(
    data: LabelledTexts,
    sides: Split,
    recipe: Recipe,
    unlabelled: pa.Array | None = None,
    tensorboard: str | None = None,
    say: Callable[[str], None] = print,
) -> Model:
    """Vocabulary and embeddings from the train side, the fit, and the temperature from the validation side.

    Args:
        unlabelled: strings, texts to learn embeddings from beside those of the train side.
    Raises:
        InputError: no word occurs often enough.
        CategorizerError: the fit failed.
    """
    tokenizer = Tokenizer(_words(data, sides.train, recipe), recipe.text)
    embeddings, pretrained_on = _embeddings(data, sides, tokenizer, unlabelled, recipe)
    ids = tokenizer.ids_of(data.texts)
    fit_data = FitData(
        ids,
        data.label_ids,
        len(data.labels),
        sides.train,
        sides.validation,
        tokenizer.vocabulary_size,
        embeddings,
        # The vocabulary begins with them.
        markers=np.arange(len(recipe.text.fields), dtype=np.int32) + np.int32(FIRST_WORD_ID),
    )
    fitted = fit_network(fit_data, recipe.network, recipe.fit, tensorboard, say)
    probabilities = network_probabilities(fitted.network, ids.rows(sides.validation))
    temperature = fit_temperature(probabilities, data.label_ids[sides.validation])
    apply_temperature(fitted.network, temperature)
    return Model(fitted, tokenizer, temperature, pretrained_on)


def _words(data: LabelledTexts, train: Int64s, recipe: Recipe) -> list[str]:
    words = build_vocabulary(data.texts.take(pa.array(train)), recipe.text, recipe.vocabulary, recipe.min_count)
    # Markers are words like any other, but never too rare to be known.
    markers = markers_of(recipe.text.fields)
    words = [word for word in words if word not in markers]
    if not words:
        raise InputError(
            f"Expected words that occur at least {recipe.min_count} times in the training texts, found none; "
            "add texts, or lower --min-count."
        )
    return [*markers, *words]


def _embeddings(
    data: LabelledTexts, sides: Split, tokenizer: Tokenizer, unlabelled: pa.Array | None, recipe: Recipe
) -> tuple[npt.NDArray[np.float32] | None, int]:
    """Embeddings to start from, and the number of texts they were learned from."""
    if not recipe.pretrain:
        return None, 0
    texts = joined_tokens(data.texts.take(pa.array(sides.train)), recipe.text)
    if unlabelled is not None:
        held_out = data.texts.take(pa.array(np.concatenate([sides.validation, sides.test])))
        found = pc.unique(joined_tokens(unlabelled, recipe.text))
        # A catalogue may hold the very texts the model is judged on; even without a label they are not looked at.
        found = found.filter(pc.invert(pc.is_in(found, value_set=joined_tokens(held_out, recipe.text))))
        texts = pc.unique(pa.concat_arrays([texts, found]))
    size = recipe.network.embedding
    return cooccurrence_embeddings(tokenizer.ids_of(texts), tokenizer.vocabulary_size, size, recipe.fit.seed), len(texts)
