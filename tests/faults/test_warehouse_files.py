"""A reader of the folder sees one complete manifest, whatever dies; and two publishers do no harm to each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lib.failpoints import FILES_PHASES, FILES_UNCOUNTED
from lib.warehouse.files.folder import DATA
from tests.fault_table import Fault
from tests.faults.nights import FIRST, SECOND, Night, at, ledger, run, titles_hash, write_source
from tests.warehouse import manifest_in, publish_to_files, texts_in_files

BOTH = titles_hash({"4": FIRST["4"], **SECOND})
BEHIND = ("listed", "tidied")


@pytest.fixture
def second_night(spark, tmp_path: Path) -> Path:
    """A table of two runs, the first of which is published to `files`."""
    lake = tmp_path / "lake"
    assert run(write_source(tmp_path / "in.parquet", FIRST), lake) == 0
    assert publish_to_files(lake, tmp_path / "files") == 0
    assert run(write_source(tmp_path / "in.parquet", SECOND), lake) == 0
    return lake


def rows_of_newest(folder: Path) -> dict[str, str]:
    """Read by the manifest with the greatest number, all of whose files exist."""
    newest = max((folder / "manifests").glob("[0-9]*.json"))
    return texts_in_files(folder, manifest_of(newest)["entries"])


def manifest_of(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def is_clean(folder: Path) -> None:
    """Only files that two manifests name are there."""
    manifests = [manifest_of(path) for path in (folder / "manifests").iterdir()]
    assert len(manifests) <= 2
    named = {one["path"].split("/")[1] for manifest in manifests for one in manifest["entries"]}
    named |= {one["path"].split("/")[1] for m in manifests if m["changes"] for one in m["changes"]["entries"]}
    assert {path.name for path in (folder / DATA).iterdir()} == named
    assert sorted(path.name for path in folder.iterdir()) == [DATA, "manifest.json", "manifests"]


@pytest.mark.parametrize("phase", FILES_PHASES)
def test_a_publisher_to_files_killed_at_a_phase(
    spark, second_night: Path, tmp_path: Path, fault: Callable[[str, str], Fault], phase: str, capsys
) -> None:
    folder, listed = tmp_path / "files", phase in BEHIND
    told = fault(
        f"SIGKILL of a publisher to files at the phase `{phase}`",
        "the new manifest is there with its files; the rerun has nothing to publish, and tidies up"
        if listed
        else "the old manifest is there with its files; the rerun publishes, and removes incomplete files",
    )
    night = Night(tmp_path / "night", phase, ["--target", str(second_night), "--to", str(folder)], name="publish")
    night.wait_for(phase)
    night.kill()
    assert rows_of_newest(folder) == (BOTH if listed else titles_hash(FIRST))
    # The copy of the newest is replaced afterwards.
    pointed = manifest_in(folder)
    assert texts_in_files(folder, pointed["entries"]) == (BOTH if phase == "tidied" else titles_hash(FIRST))
    assert publish_to_files(second_night, folder, "--verify") == 0
    assert ("nothing to do" in capsys.readouterr().out) is listed
    assert rows_of_newest(folder) == texts_in_files(folder, manifest_in(folder)["entries"]) == BOTH
    assert manifest_in(folder)["run_id"] == ledger(spark, second_night)[-1][0]
    is_clean(folder)
    told.saw("new manifest whole, rerun tidied up" if listed else "old manifest whole, rerun published and cleaned up")


@pytest.mark.fault(
    "another publisher to the same folder ends while one is at the phase `writing`, has written and not counted its files, and at the phase `written`",
    "the one that comes second starts over, and has nothing to do or publishes what is new; no file that a manifest names is removed",
    "started over, newest run in the folder, its files whole",
)
@pytest.mark.parametrize("phase", ["writing", FILES_UNCOUNTED, "written"])
def test_two_publishers_to_one_folder(spark, second_night, tmp_path, capsys, phase) -> None:
    folder = tmp_path / "files"
    with at(phase, lambda: publish_to_files(second_night, folder)):
        assert publish_to_files(second_night, folder, "--verify") == 0
    said = capsys.readouterr().out
    assert "manifest 2" in said
    assert "nothing to do" in said
    assert rows_of_newest(folder) == BOTH
    # And with a run between them.
    third = {**SECOND, "9": "table lamp"}
    fourth = {**third, "9": "desk lamp"}

    def beside() -> None:
        assert publish_to_files(second_night, folder) == 0
        assert run(write_source(tmp_path / "in.parquet", fourth), second_night) == 0

    assert run(write_source(tmp_path / "in.parquet", third), second_night) == 0
    with at(phase, beside):
        assert publish_to_files(second_night, folder, "--verify") == 0
    assert rows_of_newest(folder) == titles_hash({"4": FIRST["4"], **fourth})
    assert manifest_in(folder)["number"] == 4
    is_clean(folder)


@pytest.mark.fault(
    "other publishers put a manifest into the folder before every attempt",
    "exit 1 after three attempts with one sentence; the newest manifest is theirs",
    "exit 1 after three attempts, their manifest whole",
)
def test_others_are_always_faster(spark, second_night, tmp_path, capsys) -> None:
    folder, at_work = tmp_path / "files", [False]

    def faster() -> None:
        # It reaches the phase too.
        if not at_work[0]:
            at_work[0] = True
            assert publish_to_files(second_night, folder, "--reload") == 0
            at_work[0] = False

    with at("written", faster, times=99):
        assert publish_to_files(second_night, folder, "--reload") == 1
    assert "found other runs that have published there 3 times meanwhile; run again" in capsys.readouterr().err
    assert rows_of_newest(folder) == BOTH
