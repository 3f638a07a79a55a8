"""What errors of Spark, Delta, Hadoop and S3 mean to the user: one sentence, by their marks in Java's text."""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass
from urllib.parse import unquote

from lib.errors import HEADER_AMONG_ROWS, HEADER_DESPITE_COLUMNS, CategorizerError, InputError, pointer
from lib.redaction import redacted


@dataclass(frozen=True)
class InputFault:
    """An error of Spark for bad input, by its marks, and the parts of the sentence that the user gets instead."""

    marks: tuple[str, ...]
    found: str
    advice: str = "correct the source and run again"


# Marks of a read of a file that is no longer there.
FILES_ARE_GONE = ("FAILED_READ_FILE.FILE_NOT_EXIST", "FileNotFoundException", "DELTA_FILE_NOT_FOUND")
# The first match wins.
INPUT_FAULTS = (
    InputFault(
        (HEADER_AMONG_ROWS,),
        "Expected one header, at the top of each CSV file, found another one among the rows",
        "take it out, or deliver the files one by one",
    ),
    InputFault(
        (HEADER_DESPITE_COLUMNS,),
        "Expected CSV without a header where --columns names the columns, found a header",
        "leave out --columns, or take the header out",
    ),
    InputFault(
        ("MALFORMED_CSV_RECORD", "TextParsingException"),
        "Expected CSV with as many fields in each row as the header has and each quote inside a quoted text doubled, found a row that is not",
    ),
    InputFault(
        ("MALFORMED_RECORD_IN_PARSING", "JsonParseException", "INVALID_JSON_RECORD_TYPE"),
        "Expected one JSON object a line, found a line that is none",
    ),
    InputFault(
        (
            "CANNOT_READ_FILE_FOOTER",
            "is not a Parquet file",
            "CANNOT_READ_FOOTER",
            "FAILED_READ_FILE.CANNOT_READ",
            "readParquetFooters",
        ),
        "Expected Parquet files, found one that is damaged or is none",
    ),
    InputFault(
        FILES_ARE_GONE,
        "Expected the source's files to stay in place during the run, found one missing",
    ),
    InputFault(
        (
            "CANNOT_MERGE_SCHEMAS",
            "FAILED_READ_FILE.PARQUET_COLUMN_DATA_TYPE_MISMATCH",
            "SchemaColumnConvertNotSupportedException",
        ),
        "Expected all files of the source to have one schema, found files that differ",
    ),
    InputFault(
        ("FAILED_READ_FILE.NO_HINT", "ChecksumException"),
        "Expected files that can be read to their end, found one that is damaged, or whose disk is",
    ),
)

DENIED = "Permission denied"
# Marks of errors of the machine where a run cannot write. They come wrapped in errors that look like errors in the input.
OUTPUT_FAULTS = (
    (
        "No space left on device",
        "Expected room to write, found the disk full (that of the output, or of Spark's scratch space)",
    ),
    ("Disk quota exceeded", "Expected room to write, found the disk quota used up"),
    ("QuotaExceededException", "Expected room to write, found the quota of the target's folder on HDFS used up"),
    ("Name node is in safe mode", "Expected a target that can be written, found HDFS in safe mode"),
    ("Read-only file system", "Expected a target that can be written, found its file system read-only"),
    (DENIED, "Expected files that this user may read and write, found permission denied"),
)
# What is denied, as Java, HDFS and Python name it.
DENIED_AT = re.compile(
    rf"""FileNotFoundException: ([^\n]+?) \({DENIED}\)|{DENIED}: [^\n]*?inode="([^"\n]+)"|{DENIED}: '([^'\n]+)'"""
)

NO_FOLDER = re.compile(r"Mkdirs failed to create (.+?) \(|Parent path is not a directory: (\S+)")


@dataclass(frozen=True)
class StoreFault:
    """An error of S3. found, advice: parts of a sentence. passes: the next run may succeed although nobody corrects anything."""

    marks: tuple[str, ...]
    found: str
    advice: str
    passes: bool = False


