"""Fields of a product in one text: each follows a marker word, so that a model can tell a title from a description.

A bundle trained on several columns lists them as the fields of its text settings. A job then names the columns that hold
them, all or some, in any order: `--text-columns title,description`, or `title=product_name` where a column has another name.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from lib.errors import InputError
from lib.model.markup import NO_WORD
from lib.model.text import without_halves
from lib.settings import Names

# A word that no shop writes, of letters and digits, so that it is one token with any separators.
_PREFIX = "xxfield"


def marker(field: int) -> str:
    """The word in front of the field with this number."""
    return f"{_PREFIX}{field}"


def markers_of(fields: Sequence[str]) -> Names:
    """The markers of all fields, in their order."""
    return tuple(marker(i) for i in range(len(fields)))


def columns_and_markers(given: Sequence[str], fields: Sequence[str]) -> tuple[Names, Names]:
    """The columns to read, in the order of the bundle's fields, and the marker of each.

    Args:
        given: what --text-columns names: columns, or FIELD=COLUMN.
        fields: of the bundle; without any, the columns are joined as they are and have no markers.
    Raises:
        InputError: a name that is no field of the bundle, or a field named twice.
    """
    if not fields:
        return tuple(given), ()
    # A column's own name may contain the sign, so the pair is read only where a field comes before it.
    pairs = [
        (one.split("=", 1)[0], one.split("=", 1)[1]) if "=" in one and one.split("=", 1)[0] in fields else (one, one)
        for one in given
    ]
    names = [field for field, _ in pairs]
    if not set(names) <= set(fields) or len(set(names)) != len(names):
        raise InputError(
            f"Expected --text-columns of the fields {', '.join(fields)} that this bundle was trained on, each once at most, "
            f"found {', '.join(names)}; write FIELD=COLUMN where a column has another name."
        )
    by_field = dict(pairs)
    present = [i for i, field in enumerate(fields) if field in by_field]
    return tuple(by_field[fields[i]] for i in present), tuple(marker(i) for i in present)


def marked_text(text: str, fields: Sequence[str], field: str | None = None) -> str:
    """A single text as the bundle expects it: after the marker of `field`, or of the first one; empty if it has no word.

    Raises:
        InputError: the bundle has no such field.
    """
    if field is not None and field not in fields:
        has = f"one of {', '.join(fields)}" if fields else "none, since this bundle was trained on one text column"
        raise InputError(f"Expected as --field {has}, found {field!r}; correct it.")
    if not fields:
        return text
    word = marker(fields.index(field) if field else 0)
    return str(_marked(word, pa.array([without_halves(text)], pa.string()))[0].as_py() or "")


def joined_texts(columns: Sequence[pa.Array], max_characters: int, markers: Sequence[str] = ()) -> pa.Array:
    """The texts of one or more columns in one: what lib.scoring.catalogue.joined_text does in Spark.

    Args:
        columns: strings [rows], null where there is no text, in the order in which they are joined.
        markers: one for each column, or none.
    Returns:
        strings [rows], without null.
    """
    parts = [pc.utf8_slice_codeunits(column, 0, max_characters) for column in columns]
    if markers:
        parts = [_marked(word, part) for word, part in zip(markers, parts, strict=True)]
    # An empty text comes first, and its blank is trimmed: without it Arrow would return null for a row without any text.
    joined = pc.binary_join_element_wise("", *parts, " ", null_handling="skip")
    return pc.utf8_slice_codeunits(pc.utf8_trim(joined, " "), 0, max_characters)


def _marked(word: str, part: pa.Array) -> pa.Array:
    """Each text after its marker; null where it holds neither a letter nor a digit, but markup perhaps, since a marker alone is no text."""
    plain = pc.replace_substring_regex(part, NO_WORD, "")
    worded = pc.fill_null(pc.match_substring_regex(plain, r"[\p{L}\p{N}]"), False)
    return pc.if_else(worded, pc.binary_join_element_wise(pa.scalar(word), part, " "), None)
