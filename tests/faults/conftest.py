"""Every fault test says what is broken, what is expected and, at its end, what was seen; together they make docs/faults.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest


@dataclass
class Fault:
    what: str
    expected: str
    seen: list[str] = field(default_factory=list)

    def saw(self, seen: str) -> None:
        self.seen.append(seen)


FAULTS: list[Fault] = []


@pytest.fixture
def fault() -> Callable[[str, str], Fault]:
    def begin(what: str, expected: str) -> Fault:
        FAULTS.append(Fault(what, expected))
        return FAULTS[-1]

    return begin
