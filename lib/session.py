"""The Spark session: its only home."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

from lib.errors import CategorizerError, InputError
from lib.pairs.supported import check_pair

EXTENSIONS, DELTA_EXTENSION = "spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension"
CATALOGUE, DELTA_CATALOGUE = "spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog"
# Hands every table to Delta's catalogue, which it starts itself.
AROUND_DELTA = "io.unitycatalog.spark.UCSingleCatalog"
# Spark's and Delta's partition numbers are for clusters; on one machine they cost seconds.
SHUFFLE_PARTITIONS = "spark.sql.shuffle.partitions"
LOCAL_DEFAULTS = {
    # At least (_local).
    SHUFFLE_PARTITIONS: "4",
    "spark.databricks.delta.snapshotPartitions": "2",
    # VACUUM lists folders in this many tasks, by default in ten thousand.
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "8",
}
# The project's guarantees rest on these: with another value rows are lost, or misread, without an error.
REQUIRED = {
    # Times are stored and compared in UTC, whatever the machine's clock is set to.
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.files.ignoreCorruptFiles": "false",
    "spark.sql.files.ignoreMissingFiles": "false",
    "spark.sql.caseSensitive": "false",
    # The value of a folder such as product_id=007 stays a text.
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
    "spark.sql.sources.partitionOverwriteMode": "static",
    "spark.sql.parquet.mergeSchema": "false",
    "spark.sql.json.enablePartialResults": "false",
    # An id 1.10 stays 1.10.
    "spark.sql.json.enableExactStringParsing": "true",
    # Without these the job does not see which files Spark reads.
    "spark.sql.sources.useV1SourceList": "avro,csv,json,kafka,orc,parquet,text",
    "spark.sql.hive.convertMetastoreParquet": "true",
    "spark.sql.files.ignoreInvalidPartitionPaths": "false",
    # Types and times of Parquet columns come from the files' own footers, and columns are matched by name.
    "spark.sql.parquet.binaryAsString": "false",
    "spark.sql.parquet.int96AsTimestamp": "true",
    "spark.sql.parquet.int96TimestampConversion": "false",
    "spark.sql.parquet.inferTimestampNTZ.enabled": "true",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.int96RebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.parquet.int96RebaseModeInWrite": "CORRECTED",
    "spark.sql.legacy.parquet.nanosAsLong": "false",
    "spark.sql.parquet.fieldId.read.enabled": "false",
    "spark.sql.parquet.respectSummaryFiles": "false",
    # What a cast, a comparison of times and a name in backticks mean.
    "spark.sql.ansi.enabled": "true",
    "spark.sql.timestampType": "TIMESTAMP_LTZ",
    "spark.sql.legacy.timeParserPolicy": "CORRECTED",
    "spark.sql.parser.quotedRegexColumnNames": "false",
    "spark.sql.parser.escapedStringLiterals": "false",
    "spark.sql.ansi.doubleQuotedIdentifiers": "false",
    # An id of a CHAR column is padded, as Spark compares it.
    "spark.sql.readSideCharPadding": "true",
    # A filter that the reader itself applies would hide malformed values in the rows that it drops.
    "spark.sql.csv.filterPushdown.enabled": "false",
    "spark.sql.json.filterPushdown.enabled": "false",
    "spark.sql.legacy.charVarcharAsString": "false",
    # Hadoop's reader of lines passes over those that are longer.
    "mapreduce.input.linerecordreader.line.maxlength": str((1 << 31) - 1),
    # A part of a shuffle that is made once more, after an executor was lost, has the rows that it had.
    "spark.sql.execution.sortBeforeRepartition": "true",
    "spark.databricks.delta.schema.autoMerge.enabled": "false",
    # By default Delta refuses to read or restore a version of more than a week ago, even if all of its files are there.
    "spark.databricks.delta.vacuum.enforceTimeTravelWithinDeletedFileRetentionDuration": "false",
    # By default Delta's VACUUM takes no notice of the hours that it is given.
    "spark.databricks.delta.vacuum.retentionWindowIgnore.enabled": "false",
}
# Some values of these settings would lose what is written, too. In place of such a value the job sets the first of those listed.
LOSSLESS = {
    # A carried time keeps its microseconds.
    "spark.sql.parquet.outputTimestampType": ("INT96", "TIMESTAMP_MICROS"),
}
# Delta skips a write whose number is not above one that it has seen: it would skip the rejects, and the row in the ledger.
FORBIDDEN = ("spark.databricks.delta.write.txnAppId", "spark.databricks.delta.write.txnVersion")
DEFAULTS = {
    # Counts by label and status are kept in memory up to this many groups, instead of being sorted.
    "spark.sql.objectHashAggregate.sortBased.fallbackThreshold": "4096",
    # Limits the size of one Arrow batch in a Python worker, however large the rows are.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "4096",
    "spark.sql.execution.arrow.maxBytesPerBatch": str(32 << 20),
    # Splits of a file that balance over the cores; at a few thousand bytes a row a split still has tens of thousands of rows.
    "spark.sql.files.maxPartitionBytes": str(32 << 20),
    # A hexadecimal digest, which each row has, takes half the space that it takes under Snappy.
    "spark.sql.parquet.compression.codec": "zstd",
    # Values cached on disk during a run are nearly all distinct: choosing a compression scheme takes a tenth of a comparison's time.
    "spark.sql.inMemoryColumnarStorage.compressed": "false",
    # A worker that returns nothing for this long hangs: its task is retried, and in the end the run fails instead of waiting.
    "spark.sql.execution.pyspark.udf.idleTimeoutSeconds": "900",
    "spark.sql.execution.pyspark.udf.killOnIdleTimeout": "true",
}
# Memory of a Python worker with a model, outside the JVM; a cluster manager kills containers that take more than they asked for.
WORKER_MB = 250
WAREHOUSE = "spark.sql.warehouse.dir"
# Between two lines about what a cluster keeps a job waiting for.
SECONDS_BETWEEN_LINES = 30
# What runs seldom and for a short time: Java's class loading and serialization, and Spark's parsing, planning and generation of code. Its
# optimizing compiler (C2) would take a third of a run's processor time for these. None of them handles rows: a method named here is not inlined
# into others either.
QUICKLY_COMPILED = (
    *("java/io/Object*.*", "java/lang/ClassLoader*.*", "java/lang/invoke/InnerClass*.*", "java/lang/invoke/InvokerBytecode*.*"),
    *("java/lang/invoke/MethodHandleNatives*.*", "java/net/*.*", "java/util/jar/*.*", "java/util/zip/Zip*.*"),
    *("jdk/internal/jimage/*.*", "jdk/internal/loader/*.*", "jdk/internal/module/*.*", "jdk/internal/org/objectweb/*.*"),
    *("jdk/internal/reflect/*.*", "sun/invoke/*.*", "sun/net/*.*", "sun/nio/fs/*.*"),
    *("org/antlr/*.*", "org/apache/hadoop/conf/*.*", "org/apache/hadoop/shaded/com/ctc/*.*", "org/apache/xbean/*.*"),
    *("org/codehaus/commons/*.*", "org/codehaus/janino/*.*", "py4j/*.*"),
    *("scala/reflect/api/*.*", "scala/reflect/internal/*.*", "scala/reflect/runtime/*.*"),
    *("org/apache/spark/internal/config/*.*", "org/apache/spark/sql/internal/*.*"),
    *(
        f"org/apache/spark/sql/catalyst/{name}/*.*"
        for name in ("analysis", "optimizer", "parser", "planning", "plans", "rules", "trees")
    ),
    *(f"org/apache/spark/sql/catalyst/expressions/codegen/{name}*.*" for name in ("Block", "Code", "Expr")),
)
NO_EXECUTOR_STAYS = (
    "Expected executors that stay, found one after the other ending on {master} before any was ready; read their logs, which on Kubernetes "
    "are kept by --conf spark.kubernetes.executor.deleteOnTermination=false, mend what they say, and run again."
)
# Java's error for classes of a newer Java. YARN adds the end of a container's log to what it says of a failed application.
OLD_JAVA = "UnsupportedClassVersionError"
OLD_JAVA_THERE = (
    "Expected Java 17 on the cluster's nodes, as this Spark needs, found an older one; name the folder of a newer one there in "
    "spark.yarn.appMasterEnv.JAVA_HOME and spark.executorEnv.JAVA_HOME (docs/cluster.md), or install it."
)


NO_FILE = re.compile(r"FileNotFoundException: (?:File (?:file:)?)?(\S+)")


@contextmanager
def spark_session(job: str, debug: bool = False) -> Iterator[SparkSession]:
    """A session with Delta, stopped at the end. Options given to spark-submit win over those here, except where the guarantees rest on them (REQUIRED, LOSSLESS, FORBIDDEN)."""
    _check_scratch()
    builder = SparkSession.builder.appName(f"catalog-categorizer {job}")
    # Before a JVM exists, a SparkConf does not contain what was given to spark-submit.
    SparkContext._ensure_initialized()
    submitted = SparkConf()
    for name, value in with_delta(submitted).items():
        builder = builder.config(name, value)
    for name, value in memory_beside_the_jvm(submitted).items():
        print(f"{name} is {value} in this job: a Python worker takes up to {WORKER_MB} MB a core", file=sys.stderr, flush=True)
        builder = builder.config(name, value)
    folder = _folder_of_the_catalogue(submitted)
    if folder:
        builder = builder.config(WAREHOUSE, f"file:{folder.name}")
    on_interrupt = signal.getsignal(signal.SIGINT)
    spark = _started(builder, str(submitted.get("spark.master", "")))
    # Delta numbers the files of its log in the digits of Java's locale, and finds only those in ASCII digits. Not ROOT, whose name is
    # empty: Derby, the metastore that Spark ships, creates no database under such a locale.
    locale: Any = getattr(spark._jvm, "java.util.Locale")
    locale.setDefault(locale.ENGLISH)
    tell_the_compiler(spark)
    spark.sparkContext.setLogLevel("WARN" if debug else "OFF")
    configure(spark)
    try:
        check_pair(spark)
        yield spark
    finally:
        spark.stop()
        if folder:
            folder.cleanup()
        if threading.current_thread() is threading.main_thread():
            # Spark's own handler cancels the jobs of a context that no longer exists; training goes on without one.
            signal.signal(signal.SIGINT, on_interrupt)


def with_delta(submitted: SparkConf) -> dict[str, str]:
    """Delta's extension behind those that a site has configured, and its catalogue.

    Raises:
        InputError: another catalogue is configured in the place of Delta's.
    """
    given = [name.strip() for name in str(submitted.get(EXTENSIONS, "")).split(",") if name.strip()]
    catalogue = str(submitted.get(CATALOGUE, DELTA_CATALOGUE))
    if catalogue not in (DELTA_CATALOGUE, AROUND_DELTA) and not _extends_delta(catalogue):
        raise InputError(
            f"Expected {DELTA_CATALOGUE}, or a class that extends it, in {CATALOGUE}, as the job's commits need, found {catalogue}; leave it out, "
            f"or give that catalogue another name (spark.sql.catalog.NAME)."
        )
    return {EXTENSIONS: ",".join(dict.fromkeys([*given, DELTA_EXTENSION])), CATALOGUE: catalogue}


def _extends_delta(catalogue: str) -> bool:
    jvm: Any = SparkContext._jvm
    # With the jars that were given to spark-submit.
    loader = jvm.java.lang.Thread.currentThread().getContextClassLoader()
    try:
        return bool(loader.loadClass(DELTA_CATALOGUE).isAssignableFrom(loader.loadClass(catalogue)))
    except Exception:  # py4j's error where there is no such class
        return False


def _started(builder: Any, master: str) -> SparkSession:
    try:
        with _reminded(master):
            spark: SparkSession = builder.getOrCreate()
    except Exception as error:
        # After a few executors that ended Spark ends itself, with a special exit code (11).
        if "stopped while waiting for backend" in str(error):
            raise CategorizerError(NO_EXECUTOR_STAYS.format(master=master)) from None
        if OLD_JAVA in str(error):
            raise InputError(OLD_JAVA_THERE) from None
        # Later it would be a file of the source.
        if missing := NO_FILE.search(str(error)):
            raise InputError(
                f"Expected the files that Spark's settings name, such as a template of pods or a jar, found none at {missing[1]}; correct the setting, or "
                "deliver the file."
            ) from None
        raise
    return spark


@contextmanager
def _reminded(master: str) -> Iterator[None]:
    """Inside the block a line every half minute says what a cluster keeps the job waiting for: Spark itself is silent."""
    if master.startswith("yarn"):
        what = "YARN has not started the application yet, or its first executors (see yarn application -list)"
    else:
        look = "kubectl get pods" if master.startswith("k8s") else "the cluster's own pages"
        what = f"{master} has not answered yet, or not started the first executors (see {look})"
    began, started = time.monotonic(), threading.Event()

    def remind() -> None:
        while not started.wait(SECONDS_BETWEEN_LINES):
            print(f"Spark has not started after {time.monotonic() - began:.0f} s: {what}", file=sys.stderr, flush=True)

    if not master.startswith("local"):
        threading.Thread(target=remind, daemon=True).start()
    try:
        yield
    finally:
        started.set()


def tell_the_compiler(spark: SparkSession) -> None:
    """Have Java's optimizing compiler pass over QUICKLY_COMPILED, in the driver's JVM; on one machine that is the only one."""
    jvm: Any = spark._jvm
    # A JVM outlives its sessions.
    if jvm.java.lang.System.setProperty("catalog-categorizer.compiler", "told") is not None:
        return
    # Only for speed, and not every JVM has such directives.
    with suppress(Exception), tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump([{"match": QUICKLY_COMPILED, "c2": {"Exclude": True}}], file)
        file.flush()
        diagnosed(spark, "compilerDirectivesAdd", file.name)


def diagnosed(spark: SparkSession, command: str, *arguments: str) -> str:
    """What a command of `jcmd` answers, here under the name that Java gives it inside the JVM. As an option of the JVM it would print to the job's output."""
    jvm: Any = spark._jvm
    gateway: Any = SparkContext._gateway

    def array(kind: Any, *values: Any) -> Any:
        found = gateway.new_array(kind, len(values))
        for i, value in enumerate(values):
            found[i] = value
        return found

    name = jvm.javax.management.ObjectName("com.sun.management:type=DiagnosticCommand")
    text, anything = jvm.java.lang.String, jvm.java.lang.Object
    kinds = array(text, "[Ljava.lang.String;") if arguments else array(text)
    values = array(anything, array(text, *arguments)) if arguments else array(anything)
    # Called by its interface: py4j does not reach the class of the server.
    methods = jvm.java.lang.Class.forName("javax.management.MBeanServer").getMethods()
    invoke = next(method for method in methods if method.getName() == "invoke")
    server = jvm.java.lang.management.ManagementFactory.getPlatformMBeanServer()
    return str(invoke.invoke(server, array(anything, name, command, values, kinds)))


