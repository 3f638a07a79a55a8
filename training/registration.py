"""Registers a bundle in MLflow: a run with the inputs and results of its training, and the bundle itself as a version of a registered model.

MLflow is imported only here, and only when a bundle is registered.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from lib.errors import CategorizerError, InputError
from lib.failpoints import reached
from lib.model.bundle import Bundle, read_evidence
from lib.model.fields import columns_and_markers
from lib.redaction import redacted
from lib.settings import Names
from training.versions import close_runs, marks_of, versions_of, withdraw

# The module that MLflow imports to load the model. It is named, not imported: it belongs to the package that is installed where the model is loaded.
LOADER, PACKAGE = "catalog_categorizer.pyfunc", "catalog-categorizer"
ADDED = {
    **dict.fromkeys(("category", "runner_up", "status", "reason"), "string"),
    **dict.fromkeys(("confidence", "runner_up_confidence", "unfamiliarity"), "double"),
}
# MLflow refuses longer values; the longest ones of a bundle are lists.
LONGEST_VALUE, MOST_AT_ONCE = 500, 100
# What MLflow reports for an address that it does not support, such as a host without a scheme, which it takes for a folder.
NO_ADDRESS = ("unsupported URI", "filesystem tracking backend")
METRICS, CURVES = "evaluation/metrics.json", "evaluation/learning_curves.json"


@dataclass(frozen=True)
class Registry:
    """The destination: the address of the store or server, an experiment, the name of a registered model."""

    uri: str
    experiment: str
    name: str


@dataclass(frozen=True)
class Registered:
    """version: that of the registered model. run_id: None where another job registered the bundle, before or at the same time.

    copies: other versions with the same bundle, which should not be there. closed: runs that an interrupted job had left RUNNING.
    """

    version: str
    run_id: str | None
    copies: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()


def register(bundle: Bundle, folder: Path, text_columns: Names, to: Registry) -> Registered:
    """Log a run and register the bundle, unless a version of the model is this bundle with these columns already.

    Args:
        bundle: the verified bundle of `folder`.
        text_columns: those that frames will have, or FIELD=COLUMN.
    Raises:
        InputError: text columns that are not fields, an address that MLflow does not accept, or no MLflow.
        CategorizerError: the store or the server does not answer, or refuses.
    """
    columns, _ = columns_and_markers(text_columns, bundle.tokenizer.settings.fields)
    mlflow, marks = _mlflow(), marks_of(bundle, text_columns)
    with _in_one_sentence(to.uri):
        mlflow.set_tracking_uri(to.uri)
        client = mlflow.MlflowClient()
        run_id, copies = None, versions_of(client, to.name, marks)
        if not copies:
            # By its id: MLflow leaves it inactive if another job creates it at the same moment.
            experiment = mlflow.set_experiment(to.experiment).experiment_id
            with mlflow.start_run(experiment_id=experiment, run_name=bundle.model_version, tags=marks) as run:
                _log(client, run.info.run_id, bundle, folder)
                logged = _log_model(mlflow, bundle, folder, text_columns, columns)
                reached("logged")
                # Its messages are not errors.
                with redirect_stderr(sys.stdout):
                    made = mlflow.register_model(logged.model_uri, to.name, tags=marks)
                reached("registered")
            run_id, copies = _kept(client, made, run.info.run_id, logged.model_id, versions_of(client, to.name, marks))
        first = copies[0]
        closed = close_runs(client, to.experiment, marks, first.run_id)
        return Registered(str(first.version), run_id, tuple(str(one.version) for one in copies[1:]), closed)


def _kept(client: Any, made: Any, run_id: str, model_id: str, found: list[Any]) -> tuple[str | None, list[Any]]:
    """The run, if this job was the first to register the bundle, and the versions that stay."""
    first = found[0] if found else made
    if int(made.version) <= int(first.version):
        # Larger numbers belong to jobs that are about to withdraw them.
        return run_id, [made]
    return None, [first] if withdraw(client, made, run_id, model_id) else [first, made]


def _log_model(mlflow: ModuleType, bundle: Bundle, folder: Path, text_columns: Names, columns: Names) -> Any:
    return mlflow.pyfunc.log_model(
        name="model",
        loader_module=LOADER,
        data_path=str(folder),
        pip_requirements=[PACKAGE],
        signature=_signature(bundle, columns),
        model_config={"text_columns": list(text_columns)},
    )


def _mlflow() -> ModuleType:
    # Send no telemetry to its makers, and do not try for minutes to reach a server that is down.
    for name, value in {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}.items():
        os.environ.setdefault(name, value)
    try:
        import mlflow
        import mlflow.pyfunc
    except ImportError as error:
        raise InputError(
            f"Expected MLflow installed for the job, found no {error.name}; start it by ./spark-submit.sh register, which installs "
            "requirements/mlflow.lock into build/mlflow."
        ) from None
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    return mlflow


@contextmanager
def _in_one_sentence(uri: str) -> Iterator[None]:
    """Turn errors of MLflow, or of the packages it is built on, into one sentence."""
    try:
        yield
    except CategorizerError:
        raise
    except Exception as error:
        said = redacted(" ".join(str(error).split()))[:300]
        if isinstance(error, ModuleNotFoundError):
            raise InputError(
                f"Expected what MLflow needs for {redacted(uri)} to be installed, found no {error.name}; add it by build/mlflow/bin/pip install."
            ) from error
        if "UnsupportedModelRegistryStoreURI" in type(error).__name__ or any(mark in said for mark in NO_ADDRESS):
            raise InputError(
                f"Expected --mlflow as an address of MLflow's, such as http://host:5000 or sqlite:///mlflow.db, found {redacted(uri)}; correct it."
            ) from error
        if getattr(error, "error_code", None) == "INVALID_PARAMETER_VALUE":
            raise InputError(
                f"Expected names that MLflow takes, found that it does not ({said}); correct --experiment or --name."
            ) from error
        raise CategorizerError(
            f"Expected MLflow at {redacted(uri)} to take the bundle, found {type(error).__name__}: {said}; fix that and run again: "
            "the bundle is as it was."
        ) from error


def _log(client: Any, run_id: str, bundle: Bundle, folder: Path) -> None:
    from mlflow.entities import Metric, Param

    if (folder / "evaluation").is_dir():
        client.log_artifacts(run_id, str(folder / "evaluation"), "evaluation")
    if (folder / "README.md").is_file():
        client.log_artifact(run_id, str(folder / "README.md"))
    values = sorted(parameters(bundle.manifest).items())
    for first in range(0, len(values), MOST_AT_ONCE):
        client.log_batch(run_id, params=[Param(*pair) for pair in values[first : first + MOST_AT_ONCE]])
    points = [(name, value, 0) for name, value in figures(_evidence(folder, METRICS)).items()]
    for name, by_epoch in _evidence(folder, CURVES).items():
        points += [(f"epoch/{name}", value, epoch) for epoch, value in enumerate(by_epoch, 1)]
    for first in range(0, len(points), MOST_AT_ONCE):
        several = points[first : first + MOST_AT_ONCE]
        client.log_batch(run_id, metrics=[Metric(name, float(value), 0, step) for name, value, step in several])


def _evidence(folder: Path, name: str) -> dict[str, Any]:
    content = read_evidence(str(folder), name)
    return json.loads(content) if content else {}


def parameters(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The inputs of the training, by dotted names; lists and texts are cut to what MLflow accepts."""
    parts = {
        name: manifest[name] for name in ("training", "text", "thresholds", "libraries", "vocabulary_size") if name in manifest
    }
    flat = dict(_flat({**parts, "labels": len(manifest["labels"]), "data": _data(manifest)}, ""))
    return {_plain(name): str(value)[:LONGEST_VALUE] for name, value in flat.items()}


