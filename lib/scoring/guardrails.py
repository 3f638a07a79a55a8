"""Guardrails: how far a run may differ from the last good ones before a person has to look at it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from statistics import median, median_high
from typing import Any

from lib.model.metrics import drift_parts
from lib.model.renames import AS_THEY_ARE, Renames
from lib.model.tree import path_of
from lib.tables.run_record import RunRecord

# Keys of the map `guarded` in a run's record; the name of a text column follows the colon.
UNCLASSIFIABLE_SHARE = "unclassifiable"
EMPTY_SHARE = "empty:"
MEAN_LENGTH = "length:"
NEW_IDS = "new ids"
GONE_IDS = "gone ids"
REMOVED = "removed"
MOVED = "moved"
FALLEN = "fallen:"
# The drift of the top level where labels are paths; the name of the node that adds most to it follows.
TOP_DRIFT = "drift of the top level:"
# 1 if the run was compared with a released one and those after it.
SINCE_RELEASE = "since release"
# Categories that the message of a drift names, and the part of it that is too small to be named.
MOST_NAMED, LEAST_PART = 3, 0.01
# A share of the rows that have a category: smaller categories come and go.
LEAST_SHARE = 0.01


@dataclass(frozen=True)
class Limits:
    """By how much each figure may differ from the yardstick, the median of the last good runs. Infinity lets everything pass.

    rows: the rows of the source, up or down, as a share. rejected, review, unknown: the rise of a share (unknown: the share of the
    tokens scored that are out of vocabulary). drift: population stability index of the shares of the categories, and, where they are paths, of
    the shares of the top level.
    confidence: the fall of the mean. unclassifiable: rise of the share. empty: rise of the share of empty texts, of each text
    column. length: change of the mean length of its texts that are not empty, as a share. ids: the share of the ids that the last
    good run did not have, or of its ids that are gone. moved: the share of the products that stay whose category changes under the
    same model. category: the fall of the rows of a category, or of a level above it, that had at least LEAST_SHARE of them, as a share,
    compared with the fall of all rows.
    removed: the share of the table's rows that the run would delete, whatever its
    size. from_rows: good runs of fewer rows are not compared in anything else, since their shares say little. runs: how many good runs
    make the yardstick.
    """

    rows: float = 0.5
    rejected: float = 0.05
    review: float = 0.1
    drift: float = 0.25
    confidence: float = 0.1
    unknown: float = 0.1
    unclassifiable: float = 0.05
    empty: float = 0.1
    length: float = 0.5
    ids: float = 0.5
    moved: float = 0.2
    category: float = 0.8
    removed: float = 0.8
    from_rows: int = 1000
    runs: int = 7


def limits_of(settings: Mapping[str, Any]) -> Limits:
    """The limits that a run had. settings: of its record; a limit that older versions did not know has its default."""
    told = {f.name: settings.get(f"guard_{f.name}", f.default) for f in fields(Limits)}
    # JSON has no infinity: it is stored as a text.
    values: Any = {name: float(value) if isinstance(value, str) else value for name, value in told.items()}
    return Limits(**values)


@dataclass(frozen=True)
class Yardstick:
    """What a run is compared with: the median, over the last good runs, of each figure that records have; empty by default.

    is_since_release: of a run that was held back and released by a person, and the good ones after it, alone.
    """

    runs: int = 0
    rows_in: int = 0
    rows_rejected: float = 0.0
    category_shares: Mapping[str, float] | None = None
    review_share: float | None = None
    out_of_vocabulary_share: float | None = None
    mean_confidence: float | None = None
    guarded: Mapping[str, float | None] = field(default_factory=dict)
    renames: Renames = AS_THEY_ARE
    is_since_release: bool = False

    def shares_compared(self, run: RunRecord) -> Mapping[str, float]:
        """The shares of a run's categories under the names that `category_shares` uses."""
        return self.renames.shares_of(run.category_shares or {}, run.model_version)


def yardsticks(good: Sequence[RunRecord], limits: Limits, renames: Renames = AS_THEY_ARE) -> list[Yardstick]:
    """What a run may be like: the last good runs, and also, if a person has released one of them that was unlike the others, the runs since then.

    A change that a person has accepted is there to stay or was there once: the next run may be like either.

    Args:
        good, renames: as for `yardstick`.
    """
    window = list(islice(nights_of(good), limits.runs))
    found = [yardstick(window, limits, renames)]
    released = next((i for i, run in enumerate(window) if run.held_because), len(window))
    if released + 1 < len(window):
        since = replace(yardstick(window[: released + 1], limits, renames), is_since_release=True)
        # One of few rows would let everything pass.
        found += [since] if since.rows_in >= limits.from_rows else []
    return found


