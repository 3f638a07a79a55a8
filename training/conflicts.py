"""Texts of which copies have different labels: which label counts, and which copies are suspects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from lib.model.changes import starts_of

# How rows are called that are dropped since copies of their text have another label, and the share of all rows from which that is said of the figures.
OUTVOTED, UNDECIDED = "outvoted label", "conflicting labels"
MANY_DISPUTED = 0.02


@dataclass(frozen=True)
class Conflict:
    """A text under a label that other copies of it contradict.

    suggested: the label that counts instead, or, where none does, the most frequent other one; share, suggested_share: how many of the text's copies
    have each.
    """

    text: str
    label: str
    suggested: str
    share: float
    suggested_share: float


@dataclass(frozen=True)
class Settled:
    """Labelled rows of which each text has one label.

    outvoted: rows whose label most copies of their text contradict; undecided: rows of texts that no label counts for; lost: labels that have no
    text left, with those that they had; all three are without their rows.
    """

    rows: pd.DataFrame
    outvoted: int = 0
    undecided: int = 0
    conflicts: tuple[Conflict, ...] = ()
    lost: Mapping[str, int] = field(default_factory=dict)


def settled(rows: pd.DataFrame, separator: str | None) -> Settled:
    """Find the label of each text, as `counting_label` does, and leave out the rows that have another.

    Args:
        rows: columns label, words and text; texts with the same words are copies.
        separator: that of labels that are paths, which are in one spelling; None for a flat list.
    """
    several = rows.groupby("words")["label"].transform("nunique") > 1
    if not several.any():
        return Settled(rows)
    votes: dict[str, dict[str, tuple[int, str]]] = {}
    counted = rows[several].groupby(["words", "label"], sort=False)["text"].agg(["size", "first"])
    for (words, label), copies, text in counted.itertuples():
        votes.setdefault(words, {})[label] = copies, text
    found = {words: counting_label({label: one[0] for label, one in of.items()}, separator) for words, of in votes.items()}
    label = rows["words"].map(found).where(several, rows["label"])
    decided = label.notna()
    agrees = rows["label"] == label
    if separator:
        above = {label: frozenset(starts_of(label, separator)) for label in found.values() if label}
        agrees |= pd.Series(
            [given in above.get(one, ()) for given, one in zip(rows["label"], label, strict=True)], rows.index, dtype=bool
        )
    kept = rows[decided & agrees].assign(label=label[decided & agrees])
    gone = rows[rows["label"].isin(set(rows["label"]) - set(kept["label"]))].drop_duplicates(["label", "words"])
    return Settled(
        kept,
        outvoted=int((decided & ~agrees).sum()),
        undecided=int((~decided).sum()),
        conflicts=tuple(one for words, of in votes.items() for one in _conflicts(of, found[words], separator)),
        lost={str(label): int(texts) for label, texts in gone["label"].value_counts().items()},
    )


def disputed_text(dropped: Mapping[str, int], rows: int) -> str:
    """A sentence on what dropped rows mean for the figures, without its full stop; empty if they are few. rows: all that were read."""
    disputed = dropped.get(OUTVOTED, 0) + dropped.get(UNDECIDED, 0)
    if disputed <= MANY_DISPUTED * rows:
        return ""
    return (
        f"{disputed:,} of the {rows:,} rows ({disputed / rows:.1%}) are left out, since copies of their text have other labels; the figures are about "
        "the rest, and on rows like these no model can always be right"
    )


def counting_label(copies: Mapping[str, int], separator: str | None) -> str | None:
    """The label that counts for a text: one that at least two thirds of its copies have.

    Then twice as many copies have it as have any other, so that of three one may be wrong; of two that differ, either may be. Where no label has as many
    and the labels are paths, it is the one that all others are above: these say the same, but less of it. None where there is no such label either.

    Args:
        copies: label -> how many copies of the text have it.
    """
    most, every = max(copies, key=copies.__getitem__), sum(copies.values())
    if 3 * copies[most] >= 2 * every:
        return most
    return next((label for label in copies if copies.keys() <= set(starts_of(label, separator))), None)


def _conflicts(votes: Mapping[str, tuple[int, str]], label: str | None, separator: str | None) -> list[Conflict]:
    """One for each label of a text that is not the one that counts, nor above it. votes: label -> copies and one of these."""
    shares = Counter({one: copies for one, (copies, _) in votes.items()})
    every = shares.total()
    agreeing = starts_of(label, separator) if label else ()
    ranked = sorted(shares, key=lambda one: (-shares[one], one))
    found = []
    for one in ranked:
        # One below the label that counts says the same, and more of it.
        if one not in agreeing and label not in starts_of(one, separator):
            suggested = label or next(other for other in ranked if other != one)
            found.append(Conflict(votes[one][1], one, suggested, shares[one] / every, shares[suggested] / every))
    return found
