"""Lines of JSON in place of the text for people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import jobs.categorize as job
from lib.command import run_command
from tests.faults.nights import FIRST, arguments, write_source

pytestmark = pytest.mark.usefixtures("spark")


def said(capsys) -> list[dict[str, object]]:
    out, err = capsys.readouterr()
    return [json.loads(line) for line in [*out.splitlines(), *err.splitlines()] if line]


def test_every_event_is_a_line_of_json(tmp_path: Path, capsys) -> None:
    night = [*arguments(write_source(tmp_path / "in.parquet", FIRST), tmp_path / "lake"), "--log-format", "json"]
    capsys.readouterr()
    assert run_command(job.CategorizeSettings, job.main, "categorize", night) == 0
    events = said(capsys)
    assert [event["event"] for event in events] == ["settings", *["step"] * 6, "run"]
    assert events[0]["target"] == str(tmp_path / "lake")
    assert [event["step"] for event in events[1:-1]] == [
        "starting",
        "comparing",
        "scoring",
        "auditing",
        "publishing",
        "recording",
    ]
    assert events[3]["rows"] == events[-1]["rows_in"] == len(FIRST)
    assert events[-1]["status"] == "published"
    assert run_command(job.CategorizeSettings, job.main, "categorize", [*night, "--preview", "2"]) == 0
    assert said(capsys)[-1]["event"] == "nothing to do"


def test_a_run_that_is_held_back(tmp_path: Path, capsys) -> None:
    lake, guarded = tmp_path / "lake", ["--missing", "delete", "--guard-removed", "0.5"]
    first = arguments(write_source(tmp_path / "a.parquet", FIRST), lake, *guarded)
    assert run_command(job.CategorizeSettings, job.main, "categorize", first) == 0
    one = [*arguments(write_source(tmp_path / "b.parquet", {"1": FIRST["1"]}), lake, *guarded), "--log-format", "json"]
    capsys.readouterr()
    assert run_command(job.CategorizeSettings, job.main, "categorize", one) == 4
    run, error = said(capsys)[-2:]
    assert (run["event"], run["status"], run["rows_in"]) == ("run", "held", 1)
    assert run["held_because"]
    assert (error["event"], error["exit_code"]) == ("error", 4)
    assert f"--publish-anyway {run['run_id']}" in str(error["message"])
    publish = [*one, "--publish-anyway", str(run["run_id"])]
    assert run_command(job.CategorizeSettings, job.main, "categorize", publish) == 0
    released = said(capsys)[-1]
    assert (released["event"], released["run_id"], released["status"]) == ("run", run["run_id"], "published")


def test_an_error_too(tmp_path: Path, capsys) -> None:
    night = [*arguments(tmp_path / "nothing.parquet", tmp_path / "lake"), "--log-format", "json"]
    capsys.readouterr()
    assert run_command(job.CategorizeSettings, job.main, "categorize", night) == 2
    event = said(capsys)[-1]
    assert (event["event"], event["exit_code"]) == ("error", 2)
    assert str(event["message"]).startswith("Expected a file, folder or table at ")
