"""Texts of a train and a validation side to a fitted, calibrated network with its vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lib.errors import InputError
from lib.model.arrays import Float32s, Int64s
from lib.model.fields import markers_of
from lib.model.text import FIRST_WORD_ID, Tokenizer, joined_tokens
from training.bag import BagData, FittedBag, bag_data, beside, fit_bag
from training.calibration import (
    evidence_of,
    fit_factors,
    mixed,
    network_logits,
    network_probabilities,
    rarity_of,
    summed,
    with_adjustment,
)
from training.dataset import LabelledTexts
from training.embeddings import cooccurrence_embeddings
from training.fit import FitData, Fitted, FittedWeights, build_vocabulary, fit_network
from training.linear import fit_linear
from training.network import build_network, joined_network
from training.pretrained import record_of, rows_of, words_with_vectors
from training.progress import step
from training.recipe import BagSettings, FitSettings, NetworkSettings, Recipe
from training.self_training import with_sure_texts
from training.split import Split
from training.vectors import WordVectors
from training.workers import Say, prefixed, run_together, workers_for

# Below this many tokens times epochs, starting processes takes longer than they save.
MIN_TOKENS_FOR_PROCESSES = 1_000_000


PARTS = LSTM, BAG, LINEAR = "LSTM", "bag", "linear"
# What the parts are called while they are fitted.
TOLD_AS = {LSTM: "LSTM", BAG: "bag", LINEAR: "linear classifier"}
RARITY = "rarity"


@dataclass(frozen=True)
class Parts:
    """A fitted LSTM and classifiers fitted to the bag of features, each on its own.

    bags: the bag's network and the linear classifier, if they are asked for; pretrained_on: texts the embeddings started
    from; vectors: the record of the pretrained word vectors, None without any; rarity: that of each label, float32 [labels], added to
    every text's logits, None where the recipe does not ask for it.
    """

    lstm: Fitted
    bags: tuple[FittedBag, ...]
    tokenizer: Tokenizer
    pretrained_on: int
    vectors: Mapping[str, Any] | None
    rarity: Float32s | None

    def logits(self, texts: pa.Array) -> tuple[Float32s, ...]:
        """The logits of each part, float32 [rows, labels]; texts have words."""
        ids = self.tokenizer.ids_of(texts)
        of_lstm = network_logits(self.lstm.network, ids)
        of_rarity = [] if self.rarity is None else [np.broadcast_to(self.rarity, of_lstm.shape)]
        return (of_lstm, *(bag.logits(ids.bag) for bag in self.bags if ids.bag), *of_rarity)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parts, in the order of their logits."""
        return (*PARTS[: 1 + len(self.bags)], *([] if self.rarity is None else [RARITY]))


@dataclass(frozen=True)
class Model:
    """A network of fitted parts, calibrated.

    factors: those of each part's logits; held_out: each part's logits for the validation side, from parts that did not see it;
    guessed: unlabelled texts that were learned from with the label of a first model.
    """

    parts: Parts
    factors: tuple[float, ...]
    held_out: tuple[Float32s, ...]
    guessed: int = 0

    @property
    def fitted(self) -> Fitted:
        return self.parts.lstm

    @property
    def tokenizer(self) -> Tokenizer:
        return self.parts.tokenizer

    @property
    def pretrained_on(self) -> int:
        return self.parts.pretrained_on

    @cached_property
    def network(self) -> keras.Model:
        bags, rarity = self.parts.bags, self.parts.rarity
        bag = beside(bags, self.factors[1 : 1 + len(bags)]) if bags else None
        weights = (bag.table, bag.output, bag.bias, bag.slopes) if bag else None
        adjustment = None if rarity is None else rarity * np.float32(self.factors[-1])
        return joined_network(self.fitted.network, self.factors[0], weights, adjustment)

    def with_factors(self, factors: Sequence[float]) -> Model:
        """The same parts with these factors instead."""
        return replace(self, factors=tuple(factors))

    def probabilities(self, texts: pa.Array) -> Float32s:
        """float32 [rows, labels], calibrated; NaN for a text without words."""
        return network_probabilities(self.network, self.tokenizer.ids_of(texts))

    def held_out_probabilities(self) -> Float32s:
        """For the validation side, from parts that did not see it: float32 [rows, labels]."""
        return mixed(self.held_out, self.factors)

    def held_out_evidence(self) -> Float32s:
        """The evidence for the validation side, from parts that did not see it: float32 [rows]."""
        return evidence_of(summed(self.held_out, self.factors))


