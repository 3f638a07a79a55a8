"""Runs on S3: two drivers that commit one version of a table, and the messages if the store does not answer as it should."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from jobs.maintain import MaintainSettings
from jobs.maintain import main as maintain_main
from jobs.rollback import RollbackSettings
from jobs.rollback import main as rollback_main
from lib.command import run_command
from lib.tables.locations import file_system
from lib.tables.stores import lost_commits
from tests.conftest import WITH_S3
from tests.fault_table import Fault
from tests.faults.nights import FIRST, OTHER, SECOND, Night, arguments, at, hashes_in, ledger, run, titles_hash, write_source
from tests.s3 import LOG_STORE, S3, SECRET, put, reach

Told = Callable[[str, str], Fault]
DELTA_S_OWN = "io.delta.storage.S3SingleDriverLogStore"
THIS, OTHER_DRIVER = "this driver", "another driver"
# Product 4 has vanished from this driver's source, and stays.
THIS_LAST, OTHER_LAST = {**OTHER, "4": FIRST["4"], **SECOND}, {**SECOND, **OTHER}
THIS_ALONE, OTHER_ALONE = {"4": FIRST["4"], **SECOND}, {**FIRST, **OTHER}


@contextmanager
def log_store(spark, store: str) -> Iterator[None]:
    """Inside the block this session commits with that log store to tables that it has not seen yet."""
    conf = spark._jvm.org.apache.spark.SparkEnv.get().conf()
    ours = conf.get(LOG_STORE)
    conf.set(LOG_STORE, store)
    try:
        yield
    finally:
        conf.set(LOG_STORE, ours)


class Race:
    """Two drivers before their commits of one version of a table on S3: a run in this process, and another one in its own."""

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
        the other's put is handled, which is answered after it (`ends`: "run" or "put").
        """
        ended = threading.Event()
        put, handled = self.s3.hold(self.commit), self.s3.hold(self.commit, when="after")
        if ends == "put":
            answer = self.s3.hold(self.commit, nth=2, when="after")
            until_then, behind = answer.wait, answer.release
        else:
            until_then, behind = self.other.process.wait if first == THIS else ended.wait, ended.set

        def let_go() -> None:
            if first == THIS:
                put.wait()
                self.other.go("publishing")
            until_then()
            put.release()
            handled.wait()
            handled.release()
            behind()

        beside = threading.Thread(target=let_go)

        def reach_commit() -> None:
            if first == OTHER_DRIVER:
                self.other.go("publishing")
                put.wait()
            beside.start()

        with at("publishing", reach_commit):
            assert run(self._source, self.lake) == 0
        ended.set()
        beside.join()
        assert self.other.end() == 0, self.other.said()


@pytest.mark.parametrize("first", [THIS, OTHER_DRIVER])
def test_two_drivers_put_one_version(spark, s3: S3, request, tmp_path: Path, fault: Told, first: str) -> None:
    if first == OTHER_DRIVER:
        request.getfixturevalue("takes_minutes")
    told = fault(
        f"S3: two drivers put one version of the table; the put of {first} was sent first and comes second",
        "refused by the store; that driver starts over, and both are in the table",
    )
    race = Race(spark, s3, tmp_path)
    race.run(first, ends="run")
    assert hashes_in(spark, race.lake) == titles_hash(THIS_LAST if first == THIS else OTHER_LAST)
    assert [status for _, status in ledger(spark, race.lake)] == ["published"] * 3
    told.saw("refused and started over, each id once, both in the ledger")


@pytest.mark.parametrize("first", [THIS, OTHER_DRIVER])
@pytest.mark.parametrize("ends", ["run", "put"])
def test_delta_s_own_log_store(
    spark, s3: S3, takes_minutes, tmp_path: Path, fault: Told, capsys, first: str, ends: str
) -> None:
    """Why our own log store exists. If the overwritten commit's driver looks for it afterwards, it notices the loss."""
    seen = ends == "put"
    told = fault(
        f"S3 with Delta's own log store: two drivers put one version; the put of {first} overwrites the other's, "
        f"{'before' if seen else 'after'} that one has checked its commit",
        "the overwritten driver does not find itself and starts over" if seen else "warned of: one commit is silently lost",
    )
    with log_store(spark, DELTA_S_OWN):
        race = Race(spark, s3, tmp_path, (f"{LOG_STORE}={DELTA_S_OWN}",))
        race.run(first, ends)
        lost = titles_hash(THIS_ALONE if first == THIS else OTHER_ALONE)
        both = titles_hash(OTHER_LAST if first == THIS else THIS_LAST)
        assert hashes_in(spark, race.lake) == (both if seen else lost)
    assert "one of two runs that commit at the same time may be lost" in capsys.readouterr().out
    told.saw("started over, both are in the table" if seen else "warned; the other's commit lost, both exit 0")


