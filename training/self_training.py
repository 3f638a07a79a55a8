"""Texts without a label that a first model is sure of, learned from with the label that it gives them.

Self-training (Yarowsky 1995, "Unsupervised Word Sense Disambiguation Rivaling Supervised Methods"), with each text's likeliest
label as if it were its own (Lee 2013, "Pseudo-Label"). It adds the wording of the catalogue that is to be categorized:
words that occur near known ones there get a label's meaning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa

from lib.model.arrays import Float32s, Int64s
from training.dataset import LabelledTexts
from training.split import Split

# The first model's calibrated confidence.
SURE = 0.9
# How many texts are scored for each one that is wanted: in most catalogues fewer are sure.
SCORED_FOR_EACH = 4
TEXTS_AT_ONCE = 16_384


def with_sure_texts(
    data: LabelledTexts, sides: Split, unlabelled: pa.Array, probabilities: Callable[[pa.Array], Float32s], seed: int
) -> tuple[LabelledTexts, Split]:
    """`data` with unlabelled texts after its own, all of them on the train side.

    At most half as many as that side holds: they must not outvote what people have labelled.

    Args:
        unlabelled: strings, distinct, none of them on a side that is held out.
        probabilities: those of the first model, from strings [rows] to float32 [rows, labels]; NaN for a text without words.
    """
    random, most = np.random.default_rng(seed), len(sides.train) // 2
    some = np.sort(random.permutation(len(unlabelled))[: SCORED_FOR_EACH * most])
    texts = unlabelled.take(pa.array(some))
    confidences, labels = _likeliest(texts, probabilities)
    sure = np.flatnonzero(confidences >= SURE)
    sure = np.sort(random.permutation(sure)[:most])
    rows = len(data.label_ids)
    more = replace(
        data,
        texts=pa.concat_arrays([data.texts, texts.take(pa.array(sure))]),
        label_ids=np.concatenate([data.label_ids, labels[sure]]),
        groups=None,
    )
    return more, replace(sides, train=np.concatenate([sides.train, np.arange(rows, rows + len(sure))]))


def _likeliest(texts: pa.Array, probabilities: Callable[[pa.Array], Float32s]) -> tuple[Float32s, Int64s]:
    """The confidence of each text and its label, float32 and int64 [rows]; confidence 0 for a text without words."""
    confidences, labels = np.zeros(len(texts), np.float32), np.zeros(len(texts), np.int64)
    # In blocks: of thousands of labels all probabilities would take as many times the memory.
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        block = slice(start, start + TEXTS_AT_ONCE)
        found = np.nan_to_num(probabilities(texts[block]), copy=False)
        confidences[block], labels[block] = found.max(axis=1), found.argmax(axis=1)
    return confidences, labels
