"""Processes of a run killed with a real signal, at phases that are waited for."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lib.failpoints import HELD_BACK
from tests.conftest import ROOT, SHIPPED
from tests.fault_table import Fault
from tests.faults.nights import (
    FIRST,
    SECOND,
    Night,
    arguments,
    copy_of_first_night,
    hashes_in,
    ledger,
    run,
    titles_hash,
    write_source,
)
from tests.waiting import until

BEFORE_THE_COMMIT = ("planned", "scored", "rejected", "publishing")
BEHIND_IT = ("published", "recording")


@pytest.fixture
def lake(first_night: Path, tmp_path: Path) -> Path:
    """A table with one run; next to it `in.parquet` is the second run's source."""
    write_source(tmp_path / "in.parquet", SECOND, ("5", "a copy"), (None, "no id"))
    return copy_of_first_night(first_night, tmp_path)


def kept(rows: dict[str, str]) -> dict[str, str]:
    """The content of the table after the second run: product 4 has vanished and stays."""
    return titles_hash({"4": FIRST["4"], **rows})


def copy_kept(spark, lake: Path) -> dict[str, str]:
    """Product 5 has two copies; every run keeps the same one."""
    found = hashes_in(spark, lake)
    return {**found, "5": titles_hash(SECOND)["5"]} if "5" in found else found


@pytest.mark.parametrize("phase", [*BEFORE_THE_COMMIT, *BEHIND_IT])
@pytest.mark.parametrize("victim", ["driver", "jvm"])
def test_killed_at_a_phase(
    spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault], victim: str, phase: str
) -> None:
    if victim == "jvm" and phase not in ("scored", "published"):
        pytest.skip("the driver's Python and its JVM die together; two phases show it")
    committed = phase in BEHIND_IT
    what = {"driver": "SIGKILL of the driver", "jvm": "SIGKILL of the driver's JVM"}[victim]
    expected = (
        "the new rows are complete; the rerun only adds the ledger's row"
        if committed
        else "the old rows stay; the rerun publishes the new ones"
    )
    told = fault(f"{what} at the phase `{phase}`", expected)
    night = Night(tmp_path / "night", phase, arguments(tmp_path / "in.parquet", lake))
    night.wait_for(phase)
    if victim == "jvm":
        # Python notices that its JVM is gone as soon as it goes on.
        for pid in night.processes("org.apache.spark.deploy.SparkSubmit"):
            os.kill(pid, signal.SIGKILL)
        night.go(phase)
        code = night.end()
        assert code == 1
        assert "Expected Spark to run to the end" in night.said()
        until(lambda: not night.processes(), "the end of the run's processes")
    else:
        night.kill()
    assert copy_kept(spark, lake) == (kept(SECOND) if committed else titles_hash(FIRST))
    assert len(ledger(spark, lake)) == 1
    assert run(tmp_path / "in.parquet", lake) == 0
    assert copy_kept(spark, lake) == kept(SECOND)
    runs = ledger(spark, lake)
    assert [status for _, status in runs] == ["published", "published"]
    told.saw(
        "new rows complete, ledger row added by the rerun" if committed else "old rows untouched, rerun published the new ones"
    )


@pytest.mark.parametrize("again", [True, False])
def test_killed_while_held_back(
    spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault], capsys: pytest.CaptureFixture[str], again: bool
) -> None:
    then, expected = (
        ("the same run", "the row is added; the run is held under its id, and can be released")
        if again
        else ("another run that is held", "the row is added before the other's; the other is held")
    )
    told = fault(f"SIGKILL of the driver that has held a run back, before its row in the ledger; then {then}", expected)
    strict = ("--guard-from-rows", "1")
    source = write_source(tmp_path / "in.parquet", dict.fromkeys("12345", "detective novel, paperback"))
    night = Night(tmp_path / "night", HELD_BACK, arguments(source, lake, *strict))
    night.wait_for(HELD_BACK)
    night.kill()
    assert len(ledger(spark, lake)) == 1
    if not again:
        write_source(source, dict.fromkeys("12345", "usb cable for phones"))
        # Another version of the table: only what is held tells of the first run.
        spark.sql(f"ALTER TABLE delta.`{lake}` SET TBLPROPERTIES (note = 'ours')")
    assert run(source, lake, *strict) == 4
    (_, *held) = ledger(spark, lake)
    assert [status for _, status in held] == ["held"] * (2 - again)
    if again:
        assert f"the run {held[0][0]}, which was held back since " in capsys.readouterr().err
    assert run("anything", lake, "--publish-anyway", held[-1][0]) == 0
    assert ledger(spark, lake)[-1] == (held[-1][0], "published")
    told.saw("row added, held, then released" if again else "row added, the other held")