def said_of(capsys) -> str:
    """The one sentence on standard error."""
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert SECRET not in error
    return error


CHAIN = "software.amazon.awssdk.auth.credentials.EnvironmentVariableCredentialsProvider"


@pytest.mark.parametrize(
    ("bucket", "settings", "code", "found", "advice"),
    [
        ("nowhere", {}, 2, "no bucket of that name", "correct the address"),
        ("under_scored", {}, 2, "a bucket's name that Hadoop's client cannot address", "letters, digits, hyphens and dots"),
        ("keyless", {"aws.credentials.provider": CHAIN}, 2, "no credentials", "AWS_ACCESS_KEY_ID"),
        ("down", {"endpoint": "http://127.0.0.1:1"}, 1, "no answer from the server", "fs.s3a.endpoint"),
        ("unknown", {"endpoint": "http://s3.invalid"}, 1, "no answer from the server", "fs.s3a.endpoint"),
    ],
)
def test_a_place_out_of_reach(
    spark, s3: S3, tmp_path: Path, fault: Told, capsys, monkeypatch, bucket: str, settings, code: int, found: str, advice: str
) -> None:
    told = fault(
        f"S3: {found} (bucket `{bucket}`), of the source and of the target", f"exit {code} and a sentence within seconds"
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    reach(spark, {f"fs.s3a.bucket.{bucket}.{name}": value for name, value in settings.items()})
    local = write_source(tmp_path / "first.parquet", FIRST)
    for source, target in ((f"s3a://{bucket}/catalog.parquet", tmp_path / "lake"), (local, f"s3a://{bucket}/lake")):
        started = time.monotonic()
        assert run(source, target) == code
        assert time.monotonic() - started < 60
        error = said_of(capsys)
        assert f"Expected S3 to let this job work at s3a://{bucket}/" in error
        assert found in error
        assert advice in error
    assert [path.name for path in tmp_path.iterdir()] == ["first.parquet"]
    told.saw(f"exit {code} and a sentence, nothing written")


def test_keys_that_the_server_does_not_know(spark, s3: S3, tmp_path: Path, fault: Told, capsys) -> None:
    told = fault(
        "S3: keys that the server does not accept, before a run and while it is at its commit",
        "exit 2, and 1 at the commit, with a sentence each; the table is as it was",
    )
    lake = f"{s3.uri}/{tmp_path.name}/lake"
    source = write_source(tmp_path / "first.parquet", FIRST)
    with s3.keys_checked():
        assert run(source, lake) == 2
    assert "access denied" in said_of(capsys)
    assert run(source, lake) == 0
    with ExitStack() as stack, at("publishing", lambda: stack.enter_context(s3.keys_checked())):
        assert run(write_source(tmp_path / "second.parquet", SECOND), lake) == 1
    assert "the table holds the last complete run" in said_of(capsys)
    assert hashes_in(spark, lake) == titles_hash(FIRST)
    told.saw("exit 2 and 1, a sentence, the table as it was")


def test_a_source_that_is_not_there(spark, s3: S3, tmp_path: Path, capsys) -> None:
    assert run(f"{s3.uri}/{tmp_path.name}/nothing.parquet", tmp_path / "lake") == 2
    assert "nothing.parquet" in said_of(capsys)


def test_the_scheme_of_another_client(spark, s3: S3, tmp_path: Path, capsys) -> None:
    assert run("s3://lake/catalog.parquet", tmp_path / "lake") == 2
    assert "write s3a://" in said_of(capsys)


@pytest.mark.fault(
    "S3: an object of the source is replaced while a run is at the phase `scored`",
    "exit 2 and a sentence; the table is as it was",
    "exit 2 and a sentence, table as it was",
)
def test_a_source_that_changes(spark, s3: S3, takes_minutes, tmp_path: Path, capsys) -> None:
    place = f"{s3.uri}/{tmp_path.name}"
    source = put(spark, write_source(tmp_path / "first.parquet", FIRST), f"{place}/source/part.parquet")
    assert run(f"{place}/source", f"{place}/lake") == 0
    with at("scored", lambda: put(spark, write_source(tmp_path / "other.parquet", OTHER), source)):
        assert run(f"{place}/source", f"{place}/lake", "--mode", "full") == 2
    assert "with other content than when it was listed" in said_of(capsys)
    assert hashes_in(spark, f"{place}/lake") == titles_hash(FIRST)


def test_upkeep_and_going_back(spark, s3: S3, takes_minutes, tmp_path: Path) -> None:
    lake = f"{s3.uri}/{tmp_path.name}/lake"
    assert run(write_source(tmp_path / "first.parquet", FIRST), lake) == 0
    first = ledger(spark, lake)[0][0]
    assert run(write_source(tmp_path / "second.parquet", SECOND), lake) == 0
    assert run_command(MaintainSettings, maintain_main, "maintain", ["--target", lake]) == 0
    assert run_command(RollbackSettings, rollback_main, "rollback", ["--target", lake, "--to", first]) == 0
    assert hashes_in(spark, lake) == titles_hash(FIRST)
    assert [status for _, status in ledger(spark, lake)] == ["published", "published", "rolled back"]


@pytest.mark.fault(
    "S3: a server that ignores `If-None-Match`",
    "jobs that write warn of concurrent runs",
    "one sentence",
)
def test_a_server_without_conditions(spark, s3: S3, tmp_path: Path) -> None:
    lake = f"{s3.uri}/{tmp_path.name}/lake"
    assert lost_commits(spark, lake) is None
    with s3.heedless():
        assert "the server ignores If-None-Match" in str(lost_commits(spark, lake))
    with log_store(spark, DELTA_S_OWN):
        assert "S3SingleDriverLogStore is in use" in str(lost_commits(spark, lake))
    system, folder = file_system(spark, f"{s3.uri}/{tmp_path.name}")
    assert list(system.listStatus(folder)) == []


@pytest.mark.fault(
    "S3: the disk where the driver gathers a commit is full in the middle of it",
    "an error, and no commit; what was gathered is not put",
    "an error, no commit",
)
def test_a_commit_that_is_cut_in_the_middle(spark, s3: S3, tmp_path: Path) -> None:
    system, folder = file_system(spark, f"{s3.uri}/{tmp_path.name}")
    path, settings = spark._jvm.org.apache.hadoop.fs.Path(folder, "commit.json"), spark.sparkContext._jsc.hadoopConfiguration()
    lines = spark._jvm.java.util.Collections.nCopies(20, "x" * 10_000)
    store = spark._jvm.catalogcategorizer.ConditionalPutLogStore(settings)
    jvm = spark._jvm.java.lang.ProcessHandle.current().pid()
    soft, hard = resource.prlimit(jvm, resource.RLIMIT_FSIZE)
    # No file of that process may grow above it.
    resource.prlimit(jvm, resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(Exception, match="File too large"):
            store.write(path, lines.iterator(), False, settings)
    finally:
        resource.prlimit(jvm, resource.RLIMIT_FSIZE, (soft, hard))
    assert not system.exists(path)
    store.write(path, lines.iterator(), False, settings)
    assert system.getFileStatus(path).getLen() == 20 * 10_001


def test_a_bucket_where_nothing_may_be_deleted(spark, s3: S3, tmp_path: Path) -> None:
    """The object that the store was asked about stays, and the job goes on."""
    with s3.without_deletes():
        assert lost_commits(spark, f"{s3.uri}/{tmp_path.name}/lake") is None
    system, folder = file_system(spark, f"{s3.uri}/{tmp_path.name}")
    assert [status.getLen() for status in system.listStatus(folder)] == [0]
