"""How many labels' probabilities a row keeps, and which ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import InputError
from lib.model.decisions import most_probable
from lib.scoring.scores import check_scores, scores_kept


@pytest.mark.parametrize(
    ("asked", "labels", "kept"),
    [(None, 50, 50), (None, 51, 5), ("all", 5000, 5000), ("none", 4, 0), ("top:3", 4, 3), ("top:9", 4, 4)],
)
def test_scores_kept(asked: str | None, labels: int, kept: int) -> None:
    check_scores(asked)
    assert scores_kept(asked, labels) == kept


@pytest.mark.parametrize("asked", ["", "top", "top:", "top:0", "top:-1", "top:1.5", "TOP:3", "5", "top:9999999999"])
def test_what_is_none_of_them_is_refused(asked: str) -> None:
    with pytest.raises(InputError, match="Expected --scores as all, none, or top:N"):
        check_scores(asked)


@given(st.integers(1, 6), st.integers(1, 9), st.data())
def test_the_most_probable_are_those_of_a_stable_sort(rows: int, labels: int, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.sampled_from([0.0, 0.125, 0.25, 0.5, 1.0]), min_size=rows * labels, max_size=rows * labels))
    probabilities = np.array(values, np.float32).reshape(rows, labels)
    count = data.draw(st.integers(1, labels))
    expected = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    np.testing.assert_array_equal(most_probable(probabilities, count), expected)
