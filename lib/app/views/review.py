"""The queue for review, one product at a time, by keyboard; the answers are written to the table of corrections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import streamlit as st

from lib.app import shown
from lib.app.corrections import Correction, Corrections
from lib.app.opened import the_page
from lib.app.rows import Overview, Queue, queue_of, sure_only
from lib.app.views.parts import asked, faults_told
from lib.reports.queue import BECAUSE, SIMILAR

# Labels that have a key, 1 to 9.
KEYS = 9
QUEUE, PLACE, SAID = "review queue", "review place", "review said"
# Who corrects, and the reasons by product; and the fields that both are typed into.
PERSON, WHY, NAME, REASON = "review person", "review why", "review name", "review reason"


def page() -> None:
    st.title("Review", anchor=False)
    with faults_told():
        # A placeholder for messages while it loads, present in every run: if the fields below moved up, the browser would redraw
        # them, and lose what is being typed.
        with st.container():
            if QUEUE not in st.session_state:
                _load()
        queue: Queue = st.session_state[QUEUE]
        place = st.session_state[PLACE]
        if not queue.rows:
            st.info("Nothing to review: no row in review that is not corrected, with a text in the source.")
        elif place >= len(queue.rows):
            st.success(f"That was the last of {len(queue.rows):,} rows.")
        else:
            _row(queue, place)
        _below(queue, place)


def _load() -> None:
    overview = asked(the_page().browser.overview)
    queue = asked(queue_of)
    on_the_way = _corrections().on_the_way()
    st.session_state[QUEUE] = Queue([row for row in queue.rows if row["product_id"] not in on_the_way], queue.text_columns)
    st.session_state["review labels"] = _labels(overview)
    ids = [row["product_id"] for row in queue.rows]
    st.session_state["review sure"] = asked(partial(sure_only, ids)) if overview.separator else {}
    st.session_state[PLACE], st.session_state[SAID], st.session_state[WHY], st.session_state[REASON] = 0, {}, {}, ""


def _labels(overview: Overview) -> Sequence[str]:
    """What a product may be corrected to: with the bundle that scored the table also labels that no row shows."""
    bundle = the_page().model
    return sorted({*overview.labels, *(bundle.bundle.labels if bundle.version == overview.model else ())})


def _row(queue: Queue, place: int) -> None:
    row = queue.rows[place]
    stands_for = f", which stands for {row[SIMILAR]:,} alike" if row[SIMILAR] > 1 else ""
    told = f"Row {place + 1:,} of {len(queue.rows):,}: {shown.product_id(row['product_id'])}{stands_for}"
    st.html(shown.block(f'<p class="cc-soft">{told}</p>'))
    with st.container(border=True):
        st.html(shown.texts((name, row[name]) for name in queue.text_columns))
    sure = "" if row["confidence"] is None else f" {row['confidence']:.3f}"
    second = f", then {shown.own(row['runner_up'])} {row['runner_up_confidence']:.3f}" if row["runner_up"] else ""
    sure_of = st.session_state["review sure"].get(row["product_id"])
    levels = f"; {shown.own(sure_of)}" if sure_of else ""
    said = st.session_state[SAID].get(row["product_id"])
    already = f" You said {shown.own(said)}." if said else ""
    st.html(
        shown.block(
            f"<p>The model: <b>{shown.own(row['category'] or 'none')}</b>{sure}{second}; {shown.own(row['reason'] or '')}{levels}.{already}</p>"
            f'<p class="cc-soft">Asked because: {shown.own(row[BECAUSE])}</p>'
        )
    )
    _choice(queue, row)


def _choice(queue: Queue, row: Mapping[str, Any]) -> None:
    labels: Sequence[str] = st.session_state["review labels"]
    left, right = st.columns(2)
    left.text_input("Your name", st.session_state.get(PERSON, the_page().person), key=NAME)
    # Streamlit forgets the name when another page is shown.
    st.session_state.setdefault(REASON, st.session_state[WHY].get(row["product_id"], ""))
    right.text_input("Why (may stay empty)", key=REASON)
    person, _ = _kept(row)
    if not person:
        st.info("Give your name: it is stored with each correction.")
        return
    say = partial(_say, queue, row)
    near = [name for name in (row["category"], row["runner_up"]) if name]
    # Where all labels have a key, each keeps its own.
    keyed = list(labels) if len(labels) <= KEYS else near
    with st.container(horizontal=True):
        for key, label in enumerate(keyed, 1):
            kind: Literal["primary", "secondary"] = "primary" if label == row["category"] else "secondary"
            st.button(
                shown.markdown(label),
                key=f"say {key} {row['product_id']}",
                type=kind,
                shortcut=str(key),
                on_click=say,
                args=(label,),
            )
    if len(labels) > len(keyed):
        other = st.selectbox("Another label", labels, None, key=f"other {row['product_id']}", placeholder="type to find one")
        st.button("Correct to this label", disabled=other is None, on_click=say, args=(other,))


def _corrections() -> Corrections:
    corrections = the_page().corrections
    assert corrections is not None, "the pages of the table are only there where one was given"
    return corrections


def _kept(row: Mapping[str, Any]) -> tuple[str, str]:
    """Name and reason as the fields hold them now: a key that is pressed right after typing arrives together with it, before the
    page is drawn again."""
    state = st.session_state
    state[PERSON] = state.get(NAME, state.get(PERSON)) or ""
    state[WHY][row["product_id"]] = state.get(REASON) or ""
    return state[PERSON].strip(), state[WHY][row["product_id"]].strip()


def _say(queue: Queue, row: Mapping[str, Any], label: str) -> None:
    if not _shown(queue, row):
        return
    person, why = _kept(row)
    if not person:
        return
    texts = tuple((name, row[name]) for name in queue.text_columns)
    _corrections().add(Correction(row["product_id"], label, person, why, texts))
    st.session_state[SAID][row["product_id"]] = label
    _step(queue, 1)


def _shown(queue: Queue, row: Mapping[str, Any]) -> bool:
    """Whether it is this row's turn: while the next row is drawn, a quick key press still reaches the buttons of the previous one."""
    return st.session_state.get(QUEUE) is queue and queue.rows[st.session_state[PLACE] :][:1] == [row]


