"""A cost model of a run, fitted to small runs and compared with larger ones, and what it predicts for catalogues of billions.

    CATALOG_DATA=folder benchmarks/scaling [--only PART ...] [--quick]

Runs of several sizes give the fixed seconds and the core-seconds per row of each phase of a run; larger ones, which the fit has not
seen, show how far it is off. Shuffled bytes come from Spark's event log. The growth with executors comes from a standalone cluster of two
workers, and the time of a commit from tables whose logs name up to a hundred thousand
files. Results are added to docs/benchmarks/scaling.json (a part that is run again replaces its results); .md and .png show all of them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from benchmarks.data import data_folder, write_page  # noqa: E402
from benchmarks.peers import session  # noqa: E402
from benchmarks.scale import change, run_job, write_source  # noqa: E402
from lib.session import configure  # noqa: E402
from tests.cluster.standalone import Standalone  # noqa: E402
from training.pictures import png  # noqa: E402

PAGE = ROOT / "docs" / "benchmarks" / "scaling"
CORES = 2
# The fit uses the runs with every core busy: a single task gets more out of a machine whose cores share resources.
MEASURED = ((250_000, 1), (1_000_000, 1), (250_000, CORES), (1_000_000, CORES), (2_000_000, CORES))
# Never used in the fit.
CHECKED = 5_000_000
PARTS = ("fitted", "checked", "executors", "commits")
LOGS = (1_000, 10_000, 100_000)
# What each phase of a run grows with.
GROWS_WITH = {"counting": "rows", "scoring": "rows_scored", "writing": "rows_written"}
CATALOGUES = (10_000_000, 1_000_000_000, 50_000_000_000)
CLUSTERS = (10, 100, 1_000)

Run = dict[str, Any]
Line = tuple[float, float]


def measured_run(source: Path, target: Path, cores: int, spark: Iterable[str] = ()) -> Run:
    """One run of the job, with what Spark's event log records of its tasks."""
    logs = target.parent / f"events-{uuid.uuid4().hex}"
    logs.mkdir(parents=True)
    event_log = {"enabled": "true", "dir": logs.as_uri(), "compress": "false", "rolling.enabled": "false"}
    settings = [word for name, value in event_log.items() for word in ("--conf", f"spark.eventLog.{name}={value}")]
    run = run_job(source, target, cores, spark=[*settings, *spark])
    # A MERGE without deletion vectors rewrites each file that contains a changed row.
    run["rows_written"] = _rows_written(target)
    found = run | _tasks(logs)
    shutil.rmtree(logs)
    return found


def _rows_written(target: Path) -> int:
    newest = max((target / "_delta_log").glob("*.json"))
    actions = [json.loads(line) for line in newest.read_text().splitlines()]
    return sum(json.loads(action["add"]["stats"])["numRecords"] for action in actions if "add" in action)


def _tasks(logs: Path) -> dict[str, float]:
    """Seconds of the tasks and bytes that they shuffled, of a whole run."""
    seconds = shuffled = 0
    for file in logs.rglob("*"):
        for line in file.read_text().splitlines() if file.is_file() else ():
            event = json.loads(line)
            metrics = event.get("Task Metrics") if event.get("Event") == "SparkListenerTaskEnd" else None
            if metrics:
                seconds += metrics["Executor Run Time"]
                shuffled += metrics["Shuffle Write Metrics"]["Shuffle Bytes Written"]
    return {"task_seconds": seconds / 1_000, "shuffled_bytes": shuffled}


def fitted(runs: Iterable[Run]) -> dict[str, Line]:
    """Phase -> fixed seconds and core-seconds of a row, by least squares over (rows / cores) of the runs on all cores; neither is negative."""
    lines, runs = {}, [run for run in runs if run["cores"] == CORES]
    for phase, grows_with in GROWS_WITH.items():
        x = np.array([run[grows_with] / run["cores"] for run in runs])
        y = np.array([run["seconds"][phase] for run in runs])
        spread = x - x.mean()
        a_row = max(float(spread @ y / (spread @ spread)), 0.0)
        fixed = float(y.mean() - a_row * x.mean())
        lines[phase] = (fixed, a_row) if fixed > 0 else (0.0, float(x @ y / (x @ x)))
    return lines


