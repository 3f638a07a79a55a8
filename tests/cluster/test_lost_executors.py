"""Executors that are lost in the middle of a run, that come late, and copies of tasks that run in parallel: the same table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as F

from tests.cluster.standalone import Standalone
from tests.cluster.test_standalone import started
from tests.conftest import SAMPLES
from tests.fault_table import Fault
from tests.faults.nights import arguments, run
from tests.waiting import until

FILES, ROWS_A_FILE = 48, 2500
COUNTS = [
    "status",
    "rows_in",
    "rows_scored",
    "rows_unchanged",
    "rows_review",
    "rows_unclassifiable",
    "rows_rejected",
]
DECIDED = ["category", "runner_up", "status", "reason", "text_hash"]
# One file a task; and the driver records what became of the tasks.
SETTINGS = {
    "spark.sql.files.maxPartitionBytes": "1m",
    "spark.eventLog.enabled": "true",
    "spark.eventLog.rolling.enabled": "false",
}
SETTINGS |= {"spark.eventLog.compress": "false", "spark.network.timeout": "60s"}


@pytest.fixture(scope="session")
def undisturbed(spark, takes_minutes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a catalogue of 120,000 rows, and `lake`, which a run on one machine has made from it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    titles = pd.read_csv(SAMPLES / "catalog.csv", dtype=str)["title"].fillna("").tolist()
    (folder / "catalog").mkdir()
    for i in range(FILES):
        numbers = range(i * ROWS_A_FILE, (i + 1) * ROWS_A_FILE)
        texts = [f"{titles[n % len(titles)]} {titles[n // len(titles) % len(titles)]}" for n in numbers]
        table = pa.table({"product_id": [f"P{n}" for n in numbers], "title": texts})
        pq.write_table(table, folder / "catalog" / f"{i:02d}.parquet")
    assert run(folder / "catalog", folder / "lake") == 0
    return folder


class OnCluster:
    """A run over that catalogue on the cluster."""

    def __init__(self, cluster: Standalone, undisturbed: Path, folder: Path, settings: dict[str, str]) -> None:
        self.cluster, self.undisturbed, self.lake, self._events = cluster, undisturbed, folder / "lake", folder / "events"
        self._events.mkdir()
        given = {**SETTINGS, "spark.eventLog.dir": f"file://{self._events}", **settings}
        conf = [word for pair in given.items() for word in ("--conf", "=".join(pair))]
        self._night = started(cluster, *conf, "categorize", *arguments(undisturbed / "catalog", self.lake), cwd=folder)

    def once_blocks_are_kept(self) -> int:
        """A worker that stores scored rows while others are still to be scored."""
        until(lambda: self.cluster.worker_with_blocks() is not None or self._night.poll() is not None, "scored rows", 400)
        worker = self.cluster.worker_with_blocks()
        assert worker is not None, self._night.communicate()[0]
        return worker

    def check(self, spark) -> list[dict]:
        """Check that the run equals the undisturbed one, row by row and in its counts. Returns Spark's record of it."""
        said, _ = self._night.communicate(timeout=500)
        assert self._night.returncode == 0, said
        tables = [spark.read.format("delta").load(str(folder)) for folder in (self.lake, self.undisturbed / "lake")]
        one, other = (table.select("product_id", "confidence", F.struct(*DECIDED).alias("decided")) for table in tables)
        both = one.alias("one").join(other.alias("other"), "product_id", "full_outer")
        same = F.col("one.decided").eqNullSafe(F.col("other.decided")) & (
            F.abs(F.coalesce("one.confidence", F.lit(0.0)) - F.coalesce("other.confidence", F.lit(0.0))) <= 1e-4
        )
        assert both.count() == FILES * ROWS_A_FILE
        assert both.filter(~same).count() == 0
        ledgers = [spark.read.format("delta").load(f"{folder}_runs") for folder in (self.lake, self.undisturbed / "lake")]
        found, expected = (ledger.select(*COUNTS).collect() for ledger in ledgers)
        assert found == expected
        assert found[0]["rows_scored"] == FILES * ROWS_A_FILE
        (events,) = self._events.glob("app-*")
        return [json.loads(line) for line in events.read_text().splitlines()]


@pytest.mark.parametrize("what", ["an executor", "a worker with all that it has stored"])
def test_lost_while_it_scores(
    spark, standalone: Standalone, undisturbed: Path, tmp_path: Path, fault: Callable[[str, str], Fault], what: str
) -> None:
    told = fault(
        f"a cluster: SIGKILL of {what} while 120,000 rows are scored, some of which it has scored already",
        "scored again elsewhere; exit 0, the table of an undisturbed run row by row, and its counts",
    )
    night = OnCluster(standalone, undisturbed, tmp_path, {})
    worker = night.once_blocks_are_kept()
    if what == "an executor":
        standalone.kill_executors(worker)
    else:
        standalone.kill_worker(worker)
        # Afterwards the master gives its executor's place to this one.
        standalone.add_worker()
    events = night.check(spark)
    scored_anew = [e for e in events if e["Event"] == "SparkListenerTaskEnd" and e["Task End Reason"]["Reason"] != "Success"]
    assert any(event["Event"] == "SparkListenerExecutorRemoved" for event in events)
    assert scored_anew
    told.saw("exit 0, the same rows and counts")


@pytest.mark.fault(
    "a cluster: speculation, so that tasks run twice, and dynamic allocation, so that executors come late and go",
    "the table of an undisturbed run row by row, and its counts",
    "exit 0, the same rows and counts",
)
def test_copies_of_tasks_and_executors_that_come_late(spark, standalone: Standalone, undisturbed: Path, tmp_path: Path) -> None:
    settings = {"spark.speculation": "true", "spark.speculation.quantile": "0.05", "spark.speculation.multiplier": "0.1"}
    settings |= {"spark.speculation.interval": "20ms", "spark.speculation.minTaskRuntime": "10ms"}
    # Without an executor at first, not even for the check of the executors.
    settings |= {"spark.dynamicAllocation.enabled": "true", "spark.dynamicAllocation.minExecutors": "0"}
    settings |= {"spark.dynamicAllocation.executorIdleTimeout": "2s", "spark.scheduler.minRegisteredResourcesRatio": "0.1"}
    events = OnCluster(standalone, undisturbed, tmp_path, settings).check(spark)
    copies = [e for e in events if e["Event"] == "SparkListenerTaskStart" and e["Task Info"]["Speculative"]]
    executors = [event for event in events if event["Event"] == "SparkListenerExecutorAdded"]
    assert copies
    assert len(executors) >= 2
