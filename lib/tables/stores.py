"""What is asked of an object store before a job works on it: does it answer, and can two drivers both make one commit there?"""

from __future__ import annotations

import uuid
from typing import Any

from pyspark import SparkContext

from lib.command import store_fault
from lib.errors import CategorizerError, InputError
from lib.redaction import redacted

S3A, S3 = "s3a:", ("s3a:", "s3:", "s3n:")
# For the one question whether a store answers. What is read and written later is tried for as long as S3A does.
IMPATIENT = {"fs.s3a.attempts.maximum": "1", "fs.s3a.retry.limit": "1", "fs.s3a.connection.establish.timeout": "5s"}
LOG_STORE, LOG_STORE_OF_ALL = "spark.delta.logStore.s3a.impl", "spark.delta.logStore.class"
OURS, SINGLE_DRIVER = "catalogcategorizer.ConditionalPutLogStore", "S3SingleDriverLogStore"
CONDITION = "fs.option.create.conditional.overwrite"


def check_answers(place: str, settings: Any) -> None:
    """Refuse at once a place on S3 that is out of reach, instead of when S3A has tried it for minutes. Other places are let be.

    Args:
        place: an address with its scheme. settings: Hadoop's Configuration.
    Raises:
        InputError: no such bucket, no credentials or wrong ones, no access, or no client for S3.
        CategorizerError: no answer.
    """
    if not place.startswith(S3):
        return
    if "@" in place.partition("://")[2].partition("/")[0]:
        # Hadoop refuses it too, and writes it into its log as it is.
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
        # Not the instance that the job works with, which is kept by its bucket.
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
    """One sentence where a commit to a table may be overwritten by another driver's, without a word to either; None where it cannot.

    Delta's own log store for S3 lets that happen, and so does a server that takes no heed of a condition: it is asked.

    Args:
        uri: of the table's folder.
    """
    if not uri.startswith(S3A):
        return None
    conf = spark._jvm.org.apache.spark.SparkEnv.get().conf()
    store = conf.get(LOG_STORE, conf.get(LOG_STORE_OF_ALL, SINGLE_DRIVER))
    if store.endswith(SINGLE_DRIVER):
        why = f"Delta's {SINGLE_DRIVER} is in use"
    elif store == OURS and not _heeds_conditions(spark, uri):
        why = "the server takes no heed of If-None-Match"
    else:
        return None
    return (
        f"one of two runs that commit at the same time may be lost from {redacted(uri)}, since {why}: start one job at a time on a table "
        f"there, or see docs/cluster.md, On S3"
    )


def _heeds_conditions(spark: Any, uri: str) -> bool:
    """Whether the second of two puts is refused that may only make an object, not replace it; true also where it cannot be asked."""
    jvm, settings = spark._jvm, spark.sparkContext._jsc.hadoopConfiguration()
    path = jvm.org.apache.hadoop.fs.Path(f"{uri.rstrip('/')}_asked-{uuid.uuid4().hex}")
    system = path.getFileSystem(settings)
    try:
        for _ in range(2):
            system.createFile(path).overwrite(False).must(CONDITION, "true").build().close()
    except Exception:  # refused; whatever else is wrong, the job's own writing will tell
        return True
    finally:
        system.delete(path, False)
    return False