def predicted(lines: Mapping[str, Line], rows: Mapping[str, float], cores: float) -> float:
    """Seconds of a run. rows: what each phase grows with, as in GROWS_WITH."""
    return sum(fixed + a_row * rows[GROWS_WITH[phase]] / cores for phase, (fixed, a_row) in lines.items())


def local_runs(folder: Path, texts: list[str], plan: Iterable[tuple[int, int]]) -> dict[str, list[Run]]:
    """A first run of each size, followed by one in which 1 % of the rows changed."""
    runs: dict[str, list[Run]] = {"full": [], "changed": []}
    for rows, cores in plan:
        source, target = write_source(folder / "source", texts, rows), folder / "lake" / "categorized"
        runs["full"].append(measured_run(source, target, cores))
        change(source, 100, "one")
        runs["changed"].append(measured_run(source, target, cores))
        shutil.rmtree(source)
        shutil.rmtree(folder / "lake")
    return runs


def executors(folder: Path, texts: list[str], rows: int) -> dict[str, Run]:
    """The same run on a standalone cluster, with executors of one core each."""
    source = write_source(folder / "source", texts, rows)
    cluster = Standalone(folder / "standalone", memory_mb=1200)
    try:
        settings = ("--master", cluster.master, "--executor-memory", "1g")
        runs = {
            str(count): measured_run(
                source, folder / "lake" / f"on-{count}", count, (*settings, "--conf", f"spark.cores.max={count}")
            )
            for count in (1, 2)
        }
    finally:
        cluster.stop()
    shutil.rmtree(source)
    return runs


def commits(folder: Path, sizes: Iterable[int]) -> list[dict[str, float]]:
    """Seconds to read the log of a table of that many files, and to commit to it, after a checkpoint, in a warm session."""
    spark = session(2)
    configure(spark)
    jvm: Any = spark._jvm
    delta_log, none = jvm.org.apache.spark.sql.delta.DeltaLog, jvm.scala.Option.empty()
    found = []
    for files in sizes:
        table = str(folder / f"log-{files}")
        spark.range(1).write.format("delta").save(table)
        _add_files(Path(table), files)
        delta_log.forTable(spark._jsparkSession, table).checkpoint()
        times = {}
        for _ in range(3):
            delta_log.clearCache()
            began = time.monotonic()
            known = delta_log.forTable(spark._jsparkSession, table).update(False, none, none).numOfFiles()
            times["reading"] = time.monotonic() - began
            assert known > files, f"{known} of {files} files"
            began = time.monotonic()
            spark.range(1).write.format("delta").mode("append").save(table)
            times["committing"] = time.monotonic() - began
        found.append({"files": files, **times})
        print(found[-1], flush=True)
    spark.stop()
    return found


def _add_files(table: Path, files: int) -> None:
    """A commit that adds that many files, with the statistics that Delta stores for each; the files do not exist."""
    statistics = {"numRecords": 500_000, "minValues": {"id": 0}, "maxValues": {"id": 499_999}, "nullCount": {"id": 0}}
    add = {
        "partitionValues": {},
        "size": 48_000_000,
        "modificationTime": 0,
        "dataChange": True,
        "stats": json.dumps(statistics),
    }
    lines = (
        json.dumps({"add": {"path": f"part-{number:06d}-{uuid.uuid4()}.snappy.parquet", **add}}) for number in range(files)
    )
    (table / "_delta_log" / f"{1:020d}.json").write_text("\n".join(lines) + "\n")


