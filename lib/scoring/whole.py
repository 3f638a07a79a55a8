"""What a run records about all rows of its source, so that the next one need only look at what has changed since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lib.scoring.catalogue import Census, IdCount
from lib.scoring.counts import Group, rows_in

# Metadata with more categories would make the log heavy.
MOST_GROUPS = 2000


@dataclass(frozen=True)
class Whole:
    """The counts of all rows of a source, each of which has its own id.

    groups: by category and status; lengths, empty: for each text column the bytes, and the rows without a text.
    missing: as lib.scoring.plan.Plan has it. aged: ids that came or went since all of them were compared.
    """

    ids: IdCount
    groups: Sequence[Group]
    lengths: tuple[int, ...]
    empty: tuple[int, ...]
    missing: str
    aged: int = 0

    @property
    def measured_groups(self) -> list[Group]:
        """The groups, the first of which holds the measures of all texts."""
        if not self.groups:
            return []
        first, *others = self.groups
        none = (0,) * len(self.lengths)
        told = replace(first, measured=self.ids.ids, lengths=self.lengths, empty=self.empty)
        return [told, *(replace(group, lengths=none, empty=none) for group in others)]

    def noted(self) -> dict[str, Any]:
        groups = [[group.category, group.status, group.rows, group.confidence] for group in self.groups]
        return {**asdict(self), "ids": [self.ids.ids, self.ids.digest], "groups": groups}

    @classmethod
    def of(cls, noted: Mapping[str, Any] | None) -> Whole | None:
        """What a commit's metadata holds of it; None where it holds nothing."""
        if not noted:
            return None
        lengths, empty = (tuple(noted[name]) for name in ("lengths", "empty"))
        groups = [Group(*group) for group in noted["groups"]]
        return cls(IdCount(*noted["ids"]), groups, lengths, empty, noted["missing"], noted["aged"])


def whole_of(census: Census, groups: Sequence[Group], missing: str, aged: int) -> Whole | None:
    """What a run leaves for the next one; None where the source has rows that the table cannot hold. groups: of all its rows."""
    rows = rows_in(groups)
    if census.rows_rejected or not rows == census.ids == sum(group.measured for group in groups):
        return None
    sums = added_up(groups)
    if len(sums) > MOST_GROUPS:
        return None
    measured = [group for group in groups if group.measured]
    lengths, empty = (by_column(getattr(group, name) for group in measured) for name in ("lengths", "empty"))
    return Whole(census.all_ids, sums, lengths, empty, missing, aged)


def added_up(groups: Iterable[Group]) -> list[Group]:
    """Rows and confidence of each category and status together; without those of no rows."""
    sums: dict[tuple[str | None, str], tuple[int, float]] = {}
    for group in groups:
        rows, confidence = sums.get((group.category, group.status), (0, 0.0))
        sums[group.category, group.status] = rows + group.rows, confidence + group.confidence
    return [Group(*key, rows, confidence) for key, (rows, confidence) in sums.items() if rows]


def by_column(totals: Iterable[Sequence[int]]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*totals, strict=True)))
