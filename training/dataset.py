"""Labelled rows of any source to clean texts on the driver, every dropped row counted."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lib.errors import InputError
from lib.fields import markers_of
from lib.names import column
from lib.rows import joined_text
from lib.sources import Source, require_text
from lib.text import TextSettings, tokens_of

MIN_ROWS_PER_LABEL = 5
# A misspelt label has at most this share of the rows of the right one, and is at least this similar to it (difflib).
MAX_SLIP_SHARE = 0.1
MIN_SLIP_SIMILARITY = 0.8


@dataclass(frozen=True)
class Limits:
    """What the driver takes in at most."""

    rows: int
    bytes: int


@dataclass(frozen=True)
class LabelledTexts:
    """Distinct texts with one label each.

    texts: strings [rows]; label_ids: int64 [rows], positions in `labels`; `dropped`: reason -> rows; `fingerprint`:
    SHA-256 over the sorted (label, text) pairs, the same whatever the order of the rows; `look_alikes`: pairs of labels
    that may be one, misspelt or in another case.
    """

    texts: pa.Array
    label_ids: npt.NDArray[np.int64]
    labels: tuple[str, ...]
    rows_read: int
    dropped: Mapping[str, int]
    fingerprint: str
    look_alikes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Elsewhere:
    """Labelled texts of another origin: only judged on, never learned from. texts: strings [rows]."""

    texts: pa.Array
    labels: tuple[str, ...]
    origins: tuple[str, ...]


def read_labelled_texts(
    source: Source, text_columns: tuple[str, ...], label_column: str, settings: TextSettings, limits: Limits
) -> LabelledTexts:
    """Read, check against the driver's limits, and clean.

    Raises:
        InputError: columns missing, too much for the driver, or labels that cannot be learned from.
    """
    where = source.location.given
    require_text(source.frame, where, text_columns)
    require_text(source.frame, where, [label_column], flag="label_column")
    text = joined_text(text_columns, settings.max_characters, markers_of(settings.fields))
    pairs = source.frame.select(F.trim(column(label_column)).alias("label"), text.alias("text"))
    _check_limits(pairs, where, limits)
    return clean(pairs.toPandas(), settings, where)


def read_unlabelled_texts(
    source: Source, text_columns: tuple[str, ...], markers: tuple[str, ...], settings: TextSettings, limits: Limits
) -> pa.Array:
    """Texts to learn words from, strings [rows].

    Raises:
        InputError: columns missing, or too much for the driver.
    """
    require_text(source.frame, source.location.given, text_columns, flag="unlabelled_columns")
    text = joined_text(text_columns, settings.max_characters, markers)
    texts = source.frame.select(text.alias("text"))
    _check_limits(texts, source.location.given, limits)
    return pa.array(texts.toPandas()["text"], pa.string())


def read_elsewhere(
    source: Source, text_columns: tuple[str, ...], markers: tuple[str, ...], settings: TextSettings, limits: Limits
) -> Elsewhere:
    """Labelled texts of another origin, from the columns `label`, `origin` and `text_columns`.

    Raises:
        InputError: columns missing, or too much for the driver.
    """
    where = source.location.given
    require_text(source.frame, where, text_columns)
    require_text(source.frame, where, ["label", "origin"], flag="elsewhere")
    text = joined_text(text_columns, settings.max_characters, markers)
    rows = source.frame.select(F.trim("label").alias("label"), F.trim("origin").alias("origin"), text.alias("text"))
    _check_limits(rows, where, limits)
    found = rows.filter("label <> '' AND origin <> ''").toPandas()
    return Elsewhere(pa.array(found["text"], pa.string()), tuple(found["label"]), tuple(found["origin"]))


def joined_tokens(texts: pa.Array, settings: TextSettings) -> pa.Array:
    """Each text's tokens, parted by blanks: equal for texts that differ in case and punctuation only."""
    return pc.fill_null(pc.binary_join(tokens_of(texts, settings), " "), "")


