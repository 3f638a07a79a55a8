"""docs/faults.md, made of what the fault tests before this one have seen.

./run-tests.sh tests/faults --cluster --fault-table docs/faults.md
"""

from __future__ import annotations

from pathlib import Path

from tests.conftest import ROOT
from tests.faults.conftest import FAULTS, Fault

HEAD = """# Faults

What breaks, what a run is expected to do about it, and what the tests have seen: `./run-tests.sh tests/faults --cluster
--fault-table docs/faults.md` writes this page. Real processes are killed with real signals at phases that are waited for, on real Delta tables.

| fault | expected | seen |
|---|---|---|
"""


def line(fault: Fault) -> str:
    cells = (fault.what, fault.expected, "; ".join(fault.seen) or "**failed**")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def test_the_page_tells_what_was_seen(pytestconfig) -> None:
    rows = [line(fault) for fault in FAULTS]
    if pytestconfig.getoption("--fault-table"):
        Path(pytestconfig.getoption("--fault-table")).write_text(HEAD + "\n".join(rows) + "\n")
    assert all(fault.seen for fault in FAULTS)
    there = (ROOT / "docs" / "faults.md").read_text().splitlines()
    assert [row for row in rows if row not in there] == []
