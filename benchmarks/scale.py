"""How the job `categorize` scales with rows and cores, what a run costs when little has changed, and what bad shapes cost.

    CATALOG_DATA=folder benchmarks/scale [--plan CORES:ROWS,…] [--changing ROWS]

Each run is the real job through spark-submit.sh. Its seconds are its own (the ledger's), without Spark's start; its memory is
the greatest resident set of driver, JVM and workers, sampled twice a second. Writes docs/benchmarks/scale.json, .md, .png.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import deltalake  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.compute as pc  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from benchmarks.data import data_folder, distinct_texts, write_page  # noqa: E402
from benchmarks.peers import descendants  # noqa: E402
from lib.model.bundle import load_bundle  # noqa: E402
from training.pictures import png  # noqa: E402

MODEL = ROOT / "models" / "ecommerce"
PAGE = ROOT / "docs" / "benchmarks" / "scale"
PLAN = "1:100000,2:100000,1:1000000,2:1000000,2:10000000"
ROWS_PER_FILE = 100_000
KINDS = {"pyspark.daemon": "worker", "categorize.py": "driver"}


def peaks_of(process: subprocess.Popen[Any]) -> dict[str, float]:
    """Greatest resident set in MB of each kind of process, over the whole run."""
    peaks: dict[str, float] = {}
    while process.poll() is None:
        for pid in (process.pid, *descendants(process.pid)):
            try:
                command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            program = command.split(" ", 1)[0]
            kind = "jvm" if program.endswith("java") else next((k for part, k in KINDS.items() if part in command), None)
            found = [int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")]
            if kind and found and (kind == "jvm" or "python" in program):
                peaks[kind] = max(peaks.get(kind, 0), found[0])
        time.sleep(0.5)
    return peaks


def run_job(
    source: Path, target: Path, cores: int, *options: str, model: Path = MODEL, spark: Sequence[str] = ()
) -> dict[str, Any]:
    """One run. options: the job's; spark: spark-submit's, after a master on this machine that they may replace."""
    job = [
        "categorize",
        "--source",
        str(source),
        "--text-columns",
        "text",
        "--target",
        str(target),
        "--model",
        str(model),
        *options,
    ]
    files = set(target.glob("*.parquet"))
    before = len(deltalake.DeltaTable(f"{target}_runs").to_pyarrow_table()) if files else 0
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [str(ROOT / "spark-submit.sh"), "--master", f"local[{cores}]", *spark, *job],
            stdout=said,
            stderr=subprocess.STDOUT,
            text=True,
        )
        peaks = peaks_of(process)
        said.seek(0)
        if process.returncode:
            raise SystemExit(f"categorize ended with {process.returncode}:\n{said.read()[-3000:]}")
    wall = time.monotonic() - began
    runs = deltalake.DeltaTable(f"{target}_runs").to_pyarrow_table().to_pylist()
    run = max(runs, key=lambda row: row["started_at"])
    seconds = dict(run["seconds"])
    fresh = set(target.glob("*.parquet")) - files
    result = {
        "cores": cores,
        "rows": run["rows_in"],
        "rows_scored": run["rows_scored"],
        "rows_unchanged": run["rows_unchanged"],
        "runs_added": len(runs) - before,
        "wall_seconds": wall,
        "seconds": seconds,
        "job_seconds": sum(seconds[part] for part in ("counting", "scoring", "writing")),
        "peak_mb": peaks,
        "data_files_written": len(fresh),
        "data_bytes_written": sum(file.stat().st_size for file in fresh),
    }
    print(
        f"{source.name}, {cores} cores: {run['rows_scored']:,} of {run['rows_in']:,} rows in {result['job_seconds']:.1f} s, {peaks}",
        flush=True,
    )
    return result


def write_source(folder: Path, texts: list[str], rows: int) -> Path:
    """Distinct texts in files of at most a hundred thousand rows."""
    parts = -(-rows // ROWS_PER_FILE)
    folder.mkdir(parents=True)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for done in [pool.submit(_write_part, folder, texts, rows, part, max(parts, 4)) for part in range(max(parts, 4))]:
            done.result()
    return folder


def _write_part(folder: Path, texts: list[str], rows: int, part: int, parts: int) -> None:
    first, last = rows * part // parts, rows * (part + 1) // parts
    ids = [f"p{number:09d}" for number in range(first, last)]
    table = pa.table({"product_id": ids, "text": distinct_texts(texts, last - first, first)})
    pq.write_table(table, folder / f"part-{part:05d}.parquet")


def change(source: Path, every: int, word: str) -> None:
    """Every n-th row of each file gets one more word."""
    for file in sorted(source.glob("*.parquet")):
        table = pq.read_table(file)
        pq.write_table(_with_word(table, [row % every == 0 for row in range(len(table))], word), file)


def _with_word(table: pa.Table, chosen: list[bool], word: str) -> pa.Table:
    """The texts of the chosen rows get one more word."""
    texts = table["text"].combine_chunks()
    return table.set_column(1, "text", pc.if_else(pa.array(chosen), pc.binary_join_element_wise(texts, word, " "), texts))


def reverse(source: Path) -> Path:
    """The same rows in the opposite order, so that no file is as it was."""
    for file in sorted(source.glob("*.parquet")):
        table = pq.read_table(file)
        pq.write_table(table.take(pa.array(range(len(table) - 1, -1, -1))), file)
    return source


def change_in_few_files(source: Path, share: float, word: str) -> None:
    """That share of all rows gets one more word, all of them in as few files as there need be."""
    files = sorted(source.glob("*.parquet"))
    left = round(share * sum(pq.read_metadata(file).num_rows for file in files))
    for file in files:
        table = pq.read_table(file)
        pq.write_table(_with_word(table, [row < left for row in range(len(table))], word), file)
        left -= len(table)
        if left <= 0:
            return


def in_spark(statement: str) -> None:
    from benchmarks.peers import session
    from lib.session import configure

    spark = session(2)
    configure(spark)
    spark.sql(statement)
    spark.stop()


def second_runs(folder: Path, texts: list[str], rows: int) -> dict[str, Any]:
    source, target = write_source(folder / "changing", texts, rows), folder / "lake" / "categorized"
    nights = {"first night, everything": run_job(source, target, 2)}
    change(source, 100, "one")
    nights["1 % changed"] = run_job(source, target, 2)
    nights["nothing changed, the same files written again"] = run_job(_touched(source), target, 2)
    nights["nothing changed, new files with the rows in another order"] = run_job(reverse(source), target, 2)
    change_in_few_files(source, 0.01, "too")
    nights["1 % changed, all in as few files as there need be"] = run_job(source, target, 2)
    change(source, 100, "two")
    in_spark(f"ALTER TABLE delta.`{target}` SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')")
    nights["1 % changed, table with deletion vectors"] = run_job(source, target, 2)
    nights["everything again (--mode full)"] = run_job(_touched(source), target, 2, "--mode", "full")
    # The same rows from a Delta table: the first run on it compares all, the following ones use its change feed.
    fed = folder / "changing-delta"
    feed = "TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true')"
    in_spark(f"CREATE TABLE delta.`{fed}` USING delta {feed} AS SELECT * FROM parquet.`{source}`")
    run_job(fed, target, 2)
    in_spark(f"UPDATE delta.`{fed}` SET text = concat(text, ' three') WHERE pmod(xxhash64(product_id), 100) = 0")
    nights["1 % changed, change feed and deletion vectors"] = run_job(fed, target, 2)
    in_spark(f"ALTER TABLE delta.`{fed}` SET TBLPROPERTIES ('delta.enableChangeDataFeed' = 'false')")
    run_job(fed, target, 2)
    in_spark(
        f"INSERT INTO delta.`{fed}` SELECT concat('new ', product_id), text FROM delta.`{fed}` WHERE pmod(xxhash64(product_id), 100) = 1"
    )
    nights["1 % appended, without a change feed, deletion vectors"] = run_job(fed, target, 2)
    shutil.rmtree(fed)
    return nights


def _touched(source: Path) -> Path:
    """The same rows, in files that look new."""
    for file in source.glob("*.parquet"):
        os.utime(file)
    return source


def bad_shapes(folder: Path, texts: list[str], rows: int) -> dict[str, Any]:
    """Each compared with the same number of rows in even files; all rows are scored."""
    results = {"even files": run_job(write_source(folder / "even", texts, rows), folder / "lake" / "even", 2)}
    skewed = folder / "skewed"
    skewed.mkdir()
    for name, first, last in (("most", 0, rows * 9 // 10), ("rest", rows * 9 // 10, rows)):
        ids = [f"p{number:09d}" for number in range(first, last)]
        table = pa.table({"product_id": ids, "text": distinct_texts(texts, last - first, first)})
        # One row group: Spark cannot split the file.
        pq.write_table(table, skewed / f"{name}.parquet", row_group_size=last - first)
    results["nine tenths in one row group"] = run_job(skewed, folder / "lake" / "skewed", 2)
    shutil.rmtree(skewed)
    results["and a tenth copies, one in a hundred without an id"] = run_job(
        _unclean(folder, texts, rows), folder / "lake" / "unclean", 2
    )
    long = folder / "even"
    pq.write_table(pa.table({"product_id": ["long"], "text": ["kettle " * (50_000_000 // 7)]}), long / "part-long.parquet")
    results["one text of 50 MB more"] = run_job(long, folder / "lake" / "long", 2)
    shutil.rmtree(long)
    same = folder / "same"
    same.mkdir()
    for part in range(10):
        ids = [f"p{number:09d}" for number in range(rows * part // 10, rows * (part + 1) // 10)]
        pq.write_table(pa.table({"product_id": ids, "text": [texts[0]] * len(ids)}), same / f"part-{part}.parquet")
    results["the same text in every row"] = run_job(same, folder / "lake" / "same", 2)
    return results


def _unclean(folder: Path, texts: list[str], rows: int) -> Path:
    """The even files, followed by copies of a tenth of their ids, and rows without an id."""
    source = shutil.copytree(folder / "even", folder / "unclean")
    ids: list[str | None] = [f"p{number:09d}" for number in range(0, rows, 10)] + [None] * (rows // 100)
    pq.write_table(pa.table({"product_id": ids, "text": distinct_texts(texts, len(ids), rows)}), source / "part-copies.parquet")
    return source


def measure(plan: list[tuple[int, int]], changing: int, before: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The results after each part, the longest runs last.

    Args:
        before: results of an earlier run; only its second runs are measured again.
    """
    texts = pq.read_table(data_folder() / "ecommerce_text.parquet")["text"].to_pylist()
    result: dict[str, Any] = {"model_version": load_bundle(str(MODEL)).model_version, "growth": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result["nights"] = second_runs(folder, texts, changing)
        shutil.rmtree(folder / "changing")
        if before:
            yield before | {"nights": result["nights"]}
            return
        result["shapes"] = bad_shapes(folder, texts, changing)
        yield result
        for rows in sorted({rows for _, rows in plan}):
            source = write_source(folder / f"rows-{rows}", texts, rows)
            for cores in (cores for cores, planned in plan if planned == rows):
                target = folder / "lake" / f"growth-{cores}-{rows}"
                result["growth"].append(run_job(source, target, cores))
                shutil.rmtree(target)
                yield result
            shutil.rmtree(source)


def _peaks(run: dict[str, Any]) -> str:
    return " | ".join(f"{run['peak_mb'].get(kind, 0):,.0f}" for kind in ("driver", "jvm", "worker"))


def page(result: dict[str, Any]) -> str:
    lines = [
        "# Scale",
        "",
        "    CATALOG_DATA=folder benchmarks/scale",
        "",
        f"The job `categorize` with {result['model_version']}: Parquet to Delta, distinct texts made from real ones, `spark.driver.memory` 2g. "
        "Seconds are the ledger's, without Spark's start (about 5 s). One run each; timings vary from run to run.",
        "",
        "## Rows and cores",
        "",
        "![rows a second](scale.png)",
        "",
        "| rows | cores | seconds | rows/s | counting | scoring | writing | tasks: reading | text | network | driver, MB | JVM, MB | worker, MB | files written |",
        "|---" * 14 + "|",
    ]
    for run in result["growth"]:
        seconds = run["seconds"]
        parts = " | ".join(f"{seconds[part]:.1f}" for part in ("counting", "scoring", "writing", "reading", "text", "network"))
        lines.append(
            f"| {run['rows']:,} | {run['cores']} | {run['job_seconds']:.1f} | {run['rows'] / run['job_seconds']:,.0f} | {parts} | {_peaks(run)} "
            f"| {run['data_files_written']} of {run['data_bytes_written'] / max(run['data_files_written'], 1) / 1e6:.1f} MB |"
        )
    two = {run["rows"]: run for run in result["growth"] if run["cores"] == 2}
    if {1_000_000, 10_000_000} <= set(two):
        ratio = two[10_000_000]["job_seconds"] / two[1_000_000]["job_seconds"]
        workers = [two[rows]["peak_mb"]["worker"] for rows in (1_000_000, 10_000_000)]
        lines += [
            "",
            f"From 1 to 10 million rows the time grows {ratio:.1f} × (goal: at most 10.5); a worker's peak is {workers[0]:.0f} and {workers[1]:.0f} MB.",
        ]
    nights = result["nights"]
    full = nights["everything again (--mode full)"]
    lines += [
        "",
        f"## Second runs, {full['rows']:,} rows, 2 cores",
        "",
        "| run | rows scored | seconds | of a full run | counting | scoring | writing | data files written |",
        "|---" * 8 + "|",
    ]
    for name, run in nights.items():
        seconds = run["seconds"]
        parts = " | ".join(f"{seconds[part]:.1f}" for part in ("counting", "scoring", "writing"))
        share = f"{run['job_seconds'] / full['job_seconds']:.0%}"
        written = f"{run['data_files_written']} ({run['data_bytes_written'] / 1e6:.0f} MB)"
        lines.append(f"| {name} | {run['rows_scored']:,} | {run['job_seconds']:.1f} | {share} | {parts} | {written} |")
    lines += [
        "",
        "`counting` includes reading and hashing every text and the comparison with the table; for a Delta source only of what came and went.",
    ]
    even = result["shapes"]["even files"]["job_seconds"]
    lines += [
        "",
        f"## Bad shapes, {result['shapes']['even files']['rows']:,} rows, 2 cores",
        "",
        "| | seconds | × even | worker, MB |",
        "|---|---|---|---|",
    ]
    for name, run in result["shapes"].items():
        lines.append(
            f"| {name} | {run['job_seconds']:.1f} | {run['job_seconds'] / even:.2f} | {run['peak_mb']['worker']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def picture(result: dict[str, Any]) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    for cores, colour in ((1, "#b8b8b8"), (2, "#1f5fa8")):
        runs = sorted((run["rows"], run["rows"] / run["job_seconds"]) for run in result["growth"] if run["cores"] == cores)
        axes.plot(
            [rows for rows, _ in runs],
            [speed for _, speed in runs],
            marker="o",
            color=colour,
            label=f"{cores} core{'s' if cores > 1 else ''}",
        )
        for rows, speed in runs:
            axes.annotate(
                f"{speed:,.0f}", (rows, speed), textcoords="offset points", xytext=(0, 6 if cores > 1 else -14), ha="center"
            )
    axes.set_xscale("log")
    axes.set_xlabel("rows")
    axes.set_ylabel("rows a second, whole job")
    axes.set_ylim(0, None)
    axes.margins(y=0.2)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return png(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", default=PLAN)
    parser.add_argument("--changing", type=int, default=1_000_000)
    parser.add_argument(
        "--only-nights", action="store_true", help="measure only the second runs, and keep the rest of the page"
    )
    options = parser.parse_args()
    plan = [(int(cores), int(rows)) for cores, rows in (entry.split(":") for entry in options.plan.split(","))]
    # Written after each part, since all of them take a quarter of an hour.
    before = json.loads(PAGE.with_suffix(".json").read_text()) if options.only_nights else None
    for result in measure(plan, options.changing, before):
        write_page(PAGE, result, page(result), picture(result))
    print(page(result))


if __name__ == "__main__":
    main()
