"""Behind the tests of tests/cli, tests/faults and tests/spark: what they have seen is what docs/faults.md says."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import ROOT
from tests.fault_table import FAULTS, HEAD


def test_the_page_tells_what_was_seen(pytestconfig) -> None:
    rows = [fault.line for fault in FAULTS]
    if pytestconfig.getoption("--fault-table"):
        Path(pytestconfig.getoption("--fault-table")).write_text(HEAD + "\n".join(rows) + "\n")
    assert [fault.what for fault in FAULTS if not fault.whole] == []
    there = (ROOT / "docs" / "faults.md").read_text().splitlines()
    assert [row for row in rows if row not in there] == []
