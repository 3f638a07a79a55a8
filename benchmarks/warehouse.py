"""`publish` into PostgreSQL compared with a bare COPY of the same rows from a CSV file: whole commands, in turn.

    CATALOG_DATA=folder benchmarks/warehouse [--rows N] [--rounds N] [--no-feed] [--folder FOLDER]

Two runs are categorized, of which the second changes 1 % of the rows. Then each round loads the same server, on this machine, with the bare COPY
(table, rows, primary key), with `publish` of all rows, with `publish` of what changed onto the first run, and with `publish`
once more, which has nothing to do: that is the time of the start. Writes docs/benchmarks/warehouse.json and .md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import psycopg  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from benchmarks.commands import timed_command  # noqa: E402
from benchmarks.data import data_folder, distinct_texts, write_distinct_texts  # noqa: E402
from tests.postgres import Postgres  # noqa: E402

PAGE = ROOT / "docs" / "benchmarks" / "warehouse"
TABLE = "catalog.products"
FILES = 10
BARE, FIRST, CHANGED, AGAIN = "bare COPY", "publish: all rows", "publish: one in a hundred changed", "publish: nothing to do"
WANTED_FIRST, WANTED_CHANGED = 0.7, 0.05
PIECE = 1 << 18


def job(*words: object) -> Sequence[str]:
    return [str(ROOT / "spark-submit.sh"), "--conf", "spark.ui.showConsoleProgress=false", *map(str, words)]


def categorize(folder: Path, feed: bool) -> None:
    words = ["--source", folder / "texts", "--target", folder / "lake", "--model", ROOT / "models" / "ecommerce"]
    timed_command(
        job("categorize", *words, "--text-columns", "text", "--carry", "number", *(["--change-data-feed"] if feed else [])),
        folder,
    )


def change_texts(folder: Path, texts: list[str], rows: int) -> None:
    """Every hundredth row gets a text that no row has had before."""
    fresh = distinct_texts(texts, -(-rows // 100), rows)
    for path in sorted((folder / "texts").glob("*.parquet")):
        table = pq.read_table(path)
        pairs = zip(table["number"].to_pylist(), table["text"].to_pylist(), strict=True)
        now = [text if number % 100 else fresh[number // 100] for number, text in pairs]
        pq.write_table(table.set_column(2, "text", [now]), path)


def seconds_of_publish(folder: Path, uri: str) -> float:
    return timed_command(job("publish", "--target", folder / "lake", "--to", uri, "--table", TABLE), folder)[0]


def seconds_of_copy(uri: str, definition: str, file: Path) -> float:
    """Table, rows and primary key in one transaction, as `publish` creates them."""
    began = time.monotonic()
    with psycopg.connect(uri) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {TABLE} ({definition})")
        with cursor.copy(f"COPY {TABLE} FROM STDIN WITH (FORMAT csv, FREEZE)") as copy, file.open("rb") as content:
            while piece := content.read(PIECE):
                copy.write(piece)
        cursor.execute(f"ALTER TABLE {TABLE} ADD PRIMARY KEY (product_id)")
    return time.monotonic() - began


def export(uri: str, file: Path) -> str:
    """Writes the rows of the table as CSV; returns the definition of its columns."""
    columns = """
        SELECT string_agg(concat(quote_ident(attname), ' ', format_type(atttypid, atttypmod), ordered), ', ' ORDER BY attnum)
        FROM pg_attribute, LATERAL (SELECT CASE attname WHEN 'product_id' THEN ' COLLATE "C"' ELSE '' END) AS c (ordered)
        WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
    """
    with psycopg.connect(uri) as connection, connection.cursor() as cursor:
        with cursor.copy(f"COPY {TABLE} TO STDOUT WITH (FORMAT csv)") as copy, file.open("wb") as content:
            for piece in copy:
                content.write(piece)
        found = cursor.execute(columns, (TABLE,)).fetchone()
    assert found
    return str(found[0])


def copied(server: Postgres, name: str, of: str) -> str:
    with psycopg.connect(server.uri("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {of}")
    return server.uri(name)


def one_round(server: Postgres, folder: Path, number: int, definition: str) -> dict[str, float]:
    found = {BARE: seconds_of_copy(server.database(f"bare{number}"), definition, folder / "rows.csv")}
    found[FIRST] = seconds_of_publish(folder, server.database(f"first{number}"))
    changed = copied(server, f"changed{number}", "night")
    found[CHANGED] = seconds_of_publish(folder, changed)
    found[AGAIN] = seconds_of_publish(folder, changed)
    for name in ("bare", "first", "changed"):
        with psycopg.connect(server.uri("postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name}{number}")
    return found


def measure(folder: Path, rows: int, rounds: int, feed: bool) -> dict[str, Any]:
    texts = pq.read_table(data_folder() / "ecommerce_text.parquet")["text"].to_pylist()
    if not (folder / "texts").exists():
        write_distinct_texts(folder / "texts", texts, rows, FILES)
    if not (folder / "lake").exists():
        categorize(folder, feed)
    server = Postgres()
    try:
        uri = server.database("night")
        seconds_of_publish(folder, uri)
        definition = export(uri, folder / "rows.csv")
        change_texts(folder, texts, rows)
        categorize(folder, feed)
        found = []
        for number in range(rounds):
            found.append(one_round(server, folder, number, definition))
            print(", ".join(f"{name} {seconds:.1f} s" for name, seconds in found[-1].items()), flush=True)
    finally:
        server.stop()
    return {"rows": rows, "feed": feed, "bytes": (folder / "rows.csv").stat().st_size, "rounds": found}


def ratios(rounds: Sequence[Mapping[str, float]]) -> tuple[float, float]:
    """Of the medians over the rounds: bare COPY divided by all rows without the start, and what changed divided by all rows, both without the start."""
    first = median(one[FIRST] - one[AGAIN] for one in rounds)
    return median(one[BARE] for one in rounds) / first, median(one[CHANGED] - one[AGAIN] for one in rounds) / first


def page(result: dict[str, Any]) -> str:
    rounds = result["rounds"]
    speed, share = ratios(rounds)
    how = "the change data feed" if result["feed"] else "a comparison of both versions"
    lines = [
        "# Into PostgreSQL",
        "",
        "    CATALOG_DATA=folder benchmarks/warehouse",
        "",
        f"{result['rows']:,} rows ({result['bytes'] / 1e6:.0f} MB as CSV) into a PostgreSQL 16 on the same machine with two cores, with its default",
        f"settings; what changed by {how}. Whole commands in turn, {len(rounds)} rounds; Spark starts again for each `publish`. The bare COPY creates the same table,",
        "reads a CSV file, and creates the primary key.",
        "",
        "| | median, s | all, s | beyond the start, median |",
        "|---|---|---|---|",
    ]
    for name in rounds[0]:
        seconds = [one[name] for one in rounds]
        beyond = "" if name == BARE else f"{median(one[name] - one[AGAIN] for one in rounds):.1f}"
        lines.append(f"| {name} | {median(seconds):.1f} | {', '.join(f'{one:.1f}' for one in seconds)} | {beyond} |")
    lines += [
        "",
        f"Beyond the start, which is what `publish` takes with nothing to do, all rows load at {speed:.2f} times the speed of the bare COPY (goal: "
        f"{WANTED_FIRST}), and a run in which 1 % of the rows changed takes {share:.1%} of the time of all rows (goal: at most {WANTED_CHANGED:.0%}).",
    ]
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--feed", action=argparse.BooleanOptionalAction, default=True, help="the table has a change data feed")
    parser.add_argument("--folder", type=Path, help="keep texts and tables there, and use those that already exist")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = (options.folder or Path(name)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        result = measure(folder, options.rows, options.rounds, options.feed)
    PAGE.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    PAGE.with_suffix(".md").write_text(page(result))
    print(page(result))


if __name__ == "__main__":
    main()
