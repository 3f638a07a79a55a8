"""The page of a run, and that of all runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from lib.model.metrics import drift_parts
from lib.reports.html import Cell, bar, histogram, number, page, table, terms, text, trend
from lib.reports.night import BINS, Night
from lib.scoring.guardrails import Measure
from lib.scoring.record import moves_of
from lib.tables.run_record import RELABELLED, RunRecord
from schemas.tables import HELD, NO_CATEGORY, PUBLISHED, UNCLASSIFIABLE

MOST_LABELS_IN_A_MATRIX = 12
MOST_MOVES = 20
MOST_CATEGORIES = 60
MOST_NIGHTS = 60


def night_page(night: Night, alone: bool = False) -> str:
    """What came in and went out, how near each guardrail came, and which rows are worth a look.

    Args:
        alone: there is no page of all runs next to it.
    """
    run = night.run
    parts = [*_head(night, alone), _flow(run)]
    if night.measures:
        parts.append(_guardrails(night))
    if run.category_shares:
        parts.append(_categories(night))
    parts += [
        *_confidences(night),
        *_moves(run),
        *_unsure(night),
        *_rejects(night),
        *_trends(night.runs),
        *_time(run),
        *_settings(run),
    ]
    return page(f"Run {run.run_id}", parts)


def index_page(target: str, runs: Sequence[RunRecord], there: Iterable[str]) -> str:
    """All runs of a target, newest first. there: the ids of those that have a page next to this one."""
    pages = set(there)
    rows = [_night_row(run, run.run_id in pages) for run in runs]
    names = ("status", "rows in", "scored", "review", "mean confidence", "drift", "seconds")
    header = ["run", names[0], *[Cell(text(name), "number") for name in names[1:]]]
    body = [f"<h1>{text(target)}</h1>", f'<p class="soft">{len(runs):,} runs in the ledger</p>', *_trends(runs)]
    return page(f"Runs of {target}", [*body, "<h2>Runs</h2>", table("Newest first", header, rows)])


def _night_row(run: RunRecord, has_page: bool) -> list[object]:
    name = Cell(f'<a href="{text(run.run_id)}.html">{text(run.run_id)}</a>') if has_page else run.run_id
    shares = [number(run.review_share, ".1%"), number(run.mean_confidence, ".3f"), number(run.drift, ".3f")]
    return [name, _status(run), number(run.rows_in), number(run.rows_scored), *shares, number(_duration(run), ",.0f")]


def _status(run: RunRecord) -> Cell:
    kind = {PUBLISHED: "good", HELD: "bad"}.get(run.status, "soft")
    return Cell(f'<span class="status {kind}">{text(run.status)}</span>')


def _duration(run: RunRecord) -> float | None:
    try:
        return (datetime.fromisoformat(run.ended_at) - datetime.fromisoformat(run.started_at)).total_seconds()
    except ValueError:
        return None


def _head(night: Night, alone: bool) -> list[str]:
    run, seconds = night.run, _duration(night.run)
    every = text(night.target) if alone else f"<a href='index.html'>all runs of {text(night.target)}</a>"
    parts = [
        f"<h1>Run {text(run.run_id)}</h1>",
        f"<p>{_status(run).html} {every}</p>",
        terms(
            [
                ("began", run.started_at.replace("T", " ")[:19] + " UTC"),
                ("took", "" if seconds is None else f"{seconds:,.0f} s"),
                ("source", f"{run.source} ({run.source_version})"),
                ("model", f"{run.model_version}, engine {run.engine}, mode {run.mode}"),
            ]
        ),
    ]
    if run.held_because:
        items = "".join(f"<li>{text(one)}</li>" for one in run.held_because)
        panel = f'<p><strong class="bad">Held back</strong>, because</p><ul>{items}</ul><p>{_what_now(night)}</p>'
        parts.append(f'<div class="panel">{panel}</div>')
    return parts


def _what_now(night: Night) -> str:
    """What to do about a run that was held back, as HTML."""
    if night.run.status == PUBLISHED:
        return "It was published anyway."
    if not night.is_releasable:
        return "Other runs have changed the table, or were held, since then: the rows held for this one can no longer be published."
    return (
        "The table is as it was. Correct the source or the model and run again, or publish it with "
        f"<code>--publish-anyway {text(night.run.run_id)}</code>."
    )


def _flow(run: RunRecord) -> str:
    counts = (
        ("rows in the source", run.rows_in, ""),
        ("rejected", run.rows_rejected, "second"),
        ("unchanged, not scored again", run.rows_unchanged, ""),
        ("scored", run.rows_scored, ""),
        ("scored: categorized", run.rows_sure, ""),
        ("scored: for review", run.rows_review, "second"),
        ("scored: unclassifiable", run.rows_unclassifiable, "second"),
    )
    rows = [
        [name, number(count), number(count / (run.rows_in or 1), ".1%"), bar(count / (run.rows_in or 1), kind)]
        for name, count, kind in counts
    ]
    since = " since the last run" if run.counts_newly_missing else ""
    missing = (
        f"<p>{run.rows_missing:,} products of the table are no longer in the source{since}.</p>" if run.rows_missing else ""
    )
    header = ["", Cell("rows", "number"), Cell("of the source", "number"), ""]
    return (
        "<h2>What came in, and what happened to it</h2>"
        + table("Rows of the source = rejected + unchanged + scored", header, rows)
        + missing
    )


def _guardrails(night: Night) -> str:
    rows = [_measure_row(measure) for measure in sorted(night.measures, key=lambda one: -_nearness(one))]
    runs = night.good.runs
    before = f"the median of the last {runs} good runs" if runs > 1 else "the last good run"
    if night.good.is_since_release:
        before = "a run that was held back and released" + (f", and the {runs - 1} good ones after it" if runs > 1 else "")
    caption = f"Compared with {before}" if runs else "Whatever earlier runs were like"
    header = ["figure", *[Cell(name, "number") for name in ("before", "now", "change", "limit")], "how near the limit", ""]
    return f"<h2>Guardrails</h2>{table(caption, header, rows)}"


def _nearness(measure: Measure) -> float:
    """1 at the limit."""
    return measure.change / measure.limit if measure.limit else float(measure.is_breach)


def _measure_row(measure: Measure) -> list[object]:
    numbers = [number(one, ",.0f" if one and abs(one) >= 1000 else ".3g") for one in (measure.before, measure.now)]
    numbers += [number(measure.change, ".3g"), number(measure.limit, "g")]
    said = Cell('<span class="bad">exceeded</span>' if measure.is_breach else '<span class="good">within</span>')
    return [measure.name, *numbers, bar(_nearness(measure), "over" if measure.is_breach else ""), said]


def _categories(night: Night) -> str:
    # Under the names of the last relabelling that a run knew, also where the model was rolled back since.
    now, before = night.good.shares_compared(night.run), night.good.category_shares or {}
    names = _ordered(now, before)
    rows = []
    for name in names[:MOST_CATEGORIES]:
        past = before.get(name, 0.0) if before else None
        change = None if past is None else now.get(name, 0.0) - past
        rows.append(
            [name, number(now.get(name, 0.0), ".2%"), bar(now.get(name, 0.0)), number(past, ".2%"), number(change, "+.2%")]
        )
    by = ", in the order of what each adds to the drift" if before else ""
    more = f"<p>… and {len(names) - MOST_CATEGORIES:,} more{by}.</p>" if len(names) > MOST_CATEGORIES else ""
    drift = "" if night.run.drift is None else f"; together they drifted by {night.run.drift:.3f} (population stability index)"
    header = ["category", Cell("share", "number"), "", Cell("before", "number"), Cell("change", "number")]
    return f"<h2>Categories</h2>{table(f'Of the rows that have one{drift}', header, rows)}{more}"


def _ordered(now: Mapping[str, float], before: Mapping[str, float]) -> list[str]:
    """The categories with the greatest shares first; where not all are shown, those that add most to the drift: one that is gone has no share."""
    names = sorted({*now, *before}, key=lambda name: (-now.get(name, 0.0), name))
    if len(names) <= MOST_CATEGORIES or not before:
        return names
    parts = drift_parts(before, now)
    return sorted(names, key=lambda name: -parts[name])


def _confidences(night: Night) -> list[str]:
    if night.rows is None:
        return [
            '<h2>Confidence</h2><p class="soft">The rows as this run left them are gone (vacuumed, or another run is held).</p>'
        ]
    groups = {status: counts for status, counts in night.rows.confidences.items() if status != UNCLASSIFIABLE}
    if not groups:
        return []
    said = "Rows by confidence, from 0 to 1: " + "; ".join(f"{status} {sum(counts):,}" for status, counts in groups.items())
    colours = ("blue", "orange", "grey")
    key = ", ".join(f"{status} {colour}" for status, colour in zip(groups, colours, strict=False))
    header = ["confidence", *[Cell(text(status), "number") for status in groups]]
    rows = [
        [f"{i / BINS:.2f} to {(i + 1) / BINS:.2f}", *[number(counts[i]) for counts in groups.values()]] for i in range(BINS)
    ]
    whose = "that it would write" if night.run.status == HELD else "of the table"
    caption = f"Rows {whose} by confidence ({key})"
    return [
        f"<h2>Confidence</h2><figure>{histogram(groups, said)}<figcaption>{text(caption)}</figcaption></figure>",
        f"<details><summary>The numbers</summary>{table('Rows by confidence', header, rows)}</details>",
    ]


def _moves(run: RunRecord) -> list[str]:
    changes = run.label_changes
    if not changes:
        return []
    moves = moves_of(changes)
    title = f"<h2>Another model: {moves.moved:,} of {moves.rows:,} rows moved ({moves.share:.1%})</h2>"
    labels = [*(label for label in moves.labels if label != NO_CATEGORY), NO_CATEGORY]
    if len(labels) > MOST_LABELS_IN_A_MATRIX:
        rows = [[old, new, number(count)] for count, old, new in moves.largest[:MOST_MOVES]]
        return [title, table("The largest moves", ["before", "now", Cell("rows", "number")], rows)]
    header = ["before \\ now", *[Cell(text(label), "number") for label in labels]]
    matrix = [[old, *[number(changes.get(old, {}).get(new, 0)) for new in labels]] for old in labels]
    return [title, table("Rows by the category before and now", header, matrix)]


def _unsure(night: Night) -> list[str]:
    rows = night.rows.unsure if night.rows else ()
    if not rows:
        return []
    names = list(rows[0])
    shown = [[_value(row[name]) for name in names] for row in rows]
    return [
        "<h2>The least sure rows</h2>",
        table("Worth a look first", [name.replace("_", " ") for name in names], shown),
    ]


def _value(value: object) -> object:
    return number(value, ".3f") if isinstance(value, float) else "" if value is None else str(value)[:200]


def _rejects(night: Night) -> list[str]:
    if not night.rejects:
        return []
    rows = [
        [one.reason, number(one.rows), ", ".join("null" if i is None else i[:60] for i in one.examples)]
        for one in night.rejects
    ]
    return ["<h2>Rejected rows</h2>", table("By reason", ["reason", Cell("rows", "number"), "such as"], rows)]


def _trends(runs: Sequence[RunRecord]) -> list[str]:
    nights = [run for run in reversed(runs) if run.status == PUBLISHED][-MOST_NIGHTS:]
    if len(nights) < 2:
        return []
    drawn = [
        trend("rows in", [run.rows_in for run in nights], ",.0f"),
        trend("share for review", [run.review_share for run in nights], ".1%"),
        trend("mean confidence", [run.mean_confidence for run in nights], ".3f"),
        trend("drift", [run.drift for run in nights], ".3f"),
        trend("seconds", [_duration(run) for run in nights], ",.0f"),
    ]
    return [f'<h2>The last {len(nights)} published runs</h2><div class="trends">{"".join(drawn)}</div>']


def _time(run: RunRecord) -> list[str]:
    seconds: Mapping[str, float] = run.seconds or {}
    if not seconds:
        return []
    most = max(seconds.values()) or 1
    phases = ("counting", "scoring", "writing")
    named = [
        *[(name, name) for name in phases],
        *[(name, f"tasks, added up: {name}") for name in seconds if name not in phases],
    ]
    rows = [[said, number(seconds[name], ",.1f"), bar(seconds[name] / most)] for name, said in named if name in seconds]
    speed = (
        f"{run.rows_per_second:,.0f} rows a second from the first count to the last score" if run.rows_per_second else "Seconds"
    )
    return ["<h2>Where the time went</h2>", table(speed, ["", Cell("seconds", "number"), ""], rows)]


def _settings(run: RunRecord) -> list[str]:
    settings = {name: value for name, value in run.options.items() if name != RELABELLED}
    shown = ((name, ", ".join(map(str, value)) if isinstance(value, list) else value) for name, value in settings.items())
    return [f"<h2>Settings</h2><details><summary>All {len(settings)}</summary>{terms(shown)}</details>"]