def _step(queue: Queue, by: int) -> None:
    """Go to another row, with the reason that was typed for it before."""
    place = st.session_state[PLACE]
    if place < len(queue.rows):
        _kept(queue.rows[place])
    st.session_state[PLACE] = place = max(place + by, 0)
    if place < len(queue.rows):
        st.session_state[REASON] = st.session_state[WHY].get(queue.rows[place]["product_id"], "")


def _below(queue: Queue, place: int) -> None:
    with st.container(horizontal=True):
        st.button("Skip", shortcut="s", disabled=place >= len(queue.rows), on_click=_step, args=(queue, 1))
        st.button("Back", shortcut="b", disabled=place == 0, on_click=_step, args=(queue, -1))
        st.button("Load the queue again", on_click=lambda: st.session_state.pop(QUEUE, None))
    waiting = _corrections().state().waiting
    st.fragment(_state, run_every=1.0 if waiting else None)()
    st.html(
        shown.block(
            '<p class="cc-soft">Keys: <kbd>1</kbd> to <kbd>9</kbd> a label, <kbd>s</kbd> skip, <kbd>b</kbd> back to the previous row, whose '
            "correction you can then change. A correction is written at once, by the code of the job <code>correct</code>.</p>"
        )
    )


def _state() -> None:
    """How many corrections of this page are written; it checks again as long as some are on their way."""
    state = _corrections().state()
    on_the_way = f", {state.waiting:,} on the way" if state.waiting else ""
    st.caption(f"Corrections of this page: {state.written:,} written{on_the_way}")
    for correction, sentence in state.refused:
        st.html(shown.fault(f"{correction.product_id[: shown.SHORT]} was not corrected: {sentence}"))
