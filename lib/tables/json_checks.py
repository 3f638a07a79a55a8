"""JSON lines as Spark's parser reads them: the first value of each line, its keys with case."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lib.errors import InputError
from lib.pairs.offered import EXACT_JSON
from lib.settings import UTF_8
from lib.tables.file_checks import files_with, key_pattern
from lib.tables.listing import path_in_metadata

# Spark accepts single quotes as well.
_QUOTED = r""" "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' """
_TOKEN = re.compile(_QUOTED + r"| [\[{] | [\]}]", re.DOTALL | re.VERBOSE)
_PIECE = re.compile(_QUOTED + r"""| [\[{\]}:,] | [^\s\[{\]}:,"']+ """, re.DOTALL | re.VERBOSE)
_DEPTH = {"{": 1, "[": 1, "}": -1, "]": -1}
# Numbers that can be written in several ways, as a pattern for Java and Python; and those of them that Java writes like this too.
_NOT_WHOLE = r"-?[0-9]+[.eE]|-0"
_WRITTEN_SO = re.compile(r"-?(0\.(?!000)|[1-9]\d{0,6}\.)(0|\d{0,6}[1-9])")
# Faults of a line; the latter two are followed by a line feed and the column.
_MORE, _NESTED, _NUMBER = "more", "nested", "number"

# Keys that no line has.
ANY, BAD = "any\n", "bad\n"


def _may_hold_more(line: Column) -> Column:
    """Whether a line may be more than one object; true for each that is. The bytes of most lines decide: a line that begins with a
    brace, and whose only closing brace is its last character, is one object. The others are parsed with Spark's own tokens: placed
    between two values they must count as one."""
    plain = line.startswith("{") & _ends_with_only_brace(line)
    one = F.json_array_length(F.concat(F.lit("[0,"), line, F.lit(",0]"))) == 3
    return ~(plain | F.coalesce(F.ltrim(line).rlike(r"^[{\[]") & one, F.lit(False)))


def check_lines(lines: DataFrame, line: Column, encoding: str, wanted: Sequence[str]) -> None:
    """Refuse files with a line of which Spark reads something else than it says.

    Of a line that goes on after its first value, Spark ignores the rest. An object or array is read as its text if other lines have
    texts in its place. Numbers that are not whole are written anew when they are read as texts, unless Spark parses bytes of UTF-8 and is
    4.0 or newer: 1.10 becomes 1.1.

    Args:
        lines: the files read as text, split as the reader splits them; line: the text of one.
        wanted: the columns of which only single values are accepted.
    Raises:
        InputError: names a file, and the column.
    """
    exact = EXACT_JSON and encoding == UTF_8
    suspects = lines.where(_may_hold_more(line) | _may_be_odd(line, wanted, exact) if wanted else _may_hold_more(line))
    content = suspects.select(F.col("value").cast("binary"), F.col("_metadata.file_path").alias("file"))
    names = {name.lower(): name for name in wanted}
    found = files_with(content, lambda value: _fault_of(value.decode(encoding, "replace"), names, exact))
    for path, fault in found.items():
        raise InputError(_sentence(path, *fault.split("\n", 1)))


def _sentence(path: str, fault: str, name: str = "") -> str:
    if fault == _MORE:
        return (
            f"Expected one JSON object a line, each line ended by a line feed, in {path}, found a line that is more or other than one; "
            f"write each object on its own line."
        )
    if fault == _NESTED:
        return (
            f"Expected a single value as {name} in each line of {path}, found an object or array; write the value itself there, or name "
            f"another column."
        )
    which, way = (
        ("before 4.0", "use Spark 4.0 or newer") if not EXACT_JSON else ("with --encoding", "convert the files to UTF-8")
    )
    return (
        f"Expected JSON lines without numbers such as 1.10, which Spark {which} reads as 1.1, in {path}, found some as {name}; write them in "
        f"quotes, deliver Parquet or CSV, or {way}."
    )


def _may_be_odd(line: Column, wanted: Sequence[str], exact: bool) -> Column:
    """Whether a wanted key may have a value that is none; true for each that has. Most lines need no pattern: one whose only closing
    brace is its last character holds no other object, and one without a bracket no array."""
    begins = r"[\[{]" if exact else rf"[\[{{]|{_NOT_WHOLE}"
    odd = line.rlike(rf"{key_pattern(*wanted)}\s*(?:{begins})")
    return ~(_ends_with_only_brace(line) & ~line.contains("[")) & odd if exact else odd


def _ends_with_only_brace(line: Column) -> Column:
    return F.octet_length(F.substring_index(line, "}", 1)) + 1 == F.octet_length(line)


def _fault_of(line: str, wanted: Mapping[str, str], exact: bool) -> str:
    """wanted: the columns by their names in lower case."""
    if _holds_more(line):
        return _MORE
    for key, value in _values(line):
        name = wanted.get(key.lower())
        if name and value in ("{", "["):
            return f"{_NESTED}\n{name}"
        if name and not exact and re.match(_NOT_WHOLE, value) and not _WRITTEN_SO.fullmatch(value):
            return f"{_NUMBER}\n{name}"
    return ""


def _values(line: str) -> list[tuple[str, str]]:
    """Each key of the object, or of the array of objects, in a line, and its value as it is written; of one in brackets only the first. None
    for half a line, which Spark itself refuses."""
    within = 2 if line.lstrip().startswith("[") else 1
    values: list[tuple[str, str]] = []
    depth, key, before = 0, "", ""
    for found in _PIECE.finditer(line):
        piece = found[0]
        if depth == within and piece == ":":
            key = before
        elif depth == within and before == ":":
            values.append((_unquoted(key), piece))
        depth += _DEPTH.get(piece, 0)
        before = piece
    return [] if depth else values


def _unquoted(key: str) -> str:
    try:
        return str(json.loads(key)) if key.startswith('"') else key[1:-1]
    except ValueError:
        return key[1:-1]


def _holds_more(line: str) -> bool:
    """Whether anything follows the first value of a line, or it is not an object or array. Spark itself refuses unclosed values."""
    text = line.strip(" \t\r\n")
    if not text.startswith(("{", "[")):
        return bool(text)
    depth = 0
    for token in _TOKEN.finditer(text):
        depth += _DEPTH.get(token[0], 0)
        if depth == 0:
            return token.end() < len(text)
    return False


def check_objects(reader: Any, uri: str) -> None:
    """Refuse files with a line that Spark's parser rejects, such as a truncated one; Spark's own error names no file.

    Args:
        reader: the DataFrameReader for the lines, without a schema.
    Raises:
        InputError: names a file.
    """
    kept = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": BAD}
    lines = reader.options(**kept).schema(f"`{ANY}` string, `{BAD}` string").json(uri)
    # Without a column that lines may have, Spark does not report which are bad.
    for row in lines.where(F.col(BAD).isNotNull()).select(ANY, BAD, F.col("_metadata.file_path").alias("file")).take(1):
        raise InputError(
            f"Expected one JSON object a line in {path_in_metadata(row['file'])}, found a line that is none, for example a truncated "
            f"one; correct the file, or deliver it again."
        )


def check_one_spelling(keys: Sequence[str], wanted: Sequence[str], where: str) -> None:
    """Refuse keys that differ only in case: Spark would read one of them and treat the others as absent.

    Raises:
        InputError: names the spellings of a column that the job needs.
    """
    for name in wanted:
        spellings = [key for key in keys if key.lower() == name.lower()]
        if len(spellings) > 1:
            raise InputError(
                f"Expected the key {name} in one spelling throughout {where}, found {' and '.join(spellings)}; write it the same in every line."
            )
