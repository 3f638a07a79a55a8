"""The clusters that these tests start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.standalone import Standalone


@pytest.fixture(scope="session")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    started = Standalone(tmp_path_factory.mktemp("standalone"))
    yield started
    started.stop()
