"""Why a text got its category: what happens to the category when a word is removed (occlusion).

Li, Monroe and Jurafsky 2016, "Understanding Neural Networks through Representation Erasure". A word is removed by making
it an unknown one, in all its places: the fit hid words in just this way, so the network has seen such texts. A text of n
different words is scored n + 1 times, which is nothing for one text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from lib.errors import InputError
from lib.model.arrays import Float64s
from lib.model.bundle import Bundle
from lib.model.changes import named
from lib.model.engines import Engine
from lib.model.fields import markers_of
from lib.model.text import tokens_of
from lib.model.tree import Tree

# How many are shown on a terminal, of thousands of labels and of the words of each level.
MOST_SCORES, WORDS_OF_A_LEVEL = 10, 4


@dataclass(frozen=True)
class WordEffect:
    """A word, how often it occurs in the text, and the category's probability and log-odds without it.

    effect: by how much the log-odds fall when the word is removed; above 0 the word supports the category.
    """

    word: str
    count: int
    probability_without: float
    effect: float


@dataclass(frozen=True)
class LevelEffect:
    """A level of a category that is a path, the sum of the probabilities below it, and the words that moved this sum, the strongest first."""

    level: str
    confidence: float
    words: tuple[WordEffect, ...]


@dataclass(frozen=True)
class Explanation:
    """A text's category and what moved it; `words` the strongest first, `unknown` those that the model does not know.

    unfamiliarity: as in lib.model.unfamiliarity; None for a bundle that is older than this number. levels: those of a category that is a path, the
    top first; empty for others.

    `tokens_read` of `tokens`: what comes after the bundle's limit is not read at all.
    """

    category: str
    confidence: float
    scores: dict[str, float]
    words: tuple[WordEffect, ...]
    unknown: tuple[str, ...]
    tokens: int
    tokens_read: int
    unfamiliarity: float | None = None
    levels: tuple[LevelEffect, ...] = ()


def explain(text: str, bundle: Bundle, engine: Engine, category: str | None = None) -> Explanation:
    """Explain `category`, or the one the text gets.

    Raises:
        InputError: the bundle has no such category, or the text no words.
    """
    if category is not None and category not in bundle.labels:
        raise InputError(f"Expected a category of {named(bundle.labels)}, found {category!r}; correct --category.")
    settings = bundle.tokenizer.settings
    every = tokens_of(pa.array([text], pa.string()), settings)[0].as_py() or []
    tokens = every[: settings.max_tokens]
    if not tokens:
        raise InputError("Expected a text with words, found none in it; without words a row is unclassifiable.")
    markers = set(markers_of(settings.fields))
    words = [word for word in dict.fromkeys(tokens) if word not in markers]
    known = [word for word in words if bundle.tokenizer.knows(word)]
    variants = [tokens, *([None if token == word else token for token in tokens] for word in known)]
    found, evidence = engine.probabilities_and_evidence(bundle.tokenizer.ids_of_tokens(pa.array(variants)))
    probabilities = found.astype(float)
    label = int(probabilities[0].argmax()) if category is None else bundle.labels.index(category)
    counted = [(word, tokens.count(word)) for word in known]
    order = np.argsort(-probabilities[0], kind="stable")
    return Explanation(
        bundle.labels[label],
        float(probabilities[0, label]),
        {bundle.labels[i]: float(probabilities[0, i]) for i in order},
        _effects(counted, probabilities[:, label]),
        tuple(word for word in words if word not in set(known)),
        len(every),
        len(tokens),
        float(bundle.unfamiliarity.of(evidence[:1])[0]) if bundle.unfamiliarity else None,
        _levels(counted, probabilities, bundle.tree, label) if bundle.tree else (),
    )


def _effects(words: Sequence[tuple[str, int]], probabilities: Float64s) -> tuple[WordEffect, ...]:
    """The effects of words, given with how often they occur in the text. probabilities: with all words, then without each of them."""
    column = np.clip(probabilities, 1e-7, 1 - 1e-7)
    odds = np.log(column / (1 - column))
    effects = [
        WordEffect(word, count, float(probabilities[i]), float(odds[0] - odds[i]))
        for i, (word, count) in enumerate(words, start=1)
    ]
    return tuple(sorted(effects, key=lambda one: (-abs(one.effect), one.word)))


def _levels(words: Sequence[tuple[str, int]], probabilities: Float64s, tree: Tree, label: int) -> tuple[LevelEffect, ...]:
    found = []
    for nodes, name in zip(tree.nodes, tree.ancestors[tree.labels[label]], strict=False):
        column = probabilities[:, nodes == nodes[label]].sum(axis=1)
        found.append(LevelEffect(name, min(float(column[0]), 1.0), _effects(words, column)))
    return tuple(found)


def explanation_text(found: Explanation, top: int) -> str:
    """For a terminal: the category, then the `top` words that moved it most."""
    shown = list(found.scores.items())[:MOST_SCORES]
    more = f", and {len(found.scores) - len(shown):,} more" if len(found.scores) > len(shown) else ""
    scores = ", ".join(f"{label} {score:.3f}" for label, score in shown) + more
    lines = [f"{found.category} {found.confidence:.3f}  ({scores})", ""]
    words = found.words[:top]
    width = max([len("word"), *(len(one.word) for one in words)])
    lines.append(f"{'word':{width}}  times  log-odds  without it")
    for one in words:
        lines.append(f"{one.word:{width}}  {one.count:5d}  {one.effect:+8.2f}  {one.probability_without:10.3f}")
    if found.levels:
        lines += ["", "its levels, and what moved each of them most:"]
    for level in found.levels:
        moved = ", ".join(f"{one.word} {one.effect:+.2f}" for one in level.words[:WORDS_OF_A_LEVEL])
        lines.append(f"{level.level} {level.confidence:.3f}  {moved}")
    if found.unfamiliarity is not None:
        lines += [
            "",
            f"unfamiliarity {found.unfamiliarity:.4f}: the share of texts like the labelled ones that are less unlike these",
        ]
    if found.unknown:
        lines += ["", f"unknown to the model: {', '.join(found.unknown)}"]
    if found.tokens > found.tokens_read:
        lines += ["", f"read: the first {found.tokens_read} of {found.tokens} words"]
    return "\n".join(lines)
