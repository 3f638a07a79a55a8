"""The page itself: Streamlit runs this file from the top whenever somebody does something in the page."""

from __future__ import annotations

import streamlit as st

from lib.app.opened import the_page
from lib.app.shown import STYLE
from lib.app.views import browse, compare, file, review, runs, single

st.set_page_config(page_title="catalog-categorizer", layout="wide", initial_sidebar_state="collapsed")
st.html(STYLE)
of_the_table = [
    st.Page(browse.page, title="The table", url_path="table"),
    st.Page(review.page, title="Review", url_path="review"),
    st.Page(runs.page, title="Runs", url_path="runs"),
]
st.navigation(
    [
        st.Page(single.page, title="A product", url_path="product", default=True),
        st.Page(file.page, title="A file", url_path="file"),
        st.Page(compare.page, title="Two bundles", url_path="compare"),
        *(of_the_table if the_page().lake else []),
    ],
    position="top",
).run()
