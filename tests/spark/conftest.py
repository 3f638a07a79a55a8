"""What the tests of single runs share."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.rollback import RollbackSettings
from jobs.rollback import main as rollback_main
from lib.command import run_command
from lib.tables.locations import delta_table, locate
from tests.faults.nights import SECOND, copy_of_first_night, write_source

STRICT = ("--guard-from-rows", "1")
ALL_BOOKS = {str(i): "detective novel, paperback" for i in range(1, 6)}


@pytest.fixture
def lake(first_night: Path, tmp_path: Path) -> Path:
    """A table with one run; `second.parquet` next to it is the next run's source."""
    write_source(tmp_path / "second.parquet", SECOND)
    return copy_of_first_night(first_night, tmp_path)


def rollback(*arguments: object) -> int:
    return run_command(RollbackSettings, rollback_main, "rollback", list(map(str, arguments)))


def versions(spark, target: object) -> int:
    return delta_table(spark, locate(spark, str(target))).history().count()
