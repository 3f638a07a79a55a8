"""In cluster mode: how a job that could not start is reported. tests/faults/test_cluster.py runs it on YARN."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from lib.scoring.preflight import REMEDY
from tests.conftest import ROOT

ON_CLUSTER: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "on_cluster.py"), run_name="on_cluster")


@pytest.mark.parametrize(
    ("code", "ended", "said"),
    [
        ("import sys\nsys.exit(3)", 3, ""),
        ("", 0, ""),
        (
            "import no_such_package",
            2,
            f"with what the job imports, found No module named 'no_such_package'; {REMEDY}.\n",
        ),
        (
            "from pathlib import no_such_name",
            2,
            "found cannot import name 'no_such_name' from 'pathlib'",
        ),
        ("1 / 0", 1, "error: Expected the job night to start, found ZeroDivisionError; see the trace above.\n"),
        ("this is no Python", 1, "error: Expected the job night to start, found SyntaxError; see the trace above.\n"),
    ],
)
def test_a_job_that_does_not_start_has_a_sentence_and_an_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: str, ended: int, said: str
) -> None:
    (tmp_path / "night.py").write_text(code)
    # The package of the jobs, as it comes with the zip.
    monkeypatch.setattr("jobs.__path__", [str(tmp_path)])
    monkeypatch.setattr("sys.argv", [])
    assert ON_CLUSTER["_code_of"]("night", ()) == ended
    told = capsys.readouterr().err
    assert said in told
    assert told.count("error: ") == (ended in (1, 2))
