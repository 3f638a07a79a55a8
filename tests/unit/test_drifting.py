"""Which categories count as drifting, and how much that weighs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from lib.reports.drifting import Drift, drifting
from lib.tables.run_record import RELABELLED, RunRecord

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


SWAP = {"from": "shop/1", "labels": {"Books": "Household", "Household": "Books"}}
MERGE = {"from": "shop/1", "labels": {"Books": "Other", "Clothing": "Other"}}


def relabelled(shares: dict[str, float], *steps: dict) -> RunRecord:
    return replace(run(shares, model="shop/2"), settings=json.dumps({RELABELLED: steps}))


def test_a_relabelling_is_no_drift() -> None:
    swapped = {"Household": 0.25, "Clothing": 0.25, "Books": 0.5}
    assert drifting([relabelled(swapped, SWAP), run(BEFORE), run(BEFORE)]) == []
    assert drifting([relabelled({"Other": 0.5, "Household": 0.5}, MERGE), run(BEFORE)]) == []
    # What drifts besides does so under its new name.
    found = drifting([relabelled({"Household": 0.45, "Clothing": 0.05, "Books": 0.5}, SWAP), run(BEFORE)])
    assert [str(one) for one in found] == [
        "Clothing fell from 25.0% to 5.0% of the rows",
        "Household rose from 25.0% to 45.0% of the rows",
    ]


def test_a_model_that_was_rolled_back_is_compared_too() -> None:
    swapped = {"Household": 0.25, "Clothing": 0.25, "Books": 0.5}
    assert drifting([run(BEFORE), relabelled(swapped, SWAP), run(BEFORE)]) == []
    # The table has the names of before again, of which one is now that of another category.
    found = drifting([run({"Books": 0.5, "Household": 0.5}), relabelled(swapped, SWAP)])
    assert [str(one) for one in found] == ["Books rose from 25.0% to 50.0% of the rows"]
    found = drifting(
        [run({"Books": 0.1, "Clothing": 0.1, "Household": 0.8}), relabelled({"Other": 0.5, "Household": 0.5}, MERGE)]
    )
    assert {one.category: (one.before, one.now) for one in found} == {
        "Books": (0.5, pytest.approx(0.2)),
        "Clothing": (0.5, pytest.approx(0.2)),
        "Household": (0.5, 0.8),
    }


def test_the_guardrails_of_the_night_say_how_many_are_compared_with() -> None:
    now, two = run({"Books": 0.5, "Clothing": 0.5}), {"Books": 0.2, "Clothing": 0.8}
    good = [replace(now, settings='{"guard_runs": 1}'), run({"Books": 0.5, "Clothing": 0.5}), run(two), run(two)]
    assert drifting(good) == []
    assert drifting([now, *good[1:]])


def test_weights_stay_within_bounds() -> None:
    assert Drift("new", 0.0, 0.2).weight == 0.25
    assert Drift("gone", 0.2, 0.0).weight == 4.0