def build_model(
    data: LabelledTexts,
    sides: Split,
    recipe: Recipe,
    unlabelled: pa.Array | None = None,
    tensorboard: str | None = None,
    say: Say = print,
    processes: int | None = None,
    vectors: WordVectors | None = None,
) -> Model:
    """Fit on the train side and calibrate on the validation side; if the recipe says so, also fit on both, for scoring.

    Args:
        unlabelled: strings, texts to learn embeddings from in addition to those of the train side; with self-training also texts to
            learn labels from.
        processes: how many fits may run at once; None for one per core, where the texts are worth it.
        vectors: pretrained ones; their learned projection is folded into the tables of both parts.
    Raises:
        InputError: no word occurs often enough.
        CategorizerError: the fit failed.
    """
    labelled = len(data.label_ids)
    if recipe.self_training:
        data, sides = _with_sure_texts(data, sides, recipe, unlabelled, say, processes, vectors)
    plans = [plan_of(data, sides, recipe, unlabelled, vectors)]
    if recipe.refit:
        every = Split(np.sort(np.concatenate([sides.train, sides.validation])), np.empty(0, np.int64), sides.test)
        plans.append(plan_of(data, every, recipe, unlabelled, vectors))
    tasks = [task for plan in plans for task in _tasks(plan, recipe, tensorboard if plan is plans[0] else None).values()]
    if tensorboard is not None or not worth_processes(plans[0], recipe):
        processes = 1
    fits = {part: epochs for plan in plans for part, epochs in _epochs(plan, recipe).items()}
    say(step("fitting", fits=fits, processes=workers_for(len(tasks), processes)))
    found = run_together(tasks, say, processes)
    each = len(tasks) // len(plans)
    first, last = (
        _parts(plan, recipe, found[i * each : (i + 1) * each]) for i, plan in ((0, plans[0]), (len(plans) - 1, plans[-1]))
    )
    held_out = first.logits(data.texts.take(pa.array(sides.validation)))
    factors = factors_for(
        held_out[: 1 + len(first.bags)], first.rarity, data.label_ids[sides.validation], recipe.logit_adjustment
    )
    # The curves that are drawn are those of the fit that was evaluated on texts it did not see.
    last = replace(last, lstm=replace(last.lstm, curves=first.lstm.curves))
    return Model(last, factors, held_out, len(data.label_ids) - labelled)


def _with_sure_texts(
    data: LabelledTexts,
    sides: Split,
    recipe: Recipe,
    unlabelled: pa.Array | None,
    say: Say,
    processes: int | None,
    vectors: WordVectors | None,
) -> tuple[LabelledTexts, Split]:
    """`data` with the unlabelled texts added that a first model, fitted to the train side, is sure of."""
    more = _unlabelled(data, sides, recipe, unlabelled)
    if more is None:
        return data, sides
    # People have labelled those of the train side.
    labelled = joined_tokens(data.texts.take(pa.array(sides.train)), recipe.text)
    more = more.filter(pc.invert(pc.is_in(more, value_set=labelled)))
    first = replace(recipe, refit=False, self_training=False)
    model = build_model(data, sides, first, unlabelled, None, prefixed(say, "first model, "), processes, vectors)
    more_data, more_sides = with_sure_texts(data, sides, more, model.probabilities, recipe.fit.seed)
    learned = len(more_data.label_ids) - len(data.label_ids)
    say(f"self-training: {learned:,} of {len(more):,} unlabelled texts are learned from, which the first model is sure of")
    return more_data, more_sides


