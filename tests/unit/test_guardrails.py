"""Each guardrail works on its own, at its limit and past it."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from lib.model.bundle import Bundle
from lib.model.metrics import population_stability_index
from lib.model.renames import Renames
from lib.scoring.guardrails import Limits, Yardstick, breaches, fallen, top_drift, yardstick, yardsticks
from lib.scoring.record import LABELS_WITHOUT_ROWS, labels_before, labels_noted, labels_text
from lib.tables.run_record import RunRecord
from schemas.tables import PUBLISHED

GOOD = RunRecord(
    run_id="good",
    status="published",
    rows_in=10_000,
    rows_rejected=100,
    rows_scored=10_000,
    review_share=0.1,
    mean_confidence=0.9,
    out_of_vocabulary_share=0.05,
)


def measure(good: RunRecord) -> Yardstick:
    return yardstick([good], Limits())


def test_a_night_like_the_last_one_passes() -> None:
    assert breaches(replace(GOOD, rows_in=11_000, drift=0.01), measure(GOOD), Limits()) == []


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        ({"rows_in": 4_000}, "the rows in changed by -60.0%, from 10,000 to 4,000 (limit 50%)"),
        ({"rows_in": 20_000}, "the rows in changed by +100.0%"),
        ({"rows_rejected": 900}, "the share rejected rose from 0.010 to 0.090 (limit +0.05)"),
        ({"review_share": 0.3}, "the share `review` rose from 0.100 to 0.300 (limit +0.1)"),
        ({"mean_confidence": 0.7}, "the mean confidence fell from 0.900 to 0.700 (limit -0.1)"),
        ({"out_of_vocabulary_share": 0.2}, "the share out of vocabulary rose from 0.050 to 0.200 (limit +0.1)"),
        ({"drift": 0.3}, "the shares of the categories drifted by 0.300 (limit 0.25)"),
    ],
)
def test_each_figure_past_its_limit(change: dict[str, float], phrase: str) -> None:
    (found,) = breaches(replace(GOOD, **change), measure(GOOD), Limits())
    assert found.startswith(phrase)
    none = Limits(*[math.inf] * 6)
    assert breaches(replace(GOOD, **change), measure(GOOD), none) == []


def test_falls_that_are_good_news_pass() -> None:
    better = replace(GOOD, rows_rejected=0, review_share=0.0, mean_confidence=0.99, out_of_vocabulary_share=0.0)
    assert breaches(better, measure(GOOD), Limits()) == []


def test_what_cannot_be_compared_passes() -> None:
    odd = replace(GOOD, rows_in=1, rows_rejected=0, drift=9.0)
    assert breaches(odd, Yardstick(), Limits()) == []
    assert breaches(odd, measure(replace(GOOD, rows_in=999)), Limits()) == []
    assert breaches(odd, Yardstick(rows_in=10_000), replace(Limits(), rows=1.0, drift=10.0)) == []
    # A few scored rows say nothing about the words of a catalogue.
    assert breaches(replace(GOOD, rows_scored=999, out_of_vocabulary_share=0.9), measure(GOOD), Limits()) == []


# Per run: what else is guarded, and by what it is measured

GUARDED = {"unclassifiable": 0.01, "empty:title": 0.0, "length:title": 40.0}


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        ({"unclassifiable": 0.4}, "the share `unclassifiable` rose from 0.010 to 0.400 (limit +0.05)"),
        ({"empty:title": 0.4}, "the share of empty texts in title rose from 0.000 to 0.400 (limit +0.1)"),
        ({"length:title": 10.0}, "the mean length of texts in title changed by -75.0%, from 40 to 10 bytes (limit 50%)"),
        ({"new ids": 0.6}, "60.0% of the ids are new (limit 50%)"),
        ({"gone ids": 0.6}, "60.0% of the last good run's ids are gone (limit 50%)"),
        ({"removed": 0.9}, "90.0% of the table's rows would be deleted (limit 80%)"),
    ],
)
def test_each_guarded_figure(change: dict[str, float], phrase: str) -> None:
    odd, good = replace(GOOD, guarded={**GUARDED, **change}), replace(GOOD, guarded=GUARDED)
    (found,) = breaches(odd, measure(good), Limits())
    assert found == phrase
    assert breaches(odd, measure(replace(good, rows_in=5)), Limits()) == ([phrase] if "removed" in change else [])


def test_a_night_without_a_usable_id_is_held_whatever_its_size() -> None:
    for rows in (1, 10_000):
        assert breaches(replace(GOOD, rows_in=rows, rows_rejected=rows), Yardstick(), Limits()) == [
            f"none of the {rows:,} rows has a usable id"
        ]


def test_a_run_like_one_that_was_released_passes_until_the_median_has_moved() -> None:
    usual, odd = replace(GOOD, rows_in=10_000), replace(GOOD, rows_in=30_000)
    released = replace(odd, held_because=["the rows in changed by +200 %"])

    def passes(run: RunRecord, *good: RunRecord) -> bool:
        return any(not breaches(run, one, Limits()) for one in yardsticks(good, Limits()))

    # A change that stays, and one that was there once.
    for good in ([released], [released, *[usual] * 6], [odd, released, *[usual] * 5], [odd, odd, odd, released, usual, usual]):
        assert passes(odd, *good)
    assert passes(usual, released, *[usual] * 6)
    assert not passes(odd, usual, usual, released, *[usual] * 4)
    assert not passes(odd, *[usual] * 7, released)
    # A released run of few rows says nothing about the next one.
    assert not passes(odd, replace(released, rows_in=999), *[usual] * 6)
    assert [one.is_since_release for one in yardsticks([odd, usual], Limits())] == [False]


def test_one_odd_good_run_moves_no_yardstick() -> None:
    odd = replace(GOOD, rows_in=3, rows_rejected=3, review_share=1.0, category_shares={"Toys": 1.0})
    usual = replace(GOOD, category_shares={"Books": 0.75, "Home": 0.25}, guarded=GUARDED)
    for good in ([odd, usual], [odd, usual, usual, usual], [usual] * 7 + [odd] * 10):
        found = yardstick(good, Limits())
        assert (found.rows_in, found.rows_rejected, found.review_share) == (10_000, 100, 0.1)
        assert found.category_shares == usual.category_shares
        assert found.guarded == GUARDED
    assert yardstick([odd] * 7 + [usual], Limits()).rows_in == 3
    assert yardstick([odd, *[usual] * 3], Limits(runs=1)).rows_in == 3
    assert yardstick([], Limits()) == Yardstick()


def test_rounds_of_a_stream_count_as_one_run_a_day() -> None:
    def run(day: int, rows: int, mode: str) -> RunRecord:
        return RunRecord("run", PUBLISHED, f"2026-03-0{day}T01:00:00+00:00", rows_in=rows, settings=json.dumps({"mode": mode}))

    rounds = [run(3, 10, "stream"), run(3, 20, "stream"), run(2, 5000, "stream"), run(2, 30, "stream")]
    assert yardstick([*rounds, run(1, 4000, "incremental")], Limits()).rows_in == 4000
    # One that a person has released counts on.
    released = replace(run(3, 20_000, "stream"), held_because=["the rows in changed by +100 %"])
    rounds = [run(3, 20_000, "stream"), released, run(3, 10_000, "stream"), *[run(2, 10_000, "full")] * 3]
    assert [one.rows_in for one in yardsticks(rounds, Limits())] == [10_000, 20_000]
    # Two runs on one day are two.
    assert yardstick([run(3, 10, "full"), run(3, 20, "incremental"), run(3, 30, "stream")], Limits()).rows_in == 20


def test_the_category_that_fell_most() -> None:
    paths = {"A > x": ["A", "A > x"], "A > y": ["A", "A > y"], "B": ["B"]}
    before = {"A > x": 100.0, "A > y": 300.0, "B": 600.0}
    assert fallen({"A > x": 90.0, "A > y": 300.0, "B": 900.0}, before, paths) == {"fallen:A > x": pytest.approx(0.1)}
    # If a whole branch is gone, the branch is reported.
    assert fallen({"B": 600.0}, before, paths) == {"fallen:A": 1.0}
    # Where all lose alike none counts as fallen.
    assert fallen({"A > x": 10.0, "A > y": 30.0, "B": 60.0}, before, paths) == {}
    assert fallen({"A > x": 5.0, "A > y": 30.0, "B": 65.0}, before, paths) == {"fallen:A > x": pytest.approx(0.5)}
    assert fallen(before, before, paths) == {}
    # Without paths each category counts on its own; one with few rows may go.
    assert fallen({"B": 600.0, "A > y": 150.0}, {**before, "few": 9.0}, {}) == {"fallen:A > x": 1.0}
    assert fallen({"B": 10.0}, {}, {}) == {}


def test_a_drift_is_told_with_the_categories_that_add_most_to_it() -> None:
    good = replace(GOOD, category_shares={"Books": 0.4, "Films": 0.3, "Games": 0.2, "Toys": 0.1})
    run = replace(good, drift=0.5, category_shares={"Books": 0.1, "Films": 0.3, "Games": 0.25, "Toys": 0.3, "Pets": 0.05})
    assert breaches(run, measure(good), Limits()) == [
        "the shares of the categories drifted by 0.500 (limit 0.25), most of all 'Books' from 40.00% to 10.00%, 'Pets' from 0.00% to 5.00%, "
        "'Toys' from 10.00% to 30.00%"
    ]
    # What did not move has no part in it.
    moved = replace(good, drift=0.5, category_shares={**good.category_shares, "Books": 0.2, "Toys": 0.3})
    assert breaches(moved, measure(good), Limits())[0].endswith(
        "(limit 0.25), most of all 'Toys' from 10.00% to 30.00%, 'Books' from 40.00% to 20.00%"
    )


def test_departments_drift_that_have_none_but_tiny_categories() -> None:
    """Each category's share is the least that counts, so the index of the categories says nothing."""
    before = {f"Home > {i}": 1e-4 for i in range(4000)} | {f"Media > {i}": 1e-4 for i in range(6000)}
    now = {f"Home > {i}": 1e-4 for i in range(1000)} | {f"Garden > {i}": 1e-4 for i in range(3000)}
    now |= {f"Media > {i}": 1e-4 for i in range(6000)}
    assert population_stability_index(before, now) == pytest.approx(0, abs=1e-6)
    ((key, value),) = top_drift(now, before, " > ").items()
    assert key == "drift of the top level:Garden"
    assert value == pytest.approx(0.3 * math.log(4) + (0.3 - 1e-4) * math.log(3000))
    said = f"the shares of the top level drifted by {value:.3f} (limit 0.25), most of all that of 'Garden'"
    assert breaches(replace(GOOD, guarded={key: value}), measure(GOOD), Limits()) == [said]
    assert breaches(replace(GOOD, guarded={key: value}), measure(GOOD), Limits(drift=math.inf)) == []
    assert top_drift(before, before, " > ") == {"drift of the top level:Home": 0.0}
    assert top_drift({}, before, " > ") == top_drift(now, {}, " > ") == {}


