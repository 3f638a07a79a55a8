"""Every fault test states what is broken, what is expected and, at its end, what was seen; together they make docs/faults.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.nights import OTHER, SECOND, copy_of_first_night, write_source

if TYPE_CHECKING:
    from tests.faults.cluster import Cluster


@pytest.fixture
def lake(first_night: Path, tmp_path: Path) -> Path:
    """A table with one run; next to it `second.parquet` is the next run's source, and `other.parquet` another run's."""
    write_source(tmp_path / "second.parquet", SECOND)
    write_source(tmp_path / "other.parquet", OTHER)
    return copy_of_first_night(first_night, tmp_path)


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if not pytestconfig.getoption("--cluster"):
        pytest.skip("a cluster takes minutes: give --cluster")
    from tests.faults.cluster import OWN_JARS, Cluster

    assert OWN_JARS.is_dir(), f"Expected the cluster's jars in {OWN_JARS}, found none; ./run-tests.sh --cluster fetches them."
    started = Cluster(tmp_path_factory.mktemp("cluster"))
    yield started
    started.stop()
