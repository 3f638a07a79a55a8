"""Register a bundle and its training in MLflow: a run with parameters, metrics and the evaluation's files, and the bundle as a version of a
registered model; starts no Spark.

./spark-submit.sh register --model models/ecommerce --mlflow http://mlflow.example.org:5000
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from lib.command import run_command
from lib.errors import InputError
from lib.model.bundle import load_bundle, resolve_bundle
from lib.redaction import redacted
from lib.settings import BUNDLE, JobSettings, Names, option
from training.registration import Registered, Registry, register


@dataclass(frozen=True)
class RegisterSettings(JobSettings):
    model: str = option(BUNDLE)
    mlflow: str = option("MLflow's tracking server, or its store in a file: http://host:5000, databricks, sqlite:///mlflow.db")
    experiment: str | None = option("MLflow's experiment for the run (default: the bundle's name)", default=None)
    name: str | None = option("name of the registered model (default: the bundle's name)", default=None)
    text_columns: Names = option(
        "text columns of the frames to predict, or FIELD=COLUMN (default: the bundle's fields; of a bundle without fields: text)",
        default=(),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name is not None and (not self.name.strip() or set(self.name) & set("/:")):
            raise InputError(f"Expected --name without / and :, which MLflow does not take, found {self.name!r}; correct it.")
        if set("'\"") <= set(self.name or ""):
            raise InputError(
                f"Expected --name with quotes of one kind at most, as MLflow can be asked for, found {self.name!r}; correct it."
            )


def main(settings: RegisterSettings) -> int:
    s = settings
    bundle = load_bundle(s.model)
    own = bundle.manifest["name"]
    to = Registry(s.mlflow, s.experiment or own, s.name or own)
    columns = s.text_columns or bundle.tokenizer.settings.fields or ("text",)
    made = register(bundle, resolve_bundle(s.model), columns, to)
    _tell_of_others(made, to)
    if made.run_id is None:
        print(f"{bundle.model_version} is version {made.version} of {to.name} already; nothing to do")
        return 0
    print(
        f"{bundle.model_version} is version {made.version} of {to.name} at {redacted(s.mlflow)}, run {made.run_id} of {to.experiment}"
    )
    print(
        f"  mlflow.pyfunc.load_model('models:/{to.name}/{made.version}').predict(frame), where catalog_categorizer is installed"
    )
    return 0


def _tell_of_others(made: Registered, to: Registry) -> None:
    for run in made.closed:
        print(f"run {run} of {to.experiment}, of another register of this bundle, was still open; it is closed as KILLED")
    if made.copies:
        numbers = ", ".join(made.copies)
        print(
            f"{to.name} has the same bundle again, registered at the same time, as version {numbers}; delete that in MLflow if nothing uses it"
        )


if __name__ == "__main__":
    sys.exit(run_command(RegisterSettings, main, "register"))