# The first match wins: S3 reports missing keys as denied access too.
STORE_FAULTS = (
    StoreFault(
        ("S3AFileSystem not found",),
        "no client for S3",
        "start the job with ./spark-submit.sh, which adds one if the command names a place on s3a://; if only the ledger or the metastore does, "
        "add --conf spark.catalog-categorizer.s3=s3a:// before the job's name",
    ),
    StoreFault(('No FileSystem for scheme "s3"', 'No FileSystem for scheme "s3n"'), "no client of that name", "write s3a://"),
    StoreFault(("NoSuchBucket", "UnknownStoreException"), "no bucket of that name", "correct the address, or fs.s3a.endpoint"),
    StoreFault(
        ("NoAuthWithAWSException", "Unable to load credentials", "No AWS Credentials"),
        "no credentials",
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name who provides them in spark.hadoop.fs.s3a.aws.credentials.provider",
    ),
    StoreFault(
        ("AuthorizationHeaderMalformed", "AWSRedirectException", "PermanentRedirect", "IllegalLocationConstraint"),
        "the bucket in another region",
        "set spark.hadoop.fs.s3a.endpoint.region",
    ),
    StoreFault(
        ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "RequestTimeTooSkewed"),
        "credentials that it does not accept",
        "correct them, or this machine's clock",
    ),
    StoreFault(
        ("Service: S3, Status Code: 403", "s3.model.S3Exception: Access Denied"),
        "access denied",
        "correct the credentials, or what they may do with the bucket",
    ),
    StoreFault(
        (
            "Unable to execute HTTP request",
            "UnknownHostException",
            "ConnectTimeoutException",
            "NoRouteToHostException",
            "AWSApiCallTimeoutException",
        ),
        "no answer from the server",
        "correct fs.s3a.endpoint, or run again when it is up",
        passes=True,
    ),
)


def store_fault(text: str) -> StoreFault | None:
    """What is wrong with a store on S3, from Java's error text; None if the error has another cause."""
    if not any(name in text for name in ("s3a", "Service: S3", 'scheme "s3')):
        return None
    return next((fault for fault in STORE_FAULTS if any(mark in text for mark in fault.marks)), None)


# Hadoop's error for a file that does not match its .crc file.
CHECKSUM = "ChecksumException"
DAMAGED_LOG = "Expected the log of each Delta table whole, found one with a commit missing or damaged; restore its folder from a copy{said}."
# Errors by which Delta refuses rows because somebody has altered the table.
TABLE_FAULTS = {
    "DELTA_CANNOT_MODIFY_APPEND_ONLY": "Expected a table whose rows may change, found it append-only; unset its property delta.appendOnly{said}; "
    "the table holds the last complete run.",
    "DELTA_VIOLATE_CONSTRAINT_WITH_VALUES": "Expected rows that meet every constraint of the table, found one that does not; drop a "
    "constraint that is not the job's, or correct the source{said}; the table holds the last complete run.",
    "DELTA_NOT_NULL_CONSTRAINT_VIOLATED": "Expected a value in every column that the table declares NOT NULL, found a row without one; "
    "correct the source, or the table{said}; the table holds the last complete run.",
    **dict.fromkeys(
        (
            "DELTA_VERSIONS_NOT_CONTIGUOUS",
            "DELTA_TRUNCATED_TRANSACTION_LOG",
            "DELTA_LOG_FILE_NOT_FOUND",
            "DELTA_STATE_RECOVER_ERROR",
            "Could not find any delta files",
            CHECKSUM,
        ),
        DAMAGED_LOG,
    ),
}

SPARK_IS_GONE = (
    "Expected Spark to run to the end, found it stopped (by a signal, by the cluster, or out of memory); "
    "the table holds the last complete run, run again."
)
# Spark's errors where its context was stopped during a run, for example by `yarn application -kill` or a signal to its JVM.
STOPPED = ("SparkContext was shut down", "stopped SparkContext", "No active or default Spark session found")


def sentence_of(error: Exception, target: str | None) -> tuple[str, int]:
    """The sentence for the user about any error, and the exit code. target: the table that the job writes, if any."""
    if isinstance(error, CategorizerError):
        return str(error), error.exit_code
    fault = output_fault(error, target) or refused_by_table(error) or table_fault(error, target)
    if fault:
        return fault, 1
    fault = place_fault(error) or input_fault(error)
    if fault:
        return fault, InputError.exit_code
    if spark_is_gone(error):
        return SPARK_IS_GONE + pointer("no-memory"), 1
    return f"{_first_line(error)} (run again with --debug for the stack trace).", 1


