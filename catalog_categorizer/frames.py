"""Categories and metrics for a frame, of whatever kind it is."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalog_categorizer.arguments import TextColumns, names_of, speaking_python
from catalog_categorizer.eager import EagerFrame, PandasFrame, PolarsFrame
from catalog_categorizer.evaluation import Evaluation
from catalog_categorizer.model import Model
from lib.errors import InputError
from lib.model.changes import plain
from lib.model.decisions import SCORES, decided
from lib.model.evaluation import LabelCount, metrics_of, seen_of
from lib.model.fields import columns_and_markers, joined_texts
from lib.model.seen_texts import SeenTexts
from lib.model.text import joined_tokens
from lib.model.unfamiliarity import UNFAMILIAR_SHARE, check_share, is_above
from lib.settings import Names
from schemas.statuses import OF_LEVELS

F = TypeVar("F")
# Rows taken out of a frame at a time: with texts cut to a bundle's 4,096 characters, some tens of megabytes at most.
ROWS_AT_ONCE = 8192
# Probabilities at a time, 16 MB: with thousands of labels they take more room than that many rows' texts.
VALUES_AT_ONCE = 1 << 22
ADDED = ("category", "confidence", "runner_up", "runner_up_confidence", SCORES, "status", "reason", "unfamiliarity")
# The columns that an evaluation needs of a row.
OF_ROW = ("category", "status", "confidence")
WHERE = "the frame"


@speaking_python
def categorize(
    frame: F, model: Model, text_columns: TextColumns, *, scores: bool = False, unfamiliar: float | None = None
) -> F:
    """The frame with its products' categories added, as the nightly run assigns them with the same bundle.

    Rows, index and columns stay as they are. These are added: `category`, `confidence`, `runner_up`, `runner_up_confidence`,
    `status` (categorized, review or unclassifiable), `reason`, and `unfamiliarity`; for a model whose labels are paths also
    `category_path`, `level_confidence` and `published_path`; docs/tables.md explains them.
    A text that is missing, or has no words, is `unclassifiable` and has no category.

    Args:
        frame: of pandas, Polars or Spark; for Spark the result is a plan, and nothing is scored before its rows are asked for.
        model: from `load_bundle`.
        text_columns: the column with the text, or several, joined in this order; for a bundle with several fields their names, or
            a dict from field to column.
        scores: also the probability of each label, in the column `scores`: a dict in pandas, a struct in Polars, a map in Spark.
        unfamiliar: share of texts like the labelled ones, such as 0.01, that get the status review as the most unlike them.
    Raises:
        InputError: an argument that does not fit; the message says which.
    """
    _check_model(model)
    share = _checked_share(unfamiliar, model)
    added = [name for name in ADDED if scores or name != SCORES] + list(OF_LEVELS if model.bundle.tree else ())
    columns, markers = _columns(text_columns, model)
    if _is_spark(frame):
        spark = _spark_frames()
        return spark.categorized(frame, model, columns, markers, added, share)  # type: ignore[no-any-return]
    opened = _opened(frame)
    _check_columns(opened, text_columns=columns)
    _check_free(opened.names, added)
    parts = [batch.select(added) for _, batch in _decided(opened, model, columns, markers, share, scores)]
    return opened.with_columns(pa.Table.from_batches(parts))  # type: ignore[no-any-return]


@speaking_python
def evaluate(frame: Any, model: Model, text_columns: TextColumns, label_column: str) -> Evaluation:
    """The metrics of a bundle on labelled texts: those of the job `evaluate`.

    A row whose text has no words counts as a miss, as does a label that the bundle does not know; rows without a label are
    left out, and counted.

    Args:
        frame: of pandas, Polars or Spark.
        model: from `load_bundle`.
        text_columns: as in `categorize`.
        label_column: the column with the label, as text.
    Raises:
        InputError: an argument that does not fit, or no labelled row.
    """
    _check_model(model)
    if not isinstance(label_column, str):
        raise InputError(f"Expected label_column as the name of a column, found {label_column!r:.100}; correct it.")
    columns, markers = _columns(text_columns, model)
    if _is_spark(frame):
        counts = _spark_frames().counted(frame, model, names_of(text_columns, model.fields), label_column)
    else:
        opened = _opened(frame)
        _check_columns(opened, text_columns=columns, label_column=[label_column])
        counts = _counted(opened, model, columns, markers, label_column)
    return Evaluation(metrics_of(counts, model.bundle, WHERE))


def _check_model(model: Model) -> None:
    if not isinstance(model, Model):
        raise InputError(f"Expected model as load_bundle returns it, found {type(model).__name__}; load the bundle first.")


def _checked_share(share: float | None, model: Model) -> float | None:
    if share is None:
        return None
    if not isinstance(share, (int, float)) or isinstance(share, bool):
        raise InputError(f"Expected unfamiliar as a share such as 0.01, or None, found {share!r:.100}; correct it.")
    check_share(model.bundle.unfamiliarity, share, model.version)
    return share


def _columns(text_columns: TextColumns, model: Model) -> tuple[Names, Names]:
    """The columns to read, and the marker of each."""
    return columns_and_markers(names_of(text_columns, model.fields), model.fields)


def _is_spark(frame: object) -> bool:
    spark = sys.modules.get("pyspark.sql")
    return spark is not None and isinstance(frame, spark.DataFrame)


def _spark_frames() -> Any:
    """The module for Spark's frames; its packages are absent where nobody uses Spark."""
    try:
        from catalog_categorizer import spark_frames
    except ImportError as error:
        raise InputError(
            f"Expected what a frame of Spark needs to be installed, found none of {error.name}; pip install '.[spark]' in the clone."
        ) from None
    return spark_frames


