"""`publish` from a standalone cluster whose nodes have no Python into a real PostgreSQL, by the command that a user types."""

from __future__ import annotations

from pathlib import Path

from tests.cluster.standalone import Standalone
from tests.cluster.test_standalone import started
from tests.faults.nights import FIRST, copy_of_first_night
from tests.waiting import until
from tests.warehouse import arguments, hashes_there


def test_rows_are_compared_on_nodes_without_python(
    takes_minutes, first_night: Path, standalone: Standalone, database: str, tmp_path: Path
) -> None:
    lake = copy_of_first_night(first_night, tmp_path)
    running = started(standalone, "publish", *arguments(lake, database, "--verify"), cwd=tmp_path)
    until(lambda: standalone.pythons() or running.poll() is not None, "a Python on a worker", 300)
    pythons = standalone.pythons()
    said, _ = running.communicate(timeout=500)
    assert running.returncode == 0, said
    assert pythons
    assert all("environment" in python.parts and python.is_relative_to(standalone.folder) for python in pythons), pythons
    assert hashes_there(database).keys() == FIRST.keys()