def _check_limits(pairs: DataFrame, where: str, limits: Limits) -> None:
    size = pairs.agg(F.count("*").alias("rows"), F.coalesce(F.sum(F.octet_length("text")), F.lit(0)).alias("bytes")).collect()[
        0
    ]
    if size["rows"] > limits.rows or size["bytes"] > limits.bytes:
        raise InputError(
            f"Expected at most {limits.rows:,} rows and {limits.bytes:,} bytes of text for the driver in {where}, "
            f"found {size['rows']:,} and {size['bytes']:,}; take a sample, or raise --max-rows and --max-bytes."
        )


def clean(pairs: pd.DataFrame, settings: TextSettings, where: str) -> LabelledTexts:
    """Drop what teaches nothing or teaches wrong.

    Texts count as the same if their tokens are: another case or punctuation makes no new text.

    Args:
        pairs: columns label and text.
    Raises:
        InputError: fewer than two labels, or fewer than MIN_ROWS_PER_LABEL rows of one.
    """
    words = joined_tokens(pa.array(pairs["text"], pa.string(), from_pandas=True), settings).to_pandas()
    rows = pd.DataFrame({"label": pairs["label"].to_numpy(), "text": pairs["text"].to_numpy(), "words": words.to_numpy()})
    dropped: dict[str, int] = {}

    def keep(mask: pd.Series[bool], reason: str) -> None:
        nonlocal rows
        dropped[reason] = int((~mask).sum())
        rows = rows[mask]

    keep(rows["label"].fillna("") != "", "no label")
    keep(rows["words"] != "", "empty text")
    keep(rows.groupby("words")["label"].transform("nunique") == 1, "conflicting labels")
    keep(~rows["words"].duplicated(), "duplicate text")
    labels, label_ids = _checked_labels(rows["label"], where)
    digest = hashlib.sha256()
    for pair in sorted(zip(rows["label"], rows["text"], strict=True)):
        digest.update("\0".join(pair).encode() + b"\n")
    texts = pa.array(rows["text"], pa.string())
    similar = tuple(look_alikes(dict(zip(labels, np.bincount(label_ids).tolist(), strict=True))))
    return LabelledTexts(texts, label_ids, labels, len(pairs), dropped, digest.hexdigest(), similar)


def look_alikes(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """Pairs (rare, frequent) of labels that may be meant as one: they differ in case or blanks only, or by a slip of the pen.

    A slip is rare: "Men's shoes" beside as many "Women's shoes" is none.
    """
    ranked = sorted(counts, key=lambda label: (-counts[label], label))
    plain = {label: " ".join(label.casefold().split()) for label in ranked}
    pairs = []
    for place, rare in enumerate(ranked):
        for frequent in ranked[:place]:
            slip = counts[rare] <= MAX_SLIP_SHARE * counts[frequent] and _alike(plain[rare], plain[frequent])
            if plain[rare] == plain[frequent] or slip:
                pairs.append((rare, frequent))
                break
    return pairs


def _alike(one: str, other: str) -> bool:
    # The upper bounds come first: they cost little and rule out nearly every pair.
    match = SequenceMatcher(None, one, other, autojunk=False)
    bounds = (match.real_quick_ratio, match.quick_ratio, match.ratio)
    return all(ratio() >= MIN_SLIP_SIMILARITY for ratio in bounds)


def _checked_labels(column: pd.Series[str], where: str) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    counts = column.value_counts()
    if len(counts) < 2:
        found = f"only {counts.index[0]!r}" if len(counts) else "none"
        raise InputError(f"Expected at least two labels in {where}, found {found}; correct --labels or --label-column.")
    few = {str(label): int(rows) for label, rows in counts.items() if rows < MIN_ROWS_PER_LABEL}
    if few:
        meant = dict(look_alikes({str(label): int(rows) for label, rows in counts.items()}))
        listed = ", ".join(
            f"{label!r} ({rows}{f', perhaps meant as {meant[label]!r}' if label in meant else ''})"
            for label, rows in list(few.items())[:5]
        )
        raise InputError(
            f"Expected at least {MIN_ROWS_PER_LABEL} distinct texts of each label in {where}, found fewer of {listed}"
            f"{' and others' if len(few) > 5 else ''}; add rows, or correct or remove these labels."
        )
    labels = tuple(sorted(map(str, counts.index)))
    positions = {label: i for i, label in enumerate(labels)}
    return labels, np.array([positions[label] for label in column], dtype=np.int64)
