"""A product typed or pasted: its category, how sure that is, and the words that decided."""

from __future__ import annotations

import streamlit as st

from lib.app import shown
from lib.app.model import Answer, answer_of
from lib.app.opened import the_page
from lib.app.views.parts import faults_told, product_fields


def page() -> None:
    model = the_page().model
    st.title("A product", anchor=False)
    st.caption(
        f"With {shown.markdown(model.version)}, {len(model.bundle.labels):,} labels. Ctrl+Enter, or a click elsewhere, sends what you have typed."
    )
    product = product_fields(model, "single")
    if not any(product.values()):
        st.info("Type or paste a product.")
        return
    with faults_told():
        _show(answer_of(model, product), " ".join(product.values()))


def _show(answer: Answer, asked: str) -> None:
    st.html(shown.headline(answer, asked))
    if answer.category is None:
        st.info(f"{answer.reason}: such a row is unclassifiable.")
        return
    if answer.levels:
        st.html(shown.levels(answer.levels))
    left, right = st.columns(2, gap="large")
    with left:
        st.html(shown.probabilities(answer))
    with right:
        st.html(shown.words(answer))