def factors_for(parts: Sequence[Float32s], rarity: Float32s | None, label_ids: Int64s, adjustment: float) -> tuple[float, ...]:
    """The factors of each part's logits and, where there is an adjustment, of the labels' rarity.

    Args:
        parts: logits of each, float32 [rows, labels], for texts that it was not fitted to; label_ids: those of these texts, int64 [rows].
    """
    factors = fit_factors(parts, label_ids)
    if rarity is None or not adjustment:
        return factors
    return with_adjustment([*parts, np.broadcast_to(rarity, parts[0].shape)], factors, adjustment, label_ids)


@dataclass(frozen=True)
class Plan:
    """What the parts are fitted to. bag: None without a bag."""

    data: FitData
    bag: BagData | None
    tokenizer: Tokenizer
    pretrained_on: int
    vectors: Mapping[str, Any] | None


def plan_of(
    data: LabelledTexts, sides: Split, recipe: Recipe, unlabelled: pa.Array | None, vectors: WordVectors | None
) -> Plan:
    """What the parts are fitted to, for a split; unlabelled, vectors: as in `build_model`.

    Raises:
        InputError: no word occurs often enough.
    """
    words, more = _words(data, sides.train, recipe), _unlabelled(data, sides, recipe, unlabelled)
    own = Tokenizer(words, recipe.text)
    embeddings, pretrained_on = _embeddings(data, sides, own, more, recipe)
    tokenizer, rows, told = own, None, None
    if vectors is not None:
        texts = [data.texts.take(pa.array(sides.train)), *([] if more is None else [more])]
        further = words_with_vectors(vectors, words, texts, recipe.text, recipe.vector_words)
        tokenizer = Tokenizer([*words, *further], recipe.text)
        rows = rows_of(vectors, tokenizer.words)
        told = record_of(vectors, rows, own.vocabulary_size)
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
        vectors=rows,
        own_words=own.vocabulary_size,
    )
    bag = bag_data(data.texts, fit_data, tokenizer, recipe.bag) if recipe.bag else None
    return Plan(fit_data, bag, tokenizer, pretrained_on, told)


def worth_processes(plan: Plan, recipe: Recipe) -> bool:
    """Whether its fits take longer than it takes to start processes for them."""
    epochs = recipe.fit.epochs_for(len(plan.data.train), plan.data.labels)
    return int(plan.data.ids.lengths.sum()) * epochs >= MIN_TOKENS_FOR_PROCESSES


def parts_of(plan: Plan, recipe: Recipe) -> tuple[str, ...]:
    """Those of PARTS that the recipe asks for."""
    return tuple(_tasks(plan, recipe, None))


def logits_of_part(plan: Plan, recipe: Recipe, part: str, texts: Sequence[pa.Array], say: Say) -> list[Float32s]:
    """Fit one part alone; return its logits for each of `texts`, arrays of strings, float32 [rows, labels].

    Raises:
        CategorizerError: the fit failed.
    """
    fitted = _tasks(plan, recipe, None)[part](say)
    if isinstance(fitted, FittedWeights):
        network = _network(plan, recipe, fitted)
        return [network_logits(network, plan.tokenizer.ids_of(one)) for one in texts]
    bags = (Tokenizer(plan.tokenizer.words, recipe.text, fitted.vocabulary).ids_of(one).bag for one in texts)
    return [fitted.logits(bag) for bag in bags if bag]


def _tasks(plan: Plan, recipe: Recipe, tensorboard: str | None) -> dict[str, Callable[[Say], FittedWeights | FittedBag]]:
    """The fits that the recipe asks for, by part."""
    which = _which(plan)
    tasks: dict[str, Callable[[Say], FittedWeights | FittedBag]] = {
        LSTM: partial(_fit_lstm, plan.data, recipe.network, recipe.fit, tensorboard, f"{which}{TOLD_AS[LSTM]} ")
    }
    if plan.bag is None or recipe.bag is None:
        return tasks
    tasks[BAG] = partial(_fit_bag, fit_bag, plan.bag, recipe.bag, recipe.fit.seed, f"{which}{TOLD_AS[BAG]} ")
    if recipe.bag.linear:
        tasks[LINEAR] = partial(_fit_bag, fit_linear, plan.bag, recipe.bag, recipe.fit.seed, f"{which}{TOLD_AS[LINEAR]} ")
    return tasks


