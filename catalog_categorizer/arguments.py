"""The functions' arguments, and errors that use the names of Python's arguments, not those of the command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import ParamSpec, TypeVar

from lib.errors import CategorizerError, InputError

P = ParamSpec("P")
R = TypeVar("R")
TextColumns = str | Sequence[str] | Mapping[str, str]


def speaking_python(function: Callable[P, R]) -> Callable[P, R]:
    """The function, with errors that name `text_columns` where those of a job name `--text-columns`."""

    @wraps(function)
    def spoken(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except CategorizerError as error:
            raise type(error)(in_python(str(error))) from None

    return spoken


def in_python(text: str) -> str:
    return re.sub(r"--([a-z][a-z-]*)", lambda option: option[1].replace("-", "_"), text)


def names_of(text_columns: TextColumns, fields: Sequence[str]) -> list[str]:
    """The text columns as the jobs expect them: names, or FIELD=COLUMN.

    Args:
        fields: those of the bundle.
    Raises:
        InputError: something else, or fields of a bundle that has none.
    """
    if isinstance(text_columns, str):
        return [text_columns]
    named = list(text_columns) if isinstance(text_columns, (Mapping, Sequence)) else []
    columns = list(text_columns.values()) if isinstance(text_columns, Mapping) else named
    if not columns or not all(isinstance(name, str) for name in [*named, *columns]):
        raise InputError(
            "Expected text_columns as the name of a column, a list of names, or a dict from the bundle's fields to names, "
            f"found {text_columns!r:.100}; correct it."
        )
    if not isinstance(text_columns, Mapping):
        return named
    if not fields:
        raise InputError(
            f"Expected text_columns as a name or a list of names, since this bundle was trained on one text column, found fields "
            f"({', '.join(named)}); give only the names."
        )
    return [f"{field}={name}" for field, name in text_columns.items()]
