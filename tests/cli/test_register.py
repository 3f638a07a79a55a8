"""Bundles in a real MLflow store, a database file, and their predictions in an environment with the installed package."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import catalog_categorizer as cc
from lib.model.bundle import MANIFEST, load_bundle
from tests.cli.test_install import installed
from tests.conftest import ROOT, SHIPPED

PYTHON = ROOT / "build" / "mlflow" / "bin" / "python"
pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason="MLflow is not in build/mlflow; ./run-tests.sh puts it there, from requirements/mlflow.lock"
)
TEXTS = ["steel kettle", "usb cable for phones", "a detective novel, paperback", "", None]
# The version of a registered model, its run, and its predictions.
SCRIPT = """
import json, sys
import mlflow, pandas as pd
uri, name = sys.argv[1:3]
mlflow.set_tracking_uri(uri)
client = mlflow.MlflowClient()
versions = client.search_model_versions(f"name='{name}'")
version = versions[0]
run = client.get_run(version.run_id)
model = mlflow.pyfunc.load_model(f"models:/{name}/{version.version}")
frame = pd.DataFrame(json.loads(sys.argv[3]))
frame.index += 7
found = model.predict(frame)
json.dump({
    "versions": len(versions), "tags": version.tags, "status": run.info.status, "params": run.data.params, "metrics": run.data.metrics,
    "losses": [point.value for point in client.get_metric_history(run.info.run_id, "epoch/loss")],
    "files": sorted(one.path for one in client.list_artifacts(run.info.run_id, "evaluation")),
    "model": mlflow.artifacts.download_artifacts(f"models:/{name}/{version.version}", dst_path=sys.argv[4]),
    "code": model.metadata.flavors["python_function"]["code"],
    "index": list(found.index), "found": json.loads(found.to_json(orient="records", double_precision=15)),
    "home": __import__("catalog_categorizer").__file__,
}, sys.stdout)
"""


def register(folder: Path, model: Path, *more: str) -> subprocess.CompletedProcess[str]:
    words = [
        str(ROOT / "spark-submit.sh"),
        "register",
        "--model",
        str(model),
        "--mlflow",
        f"sqlite:///{folder}/mlflow.db",
        *more,
    ]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed package; ONNX Runtime scores there."""
    return installed(tmp_path_factory.mktemp("installed"), CC="/bin/false", CXX="/bin/false")


