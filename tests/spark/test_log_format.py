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
    lake = tmp_path / "lake"
    json_lines = ["--log-format", "json"]
    assert (
        run_command(
            job.CategorizeSettings, job.main, "categorize", arguments(write_source(tmp_path / "a.parquet", FIRST), lake)
        )
        == 0
    )
    half = write_source(tmp_path / "b.parquet", dict(list(FIRST.items())[:1]))
    capsys.readouterr()
    assert run_command(job.CategorizeSettings, job.main, "categorize", [*arguments(half, lake), *json_lines]) == 4
    run, error = said(capsys)[-2:]
    assert (run["event"], run["status"], run["rows_in"]) == ("run", "held", 1)
    assert run["held_because"]
    assert (error["event"], error["exit_code"]) == ("error", 4)
    assert f"--publish-anyway {run['run_id']}" in str(error["message"])
    assert (
        run_command(
            job.CategorizeSettings,
            job.main,
            "categorize",
            [*arguments(half, lake), "--publish-anyway", str(run["run_id"]), *json_lines],
        )
        == 0
    )
    released = said(capsys)[-1]
    assert (released["event"], released["run_id"], released["status"]) == ("run", run["run_id"], "published")


def test_an_error_too(tmp_path: Path, capsys) -> None:
    night = [*arguments(tmp_path / "nothing.parquet", tmp_path / "lake"), "--log-format", "json"]
    capsys.readouterr()
    assert run_command(job.CategorizeSettings, job.main, "categorize", night) == 2
    event = said(capsys)[-1]
    assert (event["event"], event["exit_code"]) == ("error", 2)
    assert str(event["message"]).startswith("Expected a file, folder or table at ")
