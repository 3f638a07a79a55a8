"""Categories whose share of the rows has moved since the last good runs, and what that means for a row's probabilities."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import SparkSession

from lib.model.metrics import population_stability_index
from lib.scoring.guardrails import limits_of, yardstick
from lib.scoring.record import renames_of
from lib.tables.commits import read_state
from lib.tables.ledger import published_runs
from lib.tables.run_record import RunRecord
from lib.tables.target import Tables

# The least that one category has to add to the population stability index, where 0.1 is commonly read as a moderate shift.
LEAST_PART = 0.01
# By how many standard errors chance alone may move a share.
BEYOND_CHANCE = 3
# The most weight: a share that is new or gone means much, but not everything.
MOST_WEIGHT = 4.0


@dataclass(frozen=True)
class Drift:
    """A category whose share of the rows was `before`, the median of the last good runs, and is `now`."""

    category: str
    before: float
    now: float

    @property
    def rose(self) -> bool:
        return self.now > self.before

    @property
    def weight(self) -> float:
        """The factor for its probability that restores its frequency in the previous runs: before / now, from 1/4 to 4."""
        return min(max(self.before / self.now if self.now else MOST_WEIGHT, 1 / MOST_WEIGHT), MOST_WEIGHT)

    def __str__(self) -> str:
        return f"{self.category} {'rose' if self.rose else 'fell'} from {self.before:.1%} to {self.now:.1%} of the rows"


def drifting(good: Sequence[RunRecord]) -> list[Drift]:
    """The categories that moved in the newest good run by more than chance, those that moved most first.

    Args:
        good: newest first. The newest is compared with the others, as many and as large ones as its guardrails used, and as they are
            called today where labels were renamed in between.
    """
    if len(good) < 2 or not good[0].category_shares:
        return []
    newest, earlier = good[0], good[1:]
    compared = yardstick(earlier, limits_of(newest.options), renames_of(newest.relabelled, earlier))
    before, now = compared.category_shares, compared.shares_compared(newest)
    if not before:
        return []
    # With another model a category that exists on one side only may just have another name.
    same_model = {run.model_version for run in earlier} == {newest.model_version}
    names = sorted(set(before) | set(now) if same_model else set(before) & set(now))
    # After a rollback of the model the table has other names, several where labels had been merged: each has the figures of all.
    theirs: dict[str, list[str]] = {}
    for category in newest.category_shares or {}:
        theirs.setdefault(compared.renames.name_of(category, newest.model_version), []).append(category)
    moved = [
        Drift(category, before.get(name, 0.0), now.get(name, 0.0)) for name in names for category in theirs.get(name, [name])
    ]
    return sorted((one for one in moved if _is_material(one, newest.rows_in)), key=_part, reverse=True)


def drifting_in(spark: SparkSession, tables: Tables) -> list[Drift]:
    """The categories that drift in a table, from its history or, where that has been cut off, from its ledger."""
    good = read_state(spark, tables.categorized).good
    return drifting(good if len(good) > 1 else published_runs(spark, tables, limits_of({}).runs + 1))


def weights(drifts: Sequence[Drift]) -> Mapping[str, float]:
    return {one.category: one.weight for one in drifts}


def _part(one: Drift) -> float:
    """What it adds to the index."""
    return population_stability_index({one.category: one.before}, {one.category: one.now})


def _is_material(one: Drift, rows: int) -> bool:
    by_chance = math.sqrt(max(one.before * (1 - one.before), one.now * (1 - one.now)) / max(rows, 1))
    return _part(one) >= LEAST_PART and abs(one.now - one.before) > BEYOND_CHANCE * by_chance