def loaded(folder: Path, name: str, frame: dict[str, Any], site: Path) -> dict[str, Any]:
    """What SCRIPT finds where only the installed package is ours."""
    down = folder / "down"
    down.mkdir(exist_ok=True)
    done = subprocess.run(
        [PYTHON, "-c", SCRIPT, f"sqlite:///{folder}/mlflow.db", name, json.dumps(frame), down],
        cwd=down,
        env={**os.environ, "PYTHONPATH": str(site)},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    assert Path(found["home"]).is_relative_to(site)
    return found


def assert_as_here(found: list[dict[str, Any]], here: pd.DataFrame) -> None:
    for got, own in zip(found, here.to_dict("records"), strict=True):
        assert {name: got[name] for name in ("category", "status", "reason")} == {
            name: own[name] for name in ("category", "status", "reason")
        }
        assert got["confidence"] == (None if pd.isna(own["confidence"]) else pytest.approx(own["confidence"], abs=1e-3))


def test_a_registered_bundle_predicts_as_the_jobs_do(tmp_path: Path, site: Path) -> None:
    first = register(tmp_path, SHIPPED)
    assert first.returncode == 0, first.stdout + first.stderr
    again = register(tmp_path, SHIPPED)
    assert "is version 1 of ecommerce already; nothing to do" in again.stdout
    found = loaded(tmp_path, "ecommerce", {"text": TEXTS, "price": [1, 2, 3, 4, 5]}, site)
    bundle = load_bundle(str(SHIPPED))
    assert (found["versions"], found["status"]) == (1, "FINISHED")
    tags = {"bundle_version": bundle.model_version, "bundle_digest": bundle.digest, "text_columns": "text"}
    assert found["tags"] == tags
    assert found["params"]["training.fit.batch"] == "64"
    assert found["params"]["labels"] == "4"
    assert found["metrics"]["f1_weighted"] == bundle.manifest["metrics"]["f1_weighted"]
    assert "evaluation/confusion_matrix.png" in found["files"]
    curves = json.loads(next(SHIPPED.glob("*/evaluation/learning_curves.json")).read_text())
    assert found["losses"] == curves["loss"]
    assert found["index"] == [7, 8, 9, 10, 11]
    assert_as_here(found["found"], cc.categorize(pd.DataFrame({"text": TEXTS}), cc.load_bundle(SHIPPED), "text"))
    _holds_the_bundle_alone(Path(found["model"]), bundle.manifest["version"])
    assert found["code"] is None


def _holds_the_bundle_alone(model: Path, version: str) -> None:
    """Byte for byte, and next to it the files that MLflow writes: no code, nothing pickled."""
    own = {path.relative_to(SHIPPED / version): path.read_bytes() for path in (SHIPPED / version).rglob("*") if path.is_file()}
    inside = model / "data" / version
    assert {path.relative_to(inside): path.read_bytes() for path in inside.rglob("*") if path.is_file()} == own
    beside = {path.name for path in model.rglob("*") if path.is_file() and not path.is_relative_to(inside)}
    assert beside - {"registered_model_meta"} == {"MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt"}


def test_a_bundle_of_fields_takes_frames_with_other_names(tmp_path: Path, site: Path, with_fields: Path) -> None:
    told = register(tmp_path, with_fields, "--name", "shop model", "--text-columns", "title=product_name,description")
    assert told.returncode == 0, told.stdout + told.stderr
    frame = {"product_name": ["steel kettle", None], "description": ["boils water", "a novel"]}
    found = loaded(tmp_path, "shop model", frame, site)
    columns = {"title": "product_name", "description": "description"}
    assert_as_here(found["found"], cc.categorize(pd.DataFrame(frame), cc.load_bundle(with_fields), columns))
    code, said = refused(register(tmp_path, with_fields, "--text-columns", "name"))
    assert (code, "of the fields title, description" in said) == (2, True), said
    # A title alone is enough.
    alone = loaded(tmp_path, "shop model", {"product_name": ["steel kettle"]}, site)
    assert_as_here(
        alone["found"], cc.categorize(pd.DataFrame({"title": ["steel kettle"]}), cc.load_bundle(with_fields), ["title"])
    )


def test_other_columns_make_another_version(tmp_path: Path, site: Path) -> None:
    for columns, version in (("text", 1), ("title,title", 2)):
        for said in (f"is version {version} of ecommerce at", f"is version {version} of ecommerce already; nothing to do"):
            done = register(tmp_path, SHIPPED, "--text-columns", columns)
            assert said in done.stdout, done.stdout + done.stderr
    found = loaded(tmp_path, "ecommerce", {"title": TEXTS}, site)
    assert found["tags"]["text_columns"] == "title,title"
    assert_as_here(found["found"], cc.categorize(pd.DataFrame({"title": TEXTS}), cc.load_bundle(SHIPPED), ["title", "title"]))


def test_a_name_with_quotes_is_known_again(tmp_path: Path) -> None:
    for said in ("is version 1 of Ann's at", "is version 1 of Ann's already; nothing to do"):
        done = register(tmp_path, SHIPPED, "--name", "Ann's")
        assert said in done.stdout, done.stdout + done.stderr


def refused(done: subprocess.CompletedProcess[str]) -> tuple[int, str]:
    """The exit code, and the only line on stderr."""
    (line,) = done.stderr.splitlines()
    return done.returncode, line


def test_what_cannot_be_registered(tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(SHIPPED, tmp_path / "damaged"))
    manifest = next(damaged.glob(f"*/{MANIFEST}"))
    manifest.write_text(manifest.read_text().replace("Books", "Novels"))
    code, said = refused(register(tmp_path, damaged))
    assert (code, "found it changed" in said) == (3, True)
    for option, value, found in (
        ("--mlflow", "ftp://somewhere", "found ftp://somewhere"),
        ("--mlflow", "mlflow.example.org:5000", "Expected --mlflow as an address of MLflow's"),
        ("--name", "a/b", "found 'a/b'"),
        ("--name", "a'b\"c", "with quotes of one kind at most"),
    ):
        code, said = refused(register(tmp_path, SHIPPED, option, value))
        assert (code, found in said) == (2, True), said
    assert not (tmp_path / "mlflow.db").exists()


def test_a_server_that_is_away(tmp_path: Path) -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{one.getsockname()[1]}"
    words = [str(ROOT / "spark-submit.sh"), "register", "--model", str(SHIPPED), "--mlflow", away]
    environment = {**os.environ, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    code, said = refused(subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True))
    assert (code, said.startswith(f"error: Expected MLflow at {away} to take the bundle, found ")) == (1, True), said


def test_without_mlflow(tmp_path: Path) -> None:
    """With the Python of the jobs, which does not have it."""
    if importlib.util.find_spec("mlflow"):
        pytest.skip("benchmarks/throughput has installed MLflow into this environment")
    words = [sys.executable, str(ROOT / "jobs" / "register.py"), "--model", str(SHIPPED), "--mlflow", "sqlite:///mlflow.db"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    code, said = refused(subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True))
    assert (code, "found no mlflow; start it by ./spark-submit.sh register" in said) == (2, True), said
