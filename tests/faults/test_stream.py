"""A stream of runs, killed in one of them with a real signal."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fault_table import Fault
from tests.faults.nights import FIRST, SECOND, Night, arguments, hashes_in, ledger, titles_hash, write_source
from tests.waiting import until

BOTH = titles_hash({"4": FIRST["4"], **SECOND})


@pytest.mark.parametrize(("phase", "committed"), [("publishing", False), ("published", True)])
def test_a_stream_killed(
    spark, lake: Path, tmp_path: Path, fault: Callable[[str, str], Fault], phase: str, committed: bool
) -> None:
    told = fault(
        f"`--mode stream`: SIGKILL in a later round, at the phase `{phase}`",
        "the round is in the table completely or not at all; a stream that is started again goes on, each round once in the ledger",
    )
    source = shutil.copy(tmp_path / "first.parquet", tmp_path / "in.parquet")
    job = arguments(source, lake, "--mode", "stream", "--every", "0.2")
    stream = Night(tmp_path / "night", phase, job)
    stream.wait_for(phase)
    stream.go(phase)
    until(lambda: "waiting for changes" in stream.said() or stream.process.poll() is not None, "the end of the first round")
    # So that it stops there once more.
    for marker in (phase, f"{phase}.go"):
        (stream.folder / marker).unlink()
    write_source(source, SECOND)
    stream.wait_for(phase)
    stream.kill()
    assert hashes_in(spark, lake) == (BOTH if committed else titles_hash(FIRST))
    assert len(ledger(spark, lake)) == 2
    again = Night(tmp_path / "again", "", job)
    until(lambda: "waiting for changes" in again.said() or again.process.poll() is not None, "the end of the first round")
    again.process.terminate()
    until(lambda: not again.processes(), "the end of the stream's processes")
    assert hashes_in(spark, lake) == BOTH
    assert [status for _, status in ledger(spark, lake)] == ["published"] * 3
    told.saw(
        "round whole, ledger row added by the next stream" if committed else "old rows, the next stream published the round"
    )


@pytest.mark.fault(
    "`--mode stream`: SIGTERM or SIGHUP to Spark's JVM between two rounds",
    "exit 1 and a sentence at once, whatever `--every` says; no process is left",
    "exit 1, sentence, no process left",
)
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP])
def test_a_stream_whose_jvm_is_ended(spark, lake: Path, tmp_path: Path, sent: signal.Signals) -> None:
    # The second check, an hour later, would be too late.
    stream = Night(tmp_path / "night", "", arguments(tmp_path / "first.parquet", lake, "--mode", "stream", "--every", "3600"))
    until(lambda: "waiting for changes" in stream.said() or stream.process.poll() is not None, "the end of the first round")
    (jvm,) = stream.processes("java")
    os.kill(jvm, sent)
    assert stream.end() == 1
    until(lambda: not stream.processes(), "the end of the stream's processes")
    assert "error: Expected Spark to run to the end, found it stopped" in stream.said()
    assert hashes_in(spark, lake) == titles_hash(FIRST)
