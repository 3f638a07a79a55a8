"""Labels that are paths: levels, sums and published levels, against plain loops."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lib.model.tree import SEPARATOR, Tree, in_tree_order, lists_of, path_of

PATHS = st.lists(st.sampled_from(["A", "A 1", "B", "x"]), min_size=1, max_size=3).map(SEPARATOR.join)


def test_the_levels_of_a_label() -> None:
    assert path_of(" Home >  Kitchen  > Pots ", SEPARATOR) == ("Home", "Kitchen", "Pots")
    assert path_of("Home >  > Pots > ", SEPARATOR) == ("Home", "Pots")
    assert path_of("Cables >2 m", SEPARATOR) == ("Cables >2 m",)


def test_a_label_between_a_parent_and_its_children_is_put_behind_them() -> None:
    labels = ("A", "A 1 > y", "A > x")
    assert not Tree(labels, SEPARATOR).is_ordered
    assert in_tree_order(labels, SEPARATOR) == ("A", "A > x", "A 1 > y")
    assert Tree(in_tree_order(labels, SEPARATOR), SEPARATOR).is_ordered


@given(st.lists(PATHS, min_size=2, max_size=12, unique=True), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_levels_are_the_sums_of_what_lies_below_them(labels: list[str], rows: int, seed: int) -> None:
    tree = Tree(in_tree_order(labels, SEPARATOR), SEPARATOR)
    assert tree.is_ordered
    random = np.random.default_rng(seed)
    values = random.dirichlet(np.full(len(labels), 0.3), rows).astype(np.float32)
    given_labels = values.argmax(axis=1)
    found = tree.confidences(values, given_labels)
    for row, label in enumerate(given_labels):
        path = tree.paths[label]
        for level in range(tree.levels):
            below = [i for i, other in enumerate(tree.paths) if other[: level + 1] == path[: level + 1]]
            expected = values[row, below].sum() if level < len(path) else 0
            np.testing.assert_allclose(found[row, level], expected, atol=1e-6)
        assert (np.diff(found[row]) <= 0).all()
        assert found[row, len(path) - 1] >= values[row, label]
    lists = lists_of(found, tree.depths[given_labels], [True] * rows).to_pylist()
    assert [len(one) for one in lists] == [len(tree.paths[label]) for label in given_labels]
    assert tree.prefixes(given_labels, tree.depths[given_labels], [True] * rows).to_pylist() == [
        list(tree.paths[label]) for label in given_labels
    ]


def test_published_levels_and_what_there_is_no_label_for() -> None:
    tree = Tree(("A > x", "A > y", "B"), SEPARATOR)
    sure = np.array([[0.99, 0.97], [0.99, 0.5], [0.4, 0.3], [0.95, 0.0]], np.float32)
    labels = np.array([0, 1, 1, 2])
    levels = tree.published(sure, labels, [0.9, 0.96])
    assert levels.tolist() == [2, 1, 0, 1]
    assert tree.published(sure, labels, [0, 0]).tolist() == [2, 2, 2, 1]
    assert tree.prefixes(labels, levels, [True, True, True, False]).to_pylist() == [["A", "x"], ["A"], [], None]
    assert lists_of(sure, tree.depths[labels], [True, False, True, True]).to_pylist()[1:] == [
        None,
        [np.float32(0.4), np.float32(0.3)],
        [np.float32(0.95)],
    ]
