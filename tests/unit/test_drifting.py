"""Which categories count as drifting, and how much that weighs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lib.reports.drifting import Drift, drifting
from lib.tables.run_record import RunRecord

BEFORE = {"Books": 0.25, "Clothing": 0.25, "Household": 0.5}


def run(shares: dict[str, float], rows: int = 10_000, model: str = "shop/1") -> RunRecord:
    return RunRecord("r", "published", rows_in=rows, category_shares=shares, model_version=model)


def test_what_moved_most_comes_first() -> None:
    now = run({"Books": 0.40, "Clothing": 0.26, "Household": 0.34})
    found = drifting([now, run(BEFORE), run(BEFORE), run({"Books": 0.9, "Clothing": 0.05, "Household": 0.05})])
    # The median of the previous runs: a single odd one does not count.
    assert [str(one) for one in found] == [
        "Books rose from 25.0% to 40.0% of the rows",
        "Household fell from 50.0% to 34.0% of the rows",
    ]
    assert [one.weight for one in found] == pytest.approx([0.25 / 0.40, 0.50 / 0.34])


@pytest.mark.parametrize(
    ("good", "why"),
    [
        ([], "no night"),
        ([run(BEFORE)], "nothing to compare with"),
        ([run(BEFORE), run(BEFORE)], "nothing moved"),
        ([run({"Books": 0.26, "Clothing": 0.25, "Household": 0.49}, 10**7), run(BEFORE)], "too little, though no chance"),
        ([run({"Books": 0.40, "Clothing": 0.25, "Household": 0.35}, 20), run(BEFORE)], "as much as chance moves 20 rows"),
        ([run({}), run(BEFORE)], "a night without a category"),
    ],
)
def test_what_is_no_drift(good: list[RunRecord], why: str) -> None:
    assert drifting(good) == [], why


def test_a_name_that_only_one_model_knows_is_no_drift() -> None:
    renamed = {"Novels": 0.25, "Clothing": 0.25, "Household": 0.5}
    assert drifting([run(renamed, model="shop/2"), run(BEFORE)]) == []
    assert {one.category for one in drifting([run(renamed), run(BEFORE)])} == {"Books", "Novels"}


def test_the_guardrails_of_the_night_say_how_many_are_compared_with() -> None:
    now, two = run({"Books": 0.5, "Clothing": 0.5}), {"Books": 0.2, "Clothing": 0.8}
    good = [replace(now, settings='{"guard_runs": 1}'), run({"Books": 0.5, "Clothing": 0.5}), run(two), run(two)]
    assert drifting(good) == []
    assert drifting([now, *good[1:]])


def test_weights_stay_within_bounds() -> None:
    assert Drift("new", 0.0, 0.2).weight == 0.25
    assert Drift("gone", 0.2, 0.0).weight == 4.0
