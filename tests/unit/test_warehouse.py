"""Two sides in the order of their ids."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lib.warehouse.comparison import side_by_side

digests = st.dictionaries(st.text(max_size=3), st.sampled_from("ab"), max_size=8)


@given(digests, digests)
def test_each_id_comes_once_with_what_both_sides_have(left, right) -> None:
    found = list(side_by_side(iter(sorted(left.items())), iter(sorted(right.items()))))
    assert found == [(i, left.get(i), right.get(i)) for i in sorted(left.keys() | right.keys())]
