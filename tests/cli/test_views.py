"""`views` in a persistent catalogue: Hive's metastore, in the database that Spark ships."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CONFIGURATION, FOR_FEW_ROWS, FOR_ONE_NIGHT, FROM_ARCHIVE, ON_ONE_MACHINE, ROOT
from tests.faults.nights import FIRST, arguments, write_source

# One session for all, since Derby allows one in a process.
NIGHT = """
import json
import sys

from jobs.categorize import CategorizeSettings
from jobs.categorize import main as categorize
from jobs.views import ViewsSettings
from jobs.views import main as views
from lib.command import run_command
from lib.session import spark_session
from pyspark.sql import SparkSession

SparkSession.stop = lambda self: None
assert run_command(CategorizeSettings, categorize, "categorize", sys.argv[1:]) == 0
assert run_command(ViewsSettings, views, "views", ["--target", "default.goods"]) == 0
with spark_session("reader") as spark:
    rows = spark.sql("SELECT product_id, category = model_category AS same FROM goods_products").collect()
    there = [row["viewName"] for row in spark.sql("SHOW VIEWS").collect()]
    print(json.dumps({"rows": sorted(map(list, rows)), "views": sorted(there)}))
"""

ONE_JOB = """
import sys

from jobs.categorize import CategorizeSettings, main
from lib.command import run_command

sys.exit(run_command(CategorizeSettings, main, "categorize", sys.argv[1:]))
"""


def submitted(folder: Path, script: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A script under Spark with Hive's catalogue, in `folder`."""
    (folder / "night.py").write_text(script)
    settings = {**FOR_FEW_ROWS, **FOR_ONE_NIGHT, "spark.sql.catalogImplementation": "hive", "spark.ui.enabled": "false", **more}
    conf = [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]
    return subprocess.run(
        [Path(sys.executable).parent / "spark-submit", *CONFIGURATION, *conf, "night.py", *words],
        cwd=folder,
        env={**os.environ, **ON_ONE_MACHINE, **FROM_ARCHIVE, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def test_views_in_hives_metastore(tmp_path: Path) -> None:
    source = write_source(tmp_path / "in.parquet", FIRST)
    place = {
        "spark.sql.warehouse.dir": str(tmp_path / "warehouse"),
        "spark.hadoop.javax.jdo.option.ConnectionURL": f"jdbc:derby:;databaseName={tmp_path}/metastore;create=true",
    }
    done = submitted(tmp_path, NIGHT, *arguments(source, "default.goods"), **place)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    # In the folder for tables that spark-submit was given, and still there when the job has ended.
    assert (tmp_path / "warehouse" / "goods" / "_delta_log").is_dir()
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "rows": [[name, True] for name in FIRST],
        "views": ["goods_category_counts", "goods_confidence_bands", "goods_moved_products", "goods_products"],
    }


@pytest.mark.fault(
    "a name as target, and Hive's catalogue in the folder that the job happens to be started in",
    "exit 2 and a sentence: started elsewhere it would write another table",
    "exit 2 and a sentence, no table",
)
def test_a_catalogue_of_the_working_directory_is_refused(tmp_path: Path) -> None:
    source = write_source(tmp_path / "in.parquet", FIRST)
    done = submitted(tmp_path, ONE_JOB, *arguments(source, "goods"))
    assert done.returncode == 2, done.stdout[-2000:] + done.stderr[-2000:]
    assert f"found Hive's in {tmp_path}/metastore_db, the working directory's own" in done.stdout + done.stderr
    assert not list(tmp_path.glob("spark-warehouse/*"))
