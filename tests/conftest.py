"""Fixtures that the tests share: one Spark session, the shipped bundle, and a tiny bundle trained on the samples."""

from __future__ import annotations

import os
import shlex
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from lib.scoring.udf import Clock
    from tests.postgres import Postgres
    from tests.s3 import S3

from tests.cluster_rule import ClusterRule
from tests.fault_table import FaultTable

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
SAMPLES = ROOT / "samples"
SHIPPED = ROOT / "models" / "ecommerce"

# With other processes running, an example may take any time.
settings.register_profile("ours", deadline=None)
settings.load_profile("ours")

# Without it the workers start another Python.
os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
os.environ.setdefault("SPARK_CONF_DIR", str(ROOT / "conf"))
# Workers import the code by path here; the command line tests go through the zip.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


# Hundreds of queries over a few rows: compiling them takes longer than running them.
FOR_FEW_ROWS = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.shuffle.partitions": "2",
    "spark.databricks.delta.snapshotPartitions": "1",
    # Hundreds of tables, none of which is read again: by default the state of all is cached for an hour.
    "spark.databricks.delta.delta.log.cacheSize": "12",
    "spark.databricks.delta.delta.log.cacheRetentionMinutes": "1",
    # By default every small join takes a page of tens of megabytes.
    "spark.buffer.pageSize": "1m",
    # Data of past queries for a web page.
    "spark.sql.ui.retainedExecutions": "2",
    "spark.ui.retainedJobs": "2",
    "spark.ui.retainedStages": "2",
    "spark.ui.retainedTasks": "20",
}
JAVA_OPTIONS = "spark.driver.extraJavaOptions"
CODE_CACHE = "-XX:ReservedCodeCacheSize=256m"
# A JVM for one run: no code runs often enough to be worth compiling well.
FOR_ONE_NIGHT = {JAVA_OPTIONS: f"-XX:TieredStopAtLevel=1 {CODE_CACHE}"}
# The session's JVM runs for many minutes. A run of six rows is mostly planning, and half of it would be planned again on the way; the tests
# that start a process run the plans as users do.
FOR_MANY_NIGHTS = {JAVA_OPTIONS: CODE_CACHE, "spark.sql.adaptive.enabled": "false"}


# As spark-submit.sh starts Spark on one machine, whose own name need not resolve.
ON_ONE_MACHINE = {"SPARK_LOCAL_HOSTNAME": "localhost"}
# As spark-submit.sh starts a JVM (start_from_archive): a third of a cold start is reading classes.
CONFIGURATION: tuple[str, ...] = ()
FROM_ARCHIVE: dict[str, str] = {}
# Both belong to the default Spark (scripts/matrix.sh runs the core tests on others).
BY_DEFAULT = os.environ.get("CATALOG_SPARK", "4.1") == "4.1"
for archive in sorted((ROOT / "build").glob("classes-*.jsa"))[:BY_DEFAULT]:
    CONFIGURATION = ("--properties-file", str(ROOT / "conf" / "spark-defaults.conf"))
    log = f"-Dlog4j2.configurationFile=file:{ROOT}/conf/log4j2.properties"
    FROM_ARCHIVE["SPARK_CONF_DIR"] = str(ROOT / "build" / "no-conf")
    FROM_ARCHIVE["SPARK_SUBMIT_OPTS"] = f'"{log}" "-XX:SharedArchiveFile={archive}" -Xlog:cds*=off'

# What spark-submit.sh adds if a location is on s3a:// (scripts/cluster.sh).
S3_JARS = ",".join(map(str, sorted((ROOT / "build" / "s3").glob("*.jar") if BY_DEFAULT else ())))
STORES = [f"spark.delta.logStore.{scheme}.impl=catalogcategorizer.ConditionalPutLogStore" for scheme in ("s3a", "s3", "s3n")]
WITH_S3 = (f"spark.jars={S3_JARS}", *STORES)