def _data(manifest: Mapping[str, Any]) -> dict[str, Any]:
    data = manifest.get("data", {})
    return {name: data[name] for name in ("note", "fingerprint", "rows_read", "rows") if name in data}


def figures(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The single numbers of evaluation/metrics.json, those of the simpler models, and mean and spread over the folds."""
    numbers = {
        name: value for name, value in metrics.items() if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    numbers |= _flat({"comparison": metrics.get("comparison", {})}, "")
    # Null without folds.
    folds = (metrics.get("cross_validation") or {}).get("models", {})
    numbers |= {f"folds.{model}.{name}": of[name] for model, of in folds.items() for name in ("mean", "spread") if name in of}
    return {_plain(name): float(value) for name, value in numbers.items() if isinstance(value, (int, float))}


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _flat(one, f"{name}.{key}" if name else str(key))
    elif value is not None:
        yield name, value


def _plain(name: str) -> str:
    """A name with only the characters that MLflow accepts."""
    return re.sub(r"[^\w.\-/ ]+", "_", name)[:250]


def _signature(bundle: Bundle, columns: Names) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    added = [ColSpec(kind, name) for name, kind in ADDED.items()]
    if bundle.tree:
        of_levels = {"category_path": DataType.string, "level_confidence": DataType.double, "published_path": DataType.string}
        added += [ColSpec(Array(kind), name) for name, kind in of_levels.items()]
    # Any of the texts may be missing.
    texts = [ColSpec("string", name, required=False) for name in dict.fromkeys(columns)]
    return ModelSignature(Schema(texts), Schema(added))
