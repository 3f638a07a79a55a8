"""Two sides in the order of their ids, and lines on their way to PostgreSQL."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.warehouse.comparison import side_by_side
from lib.warehouse.lines import CODEC, _packed

digests = st.dictionaries(st.text(max_size=3), st.sampled_from("ab"), max_size=8)


@given(digests, digests)
def test_each_id_comes_once_with_what_both_sides_have(left, right) -> None:
    found = list(side_by_side(iter(sorted(left.items())), iter(sorted(right.items()))))
    assert found == [(i, left.get(i), right.get(i)) for i in sorted(left.keys() | right.keys())]


@pytest.mark.parametrize("text", [pa.string(), pa.large_string()])
def test_lines_are_packed_whole_whatever_offsets_spark_sends(text: pa.DataType) -> None:
    """`spark.sql.execution.arrow.useLargeVarTypes` makes them wide."""
    written = [f"{i}\tlamp\n" for i in range(9)]
    batch = pa.record_batch([pa.array(written, text), pa.array([False] * 9)], names=["line", "altered"])
    (packed,) = _packed([batch.slice(1)])
    (row,) = packed.to_pylist()
    assert pa.decompress(row["chunk"], row["size"], CODEC, asbytes=True).decode() == "".join(written[1:])