def _which(plan: Plan) -> str:
    """The prefix of the messages about its fits."""
    return "" if len(plan.data.validation) else "all texts, "


def _epochs(plan: Plan, recipe: Recipe) -> dict[str, int]:
    """The epochs of each part that is fitted, by the name under which it reports them; the linear classifier takes one."""
    epochs = {LSTM: recipe.fit.epochs_for(len(plan.data.train), plan.data.labels)}
    if plan.bag is not None and recipe.bag is not None:
        epochs |= {BAG: recipe.bag.epochs_for(len(plan.bag.train_labels)), LINEAR: 1}
    return {f"{_which(plan)}{TOLD_AS[part]}": epochs[part] for part in parts_of(plan, recipe)}


def _fit_lstm(
    data: FitData, network: NetworkSettings, fit: FitSettings, tensorboard: str | None, prefix: str, say: Say
) -> FittedWeights:
    fitted = fit_network(data, network, fit, tensorboard, prefixed(say, prefix))
    return FittedWeights(fitted.network.get_weights(), fitted.curves, fitted.seconds)


def _fit_bag(
    fit: Callable[..., FittedBag], data: BagData, settings: BagSettings, seed: int, prefix: str, say: Say
) -> FittedBag:
    return fit(data, settings, seed, prefixed(say, prefix)).for_scoring(settings.scored_pairs, settings.scored_subwords)


def _network(plan: Plan, recipe: Recipe, weights: FittedWeights) -> keras.Model:
    network = build_network(plan.data.vocabulary_size, plan.data.labels, recipe.network)
    network.set_weights(weights.weights)
    return network


def _parts(plan: Plan, recipe: Recipe, found: Sequence[Any]) -> Parts:
    weights, bags = found[0], tuple(found[1:])
    network = _network(plan, recipe, weights)
    tokenizer = Tokenizer(plan.tokenizer.words, recipe.text, bags[0].vocabulary if bags else None)
    rarity = rarity_of(plan.data.label_ids[plan.data.train], plan.data.labels) if recipe.logit_adjustment else None
    return Parts(Fitted(network, weights.curves, weights.seconds), bags, tokenizer, plan.pretrained_on, plan.vectors, rarity)


def _words(data: LabelledTexts, train: Int64s, recipe: Recipe) -> list[str]:
    min_count = recipe.min_count_for(len(train))
    words = build_vocabulary(data.texts.take(pa.array(train)), recipe.text, recipe.vocabulary, min_count)
    # Markers are words like any other, but never too rare to be known.
    markers = markers_of(recipe.text.fields)
    words = [word for word in words if word not in markers]
    if not words:
        raise InputError(
            f"Expected words that occur at least {min_count} times in the training texts, found none; "
            "add texts, or lower --min-count."
        )
    return [*markers, *words]


def _unlabelled(data: LabelledTexts, sides: Split, recipe: Recipe, unlabelled: pa.Array | None) -> pa.Array | None:
    """The distinct unlabelled texts, as their tokens, without those that a held-out side also has."""
    if unlabelled is None:
        return None
    held_out = data.texts.take(pa.array(np.concatenate([sides.validation, sides.test])))
    found = pc.unique(joined_tokens(unlabelled, recipe.text))
    # A catalogue may contain the very texts that the model is judged on; they are not used, even without a label.
    return found.filter(pc.invert(pc.is_in(found, value_set=joined_tokens(held_out, recipe.text))))


def _embeddings(
    data: LabelledTexts, sides: Split, tokenizer: Tokenizer, unlabelled: pa.Array | None, recipe: Recipe
) -> tuple[npt.NDArray[np.float32] | None, int]:
    """Embeddings to start from, and the number of texts they were learned from."""
    if not recipe.pretrain:
        return None, 0
    texts = joined_tokens(data.texts.take(pa.array(sides.train)), recipe.text)
    if unlabelled is not None:
        texts = pc.unique(pa.concat_arrays([texts, unlabelled]))
    size = recipe.network.embedding
    return cooccurrence_embeddings(tokenizer.ids_of(texts), tokenizer.vocabulary_size, size, recipe.fit.seed), len(texts)
