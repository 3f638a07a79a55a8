"""Nights on S3: two drivers that commit one version of a table, and what is said where the store does not answer as it should."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import WITH_S3
from tests.fault_table import Fault
from tests.faults.nights import FIRST, OTHER, SECOND, Night, arguments, at, hashes_in, ledger, run, titles_hash, write_source
from tests.s3 import LOG_STORE, S3

Told = Callable[[str, str], Fault]
DELTA_S_OWN = "io.delta.storage.S3SingleDriverLogStore"
THIS, OTHER_DRIVER = "this driver", "another driver"
# Product 4 has vanished from this driver's night, and stays.
THIS_LAST, OTHER_LAST = {**OTHER, "4": FIRST["4"], **SECOND}, {**SECOND, **OTHER}
THIS_ALONE, OTHER_ALONE = {"4": FIRST["4"], **SECOND}, {**FIRST, **OTHER}


@contextmanager
def log_store(spark, store: str) -> Iterator[None]:
    """This session commits to tables that it has not seen yet with that log store meanwhile."""
    conf = spark._jvm.org.apache.spark.SparkEnv.get().conf()
    ours = conf.get(LOG_STORE)
    conf.set(LOG_STORE, store)
    try:
        yield
    finally:
        conf.set(LOG_STORE, ours)


class Race:
    """Two drivers before their commits of one version of a table on S3: a night in this process, and another one in its own."""

    def __init__(self, spark, s3: S3, folder: Path, conf: tuple[str, ...] = ()) -> None:
        self.s3, self.lake = s3, f"{s3.uri}/{folder.name}/lake"
        self._source = write_source(folder / "second.parquet", SECOND)
        assert run(write_source(folder / "first.parquet", FIRST), self.lake) == 0
        job = arguments(write_source(folder / "other.parquet", OTHER), self.lake)
        self.other = Night(folder / "night", "publishing", job, conf=(*WITH_S3, *s3.spark_settings(), *conf))
        self.other.wait_for("publishing")
        version = spark.sql(f"DESCRIBE HISTORY delta.`{self.lake}`").agg({"version": "max"}).head()[0] + 1
        self.commit = f"/lake/_delta_log/{version:020d}.json"

    def run(self, first: str, ends: str) -> None:
        """Both commit and end with 0. The put of `first` arrives first, and is held until the other driver's run has ended, or only until
        the other's put is handled, which is answered behind it (`ends`: "run" or "put").
        """
        ours, ended = first == THIS, threading.Event()
        put, handled = self.s3.hold(self.commit), self.s3.hold(self.commit, when="after")
        answer = self.s3.hold(self.commit, nth=2, when="after") if ends == "put" else None

        def let_go() -> None:
            if ours:
                put.wait()
                self.other.go("publishing")
            if answer:
                answer.wait()
            elif ours:
                self.other.process.wait(timeout=300)
            else:
                ended.wait()
            put.release()
            handled.wait()
            handled.release()
            if answer:
                answer.release()

        beside = threading.Thread(target=let_go)

        def reach_commit() -> None:
            if not ours:
                self.other.go("publishing")
                put.wait()
            beside.start()

        with at("publishing", reach_commit):
            assert run(self._source, self.lake) == 0
        ended.set()
        beside.join()
        assert self.other.end() == 0, self.other.said()


@pytest.mark.parametrize("first", [THIS, OTHER_DRIVER])
def test_two_drivers_put_one_version(spark, s3: S3, tmp_path: Path, fault: Told, first: str) -> None:
    told = fault(
        f"S3: two drivers put one version of the table; the put of {first} was sent first and comes second",
        "refused by the store; that driver starts over, and both stand in the table",
    )
    race = Race(spark, s3, tmp_path)
    race.run(first, ends="run")
    assert hashes_in(spark, race.lake) == titles_hash(THIS_LAST if first == THIS else OTHER_LAST)
    assert [status for _, status in ledger(spark, race.lake)] == ["published"] * 3
    told.saw("refused and started over, each id once, both in the ledger")


@pytest.mark.parametrize("first", [THIS, OTHER_DRIVER])
@pytest.mark.parametrize("ends", ["run", "put"])
def test_delta_s_own_log_store(
    spark, s3: S3, tmp_path: Path, fault: Told, capsys, pytestconfig: pytest.Config, first: str, ends: str
) -> None:
    """What the other log store is for. Where the overwritten commit's driver looks for it behind, it is found out."""
    if not pytestconfig.getoption("--cluster"):
        pytest.skip("shows what is warned of, and takes minutes: give --cluster")
    seen = ends == "put"
    told = fault(
        f"S3 with Delta's own log store: two drivers put one version; the put of {first} overwrites the other's, "
        f"{'before' if seen else 'after'} that one has looked whether it stands",
        "the overwritten driver does not find itself and starts over" if seen else "warned of: one commit is lost in silence",
    )
    with log_store(spark, DELTA_S_OWN):
        race = Race(spark, s3, tmp_path, (f"{LOG_STORE}={DELTA_S_OWN}",))
        race.run(first, ends)
        lost = titles_hash(THIS_ALONE if first == THIS else OTHER_ALONE)
        both = titles_hash(OTHER_LAST if first == THIS else THIS_LAST)
        assert hashes_in(spark, race.lake) == (both if seen else lost)
    assert "one of two runs that commit at the same time may be lost" in capsys.readouterr().err
    told.saw("started over, both stand" if seen else "warned; the other's commit lost, both exit 0")