def memory_beside_the_jvm(submitted: SparkConf) -> dict[str, str]:
    """The memory that an executor requests in addition to its heap: Spark's own share, and a Python worker for each core.

    Empty if the user has set it, and on masters that do not count it.
    """
    name = "spark.executor.memoryOverhead"
    counts = str(submitted.get("spark.master", "")).startswith(("yarn", "k8s"))
    if not counts or any(submitted.contains(name + suffix) for suffix in ("", "Factor")):
        return {}
    jvm: Any = SparkContext._jvm
    heap = int(jvm.org.apache.spark.network.util.JavaUtils.byteStringAsMb(submitted.get("spark.executor.memory", "1g")))
    cores = int(str(submitted.get("spark.executor.cores", "1")))
    return {name: f"{max(384, heap // 10) + WORKER_MB * cores}m"}


def _folder_of_the_catalogue(submitted: SparkConf) -> tempfile.TemporaryDirectory[str] | None:
    """A new folder for the session's catalogue if that is in memory: Spark would create an empty one in the working directory."""
    forgets = submitted.get("spark.sql.catalogImplementation", "in-memory") == "in-memory"
    if not forgets or submitted.contains(WAREHOUSE):
        return None
    try:
        return tempfile.TemporaryDirectory(prefix="catalog-categorizer-", ignore_cleanup_errors=True)
    except OSError:
        # There is nowhere to write: jobs that can do without go on.
        return None


