"""Two bundles on the same product, on an uploaded file, or on products of the table's source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import streamlit as st

from lib.app import shown
from lib.app.model import Model, answer_of
from lib.app.opened import the_page
from lib.app.rows import texts_of
from lib.app.views.parts import asked, chosen_columns, faults_told, product_fields, scored, uploaded_file
from lib.errors import InputError
from lib.reports.html import Cell, table

ONE, FILE, TABLE = "a product", "a file", "the table's products"
# Products of the table that are compared: a sample, not the whole; `categorize --dry-run` compares all.
MOST_PRODUCTS = 2000
MOVES, MOVED = 20, 50


def page() -> None:
    st.title("Two bundles", anchor=False)
    opened = the_page()
    if not opened.bundles:
        st.info("There is no other bundle next to this one; give one with --other.")
        return
    first = opened.model
    names = list(opened.bundles)
    name = st.selectbox(f"{shown.markdown(first.version)} compared with", names, len(names) - 1) or names[-1]
    over = st.radio("Over", [ONE, FILE, *([TABLE] if opened.lake else [])], horizontal=True, key="compare over")
    with faults_told():
        second = opened.model_of(name)
        if second.fields != first.fields:
            raise InputError(
                f"Expected two bundles of the same fields, found {', '.join(first.fields)} and {', '.join(second.fields)}; choose another."
            )
        {ONE: _one, FILE: _file, TABLE: _table}[over or ONE](first, second)


def _one(first: Model, second: Model) -> None:
    product = product_fields(first, "compare")
    if not any(product.values()):
        st.info("Type or paste a product.")
        return
    for column, model in zip(st.columns(2, gap="large"), (first, second), strict=True):
        with column:
            st.subheader(shown.markdown(model.version), anchor=False)
            answer = answer_of(model, product)
            st.html(shown.headline(answer, " ".join(product.values())))
            if answer.category is None:
                st.info(answer.reason or "")
            else:
                st.html(shown.levels(answer.levels) + shown.probabilities(answer) + shown.words(answer))


def _file(first: Model, second: Model) -> None:
    file = uploaded_file("compare")
    if file is None:
        return
    columns = chosen_columns(file, first.fields, "compare")
    if columns and st.button("Compare", type="primary"):
        _show(first, second, [file.columns[name] for name in columns.values()], list(columns), list(columns.values()), None)


def _table(first: Model, second: Model) -> None:
    st.caption(
        f"The first {MOST_PRODUCTS:,} products of the source that the newest run has read; `categorize --dry-run` compares all."
    )
    if not st.button("Compare", type="primary"):
        return
    found = asked(partial(texts_of, MOST_PRODUCTS, first.bundle.tokenizer.settings.fields))
    texts = [pa.array(column, pa.string()) for column in found.values]
    _show(first, second, texts, found.fields, found.columns, found.ids)


def _show(
    first: Model,
    second: Model,
    texts: Sequence[pa.Array],
    fields: Sequence[str],
    names: Sequence[str],
    ids: Sequence[str | None] | None,
) -> None:
    """How often both agree, which labels moved where, and products that moved. ids: those of the products; None numbers them."""
    left, right = scored(first, texts, fields), scored(second, texts, fields)
    if not left:
        st.info("There is no row to compare.")
        return
    moved = [i for i, pair in enumerate(zip(left, right, strict=True)) if pair[0]["category"] != pair[1]["category"]]
    same = 1 - len(moved) / len(left)
    st.write(f"**{same:.1%}** of {len(left):,} rows get the same category.")
    review = [sum(row["status"] == "review" for row in rows) / len(rows) for rows in (left, right)]
    under = [shown.markdown(model.version) for model in (first, second)]
    st.write(f"In review: {review[0]:.1%} with {under[0]}, {review[1]:.1%} with {under[1]}.")
    if moved:
        st.html(shown.block(_moves(left, right, moved), _products(left, right, moved[:MOVED], texts, names, ids)))


def _moves(left: Sequence[Mapping[str, Any]], right: Sequence[Mapping[str, Any]], moved: Sequence[int]) -> str:
    counts = Counter((left[i]["category"] or "none", right[i]["category"] or "none") for i in moved)
    rows = [
        [Cell(shown.own(one)), Cell(shown.own(other)), Cell(f"{count:,}", "number")]
        for (one, other), count in counts.most_common(MOVES)
    ]
    return table(
        "Where labels moved, the most frequent first", ("under the first", "under the second", Cell("rows", "number")), rows
    )


def _products(
    left: Sequence[Mapping[str, Any]],
    right: Sequence[Mapping[str, Any]],
    some: Sequence[int],
    texts: Sequence[pa.Array],
    names: Sequence[str],
    ids: Sequence[str | None] | None,
) -> str:
    rows = [
        [
            Cell(shown.own(ids[i] if ids else i + 1, shown.SHORT)),
            *[Cell(shown.own(column[i].as_py() or "", shown.SHORT)) for column in texts],
            *[
                cell
                for row in (left[i], right[i])
                for cell in (Cell(shown.own(row["category"] or "none"), "label"), _sure(row))
            ],
        ]
        for i in some
    ]
    head = (
        "product_id" if ids else "row",
        *names,
        "under the first",
        Cell("confidence", "number"),
        "under the second",
        Cell("confidence", "number"),
    )
    return table(f"Rows that moved: {len(rows):,} of them", head, rows)


def _sure(row: Mapping[str, Any]) -> Cell:
    return Cell("" if row["confidence"] is None else f"{row['confidence']:.3f}", "number")
