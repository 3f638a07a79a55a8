"""docs/faults.md: what is broken, what is expected of a run, and what the tests have seen.

A test takes the fixture `fault`, or, if it reports only one fault, is marked `fault(what, expected, seen)`: its assertions are what
makes `seen` true. Tests under one `what` share a row, which is written only if all of them pass. What was seen is sent with the tests'
reports, since they run in several processes; the one that gathers the reports compares the rows with the page at the end, and a row
that the page lacks fails the session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parent.parent / "docs" / "faults.md"

HEAD = """# Faults

What breaks, what a run is expected to do about it, and what the tests have seen: `./run-tests.sh tests/cli tests/cluster
tests/faults tests/spark --cluster --fault-table docs/faults.md` writes this page. Real processes are killed with real signals at phases that are waited for,
on real Delta tables.

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


class FaultTable:
    """The pytest plugin that gathers the faults of a session."""

    def __init__(self, page: str | None) -> None:
        """`page`: the file to write the table to, if any."""
        self._page = page
        self._faults: dict[tuple[str, str], Fault] = {}
        self._begun: list[Fault] = []
        self._wrong: list[str] = []

    @pytest.fixture
    def fault(self) -> Callable[[str, str], Fault]:
        """`fault(what, expected)` begins a row for this test; its `saw` completes it."""
        self._begun = []

        def begin(what: str, expected: str) -> Fault:
            self._begun.append(Fault(what, expected))
            return self._begun[-1]

        return begin

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
        report = yield
        if call.when == "call":
            # A separate row for each that a test began, one row for all tests that are marked with it.
            rows = [(item.nodeid, fault) for fault in self._begun]
            rows += [
                ("", Fault(what, expected, [seen])) for what, expected, seen in (m.args for m in item.iter_markers("fault"))
            ]
            self._begun = []
            for row, fault in [] if report.skipped else rows:
                fault.failed = report.failed
                report.user_properties.append(("fault", (row, asdict(fault))))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, value in report.user_properties if report.when == "call" else ():
            if name == "fault":
                row, fault = value[0], Fault(**value[1])
                self._faults.setdefault((row, fault.what), fault).failed |= fault.failed

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workerinput"):
            return
        # Processes report in no order.
        faults = sorted(self._faults.values(), key=lambda fault: fault.line)
        if self._page:
            Path(self._page).write_text(HEAD + "".join(f"{fault.line}\n" for fault in faults))
        there = set(PAGE.read_text().splitlines())
        self._wrong = [fault.line for fault in faults if not fault.whole or fault.line not in there]
        if self._wrong and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._wrong:
            terminalreporter.section("faults that are not as docs/faults.md has them")
            for row in self._wrong:
                terminalreporter.write_line(row)
