"""Frames in memory, of pandas and of Polars. Neither package is imported here unless such a frame is passed in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from lib.errors import InputError
from lib.model.text import without_halves

if TYPE_CHECKING:
    import pandas
    import polars

# The longest value that is read in full: texts are cut where the bundle says, labels are not cut.
MOST_CHARACTERS = 1 << 20


class EagerFrame(Protocol):
    """What a frame has to offer."""

    names: Sequence[str]
    rows: int

    def texts(self, name: str, rows: slice, most: int = MOST_CHARACTERS) -> pa.Array:
        """The texts of a column, strings [rows] of at most `most` characters; null where there is none.

        Raises:
            InputError: a value that is not text.
        """
        raise NotImplementedError

    def with_columns(self, added: pa.Table) -> Any:
        """A frame of the same kind, with these columns after its own; the original frame stays as it is."""
        raise NotImplementedError


class PandasFrame(EagerFrame):
    def __init__(self, frame: pandas.DataFrame) -> None:
        self._frame, self.names, self.rows = frame, [name for name in frame.columns if isinstance(name, str)], len(frame)

    def texts(self, name: str, rows: slice, most: int = MOST_CHARACTERS) -> pa.Array:
        column = self._frame[name]
        return _strings(column.iloc[rows].tolist(), name, column.dtype, most)

    def with_columns(self, added: pa.Table) -> pandas.DataFrame:
        # As arrays, which have no index by which pandas could reorder them.
        return self._frame.assign(**{name: added[name].to_pandas().array for name in added.column_names})


class PolarsFrame(EagerFrame):
    def __init__(self, frame: polars.DataFrame) -> None:
        self._frame, self.names, self.rows = frame, frame.columns, frame.height

    def texts(self, name: str, rows: slice, most: int = MOST_CHARACTERS) -> pa.Array:
        column = self._frame[name]
        return _strings(column[rows].to_list(), name, column.dtype, most)

    def with_columns(self, added: pa.Table) -> polars.DataFrame:
        import polars

        return self._frame.with_columns(polars.DataFrame(added).get_columns())


def _strings(values: Sequence[Any], name: str, kind: object, most: int) -> pa.Array:
    """Values of a column as strings, each cut before Arrow copies it."""
    cut = [value[:most] if isinstance(value, str) else value for value in values]
    try:
        return _array(cut)
    except (pa.ArrowException, TypeError, ValueError):
        found = next((value for value in values if not _is_text_or_none(value)), None)
        raise InputError(
            f"Expected texts in the column {name} of the frame, found {found!r:.60} (the column is of {kind}); cast it to text."
        ) from None


def _array(values: Sequence[Any]) -> pa.Array:
    try:
        return pa.array(values, pa.string(), from_pandas=True)
    except UnicodeEncodeError:
        clean = [without_halves(value) if isinstance(value, str) else value for value in values]
        return pa.array(clean, pa.string(), from_pandas=True)


def _is_text_or_none(value: Any) -> bool:
    try:
        _array([value])
    except (pa.ArrowException, TypeError, ValueError):
        return False
    return True
