"""A file of old and new names, applied to labelled rows: older rows have old names, newer ones may have new names already."""

from __future__ import annotations

import pandas as pd
import pytest

from lib.errors import InputError
from lib.model.changes import Change, Changes, applied, renaming
from lib.model.evaluation import LabelCount
from lib.model.text import TextSettings
from lib.model.tree import SEPARATOR
from lib.scoring.evaluation import with_new_labels as with_new_counts
from training.dataset import both_with_new_labels, clean, remarks, with_corrections, with_new_labels


def changes(*pairs: tuple[str, str]) -> Changes:
    return Changes([Change(*pair) for pair in pairs], "c.csv")


def test_old_and_new_rows_together() -> None:
    counts = {"Electronics > Audio > Radios": 7, "Audio > Radios": 3, "Home > Kettles": 2, "Home > Toasters": 1, "Home": 4}
    moves = changes(
        (" Electronics >  Audio", "Audio"), ("Home > Kettles", "Small"), ("Home > Toasters", "Small"), ("Toys", "Games")
    )
    found = renaming(counts, SEPARATOR, moves)
    found.check()
    assert found.names == {
        "Electronics > Audio > Radios": "Audio > Radios",
        "Home > Kettles": "Small",
        "Home > Toasters": "Small",
    }
    assert found.lines() == [
        "10 rows of 3 labels have their new label of c.csv",
        "1 old labels of c.csv are those of no row: 'Toys'",
    ]
    assert found.record() == {"labels": found.names, "rows": 10, "left_out": {}}


def test_a_label_that_became_several_is_left_out_unless_it_is_one_of_them() -> None:
    counts = {"Books": 5, "Films": 6, "Toys": 7}
    found = renaming(
        counts, None, changes(("Books", "Novels"), ("Books", "Textbooks"), ("Films", "Films"), ("Films", "Series"))
    )
    found.check()
    assert found.names == {"Books": None}
    assert found.record() == {"labels": {}, "rows": 0, "left_out": {"Books": 5}}
    assert found.lines() == [
        "5 rows of 1 labels are left out, since each of these became several, and a person has to say which of them a row is: 'Books'",
        "1 labels are, or are below, one of the several that an old label became, and keep their rows: 'Films'; rows from before the change may be "
        "of another part",
    ]


def test_a_branch_that_became_several() -> None:
    counts = {"Media > Books": 1, "Home > Pots > Small": 2, "Home > Lamps": 3, "Garden > Hoses": 4}
    several = changes(("Media", "Media"), ("Media", "Print"), ("Home > Pots", "Home"), ("Home > Pots", "Kitchen"))
    found = renaming(counts, SEPARATOR, several)
    # What was below "Media" may still be there; nothing is below "Home > Pots" any more.
    assert found.names == {"Home > Pots > Small": None}
    assert list(found.split) == ["Media > Books", "Home > Pots > Small"]


def test_rows_that_have_one_of_the_several_already_stay() -> None:
    counts = {
        "Media > Books": 5,
        "Media > Books > Fiction": 40,
        "Media > Books > Fiction > Crime": 10,
        "Media > Books > Non-fiction": 40,
        "Media > Books > Maps": 1,
    }
    parts = changes(("Media > Books", "Media > Books > Fiction"), ("Media > Books", "Media > Books > Non-fiction"))
    found = renaming(counts, SEPARATOR, parts)
    found.check()
    assert found.left_out == {"Media > Books": 5, "Media > Books > Maps": 1}
    assert found.names == {"Media > Books": None, "Media > Books > Maps": None}
    assert found.lines()[1].startswith("3 labels are, or are below, one of the several that an old label became")


def test_names_that_are_old_and_new_are_told() -> None:
    # Is "Shoes > Adult > Boots" from after the change, or was there such a node before?
    found = renaming({"Shoes > Boots": 4, "Shoes > Adult > Boots": 2}, SEPARATOR, changes(("Shoes", "Shoes > Adult")))
    assert found.names == {"Shoes > Boots": "Shoes > Adult > Boots", "Shoes > Adult > Boots": "Shoes > Adult > Adult > Boots"}
    assert found.lines()[1] == (
        "2 rows of 1 labels were taken for old ones, though c.csv also gives these names to others: 'Shoes > Adult > Boots'; if they have their "
        "new label already, keep them in a table of their own"
    )
    swapped = renaming({"A": 1, "B": 2}, None, changes(("A", "B"), ("B", "A")))
    assert (swapped.names, swapped.unclear) == ({"A": "B", "B": "A"}, {"A": 1, "B": 2})


@pytest.mark.parametrize("pair", [("Toys", "Games"), ("Books", "Books")])
def test_changes_that_change_no_row_are_refused(pair: tuple[str, str]) -> None:
    named = "'Toys'" if pair[0] == "Toys" else "no line gives another name"
    with pytest.raises(InputError, match=rf"Expected labelled rows with an old label of c\.csv, found none \({named}\)"):
        renaming({"Books": 3}, None, changes(pair)).check()
    with pytest.raises(InputError, match=r"Expected a path as new label in c\.csv, found ' > '"):
        renaming({"Books": 3}, SEPARATOR, changes(("Books", " > ")))


