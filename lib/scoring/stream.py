"""Night after night over a source that comes in over the day, each of them an incremental run like any other."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from pyspark.sql import SparkSession

from lib.command import SPARK_IS_GONE, sentence_of, spark_is_gone
from lib.errors import CategorizerError, GuardrailError, InputError, pointer
from lib.model.bundle import Bundle
from lib.redaction import redacted
from lib.scoring.plan import Outcome, Plan
from lib.scoring.progress import Told
from lib.scoring.run import categorize
from lib.tables.sources import UNVERSIONED, Source
from lib.tables.target import Tables

# Rounds that fail one after the other: what does not pass by then, such as a delivery under way, needs a person.
MOST_FAILED = 3
# Between two rounds, seconds from one look whether Spark is still there to the next.
LOOK = 1.0


@dataclass(frozen=True)
class Inputs:
    """What a round works on, resolved anew for each of them: the newest version of the source, and the model that is current."""

    source: Source
    tables: Tables
    bundle: Bundle
    plan: Plan

    @property
    def state(self) -> tuple[str, str, str]:
        """With the same, and a table that nobody else changes, a round has nothing to do. What others make of the table stays until then."""
        return self.source.version, self.source.reading, self.bundle.digest


def wait_beside(spark: SparkSession, seconds: float) -> None:
    """Pass the seconds, for as long as Spark is there.

    Raises:
        CategorizerError: its JVM or its context has ended, as by a signal: what waits for it would be left behind.
    """
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, LOOK))
        _check_there(spark)


def _check_there(spark: SparkSession) -> None:
    jsc: Any = spark.sparkContext._jsc
    try:
        ended = jsc.sc().isStopped()
    except Exception:  # no answer is one
        ended = True
    if ended:
        raise CategorizerError(SPARK_IS_GONE + pointer("no-memory"))


def stream(
    spark: SparkSession,
    resolve: Callable[[], Inputs],
    every: float,
    tell: Callable[[Outcome, Tables], None],
    told: Told,
    wait: Callable[[SparkSession, float], None] = wait_beside,
) -> NoReturn:
    """Run a night whenever source or model have changed, until the process is ended.

    It needs no checkpoint: how far the table has come stands in its own commits, so whenever the process dies the next one goes on
    from there.

    Args:
        every: seconds from the end of a round to the next look. tell: is given what each night did.
        wait: passes the seconds.
    Raises:
        GuardrailError: a night was held back.
        CategorizerError: Spark has ended.
        Exception: what the first round failed with, or each of MOST_FAILED in a row.
    """
    seen, failed = None, 0
    while True:
        try:
            inputs = resolve()
            _check_versioned(inputs.source)
            if inputs.state != seen:
                outcome = categorize(spark, inputs.source, inputs.tables, inputs.bundle, inputs.plan, told)
                tell(outcome, inputs.tables)
                seen = inputs.state
                told.step("waiting")
            failed = 0
        except GuardrailError:
            raise
        except Exception as error:
            _check_there(spark)
            failed += 1
            if seen is None or failed == MOST_FAILED or spark_is_gone(error):
                raise
            told.say(f"a round failed, the next one is in {every:g} s: {redacted(sentence_of(error, None)[0])}")
        wait(spark, every)


def _check_versioned(source: Source) -> None:
    if source.version == UNVERSIONED:
        raise InputError(
            f"Expected a Delta table or files in --mode stream, which tell when they have changed, found the view {source.location.given}; "
            f"give the table that it reads, or run nights."
        )