def test_a_category_that_is_gone_is_told() -> None:
    run = replace(GOOD, guarded={"fallen:Books": 0.81})
    assert breaches(run, measure(GOOD), Limits()) == [
        "the rows of the category 'Books' fell by 81.0% compared with the others (limit 80%)"
    ]
    assert breaches(replace(GOOD, guarded={"fallen:Books": 0.8}), measure(GOOD), Limits()) == []
    assert breaches(run, measure(GOOD), Limits(category=math.inf)) == []


def bundle_of(labels: list[str]) -> Bundle:
    return Bundle({"name": "shop", "version": "2", "labels": labels}, "", {})


def test_labels_that_no_row_has_are_known_to_the_next_run() -> None:
    labels = [f"Department {i % 20} > Shelf {i}" for i in range(3000)]
    shares = dict.fromkeys(labels[::2], 1 / 1500)
    before, good = RunRecord("a", PUBLISHED, model_version="shop/1", category_shares=shares), Yardstick(category_shares=shares)
    note = {"run": before.values(), LABELS_WITHOUT_ROWS: labels_noted(bundle_of(labels), shares)}
    assert len(json.dumps(note)) < 1.25 * len(json.dumps({"run": before.values()}))
    earlier = labels_before(note, Renames())
    assert labels_text(good, bundle_of(labels), earlier) == ""
    now = bundle_of([*labels[2:], "Toys"])
    assert labels_text(good, now, earlier) == (
        f"the model shop/2 does not know 1 category ({labels[0]!r}) of the last runs, with 0.1% of the rows; it knows 1 category ('Toys') "
        "that the last run's did not"
    )
    # Of a run that did not note them: nothing is called new.
    assert labels_before({"run": before.values()}, Renames()) is labels_before(None, Renames()) is None
    assert labels_text(good, bundle_of([*labels, "Toys"]), None) == ""


def test_labels_before_a_relabelling_have_their_new_names() -> None:
    record = RunRecord("a", PUBLISHED, model_version="shop/1", category_shares={"Books": 1.0})
    note = {"run": record.values(), LABELS_WITHOUT_ROWS: labels_noted(bundle_of(["Books", "Films", "Toys"]), {"Books": 1.0})}
    renames = Renames([{"from": "shop/1", "labels": {"Films": "Video", "Books": "Print"}}])
    assert labels_before(note, renames) == {"Print", "Video", "Toys"}
