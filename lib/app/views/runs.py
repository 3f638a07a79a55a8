"""The runs of the ledger, each with the page that the job `report` writes."""

from __future__ import annotations

from functools import partial

import streamlit as st

from lib.app import shown
from lib.app.rows import page_of_run, runs_of
from lib.app.views.parts import asked, faults_told
from lib.reports.html import Cell, number, table
from lib.tables.run_record import RunRecord

HEIGHT = 900


def page() -> None:
    st.title("Runs", anchor=False)
    with faults_told():
        runs = asked(runs_of)
        if not runs:
            st.info("There is no run in the ledger.")
            return
        st.html(shown.block(_listed(runs)))
        run = st.selectbox("Run to read", [one.run_id for one in runs]) or runs[0].run_id
        made = asked(partial(page_of_run, run))
        st.download_button("Download this page", made, f"{run}.html", "text/html", on_click="ignore")
        st.iframe(made, height=HEIGHT)


def _listed(runs: list[RunRecord]) -> str:
    head = ("run", "status", "model", *[Cell(name, "number") for name in ("rows in", "scored", "in review", "mean confidence")])
    rows = [
        [
            one.run_id,
            one.status,
            one.model_version,
            number(one.rows_in),
            number(one.rows_scored),
            number(one.review_share, ".1%"),
            number(one.mean_confidence, ".3f"),
        ]
        for one in runs
    ]
    return table("Runs of the ledger, the newest first", head, rows)
