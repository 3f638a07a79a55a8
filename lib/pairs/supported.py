"""The versions of Spark and Delta that the jobs run on, and a check of the present ones."""

from __future__ import annotations

import re
from typing import Any

import pyspark
from pyspark.sql import SparkSession

from lib.errors import InputError

# The version of PySpark in this process.
PYSPARK = pyspark.__version__
# Spark's version, and the version of Delta that belongs to it: the tests run on these (scripts/matrix.sh), newest first. Delta's own
# classes make the commits on a version that was read, and they differ from one version to the next.
PAIRS = {"4.1": "4.4", "4.0": "4.0", "3.5": "3.3"}


def line_of(version: str) -> str:
    """The first two numbers of a version, which decide what it offers; the whole text if it does not begin with two numbers."""
    found = re.match(r"\d+\.\d+", version)
    return found[0] if found else version


def check_pair(spark: SparkSession) -> None:
    """As `check_versions`, for a session."""
    check_versions(PYSPARK, str(spark.version), _delta_version(spark))


def check_versions(python: str, jvm: str, delta: str | None) -> None:
    """Refuse versions that the jobs were not tested on, and a PySpark of another version than the Spark that it drives.

    Args:
        python: of PySpark on the driver; jvm: of the Spark that it drives; delta: of Delta in that Spark, None if there is none,
            which fails later if a table is needed.
    Raises:
        InputError: names the supported pairs, and what was found.
    """
    wanted = PAIRS.get(line_of(jvm))
    if line_of(python) == line_of(jvm) and wanted is not None and (delta is None or line_of(delta) == wanted):
        return
    other = "" if line_of(python) == line_of(jvm) else f" under PySpark {python}"
    found = f"Spark {jvm}{other} with {f'Delta {delta}' if delta else 'no Delta'}"
    raise InputError(
        f"Expected {_listed()}, found {found}; choose one of these pairs with CATALOG_SPARK, or install it.",
        see="other-versions",
    )


def _listed() -> str:
    *others, last = [f"Spark {spark} with Delta {delta}" for spark, delta in PAIRS.items()]
    return f"{', '.join(others)} or {last}"


def _delta_version(spark: SparkSession) -> str | None:
    try:
        jvm: Any = spark._jvm
        return str(getattr(getattr(jvm, "io.delta.package$"), "MODULE$").VERSION())
    except Exception:  # py4j's error where there is no such class
        return None
