"""The table by category and status, as readers see it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial

import streamlit as st

from lib.app import shown
from lib.app.opened import the_page
from lib.app.rows import ROWS_ON_A_PAGE, Overview, Shown, some_rows
from lib.app.views.parts import asked, faults_told, the_lake

# No label contains the character in front.
EVERY, NONE = "\0all", "\0none"
LEAST, MOST = "least sure first", "surest first"


def page() -> None:
    st.title("The table", anchor=False)
    with faults_told():
        overview = asked(the_page().browser.overview)
        total = sum(count for _, _, count in overview.counts)
        st.caption(f"{shown.markdown(the_lake().target)}, version {overview.versions[0]}: {total:,} products")
        if not total:
            st.info("The table holds no product.")
            return
        _rows(overview, _filters(overview))


def _filters(overview: Overview) -> Shown:
    categories = {NONE if name is None else name: count for name, count in overview.by_category.items()}
    statuses: Counter[str] = Counter()
    for _, said, count in overview.counts:
        statuses[said] += count
    total = statuses.total()
    left, middle, right, last = st.columns([3, 2, 2, 2])
    category = left.selectbox(
        "Category", [EVERY, *categories], format_func=lambda one: _counted(one, categories.get(one, total))
    )
    status = middle.selectbox("Status", [EVERY, *statuses], format_func=lambda one: _counted(one, statuses.get(one, total)))
    holds = right.text_input("Product id contains", "")
    order = last.selectbox("Order", [LEAST, MOST])
    return Shown(
        overview.versions,
        None if category in (EVERY, NONE) else category,
        overview.separator,
        category == NONE,
        None if status == EVERY else status,
        (holds or "").strip(),
        order == MOST,
    )


def _counted(name: str, count: int) -> str:
    return f"{name.lstrip(chr(0))} ({count:,})"


def _rows(overview: Overview, wanted: Shown) -> None:
    # Another selection begins at its first page.
    place = st.session_state.setdefault("browse first", {})
    first = place.get(wanted, 0)
    rows = asked(partial(some_rows, _at(wanted, first), overview.carried))
    if not rows:
        st.info("No product matches." if not first else "There are no more.")
    else:
        caption = f"Products {first + 1:,} to {first + len(rows):,}"
        st.html(shown.products(rows, overview.carried, caption))
    with st.container(horizontal=True):
        if st.button("Earlier", disabled=first == 0, key="earlier"):
            _go(wanted, first - ROWS_ON_A_PAGE)
        if st.button("Later", disabled=len(rows) < ROWS_ON_A_PAGE, key="later"):
            _go(wanted, first + ROWS_ON_A_PAGE)


def _at(wanted: Shown, first: int) -> Shown:
    return replace(wanted, first=first)


def _go(wanted: Shown, first: int) -> None:
    st.session_state["browse first"] = {wanted: max(first, 0)}
    st.rerun()
