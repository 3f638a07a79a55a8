"""A bundle that is ready to answer in this process, and what it decides for one product or for many. No Spark, and no page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock

import pyarrow as pa

from lib.model.bundle import Bundle, load_bundle
from lib.model.decisions import decided
from lib.model.engines import AUTO, Engine, checked_engine, usable_cores
from lib.model.explanation import Explanation, LevelEffect, WordEffect, explain
from lib.model.fields import columns_and_markers, joined_texts
from lib.model.text import without_halves
from lib.settings import Names
from schemas.statuses import UNCLASSIFIABLE

# Rows at a time: a person who is typing meanwhile waits for no more than these.
ROWS_AT_ONCE = 1024
# The field of a bundle that was trained on one text.
ONE_TEXT = "text"


@dataclass(frozen=True)
class Model:
    """A verified bundle with its engine. Sessions of the page share it, one at a time."""

    bundle: Bundle
    engine: Engine
    lock: Lock = field(default_factory=Lock, repr=False)

    @property
    def version(self) -> str:
        """NAME/VERSION."""
        return self.bundle.model_version

    @property
    def fields(self) -> Names:
        """The fields that a product is typed into: the bundle's, or one text."""
        return self.bundle.tokenizer.settings.fields or (ONE_TEXT,)


@dataclass(frozen=True)
class Level:
    """A level of the category's path. threshold: from which confidence on it is published; moved: the words that moved it, the strongest first."""

    name: str
    confidence: float
    threshold: float
    is_published: bool
    moved: tuple[WordEffect, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What the nightly run would decide for a product with this bundle, and why.

    threshold: below it this category goes to review; scores: those of all labels, the most probable first; levels: the top first, none
    where labels are not paths. Without words in the text there is a status and a reason, and nothing else.
    """

    status: str
    reason: str | None
    category: str | None = None
    confidence: float = 0.0
    threshold: float = 0.0
    scores: tuple[tuple[str, float], ...] = ()
    levels: tuple[Level, ...] = ()
    why: Explanation | None = None


def opened_model(path: str) -> Model:
    """Read a bundle, verify it whole, and check that it reproduces the scores it was written with.

    Raises:
        BundleError: there is no bundle, or an inconsistent one.
    """
    bundle = load_bundle(path)
    return Model(bundle, checked_engine(AUTO, bundle, usable_cores()))


def answer_of(model: Model, product: Mapping[str, str]) -> Answer:
    """What a bundle decides for one product. product: texts by field; missing ones are empty."""
    texts = [pa.array([without_halves(product.get(name, ""))], pa.string()) for name in model.fields]
    joined = _joined(model, texts, model.fields)
    with model.lock:
        found = model.engine.scores_of(model.bundle.tokenizer, joined)
        row = decided(joined, found, model.bundle, scores=False).to_pylist()[0]
        if row["status"] == UNCLASSIFIABLE:
            return Answer(row["status"], row["reason"])
        why = explain(joined[0].as_py(), model.bundle, model.engine, row["category"])
    label = model.bundle.labels.index(row["category"])
    return Answer(
        row["status"],
        row["reason"],
        row["category"],
        row["confidence"],
        model.bundle.review_below[label],
        tuple(why.scores.items()),
        _levels(row, model.bundle.level_thresholds, why.levels),
        why,
    )


def _levels(row: Mapping[str, Sequence[float]], thresholds: Sequence[float], moved: Sequence[LevelEffect]) -> tuple[Level, ...]:
    path, published = row.get("category_path") or (), len(row.get("published_path") or ())
    told = zip(path, row.get("level_confidence") or (), thresholds, moved, strict=False)
    return tuple(
        Level(str(name), sure, threshold, i < published, effect.words) for i, (name, sure, threshold, effect) in enumerate(told)
    )


def decided_rows(model: Model, texts: Sequence[pa.Array], fields: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The columns of `categorized` that follow from a text, for many products, some rows at a time.

    Args:
        texts: strings [rows] of each field, null where there is none; for a bundle of one text any number, joined in their order.
        fields: their names; for a bundle of one text they are ignored.
    """
    for first in range(0, len(texts[0]), ROWS_AT_ONCE):
        joined = _joined(model, [column.slice(first, ROWS_AT_ONCE) for column in texts], fields)
        with model.lock:
            found = model.engine.scores_of(model.bundle.tokenizer, joined)
            rows = decided(joined, found, model.bundle, scores=False)
        yield rows


def _joined(model: Model, texts: Sequence[pa.Array], fields: Sequence[str]) -> pa.Array:
    settings = model.bundle.tokenizer.settings
    if not settings.fields:
        return joined_texts(texts, settings.max_characters)
    by_field = dict(zip(fields, texts, strict=True))
    columns, markers = columns_and_markers(fields, settings.fields)
    return joined_texts([by_field[name] for name in columns], settings.max_characters, markers)