def test_texts_are_learned_under_the_new_names() -> None:
    labels = ["Books", " Books", "Media", "Films", "Films", None, "", "Toys", "Toys"]
    texts = ["old one", "old two", "new one", "a film", "another film", "no label", "blank", "a ball", "a doll"]
    rows = pd.DataFrame({"label": labels, "text": texts, "group": list("aabbccdde"[:9])})
    kept, found = with_new_labels(rows, changes(("Books", "Media"), ("Films", "Series"), ("Films", "Cinema")), None)
    assert list(kept["text"]) == [text for text in texts if "film" not in text]
    assert list(kept["group"]) == ["a", "a", "b", "c", "d", "d", "e"]
    data = clean(kept, TextSettings(), "labels.csv")
    assert data.labels == ("Media", "Toys")
    assert [data.labels[i] for i in data.label_ids] == ["Media"] * 3 + ["Toys"] * 2
    assert data.dropped["no label"] == 2
    assert found.left_out == {"Films": 2}
    assert not remarks(data)


def test_a_correction_that_is_left_out_overrules_no_text() -> None:
    rows = pd.DataFrame({"label": ["Novels", "Films", "Toys", "Books"], "text": ["Old tale", "a film", "ball", "atlas"]})
    corrections = pd.DataFrame({"label": ["Books", "Books", "Games"], "text": ["old tale!", "a map", "ball"]})
    several = changes(("Books", "Novels"), ("Books", "Textbooks"), ("Films", "Cinema"))
    ours, theirs, found = both_with_new_labels(rows, corrections, several, None)
    kept, overruled = with_corrections(ours, theirs, TextSettings())
    assert list(zip(kept["label"], kept["text"], strict=True)) == [
        ("Novels", "Old tale"),
        ("Cinema", "a film"),
        ("Games", "ball"),
    ]
    assert (overruled, found.left_out) == (1, {"Books": 3})
    assert len(kept) + overruled + 3 == len(rows) + len(corrections)
    alone, none, _ = both_with_new_labels(rows, None, several, None)
    assert (len(alone), none) == (3, None)
    # None is left of the corrections.
    assert with_corrections(ours, theirs[:0], TextSettings())[1] == 0


def test_one_text_under_an_old_and_under_its_new_name_is_no_conflict() -> None:
    rows = pd.DataFrame(
        {"label": ["A > x", "B > x", "C > y", "D > z"], "text": ["same text", "Same text!", "other text", "third"]}
    )
    assert clean(rows, TextSettings(), "labels.csv", 1, SEPARATOR).dropped["conflicting labels"] == 2
    kept, _ = with_new_labels(rows, changes(("A", "B")), SEPARATOR)
    data = clean(kept, TextSettings(), "labels.csv", 1, SEPARATOR)
    assert (data.dropped["conflicting labels"], data.dropped["duplicate text"]) == (0, 1)
    assert data.labels == ("B > x", "C > y", "D > z")


def test_names_are_compared_in_one_spelling() -> None:
    """Also those of a bundle that learned another one."""
    made = applied(["Cafe\u0301", "Shoes\u00a0", "Toys"], None, changes(("Caf\u00e9", "Bars"), ("Shoes", "Footwear\t")))
    assert made.labels == {"Cafe\u0301": "Bars", "Shoes\u00a0": "Footwear", "Toys": "Toys"}
    assert not made.unused
    kept, found = with_new_counts(
        [LabelCount("Cafe\u0301", None, "review", 2, 0.0, 0), LabelCount("Caf\u00e9\u00a0", None, "review", 3, 0.0, 0)],
        changes(("Cafe\u0301", "Bars")),
        None,
    )
    assert [(count.label, count.rows) for count in kept] == [("Bars", 2), ("Bars", 3)]
    assert found.moved == {"Caf\u00e9": 5}
    rows = pd.DataFrame({"label": ["Cafe\u0301", "Toys"], "text": ["one", "two"]})
    assert list(with_new_labels(rows, changes(("Caf\u00e9", "Bars")), None)[0]["label"]) == ["Bars", "Toys"]


def test_counts_are_judged_under_the_new_names() -> None:
    counts = [
        LabelCount("Books", "Media", "categorized", 5, 4.5, 0),
        LabelCount("Media", "Media", "review", 2, 1.0, 0),
        LabelCount("Films", "Media", "review", 3, 1.0, 1),
        LabelCount(None, "Media", "review", 4, 2.0, 0),
    ]
    kept, found = with_new_counts(counts, changes(("Books", "Media"), ("Films", "Series"), ("Films", "Cinema")), None)
    assert [(count.label, count.rows) for count in kept] == [("Media", 5), ("Media", 2), (None, 4)]
    assert (found.moved, found.left_out) == ({"Books": 5}, {"Films": 3})
