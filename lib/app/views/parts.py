"""What several pages share: fields for a product, a file to upload, waiting for Spark."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait
from contextlib import contextmanager
from typing import Any, TypeVar

import pyarrow as pa
import streamlit as st
from pyspark.sql import SparkSession

from lib.app import shown
from lib.app.lake import Lake
from lib.app.model import ONE_TEXT, Model, decided_rows
from lib.app.opened import the_page
from lib.app.table_file import TableFile, likely_columns, read_table_file
from lib.errors import CategorizerError
from lib.tables.target import Tables

T = TypeVar("T")
NO_COLUMN = ""
# Seconds between two checks for an answer, and seconds before a message is shown.
LOOK, PATIENCE = 0.05, 0.5


@contextmanager
def faults_told() -> Iterator[None]:
    """Show an error as a sentence in the page; the rest of the block is left out."""
    try:
        yield
    except CategorizerError as error:
        st.html(shown.fault(str(error)))


def the_lake() -> Lake:
    lake = the_page().lake
    assert lake is not None, "the pages of the table are only there where one was given"
    return lake


def asked(question: Callable[[SparkSession, Tables], T]) -> T:
    """The lake's answer. A person who leaves the page meanwhile does not wait for it.

    Raises:
        CategorizerError: the lake raised it.
    """
    lake, place, began = the_lake(), st.empty(), time.monotonic()
    answer = lake.ask(question)
    while not wait([answer], LOOK).done:
        # Each element that is written lets Streamlit end this run if there is something else to do.
        seconds = int(time.monotonic() - began)
        doing = "Spark is starting" if lake.is_starting else "reading the table"
        place.caption(f"{doing} … {seconds} s" if time.monotonic() - began > PATIENCE else "")
    place.empty()
    return answer.result()


def product_fields(model: Model, key: str) -> dict[str, str]:
    """The fields of a product, empty at first; what was typed stays until the page is reloaded."""
    kept = st.session_state.setdefault(f"{key} kept", {})
    for name in model.fields:
        label = "Product text" if name == ONE_TEXT else shown.markdown(name)
        height = 120 if len(model.fields) == 1 or name == model.fields[-1] else 68
        kept[name] = st.text_area(label, kept.get(name, ""), height=height, key=f"{key} {name}") or ""
    return {name: kept[name] for name in model.fields}


def uploaded_file(key: str) -> TableFile | None:
    """What somebody has uploaded; None until then.

    Raises:
        InputError: not a CSV file.
    """
    given = st.file_uploader("CSV file in UTF-8 with a header", type="csv", key=f"{key} file")
    if given is None:
        return None
    kept = st.session_state.get(f"{key} read")
    if kept is None or kept[0] != given.file_id:
        kept = (given.file_id, read_table_file(given.getvalue()))
        st.session_state[f"{key} read"] = kept
    return kept[1]


def chosen_columns(file: TableFile, fields: Sequence[str], key: str) -> dict[str, str]:
    """Which column holds which field; for a bundle of one text the columns that are joined, each under its own name."""
    likely = likely_columns(file.names, fields)
    if len(fields) == 1:
        chosen = st.multiselect(
            "Columns with the text, in the order in which they are joined", file.names, likely, key=f"{key} columns"
        )
        return {name: name for name in chosen}
    found: dict[str, str] = {}
    for field, guess in zip(fields, likely, strict=True):
        names = [NO_COLUMN, *file.names]
        name = st.selectbox(
            f"Column with the {shown.markdown(field)}", names, names.index(guess), _named, key=f"{key} column {field}"
        )
        if name:
            found[field] = name
    return found


def _named(name: str) -> str:
    return name or "(none)"


def scored(model: Model, texts: Sequence[pa.Array], fields: Sequence[str]) -> list[dict[str, Any]]:
    """What a bundle decides for many products, while the page shows how far it is."""
    total = len(texts[0])
    bar, rows = st.progress(0.0, text=f"0 of {total:,} rows"), []
    for batch in decided_rows(model, texts, fields):
        rows += batch.to_pylist()
        bar.progress(min(len(rows) / max(total, 1), 1.0), text=f"{len(rows):,} of {total:,} rows")
    bar.empty()
    return rows
