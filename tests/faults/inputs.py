"""Odd sources by the thousand, each with its correct answer computed in plain Python, independently of the job.

A delivery is drawn at random: rows, then how they are written: format, files, folders, encoding, compression, order and case of
the columns, readers' options; and sometimes a fault in them. The answer is the text of each id, and how many rows are rejected. A
source without a fault has to be read, and read correctly; one with a fault may be refused, and must never be misread.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

TEXTS = (
    "steel kettle",
    "Röhre, 3 m",
    'a "quoted" lamp',
    "two\nlines",
    "a,b;c\td",
    "日本の本",
    "ελληνικά",
    "naïve café",
    "😀 poster",
    " leading and trailing ",
    "=1+1",
    "null",
    "\u202eright to left",
    "\\backslash \\n",
    "'single'",
    "x" * 3000,
    "# no comment",
    "{not: json}",
    "NaN",
    "",
)
IDS = ("007", "1e5", "A-1", "a-1", " 7", "7 ", "äöü", 'q"q', "x,y", "x;y", "0.10", "TRUE", "9" * 25, "日本", "\\N", "null", "-")
NO_IDS = ("", " ", "\t", "\u00a0", "\u200b", "x" * 600)
LATIN = "windows-1252"


@dataclass(frozen=True)
class Row:
    """id, title, description: None for none; at: an order value as text, None for none."""

    id: str | None
    title: str | None
    description: str | None
    at: str | None


@dataclass
class Delivery:
    """A source on disk.

    options: of lib.tables.formats.ReadOptions; order_by: the column, or None; fault: what is wrong with it, or None; may_differ: if it
    is read all the same, this many rows may differ, since nobody could notice; None: any number; may_end: rows may be missing.
    """

    path: Path
    kind: str
    rows: list[Row]
    options: dict[str, Any] = field(default_factory=dict)
    order_by: str | None = None
    fault: str | None = None
    may_differ: int | None = 0
    may_end: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def copies(self) -> dict[str, list[Row]]:
        """The rows of each usable id."""
        copies: dict[str, list[Row]] = {}
        for row in self.rows:
            if row.id is not None and row.id not in NO_IDS:
                copies.setdefault(row.id, []).append(row)
        return copies

    @property
    def answer(self) -> tuple[dict[str, str | None], int]:
        """The text of each usable id, None where any of its copies may be kept; and the rows that are rejected."""
        copies = self.copies
        return {one: self._kept(rows) for one, rows in copies.items()}, len(self.rows) - len(copies)

    def _kept(self, copies: list[Row]) -> str | None:
        known = [row for row in copies if row.at is not None] if self.order_by else []
        newest = [row for row in known if float(row.at or 0) == max(float(one.at or 0) for one in known)] or copies
        texts = {text_of(row) for row in newest}
        return texts.pop() if len(texts) == 1 else None


def text_of(row: Row) -> str:
    return " ".join(part for part in (row.title, row.description) if part is not None).strip(" ")


def draw(seed: str, folder: Path) -> Delivery:
    """The delivery of this seed, written into `folder`."""
    dice = random.Random(seed)
    kind = dice.choice(("csv", "csv", "json", "parquet"))
    encoding = dice.choice(("utf-8", "utf-8", LATIN)) if kind != "parquet" else "utf-8"
    rows = _rows(dice, kind, encoding)
    found = Delivery(folder / dice.choice(("in", "in night", "night[12]", "nächte")), kind, rows)
    if encoding != "utf-8":
        found.options["encoding"] = encoding
    if dice.random() < 0.4:
        found.order_by = "at"
    count = dice.randint(1, 3)
    files = [rows[number::count] for number in range(count)]
    {"csv": _write_csv, "json": _write_json, "parquet": _write_parquet}[kind](dice, found, files, encoding)
    if dice.random() < 0.4:
        _break(dice, found)
    return found


def _rows(dice: random.Random, kind: str, encoding: str) -> list[Row]:
    texts = [text for text in TEXTS if _fits(text, encoding)]
    ids = [one for one in IDS if _fits(one, encoding)]
    rows = []
    for _ in range(dice.randint(1, 12)):
        draws = dice.random()
        one = dice.choice(ids) if draws < 0.5 else f"p{dice.randint(0, 30)}" if draws < 0.9 else None
        if draws > 0.95:
            one = dice.choice([x for x in NO_IDS if _fits(x, encoding)])
        title = dice.choice(texts) if dice.random() < 0.85 else None
        description = dice.choice(texts) if dice.random() < 0.5 else None
        at = str(dice.choice((1, 2, 10, 9, 2.5, -3))) if dice.random() < 0.8 else None
        if kind == "csv":
            # A line of CSV does not distinguish a missing value from an empty text.
            one, title, description = one or None, title or None, description or None
        rows.append(Row(one, title, description, at))
    return rows


def _fits(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _names(dice: random.Random) -> list[str]:
    """The columns in the file's own order, with others among them."""
    names = ["product_id", "title", "description", "at", *dice.sample(["price", "Ünit", "x y"], dice.randint(0, 2))]
    dice.shuffle(names)
    return names