LONGEST = ("test_sequences.py", "test_inputs.py", "test_killed.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--sequences", type=int, default=10, help="random sequences of nights to run")
    parser.addoption("--inputs", type=int, default=70, help="random sources to read")
    parser.addoption("--seed", type=int, default=0, help="the seed of the random sequences and sources")
    parser.addoption(
        "--cluster",
        action="store_true",
        help="run the tests on a real HDFS and YARN too, and the long ones on S3 and a cluster",
    )
    parser.addoption(
        "--deploy", action="store_true", help="also run what is in deploy/, with Airflow, Dagster and other schedulers"
    )
    parser.addoption("--fault-table", metavar="FILE", help="write what the fault tests have seen")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fault(what, expected, seen): the test's row in docs/faults.md (tests/fault_table.py)")
    config.pluginmanager.register(FaultTable(config.getoption("--fault-table")), "fault-table")
    config.pluginmanager.register(ClusterRule(), "cluster-rule")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that two processes end together. Real data is outside the project: its tests say so if it is missing."""
    items.sort(key=lambda item: item.path.name not in LONGEST)
    if not os.environ.get("CATALOG_DATA"):
        for item in items:
            if "real_data" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.skip(reason="CATALOG_DATA does not name a folder with the real data"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    return Path(os.environ["CATALOG_DATA"])


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    from pyspark.sql import SparkSession

    warehouse = tmp_path_factory.mktemp("warehouse")
    # What spark_session finds: one machine, two cores, no web page.
    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", False)
    s3 = [word for setting in WITH_S3 for word in ("--conf", setting)]
    for name, value in {"spark.sql.warehouse.dir": warehouse, **FOR_FEW_ROWS, **FOR_MANY_NIGHTS}.items():
        builder = builder.config(name, value)
    with pytest.MonkeyPatch.context() as patch:
        submit = {"PYSPARK_SUBMIT_ARGS": shlex.join([*CONFIGURATION, *s3, "pyspark-shell"])}
        for name, value in {**ON_ONE_MACHINE, **FROM_ARCHIVE, **submit}.items():
            patch.setenv(name, value)
        builder.getOrCreate()
    from lib.session import spark_session

    with spark_session("tests") as session, pytest.MonkeyPatch.context() as patch:
        # A job stops its session at its end; the tests go on with theirs.
        patch.setattr(SparkSession, "stop", lambda self: None)
        yield session


@pytest.fixture(scope="session")
def first_night(spark: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the table `lake`, those next to it, and the source of its only run, to be copied (copy_of_first_night)."""
    from tests.faults.nights import FIRST, run, write_source

    folder = tmp_path_factory.mktemp("first-night")
    assert run(write_source(folder / "first.parquet", FIRST), folder / "lake") == 0
    return folder


@pytest.fixture
def clocks(spark: object, monkeypatch: pytest.MonkeyPatch) -> list[Clock]:
    """The clocks of the runs in this process, oldest first: they count what was scored."""
    from lib.scoring.udf import Clock

    seen: list[Clock] = []

    def watched(context: object) -> Clock:
        seen.append(Clock(context))
        return seen[-1]

    monkeypatch.setattr("lib.scoring.run.Clock", watched)
    return seen


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The session's own server, started for the first test that needs it."""
    from tests.postgres import server

    yield from server()


@pytest.fixture(scope="session")
def takes_minutes(pytestconfig: pytest.Config) -> None:
    """For a test that runs only with --cluster."""
    if not pytestconfig.getoption("--cluster"):
        pytest.skip("takes minutes: give --cluster")


@pytest.fixture(scope="session")
def s3(spark: object) -> Iterator[S3]:
    """The session's own server, which the session's Spark can reach."""
    from tests.s3 import S3, reach

    started = S3()
    reach(spark, started.settings())  # type: ignore[arg-type]
    yield started
    started.stop()


@pytest.fixture
def database(postgres: Postgres) -> str:
    """The URI of a new database, with a schema `catalog`."""
    return postgres.database(f"test_{uuid.uuid4().hex[:8]}")


@pytest.fixture(scope="session")
def shipped() -> object:
    from lib.model.bundle import load_bundle

    return load_bundle(str(SHIPPED))


@pytest.fixture
def with_fields(tmp_path: Path) -> Path:
    """The shipped bundle, as if it distinguished title and description."""
    from lib.model.bundle import MANIFEST, load_bundle
    from training.publication import write_bundle

    folder = next(SHIPPED.glob(f"*/{MANIFEST}")).parent
    manifest = load_bundle(str(folder)).manifest
    made = tmp_path / "fields"
    made.mkdir()
    files = {name: (folder / name).read_bytes() for name in manifest["files"]}
    write_bundle(made, {**manifest, "text": {**manifest["text"], "fields": ["title", "description"]}}, files)
    return made


@pytest.fixture(scope="session")
def sample_data() -> object:
    """samples/labels.csv as training sees it."""
    import pandas as pd

    from lib.model.text import TextSettings
    from training.dataset import clean

    return clean(pd.read_csv(SAMPLES / "labels.csv"), TextSettings(), "samples/labels.csv")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, sample_data: object) -> Path:
    """A folder of versions with one tiny bundle, trained on the samples."""
    from tests.recipes import tiny_place, tiny_recipe
    from training.training import train

    models = tmp_path_factory.mktemp("models")
    train(sample_data, tiny_recipe(), tiny_place(models), say=lambda line: None)
    return models / "tiny"


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of versions with one tiny bundle whose labels are paths (PARENTS in tests/recipes.py)."""
    import pandas as pd

    from lib.model.text import TextSettings
    from tests.recipes import tiny_place, tiny_recipe, with_paths
    from training.dataset import clean
    from training.training import train

    rows = pd.read_csv(SAMPLES / "labels.csv")
    data = clean(rows.assign(label=with_paths(rows["label"])), TextSettings(), "labels", separator=" > ")
    recipe = tiny_recipe()
    recipe = replace(recipe, review=replace(recipe.review, target_precision=0.8, precision_confidence=0.6))
    models = tmp_path_factory.mktemp("models")
    train(data, recipe, tiny_place(models, name="tree"), say=lambda line: None)
    return models / "tree"