def output_fault(error: Exception, target: str | None) -> str | None:
    """One sentence if the run could not write; None for other errors. target: the table that the job writes, if any."""
    # The row follows this mark, and its text must not be searched.
    text = str(error).split("Malformed CSV record: ")[0]
    holds = "the table holds the last complete run: " if target else ""
    for mark, sentence in OUTPUT_FAULTS:
        if mark in text:
            found = DENIED_AT.search(text) if mark == DENIED else None
            where = f" for {next(filter(None, found.groups()))}" if found else ""
            return f"{sentence}{where}; {holds}remove the cause and run again."
    fault = store_fault(text)
    if fault is None:
        return None
    return f"Expected S3 to serve the job, found {fault.found}; {holds}{fault.advice}."


def place_fault(error: Exception) -> str | None:
    """One sentence if Hadoop could not create a folder; None for other errors. Hadoop does not report why."""
    found = NO_FOLDER.search(str(error))
    return found and (
        f"Expected a place where folders can be created, found none at {found[1] or found[2]}; let this user write there, or choose another."
    )


def input_fault(error: Exception) -> str | None:
    """One sentence for an error of Spark that the input caused; None for other errors."""
    text = str(error)
    for fault in INPUT_FAULTS:
        if any(mark in text for mark in fault.marks):
            where = _file_in(text)
            return f"{fault.found}{f' in {where}' if where else ''}; {fault.advice}."
    return None


def refused_by_table(error: Exception) -> str | None:
    """One sentence, with Delta's own words, if Delta refuses the rows or cannot read its log; None for other errors."""
    text = str(error)
    for mark, sentence in TABLE_FAULTS.items():
        if mark in text and (mark != CHECKSUM or "/_delta_log/" in text):
            said = text.split(mark, 1)[1].split("\n")[0].split(", use 'ALTER")[0].strip(" :.[]")
            return sentence.format(said=f" (Delta says: {redacted(said)[:300]})" if said else "")
    return None


def table_fault(error: Exception, target: str | None) -> str | None:
    """One sentence if what looks like an error in the input is about files of the target or of a table next to it; None otherwise."""
    where = _file_in(str(error))
    if not target or not where or not input_fault(error):
        return None
    path, place = _without_scheme(target).rstrip("/"), _without_scheme(unquote(where))
    # Links and dots are followed only in a path that Hadoop looks for on this machine.
    if target.startswith("file:") or path == target.rstrip("/"):
        path = os.path.realpath(path)
    if not any(place.startswith(f"{path}{suffix}/") for suffix in ("", "_rejected", "_runs", "_held")):
        return None
    return (
        f"Expected the files of the table {target}, and of those next to it, whole and in place, found {where} missing or damaged; restore the "
        f"folder from a copy, or give the next run another --target."
    )


def _without_scheme(uri: str) -> str:
    """The path without scheme and authority, which can be written in several ways."""
    return re.sub(r"^[a-z0-9]+:(//[^/]*)?(?=/)", "", uri)


def spark_is_gone(error: Exception) -> bool:
    """Whether an error means that no job can go on in this process: its JVM or its session has ended.

    py4j raises its network error if the JVM does not answer, or a plain Py4JError without anything from Java.
    """
    kind, text = type(error).__name__, str(error)
    if kind in ("Py4JNetworkError", "ConnectionRefusedError") or (kind == "Py4JError" and "Trace:" not in text):
        return True
    return any(mark in text for mark in STOPPED)


def _file_in(text: str) -> str | None:
    if "Checksum error: " in text:
        return re.sub(r" at \d+ exp: .*", "", text.split("Checksum error: ", 1)[1].split("\n")[0])[:300]
    headers = (f"{mark} in " for mark in (HEADER_AMONG_ROWS, HEADER_DESPITE_COLUMNS))
    for mark in ("while reading file ", "footer for file: ", "Malformed CSV record: ", *headers):
        if mark in text:
            return text.split(mark, 1)[1].split("\n")[0].split("  ")[0].split(" SQLSTATE")[0].rstrip(". ")[:300]
    return None


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # Java's message follows py4j's own first line.
    if len(lines) > 1 and lines[0].startswith("An error occurred while calling"):
        lines = lines[1:]
    if "Traceback (most recent call last):" in lines:
        # An error in a Python worker: its message follows its own stack trace.
        frames = itertools.takewhile(lambda line: not line.startswith(("at ", "JVM stacktrace", ".")), lines)
        return list(frames)[-1][:500]
    return f"{type(error).__name__}: {lines[0].lstrip(': ')[:500] if lines else ''}"
