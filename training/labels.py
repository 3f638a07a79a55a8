"""Labels as people write them: too rare to be learned, or perhaps meant as another."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher

import numpy as np

from training.spelling import MIN_SIMILARITY, Spelling

# From one text nothing can be learned that could be evaluated; two give a first impression.
MIN_ROWS_PER_LABEL = 2
# A misspelt label has at most this share of the rows of the right one.
MAX_SLIP_SHARE = 0.1
# Labels named in a sentence, and left-out labels that are compared with the others: a column of free text has a million.
SHOWN = 5
COMPARED = 200


def look_alikes(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """Pairs (rare, frequent) of labels that may be meant as one: they have the same `plain_name`, or differ by a typing error.

    A typing error is rare: "Men's shoes" next to as many "Women's shoes" is none. Nor is another digit: labels may be numbers.
    """
    ranked = sorted(counts, key=lambda label: (-counts[label], label))
    plain = [plain_name(label) for label in ranked]
    most = np.array([MAX_SLIP_SHARE * counts[label] for label in ranked])
    # The first labels, as many as have enough rows for this one to be a slip of theirs.
    far_ahead = np.searchsorted(-most, [-counts[label] for label in ranked], side="right")
    first: dict[str, int] = {}
    spelling, pairs = Spelling(plain), []
    for place, rare in enumerate(ranked):
        near = spelling.near(place, int(far_ahead[place]))
        meant = [
            next((other for other in near if _alike(plain[place], plain[other])), place),
            first.setdefault(plain[place], place),
        ]
        if min(meant) < place:
            pairs.append((rare, ranked[min(meant)]))
    return pairs


def plain_name(name: str) -> str:
    """A name without what cannot be seen, or hardly: case, blanks, ways to write the same letters, characters without a shape."""
    shown = "".join(one for one in unicodedata.normalize("NFKC", name) if unicodedata.category(one) != "Cf")
    return " ".join(shown.casefold().split())


def cell(text: str) -> str:
    """A label in a table of Markdown, where a bar or a line's end would end the cell."""
    return " ".join(text.replace("|", "\\|").split())


def _alike(one: str, other: str) -> bool:
    # The upper bounds come first: they cost little and rule out nearly every pair.
    match = SequenceMatcher(None, one, other, autojunk=False)
    bounds = (match.real_quick_ratio, match.quick_ratio, match.ratio)
    return all(ratio() >= MIN_SIMILARITY for ratio in bounds)


def rare_labels(counts: Mapping[str, int], least: int) -> dict[str, int]:
    """The labels of fewer than `least` texts with how many they have, the more frequent first."""
    ranked = sorted(counts, key=lambda label: (-counts[label], label))
    return {label: counts[label] for label in ranked if counts[label] < least}


def worth_comparing(counts: Mapping[str, int], rare: Mapping[str, int]) -> dict[str, int]:
    """All labels that are learned, and as many of the rare ones as can be compared with them in little time."""
    few = dict(list(rare.items())[:COMPARED])
    return {label: rows for label, rows in counts.items() if label not in rare or label in few}


def listed(labels: Mapping[str, int], similar: Iterable[Sequence[str]] = ()) -> str:
    """The first labels with their texts and what they are perhaps meant as, for a sentence."""
    meant = {pair[0]: pair[1] for pair in similar}
    named = [
        f"{label!r} ({rows:,}{f', perhaps meant as {meant[label]!r}' if label in meant else ''})"
        for label, rows in list(labels.items())[:SHOWN]
    ]
    more = len(labels) - len(named)
    return ", ".join(named) + (f" and {more:,} more" if more else "")
