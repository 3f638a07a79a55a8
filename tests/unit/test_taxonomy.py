"""Labels that are paths, against a published taxonomy and against each other."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import InputError
from lib.model.text import TextSettings
from lib.model.tree import SEPARATOR
from training.dataset import clean, remarks
from training.taxonomy import check_labels, is_slip, labels_above, parents_among, read_taxonomy, slips

PUBLISHED = """# Google_Product_Taxonomy_Version: 2021-09-21
1 - Home
2 - Home > Kitchen
3 - Home > Kitchen > Pots
Media > Books

"""


def taxonomy(folder: Path, content: str = PUBLISHED):
    (folder / "tree.txt").write_text(content, encoding="utf-8")
    return read_taxonomy(str(folder / "tree.txt"), SEPARATOR)


def labelled(labels: list[str]) -> pd.DataFrame:
    texts = [f"{word} text of {label}" for label in labels for word in ("first", "second", "third")]
    return pd.DataFrame({"label": [label for label in labels for _ in range(3)], "text": texts})


def test_a_published_taxonomy_is_read(tmp_path: Path) -> None:
    found = taxonomy(tmp_path, "\ufeff" + PUBLISHED)
    assert set(found.paths) == {("Home",), ("Home", "Kitchen"), ("Home", "Kitchen", "Pots"), ("Media",), ("Media", "Books")}
    assert found.children[()] == ["Home", "Media"]


@pytest.mark.parametrize("content", ["", "# only a comment\n", "Home\nMedia\n"])
def test_a_file_without_paths_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError, match=r"Expected paths such as 'A > B' in .*tree\.txt, one per line"):
        taxonomy(tmp_path, content)


def test_a_taxonomy_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00A > B")
    for name in ("none", "bytes"):
        with pytest.raises(InputError, match=f"Expected a taxonomy in UTF-8 at .*{name}, found none"):
            read_taxonomy(str(tmp_path / name), SEPARATOR)


def test_labels_that_the_taxonomy_lacks_are_counted_and_named(tmp_path: Path) -> None:
    rows = labelled(["Home > kitchen > Pots", "Home > Kitchen >  Pot", "Garden > Hoses", "Media > Books", "Home"])
    with pytest.raises(InputError) as refused:
        clean(rows, TextSettings(), "labels.csv", 1, SEPARATOR, taxonomy(tmp_path))
    assert str(refused.value) == (
        f"Expected labels that are paths of {tmp_path}/tree.txt, found 3 of 5 that are not, with 9 texts, 2 of them in other case or blanks than "
        "a path or one character off: 'Garden > Hoses' (3), 'Home > Kitchen > Pot' (3, perhaps meant as 'Home > Kitchen > Pots'), "
        "'Home > kitchen > Pots' (3, perhaps meant as 'Home > Kitchen > Pots'); correct the labels, or the taxonomy."
    )


def test_of_a_column_of_titles_some_are_compared_with_the_taxonomy(tmp_path: Path) -> None:
    titles = {f"title {i}": 1 for i in range(250)}
    with pytest.raises(
        InputError, match=r"found 251 of 251 that are not, with 252 texts, 1 of the 200 most frequent in other case or"
    ):
        check_labels({**titles, "home": 2}, taxonomy(tmp_path), SEPARATOR)


@pytest.mark.parametrize(("titles", "similar"), [(199, (("kitchen", "Kitchen"),)), (200, ())])
def test_of_a_column_of_titles_some_are_compared_with_each_other(titles: int, similar: tuple) -> None:
    # The rare label `kitchen` is the last of them: in the order of the alphabet, since each has one text.
    rare = [*[f"Title {i}" for i in range(titles)], "kitchen"]
    once = pd.DataFrame({"label": rare, "text": [f"a text of {label}" for label in rare]})
    rows = pd.concat([labelled(["Kitchen > Pots", "Garden > Hoses"]), once], ignore_index=True)
    found = clean(rows, TextSettings(), "labels.csv", 2, SEPARATOR)
    assert found.look_alikes == similar
    assert len(found.rare_labels) == titles + 1


def test_labels_of_the_taxonomy_are_learned_in_the_order_of_the_tree(tmp_path: Path) -> None:
    rows = labelled(["Media > Books", "Home > Kitchen > Pots", " Home >  Kitchen", "Home"])
    data = clean(rows, TextSettings(), "labels.csv", 1, SEPARATOR, taxonomy(tmp_path))
    assert data.labels == ("Home", "Home > Kitchen", "Home > Kitchen > Pots", "Media > Books")
    assert data.separator == SEPARATOR
    (line,) = remarks(data)
    assert (
        line == "2 labels are also the parent of others, and are learned as categories of their own: 'Home', 'Home > Kitchen'"
    )


def test_levels_of_one_parent_that_look_alike_are_named() -> None:
    counts = {"Home > Pots": 9, "Home > pots": 1, "Garden > Pot": 5, "home > Lamps": 2, "Home > Size 1": 4, "Home > Size 2": 4}
    assert set(slips(counts, SEPARATOR)) == {("Home > pots", "Home > Pots"), ("home", "Home")}
    lines = remarks(clean(labelled(["A > x", "a > y", "B > z"]), TextSettings(), "labels.csv", 1, SEPARATOR))
    assert lines == ["1 levels differ from another by case, blanks or one character, and are learned as two: 'a' and 'A'"]


def test_a_separator_without_its_blanks_is_told() -> None:
    odd = ["Electronics > Audio >", "Electronics >Video", "A > > B"]
    rows = labelled([*odd, "Electronics > Radios > ", "B", "B>c"])
    lines = remarks(clean(rows, TextSettings(), "labels.csv", 1, SEPARATOR))
    assert (
        "4 labels have '>' in the name of a level, since it separates levels only with its blanks, as ' > ': 'A > > B', 'B>c', "
        "'Electronics > Audio >', 'Electronics >Video'"
    ) in lines
    # A separator without blanks separates wherever it is.
    assert not any("in the name of a level" in line for line in remarks(clean(rows, TextSettings(), "labels.csv", 1, ">")))


def test_labels_of_few_texts_are_learned_as_the_one_above_them() -> None:
    counts = {
        "A > x": 1,
        "A > y": 1,
        "A > z": 5,
        "A > z > deep": 1,
        "B > c > d": 1,
        "B > c": 1,
        "C > e > f": 1,
        "C > e > g": 1,
        "D": 1,
    }
    counts |= {"E > h": 1, "F": 4}
    above = labels_above(counts, 2, SEPARATOR)
    assert above == {
        "A > x": "A",
        "A > y": "A",
        "A > z > deep": "A > z",
        "B > c > d": "B > c",
        "C > e > f": "C > e",
        "C > e > g": "C > e",
    }
    assert labels_above(counts, 1, SEPARATOR) == {}
    rows = pd.DataFrame(
        [(label, f"text {i} of {label}") for label, n in counts.items() for i in range(n)], columns=["label", "text"]
    )
    data = clean(rows, TextSettings(), "labels.csv", 2, SEPARATOR)
    assert data.labels == ("A", "A > z", "B > c", "C > e", "F")
    assert (data.moved_up, data.rare_labels) == (above, {"D": 1, "E > h": 1})
    assert len(data.texts) == sum(counts.values()) - 2
    assert (
        "6 labels are learned as one above them, since they have too few texts for --min-rows-per-label: 'A > x' as 'A', 'A > y' as 'A', "
        in " ".join(remarks(data))
    )


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("Audio", " audio", True),
        ("Head  phones", "Head phones", True),
        ("Headphones", "Headphone", True),
        ("Headphones", "Haedphones", False),
        ("TVs", "DVs", False),
        ("Size 1", "Size 2", False),
        ("Size 1", "Size 12", False),
        ("Men's", "Women's", False),
    ],
)
def test_slips_of_the_pen(one: str, other: str, expected: bool) -> None:
    assert is_slip(one, other) is is_slip(other, one) is expected


@given(st.lists(st.text("ab ", min_size=1, max_size=7).filter(str.strip), min_size=2, max_size=8, unique_by=str.strip))
def test_slips_are_found_among_all_names_of_a_parent(names: list[str]) -> None:
    counts = {name.strip(): 10 - i for i, name in enumerate(names)}
    found = {rare for rare, _ in slips(counts, SEPARATOR)}
    ranked = list(counts)
    assert found == {name for i, name in enumerate(ranked) if any(is_slip(name, other) for other in ranked[:i])}


def test_parents_among_labels() -> None:
    assert parents_among(["A > B > C", "A", "A > D", "B"], SEPARATOR) == ["A"]
