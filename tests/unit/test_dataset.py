from __future__ import annotations

import pandas as pd
import pytest

from lib.errors import InputError
from lib.text import TextSettings
from training.dataset import clean, look_alikes


def frame(*rows: tuple[str | None, str | None]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["label", "text"])


GOOD = [(label, f"{label} text number {i}") for label in ("a", "b") for i in range(5)]


def test_what_teaches_nothing_is_dropped_and_counted() -> None:
    data = clean(
        frame(
            *GOOD,
            (None, "text without a label"),
            ("", "another one"),
            ("a", None),
            ("a", "?!"),
            ("a", "A TEXT number, 0"),
            ("a", "claimed by both"),
            ("b", "claimed by BOTH!"),
        ),
        TextSettings(),
        "labels.csv",
    )
    assert data.dropped == {"no label": 2, "empty text": 2, "conflicting labels": 2, "duplicate text": 1}
    assert data.rows_read == 17
    assert len(data.texts) == 10
    assert data.labels == ("a", "b")
    assert data.label_ids.tolist() == [0] * 5 + [1] * 5


def test_the_fingerprint_does_not_depend_on_the_order() -> None:
    forward, backward = clean(frame(*GOOD), TextSettings(), "x"), clean(frame(*GOOD[::-1]), TextSettings(), "x")
    assert forward.fingerprint == backward.fingerprint
    changed = clean(frame(*GOOD[:-1], ("b", "something else")), TextSettings(), "x")
    assert changed.fingerprint != forward.fingerprint


def test_one_label_is_refused() -> None:
    with pytest.raises(InputError, match=r"at least two labels in labels\.csv, found only 'a'"):
        clean(frame(*GOOD[:5]), TextSettings(), "labels.csv")


def test_no_rows_are_refused() -> None:
    with pytest.raises(InputError, match=r"at least two labels in labels\.csv, found none"):
        clean(frame(), TextSettings(), "labels.csv")


def test_a_label_with_few_rows_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"found fewer of 'c' \(1\); add rows"):
        clean(frame(*GOOD, ("c", "lonely")), TextSettings(), "labels.csv")


def test_case_variants_and_slips_of_the_pen_are_reported_and_not_merged() -> None:
    counts = {"Books": 400, "books": 300, "Boks": 9, " Books": 2, "Cooks": 90, "Men's shoes": 200, "Women's shoes": 210}
    assert look_alikes(counts) == [("books", "Books"), ("Boks", "Books"), (" Books", "Books")]
    rows = [*GOOD, *[("A", f"other words {i}") for i in range(5)]]
    data = clean(frame(*rows), TextSettings(), "labels.csv")
    assert data.labels == ("A", "a", "b")
    assert data.look_alikes == (("a", "A"),)


def test_a_slip_with_few_rows_is_refused_with_what_may_be_meant() -> None:
    many = [("Electronics", f"text number {i}") for i in range(40)]
    with pytest.raises(InputError, match=r"found fewer of 'Electonics' \(2, perhaps meant as 'Electronics'\)"):
        clean(frame(*many, *GOOD, ("Electonics", "one"), ("Electonics", "two")), TextSettings(), "labels.csv")
