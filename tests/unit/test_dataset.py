from __future__ import annotations

from difflib import SequenceMatcher
from random import Random

import pandas as pd
import pyarrow as pa
import pytest

from lib.errors import InputError
from lib.model.text import TextSettings
from training.conflicts import counting_label
from training.dataset import characters_read, clean, remarks, remarks_on_length
from training.labels import look_alikes, plain_name
from training.spelling import Spelling, digits_of


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
    assert data.dropped == {
        "no label": 2,
        "empty text": 2,
        "outvoted label": 0,
        "conflicting labels": 2,
        "duplicate text": 1,
        "label of fewer than 2 texts": 0,
    }
    assert data.rows_read == 17
    assert len(data.texts) == 10
    assert data.labels == ("a", "b")
    assert data.label_ids.tolist() == [0] * 5 + [1] * 5


def test_labels_that_differ_by_what_nobody_sees_are_one() -> None:
    names = ["Shoes", "Shoes\t", "\u00a0Shoes", "Shoes\u2003", "Caf\u00e9", "Cafe\u0301"]
    data = clean(frame(*[(name, f"text {i}") for i, name in enumerate(names)]), TextSettings(), "x")
    assert data.labels == ("Caf\u00e9", "Shoes")
    assert data.label_ids.tolist() == [1, 1, 1, 1, 0, 0]
    assert not remarks(data)
    paths = clean(
        frame(("A > Cafe\u0301", "one"), ("A\u00a0>\u00a0x > ", "two"), ("A > Caf\u00e9", "three")),
        TextSettings(),
        "x",
        1,
        " > ",
    )
    assert "A > Caf\u00e9" in paths.labels
    assert len(paths.labels) == 2


def test_labels_that_look_like_a_missing_value_are_told() -> None:
    rows = [("nan", "one"), ("nan", "two"), ("None", "three"), ("None", "four"), ("null", "five")]
    data = clean(frame(*GOOD, *rows), TextSettings(), "x")
    assert data.labels == ("None", "a", "b", "nan")
    assert remarks(data)[0] == (
        "2 labels are spelled like a missing value, and are learned as labels unless their rows are removed: 'None' (2), 'nan' (2)"
    )
    levels = clean(frame(*GOOD, ("a > NaN", "one"), ("a > Nancy", "two")), TextSettings(), "x", 1, " > ")
    assert any("learned as labels unless their rows are removed: 'a > NaN' (1)" in line for line in remarks(levels))


def test_texts_that_are_not_read_to_their_end_are_counted() -> None:
    settings = TextSettings(max_tokens=4)
    rows = [*GOOD, ("a", "five words, not four: these"), ("b", "this has four words!"), ("b", "日本語 text")]
    data = clean(frame(*rows), settings, "x")
    assert data.longer == 1
    assert remarks_on_length(data, settings) == [
        "7.7% of the texts are longer than the 4 tokens, or 4,096 characters, that are read (--max-tokens)"
    ]
    assert clean(frame(*GOOD, ("a", "x" * 5000)), settings, "x").longer == 1
    many = [(label, f"{label}{i}") for label in "ab" for i in range(50)]
    assert remarks_on_length(clean(frame(*many, ("a", "a b c d e")), settings, "x"), settings) == []
    assert characters_read(pa.array(["five words, not four: these", None, "one"]), settings) == len("five words not four one ")


def test_one_wrong_copy_of_many_does_not_cost_the_text() -> None:
    copies = [("a", "Fresh Milk")] * 100 + [("b", "fresh milk!")]
    data = clean(
        frame(*GOOD, *copies, ("a", "tie"), ("b", "tie"), ("a", "of three"), ("b", "of three"), ("a", "of three")),
        TextSettings(),
        "x",
    )
    learned = dict(zip(data.texts.to_pylist(), (data.labels[i] for i in data.label_ids), strict=True))
    assert learned["Fresh Milk"] == learned["of three"] == "a"
    assert "tie" not in learned
    assert data.dropped["outvoted label"] == 2
    assert data.dropped["conflicting labels"] == 2
    assert data.dropped["duplicate text"] == 99 + 1
    assert data.rows_read == len(data.texts) + sum(data.dropped.values())
    assert not data.lost_labels
    assert {(one.text, one.label, one.suggested, round(one.share, 2)) for one in data.conflicts} == {
        ("fresh milk!", "b", "a", 0.01),
        ("of three", "b", "a", 0.33),
        ("tie", "a", "b", 0.5),
        ("tie", "b", "a", 0.5),
    }


