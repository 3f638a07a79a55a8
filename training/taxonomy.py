"""Labels that are paths, checked: against a published tree, and against each other."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lib.errors import InputError
from lib.model.changes import plain
from lib.model.tree import Path, path_of
from training.labels import COMPARED, SHOWN, plain_name

# "123 - A > B", as Google publishes its taxonomy with ids.
NUMBER = re.compile(r"^\d+ - ")
# Names of fewer characters, such as "TV" and "PC", are one edit apart by chance.
SHORTEST = 4


@dataclass(frozen=True)
class Taxonomy:
    """A tree that somebody publishes. paths: those of all its nodes; children: those of each node, with the empty path for the top."""

    where: str
    paths: Collection[Path]
    children: Mapping[Path, list[str]]


def read_taxonomy(file: str, separator: str) -> Taxonomy:
    """Read a file with one path per line, in UTF-8; lines that begin with # and blank ones are skipped, and so are numbers in front.

    Raises:
        InputError: no such file, or one without paths.
    """
    try:
        with open(file, encoding="utf-8-sig") as lines:
            written = [line.strip() for line in lines]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Expected a taxonomy in UTF-8 at {file}, found none ({error}); correct --taxonomy.") from None
    found = [
        path_of(plain(NUMBER.sub("", line), separator), separator) for line in written if line and not line.startswith("#")
    ]
    taxonomy = taxonomy_of(file, found)
    if not any(len(path) > 1 for path in taxonomy.paths):
        raise InputError(
            f"Expected paths such as 'A{separator}B' in {file}, one per line, found {len(taxonomy.paths):,} lines without {separator!r}; correct "
            "--taxonomy or --label-separator."
        )
    return taxonomy


def taxonomy_of(where: str, leaves: Iterable[Path]) -> Taxonomy:
    """The tree of some paths; a parent that is not among them is a node all the same."""
    paths = dict.fromkeys(path[:depth] for path in leaves for depth in range(1, len(path) + 1))
    children: dict[Path, list[str]] = {}
    for path in paths:
        children.setdefault(path[:-1], []).append(path[-1])
    return Taxonomy(where, paths, children)


def check_labels(counts: Mapping[str, int], taxonomy: Taxonomy, separator: str) -> None:
    """Refuse labels that the taxonomy does not have: what is learned as a category must be one.

    Args:
        counts: label -> texts.
    Raises:
        InputError: gives their number, and names the first with what they may be meant as.
    """
    unknown = {label: rows for label, rows in counts.items() if path_of(label, separator) not in taxonomy.paths}
    if not unknown:
        return
    ranked = sorted(unknown, key=lambda label: (-unknown[label], label))
    # Another column's values are a million, each to be compared with all names of the top level.
    meant = {label: nearest(path_of(label, separator), taxonomy) for label in ranked[:COMPARED]}
    named = [
        f"{label!r} ({unknown[label]:,}{f', perhaps meant as {separator.join(path)!r}' if (path := meant.get(label)) else ''})"
        for label in ranked
    ]
    near = sum(path is not None for path in meant.values())
    compared = "them" if len(ranked) <= COMPARED else f"the {COMPARED:,} most frequent"
    raise InputError(
        f"Expected labels that are paths of {taxonomy.where}, found {len(ranked):,} of {len(counts):,} that are not, with {sum(unknown.values()):,} "
        f"texts, {near:,} of {compared} in other case or blanks than a path or one character off: {_first(named)}; correct the labels, or the "
        "taxonomy."
    )


def nearest(path: Path, taxonomy: Taxonomy) -> Path | None:
    """The path that a misspelt one is meant as, level by level; None where a level is like none."""
    found: Path = ()
    for level in path:
        names = taxonomy.children.get(found, [])
        same = [level] if level in names else [name for name in names if is_slip(level, name)]
        if not same:
            return None
        found = (*found, same[0])
    return found


def is_slip(one: str, other: str) -> bool:
    """Whether two names of a level differ only in case or blanks, or by one edit that does not concern a digit."""
    plain, like = plain_name(one), plain_name(other)
    if plain == like:
        return True
    if abs(len(plain) - len(like)) > 1 or max(len(plain), len(like)) < SHORTEST:
        return False
    start = next((i for i, (a, b) in enumerate(zip(plain, like, strict=False)) if a != b), min(len(plain), len(like)))
    # The rest after the edited character: for a replacement, an insertion, a deletion.
    rests = ((plain[start + 1 :], like[start + 1 :]), (plain[start:], like[start + 1 :]), (plain[start + 1 :], like[start:]))
    edited = plain[start : start + 1] + like[start : start + 1]
    return any(a == b for a, b in rests) and not any(character.isdigit() for character in edited)


def slips(counts: Mapping[str, int], separator: str) -> Iterator[tuple[str, str]]:
    """Pairs (rare, frequent) of nodes below one parent that `is_slip` considers one; paths, of any depth.

    Args:
        counts: label -> texts.
    """
    texts: dict[Path, int] = {}
    for label, rows in counts.items():
        path = path_of(label, separator)
        for depth in range(1, len(path) + 1):
            texts[path[:depth]] = texts.get(path[:depth], 0) + rows
    ranked = sorted(texts, key=lambda path: (-texts[path], path))
    seen: dict[tuple[Path, str], list[Path]] = {}
    for path in ranked:
        keys = [(path[:-1], key) for key in _keys(plain_name(path[-1]))]
        near = dict.fromkeys(other for key in keys for other in seen.get(key, ()))
        meant = next((other for other in near if is_slip(path[-1], other[-1])), None)
        if meant:
            yield separator.join(path), separator.join(meant)
        for key in keys:
            seen.setdefault(key, []).append(path)


def _keys(name: str) -> Iterable[str]:
    """Keys of which two names that are one edit apart share one: the name, and the name without each of its characters."""
    return dict.fromkeys([name, *(name[:i] + name[i + 1 :] for i in range(len(name)))])


def labels_above(counts: Mapping[str, int], least: int, separator: str) -> dict[str, str]:
    """For each label of fewer than `least` texts the nearest one above it that has as many, counting the texts that are added to it this way.

    Labels of which not even the top level has as many are not included.

    Args:
        counts: label -> texts, its paths in one spelling.
    """
    texts, above = {path_of(label, separator): rows for label, rows in counts.items()}, {}
    for depth in range(max(map(len, texts), default=0), 1, -1):
        for path in [path for path, rows in texts.items() if len(path) == depth and rows < least]:
            above[path] = path[:-1]
            texts[path[:-1]] = texts.get(path[:-1], 0) + texts.pop(path)
    found = {}
    for label in sorted(counts):
        path = path_of(label, separator)
        while path in above:
            path = above[path]
        if texts[path] >= least and separator.join(path) != label:
            found[label] = separator.join(path)
    return found


def parents_among(labels: Iterable[str], separator: str) -> list[str]:
    """The labels that are parents of others too."""
    paths = {path_of(label, separator): label for label in labels}
    parents = {path[:depth] for path in paths for depth in range(1, len(path))}
    return [label for path, label in paths.items() if path in parents]


def with_separators(labels: Iterable[str], separator: str) -> list[str]:
    """The labels of which a level's name contains the separator without its blanks; none where it has none."""
    mark = separator.strip()
    return [label for label in labels if mark != separator and any(mark in level for level in path_of(label, separator))]


