"""Run after run over a source that grows during the day, each of them an incremental run like any other."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NoReturn

from pyspark.sql import SparkSession

from lib.errors import CategorizerError, GuardrailError, InputError, pointer
from lib.redaction import redacted
from lib.scoring.identity import identity_of
from lib.scoring.plan import Inputs, Outcome
from lib.scoring.progress import Told
from lib.scoring.run import categorize
from lib.spark_errors import SPARK_IS_GONE, sentence_of, spark_is_gone
from lib.tables.commits import RESTORED, commits_of, undone_versions
from lib.tables.sources import UNVERSIONED, Source
from lib.tables.target import Tables

# Rounds that may fail one after another: a failure that has not gone away by then, as a delivery under way would, needs a person.
MOST_FAILED = 3
# Between two rounds, seconds between two checks that Spark is still alive.
LOOK = 1.0


def wait_while_alive(spark: SparkSession, seconds: float) -> None:
    """Wait for these seconds, as long as Spark is alive.

    Raises:
        CategorizerError: its JVM or its context has ended, for instance by a signal: the process would wait for nothing.
    """
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, LOOK))
        _check_there(spark)


def _check_there(spark: SparkSession) -> None:
    jsc: Any = spark.sparkContext._jsc
    try:
        ended = jsc.sc().isStopped()
    except Exception:  # a JVM that does not answer has ended
        ended = True
    if ended:
        raise CategorizerError(SPARK_IS_GONE + pointer("no-memory"))


def stream(
    spark: SparkSession,
    resolve: Callable[[], Inputs],
    every: float,
    tell: Callable[[Outcome, Tables], None],
    told: Told,
    wait: Callable[[SparkSession, float], None] = wait_while_alive,
) -> NoReturn:
    """Run `categorize` whenever the source or the model has changed, until the process is ended.

    It needs no checkpoint: the table's own commits record how far it has come, so whenever the process dies the next one continues
    from there.

    Args:
        every: seconds from the end of a round to the next look. tell: receives what each run did.
        wait: waits for that many seconds.
    Raises:
        GuardrailError: a run was held back.
        CategorizerError: Spark has ended.
        Exception: what the first round failed with, or each of MOST_FAILED in a row.
    """
    inputs, seen, failed = None, None, 0

    def resolved() -> Inputs:
        nonlocal inputs
        inputs = resolve()
        _check_versioned(inputs.source)
        return inputs

    while True:
        try:
            now = resolved()
            if seen is None and _is_undone(spark, now):
                told.say(
                    "what a run on this source and model had published was rolled back: nothing to do until one of them changes"
                )
                seen = now.state
            if now.state != seen:
                outcome = categorize(spark, now, told, resolved)
                tell(outcome, now.tables)
                # Those that were used in the end.
                seen = inputs.state if inputs else None
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


def _is_undone(spark: SparkSession, inputs: Inputs) -> bool:
    """Whether the newest change of the table is a rollback that has undone a run with these inputs: the stream may have been started again since."""
    commits = commits_of(spark, inputs.tables.categorized)
    newest = next((commit for commit in commits if commit.changes_rows), None)
    if newest is None or (newest.note or {}).get(RESTORED) is None:
        return False
    identity, undone = identity_of(inputs.source, inputs.bundle, inputs.plan), undone_versions(commits)
    return any(commit.version in undone and (commit.note or {}).get("identity") == identity for commit in commits)


def _check_versioned(source: Source) -> None:
    if source.version == UNVERSIONED:
        raise InputError(
            f"Expected a Delta table or files in --mode stream, which show when they have changed, found the view {source.location.given}; "
            f"give the table that it reads, or run another --mode once a night."
        )