def measure(parts: Iterable[str], quick: bool) -> dict[str, Any]:
    texts = pq.read_table(data_folder() / "ecommerce_text.parquet")["text"].to_pylist()
    plan = [(rows // 50, cores) for rows, cores in MEASURED] if quick else MEASURED
    large = CHECKED // 50 if quick else CHECKED
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ways: dict[str, Callable[[], Any]] = {
            "fitted": lambda: local_runs(folder, texts, plan),
            "checked": lambda: local_runs(folder, texts, [(large, CORES)]),
            "executors": lambda: executors(folder, texts, large),
            "commits": lambda: commits(folder, LOGS[:1] if quick else LOGS),
        }
        return {part: ways[part]() for part in parts}


def shares_off(result: dict[str, Any]) -> dict[str, float]:
    """Kind of run -> how far the model is off for the runs that it was not fitted to, as a share of their seconds."""
    off = {}
    for kind, runs in result["checked"].items():
        lines = fitted(result["fitted"][kind])
        off[kind] = max(abs(predicted(lines, run, run["cores"]) / run["job_seconds"] - 1) for run in runs)
    return off


def page(result: dict[str, Any]) -> str:
    lines = [
        "# Scaling",
        "",
        "    CATALOG_DATA=folder benchmarks/scaling",
        "",
        "What a run costs by its number of rows, estimated from small runs, and how far the estimate is off for larger ones. What follows is in "
        "[scaling](../scaling.md). One run each on a machine of two cores, without Spark's start; timings vary from run to run.",
        "",
        "![predicted and measured](scaling.png)",
        "",
        "## Fitted",
        "",
        "The model is fitted to the runs on two cores: a core-µs is one of a core while the other core is busy too.",
        "",
        "| run | phase | grows with | fixed, s | core-µs per row |",
        "|---|---|---|---|---|",
    ]
    for kind, runs in result["fitted"].items():
        for phase, (fixed, a_row) in fitted(runs).items():
            lines.append(f"| {KINDS[kind]} | {phase} | {WORDS[GROWS_WITH[phase]]} | {fixed:.1f} | {a_row * 1e6:.1f} |")
    lines += [
        "",
        "## Predicted and measured",
        "",
        "| run | rows | cores | measured, s | predicted, s | off by | fitted to it |",
        "|---" * 7 + "|",
    ]
    for part in ("fitted", "checked"):
        for kind, runs in result[part].items():
            model = fitted(result["fitted"][kind])
            for run in runs:
                expected, found = predicted(model, run, run["cores"]), run["job_seconds"]
                fitted_to = "yes" if part == "fitted" and run["cores"] == CORES else "no"
                lines.append(
                    f"| {KINDS[kind]} | {run['rows']:,} | {run['cores']} | {found:.1f} | {expected:.1f} | {expected / found - 1:+.0%} | {fitted_to} |"
                )
    lines += [
        "",
        "A task that runs alone is faster than the model predicts: it does not share the machine, and Java compiles and collects garbage on the idle core.",
        "",
        "## What goes through the network and over the driver",
        "",
        "| run | rows | cores | shuffled bytes per row | seconds of tasks | JVM, MB |",
        "|---" * 6 + "|",
    ]
    for kind in KINDS:
        for run in (*result["fitted"][kind], *result["checked"][kind]):
            lines.append(
                f"| {KINDS[kind]} | {run['rows']:,} | {run['cores']} | {run['shuffled_bytes'] / run['rows']:.0f} | {run['task_seconds']:.0f} | {run['peak_mb'].get('jvm', 0):,.0f} |"
            )
    one, two = (result["executors"][count] for count in ("1", "2"))
    # Of the greatest runs that were made on one core and on all of them.
    rows = max(run["rows"] for run in result["fitted"]["full"] if run["cores"] == 1)
    alone, side_by_side = (
        next(run["seconds"]["network"] for run in result["fitted"]["full"] if (run["rows"], run["cores"]) == (rows, cores))
        for cores in (1, CORES)
    )
    lines += [
        "",
        f"On a standalone cluster {one['rows']:,} rows took {one['job_seconds']:.0f} s with one executor of one core and {two['job_seconds']:.0f} s with two: "
        f"{one['job_seconds'] / two['job_seconds']:.2f} × the rows/s (goal: 1.8), with driver and cluster on the same two cores. These are not whole "
        f"cores: in the network {rows:,} rows took {alone:.1f} core-seconds in one task at a time and {side_by_side:.1f} in {CORES} side by side, so together they deliver "
        f"{CORES * alone / side_by_side:.2f} ×. The driver's JVM, which "
        f"runs no tasks there, took {one['peak_mb'].get('jvm', 0):,.0f} and {two['peak_mb'].get('jvm', 0):,.0f} MB.",
        "",
        "## A table's log",
        "",
        "| files in the table | read its log, s | append a row and commit, s |",
        "|---|---|---|",
    ]
    lines += [f"| {log['files']:,} | {log['reading']:.1f} | {log['committing']:.1f} |" for log in result["commits"]]
    lines += [
        "",
        "## What follows",
        "",
        "Hours of a run, and core-hours, if reading and writing keep up with the cores:",
        "",
        "| rows | run | " + " | ".join(f"{cores:,} cores" for cores in CLUSTERS) + " | core-hours |",
        "|---" * (3 + len(CLUSTERS)) + "|",
    ]
    for rows in CATALOGUES:
        for kind in KINDS:
            model, sizes = fitted(result["fitted"][kind]), _sizes(kind, rows)
            hours = [predicted(model, sizes, cores) / 3_600 for cores in CLUSTERS]
            by_cores = " | ".join(f"{hour:.2f}" if hour < 10 else f"{hour:,.0f}" for hour in hours)
            lines.append(f"| {rows:,} | {KINDS[kind]} | {by_cores} | {_work(model, sizes):,.1f} |")
    return "\n".join(lines) + "\n"


KINDS = {"full": "everything", "changed": "1 % changed"}
WORDS = {"rows": "rows of the source", "rows_scored": "rows scored", "rows_written": "rows written"}


def _sizes(kind: str, rows: int) -> dict[str, float]:
    """Of a run over that many rows; changes are spread over all files, as in the measured runs."""
    return {"rows": rows, "rows_scored": rows if kind == "full" else rows / 100, "rows_written": rows}


def _work(lines: Mapping[str, Line], rows: Mapping[str, float]) -> float:
    """Core-hours of the rows, without the fixed seconds."""
    return sum(a_row * rows[GROWS_WITH[phase]] for phase, (_, a_row) in lines.items()) / 3_600


def picture(result: dict[str, Any]) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for kind, colour in (("full", "#1f5fa8"), ("changed", "#c46a1b")):
        model = fitted(result["fitted"][kind])
        measured = [run for run in result["fitted"][kind] if run["cores"] == CORES]
        for runs, filled, how in ((measured, colour, "fitted to"), (result["checked"][kind], "none", "not fitted to")):
            axes.scatter(
                [run["job_seconds"] for run in runs],
                [predicted(model, run, run["cores"]) for run in runs],
                facecolors=filled,
                edgecolors=colour,
                label=f"{KINDS[kind]}, {how}",
            )
    limit = max(*axes.get_xlim(), *axes.get_ylim())
    axes.plot([0, limit], [0, limit], color="#b8b8b8", linewidth=1, zorder=0)
    axes.set(xlabel="measured, s", ylabel="predicted, s", xlim=(0, limit), ylim=(0, limit))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return png(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the rows, and no page: does it run?")
    options = parser.parse_args()
    kept, file = {}, PAGE.with_suffix(".json")
    if file.exists() and not options.quick:
        kept = json.loads(file.read_text())
    result = kept | measure(options.only if not options.quick else PARTS, options.quick)
    print(page(result))
    print("furthest off:", {KINDS[kind]: f"{off:.0%}" for kind, off in shares_off(result).items()})
    if not options.quick:
        write_page(PAGE, result, page(result), picture(result))


if __name__ == "__main__":
    main()
