"""Checks of an object store before a job works on it: does it answer, and can two drivers both make one commit there?"""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import Any

from pyspark import SparkContext

from lib.errors import CategorizerError, InputError
from lib.redaction import redacted
from lib.spark_errors import store_fault

S3 = ("s3a:", "s3:", "s3n:")
# Only for the check whether a store answers. Later reads and writes are retried for as long as S3A does.
IMPATIENT = {"fs.s3a.attempts.maximum": "1", "fs.s3a.retry.limit": "1", "fs.s3a.connection.establish.timeout": "5s"}
LOG_STORE, LOG_STORE_OF_ALL = "spark.delta.logStore.{scheme}.impl", "spark.delta.logStore.class"
OURS, SINGLE_DRIVER = "catalogcategorizer.ConditionalPutLogStore", "S3SingleDriverLogStore"
CONDITION = "fs.option.create.conditional.overwrite"


def check_answers(place: str, settings: Any) -> None:
    """Refuse a place on S3 that cannot be reached at once, instead of after minutes of S3A's retries. Other places are not checked.

    Args:
        place: an address with its scheme. settings: Hadoop's Configuration.
    Raises:
        InputError: no such bucket, no credentials or wrong ones, no access, or no client for S3.
        CategorizerError: no answer.
    """
    if not place.startswith(S3):
        return
    if "@" in place.partition("://")[2].partition("/")[0]:
        # Hadoop refuses it too, but writes it unchanged into its log.
        raise InputError(
            f"Expected an address of S3 without keys in it, found {redacted(place)}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    jvm: Any = SparkContext._jvm
    asked = jvm.org.apache.hadoop.conf.Configuration(settings)
    for name, value in IMPATIENT.items():
        asked.set(name, value)
    path = jvm.org.apache.hadoop.fs.Path(place)
    if path.toUri().getHost() is None:
        raise InputError(
            f"Expected S3 to let this job work at {redacted(place)}, found a bucket's name that Hadoop's client cannot address; correct it, or "
            f"use a bucket whose name has letters, digits, hyphens and dots alone."
        )
    try:
        # Not the instance that the job works with, which is cached by bucket.
        system = jvm.org.apache.hadoop.fs.FileSystem.newInstance(path.toUri(), asked)
        try:
            system.exists(path)
        finally:
            system.close()
    except Exception as error:  # py4j wraps every Java exception in one type
        raise _refusal(place, str(getattr(error, "java_exception", error))) from None


def _refusal(place: str, text: str) -> CategorizerError:
    fault = store_fault(text)
    if fault is None:
        return InputError(redacted(f"Expected S3 to answer for {place}, found {text.splitlines()[0][:300]}; correct it."))
    kind = CategorizerError if fault.passes else InputError
    return kind(redacted(f"Expected S3 to let this job work at {place}, found {fault.found}; {fault.advice}."))


def lost_commits(spark: Any, uri: str) -> str | None:
    """One sentence if a commit to a table may be silently overwritten by another driver's; None if it cannot be.

    Delta's own log store for S3 allows that, and so does a server that ignores conditions, which this tests.

    Args:
        uri: of the table's folder.
    """
    if not uri.startswith(S3):
        return None
    own = LOG_STORE.format(scheme=uri.partition(":")[0])
    conf = spark._jvm.org.apache.spark.SparkEnv.get().conf()
    store = conf.get(own, conf.get(LOG_STORE_OF_ALL, SINGLE_DRIVER))
    if store.endswith(SINGLE_DRIVER):
        why = f"Delta's {SINGLE_DRIVER} is in use"
    elif store == OURS and not _honours_conditions(spark, uri):
        why = "the server ignores If-None-Match"
    else:
        return None
    return (
        f"one of two runs that commit at the same time may be lost from {redacted(uri)}, since {why}: start one job at a time on a table "
        f"there, or see docs/cluster.md, On S3"
    )


def _honours_conditions(spark: Any, uri: str) -> bool:
    """Whether the server refuses the second of two puts that may only create an object; true also if that cannot be tested."""
    jvm, settings = spark._jvm, spark.sparkContext._jsc.hadoopConfiguration()
    path = jvm.org.apache.hadoop.fs.Path(f"{uri.rstrip('/')}_asked-{uuid.uuid4().hex}")
    system = path.getFileSystem(settings)
    try:
        for _ in range(2):
            system.createFile(path).overwrite(False).must(CONDITION, "true").build().close()
    except Exception:  # refused; the job's own writes will report any other error
        return True
    finally:
        # A bucket's policy may forbid it. An empty object stays, and the job goes on.
        with suppress(Exception):
            system.delete(path, False)
    return False
