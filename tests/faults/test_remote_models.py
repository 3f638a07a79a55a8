"""Models on S3: a version is whole or no version, and `current` names a whole one, whatever happens to the job that writes it.

The job is `relabel`, which takes seconds; `train` writes in the same way (tests/training/test_remote_training.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from jobs.rollback import RollbackSettings
from jobs.rollback import main as rollback_main
from lib.command import run_command
from lib.errors import BundleError
from lib.failpoints import BUNDLE_PHASES
from lib.model.bundle import CURRENT, SEAL, TOKENIZER
from lib.scoring.bundles import bundle_at, gap_said, move_current_at
from lib.tables.remote import RemoteFolder
from tests.conftest import SHIPPED, WITH_S3
from tests.fault_table import Fault
from tests.faults.models import OLD, chosen, given_to_spark_submit, job, new_version, relabel
from tests.faults.nights import Night, at
from tests.s3 import S3, put
from tests.waiting import until

Told = Callable[[str, str], Fault]


@pytest.fixture
def models(spark, s3: S3, tmp_path: Path) -> Iterator[RemoteFolder]:
    """The shipped model in its own folder of versions on S3."""
    with given_to_spark_submit(spark, s3.spark_settings()):
        yield RemoteFolder(put(spark, SHIPPED, f"{s3.uri}/{tmp_path.name}/models/shop"))


def said_of(capsys) -> str:
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_a_new_version_and_back(models: RemoteFolder, tmp_path: Path, capsys) -> None:
    assert relabel(models, tmp_path) == 0
    new = new_version(models)
    assert f"{models.place}/current names {new} (before: {OLD})" in capsys.readouterr().out
    assert chosen(models) == new
    assert "Media" in bundle_at(f"{models.place}/{new}").labels
    assert gap_said(models.place) is None
    back = ["--model", models.place, "--to", OLD]
    assert run_command(RollbackSettings, rollback_main, "rollback", back) == 0
    assert f"names {OLD} (before: {new})" in capsys.readouterr().out
    assert chosen(models) == OLD
    # What a version is called follows from how it decides.
    assert relabel(models, tmp_path) == 3
    assert "which has these labels already" in said_of(capsys)


@pytest.mark.parametrize("phase", BUNDLE_PHASES)
def test_a_reader_meanwhile(models: RemoteFolder, tmp_path: Path, fault: Told, phase: str) -> None:
    told = fault(
        f"a model on S3: a run reads its bundle while a new version is at the phase `{phase}`",
        "the old version, verified whole; the new one is no bundle before its manifest is there",
    )
    seen = []

    def look() -> None:
        seen.append(chosen(models))
        try:
            bundle_at(f"{models.place}/{new_version(models)}")
        except BundleError:
            seen.append("no bundle")

    with at(phase, look):
        assert relabel(models, tmp_path) == 0
    assert seen == ([OLD] if phase == "completed" else [OLD, "no bundle"])
    assert chosen(models) == new_version(models)
    told.saw("old version read" if phase == "completed" else "old version read, new one refused")


@pytest.mark.parametrize("phase", ["uploaded", "completed"])
def test_a_job_killed(models: RemoteFolder, s3: S3, tmp_path: Path, fault: Told, capsys, monkeypatch, phase: str) -> None:
    told = fault(
        f"a model on S3: SIGKILL of the job at the phase `{phase}` of a new version",
        "`current` names the old version; the rest goes by itself after an hour, or when it is removed"
        if phase == "uploaded"
        else "`current` names the old version; the new one is whole, and can be chosen",
    )
    killed = Night(
        tmp_path / "job", phase, job(models, tmp_path, "Media"), conf=(*WITH_S3, *s3.spark_settings()), name="relabel"
    )
    killed.wait_for(phase)
    killed.kill()
    assert chosen(models) == OLD
    new = new_version(models)
    if phase == "completed":
        assert move_current_at(models.place, new) == OLD
        assert chosen(models) == new
        told.saw("old version chosen, the new one whole")
        return
    assert relabel(models, tmp_path) == 1
    assert "found the same version begun there by another job" in said_of(capsys)
    assert chosen(models) == OLD
    monkeypatch.setattr("training.upload.OLD_SECONDS", -3_600)
    assert relabel(models, tmp_path) == 0
    assert chosen(models) == new
    told.saw("old version chosen; a sentence, then removed and written again")


@pytest.mark.fault(
    "a model on S3: two jobs make the same version, and both find its place free",
    "one writes it; the other ends with 1 and a sentence",
    "one wrote it, exit 1 and a sentence",
)
def test_two_jobs_at_once(models: RemoteFolder, s3: S3, tmp_path: Path, capsys) -> None:
    """The put of the first one's seal is held until the second one has put its own, which is of a later second."""
    ends: dict[str, int] = {}
    held = s3.hold(SEAL)
    first = threading.Thread(target=lambda: ends.update(first=relabel(models, tmp_path)))
    first.start()
    held.wait()
    second = int(time.time())
    until(lambda: int(time.time()) > second, "the next second")

    def let_the_first_go_on() -> None:
        held.release()
        first.join()

    with at("claimed", let_the_first_go_on):
        ends["second"] = relabel(models, tmp_path)
    assert ends == {"first": 1, "second": 0}
    assert "found the same version begun there by another job" in said_of(capsys)
    assert chosen(models) == new_version(models)


@pytest.mark.fault(
    "a model on S3: a file of a new version is changed before it is complete",
    "exit 1 and a sentence; `current` as it was, the place of the version free again, its files kept on this machine",
    "exit 1, sentence, old version chosen, place free, files kept",
)
def test_bytes_that_are_not_those_written(spark, models: RemoteFolder, tmp_path: Path, capsys) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"{}")
    new = []

    def spoil() -> None:
        new.append(new_version(models))
        models.put(f"{new[0]}/{TOKENIZER}", other)

    with at("uploaded", spoil):
        assert relabel(models, tmp_path) == 1
    error = said_of(capsys)
    assert f"Expected {models.place}/{new[0]}/{TOKENIZER} as it was written, found other bytes" in error
    assert chosen(models) == OLD
    assert models.names() == [OLD, CURRENT]
    kept = Path(error.partition("the new bundle is kept in ")[2].partition(",")[0])
    assert bundle_at(str(kept)).manifest["version"] == new[0]


@pytest.mark.fault(
    "a model on S3: the store refuses what a new version is written with",
    "exit 2 and a sentence; `current` as it was",
    "exit 2 and a sentence, old version chosen",
)
def test_a_store_that_refuses(models: RemoteFolder, s3: S3, tmp_path: Path, capsys) -> None:
    with ExitStack() as stack, at("claimed", lambda: stack.enter_context(s3.keys_checked())):
        assert relabel(models, tmp_path) == 2
    assert f"Expected a folder to write bundles into at {models.place}, found credentials that it does not accept" in said_of(
        capsys
    )
    assert chosen(models) == OLD


def test_versions_that_cannot_be_chosen(models: RemoteFolder, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=rf"Expected a version of {models.place}, found 'none'; name one that exists"):
        move_current_at(models.place, "none")
    with pytest.raises(BundleError, match=r"found '\.\./shop'"):
        move_current_at(models.place, "../shop")
    other = tmp_path / "other"
    other.write_bytes(b"{}")
    models.put(f"{OLD}/{TOKENIZER}", other)
    with pytest.raises(BundleError, match=f"Expected SHA-256 .* of {models.place}/{OLD}/{TOKENIZER}"):
        move_current_at(models.place, OLD)