def _opened(frame: Any) -> EagerFrame:
    pandas, polars = sys.modules.get("pandas"), sys.modules.get("polars")
    if pandas is not None and isinstance(frame, pandas.DataFrame):
        return PandasFrame(frame)
    if polars is not None and isinstance(frame, polars.DataFrame):
        return PolarsFrame(frame)
    if polars is not None and isinstance(frame, polars.LazyFrame):
        raise InputError("Expected a frame in memory, found a LazyFrame of Polars; collect() it first.")
    raise InputError(
        f"Expected a DataFrame of pandas, Polars or Spark, found {type(frame).__module__}.{type(frame).__qualname__}; put the texts "
        "into a column of one."
    )


def _check_columns(frame: EagerFrame, **wanted: Sequence[str]) -> None:
    there = Counter(frame.names)
    for argument, names in wanted.items():
        missing = [name for name in names if name not in there]
        if missing:
            raise InputError(
                f"Expected the column {', '.join(missing)} in {WHERE}, found {', '.join(there)[:300] or 'no columns'}; correct {argument}."
            )
        if twice := [name for name in names if there[name] > 1]:
            raise InputError(f"Expected one column {twice[0]} in {WHERE}, found {there[twice[0]]}; rename the others.")


def _check_free(names: Sequence[str], added: Sequence[str]) -> None:
    """Refuse to overwrite a column of the user's."""
    if taken := [name for name in added if name in names]:
        raise InputError(
            f"Expected {WHERE} without columns of the names that are added, found {', '.join(taken)}; rename or drop them first."
        )


def _decided(
    frame: EagerFrame, model: Model, columns: Names, markers: Names, share: float | None, scores: bool = False
) -> Iterator[tuple[slice, pa.RecordBatch]]:
    """What the model decides, some rows at a time; for a frame without rows one batch without rows."""
    step = max(min(ROWS_AT_ONCE, VALUES_AT_ONCE // len(model.bundle.labels)), 1)
    for first in range(0, max(frame.rows, 1), step):
        rows = slice(first, min(first + step, frame.rows))
        texts = _texts(frame, rows, model, columns, markers)
        yield rows, decided(texts, model.engine.scores_of(model.bundle.tokenizer, texts), model.bundle, share, scores)


def _texts(frame: EagerFrame, rows: slice, model: Model, columns: Names, markers: Names) -> pa.Array:
    most = model.bundle.tokenizer.settings.max_characters
    return joined_texts([frame.texts(name, rows, most) for name in columns], most, markers)


def _counted(frame: EagerFrame, model: Model, columns: Names, markers: Names, label_column: str) -> list[LabelCount]:
    """The rows by label, category, status and published levels."""
    parts, known = [], SeenTexts.read(seen_of(model.bundle))
    keys = ["label", "category", "status", "published"]
    for rows, batch in _decided(frame, model, columns, markers, None):
        labels = _spelt(frame.texts(label_column, rows), model)
        strange = is_above(batch["unfamiliarity"].to_numpy(zero_copy_only=False), UNFAMILIAR_SHARE)
        judged = {"label": labels, "published": _published(batch), **{name: batch[name] for name in OF_ROW}}
        judged |= {"rows": pa.array([1] * len(batch)), "unfamiliar": pa.array(strange, pa.int64())}
        parts.append(_sums(pa.table({**judged, **_seen(frame, rows, model, columns, markers, known)}), keys))
    return [LabelCount(**row) for row in _sums(pa.concat_tables(parts), keys).to_pylist()]


def _seen(
    frame: EagerFrame, rows: slice, model: Model, columns: Names, markers: Names, known: SeenTexts | None
) -> dict[str, pa.Array]:
    """Of each row whether its text would be in the bundle's record of those it was fitted to, and whether it is: 1 or 0, int64 [rows]."""
    if known is None:
        return dict.fromkeys(("asked", "seen"), pa.array(np.zeros(rows.stop - rows.start, np.int64)))
    texts = _texts(frame, rows, model, columns, markers)
    found = known.found(joined_tokens(texts, model.bundle.tokenizer.settings).to_pylist())
    return {name: pa.array(one, pa.int64()) for name, one in zip(("asked", "seen"), found, strict=True)}


def _spelt(labels: pa.Array, model: Model) -> pa.Array:
    """Labels in one spelling. labels: strings [rows], null for none."""
    separator = model.bundle.tree.separator if model.bundle.tree else None
    distinct = labels.dictionary_encode()
    return pa.array([plain(label, separator) for label in distinct.dictionary.to_pylist()], pa.string()).take(distinct.indices)


def _published(batch: pa.RecordBatch) -> pa.Array:
    """How many levels of each row's path are published, int64 [rows]."""
    if "published_path" not in batch.schema.names:
        return pa.array(np.zeros(len(batch), np.int64))
    return pc.fill_null(pc.list_value_length(batch["published_path"]), 0).cast(pa.int64())


def _sums(rows: pa.Table, keys: Sequence[str]) -> pa.Table:
    names = ["rows", "confidence", "unfamiliar", "asked", "seen"]
    zero = pc.ScalarAggregateOptions(min_count=0)
    summed = rows.group_by(keys).aggregate([(name, "sum", zero) for name in names])
    return summed.select([*keys, *[f"{name}_sum" for name in names]]).rename_columns([*keys, *names])
