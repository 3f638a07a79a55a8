"""`pip install .` from a clone: what it puts into other people's environments, and whether it works from another folder."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import catalog_categorizer as cc
from lib.model.native import library_name
from tests.conftest import ROOT, SAMPLES, SHIPPED

COMPILER = shutil.which(os.environ.get("CXX", "c++"))
NEEDED = ("catalog_categorizer", "lib", "schemas", "native", "setup.py", "pyproject.toml")

# Ten rows, in pandas and, in the same process, in Spark, whose workers import the installed package by its name.
SCRIPT = """
import json, sys
import pandas as pd
import catalog_categorizer as cc
model = cc.load_bundle(sys.argv[1])
frame = pd.read_csv(sys.argv[2]).head(10)[["product_id", "title", "description"]]
found = {"engine": model.engine.name, "pandas": cc.categorize(frame, model, ["title", "description"])}
if len(sys.argv) > 3:
    from pyspark.sql import SparkSession
    builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", False)
    spark = builder.config("spark.driver.extraJavaOptions", "-XX:TieredStopAtLevel=1").getOrCreate()
    rows = spark.createDataFrame(list(frame.itertuples(index=False)), list(frame))
    found["spark"] = cc.categorize(rows, model, ["title", "description"]).toPandas()
found["ours"] = sorted(name for name in sys.modules if name.split(".")[0] in ("lib", "schemas", "jobs", "training"))
json.dump({name: one.to_dict("list") if isinstance(one, pd.DataFrame) else one for name, one in found.items()}, sys.stdout)
"""


def installed(folder: Path, **environment: str) -> Path:
    """A folder with the package that pip builds from a clone."""
    clone, site = folder / "clone", folder / "site"
    for name in NEEDED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy(ROOT / name, clone / name)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-build-isolation",
    ]
    subprocess.run([*pip, "--target", site, clone], check=True, env={**os.environ, **environment})
    return site


def ten_rows(site: Path, *more: str) -> dict[str, object]:
    """What SCRIPT finds in its own folder."""
    elsewhere = site.parent / "elsewhere"
    elsewhere.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "SPARK_CONF_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, SHIPPED, SAMPLES / "catalog.csv", *more],
        check=True,
        cwd=elsewhere,
        env={**environment, "PYTHONPATH": str(site), "PYSPARK_PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def assert_as_here(found: dict[str, list[object]]) -> None:
    frame = pd.read_csv(SAMPLES / "catalog.csv").head(10)
    here = cc.categorize(frame, cc.load_bundle(SHIPPED), ["title", "description"])
    for name in ("category", "status", "runner_up"):
        assert found[name] == here[name].tolist()
    for name in ("confidence", "runner_up_confidence", "unfamiliarity"):
        assert found[name] == pytest.approx(here[name].tolist(), abs=1e-3)


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
def test_installed_with_a_compiler(tmp_path: Path) -> None:
    site = installed(tmp_path)
    assert sorted(path.name.split("-")[0] for path in site.iterdir()) == ["catalog_categorizer"] * 2
    assert (site / "catalog_categorizer" / "lib" / library_name()).is_file()
    imports = {name for path in site.rglob("*.py") for name in imported(path)}
    assert not {name for name in imports if name.split(".")[0] in ("lib", "schemas", "jobs", "training")}
    found = ten_rows(site, "spark")
    assert (found["engine"], found["ours"]) == ("native", [])
    assert_as_here(found["pandas"])
    assert_as_here(found["spark"])


def test_installed_without_a_compiler(tmp_path: Path) -> None:
    """ONNX Runtime scores."""
    site = installed(tmp_path, CC="/bin/false", CXX="/bin/false")
    assert not list(site.rglob("*.so"))
    found = ten_rows(site)
    assert (found["engine"], found["ours"]) == ("onnx", [])
    assert_as_here(found["pandas"])


def imported(path: Path) -> list[str]:
    """The modules that a file imports; there are no relative imports."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    named = [name.name for node in nodes if isinstance(node, ast.Import) for name in node.names]
    return named + [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
