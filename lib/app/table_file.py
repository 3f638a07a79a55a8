"""A CSV file that somebody uploads: read strictly, categorized, and returned with columns after its own."""

from __future__ import annotations

import csv
import io
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from lib.errors import InputError
from lib.settings import Names

# The most characters of one value; a text is only read as far as the bundle says.
MOST_CHARACTERS = 1 << 20
ADDED = ("category", "confidence", "runner_up", "runner_up_confidence", "status", "reason", "unfamiliarity")
# For paths: their published part, joined like the labels.
OF_PATHS = "published_path"
# Columns that texts are likely in, best first.
LIKELY = ("title", "name", "text", "product_name", "description")


@dataclass(frozen=True)
class TableFile:
    """columns: strings [rows] by name, in the order of the file; has_mark: it begins with a byte order mark."""

    columns: Mapping[str, pa.Array]
    rows: int
    has_mark: bool

    @property
    def names(self) -> Names:
        return tuple(self.columns)


def read_table_file(content: bytes) -> TableFile:
    """A CSV file in UTF-8, with a header, quoted as RFC 4180 says.

    Raises:
        InputError: something else; the message says where.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"Expected a CSV file in UTF-8, found an invalid byte after {error.start:,} others; save it as UTF-8."
        ) from None
    lines = _lines(text)
    header = next(lines, [])
    twice = [name for name, count in Counter(header).items() if count > 1]
    if not any(header) or twice:
        found = f"{twice[0]!r} more than once" if any(header) else "none"
        raise InputError(f"Expected a CSV file whose first line names its columns, each once, found {found}; correct the file.")
    rows = list(lines)
    columns = {name: pa.array([row[i] for row in rows], pa.string()) for i, name in enumerate(header)}
    return TableFile(columns, len(rows), content.startswith(BOM_UTF8))


def _lines(text: str) -> Iterator[list[str]]:
    """Rows of as many values as the first has. Blank lines are skipped, but in a file of one column each is a row without a text."""
    csv.field_size_limit(MOST_CHARACTERS)
    reader, width = csv.reader(io.StringIO(text, newline=""), strict=True), 0
    try:
        for row in reader:
            if not row and width != 1:
                continue
            row = row or [""]
            width = width or len(row)
            if len(row) != width:
                raise InputError(
                    f"Expected {width} values in each row of the CSV file, as in its header, found {len(row)} in line {reader.line_num:,}; "
                    "correct the row, or the quotes before it."
                )
            yield row
    except csv.Error as error:
        raise InputError(
            f"Expected CSV with each quote inside a quoted text doubled, found an error in line {reader.line_num:,} ({error}); "
            "correct the file."
        ) from None


def likely_columns(names: Sequence[str], fields: Sequence[str]) -> Names:
    """For each field the column of its name, or "" where there is none; for a bundle of one text the columns that look like texts."""
    by_lower = {name.lower(): name for name in reversed(names)}
    if len(fields) > 1:
        return tuple(by_lower.get(field.lower(), "") for field in fields)
    return tuple(by_lower[name] for name in LIKELY if name in by_lower) or tuple(names[:1])


def added_names(taken: Sequence[str], has_paths: bool) -> Mapping[str, str]:
    """The names under which the columns of `categorized` are added to a file that may have such columns already.

    Raises:
        InputError: the other names are taken too.
    """
    wanted = [*ADDED, *([OF_PATHS] if has_paths else [])]
    clash = set(wanted) & set(taken)
    names = {name: f"model_{name}" if clash else name for name in wanted}
    if found := [name for name in names.values() if name in taken]:
        raise InputError(f"Expected a CSV file without the columns that are added, found {', '.join(found)}; rename them.")
    return names


def written(file: TableFile, decided: Sequence[Mapping[str, Any]], separator: str | None) -> bytes:
    """The file with the decisions after its own columns.

    Args:
        decided: rows of `categorized`, one for each row of the file. separator: between the levels of a path; None where labels are not paths.
    """
    names = added_names(file.names, separator is not None)
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([*file.names, *names.values()])
    own = zip(*(column.to_pylist() for column in file.columns.values()), strict=True)
    writer.writerows([*left, *_values(right, names, separator)] for left, right in zip(own, decided, strict=True))
    return out.getvalue().encode("utf-8-sig" if file.has_mark else "utf-8")


def _values(row: Mapping[str, Any], names: Iterable[str], separator: str | None) -> Iterator[str]:
    for name in names:
        value = row[name]
        if isinstance(value, float):
            yield f"{value:.6f}"
        elif isinstance(value, list):
            yield (separator or "").join(value)
        else:
            yield "" if value is None else str(value)
