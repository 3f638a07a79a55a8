"""Labels that are paths in a tree, "Electronics > Audio > Headphones": their levels, and how sure each is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np
import pyarrow as pa

from lib.model.arrays import Float32s, Int64s

Path = tuple[str, ...]
SEPARATOR = " > "
# The node of a label that has no such level.
NO_NODE = -1
ROWS_AT_ONCE = 1024


def path_of(label: str, separator: str) -> Path:
    """The levels of a label, top first, without blanks around them and without empty ones."""
    return tuple(level for part in label.split(separator) if (level := part.strip()))


def in_tree_order(labels: Iterable[str], separator: str) -> tuple[str, ...]:
    """Labels in such an order that those below a node are next to each other, as `Tree` requires."""
    return tuple(sorted(labels, key=lambda label: path_of(label, separator)))


@dataclass(frozen=True)
class Tree:
    """The labels of a bundle as leaves of a tree; a label may also be the parent of others. labels: in the order of a Tree."""

    labels: tuple[str, ...]
    separator: str

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        """The path of each label."""
        return tuple(path_of(label, self.separator) for label in self.labels)

    @cached_property
    def levels(self) -> int:
        """The number of levels of the longest path."""
        return max(map(len, self.paths))

    @cached_property
    def depths(self) -> Int64s:
        """How many levels each label has, int64 [labels]."""
        return np.array([len(path) for path in self.paths], np.int64)

    def names(self, level: int) -> list[Path]:
        """The nodes of a level, 0 for the top, in their order."""
        return list(dict.fromkeys(path[: level + 1] for path in self.paths if len(path) > level))

    @cached_property
    def nodes(self) -> Int64s:
        """The ancestor of each label, or the label itself, at each level: int64 [levels, labels], places in `names`; NO_NODE below its end."""
        found = np.full((self.levels, len(self.labels)), NO_NODE, np.int64)
        for level in range(self.levels):
            places = {path: place for place, path in enumerate(self.names(level))}
            found[level] = [places.get(path[: level + 1], NO_NODE) if len(path) > level else NO_NODE for path in self.paths]
        return found

    @cached_property
    def ancestors(self) -> dict[str, list[str]]:
        """For each label its path and those of the levels above it as texts, the top first."""
        return {
            label: [self.separator.join(path[:end]) for end in range(1, len(path) + 1)]
            for label, path in zip(self.labels, self.paths, strict=True)
        }

    @cached_property
    def is_ordered(self) -> bool:
        """Whether labels below one node are next to each other, at every level."""
        for nodes in self.nodes:
            there = nodes[np.append(True, np.diff(nodes) != 0)]
            there = there[there != NO_NODE]
            if len(np.unique(there)) < len(there):
                return False
        return True

    @cached_property
    def _ranges(self) -> tuple[Int64s, Int64s]:
        """The first label below a label's ancestor, and how many there are, int64 [levels, labels]; 0 labels below a path's end."""
        first, count = np.zeros_like(self.nodes), np.zeros_like(self.nodes)
        for level, nodes in enumerate(self.nodes):
            known = nodes != NO_NODE
            _, starts, places, counts = np.unique(nodes, return_index=True, return_inverse=True, return_counts=True)
            first[level][known], count[level][known] = starts[places][known], counts[places][known]
        return first, count

    def confidences(self, probabilities: Float32s, labels: Int64s) -> Float32s:
        """How sure the levels of a label are: for each the sum of the probabilities below it, float32 [rows, levels].

        A level is never surer than the one above it, and the last one has the label's own probability, with those of the labels below it
        where it is a parent; 0 below a path's end.

        Args:
            probabilities: float32 [rows, labels]; labels: int64 [rows], one of each row.
        """
        found = np.zeros((len(labels), self.levels), np.float32)
        # In blocks: for each probability that is summed, its place takes twice as much.
        for start in range(0, len(labels), ROWS_AT_ONCE):
            block = slice(start, start + ROWS_AT_ONCE)
            found[block] = self._confidences(probabilities[block], labels[block])
        return found

    def _confidences(self, probabilities: Float32s, labels: Int64s) -> Float32s:
        rows = np.arange(len(labels))
        found = np.zeros((len(labels), self.levels))
        for level, (first, count) in enumerate(zip(*self._ranges, strict=True)):
            found[:, level] = _sums(probabilities, first[labels], count[labels])
        depths = self.depths[labels]
        found[rows, depths - 1] = np.maximum(found[rows, depths - 1], probabilities[rows, labels])
        # The rounding of sums could reverse this order.
        found = np.maximum.accumulate(found[:, ::-1], axis=1)[:, ::-1]
        return np.minimum(found, 1).astype(np.float32)

    def published(self, confidences: Float32s, labels: Int64s, thresholds: Sequence[float]) -> Int64s:
        """How many levels of each row's label reach their threshold, int64 [rows].

        Args:
            confidences: as `confidences` returns them. thresholds: one for each level, none lower than the one above it.
        """
        there = np.arange(self.levels) < self.depths[labels][:, None]
        return (there & (confidences >= np.array(thresholds, np.float32))).sum(axis=1)

    def prefixes(self, labels: Int64s, lengths: Int64s, there: Sequence[bool]) -> pa.ListArray:
        """The first levels of each row's label as lists of strings; null where bool [rows] `there` is false."""
        known = np.asarray(there, bool)
        lengths = np.where(known, lengths, 0)
        starts = np.array([0, *accumulate(map(len, self.paths))][:-1], np.int64)[labels]
        names = pa.array([name for path in self.paths for name in path], pa.string())
        ends = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
        values = names.take(pa.array(_runs(starts, lengths)))
        return pa.ListArray.from_arrays(pa.array(ends), values, mask=pa.array(~known))


def lists_of(values: Float32s, lengths: Int64s, there: Sequence[bool]) -> pa.ListArray:
    """The first numbers of each row as lists; null where bool [rows] `there` is false."""
    known = np.asarray(there, bool)
    lengths = np.where(known, lengths, 0)
    ends = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    kept = np.arange(values.shape[1]) < lengths[:, None]
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(values[kept]), mask=pa.array(~known))


def _sums(values: Float32s, first: Int64s, counts: Int64s) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """For each row the sum of `counts` values from `first` on, float64 [rows]; only these are read."""
    some = np.flatnonzero(counts)
    found = np.zeros(len(counts))
    if len(some):
        places = _runs(some * values.shape[1] + first[some], counts[some])
        starts = np.concatenate(([0], np.cumsum(counts[some])[:-1]))
        found[some] = np.add.reduceat(values.ravel()[places], starts, dtype=np.float64)
    return found


def _runs(starts: Int64s, lengths: Int64s) -> Int64s:
    """start, start + 1, … of each run, one after another."""
    offsets = np.cumsum(lengths) - lengths
    return np.repeat(starts - offsets, lengths) + np.arange(int(lengths.sum()))