def test_killed_before_the_first_night(spark, tmp_path: Path, fault: Callable[[str, str], Fault]) -> None:
    told = fault("SIGKILL of the driver in the first run, tables just created", "empty tables; the rerun publishes")
    source = write_source(tmp_path / "in.parquet", FIRST)
    night = Night(tmp_path / "night", "scored", arguments(source, tmp_path / "lake"))
    night.wait_for("scored")
    night.kill()
    assert hashes_in(spark, tmp_path / "lake") == {}
    assert run(source, tmp_path / "lake") == 0
    assert hashes_in(spark, tmp_path / "lake") == titles_hash(FIRST)
    told.saw("empty tables, rerun published")


def test_a_worker_killed_while_it_scores(spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault]) -> None:
    told = fault("SIGKILL of a Python worker while it scores", "its task is retried; the run is complete, exit 0")
    folder = tmp_path / "night"
    night = Night(folder, "", arguments(tmp_path / "in.parquet", lake), master="local[2,4]", fault=f"hold:{folder}")
    night.wait_for("scoring")
    until(lambda: (folder / "scoring").read_text(), "the worker's process id")
    os.kill(int((folder / "scoring").read_text()), signal.SIGKILL)
    night.go("scoring")
    assert night.end() == 0, night.said()
    assert copy_kept(spark, lake) == kept(SECOND)
    told.saw("task retried, run complete, exit 0")


def test_an_executor_killed_while_it_scores(spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault]) -> None:
    told = fault(
        "SIGKILL of an executor's JVM while it scores", "another executor takes its tasks; the run is complete, exit 0"
    )
    folder = tmp_path / "night"
    job = arguments(tmp_path / "in.parquet", lake)
    night = Night(folder, "", job, master="local-cluster[1,2,1024]", fault=f"hold:{folder}")
    night.wait_for("scoring")
    executors = night.processes("CoarseGrainedExecutorBackend")
    assert executors
    for pid in executors:
        os.kill(pid, signal.SIGKILL)
    night.go("scoring")
    assert night.end() == 0, night.said()
    assert copy_kept(spark, lake) == kept(SECOND)
    told.saw("tasks taken by another executor, run complete, exit 0")


def test_a_worker_that_hangs(spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault]) -> None:
    told = fault("a Python worker that hangs", "killed after the time-out, its task retried; exit 0")
    folder = tmp_path / "night"
    job = arguments(tmp_path / "in.parquet", lake)
    soon = ("spark.sql.execution.pyspark.udf.idleTimeoutSeconds=3",)
    night = Night(folder, "", job, master="local[2,4]", fault=f"hang:{folder}", conf=soon)
    assert night.end() == 0, night.said()
    assert (folder / "scoring").exists()
    assert copy_kept(spark, lake) == kept(SECOND)
    told.saw("killed after the time-out, retried, exit 0")


def test_terminated(spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault]) -> None:
    told = fault("SIGTERM of spark-submit while it scores", "exit 143; the old rows stay; the rerun publishes the new ones")
    folder = tmp_path / "night"
    folder.mkdir()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYSPARK", "SPARK", "PYTHONPATH"))}
    environment = {**inherited, "CATALOG_FAULT": f"hold:{folder}"}
    running = subprocess.Popen(
        [
            str(ROOT / "spark-submit.sh"),
            "--master",
            "local[2]",
            # The script drops PYTHONPATH, as it should; this one reaches only the workers.
            "--conf",
            f"spark.executorEnv.PYTHONPATH={ROOT / 'tests/faults/workers'}:{ROOT}",
            "categorize",
            *arguments(tmp_path / "in.parquet", lake, model=SHIPPED),
        ],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until(lambda: (folder / "scoring").exists() or running.poll() is not None, "the phase scoring")
    running.send_signal(signal.SIGTERM)
    assert running.wait(timeout=120) == 143
    (folder / "scoring.go").touch()
    assert hashes_in(spark, lake) == titles_hash(FIRST)
    assert run(tmp_path / "in.parquet", lake) == 0
    assert copy_kept(spark, lake) == kept(SECOND)
    told.saw("exit 143, old rows untouched, rerun published the new ones")