def _place(dice: random.Random, found: Delivery, number: int, suffix: str, one_file: bool, deep: int) -> Path:
    """The path of a file: the source itself, or in its folder at any depth."""
    if one_file:
        found.path = found.path.with_name(found.path.name + suffix)
        found.path.parent.mkdir(parents=True, exist_ok=True)
        return found.path
    place = found.path.joinpath(*["deep"] * (number * deep), f"part-{number}{suffix}")
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def _write_csv(dice: random.Random, found: Delivery, files: list[list[Row]], encoding: str) -> None:
    delimiter = dice.choice((",", ",", ";", "\t", "|"))
    end = dice.choice(("\n", "\n", "\r\n"))
    if delimiter != ",":
        found.options["delimiter"] = delimiter
    headless = dice.random() < 0.15
    shared = _names(dice)
    if headless:
        found.options["columns"] = tuple(shared)
    packed, one_file, deep = dice.random() < 0.15, len(files) == 1 and dice.random() < 0.7, int(dice.random() < 0.2)
    for number, rows in enumerate(files):
        names = shared if headless else _names(dice)
        written = [name.upper() if dice.random() < 0.1 and name.isascii() else name for name in names]
        text = io.StringIO()
        writer = csv.writer(
            text, delimiter=delimiter, lineterminator=end, quoting=dice.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
        )
        if not headless:
            writer.writerow(written)
        for row in rows:
            writer.writerow([_cell(row, name) for name in names])
        content = text.getvalue().encode(encoding)
        if encoding == "utf-8" and not headless and dice.random() < 0.1:
            content = b"\xef\xbb\xbf" + content
        suffix = ".csv.gz" if packed else ".csv"
        _place(dice, found, number, suffix, one_file, deep).write_bytes(gzip.compress(content) if packed else content)
        found.notes.append(f"{suffix} {written}")


def _cell(row: Row, name: str) -> str:
    value = {"product_id": row.id, "title": row.title, "description": row.description, "at": row.at}.get(name, "5")
    return value or ""


def _write_json(dice: random.Random, found: Delivery, files: list[list[Row]], encoding: str) -> None:
    packed, one_file, deep = dice.random() < 0.15, len(files) == 1 and dice.random() < 0.7, int(dice.random() < 0.2)
    escaped = dice.random() < 0.5
    for number, rows in enumerate(files):
        lines = []
        for place, row in enumerate(rows):
            pairs = [("product_id", row.id), ("title", row.title), ("description", row.description), ("at", row.at)]
            dice.shuffle(pairs)
            shown = {name: value for name, value in pairs if value is not None or not place or dice.random() < 0.5}
            lines.append(json.dumps(shown, ensure_ascii=escaped) + "\n")
        content = "".join(lines).encode(encoding)
        suffix = dice.choice((".json", ".jsonl")) + (".gz" if packed else "")
        _place(dice, found, number, suffix, one_file, deep).write_bytes(gzip.compress(content) if packed else content)
        found.notes.append(f"{suffix} {len(rows)} lines")


