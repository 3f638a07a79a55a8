"""A CSV file uploaded, categorized, and returned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from lib.app import shown
from lib.app.opened import the_page
from lib.app.table_file import TableFile, added_names, written
from lib.app.views.parts import chosen_columns, faults_told, scored, uploaded_file
from lib.reports.html import Cell, table

PREVIEW = 20


def page() -> None:
    model = the_page().model
    st.title("A file", anchor=False)
    st.caption(
        f"With {shown.markdown(model.version)}. The file stays in this process's memory until the page is closed or the next one comes."
    )
    with faults_told():
        file = uploaded_file("file")
        if file is None:
            return
        st.write(f"{file.rows:,} rows, {len(file.names)} columns")
        added_names(file.names, model.bundle.tree is not None)
        columns = chosen_columns(file, model.fields, "file")
        if not columns:
            st.info("Choose at least one column.")
        elif st.button("Categorize", type="primary") or st.session_state.get("file done", (None,))[0] == _key(file, columns):
            _give_back(file, columns)


def _key(file: TableFile, columns: Mapping[str, str]) -> object:
    return (id(file), *columns.items())


def _give_back(file: TableFile, columns: Mapping[str, str]) -> None:
    model, key = the_page().model, _key(file, columns)
    if st.session_state.get("file done", (None,))[0] != key:
        rows = scored(model, [file.columns[name] for name in columns.values()], list(columns))
        tree = model.bundle.tree
        st.session_state["file done"] = (key, rows, written(file, rows, tree.separator if tree else None))
    _, rows, content = st.session_state["file done"]
    st.download_button("Download the file with its categories", content, "categorized.csv", "text/csv", on_click="ignore")
    _summary(rows)
    texts = {name: file.columns[name].slice(0, PREVIEW).to_pylist() for name in columns.values()}
    shown_rows = [
        {**row, "product_id": i + 1, **{name: values[i] for name, values in texts.items()}}
        for i, row in enumerate(rows[:PREVIEW])
    ]
    st.html(shown.products(shown_rows, list(texts), f"The first {len(shown_rows)} rows", "row"))


def _summary(rows: Sequence[Mapping[str, Any]]) -> None:
    counts = Counter((row["category"], row["status"]) for row in rows)
    lines = [
        [Cell(shown.own(name or "none")), status, Cell(f"{count:,}", "number")]
        for (name, status), count in counts.most_common(30)
    ]
    st.html(shown.block(table("Rows by category and status", ("category", "status", Cell("rows", "number")), lines)))
