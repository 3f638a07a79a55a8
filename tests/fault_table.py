"""docs/faults.md: what is broken, what is expected of a run, and what the tests have seen.

A test takes the fixture `fault`, or, where it has one thing to tell, is marked `fault(what, expected, seen)`: its assertions are what
makes `seen` true. Tests under one `what` share a row, which is written only if all of them pass.
"""

from __future__ import annotations

from dataclasses import dataclass, field

HEAD = """# Faults

What breaks, what a run is expected to do about it, and what the tests have seen: `./run-tests.sh tests/cli tests/faults tests/spark
tests/test_z_fault_table.py --cluster --fault-table docs/faults.md` writes this page. Real processes are killed with real signals at
phases that are waited for, on real Delta tables.

| fault | expected | seen |
|---|---|---|
"""


@dataclass
class Fault:
    what: str
    expected: str
    seen: list[str] = field(default_factory=list)
    failed: bool = False

    def saw(self, seen: str) -> None:
        self.seen.append(seen)

    @property
    def whole(self) -> bool:
        return bool(self.seen) and not self.failed

    @property
    def line(self) -> str:
        cells = (self.what, self.expected, "; ".join(self.seen) if self.whole else "**failed**")
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


FAULTS: list[Fault] = []


def add_marked(what: str, expected: str, seen: str, passed: bool) -> None:
    """What a marked test gave."""
    known = next((fault for fault in FAULTS if fault.what == what), None)
    if known is None:
        known = Fault(what, expected, [seen])
        FAULTS.append(known)
    known.failed |= not passed