def _write_parquet(dice: random.Random, found: Delivery, files: list[list[Row]], encoding: str) -> None:
    one_file, deep = len(files) == 1 and dice.random() < 0.7, int(dice.random() < 0.2)
    for number, rows in enumerate(files):
        columns: dict[str, pa.Array] = {
            "product_id": pa.array([row.id for row in rows], pa.string()),
            "title": pa.array([row.title for row in rows], pa.string()),
            "description": pa.array([row.description for row in rows], pa.string()),
            "at": pa.array([row.at for row in rows], pa.string()),
        }
        names = [name for name in _names(dice) if name in columns]
        written = [name.upper() if dice.random() < 0.1 else name for name in names]
        table = pa.table({shown: columns[name] for shown, name in zip(written, names, strict=True)})
        if dice.random() < 0.2:
            table = table.append_column("price", pa.array([1.5] * len(rows)))
        groups = dice.choice((1, 1000))
        pq.write_table(table, _place(dice, found, number, ".parquet", one_file, deep), row_group_size=groups)
        found.notes.append(f".parquet {table.column_names}")


# Faults


def _break(dice: random.Random, found: Delivery) -> None:
    """Damage a delivery in one way that may change its rows."""
    # A file without bytes has none to damage.
    files = sorted(path for path in [found.path, *found.path.rglob("*")] if path.is_file() and path.stat().st_size)
    fault: Callable[[random.Random, Delivery, Path], str | None] = dice.choice(FAULTS)
    found.fault = fault(dice, found, dice.choice(files))


def _cut(dice: random.Random, found: Delivery, path: Path) -> str:
    content = path.read_bytes()
    path.write_bytes(content[: dice.randrange(len(content))])
    # A cut between two rows cannot be noticed, nor one inside the last column of the last row.
    found.may_differ, found.may_end = 1, True
    return f"{path.name} cut"


def _emptied(dice: random.Random, found: Delivery, path: Path) -> str:
    path.write_bytes(b"")
    # Without a header and a footer, nothing distinguishes a file without rows from one whose rows are lost.
    found.may_end = True
    return f"{path.name} emptied"


def _garbled(dice: random.Random, found: Delivery, path: Path) -> str:
    content = bytearray(path.read_bytes())
    content[dice.randrange(len(content))] = dice.choice((0, 0x22, 0x80, 0xE9, 0xFF))
    path.write_bytes(bytes(content))
    found.may_differ = 1
    return f"{path.name} garbled"


def _other_encoding(dice: random.Random, found: Delivery, path: Path) -> str:
    # Bytes of one encoding are mostly valid text in another.
    found.may_differ = None
    found.options["encoding"] = dice.choice(("utf-8", "iso-8859-1", "shift_jis", LATIN))
    return f"read as {found.options['encoding']}"


def _other_delimiter(dice: random.Random, found: Delivery, path: Path) -> str:
    found.options["delimiter"] = dice.choice((",", ";", "|", ":"))
    return f"read with {found.options['delimiter']!r}"


def _stranger(dice: random.Random, found: Delivery, path: Path) -> str | None:
    if not found.path.is_dir():
        return None
    name = dice.choice(("_SUCCESS", ".part.crc", "notes.txt", "other.csv", "other.json", "k=1/part.csv"))
    place = found.path / name
    place.parent.mkdir(exist_ok=True)
    place.write_text("product_id,title,description,at\nstranger,lamp,,\n")
    found.may_differ = 1
    return None if name.startswith(("_", ".")) else f"a stranger {name}"


def _renamed(dice: random.Random, found: Delivery, path: Path) -> str:
    content = path.read_bytes()
    if path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(gzip.decompress(content).replace(b"title", b"tilte")))
    else:
        path.write_bytes(content.replace(b"title", b"tilte"))
    if found.kind == "json":
        # JSON lines leave out missing values; a file without any title is a case for the guardrails.
        found.may_differ = None
    return f"another name for the title in {path.name}"


FAULTS: tuple[Callable[[random.Random, Delivery, Path], str | None], ...] = (
    _cut,
    _emptied,
    _garbled,
    _other_encoding,
    _other_delimiter,
    _stranger,
    _renamed,
)
