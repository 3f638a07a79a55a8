"""JSON lines as Spark's parser reads them: the first value of each line, its keys with case."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from lib.errors import InputError
from lib.pairs.offered import EXACT_JSON
from lib.tables.file_checks import files_with
from lib.tables.listing import path_in_metadata

# Spark accepts single quotes as well.
_QUOTED = r""" "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' """
_STRING = re.compile(_QUOTED, re.DOTALL | re.VERBOSE)
_TOKEN = re.compile(_QUOTED + r"| [\[{] | [\]}]", re.DOTALL | re.VERBOSE)
# Numbers that can be written in several ways, as a pattern for Java and Python.
_NOT_WHOLE = r"[0-9][.eE]|-0"

# Keys that no line has.
ANY, BAD = "any\n", "bad\n"


def _may_hold_more(line: Column) -> Column:
    """Whether a line may be more than one object; true for each that is. The bytes of most lines decide: a line that begins with a
    brace, and whose only closing brace is its last character, is one object. The others are parsed with Spark's own tokens: placed
    between two values they must count as one."""
    plain = line.startswith("{") & (F.octet_length(F.substring_index(line, "}", 1)) + 1 == F.octet_length(line))
    one = F.json_array_length(F.concat(F.lit("[0,"), line, F.lit(",0]"))) == 3
    return ~(plain | F.coalesce(F.ltrim(line).rlike(r"^[{\[]") & one, F.lit(False)))


def check_one_object_a_line(lines: DataFrame, line: Column, encoding: str) -> None:
    """Refuse files with a line that goes on after its first value: Spark reads that value and ignores the rest.

    Args:
        lines: the files read as text, split as the reader splits them; line: the text of one.
    Raises:
        InputError: names the file.
    """
    suspects = lines.where(_may_hold_more(line))
    content = suspects.select(F.col("value").cast("binary"), F.col("_metadata.file_path").alias("file"))
    for path in files_with(content, lambda value: _holds_more(value.decode(encoding, "replace"))):
        raise InputError(
            f"Expected one JSON object a line, each line ended by a line feed, in {path}, found a line that is more or other than one; "
            f"write each object on its own line."
        )


def _holds_more(line: str) -> bool:
    """Whether anything follows the first value of a line, or it is not an object or array. Spark itself refuses unclosed values."""
    text = line.strip(" \t\r\n")
    if not text.startswith(("{", "[")):
        return bool(text)
    depth = 0
    for token in _TOKEN.finditer(text):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token[0], 0)
        if depth == 0:
            return token.end() < len(text)
    return False


def check_whole_numbers(lines: DataFrame, line: Column, encoding: str) -> None:
    """Refuse files with numbers that are not whole under a Spark that normalizes them when it reads them as texts: 1.10 becomes 1.1.

    Args:
        lines, line: as in `check_one_object_a_line`.
    Raises:
        InputError: names the file.
    """
    if EXACT_JSON:
        return
    content = lines.where(line.rlike(_NOT_WHOLE)).select(
        F.col("value").cast("binary"), F.col("_metadata.file_path").alias("file")
    )
    for path in files_with(
        content, lambda value: bool(re.search(_NOT_WHOLE, _STRING.sub("", value.decode(encoding, "replace"))))
    ):
        raise InputError(
            f"Expected JSON lines without numbers such as 1.10, which Spark before 4.0 reads as 1.1, in {path}, found some; write them in "
            f"quotes, deliver Parquet or CSV, or use Spark 4.0 or newer."
        )


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
