"""The version of a Delta table in a text: as it is stored, and as older releases have stored it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.tables.pinned import PinnedVersion
from lib.tables.sources import delta_version_of

ids = st.uuids().map(str)
commits = st.text("0123456789abcdef", min_size=12, max_size=12) | st.just("")


@given(st.integers(0, 2**63 - 1), ids, commits)
def test_a_version_is_read_as_it_was_written(number: int, table_id: str, commit: str) -> None:
    version = PinnedVersion(number, table_id, commit)
    assert PinnedVersion.of(str(version)) == version
    assert str(version) == f"{number}:{table_id}:{commit}"


@given(st.integers(0, 2**63 - 1), ids)
def test_a_version_that_was_stored_without_its_commit(number: int, table_id: str) -> None:
    stored = PinnedVersion.of(f"{number}:{table_id}")
    assert stored == PinnedVersion(number, table_id, "") == PinnedVersion.of(f"{number}:{table_id}:")
    assert stored != PinnedVersion(number, table_id, "0123456789ab")


@pytest.mark.parametrize("text", ["", "7", "seven:0b7c", "none"])
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not enough values|invalid literal"):
        PinnedVersion.of(text)


def test_the_version_of_a_source_that_a_run_has_recorded() -> None:
    assert delta_version_of("delta:7:0b7c:0123456789ab") == PinnedVersion(7, "0b7c", "0123456789ab")
    assert delta_version_of("delta:7:0b7c") == PinnedVersion(7, "0b7c")
    for recorded in ("delta:7", "files:0123456789ab", "unversioned"):
        assert delta_version_of(recorded) is None, recorded
