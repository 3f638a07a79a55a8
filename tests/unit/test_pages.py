"""Which categories the page of a run shows first."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lib.reports.night import Night
from lib.reports.pages import MOST_CATEGORIES, night_page
from lib.scoring.guardrails import Yardstick
from lib.tables.run_record import RunRecord

MANY = {f"Kind {i:02}": (100 - i) / 5050 for i in range(100)}


def shown(now: Mapping[str, float], before: Mapping[str, float] | None) -> list[str]:
    run = RunRecord("r", "published", "2026-01-02T00:00:00+00:00", category_shares=now)
    page = night_page(Night("lake", run, Yardstick(category_shares=before), (), None, (), [run], False))
    return re.findall(r">(Kind \d\d)</th>", page)


def test_of_many_categories_those_that_drifted_most_are_shown() -> None:
    now = {**MANY, "Kind 00": MANY["Kind 00"] + MANY["Kind 80"]}
    del now["Kind 80"]
    found = shown(now, MANY)
    assert found[:2] == ["Kind 80", "Kind 00"]
    # All others stayed: the greatest first.
    assert found[2:] == [f"Kind {i:02}" for i in range(1, MOST_CATEGORIES - 1)]
    assert shown(now, None) == [f"Kind {i:02}" for i in range(MOST_CATEGORIES)]


def test_of_few_categories_the_greatest_come_first() -> None:
    assert shown({"Kind 01": 0.2, "Kind 02": 0.8}, {"Kind 01": 0.7, "Kind 02": 0.2, "Kind 03": 0.1}) == [
        "Kind 02",
        "Kind 01",
        "Kind 03",
    ]