def moved_text(moved: Mapping[str, str]) -> str:
    """A sentence on `labels_above`."""
    named = _first(f"{label!r} as {parent!r}" for label, parent in moved.items())
    return (
        f"{len(moved):,} labels are learned as one above them, since they have too few texts for --min-rows-per-label: {named}"
    )


def tree_remarks(labels: Sequence[str], similar: Sequence[tuple[str, str]], separator: str) -> list[str]:
    """What the author of the paths should know about them, one sentence each."""
    parents, lines = parents_among(labels, separator), []
    if parents:
        lines.append(
            f"{len(parents):,} labels are also the parent of others, and are learned as categories of their own: {_first(map(repr, parents))}"
        )
    if odd := with_separators(labels, separator):
        lines.append(
            f"{len(odd):,} labels have {separator.strip()!r} in the name of a level, since it separates levels only with its blanks, as {separator!r}: "
            f"{_first(map(repr, odd))}"
        )
    if similar:
        pairs = [f"{rare!r} and {frequent!r}" for rare, frequent in similar]
        lines.append(
            f"{len(pairs):,} levels differ from another by case, blanks or one character, and are learned as two: {_first(pairs)}"
        )
    return lines


def _first(names: Iterable[str]) -> str:
    named = list(names)
    return ", ".join(named[:SHOWN]) + (f" and {len(named) - SHOWN:,} more" if len(named) > SHOWN else "")
