"""Frames of Spark, through the scoring of the nightly run. The only module here that knows Spark."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from functools import cache

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from catalog_categorizer.model import Model
from lib.errors import InputError
from lib.model.evaluation import LabelCount
from lib.scoring.catalogue import hash_of, joined_text
from lib.scoring.categories import with_category
from lib.scoring.evaluation import label_counts
from lib.scoring.udf import with_scores
from lib.settings import Names
from lib.tables.columns import require_text

PACKAGE = __name__.partition(".")[0]
WHERE = "the frame"


def categorized(
    frame: DataFrame, model: Model, columns: Names, markers: Names, added: Sequence[str], share: float | None
) -> DataFrame:
    """The frame with the columns `added` after its own; only a plan, nothing has run."""
    _check(frame)
    require_text(frame, WHERE, columns)
    names = {name.lower() for name in frame.columns}
    if taken := [name for name in added if name in names]:
        raise InputError(
            f"Expected {WHERE} without columns of the names that are added, found {', '.join(taken)}; rename or drop them first."
        )
    text = joined_text(columns, model.bundle.tokenizer.settings.max_characters, markers)
    # The user's columns travel in one, so that none of them is mistaken for one of ours.
    rows = frame.select(F.struct("*").alias("row"), text.alias("text")).withColumn("text_hash", _hash_of_nothing("text"))
    kept = None if "scores" in added else 0
    probable = with_scores(rows, model.bundle, model.engine.name, kept=kept)
    scored = with_category(probable, model.bundle, model.bundle.review_below, share)
    return scored.select("row.*", *added)


def _hash_of_nothing(text: str) -> Column:
    """A hash only for the empty text, since the others are not needed."""
    return F.when(F.col(text) == "", hash_of(F.lit("")))


def counted(frame: DataFrame, model: Model, text_columns: Sequence[str], label_column: str) -> list[LabelCount]:
    """The rows by label, category, status and published levels."""
    _check(frame)
    return label_counts(frame, WHERE, model.bundle, text_columns, [label_column], model.engine.name)


def _check(frame: DataFrame) -> None:
    if type(frame).__module__.startswith("pyspark.sql.connect"):
        raise InputError(
            "Expected a frame of a Spark session in this process or on its cluster, found one of Spark Connect, which broadcasts nothing; "
            "use toPandas(), or the job `categorize`."
        )
    context = frame.sparkSession.sparkContext
    # Nobody can check other machines; and addPyFile may have sent this package there.
    if str(context.master).startswith("local") and not context._python_includes and not _can_import(context.pythonExec):
        raise InputError(
            f"Expected Spark's workers to find the package {PACKAGE}, found that their Python, {context.pythonExec}, does not; install it there, "
            "or set os.environ['PYSPARK_PYTHON'] = sys.executable before the session is made."
        )


@cache
def _can_import(python: str) -> bool:
    """Whether another Python process finds this package: in a notebook it is often not the one that runs the notebook."""
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({PACKAGE!r}) is None)"
    try:
        return subprocess.run([python, "-c", code], check=False, capture_output=True).returncode == 0
    except OSError:
        return False
