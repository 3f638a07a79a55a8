"""What a job says while a cluster keeps it waiting for Spark (lib.session)."""

from __future__ import annotations

import io
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from lib import session


class Heard(io.StringIO):
    """A stream that has a line once `line` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.line = threading.Event()

    def write(self, text: str) -> int:
        written = super().write(text)
        if "\n" in text:
            self.line.set()
        return written


@pytest.mark.parametrize(
    ("master", "told"),
    [
        ("yarn", "s: YARN has not started the application yet, or its first executors (see yarn application -list)"),
        ("spark://host:7077", "has not answered yet, or not started the first executors (see the cluster's own pages)"),
        ("k8s://https://host:6443", "has not answered yet, or not started the first executors (see kubectl get pods)"),
    ],
)
def test_a_job_in_a_queue_says_so(monkeypatch: pytest.MonkeyPatch, master: str, told: str) -> None:
    heard = Heard()
    monkeypatch.setattr(session, "SECONDS_BETWEEN_LINES", 0.01)
    monkeypatch.setattr("sys.stderr", heard)

    def started_once_told() -> str:
        assert heard.line.wait(60), "nothing was said"
        return "a session"

    builder: Any = SimpleNamespace(getOrCreate=started_once_told)
    assert session._started(builder, master) == "a session"  # type: ignore[comparison-overlap]
    line = heard.getvalue().splitlines()[0]
    assert line.startswith("Spark has not started after 0 s: ")
    assert line.endswith(told)


def test_on_one_machine_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.active_count()
    builder: Any = SimpleNamespace(getOrCreate=threading.active_count)
    assert session._started(builder, "local[2]") == before  # type: ignore[comparison-overlap]
