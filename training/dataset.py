"""Labelled rows of any source to clean texts on the driver, every dropped row counted."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lib.errors import InputError
from lib.identifiers import column
from lib.model.changes import Changes, Renaming, named, plain, renaming
from lib.model.evaluation import as_learned_text
from lib.model.fields import markers_of
from lib.model.text import TextSettings, joined_tokens, tokens_of
from lib.model.tree import in_tree_order, path_of
from lib.scoring.catalogue import joined_text
from lib.scoring.labels import check_level_names, label_of
from lib.tables.columns import ID_TYPES, require_columns, require_labels, require_text
from lib.tables.sources import Source
from training.conflicts import OUTVOTED, UNDECIDED, Conflict, disputed_text, settled
from training.labels import MIN_ROWS_PER_LABEL, listed, look_alikes, rare_labels, worth_comparing
from training.taxonomy import Taxonomy, check_labels, labels_above, moved_text, slips, tree_remarks

# What pandas, Spark, databases and spreadsheets write for a value that is not there.
MISSING_VALUES = frozenset({"nan", "none", "null", "nil", "n/a", "#n/a", "na", "<na>"})
# Up to this share of texts that are not read to their end, nothing is said.
FEW_LONGER = 0.01
TEXTS_AT_ONCE = 50_000


@dataclass(frozen=True)
class Limits:
    """The most that the driver reads in."""

    rows: int
    bytes: int


@dataclass(frozen=True)
class LabelledTexts:
    """Distinct texts with one label each.

    texts: strings [rows]; label_ids: int64 [rows], positions in `labels`; `rows_read`: labels and corrections, those of `dropped`
    among them; `dropped`: reason -> rows; `fingerprint`: SHA-256 over the sorted (label, text) pairs, the same whatever the order
    of the rows; `look_alikes`: pairs of labels that may be one, misspelt or in another case; `rare_labels`: those left out, with
    their texts; `groups`: strings [rows], the group of a text in `group_column`, null for none; `separator`: separates the levels
    of labels that are paths, which are then in the order of a lib.model.tree.Tree, and of which `look_alikes` are nodes below one
    parent; None for a flat list; `moved_up`: those of such labels that are learned as one above them, for lack of texts; `renamed`: what
    was renamed by a file of changes, None without one; `conflicts`: texts under labels that copies of them contradict, left out; `lost_labels`: those
    whose every text is one of these, with their texts; `longer`: how many texts have more tokens, or characters, than are read.
    """

    texts: pa.Array
    label_ids: npt.NDArray[np.int64]
    labels: tuple[str, ...]
    rows_read: int
    dropped: Mapping[str, int]
    fingerprint: str
    look_alikes: tuple[tuple[str, str], ...] = ()
    rare_labels: Mapping[str, int] = field(default_factory=dict)
    groups: pa.Array | None = None
    group_column: str | None = None
    separator: str | None = None
    moved_up: Mapping[str, str] = field(default_factory=dict)
    renamed: Renaming | None = None
    conflicts: tuple[Conflict, ...] = ()
    lost_labels: Mapping[str, int] = field(default_factory=dict)
    longer: int = 0


@dataclass(frozen=True)
class LabelRules:
    """Where labels are, and what is made of them.

    columns, separator: as in lib.scoring.labels.label_of; min_rows: a label of fewer distinct texts is left out; taxonomy: contains
    every label, None where none is known; changes: renames labels, before anything else.
    """

    columns: tuple[str, ...]
    separator: str | None = None
    min_rows: int = MIN_ROWS_PER_LABEL
    taxonomy: Taxonomy | None = None
    changes: Changes | None = None


@dataclass(frozen=True)
class Elsewhere:
    """Labelled texts of another origin: only for evaluation, never for learning.

    texts: strings [rows]; left_out: rows whose label became several, by that label; moved_up: those that are judged as the label above theirs,
    by their own.
    """

    texts: pa.Array
    labels: tuple[str, ...]
    origins: tuple[str, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    moved_up: Mapping[str, int] = field(default_factory=dict)

    def as_learned(self, moved_up: Mapping[str, str]) -> Elsewhere:
        """With the labels that were learned as one above them under that one. moved_up: as in LabelledTexts."""
        moved = Counter(label for label in self.labels if label in moved_up)
        return replace(self, labels=tuple(moved_up.get(label, label) for label in self.labels), moved_up=moved)

    def labelled_too(self, data: LabelledTexts, settings: TextSettings) -> int:
        """How many of the texts have the words of one of the labelled texts."""
        theirs, ours = joined_tokens(self.texts, settings), joined_tokens(data.texts, settings)
        return int(pc.sum(pc.is_in(theirs, value_set=ours)).as_py() or 0)

    def remarks(self, where: str) -> list[str]:
        """What their author should know, one sentence each. where: as the user named them."""
        lines = []
        if self.left_out:
            lines.append(
                f"{sum(self.left_out.values()):,} rows of {len(self.left_out):,} labels of {where} are left out, since each of these became "
                f"several: {named(self.left_out)}"
            )
        if self.moved_up:
            lines.append(as_learned_text(self.moved_up, where))
        return lines


def read_labelled_texts(
    source: Source,
    text_columns: tuple[str, ...],
    rules: LabelRules,
    settings: TextSettings,
    limits: Limits,
    group_column: str | None = None,
    corrections: pd.DataFrame | None = None,
) -> LabelledTexts:
    """Read, check against the driver's limits, and clean.

    Args:
        group_column: names groups that stay on one side of a split.
        corrections: as `read_corrected_texts` returns them; the changes rename their labels too.
    Raises:
        InputError: columns missing, too much for the driver, or labels that cannot be learned from.
    """
    where = source.location.given
    require_text(source.frame, where, text_columns)
    require_labels(source.frame, where, rules.columns, flag="label_column")
    check_level_names(source.frame, where, rules.columns, rules.separator)
    text = joined_text(text_columns, settings.max_characters, markers_of(settings.fields))
    group = []
    if group_column:
        require_columns(source.frame, where, group_column=([group_column], ID_TYPES))
        group = [F.trim(column(group_column).cast("string")).alias("group")]
    pairs = source.frame.select(label_of(rules.columns, rules.separator).alias("label"), text.alias("text"), *group)
    _check_limits(pairs, where, limits)
    rows, before, renamed = pairs.toPandas(), {}, None
    if rules.changes:
        # First: a correction that is left out overrules no text that has its new label already.
        rows, corrections, renamed = both_with_new_labels(rows, corrections, rules.changes, rules.separator)
        renamed.check()
        before["label that became several"] = sum(renamed.left_out.values())
    if corrections is not None:
        rows, before["corrected label"] = with_corrections(rows, corrections, settings)
    data = clean(rows, settings, where, rules.min_rows, rules.separator, rules.taxonomy)
    rows_read = data.rows_read + sum(before.values())
    return replace(data, group_column=group_column, rows_read=rows_read, dropped={**before, **data.dropped}, renamed=renamed)


def with_new_labels(rows: pd.DataFrame, changes: Changes, separator: str | None) -> tuple[pd.DataFrame, Renaming]:
    """Labelled rows under the new names of their labels, without those whose label became several.

    Args:
        rows: with the column label, and an index of distinct values.
    """
    spelt = _plain_labels(rows["label"], separator)
    counts = {str(label): int(count) for label, count in spelt.value_counts().items() if label}
    found = renaming(counts, separator, changes)
    rows = rows.assign(label=spelt.map(lambda label: found.names.get(label, label), na_action="ignore"))
    return rows[~spelt.isin(list(found.left_out))], found


def both_with_new_labels(
    rows: pd.DataFrame, corrections: pd.DataFrame | None, changes: Changes, separator: str | None
) -> tuple[pd.DataFrame, pd.DataFrame | None, Renaming]:
    """Labelled rows and corrections as `with_new_labels` returns them, counted together."""
    kept, found = with_new_labels(pd.concat([rows, corrections], ignore_index=True), changes, separator)
    ours = kept.index < len(rows)
    return kept[ours], None if corrections is None else kept[~ours], found


def read_corrected_texts(
    rows: DataFrame | None, where: str, text_columns: tuple[str, ...], markers: tuple[str, ...], settings: TextSettings
) -> pd.DataFrame:
    """People's corrections of products: columns label and text.

    Args:
        rows: lib.tables.corrections.standing of the table. text_columns: those of the texts that the corrections store.
    Raises:
        InputError: no corrections, or none with these texts.
    """
    if rows is None:
        raise InputError(
            f"Expected a table with corrections at {where}, found none; correct --corrections, or add some by `correct`."
        )
    texts = rows.select(F.col("category").alias("label"), *[F.col("texts")[name].alias(name) for name in text_columns])
    joined = joined_text(text_columns, settings.max_characters, markers)
    found = texts.select("label", joined.alias("text")).filter("text <> ''").toPandas()
    if found.empty:
        names = [
            row["name"]
            for row in rows.select(F.explode(F.map_keys("texts")).alias("name")).distinct().orderBy("name").collect()
        ]
        raise InputError(
            f"Expected corrections with the texts {', '.join(text_columns)} next to {where}, found {', '.join(names) or 'none with texts'}; "
            "correct --corrections-columns, or add corrections with --text-columns."
        )
    return found


def with_corrections(pairs: pd.DataFrame, corrections: pd.DataFrame, settings: TextSettings) -> tuple[pd.DataFrame, int]:
    """Labelled texts and corrections together, and how many labelled ones are left out, since a correction has the same words.

    A person's correction wins, even where the labels differ from it.
    """
    theirs, ours = (
        joined_tokens(pa.array(rows["text"], pa.string(), from_pandas=True), settings) for rows in (corrections, pairs)
    )
    overruled = pc.is_in(ours, value_set=theirs).to_numpy(zero_copy_only=False)
    return pd.concat([pairs[~overruled], corrections], ignore_index=True), int(overruled.sum())


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
    source: Source,
    text_columns: tuple[str, ...],
    markers: tuple[str, ...],
    settings: TextSettings,
    limits: Limits,
    separator: str | None = None,
    changes: Changes | None = None,
) -> Elsewhere:
    """Labelled texts of another origin, from the columns `label`, `origin` and `text_columns`.

    Args:
        separator: separates the levels of labels that are paths. changes: renames their labels, where they have old ones.
    Raises:
        InputError: columns missing, too much for the driver, or no text with a label and an origin.
    """
    where = source.location.given
    require_text(source.frame, where, text_columns, flag="elsewhere_columns")
    require_labels(source.frame, where, ["label", "origin"], flag="elsewhere")
    text = joined_text(text_columns, settings.max_characters, markers)
    label = label_of(("label",), separator)
    rows = source.frame.select(
        label.alias("label"), F.trim(column("origin").cast("string")).alias("origin"), text.alias("text")
    )
    _check_limits(rows, where, limits)
    found = rows.filter("label <> '' AND origin <> ''").toPandas()
    found["label"] = _plain_labels(found["label"], separator)
    left_out: Mapping[str, int] = {}
    if changes:
        found, renamed = with_new_labels(found, changes, separator)
        left_out = renamed.left_out
    if found.empty:
        raise InputError(
            f"Expected labelled texts in {where}, each with a label and an origin, found none"
            f"{f' but those of labels that became several ({named(left_out)})' if left_out else ''}; correct --elsewhere, or leave it out."
        )
    return Elsewhere(pa.array(found["text"], pa.string()), tuple(found["label"]), tuple(found["origin"]), left_out)


def characters_read(texts: pa.Array, settings: TextSettings) -> int:
    """How many characters of the texts are read: those of their first tokens, with a blank after each."""
    read = 0
    for first in range(0, len(texts), TEXTS_AT_ONCE):
        tokens = pc.list_slice(tokens_of(texts.slice(first, TEXTS_AT_ONCE), settings), 0, settings.max_tokens).flatten()
        read += len(tokens) + int(pc.sum(pc.utf8_length(tokens)).as_py() or 0)
    return read


def _check_limits(pairs: DataFrame, where: str, limits: Limits) -> None:
    size = pairs.agg(F.count("*").alias("rows"), F.coalesce(F.sum(F.octet_length("text")), F.lit(0)).alias("bytes")).collect()[
        0
    ]
    if size["rows"] > limits.rows or size["bytes"] > limits.bytes:
        raise InputError(
            f"Expected at most {limits.rows:,} rows and {limits.bytes:,} bytes of text for the driver in {where}, "
            f"found {size['rows']:,} and {size['bytes']:,}; take a sample, or raise --max-rows and --max-bytes."
        )


def clean(
    pairs: pd.DataFrame,
    settings: TextSettings,
    where: str,
    min_rows: int = MIN_ROWS_PER_LABEL,
    separator: str | None = None,
    taxonomy: Taxonomy | None = None,
) -> LabelledTexts:
    """Drop rows that teach nothing or something wrong.

    Texts count as the same if their tokens are: another case or punctuation does not make a new text. Where copies differ in their label, the one counts
    that training.conflicts.counting_label says.

    Args:
        pairs: columns label and text, and perhaps group; for copies in several groups the first in alphabetical order counts.
        min_rows: labels of fewer distinct texts are left out, or, where they are paths, learned as the one above them.
        separator: separates the levels of labels that are paths; taxonomy: contains them all.
    Raises:
        InputError: fewer than two labels, or fewer than two that are not left out; labels that the taxonomy lacks.
    """
    rows = _with_words(pairs, settings, separator)
    dropped: dict[str, int] = {}

    def keep(mask: pd.Series[bool], reason: str) -> None:
        nonlocal rows
        dropped[reason] = int((~mask).sum())
        rows = rows[mask]

    keep(rows["label"].fillna("") != "", "no label")
    keep(rows["words"] != "", "empty text")
    one_each = settled(rows, separator)
    rows = one_each.rows
    dropped |= {OUTVOTED: one_each.outvoted, UNDECIDED: one_each.undecided}
    keep(~rows["words"].duplicated(), "duplicate text")
    counts, moved = _counts(rows), {}
    if taxonomy and separator:
        check_labels(counts, taxonomy, separator)
    if separator and (moved := labels_above(counts, min_rows, separator)):
        rows = rows.assign(label=rows["label"].map(lambda label: moved.get(label, label)))
        counts = _counts(rows)
    rare = rare_labels(counts, min_rows)
    compared = worth_comparing(counts, rare)
    similar = tuple(slips(compared, separator) if separator else look_alikes(compared))
    _check_labels(counts, rare, similar, min_rows, where, dropped)
    keep(~rows["label"].isin(list(rare)), f"label of fewer than {min_rows} texts")
    labels = in_tree_order(set(counts) - set(rare), separator) if separator else tuple(sorted(set(counts) - set(rare)))
    found = _labelled(rows, labels, settings, separator)
    return replace(
        found,
        rows_read=len(pairs),
        dropped=dropped,
        look_alikes=similar,
        rare_labels=rare,
        moved_up=moved,
        conflicts=one_each.conflicts,
        lost_labels=one_each.lost,
    )


def _labelled(rows: pd.DataFrame, labels: tuple[str, ...], settings: TextSettings, separator: str | None) -> LabelledTexts:
    """The rows that are left, without what became of the others. rows: columns label, text and words, and perhaps group."""
    positions = {label: i for i, label in enumerate(labels)}
    label_ids = np.array([positions[label] for label in rows["label"]], dtype=np.int64)
    groups = pa.array(rows["group"], pa.string(), from_pandas=True) if "group" in rows else None
    texts = pa.array(rows["text"], pa.string())
    blanks = pc.count_substring(pa.array(rows["words"], pa.string()), " ").to_numpy(zero_copy_only=False)
    # Texts are cut at so many where they are read.
    is_cut = pc.utf8_length(texts).to_numpy(zero_copy_only=False) >= settings.max_characters
    return LabelledTexts(
        texts,
        label_ids,
        labels,
        len(rows),
        {},
        _fingerprint(rows),
        groups=groups,
        separator=separator,
        longer=int(((blanks >= settings.max_tokens) | is_cut).sum()),
    )


def _with_words(pairs: pd.DataFrame, settings: TextSettings, separator: str | None) -> pd.DataFrame:
    """The pairs with their tokens added, labels in one spelling, and one group for copies in several groups."""
    words = joined_tokens(pa.array(pairs["text"], pa.string(), from_pandas=True), settings).to_pandas()
    labelled = _plain_labels(pairs["label"], separator)
    rows = pd.DataFrame({"label": labelled.to_numpy(), "text": pairs["text"].to_numpy(), "words": words.to_numpy()})
    if "group" in pairs:
        named = (pairs["group"].fillna("") != "").to_numpy()
        rows["group"] = rows["words"].map(pairs["group"][named].groupby(rows["words"].to_numpy()[named]).min())
    return rows


def _counts(rows: pd.DataFrame) -> dict[str, int]:
    return {str(label): int(count) for label, count in rows["label"].value_counts().items()}


def _fingerprint(rows: pd.DataFrame) -> str:
    digest = hashlib.sha256()
    for pair in sorted(zip(rows["label"], rows["text"], strict=True)):
        digest.update("\0".join(pair).encode() + b"\n")
    return digest.hexdigest()


def _plain_labels(labels: pd.Series[str], separator: str | None) -> pd.Series[str]:
    """Labels in the spelling of lib.model.changes.plain, null where there is none."""
    spelt = {label: plain(label, separator) for label in labels.dropna().unique()}
    return labels.map(spelt)


def remarks(data: LabelledTexts) -> list[str]:
    """What the author of the labels should know about them, one sentence each."""
    kept = [pair for pair in data.look_alikes if pair[0] not in data.rare_labels]
    lines = data.renamed.lines() if data.renamed else []
    if data.separator:
        lines += tree_remarks(data.labels, kept, data.separator)
    else:
        lines += [
            f"labels that may be meant as one: {rare!r} and {frequent!r}; they are learned as two" for rare, frequent in kept
        ]
    if data.moved_up:
        lines.append(moved_text(data.moved_up))
    if missing := _like_missing_values(data):
        lines.append(
            f"{len(missing):,} labels are spelled like a missing value, and are learned as labels unless their rows are removed: {listed(missing)}"
        )
    if disputed := disputed_text(data.dropped, data.rows_read):
        lines.append(disputed)
    if data.lost_labels:
        lines.append(
            f"{len(data.lost_labels):,} labels are left out, since copies of their every text have another label: {listed(data.lost_labels)}"
        )
    if data.rare_labels:
        rare = listed(data.rare_labels, data.look_alikes)
        lines.append(
            f"{len(data.rare_labels):,} labels are left out, since they have too few texts for --min-rows-per-label: {rare}"
        )
    return lines


def remarks_on_length(data: LabelledTexts, settings: TextSettings) -> list[str]:
    """Whether more than a few texts are not read to their end, in one sentence."""
    share = data.longer / len(data.texts)
    if share <= FEW_LONGER:
        return []
    return [
        f"{share:.1%} of the texts are longer than the {settings.max_tokens:,} tokens, or {settings.max_characters:,} characters, that are read (--max-tokens)"
    ]


def _like_missing_values(data: LabelledTexts) -> dict[str, int]:
    """Labels that programs write where there is none, as a whole or as a level of a path, with their texts."""
    texts = np.bincount(data.label_ids, minlength=len(data.labels))
    found = zip(data.labels, map(int, texts), strict=True)
    levels = {label: path_of(label, data.separator) if data.separator else (label,) for label in data.labels}
    return {label: rows for label, rows in found if any(level.casefold() in MISSING_VALUES for level in levels[label])}


def _check_labels(
    counts: Mapping[str, int],
    rare: Mapping[str, int],
    similar: Sequence[tuple[str, str]],
    min_rows: int,
    where: str,
    dropped: Mapping[str, int],
) -> None:
    left = [label for label in counts if label not in rare]
    why = ", ".join(f"{reason} {rows:,}" for reason, rows in dropped.items() if rows)
    why = f" (rows dropped: {why})" if why else ""
    if len(counts) < 2:
        found = (f"only {next(iter(counts))!r}" if counts else "none") + why
        raise InputError(
            f"Expected at least two labels in {where}, found {found}; correct --labels or --label-column.", see="no-label"
        )
    if len(left) < 2:
        found = (f"only {left[0]!r}" if left else "none") + why
        raise InputError(
            f"Expected at least two labels of {min_rows} or more distinct texts in {where}, found {found} besides "
            f"{listed(rare, similar)}; add rows, correct the labels, or lower --min-rows-per-label.",
            see="no-label",
        )