def test_a_label_that_loses_every_text_to_conflicts_is_named() -> None:
    rows = [("c", "one"), ("a", "one"), ("c", "two"), ("a", "two"), ("a", "two"), ("c", "Two")]
    data = clean(frame(*GOOD, *rows, ("d", "ONE")), TextSettings(), "x")
    assert data.labels == ("a", "b")
    assert data.lost_labels == {"c": 2, "d": 1}
    disputed, lost = remarks(data)
    assert disputed.startswith(
        "7 of the 17 rows (41.2%) are left out, since copies of their text have other labels; the figures are about the rest"
    )
    assert lost == "2 labels are left out, since copies of their every text have another label: 'c' (2), 'd' (1)"


@pytest.mark.parametrize(
    ("copies", "counts"),
    [
        ({"A > B": 1, "A > B > C": 1}, "A > B > C"),
        ({"A": 3, "A > B": 3, "A > B > C": 1}, "A > B > C"),
        # One row of many is no finer knowledge, but perhaps a slip.
        ({"A > B": 100, "A > B > C": 1}, "A > B"),
        ({"A > B": 1, "A > BC": 1}, None),
        ({"A": 5, "A > B": 3, "A > C": 2}, None),
        ({"A > B": 1, "A > B > C": 1, "D": 1}, None),
    ],
)
def test_a_path_and_one_above_it_do_not_contradict_each_other(copies: dict[str, int], counts: str | None) -> None:
    assert counting_label(copies, " > ") == counts
    assert counting_label({"A > B": 1, "A > B > C": 1}, None) is None
    rows = [(label, "same text") for label, times in copies.items() for _ in range(times)]
    data = clean(frame(*GOOD, *rows), TextSettings(), "x", 1, " > ")
    learned = dict(zip(data.texts.to_pylist(), (data.labels[i] for i in data.label_ids), strict=True))
    assert learned.get("same text") == counts
    assert data.rows_read == len(data.texts) + sum(data.dropped.values())
    assert not any(counts and (counts.startswith(one.label) or one.label.startswith(counts)) for one in data.conflicts)


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


def test_a_label_with_few_texts_is_left_out_counted_and_named() -> None:
    many = [("Electronics", f"text number {i}") for i in range(40)]
    rows = [*many, *GOOD, ("Electonics", "one"), ("c", "lonely"), ("c", "Lonely!"), ("pair", "two"), ("pair", "three")]
    data = clean(frame(*rows), TextSettings(), "labels.csv")
    assert data.labels == ("Electronics", "a", "b", "pair")
    assert data.rare_labels == {"Electonics": 1, "c": 1}
    assert data.dropped["label of fewer than 2 texts"] == 2
    assert data.dropped["duplicate text"] == 1
    assert len(data.texts) == len(data.label_ids) == 52
    assert remarks(data) == [
        "2 labels are left out, since they have too few texts for --min-rows-per-label: 'Electonics' (1, perhaps meant as 'Electronics'), "
        "'c' (1)"
    ]
    strict = clean(frame(*rows), TextSettings(), "labels.csv", min_rows=5)
    assert strict.labels == ("Electronics", "a", "b")
    assert strict.rare_labels == {"pair": 2, "Electonics": 1, "c": 1}
    # Its texts are no longer part of the data.
    assert strict.fingerprint != data.fingerprint


def test_fewer_than_two_labels_of_enough_texts_are_refused() -> None:
    rows = [("Electronics", f"text number {i}") for i in range(40)] + [("Electonics", "one"), ("Electonics", "two")]
    with pytest.raises(
        InputError, match=r"of 3 or more distinct texts in x, found only 'Electronics' besides 'Electonics' \(2, perh"
    ):
        clean(frame(*rows), TextSettings(), "x", min_rows=3)
    with pytest.raises(InputError, match=r"of 3 or more distinct texts in x, found none besides 'a' \(1\), 'b' \(1\)"):
        clean(frame(("a", "one"), ("b", "two")), TextSettings(), "x", min_rows=3)