def _check_scratch() -> None:
    """Check Spark's scratch folders: without one that it can write to, Spark ends the process before a message can be printed.

    Raises:
        InputError: it cannot write to any folder of SPARK_LOCAL_DIRS.
    """
    folders = [folder for folder in os.environ.get("SPARK_LOCAL_DIRS", "").split(",") if folder]
    if folders and not any(map(_can_write_to, folders)):
        raise InputError(
            f"Expected a folder that this user may write to in SPARK_LOCAL_DIRS, found {', '.join(folders)}; correct it, or unset it."
        )


def _can_write_to(folder: str) -> bool:
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def configure(spark: SparkSession) -> None:
    """Set what every job relies on, whatever the user has set, and what saves seconds, unless the user has set it."""
    given = dict(spark.sparkContext.getConf().getAll())
    for name, value in {**REQUIRED, **_lossless(given)}.items():
        if given.get(name, value).lower() != value.lower():
            print(
                f"{name} is {value} in this job, not {given[name]}: the job's guarantees depend on it",
                file=sys.stderr,
                flush=True,
            )
        spark.conf.set(name, value)
    for name in FORBIDDEN:
        if name in given:
            print(f"{name} is not set in this job: with it writes would be passed over", file=sys.stderr, flush=True)
        spark.conf.unset(name)
    local = _local(spark)
    for name, value in {**local, **DEFAULTS}.items():
        spark.conf.set(name, given.get(name, value))
    if not local:
        shown = ", ".join(f"{name}={given.get(name, value)}" for name, value in DEFAULTS.items())
        print(f"Spark settings of this job, unless you give others: {shown}", file=sys.stderr, flush=True)


def _local(spark: SparkSession) -> dict[str, str]:
    """LOCAL_DEFAULTS, where all of Spark is on one machine, with a shuffle partition for each of its cores."""
    if not str(spark.sparkContext.master).startswith("local"):
        return {}
    partitions = max(int(LOCAL_DEFAULTS[SHUFFLE_PARTITIONS]), spark.sparkContext.defaultParallelism)
    return {**LOCAL_DEFAULTS, SHUFFLE_PARTITIONS: str(partitions)}


def _lossless(given: Mapping[str, str]) -> dict[str, str]:
    """The settings of LOSSLESS, with the user's value where that is one of them."""
    return {
        name: given.get(name, "") if given.get(name, "").upper() in values else values[0] for name, values in LOSSLESS.items()
    }


@contextmanager
def setting(spark: SparkSession, name: str, value: str) -> Iterator[None]:
    """The session has this setting inside the block, and the previous one, or none, afterwards."""
    before = spark.conf.get(name, None)
    spark.conf.set(name, value)
    try:
        yield
    finally:
        spark.conf.unset(name) if before is None else spark.conf.set(name, before)
