"""One home each: what must be in only one place, so that a change is made once."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT

CODE = [
    path for folder in ("catalog_categorizer", "jobs", "lib", "schemas", "training") for path in (ROOT / folder).rglob("*.py")
]


def files_with(pattern: str) -> set[str]:
    return {str(path.relative_to(ROOT)) for path in CODE if re.search(pattern, path.read_text())}


@pytest.mark.parametrize(
    ("pattern", "homes"),
    [
        (r"SparkSession\.builder", {"lib/session.py"}),
        (r"\bStructType\(", {"schemas/tables.py"}),
        (r"\.broadcast\(", {"lib/scoring/udf.py"}),
        (r"\b(arrow|pandas)_udf\(", {"lib/pairs/by_pandas.py", "lib/pairs/offered.py"}),
        (r"pyspark\.__version__|spark\.version\b", {"lib/pairs/supported.py"}),
        (
            r"import keras|import tensorflow",
            {
                "lib/model/engines/keras.py",
                *(
                    f"training/{n}.py"
                    for n in (
                        "bag",
                        "calibration",
                        "contents",
                        "export",
                        "fit",
                        "model",
                        "network",
                        "pictures",
                        "quiet",
                        "workers",
                    )
                ),
            },
        ),
    ],
)
def test_one_home(pattern: str, homes: set[str]) -> None:
    assert files_with(pattern) == homes


def test_nothing_loads_code() -> None:
    assert files_with(r"\bpickle\b|joblib|\bh5py\b|yaml\.load|\beval\(|\bexec\(") == set()


def test_imports_that_setup_writes_anew() -> None:
    """`pip install .` puts these below another name (setup.py), which it can where they are imported in one way."""
    assert files_with(r"(?m)^\s*import (lib|schemas|jobs|training)\b") == set()


def test_the_readme_s_table_has_a_row_of_every_job() -> None:
    table = (ROOT / "README.md").read_text().split("## The jobs\n")[1].split("\n## ")[0]
    listed = set(re.findall(r"^\| `([a-z]+)\b", table, re.MULTILINE))
    assert listed == {path.stem for path in (ROOT / "jobs").glob("*.py")} - {"__init__"}


def test_what_the_locks_pin_agrees() -> None:
    def pins(name: str) -> set[str]:
        text = (ROOT / "requirements" / name).read_text()
        return set(re.findall(r"^[a-z0-9][^ ;]*==[^ ;]+", text, re.MULTILINE))

    run, training, test = (pins(f"{name}.lock") for name in ("run", "training", "test"))
    assert run <= training <= test
    assert not [pin for pin in run if pin.startswith(("tensorflow", "keras"))]
