"""JSON lines as Spark's parser takes them: the first value of each line, its keys letter by letter."""

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

# Spark takes single quotes as well.
_QUOTED = r""" "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' """
_STRING = re.compile(_QUOTED, re.DOTALL | re.VERBOSE)
_TOKEN = re.compile(_QUOTED + r"| [\[{] | [\]}]", re.DOTALL | re.VERBOSE)
# What may be spelled in several ways, and how it shows in a text; a pattern for Java and Python.
_NOT_WHOLE = r"[0-9][.eE]|-0"

# Keys that no line has.
ANY, BAD = "any\n", "bad\n"


def _may_hold_more(line: Column) -> Column:
    """Whether a line may be more than one object, true for each that is. Most lines are settled by a look at their bytes: of one that
    begins with a brace, and has no closing one but its last character, all belongs to one object. The others are read by Spark's
    own tokens: as the second of three values they are one value."""
    plain = line.startswith("{") & (F.octet_length(F.substring_index(line, "}", 1)) + 1 == F.octet_length(line))
    one = F.json_array_length(F.concat(F.lit("[0,"), line, F.lit(",0]"))) == 3
    return ~(plain | F.coalesce(F.ltrim(line).rlike(r"^[{\[]") & one, F.lit(False)))


def check_one_object_a_line(lines: DataFrame, line: Column, encoding: str) -> None:
    """Refuse files with a line that goes on behind its first value: Spark reads that and passes over the rest.

    Args:
        lines: the files read as text, as the reader parts them; line: the text of one.
    Raises:
        InputError: names the file.
    """
    suspects = lines.where(_may_hold_more(line))
    content = suspects.select(F.col("value").cast("binary"), F.col("_metadata.file_path").alias("file"))
    for path in files_with(content, lambda value: _holds_more(value.decode(encoding, "replace"))):
        raise InputError(
            f"Expected one JSON object a line, each line ended by a line feed, in {path}, found a line that is more or other than one; "
            f"write each object on a line of its own."
        )


def _holds_more(line: str) -> bool:
    """Whether anything follows the first value of a line, or that is no object or array. What never ends Spark refuses itself."""
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
    """Refuse files with numbers that are not whole, for a Spark that reads these as texts in its own spelling: 1.10 and 1.1 as one.

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
            f"quotes, deliver Parquet or CSV, or take Spark 4.0 or newer."
        )


def check_objects(reader: Any, uri: str) -> None:
    """Refuse files with a line that Spark's parser does not take, such as one that is half written; its own error names none of them.

    Args:
        reader: a DataFrameReader as it reads the lines, without a schema.
    Raises:
        InputError: names a file.
    """
    kept = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": BAD}
    lines = reader.options(**kept).schema(f"`{ANY}` string, `{BAD}` string").json(uri)
    # Without a column that lines may have, Spark does not say which are bad.
    for row in lines.where(F.col(BAD).isNotNull()).select(ANY, BAD, F.col("_metadata.file_path").alias("file")).take(1):
        raise InputError(
            f"Expected one JSON object a line in {path_in_metadata(row['file'])}, found a line that is none, such as one that is half "
            f"written; correct the file, or deliver it again."
        )


def check_one_spelling(keys: Sequence[str], wanted: Sequence[str], where: str) -> None:
    """Refuse keys that differ only in case: Spark would read one of them and take the others for absent.

    Raises:
        InputError: names the spellings of a column that the job asks for.
    """
    for name in wanted:
        spellings = [key for key in keys if key.lower() == name.lower()]
        if len(spellings) > 1:
            raise InputError(
                f"Expected the key {name} in one spelling throughout {where}, found {' and '.join(spellings)}; write it alike in every line."
            )
