"""What a run's checks and its ledger cost: the job compared with the same work without them, each run in its own process.

    CATALOG_DATA=folder benchmarks/checks [--rows N] [--rounds N]

Each run replaces the rows of a table that already has a small run. `checked` is the job. `unchecked` reads, keeps one
copy of each id, scores and writes a table in one commit, with the job's own functions. It neither reads a history, nor stores
scores until they are counted, nor counts, reconciles or writes a ledger. `without care for ids` also skips the check for
repeated ids. Writes docs/benchmarks/checks.json, .md, .png.
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
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import pyarrow.parquet as pq  # noqa: E402

from benchmarks.data import data_folder, write_distinct_texts, write_page  # noqa: E402
from benchmarks.peers import BUNDLE, session  # noqa: E402
from lib import failpoints  # noqa: E402
from lib.model.engines import AUTO, checked_engine  # noqa: E402
from lib.scoring.catalogue import CatalogueColumns, Census, take_census  # noqa: E402
from lib.scoring.categories import categorized_rows  # noqa: E402
from lib.scoring.plan import Inputs, Plan  # noqa: E402
from lib.scoring.run import categorize  # noqa: E402
from lib.scoring.selection import select_all  # noqa: E402
from lib.scoring.udf import with_scores  # noqa: E402
from lib.session import configure  # noqa: E402
from lib.tables.locations import locate  # noqa: E402
from lib.tables.publish import in_large_files  # noqa: E402
from lib.tables.sources import Source, read_source  # noqa: E402
from lib.tables.target import tables_of  # noqa: E402
from training.pictures import png  # noqa: E402

PAGE = ROOT / "docs" / "benchmarks" / "checks"
FILES = 10
FIRST_RUN = "first run"
# Too few for the guardrails to compare with.
ROWS_OF_FIRST_RUN = 500
VARIANTS = ("checked", "unchecked", "without care for ids")
WANTED = 0.10


def write_unchecked(source: Source, target: Path, plan: Plan, census: Census) -> None:
    selection = select_all(source, plan.columns, BUNDLE.tokenizer.settings.max_characters, census)
    rows = categorized_rows(with_scores(selection.rows, BUNDLE, plan.engine), BUNDLE, "unchecked", plan.columns.carry)
    in_large_files(rows, census.rows).write.format("delta").mode("overwrite").save(str(target))


def run_one(variant: str, texts: Path, target: Path) -> dict[str, Any]:
    """One run in this process. Its seconds begin with the source's listing, without Spark's start."""
    spark = session(2)
    spark.sparkContext.setLogLevel("OFF")
    configure(spark)
    engine = checked_engine(AUTO, BUNDLE).name
    plan = Plan(CatalogueColumns("product_id", ("text",)), "full", engine, {}, missing="delete")
    began = last = time.monotonic()
    reached: dict[str, float] = {}

    def observer(phase: str) -> None:
        nonlocal last
        reached[phase], last = time.monotonic() - last, time.monotonic()

    failpoints.observers.append(observer)
    source = read_source(spark, locate(spark, str(texts)))
    if variant in ("checked", FIRST_RUN):
        record = categorize(spark, Inputs(source, tables_of(locate(spark, str(target))), BUNDLE, plan, "")).record
        assert record is not None
        rows = record.rows_scored
    else:
        rows = _rows(texts)
        census = take_census(source.frame, plan.columns) if variant == "unchecked" else Census(rows, 0, rows, 0, 0)
        write_unchecked(source, target, plan, census)
    result = {"seconds": time.monotonic() - began, "rows": rows, "phases": reached}
    found = spark.read.format("delta").load(str(target)).count()
    assert found == rows, f"expected {rows} rows in the table, found {found}"
    spark.stop()
    return result


def _rows(texts: Path) -> int:
    return sum(pq.read_metadata(file).num_rows for file in texts.glob("*.parquet"))


def in_a_process(variant: str, texts: Path, target: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", variant, str(texts), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    if done.returncode:
        raise SystemExit(f"{variant} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(rows: int, rounds: int) -> dict[str, Any]:
    texts = pq.read_table(data_folder() / "ecommerce_text.parquet")["text"].to_pylist()
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_distinct_texts(folder / "few", texts, ROWS_OF_FIRST_RUN, 1)
        write_distinct_texts(folder / "texts", texts, rows, FILES)
        in_a_process(FIRST_RUN, folder / "few", folder / "tables" / "lake")
        for number in range(rounds):
            # In changing order, so that none always follows the same other one.
            for variant in VARIANTS[number % 3 :] + VARIANTS[: number % 3]:
                shutil.copytree(folder / "tables", folder / "now")
                runs[variant].append(in_a_process(variant, folder / "texts", folder / "now" / "lake"))
                shutil.rmtree(folder / "now")
                print(f"round {number + 1}, {variant}: {runs[variant][-1]['seconds']:.1f} s", flush=True)
    seconds = {variant: median(run["seconds"] for run in found) for variant, found in runs.items()}
    share = 1 - seconds["unchecked"] / seconds["checked"]
    names = [phase for phase in failpoints.PHASES if phase in runs["checked"][0]["phases"]]
    spent = {phase: median(run["phases"][phase] for run in runs["checked"]) for phase in names}
    return {
        "model_version": BUNDLE.model_version,
        "rows": rows,
        "rounds": rounds,
        "seconds": seconds,
        "share": share,
        "until": spent,
        "runs": {variant: [run["seconds"] for run in found] for variant, found in runs.items()},
    }


def page(result: dict[str, Any]) -> str:
    lines = [
        "# What checks and ledger cost",
        "",
        "    CATALOG_DATA=folder benchmarks/checks",
        "",
        f"The job `categorize` with {result['model_version']} in mode `full` over {result['rows']:,} distinct texts, Parquet to Delta, into a table that already has "
        f"a run of {ROWS_OF_FIRST_RUN} rows, 2 cores, "
        f"each run in its own process with a cold JVM; {result['rounds']} rounds in changing order, medians. Spark's start is not included.",
        "",
        "![seconds](checks.png)",
        "",
        "| | seconds | single runs |",
        "|---|---|---|",
    ]
    for variant in VARIANTS:
        single = ", ".join(f"{seconds:.1f}" for seconds in result["runs"][variant])
        lines.append(f"| {variant} | {result['seconds'][variant]:.1f} | {single} |")
    lines += [
        "",
        f"Checks and ledger are {result['share']:.1%} of a run (goal: at most {WANTED:.0%}). `checked` is the job. `unchecked` reads, keeps one copy of each "
        "id, scores and writes a table in one commit, with the job's own functions: no history, no scores stored until they are counted, no "
        "count, no reconciliation, no ledger. `without care for ids` does not check for repeated ids either; "
        f"if that check, which also yields the count that the reconciliation needs, is included, the share is {1 - result['seconds'][VARIANTS[2]] / result['seconds']['checked']:.1%}.",
        "",
        "Where the checked run spends its time (seconds from the previous phase to this one):",
        "",
        "| " + " | ".join(result["until"]) + " |",
        "|---" * len(result["until"]) + "|",
        "| " + " | ".join(f"{seconds:.1f}" for seconds in result["until"].values()) + " |",
        "",
        "`planned`: history, ids counted, partitions inspected. `scored`: texts scored, scores stored on disk, counted. `rejected`: label "
        "changes, guardrails, rejects. `published`: rows written and committed. `recording`: the history read again. `recorded`: the ledger.",
    ]
    return "\n".join(lines) + "\n"


def picture(result: dict[str, Any]) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1.9), layout="constrained")
    axes = figure.subplots()
    seconds = [result["seconds"][variant] for variant in VARIANTS]
    bars = axes.barh(VARIANTS, seconds, color=["#1f5fa8", "#b8b8b8", "#b8b8b8"])
    axes.bar_label(bars, [f"{value:.1f}" for value in seconds], padding=3)
    axes.invert_yaxis()
    axes.set_xlabel(f"seconds, {result['rows']:,} rows")
    axes.margins(x=0.1)
    axes.spines[["top", "right"]].set_visible(False)
    return png(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=3, metavar=("VARIANT", "TEXTS", "TARGET"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        variant, texts, target = options.one
        print(json.dumps(run_one(variant, Path(texts), Path(target))))
        return
    result = measure(options.rows, options.rounds)
    write_page(PAGE, result, page(result), picture(result))
    print(page(result))


if __name__ == "__main__":
    main()
