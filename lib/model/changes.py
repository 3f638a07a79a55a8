"""What labels are called after a taxonomy has changed: a file of old and new names, applied to the labels of a model or of texts."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.errors import InputError
from lib.model.tree import path_of

HEADER = ["old", "new"]
MOST_NAMED = 5


@dataclass(frozen=True)
class Change:
    """old is called new from now on; where labels are paths both may be the start of one, and everything below it moves."""

    old: str
    new: str


@dataclass(frozen=True)
class Changes:
    """What old labels are called now. where: the file that says so, for messages."""

    lines: Sequence[Change]
    where: str

    def digest(self, separator: str | None) -> str:
        """That of the names, whatever the order and the spelling of the lines. separator: as in `applied`."""
        pairs = sorted({(plain(change.old, separator), plain(change.new, separator)) for change in self.lines})
        return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()


@dataclass(frozen=True)
class Relabelling:
    """What each label of a bundle becomes.

    Args:
        labels: for every label the one that it becomes. split: labels that stay as they are, since they become several, and which those are.
        starts: for every label that becomes another, or several, how many levels the changed start of it has; 1 where labels are not paths.
        unused: old labels of the changes that are those of no label, or whose every label has a change of its own.
        changes: those that it follows from.
    """

    labels: Mapping[str, str]
    split: Mapping[str, Sequence[str]]
    starts: Mapping[str, int]
    unused: Sequence[str]
    changes: Changes

    @property
    def moved(self) -> dict[str, str]:
        return {old: new for old, new in self.labels.items() if old != new}

    @property
    def merged(self) -> dict[str, list[str]]:
        """Labels that several others become, and those others."""
        counts = Counter(self.labels.values())
        return {new: [old for old, becomes in self.labels.items() if becomes == new] for new in counts if counts[new] > 1}


def read_changes(path: str) -> Changes:
    """From the CSV file of --changes, in UTF-8 with the header old,new.

    Raises:
        InputError: no such file, another header, or a line that does not have two names.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not in UTF-8"
        raise InputError(
            f"Expected a CSV file with the header old,new at {path}, found none ({reason}); correct --changes."
        ) from None
    rows = _rows(text, path)
    if not rows or [name.strip() for name in rows[0][1]] != HEADER:
        raise InputError(
            f"Expected the header old,new in {path}, found {','.join(rows[0][1]) if rows else 'nothing'!s:.100}; correct it."
        )
    for number, row in rows[1:]:
        if len(row) != 2 or not all(name.strip() for name in row):
            raise InputError(
                f"Expected an old and a new label in line {number} of {path}, found {','.join(row)!r:.200}; correct it."
            )
    return Changes([Change(*row) for _, row in rows[1:]], path)


def _rows(text: str, path: str) -> list[tuple[int, list[str]]]:
    """The rows of a CSV file that are not empty, and the line that each ends in."""
    # With its line ends, so that a name in quotes is read as it is written; strict, since otherwise a quote that is never closed takes in everything after it.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise InputError(
            f"Expected a CSV file in {path}, found a field in line {reader.line_num} that cannot be read ({error}); correct its quotes."
        ) from None


def applied(labels: Sequence[str], separator: str | None, changes: Changes) -> Relabelling:
    """What each label becomes. All changes apply at once, so that two labels may swap names.

    Args:
        labels: those of a bundle, or of rows; compared in the spelling of `plain`. separator: that of labels that are paths, None for others.
    Raises:
        InputError: a new label without a level.
    """
    becomes: dict[str, list[str]] = {}
    for change in changes.lines:
        old, new = plain(change.old, separator), plain(change.new, separator)
        if not new:
            raise InputError(
                f"Expected a path as new label in {changes.where}, found {change.new!r}, which has no level; correct it."
            )
        if new not in becomes.setdefault(old, []):
            becomes[old].append(new)
    found: dict[str, str] = {}
    split: dict[str, Sequence[str]] = {}
    starts: dict[str, int] = {}
    used: set[str] = set()
    for label in labels:
        above = starts_of(plain(label, separator), separator)
        # The most specific change counts.
        start = next((start for start in reversed(above) if start in becomes), "")
        found[label] = label
        if start:
            used.add(start)
            starts[label] = above.index(start) + 1
            if len(becomes[start]) == 1:
                found[label] = becomes[start][0] + above[-1][len(start) :]
            else:
                split[label] = becomes[start]
    unused = [old for old in becomes if old not in used]
    return Relabelling(found, split, starts, unused, changes)