def yardstick(good: Sequence[RunRecord], limits: Limits, renames: Renames = AS_THEY_ARE) -> Yardstick:
    """The medians over the last good runs, their categories under the names that `renames` gives them. good: newest first."""
    window = list(islice(nights_of(good), limits.runs))
    if not window:
        return Yardstick(renames=renames)
    rows = median_high(run.rows_in for run in window)
    # The shares of a small run that somebody released say little about the others.
    window = [run for run in window if run.rows_in >= limits.from_rows] or window
    keys = sorted({key for run in window for key in run.guarded or {}})
    return Yardstick(
        runs=len(window),
        rows_in=rows,
        rows_rejected=rows * (_median(run.rejected_share for run in window) or 0.0),
        category_shares=_median_shares(
            [renames.shares_of(run.category_shares, run.model_version) for run in window if run.category_shares]
        ),
        review_share=_median(run.review_share for run in window),
        out_of_vocabulary_share=_median(run.out_of_vocabulary_share for run in window),
        mean_confidence=_median(run.mean_confidence for run in window),
        guarded={key: _median((run.guarded or {}).get(key) for run in window) for key in keys},
        renames=renames,
    )


def nights_of(runs: Sequence[RunRecord]) -> Iterator[RunRecord]:
    """The runs, with only each day's newest round of a stream: with all rounds the yardstick would follow a drift within minutes.

    A round that a person has released stays, or the next one of its day would be held back again.
    """
    days: set[str] = set()
    for run in runs:
        day = run.started_at[:10]
        if not run.is_round or run.held_because:
            yield run
        elif day not in days:
            days.add(day)
            yield run


def _median_shares(shares: Sequence[Mapping[str, float]]) -> Mapping[str, float] | None:
    """The median of each category's share, scaled to sum to one."""
    names = sorted(set().union(*shares))
    by_name = {name: median(share.get(name, 0.0) for share in shares) for name in names}
    total = sum(by_name.values())
    return {name: share / total for name, share in by_name.items()} if total else None


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


@dataclass(frozen=True)
class Measure:
    """One figure with its limit.

    before: the yardstick's; None where a figure has none. change: what the limit applies to. phrase: the message when it is exceeded.
    """

    name: str
    before: float | None
    now: float
    change: float
    limit: float
    phrase: str

    @property
    def is_breach(self) -> bool:
        return self.change > self.limit


def breaches(run: RunRecord, good: Yardstick, limits: Limits) -> list[str]:
    """One phrase for each figure of `run` that exceeds its limit: "the share rejected rose by 0.12 (limit 0.05)"."""
    none = [f"none of the {run.rows_in:,} rows has a usable id"] if run.rows_in and run.rows_rejected == run.rows_in else []
    return none + [measure.phrase for measure in measures(run, good, limits) if measure.is_breach]


def measures(run: RunRecord, good: Yardstick, limits: Limits) -> list[Measure]:
    """Every figure that is guarded in this run; what it or the yardstick lacks is not compared."""
    found = []
    removed = (run.guarded or {}).get(REMOVED)
    if removed is not None:
        phrase = f"{removed:.1%} of the table's rows would be deleted (limit {limits.removed:.0%})"
        found.append(Measure("share of the table's rows deleted", None, removed, removed, limits.removed, phrase))
    if not good.rows_in or good.rows_in < limits.from_rows:
        return found
    for key, value in (run.guarded or {}).items():
        if value is not None:
            found += _of_ids(key, value, limits)
            found += _of_texts(key, value, good.guarded.get(key), limits)
            found += _of_categories(key, value, limits)
    return found + _of_counts(run, good, limits)


def _of_ids(key: str, value: float, limits: Limits) -> list[Measure]:
    known = {
        NEW_IDS: ("share of ids that are new", "the ids are new", limits.ids),
        GONE_IDS: ("share of ids that are gone", "the last good run's ids are gone", limits.ids),
        MOVED: (
            "share of products under another category",
            "the products that stay have another category under the same model",
            limits.moved,
        ),
    }
    if key not in known:
        return []
    name, what, limit = known[key]
    return [Measure(name, None, value, value, limit, f"{value:.1%} of {what} (limit {limit:.0%})")]


def _of_categories(key: str, value: float, limits: Limits) -> list[Measure]:
    if key.startswith(TOP_DRIFT):
        name = key.removeprefix(TOP_DRIFT)
        phrase = f"the shares of the top level drifted by {value:.3f} (limit {limits.drift:g}), most of all that of {name!r}"
        return [Measure("drift of the top level's shares", None, value, value, limits.drift, phrase)]
    if not key.startswith(FALLEN):
        return []
    name = key.removeprefix(FALLEN)
    phrase = f"the rows of the category {name!r} fell by {value:.1%} compared with the others (limit {limits.category:.0%})"
    return [Measure(f"fall of the rows of {name}", None, value, value, limits.category, phrase)]