def test_a_column_of_free_text_as_labels_takes_no_ages() -> None:
    rows = [*GOOD, *[(f"no two labels alike {i:05}", f"other text {i}") for i in range(20_000)]]
    data = clean(frame(*rows), TextSettings(), "labels.csv")
    assert data.labels == ("a", "b")
    assert remarks(data)[-1].endswith(" and 19,995 more")


def test_the_group_of_copies_does_not_depend_on_the_order() -> None:
    rows = pd.DataFrame([(*pair, "") for pair in GOOD], columns=["label", "text", "group"])
    more = pd.DataFrame([("a", "a TEXT number 0", shop) for shop in ("z", "y", None)], columns=rows.columns)
    for several in (pd.concat([rows, more]), pd.concat([more[::-1], rows])):
        data = clean(several, TextSettings(), "labels.csv")
        groups = dict(zip((text.lower() for text in data.texts.to_pylist()), data.groups.to_pylist(), strict=True))
        assert groups["a text number 0"] == "y"
        assert set(groups.values()) == {"y", None}


def test_labels_that_look_alike_are_those_of_every_pair() -> None:
    """Found without comparing every pair."""
    random = Random(1)
    for alphabet in ("ab", "abcd ", "abcdefgh 12") * 15:
        names = ["".join(random.choices(alphabet, k=random.randint(1, 20))) for _ in range(25)]
        names += ["".join(one for one in name if random.random() > 0.1) + random.choice(["", "a"]) for name in names]
        counts = {name: random.choice([1, 2, 5, 20, 100, 300]) for name in [*names, *map(str.upper, names[:5])]}
        ranked = sorted(counts, key=lambda label: (-counts[label], label))
        expected = []
        for place, rare in enumerate(ranked):
            one = plain_name(rare)
            for frequent in ranked[:place]:
                other = plain_name(frequent)
                is_rare = counts[rare] <= 0.1 * counts[frequent] and digits_of(one) == digits_of(other)
                if one == other or (is_rare and SequenceMatcher(None, one, other, autojunk=False).ratio() >= 0.8):
                    expected.append((rare, frequent))
                    break
        assert look_alikes(counts) == expected


def test_few_of_many_labels_are_compared() -> None:
    random = Random(2)
    words = ["".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=random.randint(3, 8))) for _ in range(300)]
    names = sorted({" ".join(random.sample(words, random.randint(1, 3))) for _ in range(1_500)})
    spelling = Spelling(names)
    assert sum(len(spelling.near(place, place)) for place in range(len(names))) < 10 * len(names)
    codes = Spelling([f"A{number}" for number in range(10_000, 11_500)])
    assert not any(codes.near(place, place) for place in range(1_500))


def test_numbers_are_no_slips_of_each_other() -> None:
    counts = {"10023": 500, "10024": 5, "12 inch": 300, "15 inch": 3, "12 inhc": 2}
    assert look_alikes(counts) == [("12 inhc", "12 inch")]


def test_case_variants_and_slips_of_the_pen_are_reported_and_not_merged() -> None:
    counts = {"Books": 400, "books": 300, "Boks": 9, " Books": 2, "Cooks": 90, "Men's shoes": 200, "Women's shoes": 210}
    assert look_alikes(counts) == [("books", "Books"), ("Boks", "Books"), (" Books", "Books")]
    # The same letters in another form of Unicode, and a character that nobody sees.
    assert look_alikes({"Caf\u00e9": 50, "Cafe\u0301": 49, "Toys": 9, "To\u200bys": 9}) == [
        ("Cafe\u0301", "Caf\u00e9"),
        ("To\u200bys", "Toys"),
    ]
    rows = [*GOOD, *[("A", f"other words {i}") for i in range(5)]]
    data = clean(frame(*rows), TextSettings(), "labels.csv")
    assert data.labels == ("A", "a", "b")
    assert data.look_alikes == (("a", "A"),)
