"""A source of files: those that the last run has read are not read again."""

from __future__ import annotations

import csv
import json
import math
import os
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lib.scoring.fresh_files import select_fresh
from lib.scoring.selection import Selection, Turnover
from tests.faults.nights import hashes_in, run, titles_hash
from tests.spark.both_ways import are_equal

pytestmark = pytest.mark.usefixtures("spark")

WORDS = ["steel kettle", "garden chair", "usb cable", "detective novel", "cotton shirt", "blue jeans", "yoga mat", ""]
# Columns: product_id, title, price.
Rows = dict[str | None, tuple[str, float]]


@pytest.fixture
def selections(monkeypatch) -> list[Selection | None]:
    """What the files led to in each run that looked at them; None where all rows had to be compared."""
    seen = []

    def watched(*arguments):
        seen.append(select_fresh(*arguments))
        return seen[-1]

    monkeypatch.setattr("lib.scoring.strategy.select_fresh", watched)
    return seen


def write(folder: Path, name: str, rows: list[tuple], kind: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.{kind}"
    columns = {name: [row[i] for row in rows] for i, name in enumerate(("product_id", "title", "price"))}
    if kind == "parquet":
        pq.write_table(
            pa.table(columns, pa.schema({"product_id": pa.string(), "title": pa.string(), "price": pa.float64()})), path
        )
    elif kind == "json":
        path.write_text("".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([[*columns], *rows])
    return path


def write_again(path: Path) -> None:
    """The same file with another time."""
    time = path.stat().st_mtime_ns + 10_000_000
    os.utime(path, ns=(time, time))


def mend(files: dict[str, list[tuple]]) -> None:
    """One row for each id again, and none without."""
    seen: set[str] = set()
    for name, rows in files.items():
        files[name] = [row for row in rows if row[0] and row[0] not in seen and not seen.add(row[0])]


def change(files: dict[str, list[tuple]], random: Random) -> set[str]:
    """One change of the files, of a kind that keeps one row per id, or seldom of one that does not. Returns the files to write, also with the rows they had."""
    mend(files)
    names = sorted(name for name in files if files[name])
    one, other, fresh, text = random.choice(names), random.choice(names), f"f{random.randrange(90)}", random.choice(WORDS)
    rows, new = files[one], f"n{random.randrange(9999)}"
    row = random.randrange(len(rows))
    product_id, title, price = rows[row]
    kinds = {
        "text": lambda: rows.__setitem__(row, (product_id, text, price)),
        "price": lambda: rows.__setitem__(row, (product_id, title, random.choice([1.5, 2.0]))),
        "again": lambda: None,
        "order": lambda: random.shuffle(rows),
        "append": lambda: files.__setitem__(fresh, [(new, text, 1.0)]),
        "one more": lambda: rows.append((new, text, 1.0)),
        "one less": lambda: rows.pop(row),
        "move": lambda: files[other].append(rows.pop(row)),
        "swap": lambda: files.update({one: files[other], other: rows}),
        "rename": lambda: files.update({fresh: files.pop(one)}),
        "remove": lambda: files.pop(one) if len(names) > 2 else None,
        "copy": lambda: files[other].append((product_id, text, price)),
        "no id": lambda: rows.append((None, text, 1.0)),
    }
    random.choices(list(kinds.values()), [5, 3, 3, 2, 3, 3, 1, 2, 1, 1, 0.5, 0.5, 0.5])[0]()
    return {one, other, fresh}


@pytest.mark.parametrize(
    ("missing", "kind", "seed"), [("keep", "parquet", 1), ("mark", "csv", 2), ("delete", "json", 3), ("mark", "parquet", 4)]
)
def test_a_run_from_the_files_that_changed_is_as_one_that_compares_all_rows(
    spark, tmp_path, monkeypatch, selections, missing, kind, seed
) -> None:
    """Random changes of files, two tables of them: one from the files that changed, one from all rows."""
    random, source = Random(seed), tmp_path / "catalogue"
    monkeypatch.setattr("lib.scoring.changes.MOST_AGED", math.inf)
    monkeypatch.setattr("lib.scoring.fresh_files.MOST_NEW", 0.9)
    files = {f"f{i}": [(f"p{i}{j}", random.choice(WORDS), float(j)) for j in range(8)] for i in range(5)}
    for name, rows in files.items():
        write(source, name, rows, kind)
    options = ("--missing", missing, "--carry", "price,title", "--guard-removed", "inf", "--guard-rows", "inf")
    for _ in range(4):
        for lake, trust in (("trusting", "--trust-files"), ("reading", "--no-trust-files")):
            assert run(source, tmp_path / lake, *options, trust) == 0
        are_equal(spark, tmp_path / "trusting", tmp_path / "reading")
        for _ in range(random.randrange(1, 3)):
            written = change(files, random)
            for path in source.iterdir():
                if not files.get(path.stem):
                    path.unlink()
            for name in written & files.keys():
                if files[name]:
                    write_again(write(source, name, files[name], kind))
    assert sum(selection is not None for selection in selections) >= 1


def test_only_the_files_that_changed_are_read(spark, tmp_path, selections, clocks) -> None:
    source, lake = tmp_path / "catalogue", tmp_path / "lake"
    rows = {name: [(f"{name}{i}", f"steel kettle {i}", 1.0) for i in range(30)] for name in "abc"}
    paths = {name: write(source, name, rows[name], "parquet") for name in rows}
    titles = {row[0]: row[1] for part in rows.values() for row in part}
    assert run(source, lake) == 0
    # The first run scores all rows, the second compares them and records the files.
    write_again(paths["a"])
    assert run(source, lake) == 0
    assert selections == []
    rows["b"][3] = ("b3", "garden chair", 1.0)
    rows["b"].append(("new", "lamp", 1.0))
    write(source, "b", rows["b"], "parquet")
    assert run(source, lake) == 0
    selection = selections[-1]
    assert (selection.census.rows, selection.unchanged.ids, clocks[-1].texts) == (91, 89, 2)
    assert selection.turnover == Turnover(came=1, gone=0, ids=90, aged=1)
    titles |= {"b3": "garden chair", "new": "lamp"}
    assert hashes_in(spark, lake) == titles_hash(titles)


def test_who_does_not_trust_the_files_has_them_read(spark, tmp_path, selections) -> None:
    source, lake = tmp_path / "catalogue", tmp_path / "lake"
    path = write(source, "a", [("a0", "steel kettle", 1.0)], "parquet")
    write(source, "b", [("b0", "lamp", 1.0)], "parquet")
    stat = path.stat()
    assert run(source, lake) == 0
    # Another text of as many bytes.
    write(source, "a", [("a0", "tinny kettle", 1.0)], "parquet")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    assert run(source, lake) == 0
    assert hashes_in(spark, lake) == titles_hash({"a0": "steel kettle", "b0": "lamp"})
    assert run(source, lake, "--no-trust-files") == 0
    assert hashes_in(spark, lake) == titles_hash({"a0": "tinny kettle", "b0": "lamp"})
    assert selections == []


def test_files_that_were_written_again_are_read_once_and_nothing_is_compared(spark, tmp_path, selections) -> None:
    source, lake = tmp_path / "catalogue", tmp_path / "lake"
    paths = [write(source, name, [(f"{name}{i}", f"lamp {i}", 1.0) for i in range(9)], "parquet") for name in "abc"]
    for _ in range(3):
        assert run(source, lake) == 0
        for path in paths:
            write_again(path)
    assert [selection.unchanged.ids for selection in selections] == [27]
    assert selections[-1].turnover == Turnover(came=0, gone=0, ids=27, aged=0)


@pytest.mark.parametrize("kind", ["gone", "copy", "moved to a file that is not read"])
def test_where_ids_do_not_come_in_the_place_of_those_that_went_all_rows_are_compared(spark, tmp_path, selections, kind) -> None:
    source, lake = tmp_path / "catalogue", tmp_path / "lake"
    rows = {name: [(f"{name}{i}", f"lamp {i}", 1.0) for i in range(9)] for name in "abcd"}
    for name in rows:
        write(source, name, rows[name], "parquet")
    options = ("--missing", "mark", "--guard-rejected", "inf")
    for _ in range(2):
        assert run(source, lake, *options) == 0
        write_again(source / "a.parquet")
    if kind == "gone":
        rows["b"].pop()
    elif kind == "copy":
        rows["b"].append(("c3", "a copy", 1.0))
    else:
        rows["b"][0] = ("c3", "instead of b0", 1.0)
    write(source, "b", rows["b"], "parquet")
    assert run(source, lake, *options) == 0
    assert selections[-1] is None
    found = {row["product_id"]: row["missing_since"] for row in spark.read.format("delta").load(str(lake)).collect()}
    gone = {"gone": {"b8"}, "copy": set(), "moved to a file that is not read": {"b0"}}[kind]
    assert {name for name, since in found.items() if since is not None} == gone


def test_a_column_may_have_the_name_of_spark_s_own(spark, tmp_path, selections) -> None:
    source, lake = tmp_path / "catalogue", tmp_path / "lake"
    source.mkdir()
    for name in "abcd":
        rows = {"product_id": [f"{name}{i}" for i in range(9)], "title": ["lamp"] * 9, "_metadata": [{"file_path": name}] * 9}
        pq.write_table(pa.table(rows), source / f"{name}.parquet")
    for _ in range(3):
        assert run(source, lake) == 0
        write_again(source / "a.parquet")
    assert selections == []


def test_csv_files_with_different_headers(spark, tmp_path: Path, selections) -> None:
    """They are read apart and united, and Spark does not tell from which file a row of a union comes."""
    folder, lake = tmp_path / "in", tmp_path / "lake"
    folder.mkdir()
    rows = {"1": "steel kettle", "2": "usb cable"}
    (folder / "a.csv").write_text("product_id,title\n1,steel kettle\n")
    for second in (
        "title,product_id\nusb cable,2\n",
        "\ufefftitle,product_id\nyoga mat,2\n",
        "title,product_id\ncotton shirt,2\n",
    ):
        (folder / "b.csv").write_text(second)
        rows["2"] = second.splitlines()[1].split(",")[0]
        assert run(folder, lake) == 0
        assert hashes_in(spark, lake) == titles_hash(rows)
    assert selections == []