def fallen(now: Mapping[str, float], before: Mapping[str, float], paths: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """The category, or the level above some, that lost most of its rows, and what share of them; none where none lost any.

    Where all lose alike none counts as having lost rows: the guardrail of the rows reports that.

    Args:
        now, before: rows by category. paths: for categories that are paths, the names of all levels above them, the top first,
            and their own.
    """
    sums: list[dict[str, float]] = []
    for rows in (now, before):
        added: dict[str, float] = {}
        for category, count in rows.items():
            for name in paths.get(category, [category]):
                added[name] = added.get(name, 0.0) + count
        sums.append(added)
    least = LEAST_SHARE * sum(before.values())
    left = min(sum(now.values()) / max(sum(before.values()), 1), 1.0)
    falls = {
        name: 1 - sums[0].get(name, 0.0) / (rows * left) for name, rows in sums[1].items() if rows >= least and rows * left
    }
    # The largest of equal ones: where a whole branch is gone, the branch is what to report.
    worst = max(falls, key=lambda name: (falls[name], sums[1][name]), default="")
    return {f"{FALLEN}{worst}": falls[worst]} if worst and falls[worst] > 0 else {}


def _of_texts(key: str, value: float, past: float | None, limits: Limits) -> list[Measure]:
    if past is None:
        return []
    if key == UNCLASSIFIABLE_SHARE:
        return [_rise("share `unclassifiable`", past, value, limits.unclassifiable)]
    if key.startswith(EMPTY_SHARE):
        return [_rise(f"share of empty texts in {key.removeprefix(EMPTY_SHARE)}", past, value, limits.empty)]
    if key.startswith(MEAN_LENGTH) and past:
        name, change = f"mean length of texts in {key.removeprefix(MEAN_LENGTH)}", value / past - 1
        phrase = f"the {name} changed by {change:+.1%}, from {past:.0f} to {value:.0f} bytes (limit {limits.length:.0%})"
        return [Measure(name, past, value, abs(change), limits.length, phrase)]
    return []


def _of_counts(run: RunRecord, good: Yardstick, limits: Limits) -> list[Measure]:
    change = run.rows_in / good.rows_in - 1
    phrase = f"the rows in changed by {change:+.1%}, from {good.rows_in:,} to {run.rows_in:,} (limit {limits.rows:.0%})"
    found = [Measure("rows in", good.rows_in, run.rows_in, abs(change), limits.rows, phrase)]
    rises = {
        "share rejected": (good.rows_rejected / good.rows_in, run.rejected_share, limits.rejected),
        "share `review`": (good.review_share, run.review_share, limits.review),
    }
    if run.rows_scored >= limits.from_rows:
        rises["share out of vocabulary"] = (good.out_of_vocabulary_share, run.out_of_vocabulary_share, limits.unknown)
    for name, (before, now, limit) in rises.items():
        if before is not None and now is not None:
            found.append(_rise(name, before, now, limit))
    before, now = good.mean_confidence, run.mean_confidence
    if before is not None and now is not None:
        phrase = f"the mean confidence fell from {before:.3f} to {now:.3f} (limit -{limits.confidence:g})"
        found.append(Measure("mean confidence", before, now, before - now, limits.confidence, phrase))
    if run.drift is not None:
        phrase = f"the shares of the categories drifted by {run.drift:.3f} (limit {limits.drift:g}){_most_drifted(run, good)}"
        found.append(Measure("drift of the categories' shares", None, run.drift, run.drift, limits.drift, phrase))
    return found


def _most_drifted(run: RunRecord, good: Yardstick) -> str:
    """The categories that add most to the drift, for the end of a sentence; empty without shares to compare."""
    before, now = good.category_shares or {}, good.shares_compared(run)
    parts = drift_parts(before, now) if before and now else {}
    least = LEAST_PART * sum(parts.values())
    most = sorted((name for name in parts if parts[name] > least), key=lambda name: (-parts[name], name))[:MOST_NAMED]
    told = [f"{name!r} from {before.get(name, 0.0):.2%} to {now.get(name, 0.0):.2%}" for name in most]
    return f", most of all {', '.join(told)}" if told else ""


def top_drift(now: Mapping[str, float], before: Mapping[str, float], separator: str) -> dict[str, float]:
    """How far the shares of the top level drifted, by the key of `guarded`: a department of a thousand small categories adds next to nothing to
    the drift of these, each of which counts as 1e-4 at least.

    Args:
        now, before: shares of categories that are paths.
    """
    sums: list[dict[str, float]] = []
    for shares in (before, now):
        added: dict[str, float] = {}
        for category, share in shares.items():
            (top, *_) = path_of(category, separator) or ("",)
            added[top] = added.get(top, 0.0) + share
        sums.append(added)
    parts = drift_parts(*sums)
    worst = max(parts, key=lambda name: parts[name], default="")
    return {f"{TOP_DRIFT}{worst}": sum(parts.values())} if worst and now and before else {}


def _rise(name: str, before: float, now: float, limit: float) -> Measure:
    return Measure(name, before, now, now - before, limit, f"the {name} rose from {before:.3f} to {now:.3f} (limit +{limit:g})")
