"""What an older Spark costs: the same rows scored on each pair, and on the newest one also in the older ones' way (a pandas UDF).

    CATALOG_DATA=folder benchmarks/pairs [--rounds N] [--rows N] [--page FILE]

Each way runs in its own process (pairs_run.py), in another order each round; the medians are recorded. Writes docs/benchmarks/pairs.json
and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.data import data_folder, labelled_texts, write_distinct_texts  # noqa: E402
from lib.model.bundle import load_bundle  # noqa: E402
from lib.pairs.supported import PAIRS  # noqa: E402

CORES = 2
PASSES = 3
NEWEST, *OLDER = PAIRS
# The name of a row on the page, the folder of its environment, and whether the newest Spark uses the older ones' way.
WAYS = {
    f"Spark {NEWEST}, Arrow UDF": (ROOT / ".venv", False),
    f"Spark {NEWEST}, pandas UDF": (ROOT / ".venv", True),
    **{f"Spark {pair}, pandas UDF": (ROOT / "build" / f"spark-{pair}", False) for pair in OLDER},
}


def run(way: str, texts: Path) -> dict[str, Any]:
    """Seconds of each pass after the first, and how many rows a pass has."""
    environment, by_pandas = WAYS[way]
    python = str(environment / "bin" / "python")
    command = [python, str(ROOT / "benchmarks" / "pairs_run.py"), str(texts), str(PASSES), "pandas" if by_pandas else "own"]
    settings = {"PYSPARK_PYTHON": python, "PYTHONPATH": str(ROOT), "SPARK_CONF_DIR": str(ROOT / "conf")}
    given = f"--master local[{CORES}] --conf spark.ui.enabled=false pyspark-shell"
    inherited = {name: value for name, value in os.environ.items() if name not in ("SPARK_HOME", "PYSPARK_DRIVER_PYTHON")}
    done = subprocess.run(command, env={**inherited, **settings, "PYSPARK_SUBMIT_ARGS": given}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{way} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(rows: int, rounds: int) -> dict[str, Any]:
    bundle = load_bundle(str(ROOT / "models" / "ecommerce"))
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        texts = Path(folder) / "texts.parquet"
        write_distinct_texts(
            texts, labelled_texts(data_folder(), bundle.tokenizer.settings).texts.to_pylist(), rows, files=2 * CORES
        )
        for turn in range(rounds):
            for way in list(WAYS)[:: 1 if turn % 2 == 0 else -1]:
                found[way].append(run(way, texts))
                print(f"round {turn + 1}: {way}: {found[way][-1]}", flush=True)
    speeds = {way: [one["rows"] / seconds for one in results for seconds in one["seconds"]] for way, results in found.items()}
    ways = {
        way: {
            "rows_per_second": median(values),
            "slowest": min(values),
            "fastest": max(values),
            "versions": found[way][0]["versions"],
        }
        for way, values in speeds.items()
    }
    return {"model_version": bundle.model_version, "cores": CORES, "rows": rows, "rounds": rounds, "ways": ways}


def page(result: dict[str, Any]) -> str:
    first = next(iter(result["ways"].values()))["rows_per_second"]
    lines = [
        "# Pairs of Spark and Delta",
        "",
        "    CATALOG_DATA=folder benchmarks/pairs",
        "",
        f"Model {result['model_version']}, `local[{result['cores']}]`, {result['rows']:,} distinct texts made from real ones, from Parquet to scores in Delta; "
        f"medians of {result['rounds']} rounds of {PASSES} passes in changing order. Timings vary from run to run: compare within the table.",
        "",
        "| | versions | rows/s | from – to | × the first |",
        "|---|---|---|---|---|",
    ]
    for way, row in result["ways"].items():
        speed, low, high = row["rows_per_second"], row["slowest"], row["fastest"]
        lines.append(f"| {way} | {row['versions']} | {speed:,.0f} | {low:,.0f} – {high:,.0f} | {speed / first:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "benchmarks" / "pairs.md")
    options = parser.parse_args()
    result = measure(options.rows, options.rounds)
    options.page.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    options.page.write_text(page(result))
    print(page(result))


if __name__ == "__main__":
    main()