def plain(label: str, separator: str | None) -> str:
    """A label in one spelling: without blanks of any kind around it or around a level, and with letters and accents composed (NFC)."""
    composed = unicodedata.normalize("NFC", label)
    return separator.join(path_of(composed, separator)) if separator else composed.strip()


def starts_of(label: str, separator: str | None) -> list[str]:
    """The labels that a label in one spelling is at or below, the top first; of a flat list only itself."""
    if not separator:
        return [label]
    path = path_of(label, separator)
    return [separator.join(path[:end]) for end in range(1, len(path) + 1)]


def named(labels: Iterable[str], meant: Mapping[str, str] | None = None) -> str:
    """The first labels, for a sentence, with what they are perhaps meant as, and how many more there are."""
    every, meant = list(labels), meant or {}
    more = f" and {len(every) - MOST_NAMED:,} more" if len(every) > MOST_NAMED else ""
    told = [f"{label!r} (perhaps meant as {meant[label]!r})" if label in meant else repr(label) for label in every[:MOST_NAMED]]
    return ", ".join(told) + more


@dataclass(frozen=True)
class Renaming:
    """How the labels of labelled rows were renamed; rows are counted by the label that they had.

    Args:
        names: every label that changes -> the new one, or None where it became several and is at or below none of these: a row may be of any of them.
        moved, left_out: rows of labels that got another name, and of those that became several.
        split: labels that became several -> these; a label that is at or below one of these already stays.
        unused: old labels of the changes that no row has. unclear: rows by label, where an old label is also at or below a new one.
    """

    names: Mapping[str, str | None]
    moved: Mapping[str, int]
    left_out: Mapping[str, int]
    split: Mapping[str, Sequence[str]]
    unused: Sequence[str]
    unclear: Mapping[str, int]
    where: str

    def check(self) -> None:
        """Refuse changes that change nothing.

        Raises:
            InputError: no row has any of the old labels.
        """
        if not self.moved and not self.split:
            raise InputError(
                f"Expected labelled rows with an old label of {self.where}, found none ({named(self.unused) or 'no line gives another name'}); "
                "correct the file, or leave --changes out if the labels are new ones already."
            )

    def record(self) -> dict[str, Any]:
        """For the manifest: labels that became others, and how many rows of which labels were left out."""
        renamed = {old: new for old, new in self.names.items() if new is not None}
        return {"labels": renamed, "rows": sum(self.moved.values()), "left_out": dict(self.left_out)}

    def lines(self) -> list[str]:
        """What the author of the labels and of the changes should know, one sentence each."""
        lines = []
        if self.moved:
            lines.append(
                f"{sum(self.moved.values()):,} rows of {len(self.moved):,} labels have their new label of {self.where}"
            )
        if self.left_out:
            lines.append(
                f"{sum(self.left_out.values()):,} rows of {len(self.left_out):,} labels are left out, since each of these became several, and "
                f"a person has to say which of them a row is: {named(self.left_out)}"
            )
        stayed = [label for label in self.split if label not in self.left_out]
        if stayed:
            lines.append(
                f"{len(stayed):,} labels are, or are below, one of the several that an old label became, and keep their rows: {named(stayed)}; rows "
                "from before the change may be of another part"
            )
        if self.unclear:
            lines.append(
                f"{sum(self.unclear.values()):,} rows of {len(self.unclear):,} labels were taken for old ones, though {self.where} also gives "
                f"these names to others: {named(self.unclear)}; if they have their new label already, keep them in a table of their own"
            )
        if self.unused:
            lines.append(f"{len(self.unused):,} old labels of {self.where} are those of no row: {named(self.unused)}")
        return lines


def renaming(counts: Mapping[str, int], separator: str | None, changes: Changes) -> Renaming:
    """How the labels of labelled rows are renamed. Rows that have a new label already stay as they are.

    Args:
        counts: label, in the spelling of `plain`, -> rows. separator: as in `applied`.
    Raises:
        InputError: a new label has no level.
    """
    made = applied(list(counts), separator, changes)
    left_out = {
        label: counts[label]
        for label, news in made.split.items()
        # A new name above the old one says nothing about what is below that.
        if set(news).isdisjoint(starts_of(label, separator)[made.starts[label] - 1 :])
    }
    news = {plain(change.new, separator) for change in changes.lines}
    unclear = {label: counts[label] for label in made.moved if not news.isdisjoint(starts_of(label, separator))}
    return Renaming(
        names={**made.moved, **dict.fromkeys(left_out)},
        moved={label: counts[label] for label in made.moved},
        left_out=left_out,
        split=made.split,
        unused=made.unused,
        unclear=unclear,
        where=changes.where,
    )
